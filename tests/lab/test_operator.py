"""What operators do, right and wrong: flush, resolve, monitor, bad files, second daemons, missing rights."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.expect import our_entries, wait_direct, wait_registered
from tools.lab.guest import REPOSITORY
from tools.lab.namespace import wait_until
from tools.lab.nodes import NhrpdNode, dmvpn
from tools.lab.topology import Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(sample_rate="60/minute") as made:
        yield dmvpn(made, hub=NhrpdNode, spokes=(NhrpdNode, NhrpdNode), holding_time_s=120)


@pytest.fixture
def cast(lab: Lab) -> tuple[NhrpdNode, NhrpdNode, NhrpdNode]:
    """Hub and spokes with a working shortcut."""
    hub, one, two = lab.nodes
    assert isinstance(hub, NhrpdNode)
    assert isinstance(one, NhrpdNode)
    assert isinstance(two, NhrpdNode)
    wait_registered(lab)
    for node in (hub, one, two):
        node.forget_shortcuts()
    wait_direct(one, two)
    return hub, one, two


def test_flushing_a_spoke_sends_traffic_to_the_hub_until_the_next_redirect(cast: tuple) -> None:
    hub, one, two = cast
    before = one.show("shortcuts")
    assert [each["state"] for each in before] == ["active"]
    assert (
        one.run_ctl("flush", "shortcuts", "--protocol", "172.16.99.0/24", check=False).returncode
        == 1
    )
    assert two.lan_prefix in one.routes()
    assert one.run_ctl("flush", "shortcuts", "--protocol", two.lan_prefix).returncode == 0
    wait_until(lambda: two.lan_prefix not in one.routes(), 3.0, "the kernel's shortcut route goes")
    assert one.ping_lan(two).lost == 0
    hub.forget_shortcuts()  # forgets whom it redirected a moment ago
    wait_direct(one, two)


def test_flushing_the_hub_brings_its_clients_back_at_once(cast: tuple) -> None:
    hub, one, two = cast
    assert hub.run_ctl("flush", "cache", "--nbma", one.nbma).returncode == 0
    wait_until(
        lambda: hub.binding(one.tunnel, "dynamic"), 3.0, "the flushed client registers again"
    )
    wait_until(lambda: one.tunnel in hub.neighbors(), 3.0, "with its neighbour entry")
    assert hub.run_ctl("flush", "all").returncode == 0
    wait_registered(hub.lab, 5.0)
    assert one.ping_lan(two).lost == 0


def test_resolve_makes_a_shortcut_without_traffic(cast: tuple) -> None:
    _, one, two = cast
    one.run_ctl("flush", "shortcuts")
    done = one.run_ctl("resolve", two.lan_host)
    assert two.lan_host in done.stdout
    wait_until(lambda: two.lan_prefix in one.routes(), 3.0, "the shortcut")
    local = one.run_ctl("resolve", "172.16.2.1", check=False)
    assert (local.returncode, "address of this machine" in local.stderr + local.stdout) == (1, True)


def test_an_address_that_nobody_has_is_negative_with_a_reason_in_the_log(cast: tuple) -> None:
    _, one, _ = cast
    one.run_ctl("resolve", "172.16.200.1")
    state = wait_until(
        lambda: [
            each["state"]
            for each in one.show("shortcuts")
            if each["prefix"] == "172.16.200.1/32" and each["state"] != "incomplete"
        ],
        5.0,
        "an answer",
    )
    assert state == ["negative"]
    assert one.logged("resolution.failed")


def test_monitor_tells_what_happens(cast: tuple) -> None:
    hub, one, _ = cast
    argv = [
        sys.executable,
        "-m",
        "nhrpd_py.cli.ctl",
        "-s",
        str(hub.socket_path),
        "--json",
        "monitor",
    ]
    with subprocess.Popen(
        hub.namespace.enter(argv),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    ) as watcher:
        assert watcher.stdout is not None
        try:
            # It says nothing when it is connected, so flush until a flush was seen.
            seen: set[str] = set()
            hub.run_ctl("flush", "cache", "--nbma", one.nbma)
            wait_until(lambda: hub.binding(one.tunnel, "dynamic"), 5.0, "it registers again")
            hub.run_ctl("flush", "cache", "--nbma", one.nbma)
            while not {"binding.removed", "registration.accepted"} <= seen:
                seen.add(json.loads(watcher.stdout.readline())["event"])
        finally:
            watcher.terminate()


def test_a_bad_file_is_refused_with_every_error_and_touches_nothing(
    cast: tuple, tmp_path: Path
) -> None:
    _, one, _ = cast
    before = our_entries(one)
    bad = tmp_path / "bad.toml"
    bad.write_text(
        '[interface.gre1]\nnetwork-id = 0\nauthentication = "much too long"\nredirct = true\n'
    )
    done = run_daemon(one, bad)
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{bad}: interface.gre1.") for line in lines)
    assert "much too long" not in done.stderr
    assert our_entries(one) == before


def test_a_second_daemon_is_refused(cast: tuple) -> None:
    _, one, _ = cast
    done = run_daemon(one, one.config_path)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert str(one.socket_path) in done.stderr
    assert one.show("interfaces")[0]["up"]


def test_without_rights_one_line_names_the_capability(cast: tuple, tmp_path: Path) -> None:
    _, one, _ = cast
    config = tmp_path / "nhrpd.toml"
    config.write_text(
        f'[daemon]\ncontrol-socket = "{tmp_path}/s"\nstate-directory = "{tmp_path}"\n'
        "[interface.gre1]\nnetwork-id = 1\n"
    )
    done = run_daemon(
        one, config, "setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw"
    )
    assert done.returncode == 1
    assert "CAP_NET_RAW" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_without_a_daemon_one_line_and_exit_3(cast: tuple, tmp_path: Path) -> None:
    _, one, _ = cast
    argv = [sys.executable, "-m", "nhrpd_py.cli.ctl", "-s", str(tmp_path / "none"), "show", "cache"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 3
    assert len(done.stderr.strip().splitlines()) == 1
    assert one.run_ctl("show", "nonsense", check=False).returncode == 2


def run_daemon(node: NhrpdNode, config: Path, *prefix: str) -> subprocess.CompletedProcess[str]:
    argv = [*prefix, sys.executable, "-m", "nhrpd_py.cli.daemon", "-c", str(config)]
    return subprocess.run(
        node.namespace.enter(argv),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
