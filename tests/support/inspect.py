"""The inside of an engine, for tests: the one module that depends on its structure.

Tests use effects, views and notices where these suffice. The functions here return the rest: tables, timers, counts,
single parts of an engine, and the effects of calling a part directly. All are about the interface gre1.
"""

from collections.abc import Callable
from typing import NamedTuple

from nhrpd_py.core.address import Address, Afi, Prefix, afi_of
from nhrpd_py.core.base.timers import TimerKey, TimerKind, TimerQueue
from nhrpd_py.core.effects import Effect, ProtectedGre
from nhrpd_py.core.engine import Engine
from nhrpd_py.core.events import Route
from nhrpd_py.core.instance.instance import Instance
from nhrpd_py.core.ipsec.circuits import Circuits
from nhrpd_py.core.purge.sender import PurgeSender
from nhrpd_py.core.registration.client import NhsClient
from nhrpd_py.core.registration.servers import NhsState, Registration
from nhrpd_py.core.resolution.requester import Requester
from nhrpd_py.core.station.binding import Binding, Entry, Origin
from nhrpd_py.core.station.cache import Cache
from nhrpd_py.core.station.location import Location
from nhrpd_py.core.station.shortcuts import ShortcutTable
from nhrpd_py.core.station.station import Station
from nhrpd_py.packet.message import Message
from nhrpd_py.packet.wire import DropReason

INTERFACE = "gre1"

# The parts.


def family(engine: Engine, afi: Afi = Afi.IPV4) -> Instance:
    """Returns the NHRP instance of one address family."""
    return engine._tunnels[INTERFACE][afi]


def station(engine: Engine, afi: Afi = Afi.IPV4) -> Station:
    """Returns the station of one address family."""
    return family(engine, afi).station


def cache(engine: Engine, afi: Afi = Afi.IPV4) -> Cache:
    """The bindings."""
    return station(engine, afi).cache


def shortcuts(engine: Engine, afi: Afi = Afi.IPV4) -> ShortcutTable:
    """The shortcuts."""
    return family(engine, afi).shortcuts


def client(engine: Engine, afi: Afi = Afi.IPV4) -> NhsClient:
    """Returns the client, which registers with next hop servers."""
    return family(engine, afi).client


def requester(engine: Engine, afi: Afi = Afi.IPV4) -> Requester:
    """Returns the requester, which sends Resolution Requests."""
    return family(engine, afi).requester


def purges(engine: Engine, afi: Afi = Afi.IPV4) -> PurgeSender:
    """Returns the sender of Purge Requests."""
    return family(engine, afi).purges


def guard(engine: Engine) -> ProtectedGre | None:
    """Returns the GRE traffic that the clear-text guard must block."""
    return engine._tunnels[INTERFACE].interface.guard


# Their effects.


def said(engine: Engine, call: Callable[[], object]) -> list[Effect]:
    """Returns the effects of calling one of the parts directly."""
    effects = engine._outbox.begin()
    call()
    return effects


def taken(engine: Engine) -> list[Effect]:
    """Returns the effects since the last event or call, and begins a new list."""
    effects = engine._outbox.effects
    engine._outbox.begin()
    return effects


def timer_due(engine: Engine, kind: TimerKind, subject: object, at: float) -> list[Effect]:
    """Returns the effects of a timer that fires although it is no longer armed."""
    set_timer(engine, TimerKey(kind, INTERFACE, subject), at)
    return engine.advance(at)


def set_timer(engine: Engine, key: TimerKey, at: float) -> None:
    """Arms a timer that the engine did not arm."""
    engine._timers.set(key, at)


def renew(engine: Engine, target: Address, now: float) -> list[Effect]:
    """Returns the effects of renewing the binding or shortcut to `target`."""
    return said(engine, lambda: requester(engine).renew(target, now))


def deregister(engine: Engine, registration: Registration) -> list[Effect]:
    """Returns the effects of taking a registration back."""
    return said(engine, lambda: client(engine)._exchange.deregister(registration))


def learn_requester(engine: Engine, request: Message, nbma: Address, now: float) -> None:
    """Binds the sender of a Resolution Request that we answered."""
    family(engine).responder._learn_requester(request, nbma, nbma, now, is_probe=False)


def set_probing(binding: Binding) -> None:
    """Sets a binding's entry STALE, as if its use were being probed."""
    binding.entry = Entry.STALE


def set_adopted(binding: Binding) -> None:
    """Sets a binding's origin to the kernel, from an earlier run."""
    binding.origin = Origin.KERNEL


def is_adopted(binding: Binding) -> bool:
    """Returns whether a binding is only from the kernel's entry of an earlier run."""
    return binding.origin is Origin.KERNEL


def is_used(binding: Binding) -> bool:
    """Returns whether the kernel is known to send traffic to a binding."""
    return binding.used


def exhaust_errors(engine: Engine, now: float) -> None:
    """Uses up the limit of Error Indications."""
    for peer in range(100):
        while engine._packets._limits.errors.take(peer, now):
            pass


# Tables and counts.


def drops(engine: Engine) -> dict[tuple[str | None, DropReason], int]:
    """Returns the numbers of dropped packets, by interface and reason."""
    return engine._outbox.drops


def outstanding(engine: Engine) -> set[int]:
    """Returns the ids of the unanswered requests."""
    return set(engine._requests.outstanding)


def timer_count(engine: Engine) -> int:
    """Returns the number of armed timers."""
    return len(engine._timers)


def heap_size(timers: TimerQueue) -> int:
    """Returns the number of rows of a timer queue, with those of moved or stopped timers."""
    return len(timers._heap)


def failure_count(circuits: Circuits) -> int:
    """Returns the number of peers with a remembered failure."""
    return len(circuits._failed)


def is_local(engine: Engine, address: Address) -> bool:
    """Returns whether some link of the machine has an address."""
    return engine._locator._tables.is_local(address)


def link_count(engine: Engine, address: Address) -> int:
    """Returns the number of links that have an address."""
    return engine._locator._tables._local_addresses.get(address, 0)


def route_to(engine: Engine, destination: Address) -> Route | None:
    """Returns the longest IPv4 route to an address, without the engine's own."""
    return engine._locator._tables.ribs[Afi.IPV4].lookup(destination)


def locate(engine: Engine, ifindex: int, address: Address, *, learnt: bool = False) -> Location:
    """Returns the location of an address, seen from an interface with a tunnel address."""
    seen_from = engine._locator.station(ifindex, Afi.IPV4)
    assert seen_from is not None
    return engine._locator.locate(seen_from, address, learnt=learnt)


def prefix_around(engine: Engine, ifindex: int, address: Address) -> Prefix | None:
    """Returns the prefix to answer with for an address behind us."""
    seen_from = engine._locator.station(ifindex, Afi.IPV4)
    assert seen_from is not None
    return engine._locator.prefix_around(seen_from, address)


def has_station(engine: Engine, ifindex: int, afi: Afi = Afi.IPV4) -> bool:
    """Returns whether a link belongs to a configured interface."""
    return engine._locator.station(ifindex, afi) is not None


def table_sizes(engine: Engine, afi: Afi = Afi.IPV4) -> dict[str, int]:
    """Returns the sizes of the tables that peers fill."""
    instance = family(engine, afi)
    return {
        "bindings": len(instance.station.cache),
        "shortcuts": len(instance.shortcuts),
        "resolutions": len(instance.requester.resolutions),
        "answers": len(instance.responder._answers),
        "purges": len(instance.purges._purges),
    }


def indexed_bindings(engine: Engine, afi: Afi = Afi.IPV4) -> int:
    """Returns the number of bindings in the index by NBMA address; it must equal the cache's size."""
    return sum(map(len, cache(engine, afi)._by_nbma.values()))


# Bindings and shortcuts, with the kernel entries and SAs that the engine wants for them.


class Bound(NamedTuple):
    """A binding."""

    protocol: Address
    nbma: Address
    expires_at: float
    leads_to: Address
    """The NBMA address of its neighbour entry; empty: it has none."""
    is_direct: bool
    """Its neighbour entry leads to the peer itself."""
    may_be_direct: bool
    """The peer has an SA, or needs none, and may have the address; and the path to it is proven, where it has to be."""
    routed: bool
    inherited: bool
    """Its neighbour entry is of an earlier run, and charon has not yet reported whether there is an SA."""


class Way(NamedTuple):
    """A shortcut."""

    prefix: Prefix
    peer: Address
    """The overlay address of its peer."""
    expires_at: float
    is_held: bool
    """The cache has the peer's binding."""
    active: bool
    """It has a route: its peer has a neighbour entry."""


def bindings(engine: Engine, afi: Afi = Afi.IPV4) -> list[Bound]:
    """The bindings."""
    home = station(engine, afi)
    entries, carries = home.cache.entries, home.circuits.carries
    return [
        Bound(
            each.protocol,
            each.nbma,
            each.expires_at,
            each.nbma if each.installed else entries.server_of(each.protocol),
            each.installed,
            carries(each.nbma)
            and entries._may_take_path(each)
            and home.circuits.address_denial(each.nbma, each.protocol) is None,
            each.routed,
            each.entry is Entry.INHERITED,
        )
        for each in home.cache
    ]


def ways(engine: Engine, afi: Afi = Afi.IPV4) -> list[Way]:
    """The shortcuts."""
    instance = family(engine, afi)
    return [
        Way(
            each.prefix,
            each.binding.protocol,
            each.expires_at,
            instance.station.cache.get(each.binding.protocol) is each.binding,
            each.binding.installed,
        )
        for each in instance.shortcuts
    ]


def interim_neighbors(engine: Engine, afi: Afi = Afi.IPV4) -> dict[Address, Address]:
    """Returns the neighbour entries that lead to a server, by overlay address."""
    return dict(cache(engine, afi).entries._servers)


def asked(engine: Engine, afi: Afi = Afi.IPV4) -> set[Address]:
    """Returns the addresses that are being resolved."""
    return {each.target for each in requester(engine, afi).resolutions.values()}


def nbma_of(engine: Engine, protocol: Address, afi: Afi = Afi.IPV4) -> Address | None:
    """Returns the engine's NBMA address for an overlay address."""
    binding = cache(engine, afi).get(protocol)
    return binding.nbma if binding else None


def servers_up(engine: Engine, afi: Afi = Afi.IPV4) -> list[Address]:
    """Returns the NBMA addresses of the next hop servers with which the engine is registered."""
    registrations = client(engine, afi).servers.registrations()
    return [each.nbma for each in registrations if each.state is NhsState.UP]


# Circuits: pairs of NBMA addresses that an SA may protect.


def link_local_neighbors(engine: Engine, ifindex: int) -> dict[Address, Address]:
    """Returns the link-local addresses that the kernel was told of on a netdev, and where each leads."""
    entries = [each.interface.link_locals._entries for each in engine._tunnels]
    return {key[1]: to for each in entries for key, to in each.items() if key[0] == ifindex}


def is_protected(engine: Engine) -> bool:
    """Returns whether the interface has IPsec."""
    return station(engine).circuits.protected


def own_nbma(engine: Engine) -> Address:
    """Returns our NBMA address, the local address of SAs."""
    return station(engine).circuits.local


def wanted_sas(engine: Engine) -> set[Address]:
    """Returns the peers with which an SA is wanted."""
    return {remote for remote, _ in station(engine).circuits.needed()}


def idle_wishes(engine: Engine) -> list[str]:
    """Returns the wanted SAs that nothing needs; there must be none."""
    circuits = station(engine).circuits
    clients = [client(engine, afi) for afi in Afi]
    registered = [each for one in clients for each in one.servers.registrations()]
    found = []
    for remote, circuit in circuits.needed():
        for who in circuit.needed_by:
            if isinstance(who, Registration):
                needed = who.nbma == remote and not who.is_idle and who in registered
            elif who == "multicast":
                needed = remote in station(engine).config.multicast
            else:
                assert isinstance(who, bytes)
                needed = nbma_of(engine, who, afi_of(who)) == remote
            if not needed:
                found.append(f"{remote.hex()} for {who!r}")
    return found
