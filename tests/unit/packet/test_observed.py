"""Packets of another daemon: each is understood, and encoding what was understood repeats it."""

import pytest

from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension, authentication_matches
from nhrpd_py.packet.iana import ErrorCode, ExtensionType, PacketType
from nhrpd_py.packet.inner import data_addresses
from nhrpd_py.packet.message import Message, decode, encode
from nhrpd_py.packet.wire import internet_checksum
from tests.unit.packet.vectors import OBSERVED, QUIRKY

HUB_NBMA = bytes([192, 168, 100, 1])
HUB = bytes([10, 255, 255, 1])


def without_flags(data: bytes) -> bytes:
    """The packet with the unused field of an Error Indication zeroed, as the RFC wants it."""
    bare = data[:12] + b"\0\0" + data[14:22] + b"\0\0" + data[24:]
    return bare[:12] + internet_checksum(bare).to_bytes(2, "big") + bare[14:]


@pytest.mark.parametrize("name", sorted(OBSERVED.keys() - QUIRKY))
def test_an_observed_packet_is_repeated_to_the_octet(name: str) -> None:
    assert encode(decode(OBSERVED[name])).hex() == OBSERVED[name].hex()


@pytest.mark.parametrize("name", sorted(QUIRKY))
def test_a_quirky_packet_is_repeated_without_its_quirk(name: str) -> None:
    assert encode(decode(OBSERVED[name])).hex() == without_flags(OBSERVED[name]).hex()


def test_registration_request() -> None:
    message = decode(OBSERVED["registration_request_unique_to_a_dynamic_nhs"])

    spoke = bytes([10, 255, 255, 3])
    assert message == Message(
        type=PacketType.REGISTRATION_REQUEST,
        afn=1,
        protocol_type=0x0800,
        hop_count=1,
        flags=0x8002,
        request_id=1,
        source_nbma=bytes([192, 168, 100, 3]),
        source_protocol=spoke,
        destination_protocol=spoke,
        entries=(ClientInformation(prefix_length=255, holding_time_s=60),),
        extensions=(
            Extension(ExtensionType.FORWARD_TRANSIT_NHS),
            Extension(ExtensionType.REVERSE_TRANSIT_NHS),
            Extension(ExtensionType.RESPONDER_ADDRESS),
            Extension(
                ExtensionType.NAT_ADDRESS,
                bytes.fromhex("0020000000000000 04000400 c0a86401 00000000"),
                compulsory=False,
            ),
        ),
    )


def test_registration_reply_tells_the_address_behind_the_nat() -> None:
    message = decode(OBSERVED["registration_reply_with_two_nat_entries"])
    nat = message.extension(ExtensionType.NAT_ADDRESS)

    assert nat is not None
    nhs, outside = nat.entries(message.nbma_size, message.protocol_size)
    assert (nhs.nbma, nhs.protocol) == (HUB_NBMA, bytes(4))
    assert outside.nbma == bytes([192, 168, 100, 50])
    assert outside.protocol == message.source_protocol
    assert message.source_nbma == bytes([10, 9, 9, 2])


def test_authentication_of_a_registration() -> None:
    message = decode(OBSERVED["registration_request_with_password"])
    authentication = message.extension(ExtensionType.AUTHENTICATION)

    assert authentication is not None
    assert authentication_matches(authentication, b"secret")
    assert message.flags == 0x0002


def test_traffic_indication_carries_the_data_packet() -> None:
    message = decode(OBSERVED["traffic_indication_with_password"])

    assert message.type is PacketType.TRAFFIC_INDICATION
    assert (message.traffic_code, message.request_id, message.entries) == (0, 0, ())
    assert len(message.payload) == 84
    source, target = data_addresses(message.payload, message.protocol_type)
    assert (source, target) == (bytes([172, 16, 2, 1]), bytes([172, 16, 3, 1]))
    # On the wire the destination is the source of the data packet: the target is inside only.
    assert message.destination_protocol == source


def test_transit_records_tell_the_way() -> None:
    message = decode(OBSERVED["resolution_reply_forwarded"])

    def stations(extension_type: ExtensionType) -> list[bytes]:
        extension = message.extension(extension_type)
        assert extension is not None
        return [entry.protocol for entry in extension.entries(4, 4)]

    assert stations(ExtensionType.FORWARD_TRANSIT_NHS) == [HUB]
    assert stations(ExtensionType.REVERSE_TRANSIT_NHS) == [HUB]
    assert stations(ExtensionType.RESPONDER_ADDRESS) == [bytes([10, 255, 255, 4])]
    assert message.entries[0].prefix_length == 24
    assert message.hop_count == 63


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("error_indication_hop_count", ErrorCode.HOP_COUNT_EXCEEDED),
        ("error_indication_authentication", ErrorCode.AUTHENTICATION_FAILURE),
    ],
)
def test_error_indication(name: str, code: ErrorCode) -> None:
    message = decode(OBSERVED[name])

    assert (message.error_code, message.error_offset) == (code, 0)
    assert (message.hop_count, message.flags, message.request_id) == (0, 0, 0)
    assert len(message.payload) == 40


def test_an_ipv6_responder_may_be_named_by_its_ipv4_address() -> None:
    message = decode(OBSERVED["registration_reply_ipv6_responder_ipv4"])
    responder = message.extension(ExtensionType.RESPONDER_ADDRESS)

    assert responder is not None
    (entry,) = responder.entries(message.nbma_size, message.protocol_size)
    assert (entry.nbma, entry.protocol) == (HUB_NBMA, HUB)
    assert message.source_protocol == bytes.fromhex("fd") + bytes(14) + b"\2"
