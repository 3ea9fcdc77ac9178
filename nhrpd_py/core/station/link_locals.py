"""The kernel's neighbour entries for link-local addresses of peers (fe80::/10), on one interface.

Routing protocols for IPv6 speak to their neighbours by link-local addresses, and route by way of them. NHRP knows
none: nobody registers one. But such an address tells whose it is, if it was made as usual:

- the kernel makes that of a GRE netdev with `local` of this outer address (RFC 5214 §6.1: fe80::5efe:192.0.2.1, or
  fe80::200:5efe:192.0.2.1 for a public one);
- people give fe80::N to the station with the tunnel address PREFIX::N.

An entry goes when its peer has no binding any more at the outer address that it leads to, or one that left the kernel;
the kernel then asks anew.
Owned by the interface, for the bindings of both families count.
"""

from collections.abc import Iterable

from nhrpd_py.core.address import Address
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.effects import DropNeighbor, SetNeighbor

MAX_ENTRIES = 16384
_ISATAP = (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")
"""How an interface identifier begins that is made of an IPv4 address."""


class LinkLocalEntries:
    """The entries for link-local addresses, each with the NBMA address that it leads to."""

    __slots__ = ("_entries", "_outbox")

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._entries: dict[tuple[int, Address], Address] = {}
        """By ifindex and address."""

    def lead(self, ifindex: int, address: Address, nbma: Address) -> None:
        """Has the kernel send what is for a link-local address to an NBMA address."""
        if len(self._entries) < MAX_ENTRIES or (ifindex, address) in self._entries:
            self._entries[ifindex, address] = nbma
            self._outbox.emit(SetNeighbor(ifindex, address, nbma))

    def left(self, nbma: Address) -> None:
        """Deletes the entries that lead to an NBMA address at which no peer is any more, or that has no SA."""
        if self._entries:
            for key, to in list(self._entries.items()):
                if to == nbma:
                    del self._entries[key]
                    self._outbox.emit(DropNeighbor(*key))

    def forget(self) -> None:
        """Forgets all entries without an effect: the netdev is down or gone."""
        self._entries.clear()


def outer_address_in(address: Address) -> Address:
    """Returns the IPv4 address that a link-local address was made of; empty where it was not."""
    return address[12:] if address[8:12] in _ISATAP else b""


def with_interface_identifier(address: Address, protocols: Iterable[Address]) -> list[Address]:
    """Returns the overlay addresses that have the interface identifier of a link-local one."""
    identifier = address[8:]
    return [each for each in protocols if each[8:] == identifier]
