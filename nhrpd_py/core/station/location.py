"""Where an overlay address is, seen from one of our stations: here, behind us, behind a peer, or nowhere.

Used by forwarding, resolution and redirects. `Locator` follows the kernel's routes without our own, so that shortcuts
never depend on themselves. The host routes of stations are our own, so the caches of the whole cloud come before the
routes. Of a cache it uses registered and configured bindings; bindings learnt by resolution count only where the caller
says so (`learnt`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from nhrpd_py.core.address import Address, Afi, Prefix, afi_of, host_prefix, is_unicast
from nhrpd_py.core.events import Route
from nhrpd_py.core.kernel.rib import stretch
from nhrpd_py.core.kernel.tables import KernelTables
from nhrpd_py.core.station.binding import Binding, BindingType
from nhrpd_py.core.station.station import Station

MIN_EGRESS_LENGTH = 8
"""A shorter prefix (a default route) is no statement about what lies behind us; FRR draws the line here too."""


class Where(Enum):
    HERE = "here"
    """An address of this machine."""
    BEHIND_US = "behind us"
    """Out of the cloud, by a route or as a client of another cloud of ours: we are the egress router."""
    NEXT_HOP = "next hop"
    """Through a peer whose NBMA address we know."""
    UNRESOLVED = "unresolved"
    """In the cloud, but the NBMA address of the next hop is not known."""
    NOWHERE = "nowhere"
    """No route, or one that drops; or no address of one station: a group's, or one that every machine has."""


@dataclass(frozen=True, slots=True)
class Location:
    where: Where
    station: Station
    """The station to speak through."""
    binding: Binding | None = None
    """NEXT_HOP: the peer."""


class Locator:
    """Finds where addresses are; knows all stations. `locate` changes nothing."""

    __slots__ = ("_stations", "_tables")

    def __init__(self, tables: KernelTables) -> None:
        self._tables = tables
        self._stations: dict[tuple[int, Afi], Station] = {}

    def station(self, ifindex: int, afi: Afi) -> Station | None:
        return self._stations.get((ifindex, afi))

    def replace(self, stations: list[Station]) -> None:
        """Replaces the stations by the present ones; those without a link are left out."""
        self._stations = {
            (each.interface.ifindex, each.afi): each for each in stations if each.interface.ifindex
        }

    def same_cloud(self, one: Station, other: Station) -> bool:
        return one.config.network_id == other.config.network_id

    def cloud(self, station: Station) -> Sequence[Station]:
        """Returns the stations of the cloud, of both families."""
        network_id = station.config.network_id
        return [each for each in self._stations.values() if each.config.network_id == network_id]

    def route(self, address: Address) -> Route | None:
        """Returns the route of others that leads to an address, overlay or NBMA."""
        return self._tables.ribs[afi_of(address)].lookup(address)

    def locate(self, station: Station, address: Address, *, learnt: bool = False) -> Location:
        """Returns where an address is. With `learnt`, bindings learnt by resolution count as next hops too."""
        if not is_unicast(address):
            return Location(Where.NOWHERE, station)
        if self._tables.is_local(address):
            return Location(Where.HERE, station)
        bound = self._bound(station, address, learnt=learnt)
        if bound is not None:
            return bound
        route = self._tables.ribs[station.afi].lookup(address)
        if route is None or route.ifindex == 0:
            return Location(Where.NOWHERE, station)
        outgoing = self._stations.get((route.ifindex, station.afi))
        if outgoing is None or not self.same_cloud(station, outgoing):
            return Location(Where.BEHIND_US, station)
        hop = route.gateway or address
        binding = usable(outgoing, hop, learnt=learnt)
        if binding is None:
            return Location(Where.UNRESOLVED, outgoing)
        return Location(Where.NEXT_HOP, outgoing, binding)

    def known(self, station: Station, address: Address) -> tuple[Station, Binding] | None:
        """Returns the station of the cloud that has a binding for an address, and the binding; up or not."""
        for each in (station, *self.cloud(station)):
            binding = each.cache.get(address)
            if binding is not None:
                return each, binding
        return None

    def _bound(self, station: Station, address: Address, *, learnt: bool) -> Location | None:
        """Finds an address that one of our stations has a binding for; None where none has."""
        binding = usable(station, address, learnt=learnt)
        if binding is not None:
            return Location(Where.NEXT_HOP, station, binding)
        for each in self.cloud(station):
            binding = usable(each, address, learnt=learnt)
            if binding is not None:
                return Location(Where.NEXT_HOP, each, binding)
        if self._is_client_elsewhere(station, address):
            return Location(Where.BEHIND_US, station)
        return None

    def _is_client_elsewhere(self, station: Station, address: Address) -> bool:
        """Returns whether the host route of a station of another cloud leads to an address."""
        for each in self._stations.values():
            if not self.same_cloud(station, each):
                binding = usable(each, address, learnt=False)
                if binding is not None and binding.routed:
                    return True
        return False

    def prefix_around(self, station: Station, address: Address) -> Prefix | None:
        """Returns the prefix to answer with for an address that is here or behind us; None when there is none.

        It holds no NBMA address of the cloud, ours or a peer's: an answer about one, or with one inside, would lead
        the requester's tunnel into itself.

        Costly: looks at each route within the one that leads to the address.
        """
        if address in self._nbma_around(station, address):
            return None
        if self._tables.is_local(address):
            return self._own_prefix(station, address)
        if self._is_client_elsewhere(station, address):
            return host_prefix(address)
        route = self._tables.ribs[station.afi].lookup(address)
        return None if route is None else self._egress_prefix(station, route.prefix, address)

    def _own_prefix(self, station: Station, address: Address) -> Prefix:
        """Returns the prefix for an address of ours: its connected network where that is behind us, else itself."""
        if self._is_tunnel_address(address):
            return host_prefix(address)  # in the cloud, whatever route may cover it
        route = self._tables.ribs[station.afi].lookup(address)
        if route is None or not self._leaves_cloud(station, route):
            return host_prefix(address)
        return self._egress_prefix(station, route.prefix, address) or host_prefix(address)

    def _is_tunnel_address(self, address: Address) -> bool:
        return any(
            each.address == address
            for station in self._stations.values()
            for each in station.interface.addresses
        )

    def _egress_prefix(self, station: Station, prefix: Prefix, address: Address) -> Prefix | None:
        """Returns the widest prefix around an address that wholly leads out of the cloud by one route.

        It holds no address of the cloud either, registered or our own: those have only routes of ours, or none.
        (Router-to-router NHRP sets these constraints.)
        """
        if prefix.length < MIN_EGRESS_LENGTH:
            return None
        rib = self._tables.ribs[station.afi]
        exceptions = [
            route.prefix
            for route in rib.inside(prefix)
            if route.prefix != prefix and not self._leaves_cloud(station, route)
        ]
        for each in self.cloud(station):
            if each.afi is station.afi:
                members = each.cache.around(address)
                members += (own.address for own in each.interface.addresses)
                exceptions += (host_prefix(it) for it in members if len(it) == len(address))
        exceptions += (host_prefix(it) for it in self._nbma_around(station, address))
        return stretch(prefix, address, exceptions)

    def _nbma_around(self, station: Station, address: Address) -> list[Address]:
        """Returns our NBMA addresses in the cloud, and of its peers' those that are nearest to an address."""
        found: list[Address] = []
        for each in self.cloud(station):
            found += (each.interface.nbma, each.nat_nbma, *each.cache.nbma_around(address))
        return [each for each in found if len(each) == len(address)]

    def _leaves_cloud(self, station: Station, route: Route) -> bool:
        if route.ifindex == 0:
            return False
        outgoing = self._stations.get((route.ifindex, station.afi))
        return outgoing is None or not self.same_cloud(station, outgoing)


def usable(station: Station, address: Address, *, learnt: bool) -> Binding | None:
    """Returns the binding of an address if protocol messages for other stations may be sent to it.

    One that was learnt by resolution counts with `learnt` alone, and while its path is known to carry.
    """
    binding = station.cache.get(address)
    if binding is None:
        return None
    if binding.type is BindingType.CACHED and not (learnt and station.paths.carries(binding.nbma)):
        return None
    if not station.circuits.is_up(binding.nbma):
        return None
    return binding
