"""The kernel of one machine: it does what an engine asks, and routes overlay packets by it."""

from dataclasses import dataclass, field

from nhrpd_py.core.address import Address, Prefix, prefix_of
from nhrpd_py.core.effects import (
    CloseInterface,
    DropNeighbor,
    DropRoute,
    Effect,
    NeighborState,
    OpenInterface,
    SendPacket,
    SetNeighbor,
    SetRoute,
)
from nhrpd_py.core.events import Route


@dataclass(slots=True, eq=False)
class FakeKernel:
    """Neighbours and routes of the tunnel, and the sockets that are open."""

    neighbors: dict[Address, tuple[Address, NeighborState]] = field(default_factory=dict)
    """By overlay address: the NBMA address and the state."""
    routes: dict[Prefix, Address] = field(default_factory=dict)
    """The engine's, with their gateways; empty: the destination itself."""
    metric: int = 10
    """That of the engine's routes."""
    opened: set[int] = field(default_factory=set)
    wanted: set[Address] = field(default_factory=set)
    """The neighbours that the daemon that runs now asked for; others are of an earlier run."""
    others: dict[Prefix, list[Route]] = field(default_factory=dict)
    """The tunnel's routes that somebody else made."""

    def apply(self, effect: Effect) -> bool:
        """Does what is asked; tells whether what is to be dropped was there. Other effects do nothing."""
        match effect:
            case OpenInterface(ifindex):
                self.opened.add(ifindex)
            case CloseInterface(ifindex):
                self.opened.remove(ifindex)
                self.wanted.clear()
            case SendPacket():
                assert effect.ifindex in self.opened, "sent through a closed interface"
            case SetNeighbor(ifindex, address, nbma, state):
                assert ifindex in self.opened, "a neighbour of a closed interface"
                self.neighbors[address] = (nbma, state)
                self.wanted.add(address)
            case DropNeighbor(ifindex, address):
                assert ifindex in self.opened, "a neighbour of a closed interface"
                return self.neighbors.pop(address, None) is not None
            case SetRoute(prefix, ifindex, gateway):
                assert ifindex in self.opened, "a route of a closed interface"
                self.routes[prefix] = gateway
            case DropRoute(prefix, ifindex):
                assert ifindex in self.opened, "a route of a closed interface"
                return self.routes.pop(prefix, None) is not None
            case _:
                pass
        return True

    def flush(self) -> None:
        """The tunnel went down or away, and its neighbours and the engine's routes with it."""
        self.neighbors.clear()
        self.routes.clear()

    def forget_daemon(self) -> None:
        """The daemon ended; its neighbours stay, its routes are swept by the next one."""
        self.opened.clear()
        self.wanted.clear()
        self.routes.clear()

    def add(self, route: Route) -> None:
        """Somebody else makes a route through the tunnel."""
        self.others.setdefault(route.prefix, []).append(route)

    def remove(self, route: Route) -> None:
        """Somebody else takes a route back."""
        self.others[route.prefix].remove(route)

    def other_routes(self) -> list[Route]:
        """The tunnel's routes that somebody else made."""
        return [route for routes in self.others.values() for route in routes]

    def next_hop(self, destination: Address) -> Address | None:
        """Where an overlay packet goes: by the longest prefix, and the best metric."""
        for length in range(len(destination) * 8, -1, -1):
            prefix = prefix_of(destination, length)
            found = [(each.metric, each.gateway) for each in self.others.get(prefix, ())]
            if prefix in self.routes:
                found.append((self.metric, self.routes[prefix]))
            if found:
                return min(found)[1] or destination
        return None
