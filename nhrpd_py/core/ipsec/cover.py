"""Prefixes of one address family without those that lie within others: what a set of intervals can hold."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator

from nhrpd_py.core.address import Prefix

Change = tuple[list[Prefix], list[Prefix]]
"""The prefixes that came into a cover, and those that left it."""


class Cover:
    """Counted prefixes, and the widest of them, of which none overlaps another.

    A prefix may be added several times and is there until it was removed as often. Each change costs a binary search
    and tells how the widest ones changed.
    """

    __slots__ = ("_counts", "_ordered", "_widest")

    def __init__(self) -> None:
        self._counts: dict[Prefix, int] = {}
        self._ordered: list[Prefix] = []
        """All prefixes, ascending: those within another one stand behind it in a row."""
        self._widest: list[Prefix] = []
        """Those that lie within no other one, ascending."""

    def __iter__(self) -> Iterator[Prefix]:
        """Yields the widest prefixes."""
        return iter(self._widest)

    def add(self, prefix: Prefix) -> Change:
        count = self._counts.get(prefix, 0)
        self._counts[prefix] = count + 1
        if count:
            return [], []
        insort(self._ordered, prefix)
        at = bisect_right(self._widest, prefix)
        if at and self._widest[at - 1].covers(prefix):
            return [], []
        end = at
        while end < len(self._widest) and prefix.covers(self._widest[end]):
            end += 1
        within = self._widest[at:end]
        self._widest[at:end] = [prefix]
        return [prefix], within

    def remove(self, prefix: Prefix) -> Change:
        """Removes a prefix once; it must be there."""
        count = self._counts[prefix]
        if count > 1:
            self._counts[prefix] = count - 1
            return [], []
        del self._counts[prefix]
        del self._ordered[bisect_left(self._ordered, prefix)]
        at = bisect_left(self._widest, prefix)
        if at == len(self._widest) or self._widest[at] != prefix:
            return [], []
        within = list(_widest(self._ordered, prefix))
        self._widest[at : at + 1] = within
        return within, [prefix]


def _widest(ordered: list[Prefix], around: Prefix) -> Iterator[Prefix]:
    """Yields the widest of the prefixes that lie within another one, which is not among them."""
    last: Prefix | None = None
    for at in range(bisect_left(ordered, around), len(ordered)):
        each = ordered[at]
        if not around.covers(each):
            return
        if last is None or not last.covers(each):
            last = each
            yield each


class Covers:
    """A cover for each address family."""

    __slots__ = ("_by_size",)

    def __init__(self) -> None:
        self._by_size: dict[int, Cover] = {}

    def __iter__(self) -> Iterator[Prefix]:
        for cover in self._by_size.values():
            yield from cover

    def change(self, added: Iterable[Prefix], removed: Iterable[Prefix]) -> Change:
        """Adds prefixes, then removes others; returns what came and what left on the whole."""
        came: dict[Prefix, None] = {}
        left: dict[Prefix, None] = {}
        for is_new, prefixes in ((True, added), (False, removed)):
            for prefix in prefixes:
                cover = self._by_size.get(len(prefix.address))
                if cover is None:
                    cover = self._by_size[len(prefix.address)] = Cover()
                new, old = cover.add(prefix) if is_new else cover.remove(prefix)
                _move(new, left, came)
                _move(old, came, left)
        return list(came), list(left)


def _move(prefixes: list[Prefix], away: dict[Prefix, None], there: dict[Prefix, None]) -> None:
    """Notes prefixes on one side of a change, unless that takes them off the other one."""
    for each in prefixes:
        if each in away:
            del away[each]
        else:
            there[each] = None
