import struct

import pytest

from nhrpd_py.packet.cie import ClientInformation, decode_entries, encode_entries
from nhrpd_py.packet.iana import ErrorCode
from nhrpd_py.packet.wire import BadPacket, DropReason

NBMA_6 = bytes.fromhex("20010db8000000000000000000000002")
TUNNEL_6 = bytes.fromhex("fd000000000000000000000000000002")

# Octets, sizes of the two families, what they say.
TABLE = {
    "nothing": ("", (4, 4), ()),
    "no addresses": (
        "00 ff 0000 0578 0258 00 00 00 00",
        (4, 4),
        (ClientInformation(prefix_length=255, mtu=1400, holding_time_s=600),),
    ),
    "every field": (
        "0c 20 0000 ffff fffe 04 02 04 07  c0000202 abcd 0a000002",
        (4, 4),
        (
            ClientInformation(
                code=12,
                prefix_length=32,
                mtu=65535,
                holding_time_s=65534,
                preference=7,
                nbma=bytes([192, 0, 2, 2]),
                nbma_subaddress=b"\xab\xcd",
                protocol=bytes([10, 0, 0, 2]),
            ),
        ),
    ),
    "protocol address only": (
        "00 18 0000 0000 0000 00 00 04 00  0a000000",
        (4, 4),
        (ClientInformation(prefix_length=24, protocol=bytes([10, 0, 0, 0])),),
    ),
    "ipv6 over ipv4": (
        "00 80 0000 0000 003c 04 00 10 00  c0000202" + TUNNEL_6.hex(),
        (4, 16),
        (
            ClientInformation(
                prefix_length=128,
                holding_time_s=60,
                nbma=bytes([192, 0, 2, 2]),
                protocol=TUNNEL_6,
            ),
        ),
    ),
    "ipv4 over ipv6": (
        "00 20 0000 0000 003c 10 00 04 00" + NBMA_6.hex() + "0a000002",
        (16, 4),
        (
            ClientInformation(
                prefix_length=32,
                holding_time_s=60,
                nbma=NBMA_6,
                protocol=bytes([10, 0, 0, 2]),
            ),
        ),
    ),
    "two": (
        "04 00 0000 0000 0000 00 00 00 00  05 00 0000 0000 0000 04 00 00 00 c0000202",
        (4, 4),
        (ClientInformation(code=4), ClientInformation(code=5, nbma=bytes([192, 0, 2, 2]))),
    ),
}


@pytest.mark.parametrize(("octets", "sizes", "entries"), TABLE.values(), ids=TABLE.keys())
def test_entries_are_decoded(octets, sizes, entries) -> None:
    assert decode_entries(bytes.fromhex(octets), *sizes) == entries


@pytest.mark.parametrize(("octets", "sizes", "entries"), TABLE.values(), ids=TABLE.keys())
def test_entries_are_encoded(octets, sizes, entries) -> None:
    assert encode_entries(entries) == bytes.fromhex(octets)


def test_unused_octets_are_ignored() -> None:
    octets = bytes.fromhex("00 20 dead 0000 0000 00 00 00 00")

    assert decode_entries(octets, 4, 4) == (ClientInformation(prefix_length=32),)


@pytest.mark.parametrize(
    ("octets", "offset"),
    [
        pytest.param("00", 100, id="one octet"),
        pytest.param("00 20 0000 0000 0000 00 00 00", 100, id="one octet short"),
        pytest.param("00 20 0000 0000 0000 03 00 00 00 c00002", 108, id="nbma too small"),
        pytest.param("00 20 0000 0000 0000 10 00 00 00" + "00" * 16, 108, id="nbma of ipv6"),
        pytest.param("00 20 0000 0000 0000 44 00 00 00" + "00" * 4, 108, id="nbma in E.164"),
        pytest.param("00 20 0000 0000 0000 84 00 00 00" + "00" * 4, 108, id="reserved bit"),
        pytest.param("00 20 0000 0000 0000 00 42 00 00 0000", 109, id="subaddress in E.164"),
        pytest.param("00 20 0000 0000 0000 00 00 05 00 0000000000", 110, id="protocol too large"),
        pytest.param("00 20 0000 0000 0000 00 00 10 00" + "00" * 16, 110, id="protocol of ipv6"),
        pytest.param("00 20 0000 0000 0000 04 00 04 00 c0000202 0a0000", 108, id="overrun"),
        pytest.param("00 20 0000 0000 0000 00 3f 00 00 0000", 108, id="subaddress overrun"),
        pytest.param("00 20 0000 0000 0000 00 00 00 00  00", 112, id="rest behind an entry"),
    ],
)
def test_bad_entries_are_refused(octets: str, offset: int) -> None:
    with pytest.raises(BadPacket) as caught:
        decode_entries(bytes.fromhex(octets), 4, 4, base_offset=100)

    assert caught.value.reason is DropReason.BAD_CLIENT_INFORMATION
    assert caught.value.offset == offset
    assert caught.value.answer is ErrorCode.PROTOCOL_ERROR


def test_a_foreign_protocol_address_is_admitted_where_asked_for() -> None:
    octets = bytes.fromhex("00 00 0000 0000 1c20 04 00 04 00  c0000201 0a000001")

    (entry,) = decode_entries(octets, 4, 16, foreign_protocol=True)

    assert entry.protocol == bytes([10, 0, 0, 1])
    with pytest.raises(BadPacket):
        decode_entries(octets, 4, 16)


def test_an_odd_protocol_address_is_never_admitted() -> None:
    octets = bytes.fromhex("00 00 0000 0000 0000 00 00 05 00 0000000000")

    with pytest.raises(BadPacket):
        decode_entries(octets, 4, 4, foreign_protocol=True)


def test_a_field_that_does_not_fit_is_not_encoded() -> None:
    with pytest.raises(struct.error):
        encode_entries([ClientInformation(holding_time_s=65536)])
