"""How often the keeper runs programs, and tells of what goes wrong again and again."""

import socket
from collections.abc import Callable, Iterator

import pytest
import trio

from nhrpd_py.core.address import parse_address, parse_prefix
from nhrpd_py.core.effects import AllowSources, FilterSources, ForgetMark, UnfilterSources
from nhrpd_py.core.events import SourceFilterState
from nhrpd_py.core.filter_notices import SourceFilterFailed, SourceFilterRestored
from nhrpd_py.runtime.netlink.socket import NetlinkSocket
from nhrpd_py.runtime.source_filter.keeper import MAX_OTHERS
from nhrpd_py.runtime.source_filter.table import Reading
from tests.unit.runtime.source_filter.fake_backend import FakeBackend, World

LAN2, LAN3 = map(parse_prefix, ("172.16.2.0/24", "172.16.3.0/24"))
MINUTE = 60.0


class Notifications:
    """The kernel's notifications of nftables, by way of a pair of sockets."""

    def __init__(self) -> None:
        ours, self._kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        self._socket = NetlinkSocket(ours)

    def open(self) -> NetlinkSocket:
        return self._socket

    def close(self) -> None:
        self._kernels.close()

    def tell(self, table: bytes) -> None:
        self._kernels.send(b"header" + table + b"\0")


@pytest.fixture
def kernel() -> Iterator[Notifications]:
    notifications = Notifications()
    yield notifications
    notifications.close()


@pytest.mark.parametrize(("drop", "least", "most"), [(False, 5, 7), (True, 18, 21)])
async def test_an_idle_tunnel_is_asked_seldom_and_for_its_counters_only(
    autojump_clock, world: World, kernel: Notifications, drop: bool, least: int, most: int
) -> None:
    world.notifications = kernel.open
    filters = world.make()
    async with world.running(filters):
        filters.filter(FilterSources("gre1", drop=drop))
        await trio.sleep(1)
        world.backend.calls.clear()
        await trio.sleep(MINUTE)
        assert least <= len(world.backend.calls) <= most
        assert world.backend.calls.count("read") <= 1  # all rules


async def test_a_tunnel_with_wrong_sources_is_asked_often_for_a_while(
    autojump_clock, world: World
) -> None:
    filters = world.make()
    async with world.running(filters):
        filters.filter(FilterSources("gre1", drop=False))
        await trio.sleep(1)
        world.backend.wrong = {(2, parse_address("198.51.100.9")): 5}
        await trio.sleep(10)
        for least, most in ((16, 21), (5, 10)):
            world.backend.calls.clear()
            await trio.sleep(MINUTE)
            assert least <= len(world.backend.calls) <= most


async def until(is_so: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not is_so():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def test_only_changes_of_what_is_ours_by_others_are_looked_at(
    world: World, kernel: Notifications
) -> None:
    world.notifications = kernel.open
    filters = world.make()
    async with world.running(filters):
        filters.filter(FilterSources("gre1", drop=True))
        await until(lambda: filters.counters["writes"] == 1)
        for _ in range(10):
            kernel.tell(b"f2b-sshd")
        await trio.sleep(0.7)
        assert filters.counters["audits"] == 0
        world.backend.tables.clear()
        kernel.tell(b"nhrpd-gre1")
        await until(lambda: "gre1" in world.backend.tables)
        assert filters.counters["restored"] == 1


async def test_who_takes_sources_out_finds_them_back(world: World, kernel: Notifications) -> None:
    """Of nftables the rules do not show them."""
    world.notifications = kernel.open
    world.backend.keeps_rules = True
    filters = world.make()
    async with world.running(filters):
        filters.allow(AllowSources("gre1", 0, (LAN3,)))
        filters.allow(AllowSources("gre1", 2, (LAN2,)))
        filters.filter(FilterSources("gre1", drop=True))
        await until(lambda: filters.counters["writes"] == 1)
        world.backend.tables["gre1"] = {2: set()}
        filters.allow(AllowSources("gre1", 3))  # is written first, and is no reason to look no more
        kernel.tell(b"nhrpd-gre1")
        await until(lambda: world.backend.tables["gre1"] == {0: {LAN3}, 2: {LAN2}, 3: set()})
        assert filters.counters["restored"] == 1
        assert world.notices == [SourceFilterRestored(interface="gre1")]
        kernel.tell(b"nhrpd-gre1")
        await until(lambda: filters.counters["audits"] > 1)
        await trio.sleep(0.7)
        assert filters.counters["restored"] == 1


async def test_what_fails_for_long_is_told_once_and_tried_seldom(
    autojump_clock, world: World
) -> None:
    world.backend.error = "nft: Operation not supported"
    filters = world.make()
    async with world.running(filters):
        filters.filter(FilterSources("gre1", drop=False))
        filters.unfilter(UnfilterSources("gre7"))
        await trio.sleep(60 * MINUTE)
        assert len(world.notices) == len(world.events) == 1
        assert len(world.backend.calls) <= 2 * 66


async def test_what_can_be_written_but_not_read_is_a_failure_told_once(
    autojump_clock, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(_interface: str, *, is_whole: bool) -> Reading | None:
        return None

    monkeypatch.setattr(world.backend, "read", read)
    filters = world.make()
    async with world.running(filters):
        filters.filter(FilterSources("gre1", drop=True))
        await trio.sleep(10 * MINUTE)
        reason = "what was written is not there"
        assert world.events == [SourceFilterState("gre1", reason)]
        assert world.notices == [SourceFilterFailed(interface="gre1", reason=reason)]
        assert world.backend.calls.count("write") < 20


async def test_who_changes_it_again_and_again_is_told_of_once_a_minute(
    autojump_clock, world: World
) -> None:
    filters = world.make()
    async with world.running(filters):
        filters.filter(FilterSources("gre1", drop=True))
        for _ in range(30):
            await trio.sleep(4)
            world.backend.tables.clear()
        assert filters.counters["restored"] > 20
        assert len(world.notices) <= 3
        assert set(world.notices) == {SourceFilterRestored(interface="gre1")}


async def test_a_change_that_fails_has_all_written_at_once(autojump_clock, world: World) -> None:
    filters = world.make()
    async with world.running(filters):
        filters.allow(AllowSources("gre1", 2, (LAN2,)))
        filters.filter(FilterSources("gre1", drop=True))
        await trio.sleep(1)
        world.backend.tables["gre1"].clear()  # the next change finds nothing to change
        filters.allow(AllowSources("gre1", 2, (LAN3,), (LAN2,)))
        await trio.sleep(0.5)
        assert world.backend.tables == {"gre1": {2: {LAN3}}}
        assert world.events == []


async def test_what_is_inherited_does_not_have_all_written_with_each_change(
    autojump_clock, world: World
) -> None:
    world.backend.tables["gre1"] = {2: {LAN2}, 9: {LAN3}}
    filters = world.make()
    async with world.running(filters):
        filters.filter(FilterSources("gre1", drop=True))
        await trio.sleep(1)
        for number in range(1, 51):
            filters.allow(AllowSources("gre1", number, (parse_prefix(f"10.0.0.{number}"),)))
            await trio.sleep(0.1)
        filters.forget(ForgetMark("gre1", 50))
        await trio.sleep(0.1)
        assert world.backend.calls.count("write") == 1
        assert world.backend.tables["gre1"][2] == {LAN2, parse_prefix("10.0.0.2")}
        assert world.backend.tables["gre1"][9] == {LAN3, parse_prefix("10.0.0.9")}
        assert 50 not in world.backend.tables["gre1"]
        await trio.sleep(MINUTE + 10)
        assert world.backend.calls.count("write") == 1
        assert world.backend.tables["gre1"][2] == {parse_prefix("10.0.0.2")}
        assert world.backend.tables["gre1"][9] == {parse_prefix("10.0.0.9")}


async def test_a_program_that_failed_for_a_moment_is_not_left_for_another(
    autojump_clock, world: World
) -> None:
    filters = world.make()
    async with world.running(filters):
        filters.filter(FilterSources("gre1", drop=True))
        await trio.sleep(1)
        world.backend.error = "nft: busy"
        await trio.sleep(10)
        world.backend.error, first, world.backend = None, world.backend, FakeBackend()
        await trio.sleep(MINUTE)
        assert filters.problems == {}
        assert first.tables == {"gre1": {}}
        assert world.backend.calls == []


async def test_of_rules_of_others_some_are_told(autojump_clock, world: World) -> None:
    world.are_others = 1000
    filters = world.make()
    async with world.running(filters):
        filters.filter(FilterSources("gre1", drop=False))
        await trio.sleep(1)
        assert len(world.notices) == MAX_OTHERS


async def test_new_marks_are_written_together_and_what_is_misjudged_at_once(
    autojump_clock, world: World
) -> None:
    """Packets with an unknown mark pass; a program for each new SA would halve how many a second are made."""
    filters = world.make()
    async with world.running(filters):
        filters.filter(FilterSources("gre1", drop=True))
        await trio.sleep(0.5)
        world.backend.calls.clear()
        for mark in range(2, 10):
            filters.allow(AllowSources("gre1", mark, (LAN2,)))
            await trio.sleep(0.1)
        assert world.backend.calls == []
        await trio.sleep(1)
        assert world.backend.calls == ["change"]
        filters.allow(AllowSources("gre1", 2, (LAN3,)))  # of a known mark: its packets are dropped
        await trio.sleep(0.05)
        assert world.backend.calls == ["change"] * 2
        filters.forget(ForgetMark("gre1", 2))  # the next SA with it is another peer's
        await trio.sleep(0.05)
        assert world.backend.calls == ["change"] * 3
