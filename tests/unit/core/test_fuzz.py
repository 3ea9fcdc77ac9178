"""Whatever comes in: no exception, bounded tables, a state that makes sense.

Valid packets of all types, from all peers, are mutated with a right checksum (or not), and fed to a hub and a spoke in
several configurations, between other events. The seed is fixed: a failure is found again.
"""

import random
from collections.abc import Iterable
from dataclasses import replace

import pytest

from nhrpd_py.core.address import Afi, Prefix, host_prefix, is_unicast
from nhrpd_py.core.effects import (
    CloseInterface,
    DropNeighbor,
    DropRoute,
    Effect,
    SendPacket,
    SetNeighbor,
)
from nhrpd_py.core.events import (
    AddressRemoved,
    BindingFound,
    CommandGiven,
    Event,
    InterfaceMended,
    InterfaceRefused,
    LinkGone,
    MulticastSeen,
    NeighborSolicited,
    Obstacle,
    OuterProtocol,
    PacketReceived,
    PacketUndelivered,
    RouteAdded,
    RouteRemoved,
    ShutdownRequested,
    TrafficSeen,
    TunnelCounted,
)
from nhrpd_py.core.purge import sender as purge_module
from nhrpd_py.core.queries import Flush, FlushWhat, Resolve, View
from nhrpd_py.core.resolution import responder as responder_module
from nhrpd_py.core.resolution import table as resolution_module
from nhrpd_py.core.station import cache as cache_module
from nhrpd_py.core.station import shortcuts as shortcut_module
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension, of_entries
from nhrpd_py.packet.iana import ExtensionType, PacketType
from nhrpd_py.packet.message import decode, encode
from nhrpd_py.packet.wire import internet_checksum
from tests.support import inspect
from tests.support.engine import Node, a_hub, a_spoke, packets
from tests.support.fake_kernel import FakeKernel
from tests.support.messages import (
    AUTHENTICATION,
    MessageFields,
    a_data_packet,
    a_purge_request,
    a_record,
    a_registration_reply,
    a_registration_request,
    a_resolution_reply,
    a_resolution_request,
    a_traffic_indication,
    an_error_indication,
    nat_extension,
)
from tests.support.sites import (
    GRE,
    HUB,
    LAN,
    SECRET,
    UNDERLAY,
    a_link,
    a_map,
    a_route,
    a_tunnel_link,
    an_address,
    host,
    ip,
    nbma,
    tunnel,
)
from tests.unit.packet.vectors import OBSERVED

ROUNDS = 1500
BOUND = 8


def seeds(*, signed: bool) -> list[bytes]:
    """Valid packets of all types, small and with everything in them."""
    signature = (AUTHENTICATION,) if signed else ()
    request = a_resolution_request(2, host(3))
    everything = (
        of_entries(4, (a_record(1), a_record(7))),
        of_entries(5, (a_record(7),)),
        of_entries(3, (a_record(3),)),
        nat_extension((tunnel(2), nbma(50)), (tunnel(3), nbma(51))),
        Extension(8, b"\0\0\x0cgroup", compulsory=False),
        Extension(0x123, b"unknown"),
    )
    foreign: MessageFields = {"afn": 2, "source_nbma": ip("2001:db8::2"), "extensions": ()}
    odd = [
        a_registration_request(2, **foreign),
        a_resolution_request(2, host(2, 77), **foreign),
        # Behind a transit NHS, where all there is are claims.
        *(
            make(source_nbma=claimed, extensions=everything[:1])
            for make in (a_registration_request, a_resolution_request)
            for claimed in (bytes(4), nbma(1), nbma(2), ip("224.0.0.1"))
        ),
        a_resolution_request(3, host(1, 77), extensions=(of_entries(4, (a_record(7),)),)),
        a_resolution_request(3, host(2, 77), extensions=(of_entries(4, (a_record(7),)),)),
        # As long as a packet can be.
        a_resolution_request(
            2, host(3), extensions=(Extension(4), Extension(8, bytes(65400), compulsory=False))
        ),
    ]
    base = [
        a_registration_request(2),
        a_registration_request(
            2, flags=0x8002, entries=(ClientInformation(prefix_length=255),) * 3
        ),
        a_registration_reply(a_registration_request(2)),
        request,
        a_resolution_request(2, tunnel(3)),
        a_resolution_request(2, HUB.tunnel),
        a_resolution_reply(request),
        a_resolution_reply(request, request_id=2),
        a_resolution_reply(request, entries=(ClientInformation(code=12),)),
        a_purge_request(3, "172.16.3.0/24", tunnel(2)),
        a_purge_request(3, "10.255.255.2/32", tunnel(2)),
        replace(a_purge_request(3, "172.16.3.0/24", tunnel(3)), type=PacketType.PURGE_REPLY),
        an_error_indication(1, 6, request),
        an_error_indication(1, 11, a_registration_request(2)),
        a_traffic_indication(1, host(2), host(3)),
    ]
    full = [replace(each, extensions=everything) for each in base]
    ours = [replace(each, extensions=(*each.extensions, *signature)) for each in (*base, *full)]
    ours += odd
    return [encode(each) for each in ours] + list(OBSERVED.values())


INTERESTING = (0, 1, 2, 3, 4, 5, 7, 8, 12, 16, 32, 63, 64, 127, 128, 254, 255)


def mutated(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(changed))
        match rng.randrange(6):
            case 0:
                changed[at] = rng.choice(INTERESTING)
            case 1:
                changed[at] ^= 1 << rng.randrange(8)
            case 2:
                del changed[at : at + rng.randrange(1, 9)]
            case 3:
                changed[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 4:
                changed[at : at + 4] = rng.choice(
                    (bytes(4), nbma(1), nbma(2), tunnel(2), HUB.tunnel)
                )
            case _:
                # Another request id: one that is waited for, perhaps.
                changed[24:28] = rng.randrange(12).to_bytes(4)
        if len(changed) < 28:
            changed = bytearray(data)
    if rng.random() < 0.9:
        changed[10:12] = len(changed).to_bytes(2)
        changed[12:14] = bytes(2)
        changed[12:14] = internet_checksum(bytes(changed)).to_bytes(2)
    return bytes(changed)


GROUP = bytes([239, 1, 2, 3])


def other_event(rng: random.Random, own: int) -> Event:
    number = rng.randrange(2, 6)
    return rng.choice(
        (
            TrafficSeen(GRE, rng.choice((GRE, 0)), a_data_packet(host(number), host(3))),
            TrafficSeen(GRE, GRE, rng.randbytes(rng.randrange(40))),
            MulticastSeen(rng.choice((GRE, 0)), GRE, b"", a_data_packet(host(number), GROUP)),
            MulticastSeen(GRE, rng.choice((GRE, LAN)), nbma(number), rng.randbytes(40)),
            NeighborSolicited(GRE, tunnel(number), b""),
            NeighborSolicited(GRE, tunnel(number), nbma(number)),
            RouteAdded(a_route("172.16.3.0/24", rng.choice((GRE, LAN, 0)), tunnel(number))),
            RouteRemoved(a_route("172.16.3.0/24", GRE, tunnel(number))),
            RouteAdded(a_route("172.16.0.0/16", GRE, HUB.tunnel)),
            BindingFound(GRE, tunnel(number), nbma(number), rng.choice((None, 5.0))),
            AddressRemoved(LAN, host(2, 1), 24),
            an_address(LAN, host(2, 1), 24),
            a_tunnel_link(up=rng.random() < 0.7),
            a_tunnel_link(),
            # Leases end and begin, the tunnel is numbered anew, the netdev is replaced.
            AddressRemoved(UNDERLAY, nbma(own), 24),
            an_address(UNDERLAY, nbma(own), 24),
            an_address(UNDERLAY, nbma(own + 100), 24),
            AddressRemoved(UNDERLAY, nbma(own + 100), 24),
            AddressRemoved(GRE, tunnel(own), rng.choice((24, 32))),
            an_address(GRE, tunnel(own), rng.choice((24, 32))),
            LinkGone(GRE),
            LinkGone(UNDERLAY),
            a_link(),
            InterfaceRefused(GRE, "no"),
            InterfaceMended(GRE),
            PacketUndelivered(
                local=nbma(own),
                remote=nbma(rng.randrange(1, 6)),
                protocol=OuterProtocol.GRE,
                obstacle=rng.choice(list(Obstacle)),
                reporter=nbma(number),
            ),
            TunnelCounted(ifindex=GRE, lost=(("collisions", rng.randrange(9)),)),
            CommandGiven(1, Flush(what=rng.choice(list(FlushWhat)))),
            CommandGiven(2, Resolve(address=rng.choice((tunnel(number), host(number))))),
        )
    )


def answers(node: Node, effects: list[Effect], rng: random.Random, now: float) -> list[Effect]:
    """Half of its requests are answered, in one way or another."""
    news: list[Effect] = []
    for to, message in packets(effects):
        if rng.random() < 0.5 or message.protocol_size != 4:
            continue
        if message.type is PacketType.REGISTRATION_REQUEST:
            reply = a_registration_reply(message)
        elif message.type is PacketType.RESOLUTION_REQUEST:
            length = rng.choice((0, 8, 16, 24, 32))
            reply = a_resolution_reply(message, rng.choice((1, 3, 4)), prefix_length=length)
        else:
            continue
        if message.extension(ExtensionType.AUTHENTICATION):
            reply = replace(reply, extensions=(*reply.extensions, AUTHENTICATION))
        news += node.receive(reply, to, now)
    return news


@pytest.fixture
def small_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (cache_module, "MAX_BINDINGS"),
        (responder_module, "MAX_ANSWERS"),
        (purge_module, "MAX_PURGES"),
        (resolution_module, "MAX_RESOLUTIONS"),
        (shortcut_module, "MAX_SHORTCUTS"),
    ):
        monkeypatch.setattr(module, name, BOUND)


NODES = {
    "hub": lambda: a_hub(2, 3, multicast=("dynamic", nbma(9))),
    "hub that follows": lambda: a_hub(2, 3, shortcut=True, unique=True),
    "spoke": lambda: a_spoke(2),
    "spoke with everything": lambda: a_spoke(
        2, redirect=True, unique=True, maps=(a_map(tunnel(9), nbma(9)),), prefix_length=24
    ),
    "signed": lambda: a_spoke(2, registered=False, authentication=SECRET),
}


class Kernel(FakeKernel):
    """No route is ever there without the neighbour that it leads to."""

    def carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, DropNeighbor) and effect.ifindex not in self.opened:
                self.neighbors.pop(effect.address, None)  # an entry of an earlier run
                continue
            was_there = self.apply(effect)
            assert was_there or not isinstance(effect, DropRoute), effect
            if isinstance(effect, CloseInterface):
                self.flush()
            gateways = {gateway or prefix.address for prefix, gateway in self.routes.items()}
            assert self.neighbors.keys() >= gateways, effect

    def check(self, node: Node) -> None:
        """It is as the engine has it."""
        neighbors: dict[bytes, bytes] = {}
        routes: dict[Prefix, bytes] = {}
        for afi in Afi:
            neighbors |= inspect.interim_neighbors(node.engine, afi)
            for binding in inspect.bindings(node.engine, afi):
                neighbors[binding.protocol] = binding.nbma
                if binding.routed:
                    routes[host_prefix(binding.protocol)] = binding.protocol
            for way in inspect.ways(node.engine, afi):
                routes[way.prefix] = way.peer
                assert way.prefix != host_prefix(way.peer)
        if self.opened:
            led = {prefix: to or prefix.address for prefix, to in self.routes.items()}
            assert led == routes
            found = {address: to for address, (to, _) in self.neighbors.items()}
            assert found.items() <= neighbors.items()


def check(node: Node, now: float) -> None:
    engine = node.engine
    for afi in Afi:
        bindings = inspect.bindings(engine, afi)
        assert all(size <= BOUND for size in inspect.table_sizes(engine, afi).values())
        assert inspect.indexed_bindings(engine, afi) == len(bindings)
        for binding in bindings:
            assert binding.expires_at > now
            assert not inspect.is_local(engine, binding.protocol)
            assert is_unicast(binding.nbma)
            assert len(binding.nbma) == 4
            assert len(binding.protocol) == (4 if afi is Afi.IPV4 else 16)
        for way in inspect.ways(engine, afi):
            assert way.is_held
            assert way.expires_at > now
    assert len(inspect.outstanding(engine)) <= 4 * BOUND
    assert inspect.timer_count(engine) <= 20 * BOUND
    deadline = engine.next_deadline()
    assert deadline is None or deadline > now


@pytest.mark.usefixtures("small_tables")
@pytest.mark.parametrize("name", list(NODES))
def test_nothing_that_comes_in_breaks_the_engine(name: str) -> None:
    rng = random.Random(name)
    own = 1 if "hub" in name else 2
    repair = (
        a_link(),
        an_address(UNDERLAY, nbma(own), 24),
        a_tunnel_link(),
        an_address(GRE, tunnel(own), 32),
    )
    samples = seeds(signed=name == "signed")
    node = NODES[name]()
    node.give(a_tunnel_link(up=False))
    kernel = Kernel()
    kernel.carry_out(node.give(a_tunnel_link(), an_address(GRE, ip(f"fd00::{own}"), 128)))
    now = 0.0
    for round_ in range(ROUNDS):
        now += rng.choice((0.0, 0.1, 0.5, 7.0))
        if rng.random() < 0.1:
            events = [other_event(rng, own), *(repair if rng.random() < 0.5 else ())]
        else:
            data = mutated(rng.choice(samples), rng)
            events = [PacketReceived(GRE, nbma(rng.choice((1, 2, 3, 4, 50))), data)]
        effects = node.give(*events, now=now)
        effects += answers(node, effects, rng, now)
        kernel.carry_out(effects)
        kernel.check(node)
        for effect in effects:
            if isinstance(effect, SendPacket):
                decode(effect.data)  # what we send is always well formed
                assert len(effect.nbma) == 4
            elif isinstance(effect, SetNeighbor):
                assert len(effect.nbma) == 4
                assert is_unicast(effect.nbma)
        assert len(effects) < 20 * BOUND
        check(node, now)
        if round_ % 100 == 0:
            for view in View:
                node.rows(view, now)
            node.engine.saved_state(now)
    # It still does its job.
    kernel.carry_out(node.give(*repair, now=now))
    kernel.carry_out(node.run(now + 100000.0))
    assert not [each for each in node.cache(now + 100000.0).values() if each[0] == "dynamic"]
    assert inspect.asked(node.engine) == set()
    kernel.carry_out(node.give(ShutdownRequested(), now=now + 100000.0))
    assert (kernel.neighbors, kernel.routes) == ({}, {})
