"""The service under a real systemd: hub and spoke are `nhrpd@hub1` and `nhrpd@spoke2`, and
`nhrpd.service` serves the guest itself, which has no tunnel."""

import json
import os
import pwd
import re
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.lab.charon import SAMPLES, load_modules
from tools.lab.machine import Role
from tools.lab.namespace import wait_until
from tools.lab.nodes import registered
from tools.lab.topology import Lab
from tools.lab.units import Unit, UnitNode, as_user, install, machine, run

pytestmark = pytest.mark.systemd

NET_ADMIN_AND_RAW = 1 << 12 | 1 << 13
"""linux/capability.h"""
MAX_EXPOSURE = 2.5
CHARON = Unit("strongswan.service")
CHARON_SOCKET = Path("/run/charon.vici")
NO_TUNNEL = "[interface.gre9]\nnetwork-id = 9\n"


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    install()
    people = ("u alice -", "m alice nhrpd", "u mallory -")
    run("systemd-sysusers", "--inline", *people)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        hub = lab.add(UnitNode(number=1, role=Role.HUB))
        spoke = lab.add(UnitNode(number=2, role=Role.SPOKE))
        hub.start()
        spoke.start()
        yield lab


@pytest.fixture
def hub(lab) -> UnitNode:
    return lab.hubs[0]


@pytest.fixture
def spoke(lab) -> UnitNode:
    return lab.spokes[0]


@pytest.fixture
def up(hub, spoke) -> None:
    """Both have registered, whatever the last test did to them."""
    for node in (hub, spoke):
        node.unit.do("start")
    wait_until(lambda: registered(hub, spoke), 30, "registration")


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def owner(path: Path) -> str:
    return pwd.getpwuid(path.stat().st_uid).pw_name


def restarted(unit: Unit, pid: int) -> int | None:
    """The new process, once systemd has one that is ready."""
    return unit.pid if unit["ActiveState"] == "active" and unit.pid not in (0, pid) else None


def test_the_status_tells_servers_and_peers(up, hub, spoke) -> None:
    status = wait_until(lambda: _with(spoke.unit["StatusText"], "1/1"), 10, "the spoke's status")
    assert status == "1/1 NHS up, 1 peer"
    assert wait_until(lambda: _with(hub.unit["StatusText"], "1 peer"), 10, "the hub's") == "1 peer"


def _with(text: str, part: str) -> str | None:
    return text if part in text else None


def test_a_missing_tunnel_holds_nothing_up_and_shows_in_the_status() -> None:
    with machine(NO_TUNNEL) as unit:
        unit.do("start")
        # READY means that the control socket answers, so no waiting here.
        said = run("nhrpctl", "show", "interfaces").stdout
        assert "gre9" in said
        assert unit["StatusText"].startswith("0 peers; gre9: ")
        assert unit["SubState"] == "running"


def test_the_daemon_has_two_capabilities_and_no_more(up, spoke) -> None:
    pid = spoke.unit.pid
    status = status_of(pid)
    assert owner(Path(f"/proc/{pid}")) == "nhrpd"
    for which in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
        assert int(status[which], 16) == NET_ADMIN_AND_RAW, which
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"  # the lab's kernel filters system calls


def test_kernel_tunables_are_read_only_and_the_tunnel_works_all_the_same(up, hub, spoke) -> None:
    for node in (hub, spoke):
        mounts = Path(f"/proc/{node.unit.pid}/mountinfo").read_text()
        assert re.search(r" /proc/sys ro,", mounts)
        (row,) = node.show("interfaces")
        assert row["problem"] is None
    assert spoke.ping_lan(hub, count=2).lost == 0


def test_the_sandbox_is_as_tight_as_systemd_asks_for(lab, spoke) -> None:
    for name in ("nhrpd.service", spoke.unit.name):
        said = run("systemd-analyze", "security", "--no-pager", name, check=False).stdout
        found = re.search(r"exposure level for \S+: ([0-9.]+)", said)
        assert found is not None, said
        print(f"{name}: {found[1]}")
        assert float(found[1]) <= MAX_EXPOSURE


def test_nothing_in_the_units_is_unknown_to_this_systemd(lab) -> None:
    files = [f"/etc/systemd/system/{name}" for name in ("nhrpd.service", "nhrpd@.service")]
    done = run("systemd-analyze", "verify", *files, check=False)
    said = [line for line in done.stderr.splitlines() if "nhrpd" in line]
    assert said == []


def test_a_stop_withdraws_everything(up, hub, spoke) -> None:
    assert hub.tunnel in spoke.neighbors()
    assert spoke.stop() == 0
    assert spoke.unit["Result"] == "success"
    assert spoke.neighbors() == {}
    wait_until(lambda: hub.binding(spoke.tunnel, "dynamic") is None, 10, "the hub forgets it")
    assert not spoke.socket_path.exists()


def test_a_crash_is_followed_by_a_start_that_adopts_what_the_kernel_has(up, hub, spoke) -> None:
    pid, nbma = spoke.unit.pid, spoke.neighbors()[hub.tunnel].nbma
    assert nbma == hub.nbma
    before = time.time()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: spoke.unit.pid != pid, 10, "the death is noticed", interval_s=0.02)
    assert spoke.neighbors()[hub.tunnel].nbma == nbma
    assert spoke.ping_lan(hub, count=2).lost == 0
    wait_until(lambda: restarted(spoke.unit, pid), 30, "the restart")
    assert spoke.neighbors()[hub.tunnel].nbma == nbma
    wait_until(lambda: registered(hub, spoke), 30, "registration after the restart")
    events = [entry["MESSAGE"].split()[0] for entry in spoke.unit.journal(since=before)]
    assert "daemon.started" in events


def test_a_daemon_that_hangs_is_ended_and_started_anew(up, hub, spoke) -> None:
    spoke.unit.override(WatchdogSec="2s", TimeoutAbortSec="2s")
    try:
        spoke.unit.do("restart")
        pid = spoke.unit.pid
        with pytest.raises(AssertionError):  # it is left alone while the pump turns
            wait_until(lambda: spoke.unit.pid != pid, 5, "nothing")
        before = time.time()
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: restarted(spoke.unit, pid), 40, "the watchdog's restart")
        said = " ".join(str(entry["MESSAGE"]) for entry in spoke.unit.journal(since=before))
        assert "Watchdog timeout" in said
        wait_until(lambda: registered(hub, spoke), 30, "registration after the restart")
    finally:
        spoke.unit.override()


def test_a_wrong_file_fails_the_start_with_every_error_and_is_not_tried_again() -> None:
    with machine('[interface.gre9]\nnetwork-id = "one"\nredirect = "maybe"\n') as unit:
        before = time.time()
        assert unit.do("start", check=False).returncode != 0
        assert (unit["ActiveState"], unit["ExecMainStatus"]) == ("failed", "2")
        errors = [
            entry["MESSAGE"] for entry in unit.journal(since=before) if entry["PRIORITY"] == "3"
        ]
        for key in ("network-id", "redirect"):
            assert any(f"interface.gre9.{key}: " in error for error in errors), errors


def test_a_reload_returns_when_the_new_file_is_in_force(up, spoke) -> None:
    pid = spoke.unit.pid
    spoke.holding_time_s += 30
    spoke.write_configuration()
    spoke.unit.do("reload")
    (row,) = spoke.show("interfaces")
    assert row["holding_time_s"] == spoke.holding_time_s
    assert spoke.unit.pid == pid
    assert spoke.unit["SubState"] == "running"


def test_a_reload_of_a_wrong_file_fails_with_its_errors_and_changes_nothing(up, spoke) -> None:
    pid, before = spoke.unit.pid, time.time()
    spoke.config_path.write_text('[interface.gre1]\nnetwork-id = "one"\n')
    try:
        assert spoke.unit.do("reload", check=False).returncode != 0
    finally:
        spoke.write_configuration()
    said = " ".join(str(entry["MESSAGE"]) for entry in spoke.unit.journal(since=before))
    assert "interface.gre1.network-id: " in said
    assert spoke.unit.pid == pid
    assert spoke.unit["SubState"] == "running"
    assert spoke.show("nhs")[0]["state"] == "up"


def test_the_journal_has_lines_of_keys_and_values_with_their_levels(up, spoke) -> None:
    before = time.time()
    spoke.tunnel_down()
    wait_until(lambda: spoke.show("interfaces")[0]["problem"], 10, "the link is missed")
    spoke.tunnel_up()
    spoke.unit.do("restart")
    entries = [
        entry for entry in spoke.unit.journal(since=before) if entry.get("_TRANSPORT") == "stdout"
    ]
    assert {entry["SYSLOG_IDENTIFIER"] for entry in entries} == {"nhrpd"}
    assert {entry["_SYSTEMD_UNIT"] for entry in entries} == {spoke.unit.name}
    by_event = {entry["MESSAGE"].split()[0]: entry for entry in entries}
    assert by_event["daemon.started"]["PRIORITY"] == "6"
    assert re.search(r" pid=\d+", by_event["daemon.started"]["MESSAGE"])
    assert by_event["interface.lost"]["PRIORITY"] == "4"
    assert "interface=gre1" in by_event["interface.lost"]["MESSAGE"]


def test_nhrpctl_is_for_members_of_the_group(up, spoke) -> None:
    ask = ("nhrpctl", "-s", spoke.socket_path, "show", "nhs")
    assert "gre1" in as_user("alice", *ask).stdout
    refused = as_user("mallory", *ask)
    assert refused.returncode == 3
    assert refused.stderr == (
        f"nhrpctl: no permission for {spoke.socket_path}: it is for members of the group nhrpd\n"
    )


def test_the_configuration_is_hidden_from_others(lab, spoke) -> None:
    mode = spoke.config_path.stat().st_mode
    assert stat.S_IMODE(mode) == 0o640
    assert as_user("mallory", "cat", spoke.config_path).returncode != 0


@pytest.fixture
def charon() -> Iterator[Unit]:
    yield CHARON
    CHARON.do("stop", check=False)
    CHARON.do("reset-failed", check=False)


def asks_charon(user: str) -> bool:
    return "uptime" in as_user(user, "/usr/sbin/swanctl", "--stats").stdout


def test_charon_may_come_late_and_anew_and_always_lets_the_daemon_in(up, charon, spoke) -> None:
    pid = spoke.unit.pid
    charon.do("start")
    assert asks_charon("nhrpd")
    assert not asks_charon("alice")  # a member of the group; charon's commands can become root's
    charon.do("restart")
    assert asks_charon("nhrpd")
    killed = charon.pid
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: restarted(charon, killed), 30, "charon's restart")
    wait_until(lambda: asks_charon("nhrpd"), 10, "charon answers")
    assert spoke.unit.pid == pid


def test_the_daemon_reaches_charon_and_the_profile_from_inside_its_sandbox(
    up, charon, spoke
) -> None:
    charon.do("start")
    inside = ["nsenter", f"--target={spoke.unit.pid}", "--mount", "--"]
    who = ["setpriv", "--reuid=nhrpd", "--regid=nhrpd", "--init-groups", "--no-new-privs"]
    assert "uptime" in run(*inside, *who, "swanctl", "--stats").stdout
    for readable in ("swanctl.conf", "conf.d", "x509", "x509ca"):
        run(*inside, *who, "test", "-r", f"/etc/swanctl/{readable}")
    assert run(*inside, *who, "ls", "/etc/swanctl/private", check=False).returncode != 0


def test_a_socket_that_the_daemon_may_not_use_is_named_with_what_mends_it(charon) -> None:
    """As when charon runs without the drop-in: its socket is root's alone."""
    load_modules()
    protected = NO_TUNNEL + '[interface.gre9.ipsec]\nprofile = "dmvpn"\n'
    run("ip", "tunnel", "add", "gre9", "mode", "gre", "key", "9", "local", "127.0.0.1")
    run("ip", "address", "add", "10.99.0.1/32", "dev", "gre9")
    run("ip", "link", "set", "gre9", "up")
    try:
        charon.do("start")
        os.chown(CHARON_SOCKET, 0, 0)
        CHARON_SOCKET.chmod(0o600)
        with machine(protected) as unit:

            def problem() -> str:
                said = run("nhrpctl", "--json", "show", "interfaces")
                (row,) = json.loads(said.stdout)["interfaces"]
                return str(row["problem"])

            unit.do("start")
            wait_until(lambda: "permission denied" in problem(), 20, "the reason")
            assert "strongswan.service.d/nhrpd.conf" in problem()
            charon.do("restart")
            wait_until(lambda: problem() == "None", 30, "its end")
    finally:
        run("ip", "link", "del", "gre9")


def a_tunnel_link() -> dict[str, Any]:
    links = json.loads(run("ip", "-j", "-d", "link", "show", "gre1", check=False).stdout or "[]")
    return links[0]["linkinfo"]["info_data"] if links else {}


def test_the_tunnel_of_systemd_networkd_is_one_for_us_and_stays_as_we_made_it() -> None:
    files = Path("/etc/systemd/network")
    files.mkdir(exist_ok=True)
    for kind in ("netdev", "network"):
        sample = SAMPLES / f"systemd-networkd-gre1.{kind}"
        (files / f"30-gre1.{kind}").write_text(sample.read_text())
    configuration = """
        [interface.gre1]
        network-id = 1
        [[interface.gre1.map]]
        protocol = "10.255.255.9"
        nbma = "192.0.2.9"
    """
    networkd = Unit("systemd-networkd.service")
    Path("/run/systemd/system", networkd.name).unlink(
        missing_ok=True
    )  # the guest's boot does without it
    # There is no udevd to wait for; networkd takes a /sys that cannot be written for that.
    networkd.override(ReadOnlyPaths="/sys")

    def neighbors() -> str:
        return run("ip", "neigh", "show", "dev", "gre1", check=False).stdout

    try:
        networkd.do("start")
        wait_until(lambda: "10.255.255.2/32" in addresses("gre1"), 30, "the tunnel")
        link = a_tunnel_link()
        assert (link["local"], link["remote"], link["ttl"]) == ("192.0.2.2", "any", 64)
        assert link["ikey"] == link["okey"] == "0.0.0.42"
        with machine(configuration) as unit:
            unit.do("start")
            wait_until(lambda: "192.0.2.9" in neighbors(), 20, "the binding in the kernel")
            networkd.do("restart")
            wait_until(lambda: "10.255.255.2/32" in addresses("gre1"), 30, "the address")
            assert "192.0.2.9" in neighbors()
    finally:
        networkd.do("stop", check=False)
        run("ip", "link", "del", "gre1", check=False)


def addresses(device: str) -> str:
    return run("ip", "-brief", "address", "show", "dev", device, check=False).stdout


def test_the_boot_starts_charon_first_where_there_is_one(charon) -> None:
    with machine(NO_TUNNEL) as unit:
        # One transaction, as multi-user.target is at boot.
        boot = Path("/run/systemd/system/lab-boot.target")
        boot.write_text(f"[Unit]\nWants={unit.name} {charon.name}\n")
        run("systemctl", "daemon-reload")
        run("systemctl", "start", boot.name)
        wait_until(lambda: unit["ActiveState"] == "active", 60, "the boot")
        started = int(unit["ExecMainStartTimestampMonotonic"])
        assert int(charon["ActiveEnterTimestampMonotonic"]) <= started
        assert owner(CHARON_SOCKET) == "nhrpd"


def test_the_boot_does_without_charon(charon) -> None:
    run("systemctl", "mask", "--runtime", charon.name)
    try:
        with machine(NO_TUNNEL) as unit:
            unit.do("start")
            assert unit["ActiveState"] == "active"
    finally:
        run("systemctl", "unmask", "--runtime", charon.name)
