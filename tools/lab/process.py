"""One process group at a time, bounded by a wall-clock limit, that never outlives its starter."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Usage:
    """How long a job ran, and the processor time that it used."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    """User and system time of the process and of the children that it waited for."""
    idle_s: float | None = None
    """How long it was idle, if known."""


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """The one process group of a place, and the lock that makes `kill` safe from any thread."""

    limit_s: float
    process: subprocess.Popen[bytes] | None = None
    usage: Usage = Usage()
    """Of the last process, known when it has ended."""
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

        `litter` are the files to be removed if this process itself is killed.
        """
        with contextlib.ExitStack() as stack:
            output = None if console is None else stack.enter_context(console.open("wb"))
            if terminal:
                stack.enter_context(_terminal_kept())
            sys.stdout.flush()
            self.timed_out = False
            began = time.monotonic()
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
                    self.timed_out = not _ends_within(process.pid, self.limit_s)
            finally:
                with self.lock:
                    # The process was not waited for yet, so the number is still this group's.
                    os.killpg(process.pid, signal.SIGKILL)
                    _, status, used = os.wait4(process.pid, 0)
                    process.returncode = os.waitstatus_to_exitcode(status)
                    self.process = None
                self.usage = Usage(time.monotonic() - began, used.ru_utime + used.ru_stime)
            return -signal.SIGKILL if self.timed_out else process.returncode

    def kill(self) -> None:
        """Ends the running process; no other one starts afterwards."""
        with self.lock:
            self.closed = True
            if self.process is not None:
                os.killpg(self.process.pid, signal.SIGKILL)


def _ends_within(pid: int, limit_s: float) -> bool:
    """Waits for the end of a child without reaping it: `os.wait4` then returns its usage."""
    descriptor = os.pidfd_open(pid)
    try:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        return bool(waiting.poll(limit_s * 1000))
    finally:
        os.close(descriptor)


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
