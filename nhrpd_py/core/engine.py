"""The engine: events in, effects out, deterministic, one owner.

It knows no clock, socket or randomness of its own: `now` is an argument (seconds of one monotonic clock), and so are
the sources of randomness. `handle` runs the timers that are due, then the event, and returns what the world has to do,
in order. Calling `advance` too early or twice does nothing. What an event means is in `handlers`, one file a family of
events.
"""

import random
from collections.abc import Callable, Sequence
from typing import Protocol, assert_never

from nhrpd_py.core.address import Afi, Prefix
from nhrpd_py.core.base.jitter import Jitter
from nhrpd_py.core.base.limits import Limits
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.base.requests import Requests
from nhrpd_py.core.base.timers import TimerKey, TimerKind, TimerQueue
from nhrpd_py.core.config import Config
from nhrpd_py.core.effects import (
    AnswerCommand,
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
    MulticastSeen,
    NameResolved,
    NeighborSolicited,
    PacketReceived,
    PacketUndelivered,
    RouteAdded,
    RouteRemoved,
    SaFailed,
    SaGone,
    SaInstalled,
    SasCounted,
    ShutdownRequested,
    SourceFilterState,
    TrafficSeen,
    TunnelCounted,
    WrongSources,
)
from nhrpd_py.core.handlers.associations import AssociationHandler
from nhrpd_py.core.handlers.commands import CommandHandler
from nhrpd_py.core.handlers.links import LinkHandler
from nhrpd_py.core.handlers.losses import LossHandler
from nhrpd_py.core.handlers.multicast import MulticastHandler
from nhrpd_py.core.handlers.neighbors import NeighborHandler
from nhrpd_py.core.handlers.packets import PacketHandler
from nhrpd_py.core.handlers.redirects import RedirectHandler
from nhrpd_py.core.handlers.reload import ReloadHandler
from nhrpd_py.core.handlers.routes import RouteHandler
from nhrpd_py.core.handlers.sources import SourceHandler
from nhrpd_py.core.instance.saved import peer_count, saved_state
from nhrpd_py.core.instance.tunnels import Tunnels
from nhrpd_py.core.ipsec.associations import Associations
from nhrpd_py.core.kernel.tables import KernelTables
from nhrpd_py.core.notices import KernelRefusal
from nhrpd_py.core.queries import Query
from nhrpd_py.core.rows import Row
from nhrpd_py.core.state import SavedState
from nhrpd_py.core.station.location import Locator
from nhrpd_py.core.views.views import Views
from nhrpd_py.packet.wire import DropReason


class Machine(Protocol):
    """The methods of an engine that `turn` calls."""

    def handle(self, event: Event, now: float) -> list[Effect]: ...
    def released(self) -> Sequence[PacketReceived]: ...


Packet = PacketReceived | TrafficSeen | MulticastSeen


def turn(
    engine: Machine,
    event: Event,
    now: float,
    *,
    contain: Callable[[Packet, Exception], None] | None = None,
) -> list[Effect]:
    """Handles an event, then the packets that waited for it, as if they came in only now; returns all effects.

    Called by the pump, simulations and tests. With `contain`, a bug on a packet costs that packet alone: its effects
    are lost and `contain` is called, inside the `except` clause. Without `contain`, and for any other event, the
    exception is raised.
    """
    effects = _handle(engine, event, now, contain)
    if not isinstance(event, Packet):
        for packet in engine.released():
            effects += _handle(engine, packet, now, contain)
    return effects


def _handle(
    engine: Machine,
    event: Event,
    now: float,
    contain: Callable[[Packet, Exception], None] | None,
) -> list[Effect]:
    if contain is None or not isinstance(event, Packet):
        return engine.handle(event, now)
    try:
        return engine.handle(event, now)
    except Exception as bug:  # noqa: BLE001 - see the docstring of `turn`
        contain(event, bug)
        return []


class Engine:
    """The whole protocol of one node. Not thread-safe: one task calls it, by way of `turn`."""

    def __init__(
        self,
        config: Config,
        *,
        rng: random.Random,
        request_ids: Callable[[], int],
        now: float,
    ) -> None:
        """`rng` gives jitter, `request_ids` numbers of 32 bits that no peer can predict."""
        self._outbox = Outbox()
        self._timers = TimerQueue()
        self._requests = Requests(request_ids)
        limits = Limits(now)
        tables = KernelTables()
        self._locator = Locator(tables)
        associations = Associations()
        self._tunnels = Tunnels(
            associations=associations,
            jitter=Jitter(rng),
            limits=limits,
            locator=self._locator,
            outbox=self._outbox,
            requests=self._requests,
            tables=tables,
            timers=self._timers,
        )
        for each in config.interfaces.values():
            self._tunnels.add(each)
        self._routes = RouteHandler(self._tunnels, tables, self._locator)
        self._sources = SourceHandler(self._tunnels, associations, tables, self._outbox)
        self._links = LinkHandler(
            self._tunnels, tables, self._routes, self._sources, self._outbox, self._timers
        )
        self._neighbors = NeighborHandler(self._tunnels, self._outbox)
        self._packets = PacketHandler(
            self._tunnels, self._locator, self._requests, limits, self._outbox
        )
        self._redirects = RedirectHandler(self._locator, limits, self._outbox)
        self._multicast = MulticastHandler(self._tunnels, self._locator, self._outbox)
        self._associations = AssociationHandler(
            self._tunnels, associations, self._sources, self._outbox, self._timers
        )
        self._losses = LossHandler(self._tunnels, associations, self._outbox)
        self._commands = CommandHandler(self._tunnels, self._locator, limits)
        self._reload = ReloadHandler(
            self._tunnels, self._links, self._sources, self._timers, limits
        )
        self._views = Views(config, self._tunnels, self._outbox)
        self._halted = False

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Handles an event; returns the effects of the timers that are due, then those of the event."""
        effects = self._outbox.begin(now)
        if self._halted:
            return effects
        self._run_timers(now)
        if type(event) is PacketReceived:  # the hot path, ahead of the table
            self._packet_received(event, now)
        else:
            self._dispatch(event, now)
        return effects

    def released(self) -> list[PacketReceived]:
        """Hands out the packets that waited for the event just handled; for `turn`."""
        return self._associations.released()

    def advance(self, now: float) -> list[Effect]:
        """Runs the timers that are due; early or twice is harmless."""
        effects = self._outbox.begin(now)
        if not self._halted:
            self._run_timers(now)
        return effects

    def next_deadline(self) -> float | None:
        """Returns when `advance` must be called next; None: not before another event."""
        return None if self._halted else self._timers.next_deadline()

    def view(self, query: Query, now: float) -> list[Row]:
        """Returns the rows of a view; changes nothing."""
        return self._views.rows(query, now)

    def peer_count(self) -> int:
        """Returns how many NBMA addresses we have bindings for; much cheaper than the view of peers."""
        return peer_count(self._tunnels)

    def saved_state(self, now: float) -> SavedState:
        """Returns what the state file keeps for the next start."""
        return saved_state(self._tunnels, now)

    def _dispatch(self, event: Event, now: float) -> None:  # noqa: PLR0915 - one arm an event
        match event:
            case PacketReceived():
                self._packet_received(event, now)
            case TrafficSeen():
                self._traffic_seen(event, now)
            case MulticastSeen():
                self._multicast.packet_seen(event, now)
            case LinkChanged():
                self._links.link_changed(event, now)
            case LinkGone(ifindex):
                self._links.link_gone(ifindex, now)
            case AddressAdded():
                self._links.address_added(event, now)
            case AddressRemoved():
                self._links.address_removed(event, now)
            case RouteAdded(route):
                self._routes.added(route, now)
            case RouteRemoved(route):
                self._routes.removed(route, now)
            case PacketUndelivered():
                self._losses.undelivered(event, now)
            case TunnelCounted():
                self._losses.counted(event, now)
            case NeighborSolicited():
                self._neighbors.solicited(event, now)
            case BindingFound():
                self._neighbors.found(event, now)
            case SaInstalled():
                self._associations.installed(event, now)
            case SaGone():
                self._associations.gone(event, now)
            case SasCounted(counts):
                self._losses.sas_counted(counts, now)
            case SaFailed():
                self._associations.failed(event, now)
            case IpsecReady():
                self._associations.ready(now)
                self._links.follow(now)
            case IpsecLost(reason):
                self._associations.lost(reason, now)
                self._links.follow(now)
            case KernelRefused():
                self._kernel_refused(event, now)
            case WrongSources():
                self._sources.wrong(event, now)
            case SourceFilterState():
                self._sources.state_changed(event)
                self._links.follow(now)
            case NameResolved(name, addresses, error):
                for instance in self._tunnels.instances():
                    instance.name_resolved(name, addresses, error, now)
            case InterfaceRefused():
                self._links.refused(event, now)
            case InterfaceMended(ifindex):
                self._links.mended(ifindex, now)
            case CommandGiven(token, command):
                answer = self._commands.carry_out(command, now)
                self._outbox.emit(
                    AnswerCommand(token, answer.matched, answer.refused, answer.detail)
                )
            case ConfigChanged():
                self._config_changed(event, now)
            case ShutdownRequested():
                for instance in self._tunnels.instances():
                    instance.shut_down(now)
                for tunnel in self._tunnels:
                    tunnel.replication.shut_down()
                self._sources.shut_down()
                self._outbox.emit(Halt())
                self._halted = True
            case _:
                assert_never(event)

    def _packet_received(self, event: PacketReceived, now: float) -> None:
        tunnel = self._tunnels.open_at(event.ifindex)
        if tunnel is None:
            self._outbox.count_drop(None, DropReason.UNKNOWN_INTERFACE)
            return
        protected = tunnel.interface.circuits.protected
        if protected and not self._associations.admit(tunnel, event, now):
            return
        self._packets.packet_received(tunnel, event, now)

    def _traffic_seen(self, event: TrafficSeen, now: float) -> None:
        version = event.data[0] >> 4 if event.data else 0
        afi = Afi.IPV6 if version == 6 else Afi.IPV4  # noqa: PLR2004 (the IP version)
        station = self._locator.station(event.in_ifindex, afi)
        if station is not None:
            self._redirects.traffic_seen(station, event, now)

    def _config_changed(self, event: ConfigChanged, now: float) -> None:
        before, self._views.config = self._views.config, event.config
        self._reload.apply(before.interfaces, event.config.interfaces, now)
        self._links.follow(now)
        if event.token is not None:
            self._outbox.emit(AnswerCommand(event.token, 0))

    def _kernel_refused(self, event: KernelRefused, now: float) -> None:
        name = self._links.link_name(event.ifindex)
        refusal = KernelRefusal(interface=name, what=event.what, error=event.error)
        self._outbox.remind((name, event.what), refusal, now)

    def _run_timers(self, now: float) -> None:
        timers = self._timers
        while (key := timers.pop_due(now)) is not None:
            self._timer_due(key, now)

    def _timer_due(self, key: TimerKey, now: float) -> None:
        tunnel = self._tunnels.get(key.interface)
        if tunnel is None:
            return
        subject = key.subject
        match key.kind, subject:
            case TimerKind.BINDING_EXPIRY, bytes():
                tunnel.of(subject).station.cache.expiry_due(subject, now)
            case TimerKind.BINDING_PROBE, bytes():
                tunnel.of(subject).station.cache.probe_due(subject)
            case TimerKind.RESOLUTION, bytes():
                tunnel.of(subject).requester.timer_due(subject, now)
            case TimerKind.PATH, (Afi() as afi, bytes() as nbma):
                tunnel[afi].prober.timer_due(nbma, now)
            case TimerKind.ASK_TO_REGISTER, bytes():
                tunnel.of(subject).adoption.ask_due(subject)
            case TimerKind.SHORTCUT_EXPIRY, Prefix():
                tunnel.of(subject.address).shortcuts.expire(subject)
            case TimerKind.NHS_SEND, (Afi() as afi, int() as index, bytes() as nbma):
                tunnel[afi].client.send_due(index, nbma, now)
            case TimerKind.NHS_RESOLVE, (Afi() as afi, int() as index):
                tunnel[afi].client.resolve_due(index)
            case TimerKind.PURGE, int():
                for instance in tunnel:
                    instance.purges.timer_due(subject, now)
            case TimerKind.PEER_READY, bytes():
                self._associations.peer_ready(tunnel, subject, now)
            case TimerKind.DESERTED, None:
                self._associations.deserted_due(tunnel, now)
            case TimerKind.HELD_PACKETS, bytes():
                self._associations.held_due(tunnel, subject)
            case TimerKind.SOURCES, None:
                tunnel.interface.circuits.sources.timer_due(now)
            case TimerKind.INTERFACE, None:
                self._links.timer_due(tunnel.interface, now)
            case _:
                raise AssertionError(f"timer of an unknown form: {key}")
