"""Shows how many branches of each module the unit tests take, and asks for most of core and packet.

`pytest -p tools.suite.branches` measures while a test of tests/unit runs: tracing doubles the time
of a test, and branches that a simulation happens to take are not tested by it. Where all of
tests/unit ran and passed, a module of `DEMANDING` below `FLOOR` fails the run; a part of the tests
shows nothing about a module.
"""

from __future__ import annotations

import ast
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import coverage
import pytest

from tools.lab.guest import REPOSITORY

UNIT_TESTS = REPOSITORY / "tests" / "unit"
DEMANDING = ("nhrpd_py/core/", "nhrpd_py/packet/")
FLOOR = 0.95


@dataclass(frozen=True, slots=True)
class Module:
    """The branches of one module."""

    path: str
    taken: int
    all: int
    missing: tuple[str, ...]
    """From line → to line; a negative line is the end of the block that begins there."""

    @property
    def share(self) -> float:
        """Returns the share of branches that were taken; 1 for a module without branches."""
        return self.taken / self.all if self.all else 1.0

    @property
    def low(self) -> bool:
        """Whether the share is below the required one."""
        return self.path.startswith(DEMANDING) and self.share < FLOOR

    def text(self) -> str:
        """Returns the line of the table."""
        missing = f"  not taken: {', '.join(self.missing)}" if self.low else ""
        return f"{self.share:>5.0%} {self.taken:>4} of {self.all:<4} {self.path}{missing}"


def modules(report: dict[str, Any], root: Path) -> list[Module]:
    """Reads coverage's JSON; the modules that have branches, fewest taken first."""
    found = []
    for name, file in report["files"].items():
        path = (root / name).relative_to(root).as_posix()  # coverage's may be absolute
        impossible = exhausted((root / path).read_text())
        missing = [
            f"{start} → {end}"
            for start, end in file["missing_branches"]
            if start not in impossible or start <= end <= impossible[start]
        ]
        taken = file["summary"]["covered_branches"]
        if taken + len(missing):
            found.append(Module(path, taken, taken + len(missing), tuple(missing)))
    return sorted(found, key=lambda module: (module.share, module.path))


def exhausted(source: str) -> dict[int, int]:
    """Returns the line of the last case of each `match` → the line where the `match` ends.

    From the last case only its own body can follow: mypy checks that one case matches
    (`exhaustive-match`). coverage counts the jump past it as a branch.
    """
    return {
        node.cases[-1].pattern.lineno: node.end_lineno or 0
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Match)
    }


def is_unit(item: pytest.Item) -> bool:
    """Whether a test is below tests/unit."""
    return item.path.is_relative_to(UNIT_TESTS)


@dataclass(slots=True, eq=False)
class BranchesPlugin:
    """The pytest hooks."""

    _coverage: coverage.Coverage = field(
        # No data file: nothing is left behind, and nothing of another run is read.
        default_factory=lambda: coverage.Coverage(data_file=None, config_file="pyproject.toml")
    )
    _tracing: bool = False
    _outstanding: set[str] = field(default_factory=set)
    """Unit tests that did not run yet, and those that are deselected."""
    _modules: list[Module] = field(default_factory=list)

    def trace(self, *, wanted: bool) -> None:
        """Begins or ends tracing."""
        if wanted != self._tracing:
            self._tracing = wanted
            (self._coverage.start if wanted else self._coverage.stop)()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Notes the tests that are to run."""
        unit = list(filter(is_unit, session.items))
        self._outstanding |= {item.nodeid for item in unit}
        missing = set(UNIT_TESTS.rglob("test_*.py")) - {item.path for item in unit}
        self._outstanding |= {str(path) for path in missing}

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Remembers what -k, -m, --lf or --deselect leave out."""
        self._outstanding |= {item.nodeid for item in filter(is_unit, items)}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        """Traces unit tests only."""
        self.trace(wanted=is_unit(item))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Notes a test that ran."""
        self._outstanding.discard(nodeid)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Fails the run if a module is below the floor, provided that all unit tests ran and
        passed."""
        self.trace(wanted=False)
        if self._outstanding:
            return
        with tempfile.NamedTemporaryFile(prefix="nhrpd-branches-", suffix=".json") as file:
            self._coverage.json_report(outfile=file.name)
            self._modules = modules(json.load(file), REPOSITORY)
        if exitstatus == pytest.ExitCode.OK and any(module.low for module in self._modules):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Prints the table, with the modules that are too low at its end."""
        if not self._modules:
            return
        terminalreporter.section("branches that the unit tests take")
        for module in sorted(self._modules, key=lambda module: (module.low, -module.share)):
            terminalreporter.line(module.text(), red=module.low)
        low = sum(module.low for module in self._modules)
        if low:
            below = f"below {FLOOR:.0%} in {' and '.join(DEMANDING)}: {low}; that fails the run"
            terminalreporter.line(below, red=True)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Begins to measure; called by pytest before it imports the measured modules."""
    plugin = BranchesPlugin()
    plugin.trace(wanted=True)
    early_config.pluginmanager.register(plugin, "nhrpd-branches")
