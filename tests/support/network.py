"""A network of real engines under virtual time and bad weather, deterministic to the last packet.

Nodes are engines with a fake kernel: neighbours, routes, one tunnel, one LAN. Packets go through seeded weather. After
every event of a node its safety properties are checked (`check`). One world is one seed: the same seed gives the same
`trace`, a hash over everything that was sent.
"""

import hashlib
import heapq
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from nhrpd_py.core.address import Address, Prefix, prefix_of
from nhrpd_py.core.config import Config, InterfaceConfig, IpsecConfig, NhsConfig
from nhrpd_py.core.effects import (
    CloseInterface,
    DropNeighbor,
    DropRoute,
    DropSa,
    Effect,
    EndSa,
    NeighborState,
    OpenInterface,
    ResolveName,
    SendPacket,
    SetNeighbor,
    SetRoute,
    WantSa,
)
from nhrpd_py.core.engine import Engine, turn
from nhrpd_py.core.events import (
    AddressAdded,
    AddressRemoved,
    BindingFound,
    Event,
    GreParameters,
    LinkChanged,
    LinkGone,
    NameResolved,
    NeighborSolicited,
    PacketReceived,
    Route,
    RouteAdded,
    TrafficSeen,
)
from tests.support import inspect
from tests.support.fake_charon import Charons, Ike
from tests.support.invariants import check

ETH, LAN = 2, 3
HUB_NAME = "hub.example.net"
DELAY_FIRST_PROBE_S = 5.0
RTT_S = 0.2


@dataclass(slots=True)
class Weather:
    loss: float = 0.0
    duplication: float = 0.0
    delay_s: float = 0.02
    jitter_s: float = 0.0
    """Up to so much more; more than the gap between packets reorders them."""


@dataclass(slots=True, eq=False)
class Node:
    number: int
    engine: Engine
    nbma: Address
    tunnel: Address
    is_hub: bool
    ifindex: int = 4
    alive: bool = True
    up: bool = True
    neighbors: dict[Address, tuple[Address, NeighborState]] = field(default_factory=dict)
    routes: dict[Prefix, Address] = field(default_factory=dict)
    opened: set[int] = field(default_factory=set)
    wake_at: float | None = None
    sent: int = 0
    boots: int = 0
    ike: Ike = field(default_factory=Ike)

    @property
    def lan(self) -> Prefix:
        return Prefix(bytes([172, 16 + (self.number >> 8), self.number & 255, 0]), 24)

    @property
    def host(self) -> Address:
        return self.lan.address[:3] + b"\x0a"


class World:
    """See the module. Node 1 is the hub; spokes are 2 … `spokes` + 1."""

    def __init__(
        self, *, spokes: int, seed: int, holding_time_s: int = 600, ipsec: bool = False
    ) -> None:
        self.now = 0.0
        self.weather = Weather()
        self.rng = random.Random(seed)
        self.notices: dict[str, int] = {}
        self.steps = 0
        self._holding_time_s = holding_time_s
        self.charons = Charons(self) if ipsec else None
        self._sequence = 0
        self._queue: list[tuple[float, int, Node, Event | Callable[[], None] | None]] = []
        self._trace = hashlib.sha256()
        self._by_nbma: dict[Address, Node] = {}
        self.nodes = {number: self._make(number) for number in range(1, spokes + 2)}
        self.hub = self.nodes[1]
        for node in self.nodes.values():
            self.boot(node)

    @property
    def trace(self) -> str:
        return self._trace.hexdigest()

    @property
    def spokes(self) -> list[Node]:
        return [node for node in self.nodes.values() if not node.is_hub]

    # Life of a node.

    def boot(self, node: Node) -> None:
        """Starts a daemon on whatever its kernel has: all for a new process, nothing after a reboot."""
        node.engine = self._engine(node.number, is_hub=node.is_hub)
        node.alive = True
        node.boots += 1
        if self.charons is not None:
            self.charons.booted(node)
        node.wake_at = None
        node.opened.clear()
        left = dict(node.neighbors)
        node.neighbors.clear()  # what the new engine wants is asked for anew; the rest is swept
        node.routes.clear()
        for event in self._facts(node):
            self.give(node, event)
        for address, (nbma, _) in left.items():
            self.give(node, BindingFound(node.ifindex, address, nbma))

    def kill(self, node: Node) -> None:
        node.alive = False

    def reboot(self, node: Node) -> None:
        node.neighbors.clear()
        node.routes.clear()
        if self.charons is not None:
            self.charons.lost_all(node)
        self.boot(node)

    def move(self, node: Node) -> None:
        """Another NBMA address, as DHCP would have it."""
        old = node.nbma
        node.nbma = b"\x0a\x50" + self.rng.randbytes(2)
        if node.nbma in self._by_nbma:
            node.nbma = old
            return
        new, node.nbma = node.nbma, old
        if self.charons is not None:
            self.charons.lost_all(node)
        node.nbma = new
        del self._by_nbma[old]
        self._by_nbma[node.nbma] = node
        self.give(node, AddressAdded(ifindex=ETH, address=node.nbma, prefix_length=8))
        self.give(node, AddressRemoved(ETH, old, 8))

    def flap(self, node: Node) -> None:
        """Down and up: the kernel flushes the tunnel's neighbours and routes."""
        self.give(node, self._tunnel(node, up=False))
        node.neighbors.clear()
        node.routes.clear()
        for event in (self._tunnel(node), *self._static_routes(node)):
            self.give(node, event)

    def replace_netdev(self, node: Node) -> None:
        self.give(node, LinkGone(node.ifindex))
        node.neighbors.clear()
        node.routes.clear()
        node.ifindex += 1
        address = AddressAdded(ifindex=node.ifindex, address=node.tunnel, prefix_length=32)
        for event in (self._tunnel(node), address, *self._static_routes(node)):
            self.give(node, event)

    # Time.

    def run(self, until: float) -> None:
        """Lets everything happen that is due by then."""
        while self._queue and self._queue[0][0] <= until:
            self.now, _, node, event = heapq.heappop(self._queue)
            if callable(event):
                event()
                continue
            if not node.alive:
                continue
            if event is None:
                if node.wake_at is not None and node.wake_at <= self.now:
                    node.wake_at = None
                    self._execute(node, node.engine.advance(self.now))
            elif isinstance(event, PacketReceived) and event.ifindex != node.ifindex:
                continue  # it was on its way to a netdev that is gone
            else:
                self.give(node, event)
        self.now = until

    def give(self, node: Node, event: Event) -> None:
        if node.alive:
            if self.charons is not None:
                self.charons.told(node, event)
            self._execute(node, turn(node.engine, event, self.now))

    def _execute(self, node: Node, effects: list[Effect]) -> None:
        self.steps += 1
        for effect in effects:
            self._carry_out(node, effect)
        check(node, self.now, fully=not node.is_hub or self.steps % 64 == 0)
        deadline = node.engine.next_deadline()
        if deadline is not None and (node.wake_at is None or deadline < node.wake_at):
            node.wake_at = deadline
            self._push(deadline, node, None)

    def _carry_out(self, node: Node, effect: Effect) -> None:
        match effect:
            case SendPacket():
                assert effect.ifindex in node.opened, "sent through a closed interface"
                assert self._may_send(node, effect.nbma), "sent without an SA"
                self._send(node, effect)
            case SetNeighbor():
                assert self._may_send(node, effect.nbma) or not node.ike.told, "no SA"
                assert effect.ifindex in node.opened, "a neighbour of a closed interface"
                node.neighbors[effect.address] = (effect.nbma, effect.state)
            case DropNeighbor(ifindex, address):
                assert ifindex in node.opened
                node.neighbors.pop(address, None)
            case SetRoute():
                assert effect.ifindex in node.opened, "a route of a closed interface"
                node.routes[effect.prefix] = effect.gateway
            case DropRoute(prefix, ifindex):
                assert ifindex in node.opened
                node.routes.pop(prefix, None)
            case OpenInterface(ifindex):
                node.opened.add(ifindex)
            case CloseInterface(ifindex):
                node.opened.remove(ifindex)
            case WantSa() if self.charons is not None:
                self.charons.want(node, effect)
            case DropSa() if self.charons is not None:
                self.charons.drop(node, effect)
            case EndSa() if self.charons is not None:
                self.charons.end(node, effect)
            case ResolveName(name):
                addresses = (self.nodes[1].nbma,) if 1 in self.nodes else ()
                self._push(self.now + 0.01, node, NameResolved(name, addresses))
            case _:
                event = getattr(effect, "event", type(effect).__name__)
                self.notices[event] = self.notices.get(event, 0) + 1

    def _send(self, node: Node, effect: SendPacket) -> None:
        node.sent += 1
        self._trace.update(b"%d %f " % (node.number, self.now) + effect.nbma + effect.data)
        peer = self._by_nbma.get(effect.nbma)
        if peer is None or (self.charons is not None and not self.charons.carries(node, peer)):
            return
        copies = 2 if self.rng.random() < self.weather.duplication else 1
        for _ in range(copies):
            if self.rng.random() < self.weather.loss:
                continue
            at = self.now + self.weather.delay_s + self.weather.jitter_s * self.rng.random()
            self._push(at, peer, PacketReceived(peer.ifindex, node.nbma, effect.data))

    def _may_send(self, node: Node, nbma: Address) -> bool:
        return self.charons is None or (node.nbma, nbma) in node.ike.known

    def at(self, nbma: Address) -> Node | None:
        """The node at an outer address."""
        return self._by_nbma.get(nbma)

    def later(self, seconds: float, node: Node, event: Event | Callable[[], None]) -> None:
        self._push(self.now + seconds, node, event)

    def _push(self, at: float, node: Node, event: Event | Callable[[], None] | None) -> None:
        self._sequence += 1
        heapq.heappush(self._queue, (at, self._sequence, node, event))

    # Data.

    def talk(self, one: Node, two: Node) -> list[int]:
        """Sends a data packet from LAN to LAN; gives the nodes that it passed, ending at `two` if it got there."""
        node, path = one, [one.number]
        for _ in range(6):
            if node is two:
                return path
            gateway = self._gateway(node, two)
            entry = node.neighbors.get(gateway)
            if entry is None:
                self.give(node, NeighborSolicited(node.ifindex, gateway, b""))
                return path
            nbma, state = entry
            if state is NeighborState.STALE:
                event = NeighborSolicited(node.ifindex, gateway, nbma)
                self._push(self.now + DELAY_FIRST_PROBE_S, node, event)
            came_in = len(path) > 1
            if came_in and node.is_hub:
                header = struct.pack(">BBHHHBBH", 0x45, 0, 84, 0, 0, 63, 1, 0)
                sample = header + one.host + two.host + bytes(64)
                self.give(node, TrafficSeen(node.ifindex, node.ifindex, sample))
            peer = self._by_nbma.get(nbma)
            if peer is None or (self.charons is not None and not self.charons.carries(node, peer)):
                return path
            node = peer
            path.append(node.number)
        return path

    def _gateway(self, node: Node, to: Node) -> Address:
        direct = node.routes.get(to.lan)
        if direct:
            return direct
        return to.tunnel if node.is_hub else self.hub.tunnel

    # What there is.

    def _make(self, number: int) -> Node:
        low = number.to_bytes(2)
        node = Node(
            number,
            self._engine(number, is_hub=number == 1),
            nbma=b"\x0a\x40" + low,
            tunnel=b"\x0a\xff" + low,
            is_hub=number == 1,
        )
        self._by_nbma[node.nbma] = node
        return node

    def _engine(self, number: int, *, is_hub: bool) -> Engine:
        nhs = () if is_hub else (NhsConfig(protocol=None, nbma=HUB_NAME),)
        interface = InterfaceConfig(
            name="gre1",
            network_id=1,
            holding_time_s=self._holding_time_s,
            shortcut=True,
            redirect=is_hub,
            nhs=nhs,
            ipsec=IpsecConfig(profile="dmvpn") if self.charons is not None else None,
        )
        return Engine(
            Config(interfaces={"gre1": interface}),
            rng=random.Random(self.rng.random()),
            now=self.now,
            first_request_id=1 + int(self.now) * 64,
        )

    def _facts(self, node: Node) -> list[Event]:
        lan_address = node.lan.address[:3] + b"\x01"
        return [
            LinkChanged(ifindex=ETH, name="eth0", up=True, mtu=1500),
            AddressAdded(ifindex=ETH, address=node.nbma, prefix_length=8),
            LinkChanged(ifindex=LAN, name="lan0", up=True, mtu=1500),
            AddressAdded(ifindex=LAN, address=lan_address, prefix_length=24),
            RouteAdded(Route(prefix=node.lan, ifindex=LAN)),
            self._tunnel(node),
            AddressAdded(ifindex=node.ifindex, address=node.tunnel, prefix_length=32),
            *self._static_routes(node),
        ]

    def _tunnel(self, node: Node, *, up: bool = True) -> LinkChanged:
        gre = GreParameters(key=42, ttl=64, link=ETH)
        return LinkChanged(ifindex=node.ifindex, name="gre1", up=up, mtu=1472, gre=gre)

    def _static_routes(self, node: Node) -> list[Event]:
        if not node.is_hub:
            via_hub = b"\x0a\xff\x00\x01"
            prefixes = [prefix_of(b"\x0a\xff\x00\x00", 16), prefix_of(b"\xac\x10\x00\x00", 12)]
            return [
                RouteAdded(Route(prefix=each, ifindex=node.ifindex, gateway=via_hub))
                for each in prefixes
            ]
        return [
            RouteAdded(Route(prefix=each.lan, ifindex=node.ifindex, gateway=each.tunnel))
            for each in getattr(self, "nodes", {}).values()
            if not each.is_hub
        ]

    def registered(self) -> int:
        """How many spokes are up, with a binding at the hub that leads to them."""
        return sum(
            bool(inspect.servers_up(each.engine))
            and inspect.nbma_of(self.hub.engine, each.tunnel) == each.nbma
            for each in self.spokes
        )
