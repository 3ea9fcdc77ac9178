"""Every packet that we emit is shown to Wireshark's dissector, in its GRE envelope.

tshark is part of the test environment: without it these tests fail, they are never skipped.
"""

import json
import shutil
import struct
import subprocess
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from nhrpd_py.packet.iana import (
    ETHERTYPE_NHRP,
    PROTOCOL_IPV4,
    ExtensionType,
    PacketType,
)
from nhrpd_py.packet.message import encode
from nhrpd_py.packet.wire import internet_checksum
from tests.unit.packet.samples import ALL

GRE_KEY = 42
GRE_PROTOCOL = 47
KEY_PRESENT = 0x2000
LINKTYPE_RAW = 101


def in_gre(packet: bytes) -> bytes:
    """Wraps an NHRP packet as the kernel does: IPv4, GRE with a key."""
    gre = struct.pack(">HHI", KEY_PRESENT, ETHERTYPE_NHRP, GRE_KEY)
    size = 20 + len(gre) + len(packet)
    source, destination = bytes([192, 0, 2, 2]), bytes([192, 0, 2, 1])
    layout = ">BBHHHBBH4s4s"
    bare = struct.pack(
        layout, 0x45, 0xC0, size, 1, 0x4000, 64, GRE_PROTOCOL, 0, source, destination
    )
    checksum = internet_checksum(bare).to_bytes(2, "big")
    return bare[:10] + checksum + bare[12:] + gre + packet


def write_capture(path: Path, packets: list[bytes]) -> None:
    octets = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, LINKTYPE_RAW)]
    for packet in map(in_gre, packets):
        octets += (struct.pack("<IIII", 0, 0, len(packet), len(packet)), packet)
    path.write_bytes(b"".join(octets))


def dissect(path: Path, packets: list[bytes]) -> list[dict[str, Any]]:
    """Returns Wireshark's layers of each packet; repeated fields are lists."""
    tshark = shutil.which("tshark")
    assert tshark, "tshark is not installed: these tests need Wireshark's command-line tool"
    write_capture(path, packets)
    arguments = [
        tshark,
        "-r",
        str(path),
        "-T",
        "json",
        "--no-duplicate-keys",
        "-o",
        "ip.check_checksum:TRUE",
    ]
    done = subprocess.run(arguments, capture_output=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr.decode()
    dissected = [row["_source"]["layers"] for row in json.loads(done.stdout)]
    assert len(dissected) == len(packets)
    assert all("nhrp" in layers for layers in dissected), "this tshark does not dissect NHRP"
    return dissected


def walk(node):
    """All (key, value) pairs of a dissection, depth first, in the order of the packet."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield key, value
            yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)


def values(layers, key: str) -> list[str]:
    """Every value of one field, as often as it occurs."""
    found: list[str] = []
    for name, value in walk(layers):
        if name == key:
            found += value if isinstance(value, list) else [value]
    return found


def numbers(layers, key: str) -> list[int]:
    return [int(value, 0) for value in values(layers, key)]


def addresses(layers, key: str) -> list[bytes]:
    """Addresses in the order of the packet; Wireshark has other fields for those not IPv4, one of
    them misspelt."""
    return [
        ip_address(value).packed if name == key else bytes.fromhex(value.replace(":", ""))
        for name, value in walk(layers)
        if name in {key, f"{key}_bytes", f"{key}_byets"}
    ]


def complaints(layers) -> list[str]:
    return [
        f"{key}: {value}"
        for key, value in walk(layers)
        if key.startswith(("_ws.expert", "_ws.malformed"))
    ]


@pytest.fixture(scope="module")
def dissections(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    path = tmp_path_factory.mktemp("tshark") / "packets.pcap"
    layers = dissect(path, [encode(message) for message in ALL.values()])
    return dict(zip(ALL, layers, strict=True))


@pytest.mark.parametrize("name", ALL)
def test_wireshark_has_nothing_to_complain_about(
    name: str, dissections: dict[str, dict[str, Any]]
) -> None:
    assert complaints(dissections[name]) == []


@pytest.mark.parametrize("name", ALL)
def test_wireshark_reads_the_header_that_was_meant(
    name: str, dissections: dict[str, dict[str, Any]]
) -> None:
    message = ALL[name]
    layers = dissections[name]
    nhrp = layers["nhrp"]

    assert int(layers["gre"]["gre.key"], 0) == GRE_KEY
    assert numbers(nhrp, "nhrp.hdr.chksum.status")[0] == 1
    assert numbers(nhrp, "nhrp.hdr.op.type")[0] == message.type
    assert numbers(nhrp, "nhrp.hdr.afn")[0] == message.afn
    assert numbers(nhrp, "nhrp.hdr.pro.type")[0] == message.protocol_type
    assert numbers(nhrp, "nhrp.hdr.hopcnt")[0] == message.hop_count
    assert numbers(nhrp, "nhrp.hdr.pktsz")[0] == len(encode(message))
    assert addresses(nhrp, "nhrp.src.nbma.addr")[0] == message.source_nbma
    assert addresses(nhrp, "nhrp.src.prot.addr")[0] == message.source_protocol
    assert addresses(nhrp, "nhrp.dst.prot.addr")[0] == message.destination_protocol
    kinds = numbers(nhrp, "nhrp.ext.type")
    expected = [extension.type for extension in message.extensions]
    if message.type != PacketType.ERROR_INDICATION:
        assert kinds == ([*expected, ExtensionType.END] if expected else [])


@pytest.mark.parametrize("name", ALL)
def test_wireshark_reads_the_body_that_was_meant(
    name: str, dissections: dict[str, dict[str, Any]]
) -> None:
    message = ALL[name]
    nhrp = dissections[name]["nhrp"]

    match message.type:
        case PacketType.ERROR_INDICATION:
            assert numbers(nhrp, "nhrp.err.code") == [message.error_code]
            assert numbers(nhrp, "nhrp.err.offset") == [message.error_offset]
            # The offending packet is dissected in its own right.
            assert numbers(nhrp, "nhrp.hdr.op.type") == [7, 1]
        case PacketType.TRAFFIC_INDICATION:
            inner = "ip.dst" if message.protocol_type == PROTOCOL_IPV4 else "ipv6.dst"
            assert [ip_address(text).packed for text in values(nhrp, inner)] == [
                message.payload[-12:-8]
                if message.protocol_type == PROTOCOL_IPV4
                else message.payload[-24:-8]
            ]
        case _:
            assert numbers(nhrp, "nhrp.flags") == [message.flags]
            assert numbers(nhrp, "nhrp.reqid") == [message.request_id]
            entries = [*message.entries]
            for extension in message.extensions:
                if extension.type in {3, 4, 5, 9}:
                    entries += extension.entries(message.nbma_size, message.protocol_size)
            assert numbers(nhrp, "nhrp.code") == [entry.code for entry in entries]
            assert numbers(nhrp, "nhrp.prefix") == [entry.prefix_length for entry in entries]
            assert numbers(nhrp, "nhrp.mtu") == [entry.mtu for entry in entries]
            assert numbers(nhrp, "nhrp.htime") == [entry.holding_time_s for entry in entries]
            assert numbers(nhrp, "nhrp.pref") == [entry.preference for entry in entries]
            assert addresses(nhrp, "nhrp.client.nbma.addr") == [
                entry.nbma for entry in entries if entry.nbma
            ]
            assert addresses(nhrp, "nhrp.client.prot.addr") == [
                entry.protocol for entry in entries if entry.protocol
            ]


def test_wireshark_would_complain(tmp_path: Path) -> None:
    """The control experiment: the tests above can fail."""
    good = encode(next(iter(ALL.values())))
    wrong_checksum = good[:9] + bytes([good[9] ^ 1]) + good[10:]

    (layers,) = dissect(tmp_path / "bad.pcap", [wrong_checksum])

    assert complaints(layers)
