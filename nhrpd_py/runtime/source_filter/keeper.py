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

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import trio

from nhrpd_py.core.address import Address
from nhrpd_py.core.effects import AllowSources, FilterSources, ForgetMark, UnfilterSources
from nhrpd_py.core.events import Event, SourceFilterState, WrongSources
from nhrpd_py.core.filter_notices import (
    SourceFilterDisturbed,
    SourceFilterFailed,
    SourceFilterRestored,
)
from nhrpd_py.core.notices import Notice
from nhrpd_py.runtime.netlink.socket import NETLINK_NETFILTER, NetlinkSocket, open_netlink
from nhrpd_py.runtime.source_filter import iptables, marks, nft, programs
from nhrpd_py.runtime.source_filter.record import Record
from nhrpd_py.runtime.source_filter.table import (
    Changes,
    FilterError,
    Reading,
    Sources,
    WantedTable,
)

NFNLGRP_NFTABLES = 7
GATHER_S = 0.01
"""How long changes are gathered that are written together."""
AUDIT_S = 3.0
"""Interval of reading the counters, and of looking whether the filters are still there."""
SHORTEST_AUDIT_S = 0.5
RETRY_S = 5.0
INHERITED_S = 60.0
TOLD_APART = 8
"""Wrong sources of one mark that are reported each for itself at a time."""


class Backend(Protocol):
    """A program that has a packet filter."""

    async def write(self, wanted: WantedTable) -> None: ...
    async def change(self, wanted: WantedTable, changes: Changes) -> None: ...
    async def remove(self, interface: str) -> None: ...
    async def read(self, interface: str) -> Reading | None: ...
    async def sources(self, interface: str) -> Sources: ...


async def backend_of_this_machine() -> Backend:
    """Returns the first program that works here: not every kernel has what every program needs. Raises
    FilterError."""
    reasons = []
    for backend in (nft.Nft(), iptables.Iptables(), iptables.Iptables("-legacy")):
        if programs.is_there(backend.program):
            try:
                await backend.probe()
            except FilterError as error:
                reasons.append(str(error))
            else:
                return backend
    raise FilterError("; ".join(reasons) or "neither nft nor iptables-restore is installed")


async def others_of_this_machine(links: Collection[str]) -> list[str]:
    """Returns the rules of others that use marks of what comes in by some links, as far as programs tell."""
    found: list[str] = []
    with suppress(FilterError, ValueError):
        found += marks.of_routing(json.loads(await programs.run("ip", "-json", "rule") or "[]"))
    with suppress(FilterError, ValueError):
        ruleset = json.loads(await programs.run("nft", "-j", "list", "ruleset") or "{}")
        found += marks.of_nft(ruleset, links)
    for tool in ("iptables-legacy", "iptables"):
        with suppress(FilterError):
            text = await programs.run(f"{tool}-save")
            found += marks.of_iptables(text, tool, links)
    return found


def open_notifications() -> NetlinkSocket:
    """Opens a socket that hears of every change of nftables. Raises OSError."""
    return open_netlink(NETLINK_NETFILTER, (NFNLGRP_NFTABLES,))


@dataclass(slots=True, eq=False)
class _Filter:
    """The filter of one tunnel."""

    wanted: WantedTable
    is_open: bool = False
    """The engine wants it in the kernel."""
    stale: bool = True
    was_written: bool = False
    underlay: str = ""
    rules: str | None = None
    """What the program printed of it after it was written; None: it is to be asked."""
    counted: dict[tuple[int, Address], int] = field(default_factory=dict)
    inherited_until: float | None = None
    problem: str | None = None
    retry_at: float = 0.0


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
        self._filters: dict[str, _Filter] = {}
        self._to_remove: dict[str, None] = {}
        self._wake = trio.Event()
        self._turn = trio.Lock()
        """Held while a program runs."""
        self._touched = False
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

    def _filter(self, name: str) -> _Filter:
        found = self._filters.get(name)
        if found is None:
            found = self._filters[name] = _Filter(WantedTable(name))
        return found

    # Running.

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Writes what the verbs want, and looks after it, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            task_status.started()
            audit_at = trio.current_time() + AUDIT_S
            while True:
                with trio.move_on_at(audit_at):
                    await self._wake.wait()
                await trio.sleep(GATHER_S)
                self._wake = trio.Event()
                audited_at = audit_at - AUDIT_S
                now = trio.current_time()
                is_due = now >= audit_at or (self._touched and now >= audited_at + SHORTEST_AUDIT_S)
                async with self._turn:
                    await self._keep(audit=is_due)
                if is_due:
                    self._touched = False
                    audit_at = trio.current_time() + AUDIT_S
                elif self._touched:
                    audit_at = audited_at + SHORTEST_AUDIT_S

    async def give_back(self) -> None:
        """Removes all filters from the kernel: the daemon stops."""
        self._filters.clear()
        self._to_remove.update(dict.fromkeys(self._record.names))
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
                if self._drain():
                    self._touched = True
                    self._wake.set()
                await trio.sleep(GATHER_S)
        finally:
            self._socket = None
            sock.close()

    def _drain(self) -> bool:
        """Reads what waits of notifications; returns whether there was any."""
        found = False
        while self._socket is not None:
            try:
                if self._socket.read() is None:
                    break
            except OSError:  # some are lost, and all that they tell is that something changed
                pass
            found = True
        return found

    async def _keep(self, *, audit: bool) -> None:
        await self._remove_all()
        for each in [each for each in self._filters.values() if each.is_open]:
            try:
                await self._keep_one(each, audit=audit)
            except FilterError as error:
                self._failed(each, str(error))
        self._drain()  # our own changes

    async def _keep_one(self, each: _Filter, *, audit: bool) -> None:
        if each.stale and trio.current_time() < each.retry_at:
            return
        if self._backend is None or each.problem is not None:
            self._backend = await self._find_backend()
        backend = self._backend
        if audit and not each.stale:
            await self._audit(each, backend)
        is_over = each.inherited_until is not None and (trio.current_time() >= each.inherited_until)
        if is_over:
            each.inherited_until, each.wanted.inherited = None, {}
        if each.stale or is_over or (each.wanted.changes and each.inherited_until is not None):
            await self._write(each, backend)
        elif each.wanted.changes:
            changes = each.wanted.written()
            await backend.change(each.wanted, changes)
            self._written(each)

    async def _write(self, each: _Filter, backend: Backend) -> None:
        name = each.wanted.name
        if not each.was_written:
            await self._record.add(name)
            each.wanted.inherited = dict(await backend.sources(name))
            if each.wanted.inherited:
                each.inherited_until = trio.current_time() + INHERITED_S
        elif not each.stale:
            await self._read(each, backend)  # else what was counted since the last audit is lost
        each.stale = False
        each.wanted.written()
        await backend.write(each.wanted)
        is_first, each.was_written = not each.was_written, True
        each.counted.clear()
        self._written(each)
        await self._read(each, backend)
        if is_first:
            for rule in await self._find_others(frozenset({name, each.underlay} - {""})):
                self._publish(SourceFilterDisturbed(interface=name, rule=rule))

    def _written(self, each: _Filter) -> None:
        self.counters["writes"] += 1
        each.rules = None
        if each.problem is not None:
            each.problem = None
            self._report([SourceFilterState(each.wanted.name, None)])

    def _failed(self, each: _Filter, reason: str) -> None:
        self.counters["failures"] += 1
        each.stale = True
        each.retry_at = trio.current_time() + RETRY_S
        name = each.wanted.name
        if each.problem != reason and self._filters.get(name) is each:
            each.problem = reason
            self._report([SourceFilterState(name, reason)])
            self._publish(SourceFilterFailed(interface=name, reason=reason))

    async def _remove_all(self) -> None:
        for name in list(self._to_remove):
            try:
                if self._backend is None:
                    self._backend = await self._find_backend()
                await self._backend.remove(name)
            except FilterError:  # tried again at the next change, audit or start
                self.counters["failures"] += 1
                continue
            self._to_remove.pop(name, None)
            if name not in self._filters:
                await self._record.remove(name)

    # Looking after it.

    async def _audit(self, each: _Filter, backend: Backend) -> None:
        self.counters["audits"] += 1
        if await self._read(each, backend):
            return
        each.stale = True
        self.counters["restored"] += 1
        self._publish(SourceFilterRestored(interface=each.wanted.name))

    async def _read(self, each: _Filter, backend: Backend) -> bool:
        """Reports what was counted; returns whether the filter is as it was written."""
        reading = await backend.read(each.wanted.name)
        if reading is None:
            return False
        if each.rules is None:
            each.rules = reading.rules
        self._report_wrong(each, reading)
        return each.rules == reading.rules

    def _report_wrong(self, each: _Filter, reading: Reading) -> None:
        name = each.wanted.name
        news: dict[int, list[tuple[int, Address]]] = {}
        told = 0
        for key, packets in reading.wrong.items():
            before = each.counted.get(key, 0)
            new = packets - before if packets >= before else packets
            each.counted[key] = packets
            if new:
                told += new
                news.setdefault(key[0], []).append((new, key[1]))
        for gone in each.counted.keys() - reading.wrong.keys() if reading.wrong else ():
            del each.counted[gone]
        events: list[Event] = []
        for mark, found in news.items():
            found.sort(reverse=True)
            events += [
                WrongSources(name, mark, source, packets) for packets, source in found[:TOLD_APART]
            ]
            rest = sum(packets for packets, _ in found[TOLD_APART:])
            if rest:
                events.append(WrongSources(name, mark, b"", rest))
        if events:
            self._report(events)
