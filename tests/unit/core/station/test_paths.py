"""The table of paths."""

import random

import pytest

from nhrpd_py.core.base.jitter import Jitter
from nhrpd_py.core.station import paths as paths_module
from nhrpd_py.core.station.paths import Path, Paths, PathState
from tests.support.sites import nbma, tunnel

RELEASED: list[int] = []


class NoJitter(Jitter):
    def __call__(self, seconds: float, share: float = 0.1) -> float:
        return seconds


def a_table(*, enabled: bool = True) -> Paths:
    return Paths(NoJitter(random.Random(0)), RELEASED.append, enabled=enabled)


def a_path(table: Paths, number: int, state: PathState = PathState.UNKNOWN) -> Path:
    path = table.make(nbma(number), tunnel(number))
    assert path is not None
    path.state = state
    return path


@pytest.mark.parametrize(
    ("state", "carries"),
    [
        (PathState.UNKNOWN, False),
        (PathState.TRYING, False),
        (PathState.PROVEN, True),
        (PathState.BELIEVED, True),
        (PathState.FAILED, False),
    ],
)
def test_traffic_takes_what_is_proven_or_believed(state: PathState, carries: bool) -> None:
    table = a_table()
    a_path(table, 3, state)
    assert table.carries(nbma(3)) == carries
    assert table.is_tried(nbma(3)) == (state is PathState.TRYING)
    assert table.has_failed(nbma(3)) == (state is PathState.FAILED)


def test_unknown_path_carries_only_where_paths_are_not_proven() -> None:
    assert not a_table().carries(nbma(3))
    assert a_table(enabled=False).carries(nbma(3))
    assert not a_table().is_tried(nbma(3))
    assert not a_table().has_failed(nbma(3))


def test_one_record_a_peer() -> None:
    table = a_table()
    assert table.make(nbma(3), tunnel(3)) is table.make(nbma(3), tunnel(4))


def test_hold_down_tells_its_reason_and_ends() -> None:
    table = a_table()
    path = a_path(table, 3, PathState.TRYING)
    assert table.held_down(nbma(3), tunnel(3), 0.0) is None
    assert table.fail(path, "no answer", 10.0) == 30.0
    assert table.held_down(nbma(3), tunnel(3), 15.0) == ("no answer", 25.0)
    assert table.held_down(nbma(3), tunnel(3), 40.0) is None
    assert table.held_down(nbma(4), tunnel(4), 15.0) is None
    assert table.counters.failed == 1


def test_path_that_carried_for_long_begins_with_the_shortest_hold_down_again() -> None:
    table = a_table()
    path = a_path(table, 3)
    assert [table.fail(path, "no answer", 0.0) for _ in range(3)] == [30.0, 60.0, 120.0]
    path.state, path.proven_at = PathState.PROVEN, 1000.0
    assert table.fail(path, "no answer", 1800.0) == 240.0  # proven for a moment: the same story
    path.state, path.proven_at = PathState.PROVEN, 3000.0
    assert table.fail(path, "no answer", 4000.0) == 30.0


def test_operator_ends_hold_downs_one_or_all() -> None:
    table = a_table()
    for number in (3, 4):
        path = a_path(table, number)
        table.fail(path, "no answer", 0.0)
        table.fail(path, "no answer", 0.0)
    proven = a_path(table, 5, PathState.PROVEN)
    proven.failures = 1
    table.forgive(nbma(3))
    table.forgive(nbma(9))
    assert table.held_down(nbma(3), tunnel(3), 1.0) is None
    assert table.held_down(nbma(4), tunnel(4), 1.0) is not None
    table.forgive_all()
    assert table.held_down(nbma(4), tunnel(4), 1.0) is None
    assert (proven.state, proven.failures) == (PathState.PROVEN, 1)
    retried = table.get(nbma(4))
    assert retried is not None
    assert table.fail(retried, "no answer", 1.0) == 30.0


def test_only_known_peers_are_heard() -> None:
    table = a_table()
    path = a_path(table, 3)
    table.heard(nbma(3), 7.0)
    table.heard(nbma(4), 7.0)
    assert path.heard_at == 7.0
    assert list(table) == [path]


def test_full_table_forgets_a_path_that_carries_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths_module, "MAX_PATHS", 3)
    table = a_table()
    a_path(table, 3, PathState.PROVEN)
    a_path(table, 4, PathState.FAILED).request_ids += [41, 42]
    a_path(table, 5, PathState.TRYING)
    a_path(table, 6, PathState.PROVEN)
    assert {path.nbma for path in table} == {nbma(3), nbma(5), nbma(6)}
    assert RELEASED == [41, 42]
    assert table.make(nbma(7), tunnel(7)) is None
    assert len(list(table)) == 3
    table.forget(nbma(5))
    table.forget(nbma(5))
    assert table.make(nbma(7), tunnel(7)) is not None


def test_operator_has_whoever_is_there_judged_anew() -> None:
    """A station that answers no probes may have taken over the address of one that did."""
    table = a_table()
    path = a_path(table, 3)
    path.answers, path.probes_us = 7, True
    table.fail(path, "no answer", 0.0)
    table.forgive(nbma(3))
    assert (path.answers, path.probes_us) == (0, False)
