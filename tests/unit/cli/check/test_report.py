"""What people and programs get to see, and the exit status."""

import json
import subprocess
import sys

from nhrpd_py.cli.check.findings import Area
from nhrpd_py.cli.check.report import as_json, as_text, failed

AREA = Area("kernel", "gre1")
FINE = AREA.ok("it is up")
WARNING = AREA.warning("no key", "ip tunnel change gre1 key 42")
PROBLEM = AREA.problem("it is down", "ip link set gre1 up")


def lines(*found, everything=False):
    return list(as_text(found, everything=everything, colour=False))


def test_what_is_ok_is_one_line() -> None:
    assert lines(FINE, FINE) == ["2 checks passed"]
    assert lines(FINE) == ["1 check passed"]


def test_what_is_not_comes_with_its_remedy_and_a_legend() -> None:
    assert lines(FINE, PROBLEM, WARNING) == [
        "PROBLEM  kernel gre1  it is down",
        "                      → ip link set gre1 up",
        "warning  kernel gre1  no key",
        "                      → ip tunnel change gre1 key 42",
        "",
        "PROBLEM = does not work; warning = works, but will hurt; → what mends it",
        "1 check passed",
    ]


def test_all_of_it() -> None:
    assert lines(FINE, everything=True)[0] == "ok       kernel gre1  it is up"


def test_json_has_the_keys_of_the_contract() -> None:
    assert json.loads(as_json([WARNING])) == {
        "check": [
            {
                "area": "kernel",
                "subject": "gre1",
                "state": "warning",
                "finding": "no key",
                "remedy": "ip tunnel change gre1 key 42",
            }
        ]
    }


def test_only_a_problem_fails() -> None:
    assert not failed([FINE, WARNING])
    assert failed([FINE, PROBLEM])


def nhrpctl_check(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nhrpd_py.cli.ctl", "check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_wrong_file_is_wrong_usage(tmp_path) -> None:
    file = tmp_path / "nhrpd.toml"
    file.write_text("[interface.gre1]\nredirekt = true\n")
    done = nhrpctl_check("-c", str(file))
    assert done.returncode == 2
    assert "interface.gre1.network-id: is missing" in done.stderr


def test_it_runs_anywhere(tmp_path) -> None:
    """On a machine without tunnel, daemon or rights it says so, and does not fall over."""
    file = tmp_path / "nhrpd.toml"
    socket = tmp_path / "nhrpd.sock"
    file.write_text(
        f'[daemon]\ncontrol-socket = "{socket}"\n[vici]\nsocket = "{tmp_path}/charon"\n'
        '[interface.gre77]\nnetwork-id = 1\nredirect = true\nipsec.profile = "dmvpn"\n'
    )
    done = nhrpctl_check("--json", "-c", str(file))
    found = {(row["subject"], row["state"]) for row in json.loads(done.stdout)["check"]}
    assert (done.returncode, done.stderr) == (1, "")
    assert {("nhrpd", "problem"), ("gre77", "problem"), ("charon", "problem")} <= found
