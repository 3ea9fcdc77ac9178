"""Link and address events: they open and close the tunnels, and inform their instances.

A tunnel is open while the kernel was asked to prepare its netdev and packets can come and go. A tunnel that the kernel
refuses is closed; it is tried again after 30 s, or at once when the reason is gone. A link that is removed or made anew
ends a refusal:

    CLOSED ◄──(the link is down, gone or unfit)── OPEN, ON TRIAL
       └──(packets can come and go)──► OPEN ──(the kernel refuses it)──► REFUSED ──(30 s, or mended)──► ON TRIAL
                                        ▲                                   ▲                              │
                                        └──(a second without a refusal)─────│──────────────────────────────┤
                                                                            └──(the kernel refuses it)─────┘
"""

from typing import NamedTuple, Self

from nhrpd_py.core.address import Address
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.base.timers import TimerKey, TimerKind, TimerQueue
from nhrpd_py.core.effects import CloseInterface, OpenInterface, ProtectedGre
from nhrpd_py.core.events import AddressAdded, AddressRemoved, InterfaceRefused, LinkChanged
from nhrpd_py.core.handlers.routes import RouteHandler
from nhrpd_py.core.handlers.sources import SourceHandler
from nhrpd_py.core.instance.tunnels import Tunnel, Tunnels
from nhrpd_py.core.kernel.links import Links
from nhrpd_py.core.kernel.tables import KernelTables
from nhrpd_py.core.notices import InterfaceLost, InterfaceReady, PolicyOpen
from nhrpd_py.core.station.advice import advice
from nhrpd_py.core.station.interface import Interface, OpenRefusal

REOPEN_S = 30.0
"""How long a tunnel that the kernel refused is left alone."""
TRIAL_S = 1.0
"""How long a tunnel that was refused must stay open before it counts as working."""


class _Seen(NamedTuple):
    """The properties of an interface whose change matters when its link changes."""

    ifindex: int
    guard: ProtectedGre | None
    nbma: Address
    addresses: tuple[AddressAdded, ...]
    mtu: int
    is_stranded: bool
    """No packet leaves by it: its underlay is gone, or its NBMA address is not ours."""

    @classmethod
    def of(cls, interface: Interface) -> Self:
        return cls(
            interface.ifindex,
            interface.guard,
            interface.nbma,
            interface.addresses,
            interface.mtu,
            interface.nbma_problem is not None,
        )


class LinkHandler:
    """Keeps the tunnels in line with their links. Called by the engine, and by `ReloadHandler` to close one."""

    __slots__ = ("_links", "_outbox", "_routes", "_sources", "_tables", "_timers", "_tunnels")

    def __init__(
        self,
        tunnels: Tunnels,
        tables: KernelTables,
        routes: RouteHandler,
        sources: SourceHandler,
        outbox: Outbox,
        timers: TimerQueue,
    ) -> None:
        self._tunnels = tunnels
        self._tables = tables
        self._routes = routes
        self._sources = sources
        self._outbox = outbox
        self._timers = timers
        self._links = Links()

    def link_name(self, ifindex: int) -> str:
        """Returns the name of a link, for people."""
        link = self._links.by_ifindex.get(ifindex)
        return link.state.name if link else f"ifindex {ifindex}"

    # Reports of the kernel.

    def link_changed(self, event: LinkChanged, now: float) -> None:
        self._links.change(event)
        self.follow(now)
        if not event.up:  # after the tunnel is closed, which then sends no Purges for these routes
            self._routes.link_lost(event.ifindex, now)

    def link_gone(self, ifindex: int, now: float) -> None:
        link = self._links.remove(ifindex)
        for address, length in link.addresses if link else ():
            self._tables.remove_address(ifindex, address, length)
        self.follow(now)
        self._routes.link_lost(ifindex, now)

    def address_added(self, event: AddressAdded, now: float) -> None:
        link = self._links.by_ifindex.get(event.ifindex)
        if link is None:
            return
        key = (event.address, event.prefix_length)
        is_new = key not in link.addresses
        if is_new:
            self._tables.add_address(event)
        link.addresses[key] = event
        self.follow(now)
        if is_new:
            self._review_claims(now)

    def address_removed(self, event: AddressRemoved, now: float) -> None:
        link = self._links.by_ifindex.get(event.ifindex)
        if link is None or link.addresses.pop((event.address, event.prefix_length), None) is None:
            return
        self._tables.remove_address(event.ifindex, event.address, event.prefix_length)
        self.follow(now)

    def refused(self, event: InterfaceRefused, now: float) -> None:
        """Closes a tunnel that the kernel refuses or whose guard is gone, and sets the time of the next try."""
        tunnel = self._tunnels.open_at(event.ifindex)
        if tunnel is None:
            return
        interface = tunnel.interface
        before, interface.refusal = interface.refusal, OpenRefusal(event.error)
        interface.link_problem = event.error
        if before is not None and before.reason != event.error:
            self._notify_lost(interface)
        self.close(tunnel, event.ifindex, withdrawn=event.exposed)
        self._set_timer(interface, now + REOPEN_S)
        self.follow(now)

    def mended(self, ifindex: int, now: float) -> None:
        """Tries a refused tunnel again at once: the reason is gone."""
        for tunnel in self._tunnels:
            if tunnel.interface.ifindex == ifindex:
                self._retry(tunnel.interface, now)

    def timer_due(self, interface: Interface, now: float) -> None:
        """Tries a refused tunnel again, or ends the trial of one that has stayed open."""
        if interface.refusal is not None and not interface.refusal.on_trial:
            self._retry(interface, now)
        else:
            interface.refusal = None
            self._notify(interface)

    def _retry(self, interface: Interface, now: float) -> None:
        """Puts a refused tunnel on trial: opens it, and the notice that it works waits for the end of the trial."""
        if interface.refusal is not None and not interface.refusal.on_trial:
            interface.refusal.on_trial = True
            self._set_timer(interface, now + TRIAL_S)
            self.follow(now)

    def _set_timer(self, interface: Interface, at: float) -> None:
        self._timers.set(TimerKey(TimerKind.INTERFACE, interface.name, None), at)

    # Changes of the tunnels.

    def follow(self, now: float) -> None:
        """Opens, closes and updates every tunnel as its link requires."""
        review = False
        for tunnel in self._tunnels:
            interface = tunnel.interface
            before = _Seen.of(interface)
            interface.follow(self._links)
            seen = _Seen.of(interface)
            is_replaced = (seen.ifindex, seen.guard) != (before.ifindex, before.guard)
            if interface.opened and (not interface.can_open or is_replaced):
                self.close(tunnel, before.ifindex)
            elif seen == before and interface.opened == interface.can_open:
                self._notify(interface)
                continue
            nbma_moved = seen.nbma != before.nbma
            if nbma_moved:
                interface.circuits.moved(interface.nbma)
                self._sources.moved(tunnel)
            is_new = interface.can_open and not interface.opened
            if is_new:
                self._open(tunnel, now)
            if interface.opened and (is_new or nbma_moved) and interface.circuits.protected:
                for instance in tunnel:
                    instance.dependents.review(now)
            is_back = before.is_stranded and not seen.is_stranded
            for instance in tunnel:
                instance.follow(
                    now, moved_from=before.nbma if nbma_moved else None, is_back=is_back
                )
                entries = instance.station.cache.entries
                readdressed = seen.addresses != before.addresses
                review = review or is_new or readdressed or nbma_moved
                if readdressed:
                    entries.refit_routes()
                if interface.opened and not is_new and seen.mtu != before.mtu:
                    entries.tunnel_mtu_changed()
            self._notify(interface)
        if review:  # networks or addresses of the cloud came or went, or it is open again
            self._review_claims(now)

    def _review_claims(self, now: float) -> None:
        for tunnel in self._tunnels.opened():
            for instance in tunnel:
                if instance.station.ready:
                    instance.dependents.review_claims(now)

    def _open(self, tunnel: Tunnel, now: float) -> None:
        interface = tunnel.interface
        interface.opened = True
        self._outbox.emit(OpenInterface(interface.ifindex, interface.name, interface.guard))
        self._tunnels.index()
        self._sources.opened(tunnel)
        for instance in tunnel:
            instance.opened(now)
        tunnel.replication.opened()

    def close(
        self, tunnel: Tunnel, ifindex: int, *, withdrawn: bool = False, final: bool = False
    ) -> None:
        """Closes an open tunnel; with `withdrawn` all our entries on its netdev are deleted, with `final` its netdev
        is as we found it."""
        interface = tunnel.interface
        interface.opened = False
        self._outbox.emit(CloseInterface(ifindex, withdrawn, final))
        self._tunnels.index()
        for instance in tunnel:
            instance.closed(interface.link_problem or "the netdev was replaced")
        interface.circuits.release_all()
        interface.link_locals.forget()
        self._sources.closed(ifindex, tunnel, final=final)

    def give_up(self, interface: Interface) -> None:
        """Has the netdev of a closed tunnel made as we found it."""
        self._outbox.emit(CloseInterface(interface.ifindex, withdrawn=True, final=True))

    def _notify(self, interface: Interface) -> None:
        """Emits a notice when a tunnel begins or ceases to work."""
        works = interface.works
        if works == interface.announced or (works and interface.refusal is not None):
            return
        interface.announced = works
        if works:
            self._outbox.emit(
                InterfaceReady(
                    interface=interface.name,
                    nbma=interface.nbma,
                    addresses=", ".join(interface.address_texts()),
                )
            )
            self._advise(interface)
        else:
            self._notify_lost(interface)

    def _advise(self, interface: Interface) -> None:
        """Tells once what the settings of an interface leave open, and again when they were changed."""
        found = tuple(advice(interface))
        if found != interface.advised:
            interface.advised = found
            for setting, problem in found:
                self._outbox.emit(
                    PolicyOpen(interface=interface.name, setting=setting, problem=problem)
                )

    def _notify_lost(self, interface: Interface) -> None:
        self._outbox.emit(
            InterfaceLost(interface=interface.name, reason=interface.problem or "closed")
        )
