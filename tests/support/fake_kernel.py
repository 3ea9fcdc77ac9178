"""A fake kernel of one machine: applies an engine's effects, and routes overlay packets by them."""

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
    """The engine's routes with their gateways; empty: the destination itself."""
    metric: int = 10
    """The metric of the engine's routes."""
    opened: set[int] = field(default_factory=set)
    wanted: set[Address] = field(default_factory=set)
    """Neighbours that the present daemon asked for; all others are of an earlier run."""
    others: dict[Prefix, list[Route]] = field(default_factory=dict)
    """The tunnel's routes that somebody else made."""

    def apply(self, effect: Effect) -> bool:
        """Applies an effect; returns False if an entry to be dropped did not exist. Other effects do nothing."""
        match effect:
            case OpenInterface(ifindex):
                self.opened.add(ifindex)
            case CloseInterface(ifindex, final=final):
                assert final or ifindex in self.opened, "what is closed was closed again"
                self.opened.discard(ifindex)
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
        """Removes the neighbours and the engine's routes: the tunnel went down or away."""
        self.neighbors.clear()
        self.routes.clear()

    def forget_daemon(self) -> None:
        """Notes that the daemon ended: its neighbours stay, the next daemon deletes its routes."""
        self.opened.clear()
        self.wanted.clear()
        self.routes.clear()

    def add(self, route: Route) -> None:
        """Adds a route of another program through the tunnel."""
        self.others.setdefault(route.prefix, []).append(route)

    def remove(self, route: Route) -> None:
        """Removes a route of another program."""
        self.others[route.prefix].remove(route)

    def other_routes(self) -> list[Route]:
        """The tunnel's routes that somebody else made."""
        return [route for routes in self.others.values() for route in routes]

    def next_hop(self, destination: Address) -> Address | None:
        """Returns the next hop of an overlay packet, by the longest prefix and the best metric."""
        for length in range(len(destination) * 8, -1, -1):
            prefix = prefix_of(destination, length)
            found = [(each.metric, each.gateway) for each in self.others.get(prefix, ())]
            if prefix in self.routes:
                found.append((self.metric, self.routes[prefix]))
            if found:
                return min(found)[1] or destination
        return None
