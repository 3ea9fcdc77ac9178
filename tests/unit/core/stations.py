"""Whole engines for tests, brought up by the events of a small router, and words to talk to them with.

The numbers are those of the packets that FRR was seen to send: the hub is 192.168.100.1 / 10.255.255.1, spoke n is
192.168.100.n / 10.255.255.n with the LAN 172.16.n.0/24, and the holding time is 60 s. Timers do not jitter.
"""

import random
from collections.abc import Iterable
from typing import TypeVar

from nhrpd_py.core.address import Address, Afi, parse_address, parse_prefix
from nhrpd_py.core.base.jitter import Jitter
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.base.timers import TimerQueue
from nhrpd_py.core.config import Config, InterfaceConfig, MapConfig, NhsConfig, Secret
from nhrpd_py.core.effects import Effect, SendPacket
from nhrpd_py.core.engine import Engine, turn
from nhrpd_py.core.events import (
    AddressAdded,
    Event,
    GreParameters,
    LinkChanged,
    PacketReceived,
    Route,
    RouteAdded,
    TrafficSeen,
)
from nhrpd_py.core.ipsec.associations import Associations
from nhrpd_py.core.ipsec.circuits import Circuits
from nhrpd_py.core.kernel.tables import KernelTables
from nhrpd_py.core.notices import PacketDropped
from nhrpd_py.core.queries import Query, View
from nhrpd_py.core.rows import Row
from nhrpd_py.core.station.cache import Cache
from nhrpd_py.core.station.interface import Interface
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension, cisco_authentication, of_entries
from nhrpd_py.packet.iana import (
    AFN_IPV4,
    NAT,
    PROTOCOL_IPV4,
    RESOLUTION_AUTHORITATIVE,
    RESOLUTION_DESTINATION_STABLE,
    RESOLUTION_ROUTER,
    RESOLUTION_SOURCE_STABLE,
    ExtensionType,
    PacketType,
)
from nhrpd_py.packet.message import Message, decode, encode

T = TypeVar("T")

UNDERLAY = 2
LAN = 3
GRE = 4

REQUEST_FLAGS = RESOLUTION_ROUTER | RESOLUTION_AUTHORITATIVE | RESOLUTION_SOURCE_STABLE | NAT
REPLY_FLAGS = REQUEST_FLAGS | RESOLUTION_DESTINATION_STABLE


class Steady(random.Random):
    """A generator that never jitters."""

    def random(self) -> float:
        return 0.0


def ip(text: str) -> Address:
    return parse_address(text)


def nbma(number: int) -> Address:
    return bytes([192, 168, 100, number])


def tunnel(number: int) -> Address:
    return bytes([10, 255, 255, number])


def host(number: int, last: int = 10) -> Address:
    """A host in the LAN of a node."""
    return bytes([172, 16, number, last])


HUB_NBMA = nbma(1)
HUB = tunnel(1)


def an_interface(name: str = "gre1", **settings: object) -> InterfaceConfig:
    defaults: dict[str, object] = {"network_id": 1, "holding_time_s": 60}
    return InterfaceConfig(name=name, **(defaults | settings))  # type: ignore[arg-type]


class Parts:
    """What an engine gives its entities, for those that stand alone."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self.outbox = Outbox()
        self.timers = TimerQueue()
        self.jitter = Jitter(rng or Steady(0))

    def circuits(self, config: InterfaceConfig) -> Circuits:
        return Circuits(config, Associations(), self.outbox, self.timers, self.jitter)

    def interface(self, config: InterfaceConfig) -> Interface:
        return Interface(config, self.circuits(config))

    def cache(self, interface: Interface) -> Cache:
        return Cache(
            interface, Afi.IPV4, outbox=self.outbox, tables=KernelTables(), timers=self.timers
        )


def a_bare_interface(config: InterfaceConfig) -> Interface:
    """The entity, without an engine around it."""
    return Parts().interface(config)


def an_nhs(
    nbma_text: str = "192.168.100.1",
    protocol: Address | None = None,
    priority: int = 0,
    cluster: int = 0,
) -> NhsConfig:
    return NhsConfig(protocol=protocol, nbma=nbma_text, priority=priority, cluster=cluster)


def a_map(protocol: Address, to: Address) -> MapConfig:
    return MapConfig(protocol=protocol, nbma=to)


SECRET = Secret(b"secret")


def a_link(ifindex: int = UNDERLAY, name: str = "eth0", *, up: bool = True) -> LinkChanged:
    return LinkChanged(ifindex=ifindex, name=name, up=up, mtu=1500)


def a_tunnel_link(
    ifindex: int = GRE, name: str = "gre1", *, up: bool = True, gre: GreParameters | None = None
) -> LinkChanged:
    return LinkChanged(
        ifindex=ifindex,
        name=name,
        up=up,
        mtu=1472,
        gre=gre or GreParameters(key=42, ttl=64, link=UNDERLAY),
    )


def an_address(ifindex: int, address: Address, length: int) -> AddressAdded:
    return AddressAdded(ifindex=ifindex, address=address, prefix_length=length)


def a_route(prefix: str, ifindex: int, gateway: Address = b"", metric: int = 0) -> Route:
    return Route(prefix=parse_prefix(prefix), ifindex=ifindex, gateway=gateway, metric=metric)


class Node:
    """An engine, and what it said since the last look."""

    def __init__(
        self,
        *interfaces: InterfaceConfig,
        events: Iterable[Event] = (),
        now: float = 0.0,
        first_request_id: int = 1,
    ) -> None:
        config = Config(interfaces={each.name: each for each in interfaces})
        self.engine = Engine(config, rng=Steady(0), now=now, first_request_id=first_request_id)
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
        """The firewall samples a packet that is relayed."""
        sample = a_data_packet(source, destination)
        return self.engine.handle(TrafficSeen(in_ifindex, out_ifindex, sample), now)

    def advance(self, now: float) -> list[Effect]:
        return self.engine.advance(now)

    def run(self, until: float) -> list[Effect]:
        """Runs all timers to an instant, while the hub answers registrations."""
        effects: list[Effect] = []
        while (at := self.engine.next_deadline()) is not None and at <= until:
            news = self.engine.advance(at)
            for request in sent(news, PacketType.REGISTRATION_REQUEST):
                news += self.receive(a_registration_reply(request), HUB_NBMA, now=at)
            effects += news
        return effects

    def rows(self, view: View, now: float = 0.0) -> list[Row]:
        return self.engine.view(Query(view=view), now)

    def table(self, view: View, *keys: str, now: float = 0.0) -> list[tuple[object, ...]]:
        """Some columns of a view."""
        return [tuple(getattr(row, key) for key in keys) for row in self.rows(view, now)]

    def cache(self, now: float = 0.0) -> dict[str, tuple[str, str | None]]:
        """Overlay address to (type, NBMA address), without our own addresses."""
        rows = self.table(View.CACHE, "protocol", "type", "nbma", now=now)
        return {str(row[0]): (str(row[1]), row[2]) for row in rows if row[1] != "local"}  # type: ignore[misc]

    def shortcuts(self, now: float = 0.0) -> list[tuple[object, ...]]:
        return self.table(View.SHORTCUTS, "prefix", "via", "state", now=now)


def a_node(
    number: int,
    *interfaces: InterfaceConfig,
    routes: Iterable[Route] = (),
    prefix_length: int = 32,
    now: float = 0.0,
    first_request_id: int = 1,
    **settings: object,
) -> Node:
    """Router `number`: underlay, LAN and tunnel up, with a route to its LAN and those given."""
    events: list[Event] = [
        a_link(),
        an_address(UNDERLAY, nbma(number), 24),
        a_link(LAN, "lan0"),
        an_address(LAN, host(number, 1), 24),
        RouteAdded(a_route(f"172.16.{number}.0/24", LAN)),
        a_tunnel_link(),
        an_address(GRE, tunnel(number), prefix_length),
        *(RouteAdded(route) for route in routes),
    ]
    return Node(
        *(interfaces or (an_interface(**settings),)),  # type: ignore[arg-type]
        events=events,
        now=now,
        first_request_id=first_request_id,
    )


def a_hub(*clients: int, **settings: object) -> Node:
    """Router 1, with clients that registered at time 0."""
    settings = {"redirect": True} | settings
    routes = settings.pop("routes", None)
    if routes is None:
        routes = [a_route(f"172.16.{number}.0/24", GRE, tunnel(number)) for number in (2, 3, 4)]
    hub = a_node(1, routes=routes, **settings)  # type: ignore[arg-type]
    for number in clients:
        hub.receive(a_registration(number), nbma(number))
    return hub


def a_spoke(number: int = 2, *, registered: bool = True, **settings: object) -> Node:
    """Router `number` with the summary routes by way of the hub, registered there at time 0."""
    settings = {"shortcut": True, "nhs": (an_nhs(),)} | settings
    routes = settings.pop("routes", None)
    if routes is None:
        routes = [a_route("10.255.255.0/24", GRE, HUB), a_route("172.16.0.0/16", GRE, HUB)]
    spoke = a_node(number, routes=routes, **settings)  # type: ignore[arg-type]
    if registered:
        request = the(sent(spoke.started, PacketType.REGISTRATION_REQUEST))
        spoke.receive(a_registration_reply(request), HUB_NBMA)
    return spoke


def packets(effects: Iterable[Effect]) -> list[tuple[Address, Message]]:
    """What was sent: outer destination and message."""
    return [(each.nbma, decode(each.data)) for each in effects if isinstance(each, SendPacket)]


def sent(effects: Iterable[Effect], *types: PacketType) -> list[Message]:
    """The messages sent, of some types or of all."""
    return [message for _, message in packets(effects) if message.type in types or not types]


def kinds(effects: Iterable[Effect]) -> list[tuple[Address, PacketType]]:
    return [(to, message.type) for to, message in packets(effects)]


def of(effects: Iterable[Effect], kind: type[T]) -> list[T]:
    return [each for each in effects if isinstance(each, kind)]


def drops(effects: Iterable[Effect]) -> list[str]:
    return [each.reason for each in of(effects, PacketDropped)]


def the(items: Iterable[T]) -> T:
    """The only one there is."""
    found = list(items)
    assert len(found) == 1, found
    return found[0]


def the_packet(effects: Iterable[Effect]) -> tuple[Address, Message]:
    return the(packets(effects))


def std_extensions(*more: Extension) -> tuple[Extension, ...]:
    """The three empty records, in the order that FRR has them, and more."""
    return (
        Extension(ExtensionType.FORWARD_TRANSIT_NHS),
        Extension(ExtensionType.REVERSE_TRANSIT_NHS),
        Extension(ExtensionType.RESPONDER_ADDRESS),
        *more,
    )


def nat_extension(*entries: tuple[Address, Address]) -> Extension:
    """Entries are (protocol, NBMA)."""
    return of_entries(
        ExtensionType.NAT_ADDRESS,
        [ClientInformation(prefix_length=32, nbma=b, protocol=a) for a, b in entries],
        compulsory=False,
    )


AUTHENTICATION = cisco_authentication(b"secret")


def a_record(number: int) -> ClientInformation:
    return ClientInformation(holding_time_s=60, nbma=nbma(number), protocol=tunnel(number))


def a_registration(number: int = 2, **fields: object) -> Message:
    """A Registration Request as FRR has it with `no-unique` and a dynamic NHS."""
    defaults: dict[str, object] = {
        "type": PacketType.REGISTRATION_REQUEST,
        "afn": AFN_IPV4,
        "protocol_type": PROTOCOL_IPV4,
        "hop_count": 1,
        "flags": NAT,
        "request_id": 1,
        "source_nbma": nbma(number),
        "source_protocol": tunnel(number),
        "destination_protocol": tunnel(number),
        "entries": (ClientInformation(prefix_length=32, holding_time_s=60),),
        "extensions": std_extensions(nat_extension((bytes(4), HUB_NBMA))),
    }
    return Message(**(defaults | fields))  # type: ignore[arg-type]


def a_registration_reply(
    request: Message,
    *more: Extension,
    server: Address = HUB,
    code: int = 0,
) -> Message:
    """What a server of that overlay address answers."""
    return Message(
        type=PacketType.REGISTRATION_REPLY,
        afn=request.afn,
        protocol_type=request.protocol_type,
        hop_count=64,
        flags=request.flags,
        request_id=request.request_id,
        source_nbma=request.source_nbma,
        source_protocol=request.source_protocol,
        destination_protocol=server,
        entries=tuple(
            ClientInformation(
                code=code, prefix_length=each.prefix_length, holding_time_s=0 if code else 60
            )
            for each in request.entries
        ),
        extensions=more,
    )


def a_resolution_request(number: int = 2, target: Address = host(3), **fields: object) -> Message:  # noqa: B008
    defaults: dict[str, object] = {
        "type": PacketType.RESOLUTION_REQUEST,
        "afn": AFN_IPV4,
        "protocol_type": PROTOCOL_IPV4,
        "hop_count": 64,
        "flags": REQUEST_FLAGS,
        "request_id": 7,
        "source_nbma": nbma(number),
        "source_protocol": tunnel(number),
        "destination_protocol": target,
        "entries": (ClientInformation(prefix_length=32, holding_time_s=60),),
        "extensions": std_extensions(nat_extension()),
    }
    return Message(**(defaults | fields))  # type: ignore[arg-type]


def a_resolution_reply(
    request: Message, number: int = 3, prefix_length: int = 24, **fields: object
) -> Message:
    """What spoke `number` answers about its LAN."""
    defaults: dict[str, object] = {
        "type": PacketType.RESOLUTION_REPLY,
        "afn": request.afn,
        "protocol_type": request.protocol_type,
        "hop_count": 64,
        "flags": REPLY_FLAGS,
        "request_id": request.request_id,
        "source_nbma": request.source_nbma,
        "source_protocol": request.source_protocol,
        "destination_protocol": request.destination_protocol,
        "entries": (
            ClientInformation(
                prefix_length=prefix_length,
                holding_time_s=60,
                nbma=nbma(number),
                protocol=tunnel(number),
            ),
        ),
        "extensions": std_extensions(nat_extension()),
    }
    return Message(**(defaults | fields))  # type: ignore[arg-type]


def a_purge(number: int, prefix: str, destination: Address, **fields: object) -> Message:
    network = parse_prefix(prefix)
    defaults: dict[str, object] = {
        "type": PacketType.PURGE_REQUEST,
        "afn": AFN_IPV4,
        "protocol_type": PROTOCOL_IPV4,
        "request_id": 9,
        "source_nbma": nbma(number),
        "source_protocol": tunnel(number),
        "destination_protocol": destination,
        "entries": (ClientInformation(prefix_length=network.length, protocol=network.address),),
    }
    return Message(**(defaults | fields))  # type: ignore[arg-type]


def an_error(number: int, code: int, about: Message, **fields: object) -> Message:
    defaults: dict[str, object] = {
        "type": PacketType.ERROR_INDICATION,
        "afn": AFN_IPV4,
        "protocol_type": PROTOCOL_IPV4,
        "source_nbma": nbma(number),
        "source_protocol": tunnel(number),
        "destination_protocol": about.source_protocol,
        "error_code": code,
        "payload": encode(about)[:40],
    }
    return Message(**(defaults | fields))  # type: ignore[arg-type]


def a_data_packet(source: Address, destination: Address) -> bytes:
    """The beginning of a ping."""
    if len(source) == 4:
        return (
            bytes.fromhex("4500005400004000400100 00".replace(" ", ""))
            + source
            + destination
            + bytes(64)
        )
    return bytes.fromhex("6000000000403a40") + source + destination + bytes(64)


def an_indication(number: int, source: Address, destination: Address, **fields: object) -> Message:
    """A Traffic Indication about a data packet."""
    defaults: dict[str, object] = {
        "type": PacketType.TRAFFIC_INDICATION,
        "afn": AFN_IPV4,
        "protocol_type": PROTOCOL_IPV4,
        "hop_count": 1,
        "source_nbma": nbma(number),
        "source_protocol": tunnel(number),
        "destination_protocol": source,
        "payload": a_data_packet(source, destination),
    }
    return Message(**(defaults | fields))  # type: ignore[arg-type]
