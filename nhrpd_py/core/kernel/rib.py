"""The kernel's main routing table as the engine knows it, without our own routes and without local ones.

Resolution follows the routes of others and never the shortcuts that it made itself: so our own routes are left out.
There is one `Rib` for each address family; a prefix may have several routes, of which the lowest metric counts.

FRR's zebra prefers any route of ours (distance 0) and removes its own route of the same prefix from the kernel while
ours is there. Such a route is `shadowed`: gone from the kernel, but still the routed path.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

from nhrpd_py.core.address import SIZE_OF_AFI, Address, Afi, Prefix, cut
from nhrpd_py.core.base.prefixmap import PrefixMap
from nhrpd_py.core.events import Route


class RouteWatcher(Protocol):
    """Hears of the routes that lead into a tunnel over a gateway, all of a prefix and not only the best one."""

    def leads(self, prefix: Prefix, protocol: Address) -> None: ...
    def leads_no_more(self, prefix: Prefix, protocol: Address) -> None: ...


class Rib:
    """The routes of one address family."""

    __slots__ = ("_routes", "_shadowed", "_watchers", "address_size")

    def __init__(self, afi: Afi) -> None:
        self.address_size = SIZE_OF_AFI[afi]
        """Octets of an address."""
        self._routes: PrefixMap[tuple[Route, ...]] = PrefixMap(SIZE_OF_AFI[afi])
        self._shadowed: dict[Prefix, tuple[Route, ...]] = {}
        self._watchers: dict[int, RouteWatcher] = {}
        """By the ifindex of their tunnel."""

    def __len__(self) -> int:
        return sum(len(routes) for routes in self._routes.values())

    def add(self, route: Route) -> bool:
        """Adds or replaces a route; returns whether the best route of its prefix changed."""
        before = self._routes.get(route.prefix) or ()
        # Same prefix and metric: a replacement, for which the kernel announces no removal.
        shadowed = self._shadowed.pop(route.prefix, ())
        kept = tuple(
            other for other in before if other.metric != route.metric and other not in shadowed
        )
        after = tuple(sorted((*kept, route), key=lambda each: each.metric))
        self._routes[route.prefix] = after
        self._tell(route.prefix, before, after)
        return not before or not _same_path(before[0], after[0])

    def shadow(self, route: Route) -> None:
        """Keeps a route that gave way to one of ours: it counts until ours goes (`unshadow`) or another one comes."""
        for known in self._routes.get(route.prefix) or ():
            if _same_route(known, route):
                shadowed = self._shadowed.get(route.prefix, ())
                if known not in shadowed:
                    self._shadowed[route.prefix] = (*shadowed, known)

    def unshadow(self, prefix: Prefix) -> None:
        """Forgets the shadowed routes of a prefix: ours goes, and the kernel announces those that are still there."""
        for route in self._shadowed.pop(prefix, ()):
            self.remove(route)

    def remove(self, route: Route) -> bool:
        """Removes a route if it is known; returns whether the best route of its prefix changed."""
        before = self._routes.get(route.prefix)
        if before is None:
            return False
        after = tuple(other for other in before if not _same_route(other, route))
        return self._replace(route.prefix, before, after)

    def drop_link(self, ifindex: int) -> list[Prefix]:
        """Removes the routes through a link, which the kernel does not announce; returns the prefixes that changed."""
        for prefix, shadowed in list(self._shadowed.items()):
            left = tuple(each for each in shadowed if each.ifindex != ifindex)
            if left:
                self._shadowed[prefix] = left
            else:
                del self._shadowed[prefix]
        affected = [
            routes
            for routes in self._routes.values()
            if any(each.ifindex == ifindex for each in routes)
        ]
        changed = []
        for routes in affected:
            after = tuple(each for each in routes if each.ifindex != ifindex)
            if self._replace(routes[0].prefix, routes, after):
                changed.append(routes[0].prefix)
        return changed

    def lookup(self, address: Address) -> Route | None:
        """Returns the best route of the longest prefix that contains the address."""
        routes = self._routes.longest(address)
        return routes[0] if routes else None

    def around(self, address: Address) -> Iterator[Route]:
        """Yields the best route of each prefix that contains the address, the longest first."""
        for routes in self._routes.matches(address):
            yield routes[0]

    def inside(self, prefix: Prefix) -> Iterator[Route]:
        """Yields the best route of each prefix within a prefix, itself included."""
        for routes in self._routes.inside(prefix):
            yield routes[0]

    def watch(self, ifindex: int, watcher: RouteWatcher) -> None:
        """Tells a watcher the routes into a tunnel, and from now on their changes."""
        self._watchers[ifindex] = watcher
        for routes in self._routes.values():
            for found, gateway in _hops(routes):
                if found == ifindex:
                    watcher.leads(routes[0].prefix, gateway)

    def unwatch(self, ifindex: int) -> None:
        """Tells the watcher of a tunnel, if it has one, that there are no routes, and no more after that."""
        watcher = self._watchers.pop(ifindex, None)
        if watcher is None:
            return
        for routes in self._routes.values():
            for found, gateway in _hops(routes):
                if found == ifindex:
                    watcher.leads_no_more(routes[0].prefix, gateway)

    def _tell(self, prefix: Prefix, before: tuple[Route, ...], after: tuple[Route, ...]) -> None:
        """Tells the watchers which next hops of a prefix are new, then which are gone."""
        if not self._watchers:
            return
        old, new = _hops(before), _hops(after)
        for ifindex, gateway in new - old:
            if ifindex in self._watchers:
                self._watchers[ifindex].leads(prefix, gateway)
        for ifindex, gateway in old - new:
            if ifindex in self._watchers:
                self._watchers[ifindex].leads_no_more(prefix, gateway)

    def _replace(self, prefix: Prefix, before: tuple[Route, ...], after: tuple[Route, ...]) -> bool:
        self._tell(prefix, before, after)
        if not after:
            self._routes.pop(prefix)
            return True
        self._routes[prefix] = after
        return not _same_path(before[0], after[0])


def _hops(routes: Iterable[Route]) -> set[tuple[int, Address]]:
    """Returns ifindex and gateway of all next hops over a gateway."""
    return {
        hop for route in routes for hop in ((route.ifindex, route.gateway), *route.others) if hop[1]
    }


def stretch(prefix: Prefix, target: Address, exceptions: Iterable[Prefix]) -> Prefix:
    """Lengthens a prefix around `target` until it holds none of the exceptions (RFC 2332 §6.3)."""
    length = prefix.length
    for other in exceptions:
        while length < other.length and cut(target, length) == cut(other.address, length):
            length += 1
    return Prefix(cut(target, length), length)


def _same_route(one: Route, other: Route) -> bool:
    return (
        one.metric == other.metric and one.ifindex == other.ifindex and one.gateway == other.gateway
    )


def _same_path(one: Route, other: Route) -> bool:
    return (one.ifindex, one.gateway) == (other.ifindex, other.gateway)
