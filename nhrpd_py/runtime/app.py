"""Puts the daemon together, starts it in the right order and takes it down again.

Order: the control socket first (it proves that we are the only one), then the state file, packets,
resolver, the clear-text guard and the pump, then charon's SAs, then the kernel's tables, which the
pump handles while they come in and for which the SAs must be known, then NFLOG, ICMP and the HTTP
side.
Then the service manager is notified that we are ready: the control socket answers and the engine
has seen every link. A missing link or charon shows in the status and delays nothing. Four parts
may fail without ending the daemon and are tried again: charon, NFLOG, ICMP and single control
connections. Any other failure ends the daemon; systemd starts it again.

A clean stop (SIGTERM, SIGINT): save the state, give the engine `ShutdownRequested`, upon which it
withdraws its kernel entries and emits `Halt`, wait until the kernel has the changes, exit. A second
signal exits at once.
"""

import gc
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import structlog
import trio

from nhrpd_py import __version__
from nhrpd_py.core.config import Config
from nhrpd_py.core.events import Event, InterfaceMended, InterfaceRefused, ShutdownRequested
from nhrpd_py.core.state import SavedState
from nhrpd_py.runtime import logs, signals
from nhrpd_py.runtime.control.commands import CommandRelay
from nhrpd_py.runtime.control.notices import NoticeHub
from nhrpd_py.runtime.control.socket import ControlSocket, load_http
from nhrpd_py.runtime.executor import Executor
from nhrpd_py.runtime.guard.guard import Guard
from nhrpd_py.runtime.guard.policies import GuardError
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.kernel.found import FoundSettings
from nhrpd_py.runtime.kernel.store import KernelStore
from nhrpd_py.runtime.listeners import Listeners
from nhrpd_py.runtime.logs import Format, NoticeLog
from nhrpd_py.runtime.multicast import MulticastSender
from nhrpd_py.runtime.needs import filtered, protected
from nhrpd_py.runtime.netlink.xfrm_socket import esp_counts, esp_pairs
from nhrpd_py.runtime.packets import PacketSockets
from nhrpd_py.runtime.pump import Pump, make_engine, tame_garbage_collector
from nhrpd_py.runtime.reload import Reloader, ReloadOutcome
from nhrpd_py.runtime.resolver import NameResolver
from nhrpd_py.runtime.source_filter.keeper import SourceFilters
from nhrpd_py.runtime.source_filter.record import Record
from nhrpd_py.runtime.state_file import StateFile
from nhrpd_py.runtime.status import DaemonStatus
from nhrpd_py.runtime.steered import Steered
from nhrpd_py.runtime.systemd import Notifier
from nhrpd_py.runtime.vici.profiles.profiles import faults_of
from nhrpd_py.runtime.vici.supervisor import Supervisor

SETTLE_S = 5.0
"""How long the kernel may take to apply the withdrawals of a clean stop."""
HALT_DEADLINE_S = 10.0
"""How long engine and pump may take until `Halt`."""
SUMMARY_INTERVAL_S = 5.0
STATUS_INTERVAL_S = 1.0
CHARON_S = 3.0
"""How long a reload waits for charon's SAs."""
FIRST_LOOK_LIMIT_S = 5.0
"""How long the kernel's first dump may keep the pump busy before we report ready all the same."""
FULL_COLLECTION_INTERVAL_S = 3600.0


class App:
    """One run of the daemon: wires, starts, reconfigures and stops its parts."""

    def __init__(
        self,
        config: Config,
        control: ControlSocket,
        *,
        read: Callable[[], Config],
        log_level: str | None,
        log_format: Format,
        earlier: Sequence[signal.Signals] = (),
    ) -> None:
        """`read` gives the file's present content or raises ConfigError; `log_level` is the command
        line's and beats the file's; `earlier` are the signals caught before this run handles them
        itself."""
        self._log_level = log_level
        self._log_format = log_format
        self._earlier = earlier
        self._control = control
        self._log = structlog.get_logger()
        self._nursery: trio.Nursery | None = None
        self._started = trio.Event()
        self._halted = trio.Event()
        self._stopping = False
        self._notifier = Notifier.of_environment()
        self._notice_log = NoticeLog(log_level or config.daemon.log_level)
        self._notices = NoticeHub(self._notice_log)
        self._reloader = Reloader(read, config, self._configure, faults_of)
        self._state = StateFile(config.daemon.state_directory)
        self._state.read()

        # Parts that put events into the inbox.
        self._inbox = inbox = Inbox()
        self._packets = PacketSockets(inbox)
        self._resolver = NameResolver(inbox)
        self._commands = CommandRelay(inbox)
        self._kernel = KernelStore(
            inbox,
            config.routes,
            self._notices.publish,
            FoundSettings(self._state.settings, self._state.save_settings),
        )
        self._listeners = Listeners(inbox)
        self._supervisor = Supervisor(inbox, config, esp_pairs, esp_counts)
        self._guard = Guard(self._notices.publish, self._tunnel_refused, self._tunnel_mended)
        self._filters = SourceFilters(
            self._report, self._notices.publish, Record(config.daemon.state_directory)
        )

        # Parts that take events out, and carry out the engine's effects.
        self._multicast = MulticastSender()
        self._engine = make_engine(config)
        self._pump = self._make_pump()

        # Parts that run only where the configuration needs them.
        self._guarding = Steered(
            "guard",
            protected,
            lambda _names, status: self._guard.run(status),
            follow=self._guard_follows,
            isolates=(GuardError,),  # interfaces that need the guard are then refused
        )
        self._filtering = Steered(
            "source-filter",
            lambda config: self._filters.needed(filtered(config)),
            lambda _names, status: self._filters.run(status),
            follow=lambda config: self._filters.configure(filtered(config)),
        )
        self._charon = Steered(
            "charon",
            protected,
            lambda _names, status: self._supervisor.run(status),
            follow=self._supervisor.configure,
        )
        self._status = self._make_status()

    def _make_pump(self) -> Pump:
        executor = Executor(
            packets=self._packets,
            multicast=self._multicast,
            kernel=self._kernel,
            guard=self._guard,
            filters=self._filters,
            supervisor=self._supervisor,
            resolve=self._resolver.resolve,
            answer=self._commands.answer,
            publish=self._notices.publish,
            recall=self._state.recall,
            report=self._report,
        )
        return Pump(
            self._engine,
            self._inbox,
            executor.execute,
            beat=self._notifier.beat,
            beat_interval_s=self._notifier.beat_interval_s,
        )

    def _make_status(self) -> DaemonStatus:
        steered: Sequence[Steered[Any]] = (self._guarding, self._charon, *self._listeners.parts)
        return DaemonStatus(
            started_at=trio.current_time(),
            engine=self._engine,
            pump=self._pump,
            inbox=self._inbox,
            packets=self._packets,
            multicast=self._multicast,
            kernel=self._kernel,
            guard=self._guard,
            filters=self._filters,
            listeners=self._listeners,
            supervisor=self._supervisor,
            resolver=self._resolver,
            notices=self._notices,
            steered=steered,
        )

    # From the start to the end.

    async def run(self) -> None:
        """Runs the daemon until a signal ends it or a part of it fails."""
        self._log.info("daemon.started", version=__version__, pid=os.getpid())
        with trio.open_signal_receiver(*signals.ALL) as received:
            stops = signals.STOPPING.intersection(self._earlier)
            if stops:
                self._log.info("daemon.stopping", signal=min(stops).name)
            else:
                await self._run(received)
        self._notifier.close()
        self._log.info("daemon.stopped")

    async def _run(self, received: AsyncIterator[int]) -> None:
        config = self._reloader.config
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._obey_signals, nursery, received)
            await nursery.start(self._packets.run)
            await nursery.start(self._multicast.run)
            await nursery.start(self._resolver.run)
            await self._guarding.steer(nursery, config)
            await self._filtering.steer(nursery, config)
            nursery.start_soon(self._run_pump)
            await self._charon.steer(nursery, config)
            await nursery.start(self._kernel.run)
            await self._listeners.steer(nursery, config)
            nursery.start_soon(self._state.run, self._snapshot)
            nursery.start_soon(self._keep_house)
            await nursery.start(self._run_control)
            tame_garbage_collector()
            await self._first_look()
            self._started.set()
            nursery.start_soon(self._keep_status)

    async def _run_pump(self) -> None:
        await self._pump.run()
        self._halted.set()

    async def _run_control(self, task_status: trio.TaskStatus[None]) -> None:
        await load_http()
        from nhrpd_py.runtime.control.api import Sources  # noqa: PLC0415
        from nhrpd_py.runtime.control.http import ControlServer  # noqa: PLC0415

        sources = Sources(
            ask=self._status.ask,
            commands=self._commands,
            notices=self._notices,
            counters=self._status.counters,
            problems=self._status.problems,
            uptime=self._status.uptime,
            reload=self._reload,
            sas=self._supervisor.snapshot,
        )
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(self._control.socket))
        await ControlServer(sources).run(listener, task_status=task_status)

    async def _first_look(self) -> None:
        """Waits until the engine has handled the kernel's first dump."""
        with trio.move_on_after(FIRST_LOOK_LIMIT_S):
            while len(self._inbox):  # noqa: ASYNC110 (the pump signals nothing when it is idle)
                await trio.sleep(0.01)

    async def _keep_status(self) -> None:
        """Reports to the service manager that the daemon is ready, and from then on its state."""
        if not self._notifier.listened_to:
            return
        if not self._stopping:
            self._notifier.ready(self._status.sentence())
        while not self._stopping:
            await trio.sleep(STATUS_INTERVAL_S)
            if not self._stopping:
                self._notifier.status(self._status.sentence())

    async def _keep_house(self) -> None:
        collected_at = trio.current_time()
        while True:
            await trio.sleep(SUMMARY_INTERVAL_S)
            now = trio.current_time()
            self._notice_log.summarise(now)
            if now - collected_at >= FULL_COLLECTION_INTERVAL_S:
                collected_at = now
                gc.collect()

    async def _obey_signals(self, nursery: trio.Nursery, received: AsyncIterator[int]) -> None:
        for early in self._earlier:
            self._obey(nursery, early)
        async for number in received:
            self._obey(nursery, signal.Signals(number))

    def _obey(self, nursery: trio.Nursery, number: signal.Signals) -> None:
        if number in signals.UNUSED:
            self._log.warning(
                "signal.unused", signal=number.name, reason="it has no meaning here; SIGHUP reloads"
            )
        elif number == signal.SIGHUP:
            if not self._stopping:
                nursery.start_soon(self._reload_when_started)
        elif self._stopping:
            self._log.warning("daemon.stopping", signal=number.name, how="at once")
            nursery.cancel_scope.cancel()
        else:
            self._stopping = True
            self._notifier.stopping("withdrawing neighbours and routes")
            self._log.info("daemon.stopping", signal=number.name)
            nursery.start_soon(self._stop, nursery)

    async def _stop(self, nursery: trio.Nursery) -> None:
        await self._state.save(self._snapshot())
        settled = False
        with trio.move_on_after(HALT_DEADLINE_S):
            await self._inbox.put([ShutdownRequested()])
            await self._halted.wait()
            settled = await self._kernel.settle(SETTLE_S)
            await self._kernel.give_back()
            await self._filters.give_back()
        if not settled:
            self._log.error("daemon.impatient", reason="not everything was withdrawn in time")
        nursery.cancel_scope.cancel()

    # Another configuration.

    async def _reload_when_started(self) -> None:
        await self._started.wait()  # parts that are still starting cannot be reconfigured
        await self._reload()

    async def _reload(self) -> ReloadOutcome:
        self._notifier.reloading()
        try:
            return await self._reloader.reload()
        finally:
            if not self._stopping:
                self._notifier.ready(self._status.sentence())

    async def _configure(self, config: Config) -> None:
        """Applies a configuration to every part: parts that the engine needs are started before it
        gets the configuration, parts that it no longer needs are stopped afterwards."""
        nursery = self._nursery
        if nursery is None:
            return
        level = config.daemon.log_level
        if self._log_level is None and level != self._reloader.config.daemon.log_level:
            logs.configure(level, self._log_format)
            self._notice_log.set_level(level)
        await self._charon.steer(nursery, config)
        await self._filtering.steer(nursery, config)
        if protected(config):  # the peers' address blocks are known before the engine needs them
            with trio.move_on_after(CHARON_S):
                await self._supervisor.heard()
            if not self._guarding.running:
                await self._guarding.steer(nursery, config)
        await self._commands.configure(config)
        if self._guarding.running:  # tunnels that the engine closed need no policies any more
            await self._guarding.steer(nursery, config)
        await self._listeners.steer(nursery, config)

    def _guard_follows(self, config: Config) -> None:
        names = protected(config)
        try:
            self._guard.configure(names or ())
        finally:
            if names is None and not self._guarding.running:
                self._guard.close()  # it only removed policies of an earlier run

    # Callbacks between the parts.

    def _report(self, events: Sequence[Event]) -> None:
        """Puts events into the inbox for code that cannot wait."""
        if self._nursery is not None:
            self._nursery.start_soon(self._inbox.put, events)

    def _tunnel_refused(self, ifindex: int, why: str) -> None:
        self._report([InterfaceRefused(ifindex, why, exposed=True)])

    def _tunnel_mended(self, ifindex: int) -> None:
        self._report([InterfaceMended(ifindex)])

    def _snapshot(self) -> SavedState:
        return self._engine.saved_state(trio.current_time())


async def run(
    config: Config,
    control: ControlSocket,
    *,
    read: Callable[[], Config],
    log_level: str | None,
    log_format: Format,
    earlier: Sequence[signal.Signals] = (),
) -> None:
    """Runs the daemon until a signal ends it; see `App`."""
    app = App(
        config,
        control,
        read=read,
        log_level=log_level,
        log_format=log_format,
        earlier=earlier,
    )
    await app.run()
