"""Passes each notice of the engine to the log and to its subscribers (`nhrpctl monitor`).

A subscriber that reads slowly loses notices and never delays the daemon: each has a bounded queue,
and in place of lost notices gets their number.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import trio

from nhrpd_py.core.notices import Notice
from nhrpd_py.runtime.logs import NoticeLog

QUEUE_LENGTH = 1024
MAX_SUBSCRIBERS = 32
ROWS_AT_ONCE = 64

NoticeRow: TypeAlias = dict[str, str | int | float | bool | None]


class TooManySubscribers(Exception):  # noqa: N818 (it reads as what happened)
    """The limit of subscribers is reached."""


class Subscriber:
    """Queues notices for one reader. Overflow rule: the newest are dropped and counted, and one
    entry has their number."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[tuple[float, Notice | int]](
            QUEUE_LENGTH
        )
        self._lost = 0

    def offer(self, at: float, notice: Notice) -> None:
        try:
            if self._lost:
                self._send.send_nowait((at, self._lost))
                self._lost = 0
            self._send.send_nowait((at, notice))
        except trio.WouldBlock:
            self._lost += 1

    async def take(self) -> list[NoticeRow]:
        """Waits for a notice and returns all that are queued: wall-clock time in seconds, event,
        level and the notice's own fields."""
        rows = [_row(*await self._receive.receive())]
        while len(rows) < ROWS_AT_ONCE:
            try:
                rows.append(_row(*self._receive.receive_nowait()))
            except trio.WouldBlock:
                break
        return rows


def _row(at: float, notice: Notice | int) -> NoticeRow:
    if isinstance(notice, int):
        return {"time": at, "event": "monitor.overflow", "level": "warning", "lost": notice}
    return {"time": at, "event": notice.event, "level": notice.level, **notice.as_dict()}


class NoticeHub:
    """Distributes the engine's notices to the log and to all subscribers."""

    def __init__(self, log: NoticeLog, clock: Callable[[], float] = time.time) -> None:
        self._log = log
        self._clock = clock
        self._subscribers: list[Subscriber] = []
        self.counts: Counter[str] = Counter()
        """Notices by event name since the start."""

    def publish(self, notice: Notice) -> None:
        self.counts[notice.event] += 1
        self._log.write(notice, trio.current_time())
        if self._subscribers:
            at = self._clock()
            for subscriber in self._subscribers:
                subscriber.offer(at, notice)

    @contextmanager
    def subscribe(self) -> Iterator[Subscriber]:
        if len(self._subscribers) >= MAX_SUBSCRIBERS:
            raise TooManySubscribers(f"{MAX_SUBSCRIBERS} are watching already")
        subscriber = Subscriber()
        self._subscribers.append(subscriber)
        try:
            yield subscriber
        finally:
            self._subscribers.remove(subscriber)
