"""A few stations and what they say to each other, written down: for transcripts, and for networks that are no star.

`world` plays hundreds of spokes of one kind; here each station has its own site, configuration, routes and NAT, and
every packet, effect and notice can become a line of text. Time is virtual and a packet takes `DELAY_S`. After every
step of a station its kernel and its engine are compared (`Station.check`).
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from nhrpd_py.core.address import (
    Address,
    Afi,
    Prefix,
    afi_of,
    format_address,
    host_prefix,
    prefix_of,
)
from nhrpd_py.core.config import Config
from nhrpd_py.core.effects import (
    CloseInterface,
    DropNeighbor,
    DropRoute,
    Effect,
    Halt,
    NeighborState,
    OpenInterface,
    ResolveName,
    SendPacket,
    SetNeighbor,
    SetRoute,
)
from nhrpd_py.core.engine import Engine, turn
from nhrpd_py.core.events import (
    BindingFound,
    Event,
    LinkGone,
    NameResolved,
    NeighborSolicited,
    PacketReceived,
    Route,
    RouteAdded,
    RouteRemoved,
    TrafficSeen,
)
from nhrpd_py.core.notices import Notice
from nhrpd_py.packet import Message, PacketType, decode
from tests.support import inspect
from tests.support.describe import describe_effect, describe_message, describe_notice
from tests.support.messages import a_data_packet
from tests.support.sites import GRE, Site, a_tunnel_of, links_of

DELAY_S = 0.01
FIRST_PROBE_S = 5.0
"""delay_first_probe_time: how long a kernel uses a STALE entry before it asks."""
MAX_HOPS = 8

Filter = Callable[[str, str, Message], bool]
"""Tells whether to lose a message, given the names of sender and receiver."""


@dataclass(slots=True, eq=False)
class Station:
    """One machine: its engine, and the kernel that obeys it."""

    name: str
    site: Site
    config: Config
    fixed: list[Route]
    """The tunnel's routes that others than the engine made."""
    tunnel_length: int
    outside: Address
    """The NBMA address that others see: another one than its own behind NAT."""
    engine: Engine
    ifindex: int = GRE
    alive: bool = False
    boots: int = 0
    wake_at: float | None = None
    """The earliest time at which it will be woken for its timers."""
    opened: set[int] = field(default_factory=set)
    neighbors: dict[Address, tuple[Address, NeighborState]] = field(default_factory=dict)
    routes: dict[Prefix, Address] = field(default_factory=dict)
    wanted: set[Address | Prefix] = field(default_factory=set)
    request_keys: dict[int, tuple[PacketType, Address]] = field(default_factory=dict)
    sent: Counter[PacketType] = field(default_factory=Counter)

    @property
    def afi(self) -> Afi:
        """The family of the overlay."""
        return afi_of(self.site.tunnel)

    @property
    def servers_up(self) -> list[Address]:
        """The NBMA addresses of the next hop servers that it is registered with."""
        return inspect.servers_up(self.engine, self.afi)

    def next_hop(self, destination: Address) -> Address | None:
        """Where the kernel sends an overlay packet: the longest prefix, of the engine's routes and the others."""
        found = [
            (each.prefix.length, -each.metric, each.gateway)
            for each in self.fixed
            if each.prefix.contains(destination)
        ]
        found += [
            (prefix.length, -self.config.routes.metric, gateway)
            for prefix, gateway in self.routes.items()
            if prefix.contains(destination)
        ]
        if not found:
            return None
        return max(found)[2] or destination

    def check(self, now: float) -> None:
        """What must be true after every step, whatever happened."""
        deadline = self.engine.next_deadline()
        assert deadline is None or deadline > now, f"{self.name}: a timer at or before now"
        if self.ifindex not in self.opened:
            return
        bindings = inspect.bindings(self.engine, self.afi)
        interim = inspect.interim_neighbors(self.engine, self.afi)
        for address in self.neighbors.keys() & self.wanted:
            binding = bindings.get(address)
            led = binding.leads_to or binding.nbma if binding else interim.get(address)
            assert self.neighbors[address][0] == led, self.name
        ways = inspect.ways(self.engine, self.afi)
        justified = {host_prefix(to) for to, each in bindings.items() if each.routed}
        justified |= {each.prefix for each in ways}
        assert self.routes.keys() & self.wanted <= justified, f"{self.name}: a route of nobody"
        for to, binding in bindings.items():
            assert binding.expires_at > now, f"{self.name}: an expired binding"
            is_there = to in self.neighbors or not binding.is_direct
            assert is_there, f"{self.name}: a neighbour is missing"
            assert not binding.routed or host_prefix(to) in self.routes
        for way in ways:
            assert way.expires_at > now, f"{self.name}: an expired shortcut"
            assert way.is_held
            if way.active:
                assert self.routes[way.prefix] == way.peer


class Dialogue:
    """See the module. `lines` is the record."""

    def __init__(self, *, seed: int = 0) -> None:
        self.now = 0.0
        self.lines: list[str] = []
        self.stations: dict[str, Station] = {}
        self.losses: list[Filter] = []
        self.loss = 0.0
        self.hidden: set[PacketType] = set()
        """Types of packets that are not of the theme, and not recorded."""
        self.names: dict[str, tuple[Address, ...]] = {}
        self._rng = random.Random(seed)
        self._queue: list[tuple[float, int, Station, int, Event | None]] = []
        self._sequence = 0

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    # Stations and their lives.

    def add(
        self,
        name: str,
        site: Site,
        config: Config,
        *,
        routes: Iterable[Route] = (),
        tunnel_length: int | None = None,
        outside: Address = b"",
    ) -> Station:
        """Puts a machine into the network and starts it."""
        length = tunnel_length or len(site.tunnel) * 8
        fixed = list(routes)
        if length < len(site.tunnel) * 8:
            fixed.append(Route(prefix=prefix_of(site.tunnel, length), ifindex=GRE))
        engine = Engine(config, rng=random.Random(0), now=self.now)
        station = Station(name, site, config, fixed, length, outside or site.nbma, engine)
        self.stations[name] = station
        self.boot(name)
        return station

    def boot(self, name: str) -> None:
        """Starts a new daemon on what its kernel has."""
        station = self.stations[name]
        station.boots += 1
        station.engine = Engine(
            station.config,
            rng=random.Random(self._rng.random()),
            now=self.now,
            first_request_id=1000 * station.boots + 1,
        )
        station.alive = True
        station.wake_at = None
        station.opened.clear()
        station.wanted.clear()
        for event in links_of(
            station.site, ifindex=station.ifindex, tunnel_length=station.tunnel_length
        ):
            self.give(name, event)
        self._feed_routes(station)

    def kill(self, name: str) -> None:
        """The daemon dies; its kernel goes on."""
        self.stations[name].alive = False
        self._write(name, "is killed")

    def reboot(self, name: str) -> None:
        """The machine starts again, and nothing is left of what it knew."""
        station = self.stations[name]
        station.neighbors.clear()
        station.routes.clear()
        self.boot(name)

    def tunnel_down(self, name: str) -> None:
        """The kernel flushes the tunnel's neighbours and routes."""
        station = self.stations[name]
        self.give(name, a_tunnel_of(station.site, ifindex=station.ifindex, up=False))
        station.neighbors.clear()
        station.routes.clear()

    def tunnel_up(self, name: str) -> None:
        station = self.stations[name]
        self.give(name, a_tunnel_of(station.site, ifindex=station.ifindex))
        self._feed_routes(station)

    def replace_tunnel(self, name: str) -> None:
        """The netdev is deleted and made anew, with another ifindex."""
        station = self.stations[name]
        self.give(name, LinkGone(station.ifindex))
        station.neighbors.clear()
        station.routes.clear()
        station.ifindex += 10
        events = links_of(
            station.site, ifindex=station.ifindex, tunnel_length=station.tunnel_length
        )
        for event in events[5:7]:
            self.give(name, event)
        self._feed_routes(station)

    def route(self, name: str, route: Route, *, remove: bool = False) -> None:
        """Somebody changes the routing of a machine."""
        station = self.stations[name]
        if remove:
            station.fixed.remove(route)
        elif route.ifindex == GRE:
            station.fixed.append(route)
        self.give(name, RouteRemoved(route) if remove else RouteAdded(route))

    # Time.

    def say(self, sentence: str) -> None:
        """A heading of the record."""
        self.lines += ["", f"-- {sentence}"] if self.lines else [f"-- {sentence}"]

    def run(self, seconds: float) -> None:
        """Lets everything happen that happens within so many seconds."""
        until = self.now + seconds
        while self._queue and self._queue[0][0] <= until:
            self.now, _, station, boots, event = heapq.heappop(self._queue)
            if not station.alive or boots != station.boots:
                continue
            if event is None:
                if station.wake_at != self.now:
                    continue  # an earlier one took its place
                station.wake_at = None
                self._carry_out(station, station.engine.advance(self.now))
            elif isinstance(event, NeighborSolicited):
                self._probe(station, event)
            elif not isinstance(event, PacketReceived) or event.ifindex == station.ifindex:
                self.give(station.name, event)
        self.now = until

    def give(self, name: str, event: Event) -> None:
        """Something happens to a station."""
        station = self.stations[name]
        if station.alive:
            self._carry_out(station, turn(station.engine, event, self.now))

    # Data.

    def talk(self, one: str, other: str) -> list[str]:
        """A host behind one station sends a packet to a host behind another: the stations it came through.

        The last one is `other` if it got there.
        """
        source, destination = self.stations[one].site.host, self.stations[other].site.host
        station, path = self.stations[one], [one]
        while station.name != other and len(path) < MAX_HOPS:
            hop = station.next_hop(destination)
            if hop is None:
                break
            if hop not in station.neighbors:
                self.give(station.name, NeighborSolicited(station.ifindex, hop, b""))
            entry = station.neighbors.get(hop)
            if entry is None:
                break
            if entry[1] is NeighborState.STALE:
                probe = NeighborSolicited(station.ifindex, hop, entry[0])
                self._later(FIRST_PROBE_S, station, probe)
            if len(path) > 1:
                sample = a_data_packet(source, destination)
                self.give(station.name, TrafficSeen(station.ifindex, station.ifindex, sample))
            peer = self._at(entry[0])
            if peer is None:
                break
            station = peer
            path.append(peer.name)
        return path

    # Inside.

    def _probe(self, station: Station, event: NeighborSolicited) -> None:
        """The kernel asks about an entry in use, if it is still STALE by now."""
        if station.neighbors.get(event.address) == (event.nbma, NeighborState.STALE):
            self.give(station.name, event)

    def _feed_routes(self, station: Station) -> None:
        for route in station.fixed:
            self.give(
                station.name,
                RouteAdded(
                    Route(
                        prefix=route.prefix,
                        ifindex=station.ifindex,
                        gateway=route.gateway,
                        metric=route.metric,
                    )
                ),
            )

    def _at(self, nbma: Address) -> Station | None:
        return next((each for each in self.stations.values() if each.outside == nbma), None)

    def _later(self, seconds: float, station: Station, event: Event) -> None:
        self._push(self.now + seconds, station, event)

    def _push(self, at: float, station: Station, event: Event | None) -> None:
        self._sequence += 1
        heapq.heappush(self._queue, (at, self._sequence, station, station.boots, event))

    def _carry_out(self, station: Station, effects: list[Effect]) -> None:
        for effect in effects:
            self._carry_out_one(station, effect)
        station.check(self.now)
        deadline = station.engine.next_deadline()
        if deadline is not None and (station.wake_at is None or deadline < station.wake_at):
            station.wake_at = deadline
            self._push(deadline, station, None)

    def _carry_out_one(self, station: Station, effect: Effect) -> None:
        if not isinstance(effect, SendPacket | Notice):
            self._write(station.name, describe_effect(effect))
        match effect:
            case SendPacket():
                self._send(station, effect)
            case SetNeighbor(ifindex, address, nbma, state):
                assert ifindex in station.opened
                station.neighbors[address] = (nbma, state)
                station.wanted.add(address)
            case DropNeighbor(ifindex, address):
                assert ifindex in station.opened
                station.neighbors.pop(address, None)
            case SetRoute(prefix, ifindex, gateway):
                assert ifindex in station.opened
                station.routes[prefix] = gateway
                station.wanted.add(prefix)
            case DropRoute(prefix, ifindex):
                assert ifindex in station.opened
                station.routes.pop(prefix, None)
            case OpenInterface(ifindex):
                station.opened.add(ifindex)
                for address, (nbma, _) in station.neighbors.items():
                    self._later(0.0, station, BindingFound(ifindex, address, nbma))
            case CloseInterface(ifindex):
                station.opened.remove(ifindex)
                station.wanted.clear()
            case ResolveName(name):
                found = self.names.get(name, ())
                error = None if found else "name not known"
                self._later(DELAY_S, station, NameResolved(name, found, error))
            case Halt():
                station.alive = False
            case Notice():
                self._write(station.name, f"* {describe_notice(effect)}")
            case _:
                pass

    def _send(self, station: Station, effect: SendPacket) -> None:
        assert effect.ifindex in station.opened, f"{station.name} sends through a closed interface"
        message = decode(effect.data)
        station.sent[message.type] += 1
        if message.is_request and message.source_protocol == station.site.tunnel:
            key = (message.type, message.destination_protocol)
            known = station.request_keys.setdefault(message.request_id, key)
            assert known == key, f"{station.name} uses a request id twice"
        peer = self._at(effect.nbma)
        to = peer.name if peer else format_address(effect.nbma)
        lost = any(each(station.name, to, message) for each in self.losses)
        lost = lost or peer is None or self._rng.random() < self.loss
        if message.type not in self.hidden:
            fate = " (lost)" if lost else ""
            self._write(station.name, f"-> {to} {describe_message(message)}{fate}")
        if peer is not None and not lost:
            event = PacketReceived(peer.ifindex, station.outside, effect.data)
            self._later(DELAY_S, peer, event)

    def _write(self, name: str, sentence: str) -> None:
        self.lines.append(f"{self.now:9.3f} {name:8} {sentence}")


def binding_at(station: Station, protocol: Address) -> Address | None:
    """The NBMA address that a station's engine has for an overlay address."""
    return inspect.nbma_of(station.engine, protocol, station.afi)
