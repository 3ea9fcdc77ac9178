"""What the engine wants of one tunnel in the kernel: neighbours and routes, and which of them
differ there.

Ten thousand bindings live here a second time, so an entry is one dictionary slot that shares the
engine's own bytes. "Dirty" keys are those to be written: set if wanted at that moment, deleted if
not, so that a set that is followed by a drop (or by another set) costs one message. Owner:
`store`.
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
from nhrpd_py.runtime.netlink.rtnl import drop_route, set_route


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
    """Entries of an earlier run were handed to the engine, which has not had the time to want
    them.
    """
    neighbors: dict[Address, Address] = field(default_factory=dict)
    stale: set[Address] = field(default_factory=set)
    routes: dict[Prefix, Address] = field(default_factory=dict)
    dirty_neighbors: dict[Address, None] = field(default_factory=dict)
    dirty_routes: dict[Prefix, None] = field(default_factory=dict)
    deleting: set[Address] = field(default_factory=set)
    """Neighbours whose RTM_DELNEIGH will be our own doing; emptied by every audit."""

    @property
    def dirty(self) -> bool:
        return self.ready and bool(self.dirty_neighbors or self.dirty_routes)

    def mark_all(self) -> None:
        """Marks everything as to be written anew."""
        self.dirty_neighbors.update(dict.fromkeys(self.neighbors))
        self.dirty_routes.update(dict.fromkeys(self.routes))

    def forget(self) -> None:
        """Drops all that is wanted; the kernel keeps its entries."""
        self.prepared = self.ready = False
        for table in (self.neighbors, self.routes, self.dirty_neighbors, self.dirty_routes):
            table.clear()
        self.stale.clear()
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
                request = set_route(prefix, ifindex, gateway, metric, protocol)
            packed.append(request)
            size += len(request)
        return b"".join(packed)

    def agrees(self, found: Neighbor, protocol: int) -> bool:
        """Returns whether the kernel has a wanted entry exactly as it is wanted."""
        if found.nbma != self.neighbors.get(found.address) or found.protocol != protocol:
            return False
        if found.address in self.stale:
            return bool(found.state & NUD_IN_USE_OR_STALE)
        return found.state == NUD_PERMANENT

    def audit_neighbors(
        self, found: Iterable[Neighbor], expected: set[Address], protocol: int
    ) -> int:
        """Marks as dirty what differs from a dump; `expected` are the addresses that were wanted
        when it began. Returns how many differ."""
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
        for (
            address
        ) in expected:  # not in the kernel; a stale one may have aged away, which is no drift
            if address in self.neighbors and address not in self.dirty_neighbors:
                self.dirty_neighbors[address] = None
                drift += address not in self.stale
        return drift

    def audit_routes(
        self, found: Iterable[Route], expected: set[Prefix], metric: int
    ) -> list[Route]:
        """Marks as dirty the wanted routes that differ from a dump of our protocol's; returns those
        that are not wanted."""
        unwanted: list[Route] = []
        for route in found:
            gateway = self.routes.get(route.prefix)
            if gateway == route.gateway and route.metric == metric:
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
