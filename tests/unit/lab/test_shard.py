"""A share of the lab tests in a place: its reports, what is made up for missing ones, its durations."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tools.lab import shard as shard_module
from tools.lab.guest import GuestFailedError
from tools.lab.inside import LIMIT_S
from tools.lab.process import Usage
from tools.lab.shard import Shard


@dataclass
class FakePlace:
    """Writes reports of tests that took 10 s each, where its pytest would, and ends or dies."""

    config: pytest.Config
    usage: Usage
    idle_s: dict[str, float]
    dies: bool = False
    commands: list[list[str]] = field(default_factory=list)

    def run(self, argv: list[str], *, cwd: Path, env: dict[str, str], console: Path) -> int:
        self.commands.append(argv)
        with Path(env["NHRPD_LAB_REPORTS"]).open("a") as file:
            for node, idle_s in self.idle_s.items():
                report = pytest.TestReport(
                    node, ("x.py", 1, node), {}, "passed", None, "call", duration=10.0
                )
                data = self.config.hook.pytest_report_to_serializable(
                    config=self.config, report=report
                )
                file.write(json.dumps(data) + "\n")
                file.write(json.dumps({"finished": node, "idle_s": idle_s}) + "\n")
        console.write_text("the last words\n")
        if self.dies:
            raise GuestFailedError("the guest died")
        return 0

    def kill(self) -> None:
        """Nothing is running."""


def an_item(name: str) -> Any:
    stash = pytest.Stash()
    stash[LIMIT_S] = 5.0
    return SimpleNamespace(nodeid=name, stash=stash, location=("x.py", 1, name), keywords={})


@pytest.fixture
def start(pytestconfig: pytest.Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Starts a shard of two tests, `a` and `b`."""

    def start(idle_s: dict[str, float], usage: Usage | None = None, *, dies: bool = False):
        place = FakePlace(pytestconfig, usage or Usage(), idle_s, dies)
        monkeypatch.setattr(shard_module, "place", lambda *_, **__: place)
        items = [an_item("a"), an_item("b")]
        shard = Shard(config=pytestconfig, items=items, directory=tmp_path / "lab1", cpu=0)
        shard.start()
        return shard, items, place

    return start


def test_reports_come_out_as_they_went_in(start) -> None:
    shard, items, place = start({"a": 1.0, "b": 2.0})
    assert [report.outcome for item in items for report in shard.reports(item)] == ["passed"] * 2
    assert (shard.directory / "items").read_text() == "a\nb\n"
    assert place.commands[0][-1] == f"@{shard.directory / 'items'}"
    shard.end()


def test_a_test_without_a_report_fails_with_the_end_of_the_console(start) -> None:
    shard, (_, missing), _ = start({"a": 1.0})
    (report,) = shard.reports(missing)
    assert report.outcome == "failed"
    assert "ended there with status 0" in str(report.longrepr)
    assert "the last words" in str(report.longrepr)


def test_a_test_of_a_guest_that_died_fails_with_the_reason(start) -> None:
    shard, (there, missing), _ = start({"a": 1.0}, dies=True)
    assert [report.outcome for report in shard.reports(there)] == ["passed"]
    (report,) = shard.reports(missing)
    assert "the guest died" in str(report.longrepr)


def test_durations_leave_out_what_others_did_with_the_processor(start) -> None:
    """Of 24 s, the guest idled 4 and computed 5; so a quarter of what is no idling was computing."""
    shard, items, _ = start({"a": 4.0, "b": 4.0}, Usage(wall_s=24.0, cpu_s=5.0))
    for item in items:
        shard.reports(item)
    shard.end()
    assert shard.usage == Usage(wall_s=24.0, cpu_s=5.0, idle_s=4.0)
    assert shard.durations() == {"a": 4.0 + 6.0 / 4, "b": 10.0 / 4}


def test_durations_are_as_measured_where_nobody_knows_of_idling(start) -> None:
    shard, items, _ = start({"a": None, "b": None}, Usage(wall_s=24.0, cpu_s=5.0))
    for item in items:
        shard.reports(item)
    shard.end()
    assert shard.durations() == {"a": 10.0, "b": 10.0}
