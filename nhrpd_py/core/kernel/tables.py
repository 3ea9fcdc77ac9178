"""The kernel's routes by address family, and this machine's addresses and networks, as the kernel reported them."""

from collections.abc import Collection, Iterable, Iterator

from nhrpd_py.core.address import (
    SIZE_OF_AFI,
    Address,
    Afi,
    Prefix,
    afi_of,
    is_unicast,
    prefix_of,
)
from nhrpd_py.core.base.prefixmap import PrefixMap
from nhrpd_py.core.events import AddressAdded
from nhrpd_py.core.kernel.rib import Rib


class KernelTables:
    """One routing domain of the kernel as the engine knows it. Fed by `handlers.links` and `handlers.routes`."""

    __slots__ = ("_local_addresses", "_networks", "ribs")

    def __init__(self) -> None:
        self.ribs = {afi: Rib(afi) for afi in Afi}
        self._local_addresses: dict[Address, int] = {}
        """Address → number of links that have it."""
        self._networks: dict[Afi, PrefixMap[dict[int, int]]] = {
            afi: PrefixMap(SIZE_OF_AFI[afi]) for afi in Afi
        }
        """Connected network → ifindexes of its links, with the number of addresses in it."""

    def is_local(self, address: Address) -> bool:
        """Returns whether some link of this machine has an address; false of 127/8 and ::1, which every machine has."""
        return address in self._local_addresses and is_unicast(address)

    def local_addresses(self) -> Iterable[Address]:
        """Returns the addresses of this machine, of both families."""
        return self._local_addresses

    def connected(self, address: Address) -> Iterator[tuple[Prefix, Collection[int]]]:
        """Yields the connected networks around an address with the ifindexes of their links, the longest first.

        A network counts while a link has an address in it, whether that link is up or not.
        """
        yield from self._networks[afi_of(address)].items_around(address)

    def add_address(self, event: AddressAdded) -> None:
        """Notes an address of a link, which must not have it yet, and the network that it is in."""
        address = event.address
        self._local_addresses[address] = self._local_addresses.get(address, 0) + 1
        network = prefix_of(address, event.prefix_length)
        if network.is_host:
            return
        networks = self._networks[afi_of(address)]
        links = networks.get(network)
        if links is None:
            links = networks[network] = {}
        links[event.ifindex] = links.get(event.ifindex, 0) + 1

    def remove_address(self, ifindex: int, address: Address, prefix_length: int) -> None:
        """Notes that a link lost an address; other links may still have it, or others of its network."""
        count = self._local_addresses.get(address, 0) - 1
        if count > 0:
            self._local_addresses[address] = count
        else:
            self._local_addresses.pop(address, None)
        network = prefix_of(address, prefix_length)
        networks = self._networks[afi_of(address)]
        links = networks.get(network)
        if links is None or ifindex not in links:
            return
        links[ifindex] -= 1
        if not links[ifindex]:
            del links[ifindex]
        if not links:
            networks.pop(network)
