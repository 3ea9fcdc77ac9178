"""A daemon's start: what it costs until the daemon answers, and what the daemon holds when it rests.

A daemon of Python spends its start on importing modules; that is measured by itself as well.
"""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from nhrpd_py.cli.client import Client, NoDaemonError
from tools.benchmarks.contenders import Contender, Ours, started
from tools.lab.guest import REPOSITORY
from tools.lab.namespace import wait_until
from tools.lab.nodes import START_LIMIT_S

REST_S = 2.0
"""How long a daemon rests before its memory is read."""
IMPORTS = """
import time
from nhrpd_py.runtime import late_imports
late_imports.install()
import nhrpd_py.cli.daemon
import nhrpd_py.cli.startup
import nhrpd_py.config.schema
import nhrpd_py.runtime.app
import nhrpd_py.runtime.control.http
print(time.process_time())
"""
"""Imports all that our daemon has imported when it answers."""
IMPORT_RUNS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start of all daemons of a contender."""

    cpu_s: float
    """Of all of them, until the last one answers."""
    resident: dict[str, int]
    """Octets by daemon, after a rest."""

    def as_json(self) -> dict[str, Any]:
        """Returns it for a file."""
        return asdict(self)


def measure(contender: Contender) -> Start:
    """Starts the daemons with a tunnel and no spoke."""
    with started(contender):
        if isinstance(contender, Ours):
            wait_until(lambda: _answers(contender), START_LIMIT_S, "nhrpd answers", interval_s=0.01)
        cpu_s = contender.cpu_seconds()
        time.sleep(REST_S)
        contender.check()
        return Start(cpu_s=cpu_s, resident=contender.resident())


def _answers(contender: Ours) -> bool:
    contender.check()
    try:
        Client(str(contender.directory / "nhrpd.sock")).get("/v1/status")
    except NoDaemonError:
        return False
    return True


def import_seconds(runs: int = IMPORT_RUNS) -> list[float]:
    """Returns the CPU time of each of some interpreters that import what our daemon imports.

    What pip installs is compiled; so that this is no question of who ran before, so is the rest.
    """
    compileall.compile_dir(REPOSITORY / "nhrpd_py", quiet=1)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    argv = [sys.executable, "-c", IMPORTS]
    said = [
        subprocess.run(argv, env=environment, capture_output=True, check=True, timeout=60).stdout
        for _ in range(runs + 1)
    ]
    return [float(text) for text in said[1:]]  # the first one filled the page cache
