"""Puts the daemon together, starts it in the right order and takes it down again.

Order: the control socket first (it proves that we are the only one), then the state file, packets,
resolver, the clear-text guard and the pump, then charon's SAs, then the kernel's tables, which the
pump already consumes and which are judged by those, then NFLOG and the HTTP side. Then the service
manager hears that we are ready: the control socket answers and the engine has seen every link; that
one is missing, or charon, shows in the status and holds nothing up. Three parts may fail without
ending the daemon and are tried again: charon, NFLOG and single control connections. Anything else
that fails ends it; systemd starts it anew.

A clean stop (SIGTERM, SIGINT): save the state, tell the engine, which withdraws what must go and
says `Halt`, wait for the kernel to have it, leave. A second signal leaves at once.
"""

import gc
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

import structlog
import trio

from nhrpd_py import __version__
from nhrpd_py.core.config import Config
from nhrpd_py.core.engine import Engine
from nhrpd_py.core.events import Event, InterfaceMended, InterfaceRefused, ShutdownRequested
from nhrpd_py.core.queries import Query, View
from nhrpd_py.core.rows import InterfaceRow, NhsRow, Row, TrafficRow
from nhrpd_py.core.state import SavedState
from nhrpd_py.runtime import logs
from nhrpd_py.runtime.control.notices import NoticeHub
from nhrpd_py.runtime.control.socket import Commands, ControlSocket, load_http
from nhrpd_py.runtime.executor import Executor
from nhrpd_py.runtime.guard.guard import Guard
from nhrpd_py.runtime.guard.policies import GuardError
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.kernel.store import Kernel
from nhrpd_py.runtime.logs import Format, NoticeLog
from nhrpd_py.runtime.netlink.nflog import Nflog, NflogError
from nhrpd_py.runtime.netlink.xfrm_socket import esp_pairs
from nhrpd_py.runtime.packets import PacketSockets
from nhrpd_py.runtime.pump import Pump, tame_garbage_collector
from nhrpd_py.runtime.reload import Outcome, Reloader
from nhrpd_py.runtime.resolver import Resolver
from nhrpd_py.runtime.state_file import StateFile
from nhrpd_py.runtime.systemd import Notifier, status_text
from nhrpd_py.runtime.vici.supervisor import Supervisor

NFLOG_RETRY_S = 30.0
SETTLE_S = 5.0
"""How long the kernel may take to apply the withdrawals of a clean stop."""
HALT_DEADLINE_S = 10.0
"""How long engine and pump may take to get there."""
SUMMARY_INTERVAL_S = 5.0
STATUS_INTERVAL_S = 1.0
CHARON_S = 3.0
"""How long a reload waits for charon's SAs."""
FIRST_LOOK_LIMIT_S = 5.0
"""How long the kernel's first dump may keep the pump busy before we call ourselves ready."""
FULL_COLLECTION_INTERVAL_S = 3600.0


class _Started:
    """Tells that NFLOG works (again); stands where a nursery would pass its task status."""

    def __init__(self, then: Callable[[], object]) -> None:
        self._then = then

    def started(self, _value: None = None) -> None:
        self._then()


class App:
    """One run of the daemon."""

    def __init__(
        self,
        config: Config,
        control: ControlSocket,
        *,
        read: Callable[[], Config],
        log_level: str | None,
        log_format: Format,
    ) -> None:
        """`read` gives the file's present content or raises ConfigError; `log_level` is the command line's and beats
        the file's."""
        self._reloader = Reloader(read, config, self._configure)
        self._log_level = log_level
        self._log_format = log_format
        self._control = control
        self._log = structlog.get_logger()
        self._started_at = trio.current_time()
        self._problems: dict[str, str] = {}
        self._nursery: trio.Nursery | None = None
        self._halted = trio.Event()
        self._stopping = False
        self._inbox = Inbox()
        self._state = StateFile(config.daemon.state_directory)
        self._packets = PacketSockets(self._inbox)
        self._resolver = Resolver(self._inbox)
        self._commands = Commands(self._inbox)
        self._notice_log = NoticeLog(log_level or config.daemon.log_level)
        self._notices = NoticeHub(self._notice_log)
        self._kernel = Kernel(self._inbox, config.routes, self._notices.publish)
        self._nflog: Nflog | None = None
        self._nflog_group: int | None = None
        self._nflog_scope = trio.CancelScope()
        self._supervised = self._guarded = False
        self._guard = Guard(
            self._notices.publish,
            lambda ifindex, why: self._report([InterfaceRefused(ifindex, why, exposed=True)]),
            lambda ifindex: self._report([InterfaceMended(ifindex)]),
        )
        self._supervisor = Supervisor(self._inbox, config, esp_pairs)
        self._executor = Executor(
            packets=self._packets,
            kernel=self._kernel,
            guard=self._guard,
            supervisor=self._supervisor,
            resolve=self._resolver.resolve,
            answer=self._commands.answer,
            publish=self._notices.publish,
            recall=self._state.recall,
            report=self._report,
        )
        self._state.read()
        self._engine = Engine(
            config,
            rng=random.Random(),
            now=trio.current_time(),
            first_request_id=self._state.first_request_id,
        )
        self._notifier = Notifier.of_environment()
        self._pump = Pump(
            self._engine,
            self._inbox,
            self._executor.execute,
            beat=self._notifier.beat,
            beat_interval_s=self._notifier.beat_interval_s,
        )

    async def run(self) -> None:
        self._log.info("daemon.started", version=__version__, pid=os.getpid())
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._obey_signals, nursery, signals)
                await nursery.start(self._packets.run)
                await nursery.start(self._resolver.run)
                await self._steer_guard(nursery, self._protected())
                nursery.start_soon(self._run_pump)
                if self._protected():
                    await self._start_supervisor(nursery)
                await nursery.start(self._kernel.run)
                self._steer_nflog(nursery, self._config)
                nursery.start_soon(self._state.run, self._snapshot)
                nursery.start_soon(self._keep_house)
                await nursery.start(self._run_control)
                tame_garbage_collector()
                await self._first_look()
                nursery.start_soon(self._keep_status)
        self._notifier.close()
        self._log.info("daemon.stopped")

    @property
    def _config(self) -> Config:
        return self._reloader.config

    # Another configuration.

    async def _reload(self) -> Outcome:
        self._notifier.reloading()
        try:
            return await self._reloader.reload()
        finally:
            if not self._stopping:
                self._notifier.ready(self._status())

    async def _configure(self, config: Config) -> None:
        """Brings every part in line; the engine's part comes between what it needs and what it needs
        no more."""
        nursery = self._nursery
        if nursery is None:
            return
        level = config.daemon.log_level
        if self._log_level is None and level != self._config.daemon.log_level:
            logs.configure(level, self._log_format)
            self._notice_log.set_level(level)
        if self._supervised:
            self._supervisor.configure(config)
        elif self._protected(config):
            self._supervisor.configure(config)
            await self._start_supervisor(nursery)
        protected = self._protected(config)
        if protected:  # what the peers' certificates grant is known before it is asked for
            with trio.move_on_after(CHARON_S):
                await self._supervisor.heard()
        if protected and not self._guarded:
            await self._steer_guard(nursery, protected)
        await self._commands.configure(config)
        if self._guarded:  # what the engine closed needs its policies no more
            await self._steer_guard(nursery, protected)
        self._steer_nflog(nursery, config)

    def _steer_nflog(self, nursery: trio.Nursery, config: Config) -> None:
        """The firewall's samples are read while some interface has a use for them."""
        wanted = any(interface.redirect for interface in config.interfaces.values())
        group = config.nflog.redirect_group if wanted else None
        if group == self._nflog_group:
            return
        self._nflog_group = group
        self._nflog_scope.cancel()
        self._nflog_scope = trio.CancelScope()
        self._problems.pop("nflog", None)
        if group is not None:
            nursery.start_soon(self._run_nflog, group, self._nflog_scope)

    async def _start_supervisor(self, nursery: trio.Nursery) -> None:
        self._supervised = True
        await nursery.start(self._supervisor.run)

    # What the parts need of each other.

    def _report(self, events: Sequence[Event]) -> None:
        """Brings events to the inbox from code that cannot wait."""
        if self._nursery is not None:
            self._nursery.start_soon(self._inbox.put, events)

    def _snapshot(self) -> SavedState:
        return self._engine.saved_state(trio.current_time())

    def _ask(self, query: Query) -> Sequence[Row]:
        rows = self._engine.view(query, trio.current_time())
        return [*rows, *self._lost(query.interface)] if query.view is View.TRAFFIC else rows

    def _lost(self, interface: str | None) -> Iterator[TrafficRow]:
        """Drops that the engine does not know of."""
        drops: dict[str | None, Mapping[str, int]] = dict(self._packets.drops.items())
        drops[None] = {"internal-error": self._pump.counters["internal-error"]}
        for name, reasons in drops.items():
            if interface in (None, name):
                for reason, packets in reasons.items():
                    if packets:
                        yield TrafficRow(
                            interface=name,
                            afi=None,
                            direction="dropped",
                            type=reason,
                            packets=packets,
                        )

    def _uptime(self) -> float:
        return trio.current_time() - self._started_at

    def _counters(self) -> Mapping[str, Mapping[str, int]]:
        inbox = self._inbox
        return {
            "pump": self._pump.counters,
            "inbox": {
                "waiting": len(inbox),
                "dropped_batches": inbox.dropped_batches,
                "dropped_events": inbox.dropped_events,
            },
            "packets": self._packets.counters,
            "kernel": self._kernel.counters,
            "guard": self._guard.counters,
            "vici": self._supervisor.counters,
            "nflog": {} if self._nflog is None else self._nflog.counters,
            "resolver": self._resolver.counters,
            "notices": self._notices.counts,
            "logs": logs.counters,
        }

    # Parts with a life of their own.

    async def _run_pump(self) -> None:
        await self._pump.run()
        self._halted.set()

    def _protected(self, config: Config | None = None) -> list[str]:
        """The interfaces that IPsec protects."""
        interfaces = (config or self._config).interfaces.items()
        return [name for name, interface in interfaces if interface.ipsec is not None]

    async def _steer_guard(self, nursery: trio.Nursery, protected: Sequence[str]) -> None:
        """Has the guard watch, once there is something to protect, and drop what is no more."""
        try:
            self._guard.configure(protected)
        except GuardError as error:  # an interface that needs it will be refused
            self._log.error("guard.failed", reason=str(error))
        if self._guarded:
            return
        if protected:
            self._guarded = True
            await nursery.start(self._guard.run)
        else:
            self._guard.close()

    async def _run_nflog(self, group: int, scope: trio.CancelScope) -> None:
        with scope:
            await self._read_nflog(group)

    async def _read_nflog(self, group: int) -> None:
        """Keeps the firewall's samples coming; without them there are no redirects, but everything
        else works."""
        while True:
            self._nflog = Nflog(self._inbox, group)
            status = _Started(lambda: self._problems.pop("nflog", None))
            try:
                await self._nflog.run(task_status=status)
                reason = f"NFLOG group {group}: its socket was closed"
            except NflogError as error:
                reason = error.strerror or str(error)  # it names the group
            except (OSError, RuntimeError) as error:
                reason = f"NFLOG group {group}: {error}"
            self._problems["nflog"] = f"no redirects: {reason}"
            self._log.error("nflog.failed", group=group, reason=reason, retry_in_s=NFLOG_RETRY_S)
            await trio.sleep(NFLOG_RETRY_S)

    async def _run_control(self, task_status: trio.TaskStatus[None]) -> None:
        await load_http()
        from nhrpd_py.runtime.control.http import ControlServer, Sources  # noqa: PLC0415

        sources = Sources(
            ask=self._ask,
            commands=self._commands,
            notices=self._notices,
            counters=self._counters,
            problems=lambda: {
                **self._problems,
                **self._kernel.problems,
                **{f"guard {name}": reason for name, reason in self._guard.problems.items()},
            },
            uptime=self._uptime,
            reload=self._reload,
            sas=self._supervisor.snapshot,
        )
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(self._control.socket))
        await ControlServer(sources).run(listener, task_status=task_status)

    async def _first_look(self) -> None:
        """Waits until the engine knows what the kernel had at the start."""
        with trio.move_on_after(FIRST_LOOK_LIMIT_S):
            while len(self._inbox):  # noqa: ASYNC110 (the pump has better to do than to tell)
                await trio.sleep(0.01)

    async def _keep_status(self) -> None:
        """Tells the service manager that we serve, and from then on how we fare."""
        if not self._notifier.listened_to:
            return
        if not self._stopping:
            self._notifier.ready(self._status())
        while not self._stopping:
            await trio.sleep(STATUS_INTERVAL_S)
            if not self._stopping:
                self._notifier.status(self._status())

    def _status(self) -> str:
        servers = [row for row in self._ask(Query(view=View.NHS)) if isinstance(row, NhsRow)]
        interfaces = self._ask(Query(view=View.INTERFACES))
        return status_text(
            servers,
            [row for row in interfaces if isinstance(row, InterfaceRow)],
            self._engine.peer_count(),
            self._problems,
        )

    async def _keep_house(self) -> None:
        collected_at = trio.current_time()
        while True:
            await trio.sleep(SUMMARY_INTERVAL_S)
            now = trio.current_time()
            self._notice_log.summarise(now)
            if now - collected_at >= FULL_COLLECTION_INTERVAL_S:
                collected_at = now
                gc.collect()

    # The end.

    async def _obey_signals(self, nursery: trio.Nursery, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            name = signal.Signals(number).name
            if number == signal.SIGHUP:
                if not self._stopping:
                    nursery.start_soon(self._reload)
                continue
            if self._stopping:
                self._log.warning("daemon.stopping", signal=name, how="at once")
                nursery.cancel_scope.cancel()
                return
            self._stopping = True
            self._notifier.stopping("withdrawing neighbours and routes")
            self._log.info("daemon.stopping", signal=name)
            nursery.start_soon(self._stop, nursery)

    async def _stop(self, nursery: trio.Nursery) -> None:
        await self._state.save(self._snapshot())
        settled = False
        with trio.move_on_after(HALT_DEADLINE_S):
            await self._inbox.put([ShutdownRequested()])
            await self._halted.wait()
            settled = await self._kernel.settle(SETTLE_S)
        if not settled:
            self._log.error("daemon.impatient", reason="not everything was withdrawn in time")
        nursery.cancel_scope.cancel()


async def run(
    config: Config,
    control: ControlSocket,
    *,
    read: Callable[[], Config],
    log_level: str | None,
    log_format: Format,
) -> None:
    """Runs the daemon until a signal ends it; see `App`."""
    await App(config, control, read=read, log_level=log_level, log_format=log_format).run()
