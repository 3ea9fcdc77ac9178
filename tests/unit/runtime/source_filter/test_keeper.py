"""Source filters are kept in a packet filter of dictionaries."""

from pathlib import Path

import trio

from nhrpd_py.core.address import parse_address, parse_prefix
from nhrpd_py.core.effects import AllowSources, FilterSources, ForgetMark, UnfilterSources
from nhrpd_py.core.events import SourceFilterState, WrongSources
from nhrpd_py.core.filter_notices import (
    SourceFilterDisturbed,
    SourceFilterFailed,
    SourceFilterRestored,
)
from nhrpd_py.runtime.source_filter.record import Record
from tests.unit.runtime.source_filter.fake_backend import QuickRecord, World

LAN2, LAN3, HOST2 = map(parse_prefix, ("172.16.2.0/24", "172.16.3.0/24", "10.0.0.2"))
THIEF = parse_address("198.51.100.9")


async def test_what_is_wanted_is_written_whole_then_changed(autojump_clock, world: World) -> None:
    filters = world.make()
    filters.allow(AllowSources("gre1", 2, (LAN2,)))
    async with world.running(filters):
        await trio.sleep(1)
        assert world.backend.calls == []  # nobody wants it in the kernel yet
        filters.filter(FilterSources("gre1", drop=True))
        await trio.sleep(1)
        assert world.backend.tables == {"gre1": {2: {LAN2}}}
        assert world.backend.drops == {"gre1": True}
        assert world.recorded == {"gre1"}
        world.backend.calls.clear()
        filters.allow(AllowSources("gre1", 2, (LAN3, HOST2), (LAN2,)))
        filters.allow(AllowSources("gre1", 3))
        filters.allow(AllowSources("gre1", 4, (LAN2,)))
        filters.forget(ForgetMark("gre1", 4))
        await trio.sleep(0.5)
        assert world.backend.tables == {"gre1": {2: {LAN3, HOST2}, 3: set()}}
        assert world.backend.calls == ["change"]
        filters.forget(ForgetMark("gre1", 2))
        filters.allow(AllowSources("gre1", 2, (LAN2,)))
        filters.forget(ForgetMark("gre1", 3))
        await trio.sleep(0.5)
        assert world.backend.tables == {"gre1": {2: {LAN2}}}
        await trio.sleep(10)
        assert filters.counters["restored"] == 0  # nobody but us changed it


async def test_what_changes_while_it_is_written_is_not_lost(autojump_clock, world: World) -> None:
    filters = world.make()
    world.backend.pause_s = 1.0
    async with world.running(filters):
        filters.filter(FilterSources("gre1", drop=False))
        await trio.sleep(1.5)  # the second program runs now
        filters.allow(AllowSources("gre1", 2, (LAN2,)))
        filters.filter(FilterSources("gre1", drop=True))
        await trio.sleep(10)
        assert world.backend.tables == {"gre1": {2: {LAN2}}}
        assert world.backend.drops == {"gre1": True}


async def test_rules_of_others_that_use_marks_are_told_at_the_start(
    autojump_clock, world: World
) -> None:
    filters = world.make()
    world.are_others = 1
    async with world.running(filters):
        for drop in (True, False):
            filters.filter(FilterSources("gre1", drop, "eth0"))
            await trio.sleep(1)
    rule = "a rule about eth0 and gre1"
    assert world.notices == [SourceFilterDisturbed(interface="gre1", rule=rule)]


async def test_another_mode_is_written_whole(autojump_clock, world: World) -> None:
    filters = world.make()
    async with world.running(filters):
        for drop in (True, False):
            filters.filter(FilterSources("gre1", drop=drop))
            await trio.sleep(1)
            assert world.backend.drops == {"gre1": drop}


async def test_a_filter_that_is_not_wanted_any_more_is_removed(
    autojump_clock, world: World
) -> None:
    filters = world.make()
    async with world.running(filters):
        filters.filter(FilterSources("gre1", drop=True))
        await trio.sleep(1)
        filters.unfilter(UnfilterSources("gre1"))
        await trio.sleep(1)
        assert world.backend.tables == {}
        assert world.recorded == set()


async def test_who_removes_or_changes_it_finds_it_back(autojump_clock, world: World) -> None:
    filters = world.make()
    async with world.running(filters):
        filters.allow(AllowSources("gre1", 2, (LAN2,)))
        filters.filter(FilterSources("gre1", drop=True))
        await trio.sleep(10)
        assert world.notices == []
        for harm in (world.backend.tables.clear, lambda: world.backend.rules.update(gre1="odd")):
            harm()
            await trio.sleep(4)
            assert world.backend.tables == {"gre1": {2: {LAN2}}}
            assert world.notices.pop() == SourceFilterRestored(interface="gre1")
            await trio.sleep(60)
        assert filters.counters["restored"] == 2


async def test_nor_do_our_own_changes_hide_those_of_others(autojump_clock, world: World) -> None:
    world.backend.keeps_rules = True
    filters = world.make()
    async with world.running(filters):
        filters.allow(AllowSources("gre1", 2, (LAN2,)))
        filters.filter(FilterSources("gre1", drop=True))
        await trio.sleep(10)
        world.backend.rules["gre1"] = "odd"
        filters.allow(AllowSources("gre1", 3, (LAN2,)))
        await trio.sleep(4)
        assert world.backend.rules == {"gre1": "as written"}
        assert world.notices == [SourceFilterRestored(interface="gre1")]


async def test_a_program_that_fails_is_a_problem_until_it_works(
    autojump_clock, world: World
) -> None:
    filters = world.make()
    world.backend.error = "nft: no such thing"
    async with world.running(filters):
        filters.filter(FilterSources("gre1", drop=True))
        await trio.sleep(20)
        assert world.events == [SourceFilterState("gre1", "nft: no such thing")]
        assert world.notices == [SourceFilterFailed(interface="gre1", reason="nft: no such thing")]
        assert filters.problems == {"gre1": "nft: no such thing"}
        world.backend.error = None
        await trio.sleep(20)
        assert world.events[1:] == [SourceFilterState("gre1", None)]
        assert filters.problems == {}
        world.backend.error = "nft: gone again"
        filters.allow(AllowSources("gre1", 2, (LAN2,)))
        await trio.sleep(2)
        assert world.events[2:] == [SourceFilterState("gre1", "nft: gone again")]
        world.backend.error = None
        await trio.sleep(10)
        assert world.backend.tables == {"gre1": {2: {LAN2}}}


async def test_without_a_program_it_is_said_and_found_when_it_comes(
    autojump_clock, world: World
) -> None:
    filters = world.make()
    world.has_program = False
    async with world.running(filters):
        filters.filter(FilterSources("gre1", drop=False))
        filters.unfilter(UnfilterSources("gre7"))
        await trio.sleep(1)
        reason = "neither nft nor iptables-restore is installed"
        assert world.events == [SourceFilterState("gre1", reason)]
        assert filters.problems == {}  # nothing would be dropped anyway
        world.has_program = True
        await trio.sleep(10)
        assert world.backend.tables == {"gre1": {}}
    await filters.give_back()
    assert world.backend.tables == {}
    assert world.recorded == set()


async def test_what_an_earlier_run_allowed_stays_for_a_minute(autojump_clock, world: World) -> None:
    await QuickRecord(str(world.directory)).add("gre1")
    world.backend.tables["gre1"] = {2: {LAN2}, 3: {LAN3}}
    filters = world.make()
    filters.configure({"gre1"})
    async with world.running(filters):
        filters.allow(AllowSources("gre1", 2, (HOST2,)))
        filters.filter(FilterSources("gre1", drop=True))
        await trio.sleep(1)
        assert world.backend.tables == {"gre1": {2: {LAN2, HOST2}, 3: {LAN3}}}
        filters.allow(AllowSources("gre1", 2, (parse_prefix("172.16.0.0/16"),)))
        await trio.sleep(1)
        assert world.backend.tables["gre1"][2] == {HOST2, parse_prefix("172.16.0.0/16")}
        await trio.sleep(60)
        assert world.backend.tables == {"gre1": {2: {HOST2, parse_prefix("172.16.0.0/16")}}}


async def test_a_mark_that_is_given_away_again_inherits_nothing(
    autojump_clock, world: World
) -> None:
    world.backend.tables["gre1"] = {2: {LAN2}}
    filters = world.make()
    async with world.running(filters):
        filters.allow(AllowSources("gre1", 2, (HOST2,)))
        filters.filter(FilterSources("gre1", drop=True))
        await trio.sleep(1)
        assert world.backend.tables == {"gre1": {2: {LAN2, HOST2}}}
        filters.forget(ForgetMark("gre1", 2))
        filters.allow(AllowSources("gre1", 2, (LAN3,)))
        await trio.sleep(1)
        assert world.backend.tables == {"gre1": {2: {LAN3}}}


async def test_leftovers_of_tunnels_without_a_filter_go_and_others_stay(
    autojump_clock, world: World
) -> None:
    record = QuickRecord(str(world.directory))
    for name in ("gre1", "gre2"):
        await record.add(name)
    world.backend.tables = {"gre1": {}, "gre2": {}, "of-another-daemon": {}}
    filters = world.make()
    assert filters.needed(frozenset()) == frozenset({"gre1", "gre2"})
    filters.configure({"gre1"})
    async with world.running(filters):
        await trio.sleep(1)
        assert world.backend.tables.keys() == {"gre1", "of-another-daemon"}
        assert world.recorded == {"gre1"}


async def test_wrong_sources_are_reported_as_they_grow(autojump_clock, world: World) -> None:
    filters = world.make()
    async with world.running(filters):
        filters.filter(FilterSources("gre1", drop=True))
        await trio.sleep(4)
        world.backend.wrong = {(2, THIEF): 5, (3, b""): 1}
        await trio.sleep(4)
        assert world.events == [
            WrongSources("gre1", 2, THIEF, 5),
            WrongSources("gre1", 3, b"", 1),
        ]
        world.events.clear()
        world.backend.wrong[2, THIEF] = 7
        await trio.sleep(4)
        assert world.events == [WrongSources("gre1", 2, THIEF, 2)]
        world.events.clear()
        world.backend.wrong = {(2, THIEF): 1}  # it was forgotten, and seen anew
        await trio.sleep(4)
        assert world.events == [WrongSources("gre1", 2, THIEF, 1)]
        world.events.clear()
        world.backend.wrong = {(2, bytes((10, 0, 0, n))): n for n in range(1, 20)}
        await trio.sleep(4)
        assert [each.packets for each in world.events if isinstance(each, WrongSources)] == [
            *range(19, 11, -1),
            sum(range(1, 12)),
        ]


def test_a_damaged_record_is_none(tmp_path: Path) -> None:
    (tmp_path / "source-filters.json").write_text("{")
    assert Record(str(tmp_path)).names == set()
    assert Record("/nowhere").names == set()


def test_without_a_filter_now_or_before_nothing_runs(world: World) -> None:
    assert world.make().needed(frozenset()) is None


async def test_a_record_that_cannot_be_written_is_no_error() -> None:
    record = Record("/proc/nowhere")
    await record.add("gre1")
    assert record.names == {"gre1"}
