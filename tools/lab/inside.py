"""The pytest hooks inside a place, where lab tests run: time limits, logs, and reports sent out.

After each test the guest's idle time during the test is sent, which does not depend on other load
of the machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pytest

from tools.lab.guest import REPOSITORY
from tools.lab.topology import Lab

LAB_TESTS = REPOSITORY / "tests" / "lab"
REPORTS_VARIABLE = "NHRPD_LAB_REPORTS"
TEST_LIMIT_S = 180.0
"""For a lab test that has no timeout mark of its own, fixtures included."""
LIMIT_S = pytest.StashKey[float]()


def is_lab(item: pytest.Item) -> bool:
    """Whether a test is below tests/lab."""
    return item.path.is_relative_to(LAB_TESTS)


def limit_of(item: pytest.Item) -> float:
    """Returns a lab test's own time limit in seconds."""
    known = item.stash.get(LIMIT_S, None)
    if known is not None:
        return known
    mark = item.get_closest_marker("timeout")
    if mark is None:
        return TEST_LIMIT_S
    return float(mark.args[0] if mark.args else mark.kwargs["timeout"])


def idle_s() -> float | None:
    """Returns how long the guest had nothing to do since it booted; None in the machine's kernel."""
    if "User Mode Linux" not in Path("/proc/cpuinfo").read_text():
        return None
    return float(Path("/proc/uptime").read_text().split()[1])


@dataclass(slots=True, eq=False)
class InsidePlugin:
    """The pytest hooks inside a place."""

    config: pytest.Config
    _output: TextIO | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Gives each lab test its limit."""
        for item in filter(is_lab, items):
            item.add_marker(pytest.mark.lab)
            item.add_marker(pytest.mark.timeout(limit_of(item)), append=False)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, Any, None]:
        """Adds the daemons' logs to a failure."""
        outcome = yield
        report = outcome.get_result()
        if report.failed:
            report.sections += [("lab", lab.report()) for lab in Lab.LIVE]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Sends a report out."""
        self._send(
            self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        )

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Sends the end of a test's reports."""
        self._send({"finished": nodeid, "idle_s": idle_s()})

    def _send(self, message: dict[str, Any]) -> None:
        path = os.environ.get(REPORTS_VARIABLE)
        if path is None:  # pytest was started by hand, in a shell of the lab
            return
        if self._output is None:
            self._output = Path(path).open("a")  # noqa: SIM115 - open as long as we live
        self._output.write(json.dumps(message, default=str) + "\n")
        self._output.flush()
        os.fsync(self._output.fileno())
