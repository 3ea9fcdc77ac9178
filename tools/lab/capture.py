"""Packets on a link, as tcpdump saw them: outer and inner addresses, and NHRP.

Works on Ethernet links (underlay `eth0`, LAN `lan0`): the delivery header is what a test of a path
wants to see. Decodes just enough of IPv4, IPv6, GRE (RFC 2784, RFC 2890) and NHRP's fixed part.
"""

from __future__ import annotations

import ipaddress
import signal
import struct
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from tools.lab.namespace import CommandFailedError, Namespace, stop, wait_until

START_LIMIT_S = 30.0
PCAP_HEADER = struct.Struct("=IHHiIII")
PCAP_RECORD = struct.Struct("=IIII")
PCAP_MAGIC = 0xA1B2C3D4
ETHERNET_HEADER_BYTES = 14
IPV4_TYPE, IPV6_TYPE, NHRP_TYPE = 0x0800, 0x86DD, 0x2001
PROTOCOL_GRE, PROTOCOL_ESP, PROTOCOL_UDP = 47, 50, 17
UDP_HEADER_BYTES = 8
UDP_IKE, UDP_IKE_NAT = 500, 4500
IKE_HEADER_BYTES, IKE_EXCHANGE_OFFSET, IKE_FLAGS_OFFSET = 28, 18, 19
IKE_RESPONSE = 0x20
GRE_CHECKSUM, GRE_KEY, GRE_SEQUENCE = 0x8000, 0x2000, 0x1000
NHRP_TYPE_OFFSET = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One captured packet. Without GRE, `inner_*` are None."""

    time: float
    """Seconds since 1970 on the guest's clock."""
    outer_source: str
    outer_destination: str
    inner_source: str | None = None
    inner_destination: str | None = None
    nhrp_type: int | None = None
    """RFC 2332 §5.2 packet type, None when this is not NHRP."""
    gre_key: int | None = None
    is_esp: bool = False
    ike_exchange: int | None = None
    """RFC 7296 §3.1 exchange type, None when this is not IKE."""
    is_ike_response: bool = False
    payload: bytes = b""
    """The NHRP message, or the inner IP packet, or what follows the outer IP header."""

    @property
    def is_nhrp(self) -> bool:
        """Whether this is an NHRP message."""
        return self.nhrp_type is not None


@dataclass(slots=True, eq=False)
class Capture:
    """A running tcpdump; a context manager. `packets()` may be asked while it runs and after."""

    namespace: Namespace
    device: str
    path: Path
    expression: str = ""
    _process: subprocess.Popen[Any] | None = None

    def __enter__(self) -> Self:
        options = ["-i", self.device, "-U", "--immediate-mode", "-s", "0", "-Z", "root"]
        log = self.path.with_suffix(".txt")
        self._process = process = self.namespace.popen(
            "tcpdump", *options, "-w", self.path, *self.expression.split(), log=log
        )

        def listens() -> bool:
            """It says so once the socket is open: nothing sent afterwards is missed."""
            if process.poll() is not None:
                raise CommandFailedError(f"tcpdump: {log.read_text(errors='replace')}")
            return "listening on" in log.read_text(errors="replace")

        wait_until(listens, START_LIMIT_S, "tcpdump listens", interval_s=0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> list[Packet]:
        """Ends the capture and returns its packets; harmless when repeated."""
        if self._process is not None:
            stop(self._process, signal.SIGINT)
            self._process = None
        return self.packets()

    def packets(self) -> list[Packet]:
        """Returns what was seen so far."""
        return read_pcap(self.path.read_bytes())

    def nhrp(self, packet_type: int | None = None) -> list[Packet]:
        """Returns the NHRP messages, of one type if given."""
        return [
            packet
            for packet in self.packets()
            if packet.is_nhrp and packet_type in (None, packet.nhrp_type)
        ]

    def carried(self, source: str, destination: str) -> list[Packet]:
        """Returns the packets whose inner addresses are these."""
        wanted = (source, destination)
        return [
            packet
            for packet in self.packets()
            if (packet.inner_source, packet.inner_destination) == wanted
        ]


def read_pcap(data: bytes) -> list[Packet]:
    """Decodes a capture file of an Ethernet link; an unfinished last record is left out."""
    if len(data) < PCAP_HEADER.size:
        return []
    if PCAP_HEADER.unpack_from(data)[0] != PCAP_MAGIC:
        raise ValueError("not a capture file of this byte order")
    packets: list[Packet] = []
    offset = PCAP_HEADER.size
    while offset + PCAP_RECORD.size <= len(data):
        seconds, micros, captured, _ = PCAP_RECORD.unpack_from(data, offset)
        offset += PCAP_RECORD.size
        frame = data[offset : offset + captured]
        offset += captured
        if len(frame) < captured:
            break
        packet = _decode_frame(frame, seconds + micros / 1e6)
        if packet is not None:
            packets.append(packet)
    return packets


def _decode_frame(frame: bytes, time: float) -> Packet | None:
    ethertype = int.from_bytes(frame[12:14], "big")
    outer = _addresses(ethertype, frame[ETHERNET_HEADER_BYTES:])
    if outer is None:
        return None
    source, destination, protocol, payload = outer
    packet = Packet(
        time=time,
        outer_source=source,
        outer_destination=destination,
        is_esp=protocol == PROTOCOL_ESP,
        payload=payload,
    )
    if protocol == PROTOCOL_GRE:
        return decode_gre(packet, payload)
    return _decode_udp(packet, payload) if protocol == PROTOCOL_UDP else packet


def _decode_udp(packet: Packet, payload: bytes) -> Packet:
    """IKE, or ESP behind NAT (RFC 3948): there four octets of zero in front tell which it is."""
    ports = struct.unpack("!HH", payload[:4].ljust(4, b"\0"))
    data = payload[UDP_HEADER_BYTES:]
    if UDP_IKE_NAT in ports:
        if data[:4] != bytes(4):
            return replace(packet, is_esp=True)
        data = data[4:]
    elif UDP_IKE not in ports:
        return packet
    if len(data) < IKE_HEADER_BYTES:
        return packet
    return replace(
        packet,
        ike_exchange=data[IKE_EXCHANGE_OFFSET],
        is_ike_response=bool(data[IKE_FLAGS_OFFSET] & IKE_RESPONSE),
    )


def decode_gre(packet: Packet, payload: bytes) -> Packet:
    """Returns the packet with what its GRE header and content say; unchanged where that is no GRE."""
    if len(payload) < 4:
        return packet
    flags, inner_type = struct.unpack_from("!HH", payload)
    at = 4 + (4 if flags & GRE_CHECKSUM else 0)
    key = int.from_bytes(payload[at : at + 4], "big") if flags & GRE_KEY else None
    at += (4 if flags & GRE_KEY else 0) + (4 if flags & GRE_SEQUENCE else 0)
    content = payload[at:]
    inner = _addresses(inner_type, content)
    is_nhrp = inner_type == NHRP_TYPE and len(content) > NHRP_TYPE_OFFSET
    return replace(
        packet,
        inner_source=inner[0] if inner else None,
        inner_destination=inner[1] if inner else None,
        nhrp_type=content[NHRP_TYPE_OFFSET] if is_nhrp else None,
        gre_key=key,
        payload=content,
    )


def _addresses(ethertype: int, packet: bytes) -> tuple[str, str, int, bytes] | None:
    """Returns source, destination, protocol and payload of an IP packet, None for others."""
    if ethertype == IPV4_TYPE and len(packet) >= 20:
        source, destination = ipaddress.IPv4Address(packet[12:16]), packet[16:20]
        header = (packet[0] & 0x0F) * 4
        text = str(ipaddress.IPv4Address(destination))
        return str(source), text, packet[9], packet[header:]
    if ethertype == IPV6_TYPE and len(packet) >= 40:
        source6, destination6 = packet[8:24], packet[24:40]
        texts = str(ipaddress.IPv6Address(source6)), str(ipaddress.IPv6Address(destination6))
        return *texts, packet[6], packet[40:]
    return None
