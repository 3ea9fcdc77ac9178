"""The engine: events in, effects out, deterministic, one owner.

It knows no clock, socket or randomness of its own: `now` is an argument (seconds of one monotonic clock), randomness a
seeded generator. `handle` runs the timers that are due, then the event, and returns what the world has to do, in order.
Calling `advance` too early or twice does nothing. Everything else lives in the modules it wires together: `interfaces`,
`instance` for each interface and family, `routing`, `receive`, `indication`, `views`.
"""

import random
from typing import assert_never

from nhrpd_py.core.address import Afi, Prefix, afi_of
from nhrpd_py.core.base.timers import TimerKey, TimerKind
from nhrpd_py.core.config import Config
from nhrpd_py.core.context import Context
from nhrpd_py.core.effects import (
    AnswerCommand,
    DropNeighbor,
    Effect,
    Halt,
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
from nhrpd_py.core.handlers.associations import Protection
from nhrpd_py.core.handlers.commands import Commands
from nhrpd_py.core.handlers.links import Interfaces
from nhrpd_py.core.handlers.packets import Receiver
from nhrpd_py.core.handlers.redirects import Redirector
from nhrpd_py.core.handlers.reload import Reload
from nhrpd_py.core.handlers.routes import Routes
from nhrpd_py.core.instance.saved import peer_count, saved_state
from nhrpd_py.core.ipsec.associations import Associations
from nhrpd_py.core.notices import KernelRefusal
from nhrpd_py.core.queries import Query
from nhrpd_py.core.rows import Row
from nhrpd_py.core.state import SavedState
from nhrpd_py.core.station.location import Routing
from nhrpd_py.core.views.views import Views
from nhrpd_py.packet.wire import DropReason


class Engine:
    """See the module. Not thread-safe: one task calls it."""

    def __init__(
        self, config: Config, *, rng: random.Random, now: float, first_request_id: int = 1
    ) -> None:
        self._context = Context(rng=rng, now=now, first_request_id=first_request_id)
        self._routing = Routing(self._context)
        self._routes = Routes(self._context, self._routing)
        self._receiver = Receiver(self._context, self._routing)
        self._redirector = Redirector(self._context, self._routing)
        self._interfaces = Interfaces(self._context, self._routing, self._routes)
        by_name, instances = self._interfaces.by_name, self._interfaces.instances
        associations = Associations()
        self._reload = Reload(
            self._context,
            self._routing,
            associations,
            by_name,
            instances,
            close=self._interfaces.close,
        )
        for _, each in sorted(config.interfaces.items()):
            self._reload.add(each)
        self._protection = Protection(self._context, associations, by_name, instances)
        self._commands = Commands(self._context, instances, self._routing)
        self._views = Views(config, self._context, by_name, instances)
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
        return peer_count(self._interfaces.instances)

    def saved_state(self, now: float) -> SavedState:
        """What the next start should know of this run."""
        return saved_state(self._context, self._interfaces.instances, now)

    def _dispatch(self, event: Event, now: float) -> None:  # noqa: PLR0915 - one arm an event
        match event:
            case PacketReceived():
                self._packet_received(event, now)
            case TrafficSeen():
                self._traffic_seen(event, now)
            case LinkChanged():
                self._interfaces.link_changed(event, now)
            case LinkGone(ifindex):
                self._interfaces.link_gone(ifindex, now)
            case AddressAdded():
                self._interfaces.address_added(event, now)
            case AddressRemoved():
                self._interfaces.address_removed(event, now)
            case RouteAdded(route):
                self._routes.added(route, now)
            case RouteRemoved(route):
                self._routes.removed(route, now)
            case NeighborSolicited(ifindex, address, nbma):
                instance = self._interfaces.instance(ifindex, afi_of(address))
                if instance is not None and instance.station.ready:
                    if nbma:
                        instance.resolver.binding_in_use(address, now)
                    else:
                        instance.resolver.solicited(address, now)
            case BindingFound():
                instance = self._interfaces.instance(event.ifindex, afi_of(event.protocol))
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
                self._interfaces.follow(now)
            case IpsecLost(reason):
                self._protection.lost(reason)
                self._interfaces.follow(now)
            case KernelRefused():
                self._kernel_refused(event, now)
            case NameResolved(name, addresses, error):
                for instance in self._interfaces.all_instances():
                    instance.client.name_resolved(name, addresses, error, now)
            case InterfaceRefused():
                self._interfaces.refused(event, now)
            case InterfaceMended(ifindex):
                self._interfaces.mended(ifindex, now)
            case CommandGiven(token, command):
                answer = self._commands.carry_out(command, now)
                self._context.emit(
                    AnswerCommand(token, answer.matched, answer.refused, answer.detail)
                )
            case ConfigChanged():
                self._config_changed(event, now)
            case ShutdownRequested():
                for instance in self._interfaces.all_instances():
                    instance.shut_down(now)
                self._context.emit(Halt())
                self._halted = True
            case _:
                assert_never(event)

    def _packet_received(self, event: PacketReceived, now: float) -> None:
        instances = self._interfaces.by_ifindex.get(event.ifindex)
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

    def _config_changed(self, event: ConfigChanged, now: float) -> None:
        before, self._views.config = self._views.config, event.config
        self._reload.apply(before.interfaces, event.config.interfaces, now)
        self._interfaces.follow(now)
        if event.token is not None:
            self._context.emit(AnswerCommand(event.token, 0))

    def _kernel_refused(self, event: KernelRefused, now: float) -> None:
        name = self._interfaces.link_name(event.ifindex)
        if self._context.reminders.allows((name, event.what), now):
            self._context.emit(KernelRefusal(interface=name, what=event.what, error=event.error))

    def _run_timers(self, now: float) -> None:
        timers = self._context.timers
        while (key := timers.pop_due(now)) is not None:
            self._timer_due(key, now)

    def _timer_due(self, key: TimerKey, now: float) -> None:
        instances = self._interfaces.instances.get(key.interface)
        if instances is None:
            return
        interface = self._interfaces.by_name[key.interface]
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
                self._protection.settled(interface, subject, now)
            case TimerKind.PARKED, bytes():
                self._protection.parked_due(interface, subject)
            case TimerKind.INTERFACE, None:
                self._interfaces.timer_due(key.interface, now)
            case _:
                raise AssertionError(f"timer of an unknown form: {key}")
