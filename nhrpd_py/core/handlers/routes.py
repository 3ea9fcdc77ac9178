"""What becomes of shortcuts and answers when the kernel's routes change. Owned by the engine."""

from collections.abc import Mapping

from nhrpd_py.core.address import Afi, Prefix, afi_of
from nhrpd_py.core.context import Context
from nhrpd_py.core.events import Route
from nhrpd_py.core.instance.instance import Instance
from nhrpd_py.core.station.location import Routing, Where


class Routes:
    """See the module. `instances` are those that are open, by ifindex."""

    __slots__ = ("_context", "_routing", "instances")

    def __init__(self, context: Context, routing: Routing) -> None:
        self._context = context
        self._routing = routing
        self.instances: Mapping[int, Mapping[Afi, Instance]] = {}

    def added(self, route: Route, now: float) -> None:
        if self._context.ribs[afi_of(route.prefix.address)].add(route):
            self._moved(route.prefix, now)

    def _moved(self, prefix: Prefix, now: float) -> None:
        """A route changed: shortcuts and answers that lean on it are looked at again."""
        afi = afi_of(prefix.address)
        rib = self._context.ribs[afi]
        for instances in self.instances.values():
            instance = instances[afi]
            for shortcut in instance.shortcuts.touching(prefix) if len(instance.shortcuts) else ():
                route = rib.lookup(shortcut.target)
                longer = route is not None and route.prefix.length > prefix.length
                if longer and prefix.covers(shortcut.prefix):
                    continue  # its way is that of a longer prefix: a default route that flaps is nothing to it
                where = self._routing.locate(instance.station, shortcut.target).where
                if where in (Where.NEXT_HOP, Where.UNRESOLVED):
                    instance.resolver.renew(shortcut.target, now)
                else:
                    instance.shortcuts.remove(shortcut, "the routed path does not lead here now")
            instance.egress.routes_moved(prefix, now)

    def removed(self, route: Route, now: float) -> None:
        """One that led into the cloud, and for whose prefix a shortcut of ours stands, only gave way to that."""
        afi = afi_of(route.prefix.address)
        rib = self._context.ribs[afi]
        tunnel = self.instances.get(route.ifindex)
        if tunnel is not None and any(
            each[afi].shortcuts.shadows(route.prefix) for each in self.instances.values()
        ):
            rib.shadow(route)
        elif rib.remove(route):
            self._moved(route.prefix, now)

    def link_lost(self, ifindex: int, now: float) -> None:
        """A link is down or gone: the kernel takes its routes away without a word."""
        for rib in self._context.ribs.values():
            for prefix in rib.drop_link(ifindex):
                self._moved(prefix, now)
