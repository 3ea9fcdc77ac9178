"""Keeps the source filters of all tunnels in the kernel, and reports what they found.

The engine says which inner sources each mark may have, as changes. They are written with `nft`, or
with iptables where that is missing, by a program of its own beside the event loop; what comes
together is written together. The verbs do not wait.

::

    STALE ── written as a whole ──► STANDING ── changes are written ──► STANDING
      ▲                                │
      └── another mode; another program removed or changed it; the program failed (tried again)

What an earlier run allowed stays allowed for INHERITED_S after the start: the engine has to learn
from the peers again what it knew. A clean stop removes all filters; which ones there are is in the
state directory, so that they are known after a crash as well.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import trio

from nhrpd_py.core.effects import AllowSources, FilterSources, ForgetMark, UnfilterSources
from nhrpd_py.core.events import Event, SourceFilterState
from nhrpd_py.core.filter_notices import (
    SourceFilterDisturbed,
    SourceFilterFailed,
    SourceFilterRestored,
)
from nhrpd_py.core.notices import Notice
from nhrpd_py.runtime.netlink.socket import NETLINK_NETFILTER, NetlinkSocket, open_netlink
from nhrpd_py.runtime.source_filter.kept import Filter, retry_s
from nhrpd_py.runtime.source_filter.machine import (
    Backend,
    backend_of_this_machine,
    others_of_this_machine,
)
from nhrpd_py.runtime.source_filter.record import Record
from nhrpd_py.runtime.source_filter.table import FilterError, WantedTable

NFNLGRP_NFTABLES = 7
GATHER_S = 0.01
"""How long changes are gathered that are written together."""
PATIENCE_S = 1.0
"""The same where packets are judged rightly meanwhile: a program costs more than to set up an SA."""
AUDIT_S = 3.0
"""Interval of reading the counters, and of looking whether the filters are still there."""
IDLE_AUDIT_S = 10.0
"""The same where nothing is dropped, and nothing was wrong for ALERT_S."""
ALERT_S = 60.0
SHORTEST_AUDIT_S = 0.5
"""How soon after an audit there is another one because somebody changed what is ours."""
CHECK_S = 60.0
"""Interval of reading all rules too, which costs the program more: changes of others are heard of."""
INHERITED_S = 60.0
MAX_OTHERS = 16
"""Rules of others that are told."""


def open_notifications() -> NetlinkSocket:
    """Opens a socket that hears of every change of nftables. Raises OSError."""
    return open_netlink(NETLINK_NETFILTER, (NFNLGRP_NFTABLES,))


class SourceFilters:
    """The source filters of all tunnels. Counters: writes, failures, restored, audits, swept."""

    def __init__(
        self,
        report: Callable[[Sequence[Event]], None],
        publish: Callable[[Notice], None],
        record: Record,
        *,
        backend: Callable[[], Awaitable[Backend]] = backend_of_this_machine,
        notifications: Callable[[], NetlinkSocket] = open_notifications,
        others: Callable[[Collection[str]], Awaitable[list[str]]] = others_of_this_machine,
    ) -> None:
        self._report = report
        self._publish = publish
        self._record = record
        self._find_backend = backend
        self._open_notifications = notifications
        self._find_others = others
        self._backend: Backend | None = None
        self._filters: dict[str, Filter] = {}
        self._to_remove: dict[str, None] = {}
        self._wake = trio.Event()
        self._turn = trio.Lock()
        """Held while a program runs."""
        self._touched = False
        self._audited_at = 0.0
        self._removal_failures = 0
        self._removal_at = 0.0
        self._socket: NetlinkSocket | None = None
        self.counters: Counter[str] = Counter()

    @property
    def problems(self) -> Mapping[str, str]:
        """Returns why wrong sources are not dropped that should be, by interface."""
        return {
            name: each.problem
            for name, each in self._filters.items()
            if each.problem is not None and each.wanted.drop
        }

    def needed(self, wanted: frozenset[str]) -> frozenset[str] | None:
        """Returns the names of the interfaces that have a filter or had one in an earlier run; None without any."""
        return wanted | self._record.names or None

    # Verbs.

    def configure(self, wanted: Collection[str]) -> None:
        """Takes the names of the interfaces that have a filter, at the start and after a reload:
        those of an earlier run that have none any more are removed."""
        for name in self._record.names - set(wanted):
            if name not in self._filters:
                self._to_remove[name] = None
                self.counters["swept"] += 1
        self._wake.set()

    def filter(self, effect: FilterSources) -> None:
        """Has a filter written, or written anew for the other mode."""
        each = self._filter(effect.interface)
        self._to_remove.pop(effect.interface, None)
        each.is_open = each.stale = True
        each.wanted.drop, each.underlay = effect.drop, effect.underlay
        self._wake.set()

    def unfilter(self, effect: UnfilterSources) -> None:
        """Has a filter removed."""
        self._filters.pop(effect.interface, None)
        self._to_remove[effect.interface] = None
        self._wake.set()

    def allow(self, effect: AllowSources) -> None:
        """Has the sources of a mark changed."""
        self._filter(effect.interface).wanted.allow(effect)
        self._wake.set()

    def forget(self, effect: ForgetMark) -> None:
        """Has a mark removed, and its sources."""
        self._filter(effect.interface).wanted.forget(effect)
        self._wake.set()

    def _filter(self, name: str) -> Filter:
        found = self._filters.get(name)
        if found is None:
            found = self._filters[name] = Filter(WantedTable(name))
        return found

    # Running.

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Writes what the verbs want, and looks after it, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            task_status.started()
            self._audited_at = trio.current_time()
            while True:
                with trio.move_on_at(self._due_at()):
                    await self._wake.wait()
                await self._gather()
                async with self._turn:
                    await self._keep(audit=trio.current_time() >= self._audit_at())

    async def _gather(self) -> None:
        """Waits for what is to be written together."""
        await trio.sleep(GATHER_S)
        until = trio.current_time() + PATIENCE_S
        while not self._is_urgent() and trio.current_time() < until:
            self._wake = trio.Event()
            with trio.move_on_at(min(until, self._due_at())):
                await self._wake.wait()
        self._wake = trio.Event()

    def _is_urgent(self) -> bool:
        """Returns whether something cannot wait for PATIENCE_S."""
        return (
            bool(self._to_remove)
            or trio.current_time() >= self._due_at()
            or any(
                each.is_open and each.wanted.changes.is_urgent(drop=each.wanted.drop)
                for each in self._filters.values()
            )
        )

    def _audit_at(self) -> float:
        now = trio.current_time()
        is_alert = any(
            each.wanted.drop or now < each.alert_until for each in self._filters.values()
        )
        interval_s = AUDIT_S if is_alert else IDLE_AUDIT_S
        if self._touched:
            is_contested = any(
                each.was_told(SourceFilterRestored.event, now) for each in self._filters.values()
            )
            interval_s = AUDIT_S if is_contested else SHORTEST_AUDIT_S
        return self._audited_at + interval_s

    def _due_at(self) -> float:
        """Returns when there is something to do, if nothing comes in between."""
        retries = [each.retry_at for each in self._filters.values() if each.is_open and each.stale]
        if self._to_remove:
            retries.append(self._removal_at)
        return min([self._audit_at(), *retries])

    async def give_back(self) -> None:
        """Removes all filters from the kernel: the daemon stops."""
        self._filters.clear()
        self._to_remove.update(dict.fromkeys(self._record.names))
        self._removal_at = 0.0
        async with self._turn:
            await self._remove_all()

    async def _listen(self) -> None:
        """Wakes the audit when somebody changes nftables."""
        try:
            sock = self._socket = self._open_notifications()
        except OSError:  # no nftables in this kernel
            return
        try:
            while True:
                await sock.wait()
                async with self._turn:  # who has it reads the notifications of its own changes
                    found = self._drain()
                if found:
                    self._touched = True
                    self._wake.set()
                await trio.sleep(GATHER_S)
        finally:
            self._socket = None
            sock.close()

    def _drain(self) -> bool:
        """Reads what waits of notifications; returns whether any is of what is ours."""
        ours = b"" if self._backend is None else self._backend.named
        found = False
        while self._socket is not None:
            try:
                notification = self._socket.read()
            except OSError:  # some are lost, and all that they tell is that something changed
                found = True
                continue
            if notification is None:
                break
            found = found or ours in bytes(notification)
        return found

    async def _keep(self, *, audit: bool) -> None:
        is_touched, is_whole = self._touched, self._touched or self._socket is None
        if audit:
            self._touched = False
        await self._remove_all()
        for each in [each for each in self._filters.values() if each.is_open]:
            try:
                if audit and not each.stale and self._backend is not None:
                    if is_touched:  # what was written is what can be compared
                        await self._keep_one(each)
                    await self._audit(each, self._backend, is_whole=is_whole, is_touched=is_touched)
                await self._keep_one(each)
            except FilterError as error:
                self._failed(each, str(error))
        if audit:
            self._audited_at = trio.current_time()
        self._drain()  # our own changes

    async def _keep_one(self, each: Filter) -> None:
        now = trio.current_time()
        if each.stale and now < each.retry_at:
            return
        is_unproven = not any(other.was_written for other in self._filters.values())
        if self._backend is None or (each.problem is not None and is_unproven):
            self._backend = (
                await self._find_backend()
            )  # never another one later: its rules would stay
        backend = self._backend
        is_over = each.inherited_until is not None and now >= each.inherited_until
        if is_over:
            each.inherited_until = None
            each.wanted.inherits_no_more()
        if not each.stale and (is_over or each.wanted.changes):
            try:
                await backend.change(each.wanted, each.wanted.written())
            except FilterError:  # what was there is not there, most likely
                each.stale = True
                self.counters["restored"] += 1
            else:
                self.counters["writes"] += 1
                if not backend.keeps_rules:
                    each.rules = None
        if each.stale:
            await self._write(each, backend)

    async def _write(self, each: Filter, backend: Backend) -> None:
        name = each.wanted.name
        if not each.was_written:
            await self._record.add(name)
            inherited = await backend.sources(name)
            if inherited:
                each.wanted.inherited = dict(inherited)
                each.inherited_until = trio.current_time() + INHERITED_S
        each.stale = False
        each.wanted.written()
        await backend.write(each.wanted)
        self.counters["writes"] += 1
        is_first, each.was_written = not each.was_written, True
        each.counted.clear()
        each.rules = None
        if not await self._read(each, backend, is_whole=True):
            raise FilterError("what was written is not there")
        self._written(each)
        if is_first:
            rules = await self._find_others(frozenset({name, each.underlay} - {""}))
            for rule in rules[:MAX_OTHERS]:
                self._publish(SourceFilterDisturbed(interface=name, rule=rule))

    def _written(self, each: Filter) -> None:
        each.failures = 0
        if each.problem is not None:
            each.problem = None
            self._report([SourceFilterState(each.wanted.name, None)])

    def _failed(self, each: Filter, reason: str) -> None:
        self.counters["failures"] += 1
        each.stale = True
        each.failures += 1
        each.retry_at = trio.current_time() + retry_s(each.failures)
        name = each.wanted.name
        if each.problem != reason and self._filters.get(name) is each:
            each.problem = reason
            self._report([SourceFilterState(name, reason)])
            self._tell(each, SourceFilterFailed(interface=name, reason=reason))

    def _tell(self, each: Filter, notice: Notice) -> None:
        """Publishes a notice, unless there was one of its kind a moment ago."""
        if each.may_tell(notice.event, trio.current_time()):
            self._publish(notice)

    async def _remove_all(self) -> None:
        if trio.current_time() < self._removal_at:
            return
        for name in list(self._to_remove):
            try:
                if self._backend is None:
                    self._backend = await self._find_backend()
                await self._backend.remove(name)
            except FilterError:  # tried again later, or at the next start
                self.counters["failures"] += 1
                self._removal_failures += 1
                self._removal_at = trio.current_time() + retry_s(self._removal_failures)
                continue
            self._removal_failures = 0
            self._to_remove.pop(name, None)
            if name not in self._filters:
                await self._record.remove(name)

    # Looking after it.

    async def _audit(
        self, each: Filter, backend: Backend, *, is_whole: bool, is_touched: bool
    ) -> None:
        self.counters["audits"] += 1
        is_whole = is_whole or trio.current_time() >= each.checked_at + CHECK_S
        if await self._read(each, backend, is_whole=is_whole) and (
            not is_touched or await self._has_sources(each, backend)
        ):
            return
        each.stale = True
        self.counters["restored"] += 1
        self._tell(each, SourceFilterRestored(interface=each.wanted.name))

    async def _read(self, each: Filter, backend: Backend, *, is_whole: bool) -> bool:
        """Reports what was counted; returns whether the filter is as it was written."""
        reading = await backend.read(each.wanted.name, is_whole=is_whole)
        if reading is None:
            return False
        events = each.news(reading)
        if events:
            each.alert_until = trio.current_time() + ALERT_S
            self._report(events)
        if reading.rules is None:
            return True
        each.checked_at = trio.current_time()
        if each.rules is None:
            each.rules = reading.rules
        return each.rules == reading.rules

    async def _has_sources(self, each: Filter, backend: Backend) -> bool:
        """Returns whether the filter has the sources that were written, as far as its rules do not show them."""
        if not backend.keeps_rules:
            return True
        found = None if each.wanted.changes else await backend.sources(each.wanted.name)
        if found is None or each.wanted.changes:
            self._touched = True  # later, when it is known what was written
            return True
        return each.wanted.has(found)
