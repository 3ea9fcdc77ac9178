"""FRR's daemons on one node, as a path space of FRR's own (`-N`)."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.lab.namespace import CommandFailedError, Namespace, stop, wait_until

FRR_DAEMONS = Path("/usr/lib/frr")
START_LIMIT_S = 30.0


@dataclass(slots=True, eq=False, kw_only=True)
class FrrDaemons:
    """FRR's daemons of one node; each logs to DAEMON.log in `directory`."""

    namespace: Namespace
    name: str
    directory: Path
    log_level: str = "debugging"
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Further options of single daemons, by daemon."""
    _processes: dict[str, subprocess.Popen[Any]] = field(default_factory=dict)

    @property
    def run_directory(self) -> Path:
        """Returns where the daemons' sockets are."""
        return Path("/run/frr") / self.name

    @property
    def etc(self) -> Path:
        """Returns where vtysh looks for its configuration."""
        return Path("/etc/frr") / self.name

    @property
    def processes(self) -> Mapping[str, subprocess.Popen[Any]]:
        """Returns the running daemons by name: started, and neither stopped nor killed."""
        return self._processes

    def make_directories(self) -> None:
        """Makes the directories of the path space; call `own` when they have their files."""
        for directory in (self.run_directory, self.etc):
            self._outside(directory).mkdir(parents=True, exist_ok=True)
        self.write("vtysh.conf", "")

    def write(self, name: str, text: str) -> None:
        """Writes a file of `etc`."""
        (self._outside(self.etc) / name).write_text(text)

    def own(self, *more: Path) -> None:
        """Gives the directories and what is in them, and others, to FRR's user."""
        for directory in (self.run_directory, self.etc, *more):
            for path in (self._outside(directory), *self._outside(directory).rglob("*")):
                shutil.chown(path, "frr", "frr")

    def start(self, daemon: str, config: Path) -> None:
        """Starts a daemon; returns when it answers."""
        self._processes[daemon] = self.namespace.popen(
            *(FRR_DAEMONS / daemon, "-N", self.name, "-f", config),
            *self.options.get(daemon, ()),
            *("--log", "stdout", "--log-level", self.log_level),
            log=self.directory / f"{daemon}.log",
        )
        socket_path = self._outside(self.run_directory) / f"{daemon}.vty"
        what = f"{self.name}: {daemon} answers"
        wait_until(lambda: self._answers(socket_path), START_LIMIT_S, what, interval_s=0.05)

    def end(self, daemon: str, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends a daemon; returns its status."""
        return stop(self._processes.pop(daemon), how)

    def end_all(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ends the running daemons, the last one first."""
        for process in reversed(self._processes.values()):
            stop(process, how)
        self._processes.clear()

    def vtysh(self, *arguments: str, check: bool = True) -> str:
        """Runs vtysh and returns its output."""
        return self.namespace.run("vtysh", "-N", self.name, *arguments, check=check)

    def check(self) -> None:
        """Raises when a daemon has ended by itself."""
        for daemon, process in self._processes.items():
            if process.poll() is not None:
                log = (self.directory / f"{daemon}.log").read_text(errors="replace")
                raise CommandFailedError(f"{self.name}: {daemon} ended\n{log[-2000:]}")

    def _outside(self, path: Path) -> Path:
        """Returns a path of the namespace, whose /run may be its own, as it is reached from
        here."""
        return self.namespace.root / path.relative_to("/")

    def _answers(self, path: Path) -> bool:
        self.check()
        with socket.socket(socket.AF_UNIX) as vty, contextlib.suppress(OSError):
            vty.connect(str(path))
            return True
        return False


def commands(*lines: str) -> list[str]:
    """Returns lines as arguments of vtysh."""
    return [word for line in lines for word in ("-c", line)]
