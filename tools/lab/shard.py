"""One share of the lab tests: the place that runs it, and the reports that it sends.

pytest runs inside on a file of node ids; tools/lab/inside.py writes its reports as JSON lines, which
are read here. A test without reports, because its guest died, fails with the end of the console.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tools.lab.guest import GuestFailedError, Place, console_tail, place
from tools.lab.inside import REPORTS_VARIABLE, limit_of
from tools.lab.process import Usage
from tools.lab.topology import ARTIFACTS_VARIABLE

BOOT_LIMIT_S = 120.0


@dataclass(slots=True, kw_only=True, eq=False)
class Shard:
    """The tests of one place, the thread that runs them there, and the reports it sent so far."""

    config: pytest.Config
    items: list[pytest.Item]
    directory: Path
    cpu: int
    systemd: bool = False
    ended: bool = False
    why: str = ""
    """Why no more reports come."""
    _place: Place | None = None
    _thread: threading.Thread | None = None
    _reports: dict[str, list[pytest.TestReport]] = field(default_factory=lambda: defaultdict(list))
    _idle_s: dict[str, float] = field(default_factory=dict)
    """Node id of a test that is complete → how long its place had been idle by then."""
    _read: int = 0

    def start(self) -> None:
        """Boots the place; raises `LabUnavailableError` where there is none."""
        self.directory.mkdir()
        limit_s = BOOT_LIMIT_S + sum(limit_of(item) for item in self.items)
        self._place = place(self.directory, limit_s=limit_s, systemd=self.systemd, cpu=self.cpu)
        # A file of arguments: a command line has its limits.
        ids = "".join(f"{item.nodeid}\n" for item in self.items)
        (self.directory / "items").write_text(ids)
        (self.directory / "reports").touch()
        self._thread = threading.Thread(target=self._run, name=self.directory.name)
        self._thread.start()

    def end(self) -> None:
        """Ends the place at once."""
        if self._place is not None:
            self._place.kill()
        if self._thread is not None:
            self._thread.join()

    @property
    def usage(self) -> Usage:
        """Returns the resources that the place used, once it has ended."""
        usage = Usage() if self._place is None else self._place.usage
        known = max(self._idle_s.values(), default=0.0)
        return replace(usage, idle_s=known) if known else usage

    def durations(self) -> dict[str, float]:
        """Returns how long each test takes on a processor of its own, once the place has ended.

        A test that is not idle computes, or waits for a processor that others use. The share of
        this waiting is known only for all tests together.
        """
        usage = self.usage
        share = 1.0
        if usage.idle_s is not None:
            share = min(1.0, usage.cpu_s / max(usage.cpu_s, usage.wall_s - usage.idle_s))
        durations: dict[str, float] = {}
        before_s = 0.0
        for node, idle_s in self._idle_s.items():
            wall_s = sum(report.duration for report in self._reports[node])
            idle = min(wall_s, max(0.0, idle_s - before_s))
            durations[node] = idle + (wall_s - idle) * share
            before_s = idle_s
        return durations

    def reports(self, item: pytest.Item) -> list[pytest.TestReport]:
        """Waits for the reports of one test; makes a failure when none can come."""
        while True:
            ended = self.ended  # taken before reading, so that the last lines are read too
            self._receive()
            if item.nodeid in self._idle_s:
                return self._reports[item.nodeid]
            if ended:
                return [*self._reports[item.nodeid], self._failure(item)]
            if self._thread is not None:
                self._thread.join(0.2)

    def _run(self) -> None:
        console = self.directory / "console"
        option = self.config.option
        arguments = [
            # -o addopts= : options for the whole run (--cov) have no place in there.
            *("-o", "addopts=", "--strict-markers", f"--import-mode={option.importmode}"),
            *("-o", "faulthandler_timeout=0"),
            *("-p", "no:cacheprovider", f"--capture={option.capture}"),
            *(f"--tb={option.tbstyle}", f"--rootdir={self.config.rootpath}", "--color=no"),
            *(["--showlocals"] if option.showlocals else []),
        ]
        if self.config.inipath is not None:
            arguments += ["-c", str(self.config.inipath)]
        if self.config.pluginmanager.has_plugin("randomly"):
            seed = getattr(option, "randomly_seed", "default")
            # The order was decided here; the tests still use the same seed.
            arguments += ["--randomly-dont-reorganize"]
            arguments += [] if seed == "default" else [f"--randomly-seed={seed}"]
        environment = {
            REPORTS_VARIABLE: str(self.directory / "reports"),
            ARTIFACTS_VARIABLE: str(self.directory),
        }
        command = [sys.executable, "-m", "pytest", *arguments, f"@{self.directory / 'items'}"]
        try:
            if self._place is None:
                return
            status = self._place.run(
                command, cwd=self.config.rootpath, env=environment, console=console
            )
            self.why = f"pytest ended there with status {status}\n{console_tail(console)}"
        except GuestFailedError as error:
            self.why = str(error)
        except Exception as error:  # noqa: BLE001 - becomes the failure of every outstanding test
            self.why = repr(error)
        finally:
            self.ended = True

    def _receive(self) -> None:
        """Reads the reports written since the last call; an unfinished line waits."""
        with (self.directory / "reports").open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            message = json.loads(line)
            if "finished" in message:
                self._idle_s[message["finished"]] = message["idle_s"] or 0.0
                continue
            report = self.config.hook.pytest_report_from_serializable(
                config=self.config, data=message
            )
            if isinstance(report, pytest.TestReport):
                longrepr: Any = report.longrepr
                if isinstance(longrepr, list):  # a skip; JSON has no tuples
                    report.longrepr = (longrepr[0], longrepr[1], longrepr[2])
                self._reports[report.nodeid].append(report)

    def _failure(self, item: pytest.Item) -> pytest.TestReport:
        return pytest.TestReport(
            nodeid=item.nodeid,
            location=item.location,
            keywords=dict.fromkeys(item.keywords, 1),
            outcome="failed",
            longrepr=f"no report of this test came from the lab: {self.why}",
            when="call",
        )
