"""Route events: they update the routing tables, and shortcuts and answers that depend on a changed route."""

from nhrpd_py.core.address import Prefix, afi_of
from nhrpd_py.core.events import Route
from nhrpd_py.core.instance.tunnels import Tunnels
from nhrpd_py.core.kernel.tables import KernelTables
from nhrpd_py.core.station.location import Locator, Where


class RouteHandler:
    """Keeps the routing tables, and updates what depends on a changed route. Called by the engine."""

    __slots__ = ("_locator", "_tables", "_tunnels")

    def __init__(self, tunnels: Tunnels, tables: KernelTables, locator: Locator) -> None:
        self._tunnels = tunnels
        self._tables = tables
        self._locator = locator

    def added(self, route: Route, now: float) -> None:
        """Handles a new route, or one that replaces another of the same prefix and metric."""
        if self._tables.ribs[afi_of(route.prefix.address)].add(route):
            self._moved(route.prefix, now)

    def removed(self, route: Route, now: float) -> None:
        """Handles the loss of a route.

        A route into the cloud for whose prefix we have a shortcut only gave way to that (see `Rib.shadow`).
        """
        afi = afi_of(route.prefix.address)
        rib = self._tables.ribs[afi]
        if self._tunnels.open_at(route.ifindex) is not None and any(
            tunnel[afi].shortcuts.shadows(route.prefix) for tunnel in self._tunnels.opened()
        ):
            rib.shadow(route)
        elif rib.remove(route):
            self._moved(route.prefix, now)

    def link_lost(self, ifindex: int, now: float) -> None:
        """Removes the routes of a link that is down or gone: the kernel removes them without a notification."""
        for rib in self._tables.ribs.values():
            for prefix in rib.drop_link(ifindex):
                self._moved(prefix, now)

    def _moved(self, prefix: Prefix, now: float) -> None:
        """Renews or removes the shortcuts that depend on a prefix whose route changed, and takes its answers back."""
        afi = afi_of(prefix.address)
        rib = self._tables.ribs[afi]
        for tunnel in self._tunnels.opened():
            instance = tunnel[afi]
            for shortcut in instance.shortcuts.touching(prefix) if len(instance.shortcuts) else ():
                route = rib.lookup(shortcut.target)
                longer = route is not None and route.prefix.length > prefix.length
                if longer and prefix.covers(shortcut.prefix):
                    continue  # it follows a longer prefix: a flapping default route does not concern it
                where = self._locator.locate(instance.station, shortcut.target).where
                if where in (Where.NEXT_HOP, Where.UNRESOLVED):
                    instance.requester.renew(shortcut.target, now)
                else:
                    instance.shortcuts.remove(shortcut, "the routed path does not lead here now")
            instance.responder.routes_moved(prefix, now)
