"""The table of shortcuts."""

from nhrpd_py.core.address import parse_prefix
from nhrpd_py.core.effects import DropNeighbor, DropRoute, Effect, SetRoute
from nhrpd_py.core.notices import ShortcutInstalled, ShortcutRemoved, TableFull
from nhrpd_py.core.station import shortcuts as shortcut_module
from nhrpd_py.core.station.binding import Binding, BindingType
from nhrpd_py.core.station.shortcuts import Shortcut, ShortcutTable
from tests.support import inspect
from tests.support.engine import a_spoke, of, the
from tests.support.sites import GRE, host, nbma, tunnel


class TableBench:
    """The table of a spoke that is up, with bindings to lean on."""

    def __init__(self) -> None:
        self.spoke = a_spoke(2, prefix_length=24)
        self.table: ShortcutTable = inspect.shortcuts(self.spoke.engine)
        self.bindings: dict[int, Binding] = {}
        for number in (3, 4):
            binding = inspect.cache(self.spoke.engine).update(
                tunnel(number), BindingType.CACHED, nbma(number), 0.0, holding_time_s=60
            )
            assert binding is not None
            self.bindings[number] = binding
        self.effects()

    def install(
        self, text: str = "172.16.3.0/24", peer: int = 3, holding_time_s: int = 60, now: float = 0.0
    ) -> Shortcut | None:
        prefix = parse_prefix(text)
        return self.table.install(prefix, prefix.address, self.bindings[peer], holding_time_s, now)

    def effects(self) -> list[Effect]:
        return inspect.taken(self.spoke.engine)


def test_new_shortcut_is_a_route_by_way_of_the_peer_and_a_notice() -> None:
    bench = TableBench()
    bench.install()
    effects = bench.effects()
    assert of(effects, SetRoute) == [SetRoute(parse_prefix("172.16.3.0/24"), GRE, tunnel(3))]
    assert the(of(effects, ShortcutInstalled)).protocol == tunnel(3)
    assert len(bench.table) == 1


def test_refreshed_shortcut_is_no_news_but_its_route_is_asserted() -> None:
    bench = TableBench()
    bench.install()
    bench.effects()
    shortcut = bench.install(holding_time_s=30, now=10.0)
    assert shortcut is not None
    assert (shortcut.created_at, shortcut.expires_at, shortcut.holding_time_s) == (0.0, 40.0, 30)
    assert [type(each) for each in bench.effects()] == [SetRoute]


def test_shortcut_that_moves_to_another_peer_replaces_its_route() -> None:
    bench = TableBench()
    bench.install(peer=3)
    bench.effects()
    bench.install(peer=4)
    effects = bench.effects()
    assert of(effects, SetRoute) == [SetRoute(parse_prefix("172.16.3.0/24"), GRE, tunnel(4))]
    assert of(effects, DropRoute) == []
    assert bench.table.of_peer(tunnel(3)) == []
    assert len(bench.table.of_peer(tunnel(4))) == 1


def test_shortcut_that_moves_to_a_peer_that_is_awaited_has_no_route_meanwhile() -> None:
    bench = TableBench()
    bench.install(peer=3)
    inspect.cache(bench.spoke.engine).entries.withdraw(bench.bindings[4])
    bench.effects()
    bench.install(peer=4)
    assert of(bench.effects(), DropRoute) == [DropRoute(parse_prefix("172.16.3.0/24"), GRE)]


def test_full_table_is_told_once_a_minute(monkeypatch) -> None:
    monkeypatch.setattr(shortcut_module, "MAX_SHORTCUTS", 1)
    bench = TableBench()
    assert bench.install()
    bench.effects()
    full = TableFull(interface="gre1", table="shortcuts", limit=1)
    bench.install("172.16.4.0/24")
    assert of(bench.effects(), TableFull) == [full]
    bench.install("172.16.5.0/24", now=59.0)
    assert of(bench.effects(), TableFull) == []
    assert [str(each.prefix) for each in bench.table] == ["172.16.5.0/24"]


def test_peer_with_most_shortcuts_makes_room_in_a_full_table(monkeypatch) -> None:
    monkeypatch.setattr(shortcut_module, "MAX_SHORTCUTS", 3)
    bench = TableBench()
    bench.install("172.16.3.0/24", peer=3)
    for third in (20, 21, 22, 23):
        bench.install(f"172.16.{third}.0/24", peer=4)
    assert [str(each.prefix) for each in bench.table] == [
        "172.16.3.0/24",
        "172.16.22.0/24",
        "172.16.23.0/24",
    ]
    notice = of(bench.effects(), ShortcutRemoved)[0]
    assert (str(notice.prefix), notice.reason) == ("172.16.20.0/24", "made room")


def test_removed_shortcut_falls_back_to_the_routed_path() -> None:
    bench = TableBench()
    shortcut = bench.install()
    assert shortcut is not None
    bench.effects()
    bench.table.remove(shortcut, "why")
    effects = bench.effects()
    assert effects == [
        DropRoute(parse_prefix("172.16.3.0/24"), GRE),
        ShortcutRemoved(interface="gre1", prefix=parse_prefix("172.16.3.0/24"), reason="why"),
    ]
    assert list(bench.table) == []
    bench.table.expire(parse_prefix("172.16.3.0/24"))
    assert bench.effects() == []


def test_expired_shortcut_goes() -> None:
    bench = TableBench()
    bench.install(holding_time_s=30)
    bench.effects()
    bench.spoke.run(29.9)
    assert len(bench.table) == 1
    assert the(of(bench.spoke.run(30.0), ShortcutRemoved)).reason == "expired"


def test_binding_goes_after_the_shortcuts_that_lean_on_it() -> None:
    bench = TableBench()
    bench.install("172.16.3.0/24")
    bench.install("172.16.30.0/24")
    bench.install("172.16.4.0/24", peer=4)
    bench.effects()
    inspect.cache(bench.spoke.engine).remove(bench.bindings[3], "why")
    kinds = [type(each) for each in bench.effects() if isinstance(each, DropRoute | DropNeighbor)]
    assert kinds == [DropRoute, DropRoute, DropNeighbor]
    assert [str(each.prefix) for each in bench.table] == ["172.16.4.0/24"]


def test_longest_shortcut_of_an_address_is_found() -> None:
    bench = TableBench()
    bench.install("172.16.0.0/16")
    bench.install("172.16.3.0/24")
    found = bench.table.longest(host(3))
    assert found is not None
    assert found.prefix.length == 24
    assert bench.table.longest(tunnel(9)) is None


def test_touching_are_those_within_and_those_around() -> None:
    bench = TableBench()
    for text in ("172.16.0.0/16", "172.16.3.0/24", "172.16.3.128/25", "172.17.0.0/16"):
        bench.install(text)
    found = {str(each.prefix) for each in bench.table.touching(parse_prefix("172.16.3.0/24"))}
    assert found == {"172.16.0.0/16", "172.16.3.0/24", "172.16.3.128/25"}
