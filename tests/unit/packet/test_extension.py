import pytest

from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import (
    Extension,
    authentication_matches,
    cisco_authentication,
    of_entries,
)
from nhrpd_py.packet.iana import ErrorCode, ExtensionType
from nhrpd_py.packet.wire import BadPacket, DropReason

HUB = ClientInformation(prefix_length=32, nbma=bytes([192, 0, 2, 1]), protocol=bytes([10, 0, 0, 1]))
HUB_OCTETS = bytes.fromhex("00 20 0000 0000 0000 04 00 04 00  c0000201 0a000001")


def test_an_extension_holds_entries() -> None:
    extension = of_entries(ExtensionType.NAT_ADDRESS, [HUB, HUB], compulsory=False)

    assert extension == Extension(9, HUB_OCTETS * 2, compulsory=False)
    assert extension.entries(4, 4) == (HUB, HUB)


def test_an_empty_extension_has_no_entries() -> None:
    assert Extension(ExtensionType.FORWARD_TRANSIT_NHS).entries(4, 4) == ()


def test_a_record_is_compulsory_unless_said_otherwise() -> None:
    assert of_entries(ExtensionType.FORWARD_TRANSIT_NHS, [HUB]).compulsory


def test_a_record_may_name_a_station_by_the_other_protocol() -> None:
    assert Extension(ExtensionType.RESPONDER_ADDRESS, HUB_OCTETS).entries(4, 16) == (HUB,)


def test_a_value_that_is_no_list_of_entries_is_a_bad_extension() -> None:
    # The octets of a document that used number 9 for two capability words.
    extension = Extension(ExtensionType.NAT_ADDRESS, bytes(8), compulsory=False)

    with pytest.raises(BadPacket) as caught:
        extension.entries(4, 4, 60)

    assert caught.value.reason is DropReason.BAD_EXTENSION
    assert caught.value.offset == 60
    assert caught.value.answer is ErrorCode.INVALID_EXTENSION


def test_authentication_is_clear_text_behind_index_one() -> None:
    extension = cisco_authentication(b"secret")

    assert extension == Extension(7, bytes.fromhex("00000001736563726574"), compulsory=True)
    assert authentication_matches(extension, b"secret")


@pytest.mark.parametrize(
    "value",
    [b"", b"\0\0\0\1", b"\0\0\0\1Secret", b"\0\0\0\1secret\0", b"\0\0\0\2secret", b"secret"],
)
def test_any_other_authentication_does_not_match(value: bytes) -> None:
    extension = Extension(ExtensionType.AUTHENTICATION, value)

    assert not authentication_matches(extension, b"secret")
