"""The only task that touches the engine's state: events in, effects out.

It takes a batch of events or waits for the engine's next deadline, lets the engine handle the whole
batch at one instant, and executes all effects before it waits again, so no other task ever sees a
half-done turn.

A packet that trips a bug must not take the network down: the traceback and the packet (hex,
without its pass phrase) are logged, a few a minute, counted as `internal-error`, and the packet is
forgotten. Packets that were held for an event are handled right after it, in the same way. Timers
that are due run before the batch and outside of that protection; a bug there, or on any other
event, ends the daemon, which then starts anew from its state file and the kernel's tables. That is
better than to go on with an engine whose timers are lost.

Garbage: the engine's objects form no cycles, so reference counting frees them; the collector only
costs pauses that grow with the number of spokes. `tame_garbage_collector` therefore freezes what
start-up made and makes the full pass rare; `app` runs one each hour for the odd cycle that a
traceback leaves.
"""

import gc
import math
import random
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import structlog
import trio

from nhrpd_py.core.config import Config
from nhrpd_py.core.effects import Effect
from nhrpd_py.core.engine import Engine, Machine, Packet, turn
from nhrpd_py.core.events import Event, PacketReceived
from nhrpd_py.packet.masked import masked
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.logs import FloodGate

BUGS_LOGGED = 5
BUG_WINDOW_S = 60.0
BUG_DATA_SHOWN = 2048
"""Octets of a packet that go into the log with a bug."""
GC_THRESHOLDS = (20_000, 10, 10_000)
"""New objects before a young pass (under 1 ms), young passes before a middle one, middle ones
before a full one."""


class Driven(Machine, Protocol):
    """The methods of the engine that the pump calls."""

    def advance(self, now: float) -> list[Effect]: ...
    def next_deadline(self) -> float | None: ...


class Pump:
    """Runs the engine until its effects say `Halt`."""

    def __init__(
        self,
        engine: Driven,
        inbox: Inbox,
        execute: Callable[[Sequence[Effect]], bool],
        *,
        beat: Callable[[float], None] | None = None,
        beat_interval_s: float | None = None,
    ) -> None:
        """`execute` carries effects out at once and returns whether `Halt` was among them.

        `beat` is called at the end of every turn; there is a turn at least every
        `beat_interval_s`, also without events.
        """
        self._engine = engine
        self._inbox = inbox
        self._execute = execute
        self._beat = beat
        self._beat_interval_s = math.inf if beat_interval_s is None else beat_interval_s
        self._bugs = FloodGate(BUGS_LOGGED, BUG_WINDOW_S)
        self._log = structlog.get_logger()
        self.counters: Counter[str] = Counter(
            {"batches": 0, "events": 0, "wakeups": 0, "internal-error": 0}
        )

    async def run(self) -> None:
        halted = self._turn((), trio.current_time())
        while not halted:
            events = await self._next_batch()
            halted = self._turn(events, trio.current_time())

    async def _next_batch(self) -> Sequence[Event]:
        """Waits for events, at most until the engine's next deadline or the next beat; returns an
        empty batch then."""
        deadline = self._engine.next_deadline()
        latest = trio.current_time() + self._beat_interval_s
        with trio.move_on_at(latest if deadline is None else min(deadline, latest)):
            return await self._inbox.take()
        return ()

    def _turn(self, events: Sequence[Event], now: float) -> bool:
        engine = self._engine
        counters = self.counters
        effects = engine.advance(now)
        if events:
            counters["batches"] += 1
            counters["events"] += len(events)
        else:
            counters["wakeups"] += 1
        contain = partial(self._contain, now)
        for event in events:
            effects += turn(engine, event, now, contain=contain)
        halted = self._execute(effects)
        if self._beat is not None:
            self._beat(now)
        return halted

    def _contain(self, now: float, event: Packet, _bug: Exception) -> None:
        self.counters["internal-error"] += 1
        for _, count in self._bugs.roll(now):
            self._log.error("packet.failed.repeatedly", count=count)
        if not self._bugs.admits("packet"):
            return
        self._log.exception(
            "packet.failed",
            kind=type(event).__name__,
            ifindex=event.ifindex if isinstance(event, PacketReceived) else event.in_ifindex,
            nbma=event.nbma_source.hex() if isinstance(event, PacketReceived) else "",
            data=_shown(event)[:BUG_DATA_SHOWN].hex(),
        )


def _shown(event: Packet) -> bytes:
    """Returns the octets that may go into the log: pass phrases are not among them."""
    return masked(event.data) if isinstance(event, PacketReceived) else event.data


def tame_garbage_collector() -> None:
    """Freezes what start-up made and makes full collections rare; call once when everything has
    started."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def make_engine(config: Config) -> Engine:
    """Returns an engine with the randomness of a real machine."""
    return Engine(
        config,
        rng=random.Random(),
        request_ids=partial(secrets.randbits, 32),
        now=trio.current_time(),
    )
