"""Network namespaces with a mount namespace each, and the commands run in them.

A `Namespace` is held by one sleeping process and has a name for `ip netns exec`. Processes started
through it are ended with it. Use only inside a place made by tools/lab/guest.py: names are global.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from tools.lab import netns
from tools.lab.ping import PingResult, last_request, longest_silence_s, read_result

Value = TypeVar("Value")

COMMAND_LIMIT_S = 60.0
STOP_LIMIT_S = 10.0
PING_START_S = 10.0
LAST_ANSWER_S = 0.5
"""How long the answer to a request may take before it counts as lost, at the end of a ping."""
LONGEST_PAUSE_S = 0.5
"""Between two looks of `wait_until`, unless it is told to look less often."""
PING_SILENCE_S = 2.0
"""How long a ping may pause beyond its interval, on a busy machine."""
PING_MINIMUM = 0.5
"""Smallest share of the requests due by its interval that a ping must send, on a busy machine."""

_HOLD = """
mount -t sysfs sysfs /sys || exit 1
{private_run}
ip link set lo up || exit 1
echo ready
exec sleep infinity
"""

_BIND = """
target=$(readlink -f "$2")
if [ -d "$1" ]; then
    mkdir -p "$target"
else
    mkdir -p "${target%/*}"
    [ -e "$target" ] || : > "$target"
fi
mount --bind "$1" "$target"
"""


class CommandFailedError(AssertionError):
    """A command in the lab ended with a status other than 0."""


def wait_until(
    predicate: Callable[[], Value | None], deadline_s: float, what: str, *, interval_s: float = 0.1
) -> Value:
    """Calls `predicate` until its value is true and returns it; else fails with the last value.

    A call that takes long is followed by a longer pause: a guest has one processor, and what is
    waited for needs it.
    """
    end = time.monotonic() + deadline_s
    while True:
        began = time.monotonic()
        value = predicate()
        if value:
            return value
        now = time.monotonic()
        if now >= end:
            raise AssertionError(f"not within {deadline_s:g} s: {what}; last seen: {value!r}")
        time.sleep(max(interval_s, min(2 * (now - began), LONGEST_PAUSE_S)))


@dataclass(slots=True, eq=False)
class RunningPing:
    """A ping that goes on, and writes its output into a file."""

    _process: subprocess.Popen[Any]
    log: Path
    _interval_s: float
    _began_at: float
    """Seconds since 1970."""

    def stop(self) -> None:
        """Ends the ping without a result."""
        stop(self._process, signal.SIGINT)

    def finish(self, *, least: float = PING_MINIMUM) -> PingResult:
        """Ends the ping and returns the result of the requests that were sent until now.

        `least` is the share of the requests due by its interval that ping must have sent. Waits
        for the answers to the last ones; requests sent meanwhile do not count. Fails when
        ping ended by itself, paused, or sent too few requests to show a loss.
        """
        until = time.time()
        sent = last_request(self.log.read_text())
        time.sleep(LAST_ANSWER_S)
        ended = self._process.poll()
        self.stop()
        output = self.log.read_text()
        result = read_result(output, sent=sent)
        tail = output[-1000:]
        if ended is not None or result is None:
            raise CommandFailedError(f"ping ended by itself ({ended}): {tail}")
        silence_s = longest_silence_s(output, self._began_at, until)
        if silence_s > self._interval_s + PING_SILENCE_S:
            raise CommandFailedError(f"ping paused for {silence_s:.1f} s: {tail}")
        planned = (until - self._began_at) / self._interval_s
        if sent < planned * least - 1:
            raise CommandFailedError(f"ping sent {sent} requests, not {planned:.0f}: {tail}")
        return result


@dataclass(slots=True, eq=False)
class Namespace:
    """One network namespace; a context manager."""

    name: str
    private_run: bool = False
    """Whether /run is its own, for daemons that would fight for one path."""
    directory: Path | None = None
    """Directory for the output of background commands."""
    _holder: subprocess.Popen[str] | None = None
    _processes: list[subprocess.Popen[Any]] = field(default_factory=list)

    def __enter__(self) -> Self:
        private = "mount -t tmpfs -o mode=0755 tmpfs /run || exit 1" if self.private_run else ""
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", _HOLD.format(private_run=private)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        output = self._holder.stdout
        if output is None:
            raise CommandFailedError(f"namespace {self.name} has no holder")
        with output:  # the holder writes nothing more
            if output.readline() != "ready\n":
                raise CommandFailedError(f"namespace {self.name} could not be made")
        try:
            _run(["ip", "netns", "attach", self.name, str(self._holder.pid)])
        except CommandFailedError:
            stop(self._holder, signal.SIGKILL)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            stop(process, signal.SIGKILL)
        self._processes.clear()
        if self._holder is None:
            return
        # Processes that double-forked are no children of ours, but still in the namespace.
        for pid in netns.members(self._holder.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._holder.wait()
        self._holder = None
        _run(["ip", "netns", "delete", self.name])

    @property
    def pid(self) -> int:
        """Returns the holder's process id, for `ip link set netns` and nsenter."""
        if self._holder is None:
            raise CommandFailedError(f"namespace {self.name} is not there")
        return self._holder.pid

    @property
    def root(self) -> Path:
        """Returns what the processes in here see as `/`, to be read and written from outside."""
        return Path(f"/proc/{self.pid}/root")

    def enter(self, argv: Sequence[str | Path]) -> list[str]:
        """Returns `argv` so that it runs in here; the process id stays the command's own."""
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "--", *map(str, argv)]

    def run(
        self,
        *argv: str | Path,
        check: bool = True,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        limit_s: float = COMMAND_LIMIT_S,
    ) -> str:
        """Runs a command to its end and returns its standard output."""
        return _run(self.enter(argv), check=check, stdin=stdin, env=env, limit_s=limit_s)

    def popen(
        self,
        *argv: str | Path,
        log: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[Any]:
        """Starts a command that ends with the namespace; output is appended to `log`, or goes to
        ours.

        Never to a pipe: a command whose pipe is full stops.
        """
        with contextlib.ExitStack() as stack:
            output = None if log is None else stack.enter_context(log.open("ab"))
            process: subprocess.Popen[Any] = subprocess.Popen(
                self.enter(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                env={**os.environ, **(env or {})},
            )
        self._processes.append(process)
        return process

    def bind(self, source: Path, target: Path) -> None:
        """Has the processes in here see `source` where others see `target`, file or directory."""
        self.run("sh", "-ec", _BIND, "sh", source, target)

    def ip(self, *commands: str) -> None:
        """Runs ip(8) commands, each without its leading `ip`, as one batch that must succeed."""
        if commands:
            batch = "".join(f"{command}\n" for command in commands)
            with netns.of_process(self.pid):
                _run(["ip", "-batch", "-"], stdin=batch)

    def ip_json(self, *arguments: str) -> list[dict[str, Any]]:
        """Returns the output of `ip -json ARGUMENTS`."""
        with netns.of_process(self.pid):
            said = _run(["ip", "-json", *arguments])
        rows: list[dict[str, Any]] = json.loads(said or "[]")
        return rows

    def sysctl(self, **values: str | int) -> None:
        """Sets kernel parameters; `__` in a name stands for the dot."""
        with netns.of_process(self.pid):
            for name, value in values.items():
                Path("/proc/sys", *name.split("__")).write_text(f"{value}\n")

    def addresses(self, device: str) -> list[str]:
        """Returns the addresses of `device`, without prefix length and link-local ones."""
        return [
            address["local"]
            for link in self.ip_json("address", "show", "dev", device)
            for address in link.get("addr_info", [])
            if address["scope"] != "link"
        ]

    def ping(
        self,
        destination: str,
        *,
        count: int = 1,
        interval_s: float = 0.2,
        wait_s: float = 1.0,
        source: str | None = None,
    ) -> PingResult:
        """Pings and counts the answers; lost ones are no error."""
        options = ["-n", "-c", str(count), "-i", f"{interval_s:g}", "-W", f"{wait_s:g}"]
        if source is not None:
            options += ["-I", source]
        with netns.of_process(self.pid):
            output = _run(["ping", *options, destination], check=False)
        return read_result(output) or PingResult(count, 0, ((1, count),), output)

    def start_ping(
        self, destination: str, *, interval_s: float = 0.02, source: str | None = None
    ) -> RunningPing:
        """Starts a ping that runs until `RunningPing.finish`: traffic while something else
        happens."""
        if self.directory is None:
            raise CommandFailedError(f"namespace {self.name} keeps no output")
        log = self.directory / f"{self.name}-ping{len(self._processes)}.txt"
        options = ["-n", "-D", "-O", "-i", f"{interval_s:g}", "-W", "2"]
        if source is not None:
            options += ["-I", source]
        process = self.popen("ping", *options, destination, log=log)
        wait_until(lambda: log.read_text() != "", PING_START_S, "ping starts", interval_s=0.02)
        return RunningPing(process, log, interval_s, time.time())


def stop(
    process: subprocess.Popen[Any],
    how: signal.Signals = signal.SIGTERM,
    *,
    limit_s: float = STOP_LIMIT_S,
) -> int:
    """Signals a process and returns its status; kills it if it has not ended within the limit."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _run(
    argv: Sequence[str],
    *,
    check: bool = True,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    limit_s: float = COMMAND_LIMIT_S,
) -> str:
    done = subprocess.run(
        argv,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        check=False,
        timeout=limit_s,
        env={**os.environ, **(env or {})},
    )
    if check and done.returncode != 0:
        raise CommandFailedError(f"{' '.join(argv)}: status {done.returncode}\n{done.stderr}")
    return done.stdout
