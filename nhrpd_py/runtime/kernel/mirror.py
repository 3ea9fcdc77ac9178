"""A copy of the links, addresses and routes that the engine knows, to report only differences to
it.

After lost notifications everything is dumped again, and the mirror returns what came, changed and
went meanwhile. It also adds what the kernel never announces: the removal of the IPv4 routes of a
link that goes down, or of a nexthop object that is deleted. Owned by `store`; pure: the caller
delivers the events that it returns, in order.
"""

from collections.abc import Iterable

from nhrpd_py.core.address import Address, Prefix
from nhrpd_py.core.events import (
    AddressAdded,
    AddressRemoved,
    Event,
    LinkChanged,
    LinkGone,
    Route,
    RouteAdded,
    RouteRemoved,
)
from nhrpd_py.runtime.netlink.rtnl import RouteRead

AddressKey = tuple[int, Address, int]
RouteKey = tuple[Prefix, int]
"""Prefix and metric: the kernel's key for NLM_F_REPLACE."""


class Mirror:
    """Keeps links, addresses and routes as the engine knows them. Routes of our own protocol never
    enter."""

    def __init__(self, protocol: int) -> None:
        self._protocol = protocol
        self.links: dict[int, LinkChanged] = {}
        self._addresses: dict[AddressKey, AddressAdded] = {}
        self._routes: dict[RouteKey, tuple[Route, ...]] = {}
        self._multipath: set[RouteKey] = set()
        self._nexthops: set[int] = set()
        """Ids of nexthop objects that routes were seen to use since the last dump."""
        self.suspect = False
        """The routes may differ from the kernel's in a way that only a dump can show."""

    def is_up(self, ifindex: int) -> bool:
        link = self.links.get(ifindex)
        return link is not None and link.up

    def routes_at(self, prefix: Prefix, metric: int) -> tuple[Route, ...]:
        """Returns the routes of others that a route of ours would replace."""
        return self._routes.get((prefix, metric), ())

    # Notifications.

    def link_changed(self, link: LinkChanged) -> list[Event]:
        before = self.links.get(link.ifindex)
        if before == link:
            return []
        self.links[link.ifindex] = link
        events: list[Event] = [link]
        if before is not None and before.up and not link.up:
            events += self._drop_routes_of(link.ifindex)
        return events

    def link_gone(self, ifindex: int) -> list[Event]:
        if self.links.pop(ifindex, None) is None:
            return []
        events = self._drop_routes_of(ifindex)
        for key in [key for key in self._addresses if key[0] == ifindex]:
            events += self.address_removed(self._addresses[key])
        return [*events, LinkGone(ifindex)]

    def _drop_routes_of(self, ifindex: int) -> list[Event]:
        self.suspect = True
        doomed = [
            route
            for bucket in self._routes.values()
            for route in bucket
            if route.ifindex == ifindex
        ]
        return [event for route in doomed for event in self._remove(route)]

    def address_added(self, address: AddressAdded) -> list[Event]:
        key = _address_key(address)
        if self._addresses.get(key) == address:
            return []
        self._addresses[key] = address
        return [address]

    def address_removed(self, address: AddressAdded) -> list[Event]:
        key = _address_key(address)
        if self._addresses.pop(key, None) is None:
            return []
        self.suspect = True  # IPv4 routes that prefer this source go without notice
        return [AddressRemoved(*key)]

    def route_added(self, read: RouteRead, *, replaces: bool) -> list[Event]:
        route = read.route
        if route.protocol == self._protocol:
            return []
        key = _route_key(route)
        bucket = self._routes.get(key, ())
        events: list[Event] = []
        if replaces:
            self.suspect |= (
                len(bucket) > 1
            )  # the kernel replaced one of them; the notification does not show which
            events = [RouteRemoved(old) for old in bucket if not _same_first(old, route)]
            self._multipath.discard(key)
        if read.multipath:
            self._multipath.add(key)
        if read.nexthop:
            self._nexthops.add(read.nexthop)
        if route in bucket:
            self._routes[key] = (route,) if replaces else bucket
            return events
        others = tuple(other for other in bucket if not _same_first(other, route))
        self._routes[key] = (route,) if replaces else (*others, route)
        return [*events, RouteAdded(route)]

    def route_removed(self, read: RouteRead) -> list[Event]:
        route = read.route
        if route.protocol == self._protocol:
            return []
        self.suspect |= _route_key(route) in self._multipath  # perhaps only one next hop of several
        return self._remove(route)

    def nexthop_changed(self, number: int) -> None:
        """Notes that a nexthop object was added, changed or removed, and perhaps routes with it."""
        self.suspect |= number in self._nexthops

    def _remove(self, route: Route) -> list[Event]:
        key = _route_key(route)
        bucket = self._routes.get(key, ())
        if route not in bucket:
            return []
        rest = tuple(other for other in bucket if other != route)
        if rest:
            self._routes[key] = rest
        else:
            del self._routes[key]
            self._multipath.discard(key)
        return [RouteRemoved(route)]

    # Dumps.

    def sync_links(self, dumped: Iterable[LinkChanged]) -> list[Event]:
        found = {link.ifindex: link for link in dumped}
        events = [
            event for ifindex in self.links.keys() - found for event in self.link_gone(ifindex)
        ]
        for link in found.values():
            events += self.link_changed(link)
        return events

    def sync_addresses(self, dumped: Iterable[AddressAdded]) -> list[Event]:
        found = {_address_key(address): address for address in dumped}
        events: list[Event] = []
        for key in self._addresses.keys() - found:
            events += self.address_removed(self._addresses[key])
        for address in found.values():
            events += self.address_added(address)
        return events

    def sync_routes(self, dumped: Iterable[RouteRead]) -> list[Event]:
        """Replaces all routes by those of a dump. Removals come first, for the engine may know only
        one route per prefix."""
        before, self._routes, self._multipath = self._routes, {}, set()
        self._nexthops = set()
        self.suspect = False
        added: list[Event] = []
        for read in dumped:
            added += self.route_added(read, replaces=False)
        removed: list[Event] = [
            RouteRemoved(route)
            for key, bucket in before.items()
            for route in bucket
            if not any(_same_first(route, other) for other in self._routes.get(key, ()))
        ]
        known = {route for bucket in before.values() for route in bucket}
        return removed + [
            event for event in added if isinstance(event, RouteAdded) and event.route not in known
        ]


def _address_key(address: AddressAdded) -> AddressKey:
    return (address.ifindex, address.address, address.prefix_length)


def _same_first(one: Route, other: Route) -> bool:
    """Whether two routes of one prefix and metric differ in their further next hops at most: then the
    new one takes the place of the old one, and nothing that follows the first hop is disturbed."""
    return (one.ifindex, one.gateway, one.protocol) == (
        other.ifindex,
        other.gateway,
        other.protocol,
    )


def _route_key(route: Route) -> RouteKey:
    return (route.prefix, route.metric)
