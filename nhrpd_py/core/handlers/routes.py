"""Route events: what becomes of shortcuts and answers when the kernel's routes change."""

from nhrpd_py.core.address import Prefix, afi_of
from nhrpd_py.core.events import Route
from nhrpd_py.core.instance.tunnels import Tunnels
from nhrpd_py.core.kernel.tables import KernelTables
from nhrpd_py.core.station.location import Locator, Where


class RouteHandler:
    """Keeps the routing tables, and takes back what a change of them made untrue. Called by the engine."""

    __slots__ = ("_locator", "_tables", "_tunnels")

    def __init__(self, tunnels: Tunnels, tables: KernelTables, locator: Locator) -> None:
        self._tunnels = tunnels
        self._tables = tables
        self._locator = locator

    def added(self, route: Route, now: float) -> None:
        """The kernel has a new route, or another one of the same prefix and metric."""
        if self._tables.ribs[afi_of(route.prefix.address)].add(route):
            self._moved(route.prefix, now)

    def removed(self, route: Route, now: float) -> None:
        """The kernel has lost a route.

        One that led into the cloud, and for whose prefix a shortcut of ours stands, only gave way to that.
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
        """A link is down or gone: the kernel takes its routes away silently."""
        for rib in self._tables.ribs.values():
            for prefix in rib.drop_link(ifindex):
                self._moved(prefix, now)

    def _moved(self, prefix: Prefix, now: float) -> None:
        """A prefix leads elsewhere: shortcuts and answers that lean on it are looked at again."""
        afi = afi_of(prefix.address)
        rib = self._tables.ribs[afi]
        for tunnel in self._tunnels.opened():
            instance = tunnel[afi]
            for shortcut in instance.shortcuts.touching(prefix) if len(instance.shortcuts) else ():
                route = rib.lookup(shortcut.target)
                longer = route is not None and route.prefix.length > prefix.length
                if longer and prefix.covers(shortcut.prefix):
                    continue  # its way is that of a longer prefix: a default route that flaps is nothing to it
                where = self._locator.locate(instance.station, shortcut.target).where
                if where in (Where.NEXT_HOP, Where.UNRESOLVED):
                    instance.requester.renew(shortcut.target, now)
                else:
                    instance.shortcuts.remove(shortcut, "the routed path does not lead here now")
            instance.responder.routes_moved(prefix, now)
