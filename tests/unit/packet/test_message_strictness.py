"""Where the decoder forgives, and where it does not."""

import pytest

from nhrpd_py.packet.extension import Extension
from nhrpd_py.packet.iana import ErrorCode, PacketType
from nhrpd_py.packet.message import decode, encode
from nhrpd_py.packet.wire import BadPacket, DropReason, internet_checksum
from tests.unit.packet.test_message import TABLE

REQUEST = bytes.fromhex(TABLE["resolution request"][0])
MARK = bytes.fromhex("8003 0000")
END = bytes.fromhex("8000 0000")


def sealed(data: bytes) -> bytes:
    """Gives the packet its true size and a good checksum."""
    bare = data[:10] + len(data).to_bytes(2, "big") + b"\0\0" + data[14:]
    return bare[:12] + internet_checksum(bare).to_bytes(2, "big") + bare[14:]


def changed(data: bytes, at: int, *octets: int) -> bytes:
    """The packet with some octets replaced, and sealed again."""
    return sealed(data[:at] + bytes(octets) + data[at + len(octets) :])


def with_extensions(octets: bytes, data: bytes = REQUEST) -> bytes:
    """The packet, which has none so far, with these octets as its extensions."""
    return sealed(data[:14] + len(data).to_bytes(2, "big") + data[16:] + octets)


def test_octets_behind_the_packet_are_ignored() -> None:
    assert decode(REQUEST + b"padding") == decode(REQUEST)


def test_unused_fields_are_ignored() -> None:
    snap = changed(REQUEST, 4, 1, 2, 3, 4, 5)
    indication = bytes.fromhex(TABLE["traffic indication"][0])

    assert decode(snap) == decode(REQUEST)
    assert decode(changed(indication, 22, 0xC8, 2)) == decode(indication)
    assert decode(changed(indication, 26, 0xC8, 2)) == decode(indication)


def test_octets_behind_the_end_extension_are_ignored() -> None:
    message = decode(with_extensions(MARK + END + bytes(16) + MARK + b"\xff"))

    assert message.extensions == (Extension(3),)


def test_a_missing_end_extension_is_forgiven() -> None:
    assert decode(with_extensions(MARK)).extensions == (Extension(3),)


def test_an_end_extension_alone_is_no_extension() -> None:
    assert decode(with_extensions(END)) == decode(REQUEST)


def test_the_unused_bit_of_an_extension_is_ignored() -> None:
    octets = bytes.fromhex("c003 0000  4009 0000")

    assert decode(with_extensions(octets)).extensions == (
        Extension(3),
        Extension(9, compulsory=False),
    )


def test_an_indication_may_have_extensions() -> None:
    indication = bytes.fromhex(TABLE["error indication"][0])

    assert decode(with_extensions(MARK, indication)).extensions == (Extension(3),)


def test_vendor_extensions_may_repeat() -> None:
    assert len(decode(with_extensions(bytes.fromhex("0008 0000 0008 0000"))).extensions) == 2


def test_a_nat_address_that_does_not_parse_is_kept() -> None:
    (extension,) = decode(with_extensions(bytes.fromhex("0009 0003 010203"))).extensions

    assert extension == Extension(9, b"\1\2\3", compulsory=False)


def test_unknown_codes_and_flags_are_kept() -> None:
    message = decode(changed(changed(REQUEST, 40, 0xEE), 22, 0xFF, 0xFF))

    assert (message.entries[0].code, message.flags) == (0xEE, 0xFFFF)


@pytest.mark.parametrize(
    "name", ["registration reply, ipv4 over ipv6", "purge request, ipv6 over ipv6"]
)
def test_a_source_nbma_address_may_be_absent(name: str) -> None:
    data = bytes.fromhex(TABLE[name][0])

    message = decode(changed(data[:28] + data[44:], 18, 0))

    assert message.source_nbma == b""
    assert decode(encode(message)) == message


def refusal(data: bytes) -> BadPacket:
    with pytest.raises(BadPacket) as caught:
        decode(data)
    return caught.value


@pytest.mark.parametrize(
    ("data", "reason", "offset"),
    [
        pytest.param(b"", DropReason.TRUNCATED, 0, id="nothing"),
        pytest.param(REQUEST[:27], DropReason.TRUNCATED, 27, id="header cut"),
        pytest.param(sealed(REQUEST[:39]), DropReason.TRUNCATED, 39, id="addresses cut"),
        pytest.param(REQUEST[:-1], DropReason.BAD_PACKET_SIZE, 10, id="packet cut"),
        pytest.param(
            REQUEST[:10] + b"\0\x1b" + REQUEST[12:], DropReason.BAD_PACKET_SIZE, 10, id="tiny size"
        ),
        pytest.param(REQUEST[:-1] + b"\1", DropReason.BAD_CHECKSUM, 12, id="checksum"),
        pytest.param(bytes(28), DropReason.BAD_PACKET_SIZE, 10, id="zeros"),
    ],
)
def test_a_packet_that_is_not_whole_is_dropped_in_silence(
    data: bytes, reason: DropReason, offset: int
) -> None:
    bad = refusal(data)

    assert (bad.reason, bad.offset, bad.answer) == (reason, offset, None)


REGISTRATION = bytes.fromhex(TABLE["registration reply, ipv4 over ipv6"][0])


@pytest.mark.parametrize(
    ("data", "reason", "offset"),
    [
        pytest.param(changed(REQUEST, 16, 0), DropReason.BAD_VERSION, 16, id="version"),
        pytest.param(changed(REQUEST, 17, 0), DropReason.UNKNOWN_TYPE, 17, id="type 0"),
        pytest.param(changed(REQUEST, 17, 9), DropReason.UNKNOWN_TYPE, 17, id="type 9"),
        pytest.param(changed(REQUEST, 0, 0, 8), DropReason.UNSUPPORTED_ADDRESS_FAMILY, 0, id="afn"),
        pytest.param(
            changed(REQUEST, 2, 0, 0x80), DropReason.UNSUPPORTED_ADDRESS_FAMILY, 2, id="protocol"
        ),
        pytest.param(changed(REQUEST, 18, 16), DropReason.BAD_ADDRESS_LENGTH, 18, id="nbma"),
        pytest.param(changed(REQUEST, 18, 0), DropReason.BAD_ADDRESS_LENGTH, 18, id="no nbma"),
        pytest.param(changed(REQUEST, 18, 0x44), DropReason.BAD_ADDRESS_LENGTH, 18, id="E.164"),
        pytest.param(changed(REQUEST, 19, 0x40), DropReason.BAD_ADDRESS_LENGTH, 19, id="sub"),
        pytest.param(changed(REQUEST, 20, 0), DropReason.BAD_ADDRESS_LENGTH, 20, id="source"),
        pytest.param(changed(REQUEST, 20, 5), DropReason.BAD_ADDRESS_LENGTH, 20, id="source 5"),
        pytest.param(changed(REQUEST, 21, 0), DropReason.BAD_ADDRESS_LENGTH, 21, id="destination"),
        pytest.param(changed(REQUEST, 14, 0, 20), DropReason.BAD_EXTENSION_OFFSET, 14, id="inside"),
        pytest.param(changed(REQUEST, 14, 0, 39), DropReason.BAD_EXTENSION_OFFSET, 14, id="early"),
        pytest.param(changed(REQUEST, 14, 0, 49), DropReason.BAD_EXTENSION_OFFSET, 14, id="late"),
        pytest.param(changed(REQUEST, 14, 255, 255), DropReason.BAD_EXTENSION_OFFSET, 14, id="far"),
        pytest.param(sealed(REQUEST[:-1]), DropReason.BAD_CLIENT_INFORMATION, 40, id="short entry"),
        pytest.param(
            changed(REGISTRATION, 62, 4), DropReason.BAD_CLIENT_INFORMATION, 60, id="entry overrun"
        ),
        pytest.param(
            changed(sealed(REQUEST[:40]), 17, 2),
            DropReason.MISSING_CLIENT_INFORMATION,
            40,
            id="resolution reply without entry",
        ),
        pytest.param(
            changed(sealed(REQUEST[:40]), 17, 3),
            DropReason.MISSING_CLIENT_INFORMATION,
            40,
            id="registration request without entry",
        ),
    ],
)
def test_a_malformed_packet_is_a_protocol_error(
    data: bytes, reason: DropReason, offset: int
) -> None:
    bad = refusal(data)

    assert (bad.reason, bad.offset, bad.answer) == (reason, offset, ErrorCode.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    ("octets", "reason", "offset"),
    [
        pytest.param(MARK + b"\x80\0\0", DropReason.EXTENSION_OVERRUN, 56, id="half a header"),
        pytest.param(bytes.fromhex("8003 0001"), DropReason.EXTENSION_OVERRUN, 52, id="value cut"),
        pytest.param(
            bytes.fromhex("0009 ffff 8000 0000"), DropReason.EXTENSION_OVERRUN, 52, id="value huge"
        ),
        pytest.param(MARK + MARK, DropReason.DUPLICATE_EXTENSION, 56, id="duplicate"),
        pytest.param(
            bytes.fromhex("0009 0000 8009 0000"), DropReason.DUPLICATE_EXTENSION, 56, id="same type"
        ),
        pytest.param(
            bytes.fromhex("8003 0001 00"), DropReason.BAD_EXTENSION, 56, id="bad responder"
        ),
        pytest.param(
            bytes.fromhex("8004 000d 00000000000000000000000000"),
            DropReason.BAD_EXTENSION,
            68,
            id="bad forward record",
        ),
        pytest.param(
            bytes.fromhex("8005 000c 000000000000000005000000"),
            DropReason.BAD_EXTENSION,
            64,
            id="bad reverse record",
        ),
    ],
)
def test_a_malformed_extension_is_an_invalid_extension(
    octets: bytes, reason: DropReason, offset: int
) -> None:
    bad = refusal(with_extensions(octets))

    assert (bad.reason, bad.offset, bad.answer) == (reason, offset, ErrorCode.INVALID_EXTENSION)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (with_extensions(MARK + MARK), DropReason.DUPLICATE_EXTENSION),
        (changed(REQUEST, 20, 5), DropReason.BAD_ADDRESS_LENGTH),
        (changed(REQUEST, 16, 0), DropReason.BAD_VERSION),
        (changed(REQUEST, 14, 0, 1), DropReason.BAD_EXTENSION_OFFSET),
    ],
)
def test_an_error_indication_is_never_answered(data: bytes, reason: DropReason) -> None:
    bad = refusal(changed(data, 17, PacketType.ERROR_INDICATION))

    assert (bad.reason, bad.answer) == (reason, None)
