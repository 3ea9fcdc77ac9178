"""Whole engines, brought up by the events of a small router, and functions that give them events and read their
effects.

Router N is at site N of the address plan; 1 is the hub, with routes to the LANs of 2, 3 and 4. Timers have no jitter.
"""

import random
from collections.abc import Iterable
from typing import Any, TypeVar, Unpack

from nhrpd_py.core.address import Address
from nhrpd_py.core.config import Config, InterfaceConfig
from nhrpd_py.core.effects import Effect, SendPacket
from nhrpd_py.core.engine import Engine, turn
from nhrpd_py.core.events import Event, PacketReceived, Route, RouteAdded, TrafficSeen
from nhrpd_py.core.notices import PacketDropped
from nhrpd_py.core.queries import Query, View
from nhrpd_py.core.rows import CacheRow, Row
from nhrpd_py.packet.iana import PacketType
from nhrpd_py.packet.message import Message, decode, encode
from tests.support.messages import (
    a_data_packet,
    a_registration_reply,
    a_registration_request,
)
from tests.support.sites import (
    GRE,
    HUB,
    InterfaceSettings,
    a_route,
    a_site,
    an_interface,
    an_nhs,
    links_of,
    nbma,
    tunnel,
)

T = TypeVar("T")


class Steady(random.Random):
    """A random generator that gives no jitter."""

    def random(self) -> float:
        return 0.0


class RequestIds:
    """A source of request ids that counts up, so that tests can say which one is next."""

    def __init__(self, first: int = 1) -> None:
        self.next = first

    def __call__(self) -> int:
        self.next += 1
        return self.next - 1


class Node:
    """An engine, with functions for its events and views."""

    def __init__(
        self,
        *interfaces: InterfaceConfig,
        events: Iterable[Event] = (),
        now: float = 0.0,
        first_request_id: int = 1,
        rng: random.Random | None = None,
    ) -> None:
        self.config = Config(interfaces={each.name: each for each in interfaces})
        self.request_ids = RequestIds(first_request_id)
        self.engine = Engine(
            self.config, rng=rng or Steady(0), request_ids=self.request_ids, now=now
        )
        self.started: list[Effect] = []
        for event in events:
            self.started += self.engine.handle(event, now)

    def give(self, *events: Event, now: float = 0.0) -> list[Effect]:
        effects: list[Effect] = []
        for event in events:
            effects += turn(self.engine, event, now)
        return effects

    def receive(
        self, packet: Message | bytes, source: Address, now: float = 0.0, ifindex: int = GRE
    ) -> list[Effect]:
        data = packet if isinstance(packet, bytes) else encode(packet)
        return self.engine.handle(PacketReceived(ifindex, source, data), now)

    def see(
        self,
        source: Address,
        destination: Address,
        now: float = 0.0,
        in_ifindex: int = GRE,
        out_ifindex: int = GRE,
    ) -> list[Effect]:
        """Gives the engine a sample of a relayed packet."""
        sample = a_data_packet(source, destination)
        return self.engine.handle(TrafficSeen(in_ifindex, out_ifindex, sample), now)

    def advance(self, now: float) -> list[Effect]:
        return self.engine.advance(now)

    def run(self, until: float) -> list[Effect]:
        """Runs all timers until an instant, while the hub answers registrations."""
        effects: list[Effect] = []
        while (at := self.engine.next_deadline()) is not None and at <= until:
            news = self.engine.advance(at)
            for request in sent(news, PacketType.REGISTRATION_REQUEST):
                news += self.receive(a_registration_reply(request), HUB.nbma, now=at)
            effects += news
        return effects

    def rows(self, view: View, now: float = 0.0) -> list[Row]:
        return self.engine.view(Query(view=view), now)

    def table(self, view: View, *keys: str, now: float = 0.0) -> list[tuple[Any, ...]]:
        """Returns some columns of a view."""
        return [tuple(getattr(row, key) for key in keys) for row in self.rows(view, now)]

    def cache(self, now: float = 0.0) -> dict[str, tuple[str, str | None]]:
        """Returns overlay address → (type, NBMA address), without our own addresses."""
        rows = [row for row in self.rows(View.CACHE, now) if isinstance(row, CacheRow)]
        return {row.protocol: (row.type, row.nbma) for row in rows if row.type != "local"}

    def shortcuts(self, now: float = 0.0) -> list[tuple[object, ...]]:
        return self.table(View.SHORTCUTS, "prefix", "via", "state", now=now)


class NodeSettings(InterfaceSettings, total=False):
    """The settings of a router that a test may give."""

    routes: Iterable[Route]
    prefix_length: int
    """The prefix length of its tunnel address."""
    now: float
    first_request_id: int
    rng: random.Random


def a_node(number: int, *interfaces: InterfaceConfig, **settings: Unpack[NodeSettings]) -> Node:
    """Returns router N: underlay, LAN and tunnel up, with a route to its LAN and the given ones."""
    routes = settings.pop("routes", ())
    prefix_length = settings.pop("prefix_length", 32)
    now = settings.pop("now", 0.0)
    first_request_id = settings.pop("first_request_id", 1)
    rng = settings.pop("rng", Steady(0))
    interface: InterfaceSettings = settings
    return Node(
        *(interfaces or (an_interface(**interface),)),
        events=[
            *links_of(a_site(number), tunnel_length=prefix_length),
            *(RouteAdded(route) for route in routes),
        ],
        now=now,
        first_request_id=first_request_id,
        rng=rng,
    )


def a_hub(*clients: int, **settings: Unpack[NodeSettings]) -> Node:
    """Returns router 1, with clients that registered at time 0."""
    lans = [a_route(f"172.16.{number}.0/24", GRE, tunnel(number)) for number in (2, 3, 4)]
    settings = {"redirect": True, "routes": lans, **settings}
    hub = a_node(1, **settings)
    for number in clients:
        hub.receive(a_registration_request(number), nbma(number))
    return hub


def a_spoke(number: int = 2, *, registered: bool = True, **settings: Unpack[NodeSettings]) -> Node:
    """Returns router N with the summary routes by way of the hub, registered there at time 0."""
    summaries = [a_route(each, GRE, HUB.tunnel) for each in ("10.255.255.0/24", "172.16.0.0/16")]
    settings = {"shortcut": True, "nhs": (an_nhs(),), "routes": summaries, **settings}
    spoke = a_node(number, **settings)
    if registered:
        request = the(sent(spoke.started, PacketType.REGISTRATION_REQUEST))
        spoke.receive(a_registration_reply(request), HUB.nbma)
    return spoke


def packets(effects: Iterable[Effect]) -> list[tuple[Address, Message]]:
    """Returns the packets sent, as outer destination and message."""
    return [(each.nbma, decode(each.data)) for each in effects if isinstance(each, SendPacket)]


def sent(effects: Iterable[Effect], *types: PacketType) -> list[Message]:
    """Returns the messages sent, of some types or of all."""
    return [message for _, message in packets(effects) if message.type in types or not types]


def kinds(effects: Iterable[Effect]) -> list[tuple[Address, PacketType]]:
    """Returns the messages sent, as outer destination and type."""
    return [(to, message.type) for to, message in packets(effects)]


def of(effects: Iterable[Effect], kind: type[T]) -> list[T]:
    """Returns the effects of one class."""
    return [each for each in effects if isinstance(each, kind)]


def drops(effects: Iterable[Effect]) -> list[str]:
    """Returns the reasons of dropped packets."""
    return [each.reason for each in of(effects, PacketDropped)]


def the(items: Iterable[T]) -> T:
    """Returns the only item; fails if there is not exactly one."""
    found = list(items)
    assert len(found) == 1, found
    return found[0]


def the_packet(effects: Iterable[Effect]) -> tuple[Address, Message]:
    """Returns the only message that was sent, with its outer destination."""
    return the(packets(effects))
