"""Runs the lab tests where there is a kernel for them, as part of an ordinary pytest run.

Tests are collected here. They are dealt to a few places (NHRPD_LAB_GUESTS; see tools/lab/deal.py)
that run at the same time as all other tests; tests marked `systemd` get a place of their own, where
systemd is the first process. pytest runs each share inside its place, and its reports are replayed
here as if the tests had run in this process: one closing line covers everything, and -x,
--durations, --lf work.

tests/lab/conftest.py registers `LabPlugin`, and `InsidePlugin` in the places. Without a kernel, lab
tests are skipped with the reason; where CI=true, they fail.
"""

from __future__ import annotations

import compileall
import faulthandler
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tools.lab import uml
from tools.lab.deal import (
    Hand,
    deal,
    in_file_order,
    read_durations,
    seconds,
    split,
    write_durations,
)
from tools.lab.guest import REPOSITORY, LabUnavailableError
from tools.lab.inside import LAB_TESTS, LIMIT_S, is_lab, limit_of
from tools.lab.shard import Shard
from tools.lab.topology import ARTIFACTS_VARIABLE
from tools.suite.times import Row, rows

GUESTS_VARIABLE = "NHRPD_LAB_GUESTS"
GUESTS_A_PROCESSOR = 2
"""By default: a guest waits half of the time."""
MOST_GUESTS = 4
"""Limit of the default number of guests."""
DURATIONS = LAB_TESTS / "durations.json"
NICENESS = 3
"""nice value of the tests beside the guests: they need less time than the guests and can wait."""


@dataclass(slots=True, eq=False)
class LabPlugin:
    """The pytest hooks outside the places."""

    config: pytest.Config
    _shards: list[Shard] = field(default_factory=list)
    _shard_of: dict[str, Shard] = field(default_factory=dict)
    _unavailable: dict[str, str] = field(default_factory=dict)
    """Node id → why no place can run it."""
    _started: bool = False
    _directory: tempfile.TemporaryDirectory[str] | None = None
    _durations: dict[str, float] = field(default_factory=lambda: read_durations(DURATIONS))

    def pytest_report_header(self) -> str:
        """Names the kernel of the guests, on which the durations depend."""
        found = uml.find()
        return f"lab: {found if isinstance(found, str) else found.path}"

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Marks lab tests, before -m looks at marks."""
        for item in filter(is_lab, items):
            item.add_marker(pytest.mark.lab)
            item.stash[LIMIT_S] = limit_of(item)
            # Here a test only waits for its turn in the guest, where its own limit applies.
            item.add_marker(pytest.mark.timeout(0), append=False)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Puts lab tests last, file by file: the guests run them meanwhile."""
        lab = in_file_order([item for item in session.items if is_lab(item)])
        session.items[:] = [item for item in session.items if not is_lab(item)] + lab

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Replays the reports of a lab test; everything else runs as always."""
        if not self._started:
            self._started = True
            self._start([other for other in item.session.items if is_lab(other)])
        if not is_lab(item):
            return None
        faulthandler.cancel_dump_traceback_later()  # waiting for our turn is no hang
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._reports(item):
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Ends all places that still run, and records how long each part took."""
        for shard in self._shards:
            shard.end()
            rows(self.config).append(
                Row(
                    f"{shard.directory.name} on processor {shard.cpu}",
                    shard.usage,
                    tests=len(shard.items),
                    expected_s=seconds(shard.items, self._durations),
                )
            )
        if self._directory is not None:
            keep = os.environ.get(ARTIFACTS_VARIABLE)
            if keep:
                for labs in Path(self._directory.name).glob("*/nhrpd-lab-*"):
                    labs.rename(Path(keep) / labs.name)
            self._directory.cleanup()
        if self.config.option.rewrite_lab_durations:
            for shard in self._shards:
                self._durations |= shard.durations()
            write_durations(DURATIONS, self._durations)

    def _start(self, items: list[pytest.Item]) -> None:
        """Boots the places."""
        if not items:
            return
        if hasattr(self.config, "workerinput"):
            reason = "pytest-xdist deals tests out itself, and all of these to each worker's guests"
            self._unavailable |= {item.nodeid: reason for item in items}
            return
        # Guests keep no files of their own: without this each would compile all modules anew.
        for sources in ("nhrpd_py", "tools"):
            compileall.compile_dir(REPOSITORY / sources, quiet=1)
        self._directory = tempfile.TemporaryDirectory(prefix="nhrpd-lab-", dir="/tmp")
        for number, hand in enumerate(self._deal(items), 1):
            name = f"lab{number}-systemd" if hand.systemd else f"lab{number}"
            shard = Shard(
                config=self.config,
                items=sorted(hand.items, key=items.index),
                directory=Path(self._directory.name) / name,
                cpu=hand.cpu,
                systemd=hand.systemd,
            )
            try:
                shard.start()
            except LabUnavailableError as error:
                self._unavailable |= {item.nodeid: str(error) for item in hand.items}
                continue
            self._shards.append(shard)
            self._shard_of |= {item.nodeid: shard for item in hand.items}
        if self._shards:
            os.nice(NICENESS)  # this thread's only: the guests are started by others

    def _deal(self, items: list[pytest.Item]) -> list[Hand]:
        """Returns the tests of each place."""
        usable = sorted(os.sched_getaffinity(0))
        count = int(
            os.environ.get(GUESTS_VARIABLE, min(GUESTS_A_PROCESSOR * len(usable), MOST_GUESTS))
        )
        under_systemd = [item for item in items if item.get_closest_marker("systemd")]
        others = [item for item in items if not item.get_closest_marker("systemd")]
        hands = [Hand(usable[number % len(usable)]) for number in range(count)]
        hands.append(Hand(usable[0], under_systemd, systemd=True))
        deal(split(others), hands, self._durations)
        return [hand for hand in hands if hand.items]

    def _reports(self, item: pytest.Item) -> list[pytest.TestReport]:
        shard = self._shard_of.get(item.nodeid)
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
