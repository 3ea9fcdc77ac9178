"""Deals lab tests out to guests: what must stay together, how long it takes, who runs it.

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
"""Where it is defined, its name, and which of its parameters."""
ASSUMED_DURATION_S = 10.0
"""Of a test that was never measured."""


@dataclass(slots=True, eq=False)
class Portion:
    """Tests that run in one guest, one after the other."""

    items: list[pytest.Item] = field(default_factory=list)
    fixtures: frozenset[Fixture] = frozenset()
    """What they share, which is expensive to build."""

    def seconds(self, durations: Mapping[str, float]) -> float:
        """Returns how long the tests take."""
        return sum(durations.get(item.nodeid, ASSUMED_DURATION_S) for item in self.items)

    @property
    def name(self) -> str:
        """Returns a name that does not depend on the order of the tests."""
        return min(item.nodeid for item in self.items)


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


def deal(portions: Iterable[Portion], count: int, durations: Mapping[str, float]) -> list[Portion]:
    """Returns at most `count` portions of about equal duration made of the given ones.

    The longest goes first, each to whoever has least (longest processing time first, LPT).
    """
    hands = [Portion() for _ in range(count)]
    for portion in sorted(portions, key=lambda one: (-one.seconds(durations), one.name)):
        min(hands, key=lambda hand: hand.seconds(durations)).items += portion.items
    return [hand for hand in hands if hand.items]


def spread(loads: Sequence[float], cpus: Sequence[int]) -> list[int]:
    """Returns a processor for each load, so that each processor has about the same."""
    taken = dict.fromkeys(cpus, 0.0)
    chosen: dict[int, int] = {}
    for number in sorted(range(len(loads)), key=lambda number: -loads[number]):
        chosen[number] = min(cpus, key=lambda cpu: taken[cpu])
        taken[chosen[number]] += loads[number]
    return [chosen[number] for number in range(len(loads))]


def read_durations(path: Path) -> dict[str, float]:
    """Returns node id → seconds; nothing is known without the file."""
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
        # What pytest and its plugins define is cheap, and has an empty base.
        if definition.baseid and definition.scope != "function"
    )
