"""The engine's timers: a heap of (deadline, key) whose stale rows are skipped when they come up.

A key names what is due; setting its timer again moves it, stopping it removes it. The caller of the engine needs one
number, the next deadline. Used by one task; knows no clock.
"""

import heapq
from collections.abc import Hashable
from enum import IntEnum, unique
from typing import NamedTuple

_PRUNE_FROM = 1024


@unique
class TimerKind(IntEnum):
    """What a timer is for. The numbers have no meaning."""

    NHS_RESOLVE = 1
    """Look the NHS's name up (again)."""
    NHS_SEND = 2
    """Send a Registration Request: the renewal is due, or the reply is overdue."""
    BINDING_EXPIRY = 3
    BINDING_PROBE = 4
    """Find out whether the kernel uses a cached binding, before its holding time ends."""
    RESOLUTION = 5
    """Ask again, or forget a negative result."""
    SHORTCUT_EXPIRY = 6
    PURGE = 7
    """Send a Purge Request again."""
    ASK_TO_REGISTER = 8
    """Ask a client to register that only the kernel remembers."""
    INTERFACE = 9
    """Try to open an interface that the kernel refused."""
    HELD_PACKETS = 10
    """Drop the packets that waited for charon's report of their SA."""
    PEER_READY = 11
    """Send data through an SA that the peer initiated: it has had time to get our answer."""
    PATH = 12
    """Send the next probe of a path, or decide about it."""
    DESERTED = 13
    """Give up the direct ways to other spokes: charon is away."""
    SOURCES = 14
    """Forget what peers might send from a while ago."""


class TimerKey(NamedTuple):
    kind: TimerKind
    interface: str
    subject: Hashable
    """What the timer is about (an address, a prefix…); unique within kind and interface."""


class TimerQueue:
    """Deadlines in seconds of the caller's clock, by key."""

    __slots__ = ("_armed", "_heap", "_sequence")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, TimerKey]] = []
        self._armed: dict[TimerKey, int] = {}
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._armed)

    def set(self, key: TimerKey, at: float) -> None:
        """Arms a timer, or moves it."""
        self._sequence += 1
        self._armed[key] = self._sequence
        heapq.heappush(self._heap, (at, self._sequence, key))
        if len(self._heap) > _PRUNE_FROM and len(self._heap) > 2 * len(self._armed):
            self._heap = [row for row in self._heap if self._armed.get(row[2]) == row[1]]
            heapq.heapify(self._heap)

    def stop(self, key: TimerKey) -> None:
        """Disarms a timer; harmless where it is not armed."""
        self._armed.pop(key, None)

    def stop_all(self, interface: str) -> None:
        """Disarms all timers of an interface."""
        for key in [each for each in self._armed if each.interface == interface]:
            del self._armed[key]

    def next_deadline(self) -> float | None:
        heap = self._heap
        while heap and self._armed.get(heap[0][2]) != heap[0][1]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def deadline(self, key: TimerKey) -> float | None:
        """Returns when a key is due. Only for the views: it looks at every row."""
        sequence = self._armed.get(key)
        if sequence is None:
            return None
        return next(row[0] for row in self._heap if row[1] == sequence)

    def pop_due(self, now: float) -> TimerKey | None:
        """Takes the earliest timer that is due, disarmed; None when none is."""
        at = self.next_deadline()
        if at is None or at > now:
            return None
        key = heapq.heappop(self._heap)[2]
        del self._armed[key]
        return key
