"""The kernel's routes by address family, and the addresses of this machine, as the kernel reported them."""

from collections.abc import Iterable

from nhrpd_py.core.address import Address, Afi, is_unicast
from nhrpd_py.core.kernel.rib import Rib


class KernelTables:
    """One routing domain of the kernel as the engine knows it. Fed by `handlers.links` and `handlers.routes`."""

    __slots__ = ("_local_addresses", "ribs")

    def __init__(self) -> None:
        self.ribs = {afi: Rib(afi) for afi in Afi}
        self._local_addresses: dict[Address, int] = {}
        """Address → number of links that have it."""

    def is_local(self, address: Address) -> bool:
        """Returns whether some link of this machine has an address; false of 127/8 and ::1, which every machine has."""
        return address in self._local_addresses and is_unicast(address)

    def local_addresses(self) -> Iterable[Address]:
        """Returns the addresses of this machine, of both families."""
        return self._local_addresses

    def add_local(self, address: Address) -> None:
        self._local_addresses[address] = self._local_addresses.get(address, 0) + 1

    def remove_local(self, address: Address) -> None:
        """Notes that one link lost an address; other links may still have it."""
        count = self._local_addresses.get(address, 0) - 1
        if count > 0:
            self._local_addresses[address] = count
        else:
            self._local_addresses.pop(address, None)
