"""The inside of an engine, for tests: the one place that knows how it is built.

What effects, views or notices show, tests ask there. Here is what they do not show: tables, timers, counts, and single
parts of an engine, with what these say when a test calls them directly. An engine is asked about its interface gre1.
"""

from collections.abc import Callable
from typing import NamedTuple

from nhrpd_py.core.address import Address, Afi, Prefix
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
    """What speaks NHRP on the interface in one address family."""
    return engine._tunnels[INTERFACE][afi]


def station(engine: Engine, afi: Afi = Afi.IPV4) -> Station:
    """Who we are in one address family."""
    return family(engine, afi).station


def cache(engine: Engine, afi: Afi = Afi.IPV4) -> Cache:
    """The bindings."""
    return station(engine, afi).cache


def shortcuts(engine: Engine, afi: Afi = Afi.IPV4) -> ShortcutTable:
    """The shortcuts."""
    return family(engine, afi).shortcuts


def client(engine: Engine, afi: Afi = Afi.IPV4) -> NhsClient:
    """What registers with next hop servers."""
    return family(engine, afi).client


def requester(engine: Engine, afi: Afi = Afi.IPV4) -> Requester:
    """What sends Resolution Requests."""
    return family(engine, afi).requester


def purges(engine: Engine, afi: Afi = Afi.IPV4) -> PurgeSender:
    """What sends Purge Requests."""
    return family(engine, afi).purges


def guard(engine: Engine) -> ProtectedGre | None:
    """What keeps clear text of the interface from the wire."""
    return engine._tunnels[INTERFACE].interface.guard


# What they say.


def said(engine: Engine, call: Callable[[], object]) -> list[Effect]:
    """The effects of a direct call of one of the parts."""
    effects = engine._outbox.begin()
    call()
    return effects


def taken(engine: Engine) -> list[Effect]:
    """The effects since the last event or look; the next ones begin a new list."""
    effects = engine._outbox.effects
    engine._outbox.begin()
    return effects


def timer_due(engine: Engine, kind: TimerKind, subject: object, at: float) -> list[Effect]:
    """The effects of a timer that comes when nobody waits for it any more."""
    set_timer(engine, TimerKey(kind, INTERFACE, subject), at)
    return engine.advance(at)


def set_timer(engine: Engine, key: TimerKey, at: float) -> None:
    """Arms a timer that the engine did not arm."""
    engine._timers.set(key, at)


def renew(engine: Engine, target: Address, now: float) -> list[Effect]:
    """The effects of a renewal of what leads to `target`."""
    return said(engine, lambda: requester(engine).renew(target, now))


def deregister(engine: Engine, registration: Registration) -> list[Effect]:
    """The effects of taking a registration back."""
    return said(engine, lambda: client(engine)._exchange.deregister(registration))


def learn_requester(engine: Engine, request: Message, nbma: Address, now: float) -> None:
    """Binds the sender of a Resolution Request that we answered."""
    family(engine).responder._learn_requester(request, nbma, now)


def set_probing(binding: Binding) -> None:
    """The kernel is being asked whether a binding is in use."""
    binding.entry = Entry.STALE


def set_adopted(binding: Binding) -> None:
    """A binding is the kernel's, from an earlier run."""
    binding.origin = Origin.KERNEL


def is_adopted(binding: Binding) -> bool:
    """Tells whether nobody but the kernel has spoken of a binding in this run."""
    return binding.origin is Origin.KERNEL


def is_used(binding: Binding) -> bool:
    """Tells whether the kernel is known to send traffic to a binding."""
    return binding.used


def set_last_request_id(engine: Engine, request_id: int) -> None:
    """The next request has the number after this one."""
    engine._requests.last_id = request_id


def exhaust_errors(engine: Engine, now: float) -> None:
    """Uses up the limit of Error Indications."""
    while engine._packets._limits.errors.take(now):
        pass


# Tables and counts.


def drops(engine: Engine) -> dict[tuple[str | None, DropReason], int]:
    """How many packets were dropped, by interface and reason."""
    return engine._outbox.drops


def outstanding(engine: Engine) -> set[int]:
    """The ids of the requests that wait for an answer."""
    return set(engine._requests.outstanding)


def timer_count(engine: Engine) -> int:
    """How many timers are armed."""
    return len(engine._timers)


def heap_size(timers: TimerQueue) -> int:
    """How many entries a queue keeps, with those that were moved or stopped."""
    return len(timers._heap)


def failure_count(circuits: Circuits) -> int:
    """For how many peers a failure is remembered."""
    return len(circuits._failed)


def is_local(engine: Engine, address: Address) -> bool:
    """Tells whether some link of the machine has an address."""
    return engine._locator._tables.is_local(address)


def link_count(engine: Engine, address: Address) -> int:
    """How many links of the machine have an address."""
    return engine._locator._tables._local_addresses.get(address, 0)


def route_to(engine: Engine, destination: Address) -> Route | None:
    """The longest IPv4 route to an address, but for those that the engine made."""
    return engine._locator._tables.ribs[Afi.IPV4].lookup(destination)


def locate(engine: Engine, ifindex: int, address: Address, *, learnt: bool = False) -> Location:
    """Where an address lies, as seen from an interface that has a tunnel address."""
    seen_from = engine._locator.station(ifindex, Afi.IPV4)
    assert seen_from is not None
    return engine._locator.locate(seen_from, address, learnt=learnt)


def prefix_around(engine: Engine, ifindex: int, address: Address) -> Prefix | None:
    """The prefix behind us that an address lies in."""
    seen_from = engine._locator.station(ifindex, Afi.IPV4)
    assert seen_from is not None
    return engine._locator.prefix_around(seen_from, address)


def has_station(engine: Engine, ifindex: int, afi: Afi = Afi.IPV4) -> bool:
    """Tells whether a link is one of a configured interface."""
    return engine._locator.station(ifindex, afi) is not None


def table_sizes(engine: Engine, afi: Afi = Afi.IPV4) -> dict[str, int]:
    """How much is in the tables that peers fill."""
    instance = family(engine, afi)
    return {
        "bindings": len(instance.station.cache),
        "shortcuts": len(instance.shortcuts),
        "resolutions": len(instance.requester.resolutions),
        "answers": len(instance.responder._answers),
        "purges": len(instance.purges._purges),
    }


def indexed_bindings(engine: Engine, afi: Afi = Afi.IPV4) -> int:
    """How many bindings the index by NBMA address has: as many as there are."""
    return sum(map(len, cache(engine, afi)._by_nbma.values()))


# What the engine holds, and wants of the kernel and of charon for it.


class Bound(NamedTuple):
    """A binding."""

    protocol: Address
    nbma: Address
    expires_at: float
    leads_to: Address
    """Where its neighbour entry leads; empty: it has none."""
    is_direct: bool
    """Its neighbour entry leads to the peer itself."""
    may_be_direct: bool
    """The peer has an SA, or needs none."""
    routed: bool
    inherited: bool
    """Its neighbour entry is of an earlier run, and charon has not told yet whether there is an SA."""


class Way(NamedTuple):
    """A shortcut."""

    prefix: Prefix
    peer: Address
    """The overlay address that it goes to."""
    expires_at: float
    is_held: bool
    """The cache has the binding that it leans on."""
    active: bool
    """It has a route: its peer has a neighbour entry."""


def bindings(engine: Engine, afi: Afi = Afi.IPV4) -> list[Bound]:
    """The bindings."""
    home = station(engine, afi)
    entries, is_up = home.cache.entries, home.circuits.is_up
    return [
        Bound(
            each.protocol,
            each.nbma,
            each.expires_at,
            each.nbma if each.installed else entries.server_of(each.protocol),
            each.installed,
            is_up(each.nbma),
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
    """The neighbour entries that lead to a server until there is something better, by overlay address."""
    return dict(cache(engine, afi).entries._servers)


def asked(engine: Engine, afi: Afi = Afi.IPV4) -> set[Address]:
    """The addresses that are being resolved."""
    return {each.target for each in requester(engine, afi).resolutions.values()}


def nbma_of(engine: Engine, protocol: Address, afi: Afi = Afi.IPV4) -> Address | None:
    """The NBMA address that the engine has for an overlay address."""
    binding = cache(engine, afi).get(protocol)
    return binding.nbma if binding else None


def servers_up(engine: Engine, afi: Afi = Afi.IPV4) -> list[Address]:
    """The NBMA addresses of the next hop servers that it is registered with."""
    registrations = client(engine, afi).servers.registrations()
    return [each.nbma for each in registrations if each.state is NhsState.UP]


# Circuits: pairs of NBMA addresses that an SA may protect.


def is_protected(engine: Engine) -> bool:
    """Tells whether the interface has IPsec."""
    return station(engine).circuits.protected


def own_nbma(engine: Engine) -> Address:
    """The address that SAs are asked for from."""
    return station(engine).circuits.local


def wanted_sas(engine: Engine) -> set[Address]:
    """The peers that an SA is wanted with."""
    return {remote for remote, _ in station(engine).circuits.needed()}


def idle_wishes(engine: Engine) -> list[str]:
    """Wishes for SAs that nobody has any need of; there should be none."""
    circuits, registered = station(engine).circuits, list(client(engine).servers.registrations())
    found = []
    for remote, circuit in circuits.needed():
        for who in circuit.needed_by:
            if isinstance(who, Registration):
                needed = who.nbma == remote and not who.is_idle and who in registered
            else:
                assert isinstance(who, bytes)
                needed = nbma_of(engine, who) == remote
            if not needed:
                found.append(f"{remote.hex()} for {who!r}")
    return found
