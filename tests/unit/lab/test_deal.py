"""How the lab's tests are dealt out to guests."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tools.lab.deal import (
    ASSUMED_DURATION_S,
    Hand,
    Portion,
    deal,
    in_file_order,
    read_durations,
    seconds,
    split,
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


def test_tests_of_one_cloud_run_in_the_order_of_their_file(pytester: pytest.Pytester) -> None:
    source = """
        import pytest

        @pytest.fixture(scope="module", params=["ours", "theirs"])
        def cloud(): pass

        def test_alone(): pass
        def test_b(cloud): pass
        def test_a(cloud): pass
    """
    items, _ = pytester.inline_genitems(pytester.makepyfile(source), "-p", "no:randomly")
    ordered = [item.name for item in in_file_order(items[::-1])]
    assert ordered == [
        *("test_b[theirs]", "test_a[theirs]"),
        *("test_b[ours]", "test_a[ours]"),
        "test_alone",
    ]


def stubs(*ids: str) -> list[Any]:
    return [SimpleNamespace(nodeid=f"x::{name}") for name in ids]


def dealt(*portions: str, cpus: tuple[int, ...] = (0, 1), systemd: str = "") -> list[str]:
    """The tests of each hand; a portion is a word whose letters are tests, `e` takes 50 s, `a` 10."""
    durations = {f"x::{name}": 10.0 * number for number, name in enumerate("abcde", 1)}
    hands = [Hand(cpu) for cpu in cpus]
    if systemd:
        hands.append(Hand(0, stubs(*systemd), systemd=True))
    deal([Portion(stubs(*portion)) for portion in portions], hands, durations)
    return ["".join(sorted(item.nodeid[-1] for item in hand.items)) for hand in hands]


def test_the_longest_goes_first_to_whoever_has_least() -> None:
    assert dealt("b", "c", "d", "e") == ["be", "cd"]


def test_what_must_stay_together_does() -> None:
    assert dealt("abc", "d", "e") == ["abc", "de"]


def test_the_order_of_the_tests_changes_nothing() -> None:
    assert dealt("a", "b", "c", "d", "e") == dealt("e", "d", "c", "b", "a")


def test_the_neighbour_of_the_guest_with_systemd_gets_less() -> None:
    assert dealt("a", "b", "c", systemd="e") == ["a", "bc", "e"]


def test_two_guests_of_one_processor_share_its_part() -> None:
    assert dealt("b", "c", "d", "e", cpus=(0, 1, 0, 1)) == ["e", "d", "b", "c"]


def test_a_test_that_was_never_measured_takes_as_long_as_is_assumed() -> None:
    assert seconds(stubs("a", "new"), {"x::a": 1.0}) == 1.0 + ASSUMED_DURATION_S


def test_durations_are_kept_and_lose_files_that_are_gone(tmp_path: Path) -> None:
    lab = tmp_path / "tests" / "lab"
    lab.mkdir(parents=True)
    (lab / "test_here.py").touch()
    path = lab / "durations.json"
    assert read_durations(path) == {}
    here, gone = "tests/lab/test_here.py::test_b[x]", "tests/lab/test_gone.py::test_a"
    write_durations(path, {here: 12.345, gone: 1.0})
    assert read_durations(path) == {here: 12.3}
