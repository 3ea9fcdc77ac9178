"""Runs our daemon under a sampling profiler: `python -m tools.benchmarks.profiled PREFIX ARGUMENTS…`.

A timer interrupts the daemon and notes its stack. A tracing profiler is not suitable: without a
cheap clock, as in User-Mode Linux, it mostly measures itself. Time in a C function counts for its
caller; samples taken while the daemon waits for events are left out. Each CUT writes the
samples since the one before to PREFIX.N (N from 0) and begins anew.
"""

from __future__ import annotations

import itertools
import json
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from nhrpd_py.cli.daemon import main

INTERVAL_S = 0.001
"""The real interval may be longer: the kernel's tick is 4 or 10 ms where timers are coarse."""
CUT = signal.SIGRTMIN
"""A signal that the daemon leaves alone."""
WAITING = "get_events"
"""trio's function that waits in epoll."""

Place = tuple[str, int, str]


@dataclass(slots=True, eq=False)
class Sampler:
    """Counts stacks."""

    samples: int = 0
    own: Counter[Place] = field(default_factory=Counter)
    """By the innermost Python function."""
    whole: Counter[Place] = field(default_factory=Counter)
    """By every function that was on the stack."""

    def sample(self, _number: int, frame: FrameType | None) -> None:
        """Counts the present stack; the handler of the timer's signal."""
        if frame is None or frame.f_code.co_name == WAITING:
            return
        self.samples += 1
        self.own[_place(frame)] += 1
        stack = set()
        at: FrameType | None = frame
        while at is not None:
            stack.add(_place(at))
            at = at.f_back
        self.whole.update(stack)

    def take(self) -> dict[str, object]:
        """Returns the samples for a file, and begins anew."""
        result: dict[str, object] = {"samples": self.samples}
        for name, counter in (("own", self.own), ("whole", self.whole)):
            result[name] = [[*place, count] for place, count in counter.most_common()]
            counter.clear()
        self.samples = 0
        return result


def run(prefix: str, arguments: list[str]) -> int:
    """Runs the daemon to its end and returns its exit status."""
    sampler = Sampler()
    numbers = itertools.count()

    def write(*_: object) -> None:
        unfinished = Path(f"{prefix}.unfinished")
        unfinished.write_text(json.dumps(sampler.take()))
        unfinished.rename(f"{prefix}.{next(numbers)}")

    # trio would wake up for every sample; its own signals reach it without this, too.
    signal.set_wakeup_fd = lambda *_, **__: -1
    signal.signal(CUT, write)
    signal.signal(signal.SIGALRM, sampler.sample)
    signal.setitimer(signal.ITIMER_REAL, INTERVAL_S, INTERVAL_S)
    return main(arguments)


def _place(frame: FrameType) -> Place:
    code = frame.f_code
    return code.co_filename, code.co_firstlineno, code.co_qualname


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], sys.argv[2:]))
