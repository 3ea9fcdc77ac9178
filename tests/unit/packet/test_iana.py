import pytest

from nhrpd_py.packet import iana
from nhrpd_py.packet.iana import CieCode, ErrorCode, ExtensionType, PacketType


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1, "UNRECOGNIZED_EXTENSION"),
        (2, "LOOP_DETECTED"),
        (3, "LOOP_DETECTED"),
        (6, "PROTOCOL_ADDRESS_UNREACHABLE"),
        (7, "PROTOCOL_ERROR"),
        (8, "SDU_SIZE_EXCEEDED"),
        (9, "INVALID_EXTENSION"),
        (10, "INVALID_RESOLUTION_REPLY"),
        (11, "AUTHENTICATION_FAILURE"),
        (15, "HOP_COUNT_EXCEEDED"),
        (16, "VPN_MISMATCH"),
        (17, "VPN_UNSUPPORTED"),
        (0, "UNKNOWN(0)"),
        (65535, "UNKNOWN(65535)"),
    ],
)
def test_errors_have_names(number: int, text: str) -> None:
    assert iana.describe_error(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "SUCCESS"),
        (4, "ADMINISTRATIVELY_PROHIBITED"),
        (5, "INSUFFICIENT_RESOURCES"),
        (11, "NO_BINDING"),
        (12, "NO_BINDING"),
        (13, "BINDING_NOT_UNIQUE"),
        (14, "UNIQUE_ADDRESS_REGISTERED"),
        (255, "UNKNOWN(255)"),
    ],
)
def test_codes_of_entries_have_names(number: int, text: str) -> None:
    assert iana.describe_cie(number) == text


def test_packet_types_have_names() -> None:
    names = [iana.describe_type(number) for number in range(10)]

    assert names == [
        "UNKNOWN(0)",
        "RESOLUTION_REQUEST",
        "RESOLUTION_REPLY",
        "REGISTRATION_REQUEST",
        "REGISTRATION_REPLY",
        "PURGE_REQUEST",
        "PURGE_REPLY",
        "ERROR_INDICATION",
        "TRAFFIC_INDICATION",
        "UNKNOWN(9)",
    ]


def test_members_are_found_by_number() -> None:
    assert iana.PACKET_TYPES[3] is PacketType.REGISTRATION_REQUEST
    assert sorted(iana.PACKET_TYPES) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_legacy_numbers_are_no_members() -> None:
    assert iana.LEGACY_LOOP_DETECTED not in set(ErrorCode)
    assert iana.LEGACY_NO_BINDING not in set(CieCode)


def test_extension_types_are_the_registered_numbers() -> None:
    assert {member.value for member in ExtensionType} == {0, 3, 4, 5, 7, 8, 9, 10}
