import pytest

from nhrpd_py.packet.iana import ErrorCode
from nhrpd_py.packet.wire import BadPacket, DropReason, internet_checksum


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        ("0001f203f4f5f6f7", 0x220D),  # the example of RFC 1071 §3: sum 0xddf2
        ("", 0xFFFF),
        ("0000", 0xFFFF),
        ("ffff", 0x0000),
        ("ffffffff", 0x0000),
        ("0001", 0xFFFE),
        ("01", 0xFEFF),  # odd: padded on the right
        ("000102", 0xFDFE),
        ("8000800080008000", 0xFFFD),  # carries are added back in
    ],
)
def test_checksum_is_the_one_of_rfc_1071(data: str, checksum: int) -> None:
    assert internet_checksum(bytes.fromhex(data)) == checksum


@pytest.mark.parametrize("data", ["0001f203f4f5f6f7", "000102", "ffff", "01"])
def test_data_with_their_checksum_have_checksum_zero(data: str) -> None:
    octets = bytes.fromhex(data)
    checksum = internet_checksum(octets).to_bytes(2, "big")

    assert internet_checksum(checksum + octets) == 0


def test_bad_packet_says_what_and_where() -> None:
    bad = BadPacket(DropReason.BAD_CHECKSUM, 12)

    assert str(bad) == "bad-checksum at offset 12"
    assert (bad.reason, bad.offset, bad.answer) == (DropReason.BAD_CHECKSUM, 12, None)


def test_bad_packet_can_name_an_answer() -> None:
    bad = BadPacket(DropReason.BAD_EXTENSION, 52, ErrorCode.INVALID_EXTENSION)

    assert bad.answer is ErrorCode.INVALID_EXTENSION


def test_drop_reasons_are_labels() -> None:
    # Dashboards are built on these: a change here is a breaking change.
    assert [reason.value for reason in DropReason] == [
        "truncated",
        "bad-version",
        "unknown-type",
        "unsupported-address-family",
        "bad-packet-size",
        "bad-checksum",
        "bad-extension-offset",
        "bad-address-length",
        "bad-client-information",
        "bad-extension",
        "duplicate-extension",
        "extension-overrun",
        "missing-client-information",
        "inner-packet",
        "unknown-interface",
        "not-enabled",
        "from-ourselves",
        "authentication-failed",
        "no-route",
        "hop-count-exceeded",
        "loop-detected",
        "unsolicited-reply",
        "wrong-way",
        "unrecognized-extension",
        "rate-limited",
        "not-allowed",
        "claim-refused",
        "forged-source",
        "foreign-purge",
        "sdu-size-exceeded",
        "no-security-association",
        "not-in-cloud",
        "already-resolved",
        "already-asked",
        "no-room",
        "multicast-not-enabled",
        "multicast-no-group",
        "multicast-cut",
        "multicast-too-long",
        "multicast-pace",
        "multicast-no-target",
    ]
