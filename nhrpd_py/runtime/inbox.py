"""The way into the engine: one bounded queue of batches that every adapter fills and the pump
empties.

A batch is a short sequence of events that belong together (one read of a socket); the pump hands
all of it to the engine without awaiting in between. There are two rules for overflow: events
that the network repeats anyway (packets, samples, solicitations) are `offer`ed, and dropped and
counted when the queue is full; events that would be lost for good (links, routes, commands) are
`put`, and their sender waits.
"""

from collections.abc import Sequence

import trio

from nhrpd_py.core.events import Event

INBOX_LIMIT = 1024
"""Batches. A full queue holds at most this many reads of at most 64 packets each."""


class Inbox:
    """Queues batches of events: any number of adapters fill it, the pump alone empties it."""

    def __init__(self, limit: int = INBOX_LIMIT) -> None:
        self._send, self._receive = trio.open_memory_channel[Sequence[Event]](limit)
        self.dropped_batches = 0
        self.dropped_events = 0

    def offer(self, events: Sequence[Event]) -> bool:
        """Enqueues a batch if there is room, and otherwise drops and counts it; never waits."""
        if not events:
            return True
        try:
            self._send.send_nowait(events)
        except trio.WouldBlock:
            self.dropped_batches += 1
            self.dropped_events += len(events)
            return False
        return True

    async def put(self, events: Sequence[Event]) -> None:
        """Enqueues a batch, waiting for room."""
        if not events:
            await trio.lowlevel.checkpoint()
            return
        await self._send.send(events)

    async def take(self) -> Sequence[Event]:
        """Waits for a batch and returns the oldest."""
        return await self._receive.receive()

    def __len__(self) -> int:
        """Returns the number of batches that wait."""
        return self._receive.statistics().current_buffer_used
