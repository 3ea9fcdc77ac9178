"""All interfaces of the configuration: what link and address events make of them, which are open, and who is told.

An interface is open while the kernel was asked to prepare its netdev and packets can come and go. One that the kernel
refuses is closed; it is tried again after a while, and at once when what was wrong is mended. Who calls: the engine.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self

from nhrpd_py.core.address import Address, Afi
from nhrpd_py.core.base.timers import TimerKey, TimerKind
from nhrpd_py.core.context import Context
from nhrpd_py.core.effects import CloseInterface, OpenInterface, ProtectedGre
from nhrpd_py.core.events import AddressAdded, AddressRemoved, InterfaceRefused, LinkChanged
from nhrpd_py.core.handlers.routes import Routes
from nhrpd_py.core.instance.instance import Instance
from nhrpd_py.core.notices import InterfaceLost, InterfaceReady
from nhrpd_py.core.station.interface import Interface, Links
from nhrpd_py.core.station.location import Routing

REOPEN_S = 30.0
"""How long an interface that the kernel refused is left alone."""
TRIAL_S = 1.0
"""How long one that was refused before must stay open until it is said to work."""


class _Seen(NamedTuple):
    """What of an interface matters when its link changes."""

    ifindex: int
    guard: ProtectedGre | None
    nbma: Address
    addresses: tuple[AddressAdded, ...]

    @classmethod
    def of(cls, interface: Interface) -> Self:
        return cls(interface.ifindex, interface.guard, interface.nbma, interface.addresses)


class Interfaces:
    """See the module. `by_name` and `instances` have the same names; who adds there is `Reload`."""

    __slots__ = ("_context", "_links", "_routes", "_routing", "by_ifindex", "by_name", "instances")

    def __init__(self, context: Context, routing: Routing, routes: Routes) -> None:
        self._context = context
        self._routing = routing
        self._routes = routes
        self._links = Links()
        self.by_name: dict[str, Interface] = {}
        self.instances: dict[str, dict[Afi, Instance]] = {}
        self.by_ifindex: Mapping[int, Mapping[Afi, Instance]] = {}
        """Those of the open interfaces."""

    def all_instances(self) -> Iterable[Instance]:
        return [each for instances in self.instances.values() for each in instances.values()]

    def instance(self, ifindex: int, afi: Afi) -> Instance | None:
        """That of an open interface."""
        instances = self.by_ifindex.get(ifindex)
        return instances[afi] if instances else None

    def link_name(self, ifindex: int) -> str:
        """For people."""
        link = self._links.by_ifindex.get(ifindex)
        return link.state.name if link else f"ifindex {ifindex}"

    # What the kernel tells.

    def link_changed(self, event: LinkChanged, now: float) -> None:
        self._links.change(event)
        self.follow(now)
        if not event.up:  # after a tunnel is closed: it has nobody to tell any more
            self._routes.link_lost(event.ifindex, now)

    def link_gone(self, ifindex: int, now: float) -> None:
        link = self._links.remove(ifindex)
        for address, _ in link.addresses if link else ():
            self._forget_local(address)
        self.follow(now)
        self._routes.link_lost(ifindex, now)

    def address_added(self, event: AddressAdded, now: float) -> None:
        link = self._links.by_ifindex.get(event.ifindex)
        if link is None:
            return
        key = (event.address, event.prefix_length)
        if key not in link.addresses:
            local = self._context.local_addresses
            local[event.address] = local.get(event.address, 0) + 1
        link.addresses[key] = event
        self.follow(now)

    def address_removed(self, event: AddressRemoved, now: float) -> None:
        link = self._links.by_ifindex.get(event.ifindex)
        if link is None or link.addresses.pop((event.address, event.prefix_length), None) is None:
            return
        self._forget_local(event.address)
        self.follow(now)

    def _forget_local(self, address: bytes) -> None:
        local = self._context.local_addresses
        count = local.get(address, 0) - 1
        if count > 0:
            local[address] = count
        else:
            local.pop(address, None)

    def refused(self, event: InterfaceRefused, now: float) -> None:
        """The kernel would not open it, or its guard is gone: it is closed until it is tried again."""
        instances = self.by_ifindex.get(event.ifindex)
        if instances is None:
            return
        interface = next(iter(instances.values())).station.interface
        interface.refusal = interface.link_problem = event.error
        if interface.trial not in (None, event.error):
            self._tell_lost(interface)
        self.close(interface, event.ifindex, withdrawn=event.exposed)
        self._set_timer(interface, now + REOPEN_S)
        self.follow(now)

    def mended(self, ifindex: int, now: float) -> None:
        """What an interface was refused for is over."""
        for interface in self.by_name.values():
            if interface.ifindex == ifindex:
                self._retry(interface, now)

    def timer_due(self, name: str, now: float) -> None:
        interface = self.by_name[name]
        if interface.refusal is not None:
            self._retry(interface, now)
        else:
            interface.trial = None
            self._tell(interface)

    def _retry(self, interface: Interface, now: float) -> None:
        """Opens an interface again that was refused; only once it stays open, that is news."""
        if interface.refusal is not None:
            interface.trial, interface.refusal = interface.refusal, None
            self._set_timer(interface, now + TRIAL_S)
            self.follow(now)

    def _set_timer(self, interface: Interface, at: float) -> None:
        self._context.timers.set(TimerKey(TimerKind.INTERFACE, interface.name, None), at)

    # What becomes of it.

    def follow(self, now: float) -> None:
        """Brings every interface in line with its link."""
        for name, interface in self.by_name.items():
            before = _Seen.of(interface)
            interface.follow(self._links)
            seen = _Seen.of(interface)
            is_replaced = (seen.ifindex, seen.guard) != (before.ifindex, before.guard)
            if interface.opened and (not interface.can_open or is_replaced):
                self.close(interface, before.ifindex)
            elif seen == before and interface.opened == interface.can_open:
                self._tell(interface)
                continue
            nbma_moved = seen.nbma != before.nbma
            if nbma_moved:
                interface.circuits.moved(interface.nbma)
            is_new = interface.can_open and not interface.opened
            if is_new:
                self._open(interface, now)
            if interface.opened and (is_new or nbma_moved) and interface.circuits.protected:
                for instance in self.instances[name].values():
                    instance.gate.review(now)
            for instance in self.instances[name].values():
                instance.follow(now, nbma_moved=nbma_moved)
                if seen.addresses != before.addresses:
                    instance.station.cache.refit_routes()
            self._tell(interface)

    def _open(self, interface: Interface, now: float) -> None:
        interface.opened = True
        self._context.emit(OpenInterface(interface.ifindex, interface.name, interface.guard))
        self._index()
        for instance in self.instances[interface.name].values():
            instance.opened(now)

    def close(self, interface: Interface, ifindex: int, *, withdrawn: bool = False) -> None:
        """Closes an open interface; `withdrawn`: with all that we put on its netdev."""
        interface.opened = False
        self._context.emit(CloseInterface(ifindex, withdrawn))
        self._index()
        for instance in self.instances[interface.name].values():
            instance.closed(interface.link_problem or "the netdev was replaced")
        interface.circuits.release_all()

    def _index(self) -> None:
        self.by_ifindex = {
            interface.ifindex: self.instances[name]
            for name, interface in self.by_name.items()
            if interface.opened
        }
        self._routes.instances = self.by_ifindex
        self._routing.replace(
            [
                instance.station
                for instances in self.by_ifindex.values()
                for instance in instances.values()
            ]
        )

    def _tell(self, interface: Interface) -> None:
        """Says when an interface begins to work, and when it ceases to."""
        works = interface.works
        if works == interface.announced or (works and interface.trial is not None):
            return
        interface.announced = works
        if works:
            self._context.emit(
                InterfaceReady(
                    interface=interface.name,
                    nbma=interface.nbma,
                    addresses=", ".join(interface.address_texts()),
                )
            )
        else:
            self._tell_lost(interface)

    def _tell_lost(self, interface: Interface) -> None:
        self._context.emit(
            InterfaceLost(interface=interface.name, reason=interface.problem or "closed")
        )
