"""One process group at a time, bounded by a wall-clock limit, that never outlives its starter."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """The one process group of a place, and the lock that makes `kill` safe from any thread."""

    limit_s: float
    process: subprocess.Popen[bytes] | None = None
    timed_out: bool = False
    closed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(
        self,
        argv: Sequence[str],
        *,
        console: Path | None,
        terminal: bool,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        litter: Path | None = None,
    ) -> int:
        """Runs `argv` in a process group of its own until it ends or the limit passes.

        `litter` is what remains to be removed should we be killed ourselves.
        """
        with contextlib.ExitStack() as stack:
            output = None if console is None else stack.enter_context(console.open("wb"))
            if terminal:
                stack.enter_context(_terminal_kept())
            sys.stdout.flush()
            self.timed_out = False
            with self.lock:
                if self.closed:
                    return -signal.SIGKILL
                self.process = process = subprocess.Popen(
                    argv,
                    stdin=None if terminal else subprocess.DEVNULL,
                    stdout=output,
                    stderr=None if output is None else subprocess.STDOUT,
                    start_new_session=True,
                    env={**os.environ, **(env or {})},
                    pass_fds=pass_fds,
                )
            try:
                with _ended_with_us(process.pid, litter):
                    return process.wait(self.limit_s)
            except subprocess.TimeoutExpired:
                self.timed_out = True
                return -signal.SIGKILL
            finally:
                self._end()

    def kill(self) -> None:
        """Ends what runs; nothing starts here afterwards."""
        self.closed = True
        self._end()

    def _end(self) -> None:
        with self.lock:
            if self.process is None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def _ended_with_us(group: int, litter: Path | None) -> Iterator[None]:
    """Has a process group killed when this process dies, by a watchdog that reads from us.

    A parent-death signal would reach the guest's first process only, not its helpers.
    """
    script = 'read -r _ || { kill -s KILL -- "-$1"; [ -z "$2" ] || rm -rf "$2"; }'
    watchdog = subprocess.Popen(
        ["sh", "-c", script, "watchdog", str(group), str(litter or "")],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        watchdog.communicate(b"done\n")


@contextlib.contextmanager
def _terminal_kept() -> Iterator[None]:
    """Restores the terminal's settings, which the guest's console changes to raw mode."""
    if not sys.stdin.isatty():
        yield
        return
    settings = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, settings)
