"""A network of real engines under virtual time and weather, deterministic to the last packet.

Each station has its site, configuration, kernel, routes and NAT; packets go through seeded weather, and after every
step of a station its safety properties are checked (`invariants`). One seed gives one `trace`, a hash over all that
was sent.
"""

import hashlib
import heapq
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from nhrpd_py.core.address import Address, format_address, prefix_of
from nhrpd_py.core.config import Config
from nhrpd_py.core.effects import (
    DropSa,
    Effect,
    EndSa,
    Halt,
    NeighborState,
    OpenInterface,
    ResolveName,
    SendPacket,
    SetNeighbor,
    WantSa,
)
from nhrpd_py.core.engine import Engine, turn
from nhrpd_py.core.events import (
    AddressRemoved,
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
from nhrpd_py.packet.iana import PacketType
from nhrpd_py.packet.message import Message, decode
from tests.support.engine import RequestIds
from tests.support.fake_charon import Charons
from tests.support.invariants import check
from tests.support.messages import a_data_packet
from tests.support.sites import GRE, UNDERLAY, Site, a_tunnel_of, an_address, links_of
from tests.support.station import Station

FIRST_PROBE_S = 5.0
"""delay_first_probe_time: how long a kernel uses a STALE entry before it probes it."""
MAX_HOPS = 8
LOOK_UP_S = 0.01
MANY_NEIGHBORS = 8
"""Hubs with more neighbours are checked in full at every 64th step only."""
TYPE_AT = 17
"""Offset of the type in a packet."""

Happening = Event | Callable[[], None]
Filter = Callable[[str, str, Message], bool]
"""Returns whether to lose a message, given the names of sender and receiver."""


@dataclass(frozen=True, slots=True)
class Weather:
    """Loss, delay and reordering of packets on the way."""

    loss: float = 0.0
    duplication: float = 0.0
    delay_s: float = 0.01
    jitter_s: float = 0.0
    """Upper limit of the random extra delay; more than the gap between packets reorders them."""


class Network:
    """Stations that exchange packets, by their names, under one clock."""

    def __init__(self, *, seed: int = 0, ipsec: bool = False, ids_per_boot: int = 1000) -> None:
        self.now = 0.0
        self.rng = random.Random(seed)
        self.weather = Weather()
        self.losses: list[Filter] = []
        self.blocked: set[tuple[str, str]] = set()
        """Sender and receiver, whose packets and data all get lost on the way."""
        self.names: dict[str, tuple[Address, ...]] = {}
        """Name → its addresses."""
        self.stations: dict[str, Station] = {}
        self.steps = 0
        self.charons = Charons(self) if ipsec else None
        """None: the test itself gives charon's events."""
        self._ids_per_boot = ids_per_boot
        self._found_at: dict[Address, Station] = {}
        self._sequence = 0
        self._queue: list[tuple[float, int, Station, Happening | None]] = []
        self._trace = hashlib.sha256()

    @property
    def trace(self) -> str:
        """A hash over all that was sent, with times and senders."""
        return self._trace.hexdigest()

    # Stations.

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
        station = Station(
            name,
            site,
            config,
            Engine(config, rng=random.Random(0), request_ids=RequestIds(), now=self.now),
            outside=outside or site.nbma,
            tunnel_length=length,
        )
        station.kernel.metric = config.routes.metric
        for route in routes:
            station.kernel.add(route)
        if length < len(site.tunnel) * 8:
            station.kernel.add(Route(prefix=prefix_of(site.tunnel, length), ifindex=GRE))
        self.stations[name] = station
        self.boot(name)
        return station

    def boot(self, name: str) -> None:
        """Starts a new daemon on what its kernel has."""
        station = self.stations[name]
        station.boots += 1
        station.engine = Engine(
            station.config,
            rng=random.Random(self.rng.random()),
            now=self.now,
            request_ids=RequestIds(self._ids_per_boot * station.boots + 1),
        )
        station.alive = True
        station.wake_at = None
        station.kernel.forget_daemon()
        station.ike.forget_daemon()
        if self.charons is not None:
            self.charons.booted(station)
        for event in links_of(
            station.site, ifindex=station.ifindex, tunnel_length=station.tunnel_length
        ):
            self.give(name, event)
        self._feed_routes(station)

    def kill(self, name: str) -> None:
        """Kills the daemon; its kernel goes on."""
        self.stations[name].alive = False

    def reboot(self, name: str) -> None:
        """Restarts the machine without any saved state."""
        station = self.stations[name]
        station.kernel.flush()
        if self.charons is not None:
            self.charons.lost_all(station)
        self.boot(name)

    def move(self, name: str, nbma: Address) -> None:
        """Gives the machine another NBMA address, as DHCP might."""
        station = self.stations[name]
        old = station.site.nbma
        if self.charons is not None:
            self.charons.lost_all(station)
        station.site, station.outside = replace(station.site, nbma=nbma), nbma
        self.give(name, an_address(UNDERLAY, nbma, 24))
        self.give(name, AddressRemoved(UNDERLAY, old, 24))

    def tunnel_down(self, name: str) -> None:
        """Sets the tunnel down: the kernel flushes its neighbours and routes."""
        station = self.stations[name]
        self.give(name, a_tunnel_of(station.site, ifindex=station.ifindex, up=False))
        station.kernel.flush()

    def tunnel_up(self, name: str) -> None:
        """Sets the tunnel up, with the routes that other programs make."""
        station = self.stations[name]
        self.give(name, a_tunnel_of(station.site, ifindex=station.ifindex))
        self._feed_routes(station)

    def replace_tunnel(self, name: str) -> None:
        """Deletes the netdev and makes it anew, with another ifindex."""
        station = self.stations[name]
        self.give(name, LinkGone(station.ifindex))
        station.kernel.flush()
        station.ifindex += 10
        self.give(name, a_tunnel_of(station.site, ifindex=station.ifindex))
        self.give(name, an_address(station.ifindex, station.site.tunnel, station.tunnel_length))
        self._feed_routes(station)

    def route(self, name: str, route: Route, *, remove: bool = False) -> None:
        """Changes the routing of a machine, as another program does."""
        kernel = self.stations[name].kernel
        if remove:
            kernel.remove(route)
        elif route.ifindex == GRE:
            kernel.add(route)
        self.give(name, RouteRemoved(route) if remove else RouteAdded(route))

    # Time.

    def run(self, seconds: float) -> None:
        """Runs all events within so many seconds."""
        until = self.now + seconds
        while self._queue and self._queue[0][0] <= until:
            self.now, _, station, event = heapq.heappop(self._queue)
            if event is not None and callable(event):
                event()
            elif not station.alive:
                continue
            elif event is None:
                if station.wake_at == self.now:  # else an earlier wake-up has replaced this one
                    station.wake_at = None
                    self._carry_out(station, station.engine.advance(self.now))
            elif isinstance(event, NeighborSolicited):
                self._probe(station, event)
            elif not isinstance(event, PacketReceived) or event.ifindex == station.ifindex:
                self.give(station.name, event)
        self.now = until

    def give(self, name: str, event: Event) -> None:
        """Gives a station an event."""
        station = self.stations[name]
        if station.alive:
            station.ike.hear(event)
            self._carry_out(station, turn(station.engine, event, self.now))

    def later(self, seconds: float, station: Station, event: Happening) -> None:
        """Gives a station an event after a while."""
        self._push(self.now + seconds, station, event)

    def at(self, nbma: Address) -> Station | None:
        """Returns the station at an outer address."""
        found = self._found_at.get(nbma)
        if found is None or found.outside != nbma:  # the station is new, or moved
            stations = self.stations.values()
            found = next((each for each in stations if each.outside == nbma), None)
            if found is not None:
                self._found_at[nbma] = found
        return found

    # Data.

    def talk(self, one: str, other: str) -> list[str]:
        """Sends a packet from a host behind one station to a host behind another; returns the stations on its path.

        The last one is `other` if the packet arrived.
        """
        source, destination = self.stations[one].site.host, self.stations[other].site.host
        station, path = self.stations[one], [one]
        while station.name != other and len(path) < MAX_HOPS:
            hop = station.kernel.next_hop(destination)
            if hop is None:
                break
            if hop not in station.kernel.neighbors:
                self.give(station.name, NeighborSolicited(station.ifindex, hop, b""))
            entry = station.kernel.neighbors.get(hop)
            if entry is None:
                break
            if entry[1] is NeighborState.STALE:
                probe = NeighborSolicited(station.ifindex, hop, entry[0])
                self.later(FIRST_PROBE_S, station, probe)
            if len(path) > 1:
                sample = a_data_packet(source, destination)
                self.give(station.name, TrafficSeen(station.ifindex, station.ifindex, sample))
            peer = self.at(entry[0])
            if peer is None or not self._carries(station, peer):
                break
            if (station.name, peer.name) in self.blocked:
                break
            station = peer
            path.append(peer.name)
        return path

    # Overridden to keep a record.

    def was_sent(self, station: Station, to: str, data: bytes, *, lost: bool) -> None:
        """Called when a station sent a packet; `to` is the receiver's name, or an unknown address."""

    def was_asked(self, station: Station, effect: Effect) -> None:
        """Called for every other effect of an engine, notices too."""

    # Internals.

    def _probe(self, station: Station, event: NeighborSolicited) -> None:
        """Has the kernel probe an entry in use, if it is still STALE."""
        if station.kernel.neighbors.get(event.address) == (event.nbma, NeighborState.STALE):
            self.give(station.name, event)

    def _feed_routes(self, station: Station) -> None:
        for route in station.kernel.other_routes():
            self.give(station.name, RouteAdded(replace(route, ifindex=station.ifindex)))

    def _push(self, at: float, station: Station, event: Happening | None) -> None:
        self._sequence += 1
        heapq.heappush(self._queue, (at, self._sequence, station, event))

    def _carry_out(self, station: Station, effects: list[Effect]) -> None:
        self.steps += 1
        for effect in effects:
            self._carry_out_one(station, effect)
        is_small = station.is_client or len(station.kernel.neighbors) <= MANY_NEIGHBORS
        check(station, self.now, fully=is_small or self.steps % 64 == 0)
        deadline = station.engine.next_deadline()
        if deadline is not None and (station.wake_at is None or deadline < station.wake_at):
            station.wake_at = deadline
            self._push(deadline, station, None)

    def _carry_out_one(self, station: Station, effect: Effect) -> None:
        station.kernel.apply(effect)
        match effect:
            case SendPacket():
                assert self._may_send(station, effect.nbma), "sent without an SA"
                self._send(station, effect)
                return
            case SetNeighbor():
                assert self._may_send(station, effect.nbma) or not station.ike.told, "no SA"
            case OpenInterface(ifindex):
                for address, (nbma, _) in station.kernel.neighbors.items():
                    self.later(0.0, station, BindingFound(ifindex, address, nbma))
            case WantSa() | DropSa() | EndSa():
                station.ike.carry_out(effect)
                if self.charons is not None:
                    self.charons.asked(station, effect)
            case ResolveName(name):
                found = self.names.get(name, ())
                error = None if found else "name not known"
                self.later(LOOK_UP_S, station, NameResolved(name, found, error))
            case Halt():
                station.alive = False
            case _:
                pass
        self.was_asked(station, effect)

    def _send(self, station: Station, effect: SendPacket) -> None:
        station.sent[PacketType(effect.data[TYPE_AT])] += 1
        when = f"{station.name} {self.now:f} ".encode()
        self._trace.update(when + effect.nbma + effect.data)
        peer = self.at(effect.nbma)
        to = peer.name if peer else format_address(effect.nbma)
        lost = peer is None or not self._carries(station, peer)
        lost = lost or (station.name, to) in self.blocked
        lost = lost or any(each(station.name, to, decode(effect.data)) for each in self.losses)
        weather = self.weather
        doubled = weather.duplication and self.rng.random() < weather.duplication
        for _ in range(2 if doubled else 1):
            lost_now = lost or self.rng.random() < weather.loss
            self.was_sent(station, to, effect.data, lost=lost_now)
            if peer is not None and not lost_now:
                seconds = weather.delay_s
                if weather.jitter_s:
                    seconds += weather.jitter_s * self.rng.random()
                self.later(
                    seconds, peer, PacketReceived(peer.ifindex, station.outside, effect.data)
                )

    def _carries(self, station: Station, peer: Station) -> bool:
        return self.charons is None or self.charons.carries(station, peer)

    def _may_send(self, station: Station, nbma: Address) -> bool:
        return self.charons is None or (station.site.nbma, nbma) in station.ike.known
