from typing import Any

import pytest

from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension
from nhrpd_py.packet.iana import (
    AFN_IPV4,
    AFN_IPV6,
    PROTOCOL_IPV4,
    PROTOCOL_IPV6,
    PacketType,
)
from nhrpd_py.packet.message import Message, decode, encode
from tests.unit.packet.samples import ALL

NBMA = bytes([192, 0, 2, 2])
SPOKE = bytes([10, 0, 0, 2])
HUB = bytes([10, 0, 0, 1])
NBMA_6 = bytes.fromhex("20010db8000000000000000000000002")
SPOKE_6 = bytes.fromhex("fd000000000000000000000000000002")
HUB_6 = bytes.fromhex("fd000000000000000000000000000001")

# Fixed part: afn, protocol, SNAP | hop count, size, checksum, extension offset | version, type,
# lengths. Mandatory part: lengths, flags, request id | addresses | entries. Then extensions.
TABLE = {
    "resolution request": (
        (
            "0001 0800 0000000000  40 0034 a297 0000  01 01 04 00"
            "04 04 c802 00000005  c0000202 0a000002 ac100401"
            "00 00 0000 0578 0258 00 00 00 00"
        ),
        Message(
            type=PacketType.RESOLUTION_REQUEST,
            afn=AFN_IPV4,
            protocol_type=PROTOCOL_IPV4,
            hop_count=64,
            flags=0xC802,
            request_id=5,
            source_nbma=NBMA,
            source_protocol=SPOKE,
            destination_protocol=bytes([172, 16, 4, 1]),
            entries=(ClientInformation(mtu=1400, holding_time_s=600),),
        ),
    ),
    "resolution request without entry": (
        (
            "0001 0800 0000000000  40 0028 f275 0000  01 01 04 00"
            "04 04 8000 00000005  c0000202 0a000002 ac100401"
        ),
        Message(
            type=PacketType.RESOLUTION_REQUEST,
            afn=AFN_IPV4,
            protocol_type=PROTOCOL_IPV4,
            hop_count=64,
            flags=0x8000,
            request_id=5,
            source_nbma=NBMA,
            source_protocol=SPOKE,
            destination_protocol=bytes([172, 16, 4, 1]),
        ),
    ),
    "resolution reply": (
        (
            "0001 0800 0000000000  ff 0034 e5a9 0000  01 02 04 00"
            "04 04 8000 00000005  c0000202 0a000002 ac100401"
            "0c 00 0000 0000 0000 00 00 00 00"
        ),
        Message(
            type=PacketType.RESOLUTION_REPLY,
            afn=AFN_IPV4,
            protocol_type=PROTOCOL_IPV4,
            flags=0x8000,
            request_id=5,
            source_nbma=NBMA,
            source_protocol=SPOKE,
            destination_protocol=bytes([172, 16, 4, 1]),
            entries=(ClientInformation(code=12),),
        ),
    ),
    "registration request, ipv6 over ipv4, every extension": (
        "0001 86dd 0000000000  01 00ae f6f1 004c  01 03 04 00"
        "10 10 8002 00000001  c0000202"
        + SPOKE_6.hex()
        + HUB_6.hex()
        + "00 ff 0000 0000 003c 00 00 00 00"
        "8003 0000  8004 0020 00 00 0000 0000 003c 04 00 10 00 c0000202"
        + SPOKE_6.hex()
        + "8005 0000"
        "8007 0007 00000001 707764"
        "0008 0004 00000c01  8008 0004 00000c02"
        "0009 0008 0000000000000000"
        "800a 0002 abcd"
        "1fff 0001 00"
        "8000 0000",
        Message(
            type=PacketType.REGISTRATION_REQUEST,
            afn=AFN_IPV4,
            protocol_type=PROTOCOL_IPV6,
            hop_count=1,
            flags=0x8002,
            request_id=1,
            source_nbma=NBMA,
            source_protocol=SPOKE_6,
            destination_protocol=HUB_6,
            entries=(ClientInformation(prefix_length=255, holding_time_s=60),),
            extensions=(
                Extension(3),
                Extension(
                    4,
                    bytes.fromhex("00 00 0000 0000 003c 04 00 10 00 c0000202") + SPOKE_6,
                ),
                Extension(5),
                Extension(7, b"\0\0\0\1pwd"),
                Extension(8, b"\0\0\x0c\1", compulsory=False),
                Extension(8, b"\0\0\x0c\2"),
                Extension(9, bytes(8), compulsory=False),
                Extension(10, b"\xab\xcd"),
                Extension(0x1FFF, b"\0", compulsory=False),
            ),
        ),
    ),
    "registration reply, ipv4 over ipv6": (
        "0002 0800 0000000000  ff 0040 10f8 0000  01 04 10 00"
        "04 04 8000 00000001" + NBMA_6.hex() + "0a000002 0a000001"
        "0e ff 0000 0000 0000 00 00 00 00",
        Message(
            type=PacketType.REGISTRATION_REPLY,
            afn=AFN_IPV6,
            protocol_type=PROTOCOL_IPV4,
            flags=0x8000,
            request_id=1,
            source_nbma=NBMA_6,
            source_protocol=SPOKE,
            destination_protocol=HUB,
            entries=(ClientInformation(code=14, prefix_length=255),),
        ),
    ),
    "purge request, ipv6 over ipv6": (
        "0002 86dd 0000000000  ff 0068 a1a0 0000  01 05 10 00"
        "10 10 8000 ffffffff"
        + NBMA_6.hex()
        + SPOKE_6.hex()
        + HUB_6.hex()
        + "00 40 0000 0000 0000 00 00 10 00"
        + SPOKE_6.hex(),
        Message(
            type=PacketType.PURGE_REQUEST,
            afn=AFN_IPV6,
            protocol_type=PROTOCOL_IPV6,
            flags=0x8000,
            request_id=0xFFFFFFFF,
            source_nbma=NBMA_6,
            source_protocol=SPOKE_6,
            destination_protocol=HUB_6,
            entries=(ClientInformation(prefix_length=64, protocol=SPOKE_6),),
        ),
    ),
    "purge reply with a subaddress": (
        (
            "0001 0800 0000000000  ff 003a 5dcc 0000  01 06 04 02"
            "04 04 0000 00000002  c0000202 abcd 0a000002 0a000001"
            "00 18 0000 0000 0000 00 00 04 00 0a000000"
        ),
        Message(
            type=PacketType.PURGE_REPLY,
            afn=AFN_IPV4,
            protocol_type=PROTOCOL_IPV4,
            request_id=2,
            source_nbma=NBMA,
            source_nbma_subaddress=b"\xab\xcd",
            source_protocol=SPOKE,
            destination_protocol=HUB,
            entries=(ClientInformation(prefix_length=24, protocol=bytes([10, 0, 0, 0])),),
        ),
    ),
    "error indication": (
        (
            "0001 0800 0000000000  ff 002b 13aa 0000  01 07 04 00"
            "04 04 0000 000f 0009  c0000202 0a000002 0a000001  010203"
        ),
        Message(
            type=PacketType.ERROR_INDICATION,
            afn=AFN_IPV4,
            protocol_type=PROTOCOL_IPV4,
            source_nbma=NBMA,
            source_protocol=SPOKE,
            destination_protocol=HUB,
            error_code=15,
            error_offset=9,
            payload=b"\1\2\3",
        ),
    ),
    "error indication without addresses": (
        "0001 0800 0000000000  ff 001c f5d5 0000  01 07 00 00  00 00 0000 0007 0000",
        Message(
            type=PacketType.ERROR_INDICATION,
            afn=AFN_IPV4,
            protocol_type=PROTOCOL_IPV4,
            source_nbma=b"",
            source_protocol=b"",
            destination_protocol=b"",
            error_code=7,
        ),
    ),
    "traffic indication": (
        (
            "0001 0800 0000000000  ff 0039 7d82 002a  01 08 04 00"
            "04 04 0000 0001 0000  c0000202 0a000002 0a000001  4500"
            "8007 0007 00000001 707764  8000 0000"
        ),
        Message(
            type=PacketType.TRAFFIC_INDICATION,
            afn=AFN_IPV4,
            protocol_type=PROTOCOL_IPV4,
            source_nbma=NBMA,
            source_protocol=SPOKE,
            destination_protocol=HUB,
            traffic_code=1,
            payload=b"\x45\0",
            extensions=(Extension(7, b"\0\0\0\1pwd"),),
        ),
    ),
}


@pytest.mark.parametrize(("octets", "message"), TABLE.values(), ids=TABLE.keys())
def test_packets_are_decoded(octets: str, message: Message) -> None:
    assert decode(bytes.fromhex(octets)) == message


@pytest.mark.parametrize(("octets", "message"), TABLE.values(), ids=TABLE.keys())
def test_packets_are_encoded(octets: str, message: Message) -> None:
    assert encode(message).hex() == bytes.fromhex(octets).hex()


@pytest.mark.parametrize("message", ALL.values(), ids=ALL.keys())
def test_what_is_encoded_is_decoded(message: Message) -> None:
    assert decode(encode(message)) == message


def test_an_extension_is_found_by_type() -> None:
    message = TABLE["registration request, ipv6 over ipv4, every extension"][1]

    assert message.extension(8) == Extension(8, b"\0\0\x0c\1", compulsory=False)
    assert message.extension(99) is None


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("resolution request", (4, 4)),
        ("registration request, ipv6 over ipv4, every extension", (4, 16)),
        ("registration reply, ipv4 over ipv6", (16, 4)),
        ("purge request, ipv6 over ipv6", (16, 16)),
    ],
)
def test_a_message_knows_the_sizes_of_its_addresses(name: str, sizes: tuple[int, int]) -> None:
    message = TABLE[name][1]

    assert (message.nbma_size, message.protocol_size) == sizes


def test_requests_and_replies_come_in_pairs() -> None:
    kinds = {message.type: (message.is_request, message.is_reply) for message in ALL.values()}

    assert [kinds[member] for member in PacketType] == [
        (True, False),
        (False, True),
        (True, False),
        (False, True),
        (True, False),
        (False, True),
        (False, False),
        (False, False),
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"hop_count": 256},
        {"request_id": 1 << 32},
        {"flags": -1},
        {"entries": (ClientInformation(mtu=65536),)},
        {"extensions": (Extension(9, bytes(65536)),)},
        {"extensions": (Extension(9, bytes(65500)),)},
        {"type": PacketType.ERROR_INDICATION, "error_offset": 65536},
        {"type": PacketType.TRAFFIC_INDICATION, "traffic_code": 65536},
        {"type": PacketType.TRAFFIC_INDICATION, "payload": bytes(65500)},
    ],
)
def test_a_field_that_does_not_fit_is_not_encoded(fields: dict[str, Any]) -> None:
    usual: dict[str, Any] = {
        "type": PacketType.RESOLUTION_REQUEST,
        "afn": AFN_IPV4,
        "protocol_type": PROTOCOL_IPV4,
        "source_nbma": NBMA,
        "source_protocol": SPOKE,
        "destination_protocol": HUB,
    }

    with pytest.raises(ValueError, match="not encodable"):
        encode(Message(**{**usual, **fields}))
