"""Data packets for a group, which the daemon hands on as they are: what it has to know of one, and its checksum.

RFC 791 §3.1, RFC 8200 §3, RFC 768.
"""

from dataclasses import dataclass

from nhrpd_py.packet.iana import PROTOCOL_IPV4, PROTOCOL_IPV6
from nhrpd_py.packet.wire import BadPacket, DropReason, internet_checksum

IPV4_HEADER, IPV6_HEADER = 20, 40
UDP = 17
UDP_HEADER, CHECKSUM_AT = 8, 6
FRAGMENT = 0x3FFF
"""More fragments, or an offset: the bits of an IPv4 header that only fragments have."""


@dataclass(frozen=True, slots=True)
class GroupPacket:
    """An IP packet whose destination is a multicast group."""

    protocol_type: int
    """Its ethertype."""
    source: bytes
    on_link: bool
    """Its group is one of the link: 224.0.0.0/24 or ff02::/16. No router forwards it."""
    data: bytes
    """The packet, from its IP header to its end."""


def group_packet(captured: bytes) -> GroupPacket:
    """Reads a captured packet. Raises BadPacket for one that is cut, broken, or for a single host."""
    version = captured[0] >> 4 if captured else 0
    if version == 4 and len(captured) >= IPV4_HEADER:  # noqa: PLR2004 (the IP version)
        protocol_type, source = PROTOCOL_IPV4, captured[12:16]
        is_group = captured[16] & 0xF0 == 0xE0  # noqa: PLR2004 (224/4)
        on_link = captured[16:19] == b"\xe0\0\0"
        length = int.from_bytes(captured[2:4])
        is_broken = not IPV4_HEADER <= (captured[0] & 0x0F) * 4 <= length
    elif version == 6 and len(captured) >= IPV6_HEADER:  # noqa: PLR2004
        protocol_type, source = PROTOCOL_IPV6, captured[8:24]
        is_group = captured[24] == 0xFF  # noqa: PLR2004 (ff00::/8)
        on_link = captured[25] & 0x0F == 2  # noqa: PLR2004 (RFC 4291 §2.7: the scope)
        length = IPV6_HEADER + int.from_bytes(captured[4:6])
        is_broken = False
    else:
        raise BadPacket(DropReason.INNER_PACKET, 0)
    if is_broken:
        raise BadPacket(DropReason.INNER_PACKET, 0)
    if not is_group:
        raise BadPacket(DropReason.MULTICAST_NO_GROUP, 0)
    if len(captured) < length:
        raise BadPacket(DropReason.MULTICAST_CUT, len(captured))
    data = captured if len(captured) == length else captured[:length]
    return GroupPacket(protocol_type, source, on_link, _completed(data, version))


def _completed(data: bytes, version: int) -> bytes:
    """Returns a packet with the checksum of its UDP datagram, where the kernel left that to the netdev.

    The field holds the sum of the pseudo header alone then. A tunnel computes the rest as it sends; a copy that was
    taken before, and is sent as it is, would be thrown away by whoever gets it.
    """
    if version == 4:  # noqa: PLR2004
        is_udp = data[9] == UDP and not int.from_bytes(data[6:8]) & FRAGMENT
        start, addresses = (data[0] & 0x0F) * 4, data[12:20]
    else:
        is_udp, start, addresses = data[6] == UDP, IPV6_HEADER, data[8:40]
    if not is_udp or len(data) < start + UDP_HEADER:
        return data
    datagram = data[start:]
    pseudo = addresses + len(datagram).to_bytes(4) + UDP.to_bytes(4)
    at = start + CHECKSUM_AT
    if int.from_bytes(data[at : at + 2]) != 0xFFFF ^ internet_checksum(pseudo):
        return data
    # With the sum of the pseudo header in its place the datagram has all that is to be summed up.
    checksum = internet_checksum(datagram) or 0xFFFF  # 0 says that there is none
    return data[:at] + checksum.to_bytes(2) + data[at + 2 :]
