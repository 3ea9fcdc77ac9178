"""A million packets and events, most of them wrong: every rule of `judge` holds, in every role of `roles`.

They are shared out among some processes, which are measured by nobody: coverage would double their time. More than a
million: `tools/fuzz`.
"""

import subprocess
import sys

import pytest

from nhrpd_py.core.registration.claims import Claims
from tests.fuzz.campaign import BrokenError, Run
from tests.fuzz.command import Campaign, perform, report
from tests.fuzz.roles import ROLES
from tests.fuzz.shrink import fault_of, kind_of, shrunk
from tools.lab.guest import REPOSITORY

PACKETS = 100_000


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(10))
def test_no_packet_and_no_event_breaks_a_rule(seed: int) -> None:
    argv = [sys.executable, "-m", "tests.fuzz.command", "--packets", str(PACKETS)]
    done = subprocess.run(
        [*argv, "--seed", str(seed)], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    assert f"{PACKETS} packets" in done.stdout.splitlines()[-1]


def test_a_run_is_the_same_each_time() -> None:
    one, two = Run(7, 4, packets=300), Run(7, 4, packets=300)
    one.run()
    two.run()
    assert one.steps == two.steps
    assert one.role is ROLES[4]
    assert one.figures.packets == 300


def test_a_fault_is_found_told_and_made_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here, addresses that are nobody's are believed."""
    monkeypatch.setattr(Claims, "refusal", lambda *_, **__: None)
    run = Run(1, 0)
    with pytest.raises(BrokenError) as broken:
        run.run()
    fault = broken.value.__cause__
    assert isinstance(fault, AssertionError)
    steps = shrunk(run, fault, limit_s=10.0)
    assert len(steps) < len(run.steps) / 4
    again = fault_of(run, steps)
    assert again is not None
    assert kind_of(again) == kind_of(fault)
    assert "tools/fuzz --seed 1 --run 0" in report(run, broken.value)


def test_figures_of_all_runs_are_added_up() -> None:
    campaign = Campaign()
    for number in range(2):
        campaign.add(perform((3, number, 100)))
    assert campaign.packets == 200
    assert campaign.line().startswith("200 packets")
    assert [line.split()[0] for line in campaign.table().splitlines()] == ["role", "hub", "spoke"]
