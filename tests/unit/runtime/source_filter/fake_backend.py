"""A packet filter of dictionaries, and a keeper over it."""

import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from nhrpd_py.core.address import Address, Prefix
from nhrpd_py.core.events import Event
from nhrpd_py.core.notices import Notice
from nhrpd_py.runtime.netlink.socket import NetlinkSocket
from nhrpd_py.runtime.source_filter.keeper import SourceFilters
from nhrpd_py.runtime.source_filter.record import Record
from nhrpd_py.runtime.source_filter.table import Changes, FilterError, Reading, WantedTable


class FakeBackend:
    """A packet filter: tunnel → mark → prefixes."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[int, set[Prefix]]] = {}
        self.drops: dict[str, bool] = {}
        self.rules: dict[str, str] = {}
        self.wrong: dict[tuple[int, Address], int] = {}
        self.error: str | None = None
        self.calls: list[str] = []
        self.pause_s = 0.0
        self.named = b"nhrpd-"
        self.keeps_rules = False

    async def _call(self, what: str) -> None:
        self.calls.append(what)
        await trio.sleep(self.pause_s)
        if self.error is not None:
            raise FilterError(self.error)

    async def write(self, wanted: WantedTable) -> None:
        whole = {mark: set(each) for mark, each in wanted.whole().items()}
        drop = wanted.drop
        await self._call("write")
        self.tables[wanted.name], self.drops[wanted.name] = whole, drop
        self.rules[wanted.name] = "as written"
        self.wrong.clear()

    async def change(self, wanted: WantedTable, changes: Changes) -> None:
        await self._call("change")
        table = self.tables[wanted.name]
        if not self.keeps_rules:
            self.rules[wanted.name] += ", and changed"
        for mark in changes.known:
            table[mark] = set()
        if not table.keys() >= {*changes.removed, *changes.added}:
            raise FilterError("no such element")
        for mark, removed in changes.removed.items():
            table[mark] -= set(removed)
        for mark, added in changes.added.items():
            table[mark] |= set(added)
        for mark in changes.forgotten:
            assert not table.pop(mark)

    async def remove(self, interface: str) -> None:
        await self._call("remove")
        self.tables.pop(interface, None)

    async def read(self, interface: str, *, is_whole: bool) -> Reading | None:
        await self._call("read" if is_whole else "count")
        if interface not in self.tables:
            return None
        return Reading(self.rules[interface], dict(self.wrong), sum(self.wrong.values()))

    async def sources(self, interface: str) -> Mapping[int, set[Prefix]]:
        await self._call("sources")
        return {mark: set(each) for mark, each in self.tables.get(interface, {}).items()}


class QuickRecord(Record):
    """A record that is written without a thread, which a clock that jumps does not wait for."""

    async def _save(self) -> None:
        self._write(json.dumps(sorted(self.names)))


class World:
    """A keeper over a fake packet filter."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.backend = FakeBackend()
        self.events: list[Event] = []
        self.notices: list[Notice] = []
        self.has_program = True
        self.are_others = 0
        self.notifications: Callable[[], NetlinkSocket] = no_notifications

    def make(self) -> SourceFilters:
        return SourceFilters(
            self.events.extend,
            self.notices.append,
            QuickRecord(str(self.directory)),
            backend=self._backend,
            notifications=self.notifications,
            others=self._others,
        )

    async def _backend(self) -> FakeBackend:
        if not self.has_program:
            raise FilterError("neither nft nor iptables-restore is installed")
        return self.backend

    async def _others(self, links: Collection[str]) -> list[str]:
        return [f"a rule about {' and '.join(sorted(links))}"] * self.are_others

    @asynccontextmanager
    async def running(self, filters: SourceFilters) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(filters.run)
            yield
            nursery.cancel_scope.cancel()

    @property
    def recorded(self) -> set[str]:
        return Record(str(self.directory)).names


def no_notifications() -> NetlinkSocket:
    raise OSError
