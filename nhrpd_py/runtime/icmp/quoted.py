"""ICMP errors about outer packets, decoded: what they say, and which packet they quote.

An error quotes the packet that it is about: its IP header and at least 8 octets (RFC 792), for IPv6 as
much as fits (RFC 4443 §2.4). Of GRE that is enough for the key, unless it has a checksum.
"""

import struct
from typing import NamedTuple

from nhrpd_py.core.address import Address
from nhrpd_py.core.events import Obstacle, OuterProtocol, PacketUndelivered

PROTOCOL_UDP, PROTOCOL_GRE, PROTOCOL_ESP = 17, 47, 50
PORT_ESP_IN_UDP = 4500
IPV4_HEADER, IPV6_HEADER, ICMP_HEADER = 20, 40, 8
GRE_CHECKSUM, GRE_KEY = 0x8000, 0x2000
MORE_FRAGMENTS_OFFSET = 0x1FFF
"""The offset in the fragment field: another fragment than the first has no header of GRE."""
IPV6_HOP_BY_HOP, IPV6_ROUTING, IPV6_FRAGMENT, IPV6_DESTINATION = 0, 43, 44, 60
MAX_EXTENSIONS = 4
"""Headers between those of IPv6 and GRE; ip6gre adds one, its encapsulation limit."""

DEST_UNREACHABLE, TIME_EXCEEDED = 3, 11
PROTOCOL_UNREACHABLE, PORT_UNREACHABLE, FRAGMENTATION_NEEDED = 2, 3, 4
PROHIBITED = frozenset({9, 10, 13})
"""Network, host and communication administratively prohibited (RFC 1812 §5.2.7.1)."""
IN_TRANSIT = 0

V6_UNREACHABLE, V6_TOO_BIG, V6_TIME_EXCEEDED, V6_PARAMETER_PROBLEM = 1, 2, 3, 4
V6_PROHIBITED = frozenset({1, 5})
V6_PORT_UNREACHABLE = 4
V6_UNKNOWN_NEXT_HEADER = 1


class _Quoted(NamedTuple):
    """The header of the quoted packet, and what is behind it."""

    source: Address
    destination: Address
    protocol: int
    data: memoryview


def undelivered_ipv4(packet: memoryview, reporter: Address) -> PacketUndelivered | None:
    """Decodes an ICMP packet with its IP header; None where it tells nothing of a tunnel's packet."""
    if len(packet) < IPV4_HEADER:
        return None
    message = packet[(packet[0] & 0x0F) * 4 :]
    if len(message) < ICMP_HEADER + IPV4_HEADER:
        return None
    kind, code, mtu = struct.unpack_from("!BB4xH", message)
    obstacle = _obstacle_ipv4(kind, code)
    quoted = _ipv4(message[ICMP_HEADER:])
    return _event(quoted, obstacle, reporter, mtu)


def undelivered_ipv6(message: memoryview, reporter: Address) -> PacketUndelivered | None:
    """Decodes an ICMPv6 packet without its IP header, like `undelivered_ipv4`."""
    if len(message) < ICMP_HEADER + IPV6_HEADER:
        return None
    kind, code, number = struct.unpack_from("!BB2xI", message)
    obstacle = _obstacle_ipv6(kind, code)
    quoted = _ipv6(message[ICMP_HEADER:])
    return _event(quoted, obstacle, reporter, number)


def _obstacle_ipv4(kind: int, code: int) -> Obstacle | None:
    if kind == TIME_EXCEEDED:
        return Obstacle.EXPIRED if code == IN_TRANSIT else None
    if kind != DEST_UNREACHABLE:
        return None
    if code in PROHIBITED:
        return Obstacle.PROHIBITED
    known = {
        PROTOCOL_UNREACHABLE: Obstacle.NO_PROTOCOL,
        PORT_UNREACHABLE: Obstacle.NO_PORT,
        FRAGMENTATION_NEEDED: Obstacle.TOO_BIG,
    }
    return known.get(code, Obstacle.NO_ROUTE)


def _obstacle_ipv6(kind: int, code: int) -> Obstacle | None:
    if kind == V6_TOO_BIG:
        return Obstacle.TOO_BIG
    if kind == V6_TIME_EXCEEDED:
        return Obstacle.EXPIRED if code == IN_TRANSIT else None
    if kind == V6_PARAMETER_PROBLEM:
        return Obstacle.NO_PROTOCOL if code == V6_UNKNOWN_NEXT_HEADER else None
    if kind != V6_UNREACHABLE:
        return None
    if code in V6_PROHIBITED:
        return Obstacle.PROHIBITED
    return Obstacle.NO_PORT if code == V6_PORT_UNREACHABLE else Obstacle.NO_ROUTE


def _ipv4(packet: memoryview) -> _Quoted | None:
    if packet[0] >> 4 != 4 or int.from_bytes(packet[6:8]) & MORE_FRAGMENTS_OFFSET:  # noqa: PLR2004
        return None
    return _Quoted(
        bytes(packet[12:16]), bytes(packet[16:20]), packet[9], packet[(packet[0] & 0x0F) * 4 :]
    )


def _ipv6(packet: memoryview) -> _Quoted | None:
    if packet[0] >> 4 != 6:  # noqa: PLR2004
        return None
    protocol, rest = packet[6], packet[IPV6_HEADER:]
    for _ in range(MAX_EXTENSIONS):
        if protocol not in (IPV6_HOP_BY_HOP, IPV6_ROUTING, IPV6_FRAGMENT, IPV6_DESTINATION):
            break
        if len(rest) < 8:  # noqa: PLR2004
            return None
        if protocol == IPV6_FRAGMENT:
            if int.from_bytes(rest[2:4]) >> 3:
                return None
            size = 8
        else:
            size = (rest[1] + 1) * 8
        protocol, rest = rest[0], rest[size:]
    return _Quoted(bytes(packet[8:24]), bytes(packet[24:40]), protocol, rest)


def _event(
    quoted: _Quoted | None, obstacle: Obstacle | None, reporter: Address, mtu: int
) -> PacketUndelivered | None:
    if quoted is None or obstacle is None or len(quoted.data) < 4:  # noqa: PLR2004
        return None
    data, key = quoted.data, None
    if quoted.protocol == PROTOCOL_GRE:
        protocol = OuterProtocol.GRE
        flags = int.from_bytes(data[:2])
        if flags & GRE_KEY:
            at = 8 if flags & GRE_CHECKSUM else 4
            if len(data) < at + 4:
                return None
            key = int.from_bytes(data[at : at + 4])
    elif quoted.protocol == PROTOCOL_ESP:
        protocol = OuterProtocol.ESP
    elif quoted.protocol == PROTOCOL_UDP and PORT_ESP_IN_UDP in struct.unpack("!HH", data[:4]):
        protocol = OuterProtocol.ESP_IN_UDP
    else:
        return None
    return PacketUndelivered(
        local=quoted.source,
        remote=quoted.destination,
        protocol=protocol,
        key=key,
        obstacle=obstacle,
        reporter=reporter,
        mtu=mtu if obstacle is Obstacle.TOO_BIG else 0,
    )
