"""Runs the lab tests where there is a kernel for them, as part of an ordinary pytest run.

Tests are collected here. Unless we are inside a place already, they are dealt out, by file, to a
few places (NHRPD_LAB_GUESTS, default 2) that run at the same time as all other tests; files marked
`systemd` get a place of their own, where systemd is the first process. pytest runs inside each on
its share of node ids and writes its reports as JSON lines; here they are replayed as if the tests
had run in this process: one closing line covers everything, and -x, --durations, --lf work. A test
that a dying guest leaves without reports fails with the end of the console.

tests/lab/conftest.py registers `LabPlugin`. Without a kernel, lab tests are skipped with the
reason; where CI=true, they fail.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import pytest

from tools.lab.guest import (
    REPOSITORY,
    GuestFailedError,
    LabUnavailableError,
    Place,
    console_tail,
    inside,
    place,
)
from tools.lab.topology import ARTIFACTS_VARIABLE, Lab

LAB_TESTS = REPOSITORY / "tests" / "lab"
GUESTS_VARIABLE = "NHRPD_LAB_GUESTS"
REPORTS_VARIABLE = "NHRPD_LAB_REPORTS"
DEFAULT_GUESTS = 2
TEST_LIMIT_S = 180.0
"""For a lab test that has no timeout mark of its own, fixtures included."""
BOOT_LIMIT_S = 120.0
DURATIONS_KEY = "nhrpd/lab-durations"
ASSUMED_DURATION_S = 10.0


def is_lab(item: pytest.Item) -> bool:
    """Whether a test is below tests/lab."""
    return item.path.is_relative_to(LAB_TESTS)


LIMIT_S = pytest.StashKey[float]()


def limit_of(item: pytest.Item) -> float:
    """Returns a lab test's own time limit in seconds."""
    known = item.stash.get(LIMIT_S, None)
    if known is not None:
        return known
    mark = item.get_closest_marker("timeout")
    if mark is None:
        return TEST_LIMIT_S
    return float(mark.args[0] if mark.args else mark.kwargs["timeout"])


@dataclass(slots=True, eq=False)
class Shard:
    """The tests of one place, the thread that runs them there, and the reports it sent so far."""

    config: pytest.Config
    items: list[pytest.Item]
    directory: Path
    systemd: bool = False
    ended: bool = False
    why: str = ""
    """Why there are no more reports."""
    _place: Place | None = None
    _thread: threading.Thread | None = None
    _reports: dict[str, list[pytest.TestReport]] = field(default_factory=lambda: defaultdict(list))
    _complete: set[str] = field(default_factory=set)
    _read: int = 0

    def start(self) -> None:
        """Boots the place."""
        self.directory.mkdir()
        limit_s = BOOT_LIMIT_S + sum(limit_of(item) for item in self.items)
        self._place = place(self.directory, limit_s=limit_s, systemd=self.systemd)
        # A file of arguments: a command line has its limits.
        ids = "".join(f"{item.nodeid}\n" for item in self.items)
        (self.directory / "items").write_text(ids)
        (self.directory / "reports").touch()
        self._thread = threading.Thread(target=self._run, name=self.directory.name)
        self._thread.start()

    def end(self) -> None:
        """Ends the place, whatever it does."""
        if self._place is not None:
            self._place.kill()
        if self._thread is not None:
            self._thread.join()

    def reports(self, item: pytest.Item) -> list[pytest.TestReport]:
        """Waits for the reports of one test; a failure is made up when none can come."""
        while True:
            ended = self.ended  # before reading: what was written last is read too
            self._receive()
            if item.nodeid in self._complete:
                return self._reports[item.nodeid]
            if ended:
                return [*self._reports[item.nodeid], self._failure(item)]
            if self._thread is not None:
                self._thread.join(0.2)

    def _run(self) -> None:
        console = self.directory / "console"
        option = self.config.option
        arguments = [
            # -o addopts= : options for the whole run (-n, --cov) have no place in there.
            *("-o", "addopts=", "--strict-markers", f"--import-mode={option.importmode}"),
            *("-o", "faulthandler_timeout=0"),
            *("-p", "no:cacheprovider", "-p", "no:xdist", f"--capture={option.capture}"),
            *(f"--tb={option.tbstyle}", f"--rootdir={self.config.rootpath}", "--color=no"),
            *(["--showlocals"] if option.showlocals else []),
        ]
        if self.config.inipath is not None:
            arguments += ["-c", str(self.config.inipath)]
        if self.config.pluginmanager.has_plugin("randomly"):
            seed = getattr(option, "randomly_seed", "default")
            # The order was decided here; the tests still draw from the same seed.
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
        """Takes over what was written since the last call; an unfinished line waits."""
        with (self.directory / "reports").open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            message = json.loads(line)
            if "finished" in message:
                self._complete.add(message["finished"])
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


@dataclass(slots=True, eq=False)
class LabPlugin:
    """The hooks of both sides."""

    config: pytest.Config
    _shards: dict[str, Shard] = field(default_factory=dict)
    _started: bool = False
    _unavailable: dict[str, str] = field(default_factory=dict)
    """Node id → why there is no place for it."""
    _directory: tempfile.TemporaryDirectory[str] | None = None
    _output: TextIO | None = None
    _weights: dict[str, float] = field(default_factory=dict)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Marks lab tests, before -m looks at marks."""
        for item in filter(is_lab, items):
            item.add_marker(pytest.mark.lab)
            item.stash[LIMIT_S] = limit_of(item)
            # Outside, a test waits for its turn in the guest: the limit of the place applies.
            item.add_marker(
                pytest.mark.timeout(item.stash[LIMIT_S] if inside() else 0), append=False
            )

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Puts lab tests last, file by file: meanwhile, the guests are busy."""
        if inside():
            return
        lab = sorted(filter(is_lab, session.items), key=lambda item: str(item.path))
        session.items[:] = [item for item in session.items if not is_lab(item)] + lab

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Replays the reports of a lab test; everything else runs as always."""
        if inside():
            return None
        self._start(item)
        if not is_lab(item):
            return None
        faulthandler.cancel_dump_traceback_later()  # waiting for our turn is no hang
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._reports(item):
            self._weights[item.nodeid] = self._weights.get(item.nodeid, 0.0) + report.duration
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Ends what still runs, and remembers how long each test took."""
        for shard in set(self._shards.values()):
            shard.end()
        if self._directory is not None:
            keep = os.environ.get(ARTIFACTS_VARIABLE)
            if keep:
                for labs in Path(self._directory.name).glob("*/nhrpd-lab-*"):
                    labs.rename(Path(keep) / labs.name)
            self._directory.cleanup()
        cache = getattr(self.config, "cache", None)
        if cache is not None and self._weights:
            cache.set(DURATIONS_KEY, {**cache.get(DURATIONS_KEY, {}), **self._weights})

    # Inside.

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, Any, None]:
        """Adds the daemons' logs to a failure."""
        outcome = yield
        report = outcome.get_result()
        if inside() and report.failed:
            report.sections += [("lab", lab.report()) for lab in Lab.LIVE]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Sends a report out."""
        if inside():
            self._send(
                self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
            )

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Tells that a test has no further reports."""
        if inside():
            self._send({"finished": nodeid})

    def _send(self, message: dict[str, Any]) -> None:
        path = os.environ.get(REPORTS_VARIABLE)
        if path is None:
            return
        if self._output is None:
            self._output = Path(path).open("a")  # noqa: SIM115 - open as long as we live
        self._output.write(json.dumps(message, default=str) + "\n")
        self._output.flush()
        os.fsync(self._output.fileno())

    # Outside.

    def _start(self, item: pytest.Item) -> None:
        """Boots the places, once: all for all lab tests, or one per test in a worker of xdist."""
        worker = hasattr(self.config, "workerinput")
        if worker:
            items = [item] if is_lab(item) else []
        elif self._started:
            return
        else:
            items = [other for other in item.session.items if is_lab(other)]
        self._started = True
        if not items:
            return
        if self._directory is None:
            self._directory = tempfile.TemporaryDirectory(prefix="nhrpd-lab-", dir="/tmp")
        under_systemd = [item for item in items if item.get_closest_marker("systemd")]
        others = [item for item in items if item not in under_systemd]
        groups = [(group, False) for group in self._deal(others) if group]
        groups += [(under_systemd, True)] if under_systemd else []
        for number, (group, systemd) in enumerate(
            groups, len(self._shards) + len(self._unavailable)
        ):
            directory = Path(self._directory.name) / f"shard{number}"
            shard = Shard(self.config, group, directory, systemd)
            try:
                shard.start()
                self._shards |= {member.nodeid: shard for member in group}
            except LabUnavailableError as error:
                self._unavailable |= {member.nodeid: str(error) for member in group}

    def _deal(self, items: Iterable[pytest.Item]) -> list[list[pytest.Item]]:
        """Splits tests into groups of about equal duration without splitting a file."""
        cache = getattr(self.config, "cache", None)
        durations = cache.get(DURATIONS_KEY, {}) if cache is not None else {}
        files: dict[Path, list[pytest.Item]] = defaultdict(list)
        for item in items:
            files[item.path].append(item)

        def weight(group: Iterable[pytest.Item]) -> float:
            return sum(float(durations.get(item.nodeid, ASSUMED_DURATION_S)) for item in group)

        count = min(len(files), int(os.environ.get(GUESTS_VARIABLE, DEFAULT_GUESTS)))
        groups: list[list[pytest.Item]] = [[] for _ in range(max(1, count))]
        for members in sorted(files.values(), key=weight, reverse=True):
            min(groups, key=weight).extend(members)
        return groups

    def _reports(self, item: pytest.Item) -> list[pytest.TestReport]:
        shard = self._shards.get(item.nodeid)
        if shard is not None:
            return shard.reports(item)
        missing = f"no kernel for the lab: {self._unavailable[item.nodeid]}"
        must = os.environ.get("CI") == "true"
        path, line, _ = item.location
        return [
            pytest.TestReport(
                nodeid=item.nodeid,
                location=item.location,
                keywords=dict.fromkeys(item.keywords, 1),
                outcome="failed" if must else "skipped",
                longrepr=missing if must else (path, line or 0, f"Skipped: {missing}"),
                when="setup",
            )
        ]
