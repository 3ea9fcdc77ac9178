"""Deals lab tests to guests: which must stay together, how long they take, which guest runs them.

Tests that share a fixture of a module stay together, for such a fixture is a cloud that takes half
a minute to build; with a parameter, each value of it is another cloud. All other tests are dealt one
by one. The durations of tests/lab/durations.json decide, and nothing else: the same tests are dealt
the same way on every machine and in every order. `pytest tests/lab --rewrite-lab-durations` measures
them anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

Fixture = tuple[str, str, int]
"""File of the definition, name, and index of the parameter."""
ASSUMED_DURATION_S = 10.0
"""For a test that was never measured."""


@dataclass(slots=True, eq=False)
class Portion:
    """Tests that stay together, and the fixtures that keep them so."""

    items: list[pytest.Item]
    fixtures: frozenset[Fixture] = frozenset()


@dataclass(slots=True, eq=False)
class Hand:
    """The tests of one guest, and the processor on which it is kept."""

    cpu: int
    items: list[pytest.Item] = field(default_factory=list)
    systemd: bool = False
    """Whether it has the tests marked `systemd`, and gets no others."""


def split(items: Iterable[pytest.Item]) -> list[Portion]:
    """Splits tests into the smallest portions that share no fixture."""
    portions: list[Portion] = []
    for item in items:
        mine = Portion([item], _shared_fixtures(item))
        for other in [other for other in portions if other.fixtures & mine.fixtures]:
            portions.remove(other)
            mine = Portion(other.items + mine.items, other.fixtures | mine.fixtures)
        portions.append(mine)
    return portions


def in_file_order(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Returns tests file by file; those that share a fixture in the order in which their file has them.

    A cloud has a history: where a test fails after another one, it must do so again.
    """
    groups: dict[tuple[str, frozenset[Fixture]], list[pytest.Item]] = {}
    for item in items:
        groups.setdefault((str(item.path), _shared_fixtures(item)), []).append(item)
    by_file = sorted(groups.items(), key=lambda group: group[0][0])
    return [
        item
        for _, group in by_file
        for item in sorted(group, key=lambda each: each.location[1] or 0)
    ]


def deal(
    portions: Iterable[Portion], hands: Sequence[Hand], durations: Mapping[str, float]
) -> None:
    """Adds all portions to the hands without systemd, so that all processors are done together.

    The longest goes first, each to the hand whose processor has least to do, of several to the one
    that itself has least.
    """

    def load(hand: Hand) -> tuple[float, float]:
        neighbours = (other for other in hands if other.cpu == hand.cpu)
        total = sum(seconds(other.items, durations) for other in neighbours)
        return total, seconds(hand.items, durations)

    def urgency(portion: Portion) -> tuple[float, str]:
        name = min(item.nodeid for item in portion.items)  # the same in every order
        return -seconds(portion.items, durations), name

    for portion in sorted(portions, key=urgency):
        free = (hand for hand in hands if not hand.systemd)
        min(free, key=load).items.extend(portion.items)


def seconds(items: Iterable[pytest.Item], durations: Mapping[str, float]) -> float:
    """Returns how long tests take, one after the other."""
    return sum(durations.get(item.nodeid, ASSUMED_DURATION_S) for item in items)


def read_durations(path: Path) -> dict[str, float]:
    """Returns node id → seconds; empty without the file."""
    if not path.exists():
        return {}
    return {node: float(seconds) for node, seconds in json.loads(path.read_text()).items()}


def write_durations(path: Path, durations: Mapping[str, float]) -> None:
    """Writes the file, without tests whose file is gone."""
    root = path.parents[2]
    kept = {
        node: round(seconds, 1)
        for node, seconds in sorted(durations.items())
        if (root / node.partition("::")[0]).exists()
    }
    path.write_text(json.dumps(kept, indent=0) + "\n")


def _shared_fixtures(item: pytest.Item) -> frozenset[Fixture]:
    """Returns the fixtures of the item's own files that outlive a test."""
    known = getattr(item, "_fixtureinfo", None)  # pytest has no public name for it
    if known is None:
        return frozenset()
    call = getattr(item, "callspec", None)
    parameters = {} if call is None else call.indices
    return frozenset(
        (definition.baseid, name, parameters.get(name, 0))
        for name, definitions in known.name2fixturedefs.items()
        for definition in definitions
        # Fixtures of pytest and its plugins are cheap; they have an empty base.
        if definition.baseid and definition.scope != "function"
    )
