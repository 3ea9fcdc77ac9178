"""The closing table of a run: how long each part took, and how much processor time it used.

Plugins that run something beside the tests append a row; without any there is no table. A guest is
idle while it waits for a timer or a packet, and stalled while others have its processor.
"""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tools.lab.process import Usage


@dataclass(frozen=True, slots=True)
class Row:
    """One part of the run."""

    name: str
    usage: Usage
    tests: int | None = None
    expected_s: float | None = None
    """The sum of the recorded durations."""

    def text(self) -> str:
        """Returns the line of the table."""
        idle_s, wall_s, cpu_s = self.usage.idle_s, self.usage.wall_s, self.usage.cpu_s
        cells = [
            "" if self.tests is None else str(self.tests),
            "" if self.expected_s is None else f"{self.expected_s:.0f}",
            f"{wall_s:.1f}",
            f"{cpu_s:.1f}",
            "" if idle_s is None else f"{idle_s:.1f}",
            "" if idle_s is None else f"{max(0.0, wall_s - cpu_s - idle_s):.1f}",
        ]
        return (f"{self.name:<32}" + "".join(f"{cell:>10}" for cell in cells)).rstrip()


HEADS = ("tests", "expected", "wall s", "CPU s", "idle s", "stalled s")
TITLE = f"{'':<32}" + "".join(f"{head:>10}" for head in HEADS)
ROWS = pytest.StashKey[list[Row]]()


def rows(config: pytest.Config) -> list[Row]:
    """Returns the rows of the table, to append to."""
    return config.stash.setdefault(ROWS, [])


def _processor_ticks() -> tuple[int, int]:
    """Returns the idle time and the total time of the machine's processors."""
    figures = Path("/proc/stat").read_text().split(maxsplit=11)[1:9]
    _user, _nice, _system, idle, iowait, *_rest = map(int, figures)
    return idle + iowait, sum(map(int, figures))


def _own_cpu_s() -> float:
    """Returns the processor time of this process and its children that ended."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


@dataclass(slots=True, eq=False)
class TimesPlugin:
    """Measures the tests of this process, and prints the table."""

    config: pytest.Config
    _began: float = field(default_factory=time.monotonic)
    _ticks: tuple[int, int] = field(default_factory=_processor_ticks)
    _wall_s: float = 0.0
    """Until the last test of this process."""
    _tests: int = 0

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Counts a test that ran here."""
        if not nodeid.startswith("tests/lab/"):
            self._tests += 1
            self._wall_s = time.monotonic() - self._began

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Prints the table."""
        others = rows(self.config)
        if not others:
            return
        # By now the time of the other parts is included in that of our children.
        cpu_s = _own_cpu_s() - sum(row.usage.cpu_s for row in others)
        own = Row("tests in this process", Usage(self._wall_s, max(0.0, cpu_s)), self._tests)
        terminalreporter.section("where the time went")
        for line in [TITLE, *(row.text() for row in [own, *others])]:
            terminalreporter.line(line)
        ticks = zip(_processor_ticks(), self._ticks, strict=True)
        idle, total = (now - then for now, then in ticks)
        terminalreporter.line(
            f"{time.monotonic() - self._began:.0f} s on {os.cpu_count()} processors, "
            f"which were idle for {idle / max(1, total):.0%} of it"
        )
