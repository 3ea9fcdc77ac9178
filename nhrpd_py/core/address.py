"""Addresses and prefixes as the core sees them.

An address is plain `bytes` in network order, 4 (IPv4) or 16 (IPv6) long: what the wire and netlink carry, the
leanest key a dictionary can have, and ordered as people expect. Text appears only at the edges, through
`format_address` and `parse_address`.
"""

import ipaddress
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from nhrpd_py.packet.iana import AFN_IPV4, AFN_IPV6, PROTOCOL_IPV4, PROTOCOL_IPV6

Address: TypeAlias = bytes
"""4 or 16 octets in network order."""

NO_ADDRESS: Address = b""
IPV4_SIZE = 4
IPV6_SIZE = 16


class Afi(StrEnum):
    """Address family of the overlay (ar$pro.type)."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


AFI_OF_PROTOCOL = {PROTOCOL_IPV4: Afi.IPV4, PROTOCOL_IPV6: Afi.IPV6}
PROTOCOL_OF_AFI = {Afi.IPV4: PROTOCOL_IPV4, Afi.IPV6: PROTOCOL_IPV6}
SIZE_OF_AFI = {Afi.IPV4: IPV4_SIZE, Afi.IPV6: IPV6_SIZE}
AFN_OF_SIZE = {IPV4_SIZE: AFN_IPV4, IPV6_SIZE: AFN_IPV6}


def afi_of(address: Address) -> Afi:
    """Returns the family of an address, by its length."""
    return Afi.IPV4 if len(address) == IPV4_SIZE else Afi.IPV6


@lru_cache(maxsize=4096)
def format_address(address: Address) -> str:
    """Writes an address as people do; the empty address is an empty string."""
    return str(ipaddress.ip_address(address)) if address else ""


def parse_address(text: str) -> Address:
    """Reads an address; raises ValueError with a sentence that names the text."""
    return ipaddress.ip_address(text).packed


def is_unicast(address: Address) -> bool:
    """Returns whether an address can name one station: not unspecified, multicast, loopback or broadcast."""
    if len(address) == IPV4_SIZE:
        return 0 < address[0] < 224 and address[0] != 127  # noqa: PLR2004 (224/4 and 127/8)
    return address[0] != 0xFF and address[:15] != bytes(15)  # noqa: PLR2004 (ff00::/8)


def is_public(address: Address) -> bool:
    """Returns whether the public Internet routes an address (IANA's registries of special addresses)."""
    if address[:1] == b"\x0a" or address[:2] == b"\xc0\xa8":  # most clouds have these
        return len(address) != IPV4_SIZE and _is_global(address)
    return _is_global(address)


@lru_cache(maxsize=512)
def _is_global(address: Address) -> bool:
    return ipaddress.ip_address(address).is_global


def is_link_local(address: Address) -> bool:
    """Returns whether an address is of 169.254/16 or fe80::/10, which no NHS can serve."""
    if len(address) == IPV4_SIZE:
        return address[:2] == b"\xa9\xfe"
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80  # noqa: PLR2004 (fe80::/10)


class Prefix(NamedTuple):
    """A network: the address has no bits beyond `length`. A named tuple, for its hash is computed in C."""

    address: Address
    length: int

    def __str__(self) -> str:
        return f"{format_address(self.address)}/{self.length}"

    def contains(self, address: Address) -> bool:
        """Returns whether an address of the same family lies within."""
        return len(address) == len(self.address) and cut(address, self.length) == self.address

    def covers(self, other: "Prefix") -> bool:
        """Returns whether all of `other` lies within this prefix (a prefix covers itself)."""
        return other.length >= self.length and self.contains(other.address)

    @property
    def is_host(self) -> bool:
        return self.length == len(self.address) * 8


def cut(address: Address, length: int) -> Address:
    """Clears the bits of an address beyond the first `length`."""
    bits = len(address) * 8
    if length >= bits:
        return address
    shift = bits - length
    return (int.from_bytes(address) >> shift << shift).to_bytes(len(address))


def prefix_of(address: Address, length: int) -> Prefix:
    """Returns the network of `length` bits around an address."""
    return Prefix(cut(address, length), length)


def host_prefix(address: Address) -> Prefix:
    return Prefix(address, len(address) * 8)


def parse_prefix(text: str) -> Prefix:
    """Reads `address/length` or a lone address; host bits may be set. Raises ValueError."""
    network = ipaddress.ip_network(text, strict=False)
    return Prefix(network.network_address.packed, network.prefixlen)
