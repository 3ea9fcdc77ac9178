"""How the lab's tests are dealt out to guests."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tools.lab.deal import (
    ASSUMED_DURATION_S,
    Portion,
    deal,
    read_durations,
    split,
    spread,
    write_durations,
)

pytest_plugins = "pytester"


def names(portions: list[Portion]) -> list[list[str]]:
    return sorted(sorted(item.nodeid.partition("::")[2] for item in one.items) for one in portions)


def splits(pytester: pytest.Pytester, source: str) -> list[list[str]]:
    """The portions of a test file, as the names of their tests."""
    items, _ = pytester.inline_genitems(pytester.makepyfile(source), "-p", "no:randomly")
    return names(split(items))


def test_tests_that_share_nothing_are_dealt_one_by_one(pytester: pytest.Pytester) -> None:
    source = """
        import pytest

        @pytest.fixture
        def cloud(tmp_path_factory):  # the factory is the session's, and pytest's own
            return 1

        def test_one(cloud): pass
        def test_two(cloud): pass
        @pytest.mark.parametrize("hub", ["ours", "theirs"])
        def test_three(hub): pass
    """
    assert splits(pytester, source) == [
        ["test_one"],
        ["test_three[ours]"],
        ["test_three[theirs]"],
        ["test_two"],
    ]


def test_tests_with_a_fixture_of_the_module_stay_together(pytester: pytest.Pytester) -> None:
    source = """
        import pytest

        @pytest.fixture(scope="module")
        def cloud(): pass
        @pytest.fixture
        def nodes(cloud): pass

        def test_one(cloud): pass
        def test_alone(): pass
        def test_two(nodes): pass
    """
    assert splits(pytester, source) == [["test_alone"], ["test_one", "test_two"]]


def test_what_uses_two_fixtures_ties_the_users_of_both(pytester: pytest.Pytester) -> None:
    source = """
        import pytest

        @pytest.fixture(scope="module")
        def hub(): pass
        @pytest.fixture(scope="module")
        def spoke(): pass

        def test_hub(hub): pass
        def test_spoke(spoke): pass
        def test_both(hub, spoke): pass
    """
    assert splits(pytester, source) == [["test_both", "test_hub", "test_spoke"]]


def test_an_automatic_fixture_of_the_module_ties_all(pytester: pytest.Pytester) -> None:
    source = """
        import pytest

        @pytest.fixture(scope="module", autouse=True)
        def installed(): pass

        def test_one(): pass
        def test_two(): pass
    """
    assert splits(pytester, source) == [["test_one", "test_two"]]


def test_each_parameter_of_a_fixture_of_the_module_is_another_cloud(
    pytester: pytest.Pytester,
) -> None:
    source = """
        import pytest

        @pytest.fixture(scope="module", params=["ours", "theirs"])
        def cloud(request): pass

        def test_one(cloud): pass
        def test_two(cloud): pass
    """
    assert splits(pytester, source) == [
        ["test_one[ours]", "test_two[ours]"],
        ["test_one[theirs]", "test_two[theirs]"],
    ]


def portion(*ids: str) -> Portion:
    items: list[Any] = [SimpleNamespace(nodeid=f"x::{name}") for name in ids]
    return Portion(items)


def test_the_longest_goes_first_to_whoever_has_least() -> None:
    durations = {"x::a": 50.0, "x::b": 40.0, "x::c": 30.0, "x::d": 20.0}
    hands = deal([portion(name) for name in "dcba"], 2, durations)
    assert names(hands) == [["a", "d"], ["b", "c"]]


def test_the_order_of_the_tests_changes_nothing() -> None:
    portions = [portion("a", "b"), portion("c"), portion("d"), portion("e")]
    assert names(deal(portions, 2, {})) == names(deal(reversed(portions), 2, {}))


def test_an_unknown_test_takes_as_long_as_is_assumed() -> None:
    assert portion("a", "new").seconds({"x::a": 1.0}) == 1.0 + ASSUMED_DURATION_S


def test_nobody_gets_nothing() -> None:
    assert names(deal([portion("a")], 3, {})) == [["a"]]


def test_loads_are_spread_over_processors() -> None:
    assert spread([100.0, 90.0, 30.0], [0, 1]) == [0, 1, 1]
    assert spread([30.0, 100.0, 90.0], [4, 5]) == [5, 4, 5]
    assert spread([1.0], [7]) == [7]


def test_durations_are_kept_and_lose_files_that_are_gone(tmp_path: Path) -> None:
    lab = tmp_path / "tests" / "lab"
    lab.mkdir(parents=True)
    (lab / "test_here.py").touch()
    path = lab / "durations.json"
    assert read_durations(path) == {}
    here, gone = "tests/lab/test_here.py::test_b[x]", "tests/lab/test_gone.py::test_a"
    write_durations(path, {here: 12.345, gone: 1.0})
    assert read_durations(path) == {here: 12.3}
