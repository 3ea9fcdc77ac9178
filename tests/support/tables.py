"""How full the tables of an engine are, beside their limits: with `inspect` the one module that knows its inside.

The limits are read when they are asked for, so that a test may make them small.
"""

from collections.abc import Sized

from nhrpd_py.core.address import Address, afi_of
from nhrpd_py.core.base import limits
from nhrpd_py.core.engine import Engine
from nhrpd_py.core.ipsec import circuits
from nhrpd_py.core.purge import sender
from nhrpd_py.core.resolution import failure, gate, responder, table, wishes
from nhrpd_py.core.station import cache, paths, shortcuts
from nhrpd_py.core.station.binding import BindingType

REQUESTS_PER_PATH = 8
"""Of two series of probes."""
REQUESTS_PER_REGISTRATION = 4


def overfull(engine: Engine) -> list[str]:
    """Returns the tables of all stations that are beyond their limits, for people."""
    found: list[str] = []

    def check(name: str, present: Sized, limit: int) -> None:
        if len(present) > limit:
            found.append(f"{name}: {len(present)} of {limit}")

    room = 0
    for one in engine._tunnels.instances():
        home, asks, answers = one.station, one.requester, one.responder
        check("bindings", home.cache, cache.MAX_BINDINGS)
        check("cached bindings", home.cache._cached, cache.MAX_CACHED)
        largest = home.cache._senders.largest()
        check("bindings of a sender", range(largest), cache.MAX_BINDINGS_PER_SENDER)
        check("shortcuts", one.shortcuts, shortcuts.MAX_SHORTCUTS)
        check("resolutions", asks.resolutions, table.MAX_RESOLUTIONS)
        check("refusals", asks._refusals._until, failure.MAX_REFUSALS)
        check("wishes", asks._wishes._networks, wishes.MAX_WISHES)
        check("answers", answers._answers, responder.MAX_ANSWERS)
        check("shares of answers", answers._shares, responder.MAX_ANSWERS)
        check("waiting requests", answers._gate._waiting, gate.MAX_WAITING)
        check("wishes of requesters", answers._gate._wishes._networks, wishes.MAX_WISHES)
        check("purges", one.purges._purges, sender.MAX_PURGES)
        check("paths", home.paths._paths, paths.MAX_PATHS)
        check("failures", home.circuits._failed, circuits.MAX_FAILURES)
        check("holding peers", range(home.circuits._holding), circuits.MAX_HOLDING_PEERS)
        check("limited errors", home.limits.errors, limits.MAX_PEERS)
        check("limited resolutions", home.limits.resolutions, limits.MAX_PEERS)
        check("redirects", home.limits.redirects, limits.MAX_REDIRECT_PAIRS)
        registrations = list(one.client.servers.registrations())
        room += len(asks.resolutions) + len(one.purges._purges)
        room += len(home.paths._paths) * REQUESTS_PER_PATH
        room += len(registrations) * REQUESTS_PER_REGISTRATION
    check("requests", engine._requests.outstanding, room)
    return found


def load_of(engine: Engine) -> int:
    """Returns how many bindings, shortcuts and requests all stations have together."""
    return len(engine._requests.outstanding) + sum(
        len(one.station.cache) + len(one.shortcuts) for one in engine._tunnels.instances()
    )


def is_routed_into_cloud(engine: Engine, address: Address, length: int) -> bool:
    """Returns whether a route of others, at least so long, leads an overlay address into one of our tunnels."""
    afi = afi_of(address)
    for route in engine._locator._tables.ribs[afi].around(address):
        if route.prefix.length < length:
            return False
        if engine._locator.station(route.ifindex, afi) is not None:
            return True
    return False


def learnt(engine: Engine, ifindex: int) -> dict[Address, tuple[str, Address]]:
    """Returns the overlay addresses that a tunnel has a binding for, with its type and NBMA address; without maps."""
    return {
        each.protocol: (each.type.name.lower(), each.nbma)
        for one in engine._tunnels.instances()
        for each in one.station.cache
        if one.station.interface.ifindex == ifindex and each.type is not BindingType.STATIC
    }
