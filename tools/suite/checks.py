"""Format, lint, types and layers, checked beside the tests: `pytest -p tools.suite.checks`.

They begin with the session, one after the other, at a low priority. The findings of a check are
shown at once and again in the end, and fail the run. The checks end with the session, however it
ends.
"""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tools.lab.process import Job
from tools.suite.times import Row, rows

CHECKS = {
    "ruff format": ["ruff", "format", "--check", "."],
    "ruff check": ["ruff", "check", "."],
    "lint-imports": ["lint-imports"],
    "mypy": ["mypy", "--strict", "--explicit-package-bases", "nhrpd_py", "tools", "tests"],
}
LIMIT_S = 600.0
NICENESS = "5"


@dataclass(slots=True, eq=False)
class Check:
    """One check, and its result."""

    name: str
    argv: list[str]
    output: Path
    job: Job = field(default_factory=lambda: Job(limit_s=LIMIT_S))
    status: int | None = None
    shown: bool = False

    def run(self) -> None:
        """Runs the check to its end."""
        self.status = self.job.wait(
            ["nice", "-n", NICENESS, *self.argv], console=self.output, terminal=False
        )

    def show(self, reporter: pytest.TerminalReporter) -> None:
        """Prints the findings of a failed check."""
        reporter.ensure_newline()
        reporter.section(f"{self.name} failed ({self.status})", red=True)
        reporter.line(" ".join(self.argv))
        reporter.write(self.output.read_text(errors="replace"))
        self.shown = True


@dataclass(slots=True, eq=False)
class ChecksPlugin:
    """The pytest hooks."""

    config: pytest.Config
    _checks: list[Check] = field(default_factory=list)
    _directory: tempfile.TemporaryDirectory[str] | None = None
    _thread: threading.Thread | None = None

    def pytest_sessionstart(self) -> None:
        """Starts the first check."""
        self._directory = tempfile.TemporaryDirectory(prefix="nhrpd-checks-", dir="/tmp")
        outputs = Path(self._directory.name)
        self._checks = [Check(name, argv, outputs / name) for name, argv in CHECKS.items()]
        self._thread = threading.Thread(target=self._run, name="checks")
        self._thread.start()

    def pytest_runtest_logfinish(self) -> None:
        """Shows the findings since the last test."""
        for check in self._checks:
            if check.status and not check.shown:
                check.show(self._reporter)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Waits for the checks, unless the session was interrupted; a failed one fails the
        session."""
        if exitstatus in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR):
            for check in self._checks:
                check.job.kill()
        if self._thread is not None:
            self._thread.join()
        rows(self.config).extend(Row(check.name, check.job.usage) for check in self._checks)
        passed = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        if self._failed() and exitstatus in passed:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self) -> None:
        """Shows the failed checks again, at the end of the output."""
        for check in self._failed():
            check.show(self._reporter)
        if self._directory is not None:
            self._directory.cleanup()

    def _run(self) -> None:
        for check in self._checks:
            check.run()

    def _failed(self) -> list[Check]:
        return [check for check in self._checks if check.status]

    @property
    def _reporter(self) -> pytest.TerminalReporter:
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        assert isinstance(reporter, pytest.TerminalReporter)
        return reporter


def pytest_configure(config: pytest.Config) -> None:
    """pytest calls this, also in the workers of pytest-xdist."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(ChecksPlugin(config), "nhrpd-checks")
