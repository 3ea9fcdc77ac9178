"""A real `nhrpd` process, in a directory of its own and on links that are not its own."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from nhrpd_py.cli.client import Client, NoDaemonError

UNPRIVILEGED = """
import sys
from nhrpd_py.cli import daemon, startup
startup.missing_capabilities = list
sys.exit(daemon.main())
"""
"""It looks at links and serves its socket; what it may not do, it does not need here."""
PATIENCE_S = 30


class Process:
    """A daemon in a directory of its own."""

    def __init__(self, directory: Path, *command: str) -> None:
        self.socket = str(directory / "run" / "s")
        self._log = directory / "log"
        file = directory / "nhrpd.toml"
        file.write_text(
            f'[daemon]\ncontrol-socket = "{self.socket}"\nstate-directory = "{directory}/state"\n'
            "[interface.gre1]\nnetwork-id = 1\n"
        )
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command, "-c", str(file)], stdout=log, stderr=log
            )

    def log(self) -> str:
        return self._log.read_text()

    def answers(self) -> bool:
        """Whether somebody can connect, and is answered."""
        try:
            return bool(Client(self.socket).get("/v1/status"))
        except NoDaemonError:
            return False

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, f"not in time: {what}\n{self.log()}"
            time.sleep(0.002)

    def catches(self, number: signal.Signals) -> bool:
        """Whether the process has a handler of its own for a signal; Python has one for SIGINT."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("SigCgt:")]
        return bool(int(line.split()[1], 16) >> (number - 1) & 1)

    def ends_cleanly(self) -> None:
        assert self.process.wait(PATIENCE_S) == 0, self.log()
        assert "Traceback" not in self.log()
        assert not Path(self.socket).exists()
