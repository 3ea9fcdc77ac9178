"""A second opinion on the codec: the scapy layer comes from the formats, not from our code."""

import pytest

from nhrpd_py.packet.iana import ExtensionType
from nhrpd_py.packet.message import Message, decode, encode
from tests.unit.packet.samples import ALL
from tests.unit.packet.vectors import OBSERVED
from tools.scapy_nhrp import NHRP, ClientInformation, Extension

WITH_ENTRIES = {
    ExtensionType.RESPONDER_ADDRESS,
    ExtensionType.FORWARD_TRANSIT_NHS,
    ExtensionType.REVERSE_TRANSIT_NHS,
    ExtensionType.NAT_ADDRESS,
}


def scapy_entries(entries):
    return [
        ClientInformation(
            code=entry.code,
            prefix_length=entry.prefix_length,
            mtu=entry.mtu,
            holding_time=entry.holding_time_s,
            preference=entry.preference,
            nbma=entry.nbma,
            nbma_subaddress=entry.nbma_subaddress,
            protocol=entry.protocol,
        )
        for entry in entries
    ]


def scapy_extension(extension, message: Message):
    fields = {"type": extension.type, "compulsory": int(extension.compulsory)}
    if extension.type in WITH_ENTRIES:
        entries = extension.entries(message.nbma_size, message.protocol_size)
        return Extension(entries=scapy_entries(entries), **fields)
    if extension.type == ExtensionType.AUTHENTICATION:
        return Extension(secret=extension.value[4:], **fields)
    if extension.type == ExtensionType.VENDOR_PRIVATE:
        oui = int.from_bytes(extension.value[:3], "big")
        return Extension(oui=oui, vendor_data=extension.value[3:], **fields)
    return Extension(value=extension.value, **fields)


def to_scapy(message: Message):
    """The same packet in scapy's terms; sizes, offsets and the checksum are scapy's own."""
    by_type = {
        7: {
            "error_code": message.error_code,
            "error_offset": message.error_offset,
            "enclosed": message.payload,
        },
        8: {"traffic_code": message.traffic_code, "enclosed": message.payload},
    }
    usual = {"request_id": message.request_id, "entries": scapy_entries(message.entries)}
    extensions = [scapy_extension(extension, message) for extension in message.extensions]
    if extensions:
        extensions.append(Extension(type="end"))
    return NHRP(
        type=int(message.type),
        afn=message.afn,
        protocol_type=message.protocol_type,
        hop_count=message.hop_count,
        flags=message.flags,
        source_nbma=message.source_nbma,
        source_nbma_subaddress=message.source_nbma_subaddress,
        source_protocol=message.source_protocol,
        destination_protocol=message.destination_protocol,
        extensions=extensions,
        **by_type.get(int(message.type), usual),
    )


@pytest.mark.parametrize("message", ALL.values(), ids=ALL.keys())
def test_scapy_builds_the_octets_that_we_encode(message: Message) -> None:
    assert bytes(to_scapy(message)).hex() == encode(message).hex()


@pytest.mark.parametrize("message", ALL.values(), ids=ALL.keys())
def test_what_scapy_builds_is_decoded(message: Message) -> None:
    assert decode(bytes(to_scapy(message))) == message


@pytest.mark.parametrize("message", ALL.values(), ids=ALL.keys())
def test_scapy_reads_what_we_encode(message: Message) -> None:
    packet = NHRP(encode(message))

    assert packet.type == message.type
    assert (packet.afn, packet.protocol_type) == (message.afn, message.protocol_type)
    assert (packet.hop_count, packet.flags) == (message.hop_count, message.flags)
    assert packet.source_nbma == message.source_nbma
    assert packet.source_protocol == message.source_protocol
    assert packet.destination_protocol == message.destination_protocol
    assert not packet.payload
    kinds = [(e.type, bool(e.compulsory)) for e in packet.extensions]
    expected = [(e.type, e.compulsory) for e in message.extensions]
    assert kinds == ([*expected, (0, True)] if expected else [])
    if message.type in {7, 8}:
        assert packet.enclosed == message.payload
    else:
        assert packet.request_id == message.request_id
        assert [bytes(e) for e in packet.entries] == [
            bytes(e) for e in scapy_entries(message.entries)
        ]


@pytest.mark.parametrize("data", OBSERVED.values(), ids=OBSERVED.keys())
def test_observed_packets_are_the_same_to_both(data: bytes) -> None:
    packet = NHRP(data)
    message = decode(data)

    assert packet.packet_size == len(data)
    assert packet.source_nbma == message.source_nbma
    assert packet.source_protocol == message.source_protocol
    assert packet.destination_protocol == message.destination_protocol
    assert len([e for e in packet.extensions if e.type]) == len(message.extensions)
    packet.packet_size = packet.checksum = packet.extension_offset = None
    assert bytes(packet) == data


def test_scapy_accepts_and_shows_addresses_as_text() -> None:
    packet = NHRP(
        type="registration-request",
        source_nbma="192.0.2.2",
        source_protocol="fd00::2",
        destination_protocol="fd00::1",
        protocol_type="IPv6",
        entries=[ClientInformation(prefix_length=255, holding_time=600)],
    )

    message = decode(bytes(packet))

    assert message.source_nbma == bytes([192, 0, 2, 2])
    assert message.source_protocol[:2] == b"\xfd\0"
    assert message.entries[0].holding_time_s == 600
    shown = packet.show(dump=True)
    assert "192.0.2.2" in shown
    assert "fd00::1" in shown
    assert "source_nbma_subaddress= b''" in shown
