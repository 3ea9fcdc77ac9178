"""Sets up logging, and writes the engine's notices as log lines.

Three formats: `console` for a terminal, `json` (one object a line), and `line`, which `auto` picks
when standard error is no terminal: `event key=value …`, with the priority in front (`<6>`,
sd-daemon(3)) when journald reads it. Nothing is formatted for a level that is not shown. Lines that
a peer can cause by the thousand are cut to a few a second, followed by one with the number of those
left out (`FloodGate`). Secrets never get here: the core's `Secret` hides its text.
"""

import logging
import os
import select
import sys
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Literal, TextIO, cast

import structlog

from nhrpd_py.core.notices import Notice

Format = Literal["auto", "console", "json"]
LEVELS: Mapping[str, int] = logging.getLevelNamesMapping()
PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Log level → syslog priority."""
EVENTS_PER_WINDOW = 20
WINDOW_S = 1.0


def level_number(name: str) -> int:
    """Returns the number of a level as the file and the command line name it."""
    return LEVELS[name.upper()]


counters: Counter[str] = Counter()
"""`lost`: lines that could not be written."""


class Outlet:
    """Writes lines to a stream without ever waiting or failing: a reader that stopped or is gone,
    or a full disk, costs lines and does not stop the daemon."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._descriptor = stream.fileno()
        self._room = select.poll()
        self._room.register(self._descriptor, select.POLLOUT)

    def write(self, text: str) -> None:
        data = text.encode(errors="backslashreplace")
        for start in range(0, len(data), select.PIPE_BUF):  # a write of this size is whole or fails
            try:
                if not self._room.poll(0):
                    raise BlockingIOError
                os.write(self._descriptor, data[start : start + select.PIPE_BUF])
            except OSError:
                counters["lost"] += 1
                return

    def flush(self) -> None:
        """Does nothing, for nothing is buffered."""

    def isatty(self) -> bool:
        return self._stream.isatty()

    def leads_to_journald(self) -> bool:
        """Returns whether journald reads this very stream: JOURNAL_STREAM alone is not enough,
        since processes whose output goes elsewhere inherit it."""
        status = os.fstat(self._descriptor)
        return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def configure(level: str, style: Format, stream: TextIO | None = None) -> None:
    """Sets logging up for the process; may be called again with another level."""
    out = Outlet(sys.stderr if stream is None else stream)
    shared: list[Any] = [structlog.processors.add_log_level]
    if style == "console" or (style == "auto" and out.isatty()):
        shared += [
            structlog.processors.TimeStamper("%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(
                colors=out.isatty(),
                pad_event_to=24,
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    elif style == "json":
        shared += [
            structlog.processors.TimeStamper("iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    else:
        journal = out.leads_to_journald()
        if not journal:
            shared.append(structlog.processors.TimeStamper("iso"))
        shared += [structlog.processors.format_exc_info, LineRenderer(priority=journal)]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(level_number(level)),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, out)),
        cache_logger_on_first_use=False,
    )


class LineRenderer:
    """Renders `event key=value …` on one line, whatever the values hold."""

    def __init__(self, *, priority: bool) -> None:
        self._priority = priority
        self._pairs = structlog.processors.LogfmtRenderer(bool_as_flag=False)

    def __call__(self, logger: object, name: str, line: MutableMapping[str, Any]) -> str:
        level = str(line.pop("level", "info"))
        words = [str(line.pop("event"))]
        stamp = line.pop("timestamp", None)
        if stamp is not None:
            words.insert(0, f"{stamp} {level}")
        if line:
            words.append(self._pairs(logger, name, line))
        text = " ".join(words)
        return f"<{PRIORITIES.get(level, 6)}>{text}" if self._priority else text


class FloodGate:
    """Lets the first few of each key through in a window of time and counts the others."""

    def __init__(self, limit: int = EVENTS_PER_WINDOW, window_s: float = WINDOW_S) -> None:
        self._limit = limit
        self._window_s = window_s
        self._window_ends_at = 0.0
        self._seen: dict[str, int] = {}

    def admits(self, key: str) -> bool:
        """Counts one occurrence and returns whether it is among the first few; call `roll` first."""
        seen = self._seen.get(key, 0) + 1
        self._seen[key] = seen
        return seen <= self._limit

    def roll(self, now: float) -> list[tuple[str, int]]:
        """Begins a new window when the old one is over; returns, for each key, how many occurrences
        the old one left out."""
        if now < self._window_ends_at:
            return []
        self._window_ends_at = now + self._window_s
        left_out = [(key, n - self._limit) for key, n in self._seen.items() if n > self._limit]
        self._seen.clear()
        return left_out


class NoticeLog:
    """Writes notices as log lines at their level."""

    def __init__(self, level: str) -> None:
        self.set_level(level)
        self._gate = FloodGate()
        log = structlog.get_logger()
        self._log = log
        self._write: dict[str, Callable[..., None]] = {
            "debug": log.debug,
            "info": log.info,
            "warning": log.warning,
            "error": log.error,
        }
        self._levels = {name: level_number(name) for name in self._write}
        self._lost_lines = counters["lost"]

    def set_level(self, level: str) -> None:
        """Sets the lowest level that is written."""
        self._threshold = level_number(level)

    def write(self, notice: Notice, now: float) -> None:
        if self._levels[notice.level] < self._threshold:
            return
        self.summarise(now)
        if self._gate.admits(notice.event):
            self._write[notice.level](notice.event, **notice.as_dict())

    def summarise(self, now: float) -> None:
        """Logs how many lines the last window left out; also called regularly, if no notice
        follows."""
        for event, count in self._gate.roll(now):
            self._log.warning("notices.suppressed", notice=event, count=count)
        lost = counters["lost"]
        if lost > self._lost_lines:
            self._log.error("log.lost", lines=lost - self._lost_lines)
            if counters["lost"] == lost:
                self._lost_lines = lost
            counters["lost"] = lost  # this line is written again and not counted
