"""The engine: events in, effects out, deterministic, one owner.

It knows no clock, socket or randomness of its own: `now` is an argument (seconds of one monotonic clock), randomness a
seeded generator. `handle` runs the timers that are due, then the event, and returns what the world has to do, in order.
Calling `advance` too early or twice does nothing. Everything else lives in the modules it wires together: `instance`
for each interface and family, `routing`, `receive`, `indication`, `views`.
"""

import random
from typing import NamedTuple, Self, assert_never

from nhrpd_py.core.address import Address, Afi, Prefix, afi_of
from nhrpd_py.core.associations import Associations
from nhrpd_py.core.commands import Commands
from nhrpd_py.core.config import Config
from nhrpd_py.core.context import Context
from nhrpd_py.core.effects import (
    AnswerCommand,
    CloseInterface,
    DropNeighbor,
    Effect,
    Guard,
    Halt,
    OpenInterface,
)
from nhrpd_py.core.events import (
    AddressAdded,
    AddressRemoved,
    BindingFound,
    CommandGiven,
    ConfigChanged,
    Event,
    InterfaceMended,
    InterfaceRefused,
    IpsecLost,
    IpsecReady,
    KernelRefused,
    LinkChanged,
    LinkGone,
    NameResolved,
    NeighborSolicited,
    PacketReceived,
    RouteAdded,
    RouteRemoved,
    SaFailed,
    SaGone,
    SaInstalled,
    ShutdownRequested,
    TrafficSeen,
)
from nhrpd_py.core.indication import Redirector
from nhrpd_py.core.instance import Instance
from nhrpd_py.core.interface import Interface, Links
from nhrpd_py.core.notices import InterfaceLost, InterfaceReady, KernelRefusal
from nhrpd_py.core.protection import Protection
from nhrpd_py.core.queries import Query
from nhrpd_py.core.receive import Receiver
from nhrpd_py.core.reload import Reload
from nhrpd_py.core.routes import Routes
from nhrpd_py.core.routing import Routing
from nhrpd_py.core.rows import Row
from nhrpd_py.core.state import SavedState
from nhrpd_py.core.timers import TimerKey, TimerKind
from nhrpd_py.core.views import Views, peer_count, saved_state
from nhrpd_py.packet.wire import DropReason

REOPEN_S = 30.0
"""How long an interface that the kernel refused is left alone."""


class _Seen(NamedTuple):
    """What of an interface matters when its link changes."""

    ifindex: int
    guard: Guard | None
    nbma: Address
    addresses: tuple[AddressAdded, ...]

    @classmethod
    def of(cls, interface: Interface) -> Self:
        return cls(interface.ifindex, interface.guard, interface.nbma, interface.addresses)


class Engine:
    """See the module. Not thread-safe: one task calls it."""

    def __init__(
        self, config: Config, *, rng: random.Random, now: float, first_request_id: int = 1
    ) -> None:
        self._context = Context(rng=rng, now=now, first_request_id=first_request_id)
        self._links = Links()
        self._routing = Routing(self._context)
        self._routes = Routes(self._context, self._routing)
        self._receiver = Receiver(self._context, self._routing)
        self._redirector = Redirector(self._context, self._routing)
        associations = Associations()
        self._interfaces: dict[str, Interface] = {}
        self._instances: dict[str, dict[Afi, Instance]] = {}
        self._reload = Reload(
            self._context,
            self._routing,
            associations,
            self._interfaces,
            self._instances,
            close=self._close,
        )
        for _, each in sorted(config.interfaces.items()):
            self._reload.add(each)
        self._protection = Protection(
            self._context, associations, self._interfaces, self._instances
        )
        self._by_ifindex: dict[int, dict[Afi, Instance]] = {}
        self._commands = Commands(self._context, self._instances, self._routing)
        self._views = Views(config, self._context, self._interfaces, self._instances)
        self._halted = False

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Takes an event in; gives the effects of due timers and of the event."""
        effects: list[Effect] = []
        self._context.effects = effects
        if self._halted:
            return effects
        self._run_timers(now)
        if type(event) is PacketReceived:  # the hot path, ahead of the table
            self._packet_received(event, now)
        else:
            self._dispatch(event, now)
        return effects

    def released(self) -> list[PacketReceived]:
        """The packets that waited for the event just handled; to be handled now, as if they came in only now.

        They are given back so that whoever contains what a packet breaks can do so with these too.
        """
        return self._protection.released()

    def advance(self, now: float) -> list[Effect]:
        """Runs the timers that are due; early or twice is harmless."""
        effects: list[Effect] = []
        self._context.effects = effects
        if not self._halted:
            self._run_timers(now)
        return effects

    def next_deadline(self) -> float | None:
        """When `advance` has something to do; None: not before another event."""
        return None if self._halted else self._context.timers.next_deadline()

    def view(self, query: Query, now: float) -> list[Row]:
        """A snapshot for people; changes nothing."""
        return self._views.rows(query, now)

    def peer_count(self) -> int:
        """How many outer addresses we have bindings for; much cheaper than their view."""
        return peer_count(self._instances)

    def saved_state(self, now: float) -> SavedState:
        """What the next start should know of this run."""
        return saved_state(self._context, self._instances, now)

    def _dispatch(self, event: Event, now: float) -> None:  # noqa: PLR0915 - one arm an event
        match event:
            case PacketReceived():
                self._packet_received(event, now)
            case TrafficSeen():
                self._traffic_seen(event, now)
            case LinkChanged():
                self._links.change(event)
                self._follow(now)
                if not event.up:  # after a tunnel is closed: it has nobody to tell any more
                    self._routes.link_lost(event.ifindex, now)
            case LinkGone(ifindex):
                link = self._links.remove(ifindex)
                for address, _ in link.addresses if link else ():
                    self._forget_local(address)
                self._follow(now)
                self._routes.link_lost(ifindex, now)
            case AddressAdded():
                self._address_added(event, now)
            case AddressRemoved():
                self._address_removed(event, now)
            case RouteAdded(route):
                self._routes.added(route, now)
            case RouteRemoved(route):
                self._routes.removed(route, now)
            case NeighborSolicited(ifindex, address, nbma):
                instance = self._instance(ifindex, afi_of(address))
                if instance is not None and instance.station.ready:
                    if nbma:
                        instance.resolver.binding_in_use(address, now)
                    else:
                        instance.resolver.solicited(address, now)
            case BindingFound():
                instance = self._instance(event.ifindex, afi_of(event.protocol))
                if instance is None or instance.adopt(event, now) is None:
                    self._context.emit(DropNeighbor(event.ifindex, event.protocol))
            case SaInstalled():
                self._protection.installed(event, now)
            case SaGone():
                self._protection.gone(event, now)
            case SaFailed():
                self._protection.failed(event, now)
            case IpsecReady():
                self._protection.ready(now)
                self._follow(now)
            case IpsecLost(reason):
                self._protection.lost(reason)
                self._follow(now)
            case KernelRefused():
                self._kernel_refused(event, now)
            case NameResolved(name, addresses, error):
                for instance in self._all_instances():
                    instance.client.name_resolved(name, addresses, error, now)
            case InterfaceRefused():
                self._interface_refused(event, now)
            case InterfaceMended(ifindex):
                for interface in self._interfaces.values():
                    if interface.ifindex == ifindex:
                        self._retry(interface, now)
            case CommandGiven(token, command):
                answer = self._commands.carry_out(command, now)
                self._context.emit(
                    AnswerCommand(token, answer.matched, answer.refused, answer.detail)
                )
            case ConfigChanged():
                self._config_changed(event, now)
            case ShutdownRequested():
                for instance in self._all_instances():
                    instance.shut_down(now)
                self._context.emit(Halt())
                self._halted = True
            case _:
                assert_never(event)

    def _packet_received(self, event: PacketReceived, now: float) -> None:
        instances = self._by_ifindex.get(event.ifindex)
        if instances is None:
            self._context.count_drop(None, DropReason.UNKNOWN_INTERFACE)
            return
        interface = next(iter(instances.values())).station.interface
        if interface.circuits.protected and not self._protection.admit(interface, event, now):
            return
        self._receiver.packet_received(instances, event, now)

    def _traffic_seen(self, event: TrafficSeen, now: float) -> None:
        version = event.data[0] >> 4 if event.data else 0
        afi = Afi.IPV6 if version == 6 else Afi.IPV4  # noqa: PLR2004 (the IP version)
        station = self._routing.station(event.in_ifindex, afi)
        if station is not None:
            self._redirector.traffic_seen(station, event, now)

    def _address_added(self, event: AddressAdded, now: float) -> None:
        link = self._links.by_ifindex.get(event.ifindex)
        if link is None:
            return
        key = (event.address, event.prefix_length)
        if key not in link.addresses:
            local = self._context.local_addresses
            local[event.address] = local.get(event.address, 0) + 1
        link.addresses[key] = event
        self._follow(now)

    def _address_removed(self, event: AddressRemoved, now: float) -> None:
        link = self._links.by_ifindex.get(event.ifindex)
        if link is None or link.addresses.pop((event.address, event.prefix_length), None) is None:
            return
        self._forget_local(event.address)
        self._follow(now)

    def _forget_local(self, address: bytes) -> None:
        local = self._context.local_addresses
        count = local.get(address, 0) - 1
        if count > 0:
            local[address] = count
        else:
            local.pop(address, None)

    def _follow(self, now: float) -> None:
        """Brings every interface in line with its link."""
        for name, interface in self._interfaces.items():
            before = _Seen.of(interface)
            interface.follow(self._links)
            seen = _Seen.of(interface)
            is_replaced = (seen.ifindex, seen.guard) != (before.ifindex, before.guard)
            if interface.opened and (not interface.can_open or is_replaced):
                self._close(interface, before.ifindex)
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
                for instance in self._instances[name].values():
                    instance.gate.review(now)
            for instance in self._instances[name].values():
                instance.follow(now, nbma_moved=nbma_moved)
                if seen.addresses != before.addresses:
                    instance.station.cache.refit_routes()
            self._tell(interface)

    def _open(self, interface: Interface, now: float) -> None:
        interface.opened = True
        self._context.emit(OpenInterface(interface.ifindex, interface.name, interface.guard))
        self._index()
        for instance in self._instances[interface.name].values():
            instance.opened(now)

    def _config_changed(self, event: ConfigChanged, now: float) -> None:
        before, self._views.config = self._views.config, event.config
        self._reload.apply(before.interfaces, event.config.interfaces, now)
        self._follow(now)
        if event.token is not None:
            self._context.emit(AnswerCommand(event.token, 0))

    def _close(self, interface: Interface, ifindex: int, *, withdrawn: bool = False) -> None:
        interface.opened = False
        self._context.emit(CloseInterface(ifindex, withdrawn))
        self._index()
        for instance in self._instances[interface.name].values():
            instance.closed(interface.link_problem or "the netdev was replaced")
        interface.circuits.release_all()

    def _index(self) -> None:
        self._by_ifindex = {
            interface.ifindex: self._instances[name]
            for name, interface in self._interfaces.items()
            if interface.opened
        }
        self._routes.instances = self._by_ifindex
        self._routing.replace(
            [
                instance.station
                for instances in self._by_ifindex.values()
                for instance in instances.values()
            ]
        )

    def _tell(self, interface: Interface) -> None:
        """Says when an interface begins to work, and when it ceases to."""
        if interface.works == interface.announced:
            return
        interface.announced = interface.works
        if interface.works:
            self._context.emit(
                InterfaceReady(
                    interface=interface.name,
                    nbma=interface.nbma,
                    addresses=", ".join(interface.address_texts()),
                )
            )
        else:
            self._context.emit(
                InterfaceLost(interface=interface.name, reason=interface.problem or "closed")
            )

    def _interface_refused(self, event: InterfaceRefused, now: float) -> None:
        instances = self._by_ifindex.get(event.ifindex)
        if instances is None:
            return
        interface = next(iter(instances.values())).station.interface
        interface.refusal = interface.link_problem = event.error
        self._close(interface, event.ifindex, withdrawn=event.exposed)
        self._context.timers.set(
            TimerKey(TimerKind.INTERFACE, interface.name, None), now + REOPEN_S
        )
        self._follow(now)

    def _retry(self, interface: Interface, now: float) -> None:
        """Opens an interface again that was refused."""
        if interface.refusal is not None:
            interface.refusal = None
            self._follow(now)

    def _kernel_refused(self, event: KernelRefused, now: float) -> None:
        link = self._links.by_ifindex.get(event.ifindex)
        name = link.state.name if link else f"ifindex {event.ifindex}"
        if self._context.reminders.allows((name, event.what), now):
            self._context.emit(KernelRefusal(interface=name, what=event.what, error=event.error))

    def _run_timers(self, now: float) -> None:
        timers = self._context.timers
        while (key := timers.pop_due(now)) is not None:
            self._timer_due(key, now)

    def _timer_due(self, key: TimerKey, now: float) -> None:
        instances = self._instances.get(key.interface)
        if instances is None:
            return
        subject = key.subject
        match key.kind, subject:
            case TimerKind.BINDING_EXPIRY, bytes():
                instances[afi_of(subject)].binding_expiry_due(subject, now)
            case TimerKind.BINDING_PROBE, bytes():
                instances[afi_of(subject)].resolver.binding_probe_due(subject)
            case TimerKind.RESOLUTION, bytes():
                instances[afi_of(subject)].resolver.timer_due(subject, now)
            case TimerKind.ADOPTED, bytes():
                instances[afi_of(subject)].adopted_due(subject)
            case TimerKind.SHORTCUT_EXPIRY, Prefix():
                instances[afi_of(subject.address)].shortcuts.expire(subject)
            case TimerKind.NHS_SEND, (Afi() as afi, int() as index, bytes() as nbma):
                instances[afi].client.send_due(index, nbma, now)
            case TimerKind.NHS_RESOLVE, (Afi() as afi, int() as index):
                instances[afi].client.resolve_due(index)
            case TimerKind.PURGE, int():
                for instance in instances.values():
                    instance.purges.timer_due(subject, now)
            case TimerKind.SETTLING, bytes():
                self._protection.settled(self._interfaces[key.interface], subject, now)
            case TimerKind.PARKED, bytes():
                self._protection.parked_due(self._interfaces[key.interface], subject)
            case TimerKind.INTERFACE, None:
                self._retry(self._interfaces[key.interface], now)
            case _:
                raise AssertionError(f"timer of an unknown form: {key}")

    def _instance(self, ifindex: int, afi: Afi) -> Instance | None:
        instances = self._by_ifindex.get(ifindex)
        return instances[afi] if instances else None

    def _all_instances(self) -> list[Instance]:
        return [each for instances in self._instances.values() for each in instances.values()]
