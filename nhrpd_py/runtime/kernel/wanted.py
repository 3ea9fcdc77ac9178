"""The neighbours and routes that the engine wants in the kernel for one tunnel, and which of them
are still to be written.

Ten thousand bindings are kept here a second time, so an entry is one dictionary slot that shares
the engine's own bytes. "Dirty" keys are to be written: the entry is set if it is wanted at that
moment, else deleted, so that a set that is followed by a drop (or by another set) costs one
message. Owned by `store`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from nhrpd_py.core.address import Address, Prefix
from nhrpd_py.core.events import Route
from nhrpd_py.runtime.netlink.neighbor import (
    NUD_IN_USE_OR_STALE,
    NUD_PERMANENT,
    NUD_STALE,
    Neighbor,
    drop_neighbor,
    set_neighbor,
)
from nhrpd_py.runtime.netlink.rtnl import RouteRead, drop_route, set_route


@dataclass(slots=True, eq=False)
class Wanted:
    """Holds the wanted neighbours and routes of one open interface."""

    ifindex: int
    name: str
    opening: bool = False
    prepared: bool = False
    ready: bool = False
    """Prepared and up: changes may be written. Entries written before NOARP is cleared would be
    flushed by it.
    """
    adopting: bool = False
    """Entries of an earlier run were reported to the engine, which may not want them yet."""
    neighbors: dict[Address, Address] = field(default_factory=dict)
    stale: set[Address] = field(default_factory=set)
    routes: dict[Prefix, Address] = field(default_factory=dict)
    mtus: dict[Prefix, int] = field(default_factory=dict)
    """The MTU of the routes that have one."""
    dirty_neighbors: dict[Address, None] = field(default_factory=dict)
    dirty_routes: dict[Prefix, None] = field(default_factory=dict)
    deleting: set[Address] = field(default_factory=set)
    """Neighbours whose next RTM_DELNEIGH we cause ourselves; emptied by every audit."""

    @property
    def dirty(self) -> bool:
        return self.ready and bool(self.dirty_neighbors or self.dirty_routes)

    def mark_all(self) -> None:
        """Marks all entries as dirty."""
        self.dirty_neighbors.update(dict.fromkeys(self.neighbors))
        self.dirty_routes.update(dict.fromkeys(self.routes))

    def forget(self) -> None:
        """Forgets all wanted entries; the kernel keeps its own."""
        self.prepared = self.ready = False
        for table in (self.neighbors, self.routes, self.dirty_neighbors, self.dirty_routes):
            table.clear()
        self.stale.clear()
        self.mtus.clear()
        self.deleting.clear()

    def pack_neighbors(self, limit: int, protocol: int) -> bytes:
        """Takes dirty neighbours and packs their messages, about `limit` octets of them."""
        packed: list[bytes] = []
        size = 0
        dirty, ifindex = self.dirty_neighbors, self.ifindex
        while dirty and size < limit:
            address = dirty.popitem()[0]
            nbma = self.neighbors.get(address)
            if nbma is None:
                request = drop_neighbor(ifindex, address)
                self.deleting.add(address)
            else:
                state = NUD_STALE if address in self.stale else NUD_PERMANENT
                request = set_neighbor(ifindex, address, nbma, state, protocol)
            packed.append(request)
            size += len(request)
        return b"".join(packed)

    def pack_routes(self, limit: int, metric: int, protocol: int) -> bytes:
        """Takes dirty routes and packs their messages, about `limit` octets of them."""
        packed: list[bytes] = []
        size = 0
        dirty, ifindex = self.dirty_routes, self.ifindex
        while dirty and size < limit:
            prefix = dirty.popitem()[0]
            gateway = self.routes.get(prefix)
            if gateway is None:
                request = drop_route(prefix, ifindex, metric, protocol)
            else:
                mtu = self.mtus.get(prefix, 0)
                request = set_route(prefix, ifindex, gateway, metric, protocol, mtu)
            packed.append(request)
            size += len(request)
        return b"".join(packed)

    def agrees(self, found: Neighbor, protocol: int) -> bool:
        """Returns whether a found neighbour is exactly as the wanted one."""
        if found.nbma != self.neighbors.get(found.address) or found.protocol != protocol:
            return False
        if found.address in self.stale:
            return bool(found.state & NUD_IN_USE_OR_STALE)
        return found.state == NUD_PERMANENT

    def audit_neighbors(
        self, found: Iterable[Neighbor], expected: set[Address], protocol: int
    ) -> int:
        """Marks the neighbours that differ from a dump as dirty; `expected` are the addresses that
        were wanted when it began. Returns how many differ."""
        drift = 0
        self.deleting.clear()
        for entry in found:
            address = entry.address
            expected.discard(address)
            if address in self.dirty_neighbors:
                continue
            if address in self.neighbors:
                differs = not self.agrees(entry, protocol)
            else:
                differs = entry.protocol == protocol and not self.adopting
            if differs:
                self.dirty_neighbors[address] = None
                drift += 1
        for address in expected:  # missing; a stale one may have aged out, which is no drift
            if address in self.neighbors and address not in self.dirty_neighbors:
                self.dirty_neighbors[address] = None
                drift += address not in self.stale
        return drift

    def audit_routes(
        self, found: Iterable[RouteRead], expected: set[Prefix], metric: int
    ) -> list[Route]:
        """Marks the wanted routes that differ from a dump of our protocol's as dirty; returns those
        in the dump that are not wanted."""
        unwanted: list[Route] = []
        for read in found:
            route = read.route
            gateway = self.routes.get(route.prefix)
            if gateway == route.gateway and route.metric == metric:
                if self.mtus.get(route.prefix, 0) == read.mtu:
                    expected.discard(route.prefix)
            elif gateway is None and route.metric == metric:
                if not self.adopting and route.prefix not in self.dirty_routes:
                    unwanted.append(route)
            elif route.metric != metric and not self.adopting:
                unwanted.append(route)  # of an earlier configuration
        for prefix in expected:
            if prefix in self.routes:
                self.dirty_routes[prefix] = None
        return unwanted
