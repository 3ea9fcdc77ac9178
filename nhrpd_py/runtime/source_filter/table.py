"""The wanted source filter of one tunnel, and what is kept of the one that an earlier run left. No IO."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from nhrpd_py.core.address import Address, Prefix
from nhrpd_py.core.effects import AllowSources, ForgetMark

Sources = Mapping[int, Iterable[Prefix]]
"""Mark → the prefixes that its packets may come from."""


class FilterError(Exception):
    """The packet filter cannot be read or written; the text is a reason for people."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the packet filter has of one tunnel."""

    rules: str | None
    """Its rules as the program prints them, to be compared with those of another reading; None: they were not read."""
    wrong: Mapping[tuple[int, Address], int]
    """Packets so far by mark and source; the source is empty where it is not known."""
    total: int
    """All packets with wrong sources."""


@dataclass(slots=True)
class Changes:
    """What must be changed in the packet filter since it was written last."""

    added: dict[int, dict[Prefix, None]] = field(default_factory=dict)
    removed: dict[int, dict[Prefix, None]] = field(default_factory=dict)
    known: dict[int, None] = field(default_factory=dict)
    forgotten: dict[int, None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.known or self.forgotten or self.added or self.removed)

    def is_urgent(self, *, drop: bool) -> bool:
        """Returns whether packets are misjudged until the changes are written; of unknown marks all pass.

        That is so where a known mark gets more sources, and where one that is dropped by may become another peer's.
        """
        return (drop and bool(self.forgotten)) or not self.added.keys() <= self.known.keys()


class WantedTable:
    """What one tunnel's peers may send from, by mark."""

    __slots__ = ("_before", "_sources", "changes", "drop", "inherited", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.drop = False
        self._sources: dict[int, dict[Prefix, None]] = {}
        self.changes = Changes()
        self.inherited: dict[int, Iterable[Prefix]] = {}
        """What an earlier run allowed: kept at first, for the engine does not know everything yet."""
        self._before: dict[int, list[Prefix]] | None = None
        """What was written last, while there is anything inherited: changes are the differences then."""

    def allow(self, effect: AllowSources) -> None:
        changes, mark = self.changes, effect.mark
        if mark not in self._sources:
            self._sources[mark] = {}
            if mark in changes.forgotten:
                del changes.forgotten[mark]
            else:
                changes.known[mark] = None
        sources = self._sources[mark]
        added, removed = changes.added.setdefault(mark, {}), changes.removed.setdefault(mark, {})
        for prefix in effect.removed:
            del sources[prefix]
            if prefix in added:
                del added[prefix]
            else:
                removed[prefix] = None
        for prefix in effect.added:
            sources[prefix] = None
            if prefix in removed:
                del removed[prefix]
            else:
                added[prefix] = None
        if not added:
            del changes.added[mark]
        if not removed:
            del changes.removed[mark]

    def forget(self, effect: ForgetMark) -> None:
        mark = effect.mark
        removed = tuple(self._sources[mark])
        if removed:
            self.allow(AllowSources(self.name, mark, removed=removed))
        del self._sources[mark]
        self.inherited.pop(mark, None)  # the next SA with it may be another peer's
        if mark in self.changes.known:
            del self.changes.known[mark]
        else:
            self.changes.forgotten[mark] = None

    def inherits_no_more(self) -> None:
        """Forgets what an earlier run allowed."""
        self.inherited = {}

    def written(self) -> Changes:
        """Returns the changes since the last call."""
        changes, self.changes = self.changes, Changes()
        before, self._before = self._before, self.whole() if self.inherited else None
        if before is None:
            return changes
        return _differences(before, self.whole() if self._before is None else self._before)

    def has(self, found: Sources) -> bool:
        """Returns whether these are the sources of all marks, whatever every peer may send from."""
        here, there = (
            {mark: set(each) for mark, each in sources.items() if mark}
            for sources in (self.whole(), found)
        )
        return here == there

    def whole(self) -> dict[int, list[Prefix]]:
        """Returns all sources by mark, those of the earlier run among them; none overlaps another of its mark."""
        found: dict[int, list[Prefix]] = {}
        for mark in dict.fromkeys([*self._sources, *self.inherited]):
            inherited = self.inherited.get(mark, ())
            found[mark] = list(_widest([*self._sources.get(mark, ()), *inherited]))
        return found


def _differences(
    before: Mapping[int, Iterable[Prefix]], after: Mapping[int, Iterable[Prefix]]
) -> Changes:
    changes = Changes(
        known=dict.fromkeys(after.keys() - before.keys()),
        forgotten=dict.fromkeys(before.keys() - after.keys()),
    )
    for mark in before.keys() | after.keys():
        old, new = dict.fromkeys(before.get(mark, ())), dict.fromkeys(after.get(mark, ()))
        for place, one, other in ((changes.added, new, old), (changes.removed, old, new)):
            if found := {each: None for each in one if each not in other}:
                place[mark] = found
    return changes


def _widest(prefixes: Iterable[Prefix]) -> Iterator[Prefix]:
    """Yields the prefixes that lie within no other one, ascending."""
    last: Prefix | None = None
    for each in sorted(set(prefixes), key=lambda each: (len(each.address), each)):
        if last is None or not last.covers(each):
            last = each
            yield each
