"""`nhrpctl check` in a real machine: each thing is broken, seen, mended by its own remedy, and gone."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.lab.classic import ClassicNode
from tools.lab.guest import REPOSITORY
from tools.lab.namespace import wait_until
from tools.lab.nodes import registered
from tools.lab.pki import Authority
from tools.lab.topology import Lab, Role

pytestmark = pytest.mark.lab

WAIT_S = 15.0
PLACES = {"ADDRESS/32": "10.255.255.1/32", "KEY": "42"}
"""What a remedy leaves to its reader."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClassicNode]:
    """A hub with everything, IPsec included, and no spoke."""
    with Lab(private_run=True, static=False) as lab:
        made = lab.add(ClassicNode(number=1, role=Role.HUB))
        own_iproute2(made, tmp_path_factory.mktemp("iproute2"))
        made.start()
        yield made


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ClassicNode, ClassicNode]]:
    """Hub and spoke in clear text, with BGP."""
    with Lab(private_run=True, static=False) as lab:
        nodes = tuple(
            lab.add(ClassicNode(number=number, role=role, ipsec=None, holding_time_s=30))
            for number, role in ((1, Role.HUB), (2, Role.SPOKE))
        )
        lab.start()
        hub, spoke = nodes
        wait_until(lambda: registered(hub, spoke), 20.0, "registration")
        wait_until(lambda: spoke.routing.established(hub.tunnel), 30.0, "BGP session")
        yield hub, spoke


def own_iproute2(node: ClassicNode, directory: Path) -> None:
    """Lets the node write below /etc/iproute2 without the machine's noticing."""
    node.namespace.run("mkdir", "-p", "/etc/iproute2")
    shutil.copytree("/etc/iproute2", directory, dirs_exist_ok=True)
    node.namespace.bind(directory, Path("/etc/iproute2"))


def check(node: ClassicNode, *options: str) -> list[dict[str, Any]]:
    done = node.run_ctl("--json", "check", "-c", str(node.config_path), *options, check=False)
    assert done.returncode in (0, 1), done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)["check"]
    assert done.returncode == any(row["state"] == "problem" for row in rows)
    return rows


def seen(node: ClassicNode, words: str) -> dict[str, Any] | None:
    """The finding with these words, unless all is well."""
    found = [row for row in check(node) if row["state"] != "ok" and words in row["finding"]]
    return found[0] if found else None


def breaks(node: ClassicNode, words: str, state: str) -> str:
    """Waits for the finding and returns its remedy."""
    row = wait_until(lambda: seen(node, words), WAIT_S, f"the finding {words!r}")
    assert row["state"] == state, row
    return str(row["remedy"])


def mended(node: ClassicNode, words: str) -> None:
    wait_until(lambda: seen(node, words) is None, WAIT_S, f"no finding {words!r}")


def obey(node: ClassicNode, remedy: str) -> None:
    """Types the remedy in, as the reader of it would."""
    for place, value in PLACES.items():
        remedy = remedy.replace(place, value)
    node.namespace.run("sh", "-ec", remedy)


REMAKE = "ip tunnel del gre1; ip tunnel add gre1 mode gre key 42 ttl 64 dev eth0"
COMMANDS = {
    "down": ("ip link set gre1 down", "it is down", "problem"),
    "ttl": ("ip tunnel change gre1 ttl inherit", "inherit the TTL", "warning"),
    "keys": ("ip tunnel change gre1 ikey 41 okey 42", "keys of the two directions", "warning"),
    "address": ("ip address flush dev gre1", "it has no address", "problem"),
    "gone": ("ip tunnel del gre1", "there is no such link", "problem"),
    "remote": (
        REMAKE + " remote 192.0.2.77; ip address add 10.255.255.1/32 dev gre1; ip link set gre1 up",
        "it is not multipoint",
        "problem",
    ),
    "kind": (
        "ip tunnel del gre1; ip link add gre1 type dummy",
        "it is a link of kind dummy",
        "problem",
    ),
    "neighbours": (
        "sysctl -w net.ipv4.neigh.gre1.app_solicit=0",
        "does not ask nhrpd for ipv4",
        "problem",
    ),
    "solicit": (
        "sysctl -w net.ipv4.neigh.gre1.mcast_solicit=3",
        "looks for ipv4 neighbours on the link",
        "warning",
    ),
    "redirects": (
        "sysctl -w net.ipv4.conf.gre1.send_redirects=1",
        "sends ICMP redirects",
        "warning",
    ),
    "rp_filter": ("sysctl -w net.ipv4.conf.gre1.rp_filter=1", "path check is strict", "warning"),
    "forward": ("sysctl -w net.ipv4.ip_forward=0", "IPv4 is not forwarded", "problem"),
    "pmtu": (
        "sysctl -w net.ipv4.ip_forward_use_pmtu=0",
        "do not obey what was learnt",
        "warning",
    ),
    "mtu": ("ip link set gre1 mtu 1472", "does not fit into eth0's 1500", "warning"),
    "xfrm": (
        "sysctl -w net.ipv4.conf.all.disable_xfrm=1",
        "the kernel skips all IPsec policies",
        "problem",
    ),
    "hole": (
        "ip xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 dir out action allow priority 10",
        "lets GRE pass in clear text",
        "problem",
    ),
    "rule": ("iptables-legacy -F FORWARD", "no rule samples ipv4", "problem"),
    "name": (
        "rm -f /etc/iproute2/rt_protos.d/nhrpd.conf",
        "iproute2 has no name for it",
        "warning",
    ),
    "unloaded": (
        "swanctl --load-conns --file /dev/null",
        "charon does not have it loaded",
        "problem",
    ),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_what_a_command_breaks_the_remedy_mends(hub: ClassicNode, case: str) -> None:
    command, words, state = COMMANDS[case]
    hub.namespace.run("sh", "-c", command)
    obey(hub, breaks(hub, words, state))
    mended(hub, words)


def test_policies_that_are_gone_are_put_back_by_hand_while_nhrpd_is_away(hub: ClassicNode) -> None:
    hub.stop()
    try:
        assert "systemctl start nhrpd" in breaks(hub, "no daemon answers", "problem")
        hub.namespace.ip("xfrm policy flush")
        words = "nothing keeps GRE from going in clear text (out and in)"
        obey(hub, breaks(hub, words, "problem"))
        mended(hub, words)
    finally:
        hub.start()
    mended(hub, "no daemon answers")


# --- strongSwan -----------------------------------------------------------------------------------


def test_a_charon_that_is_dead_or_was_never_there(hub: ClassicNode) -> None:
    hub.charon.kill()
    try:
        assert "restart strongswan" in breaks(hub, "charon has stopped", "problem")
        hub.namespace.run("rm", "/run/charon.vici")
        assert "start strongswan" in breaks(hub, "charon does not run", "problem")
    finally:
        hub.charon.start()
    mended(hub, "charon")


SPOILT = {
    "mode": ("mode = transport", "mode = tunnel", "has the mode tunnel", "mode = transport"),
    "selector": (
        "local_ts = dynamic[gre]",
        "local_ts = dynamic",
        "local_ts is dynamic: not GRE alone",
        "local_ts = dynamic[gre]",
    ),
    "syntax": ("connections {", "connections {{", "syntax error", "swanctl.conf"),
    "certificate": ("certs = hub1.pem", "certs = none.pem", "none.pem", "swanctl.conf"),
    "name": (
        "    dmvpn {\n        version",
        "    vpn {\n        version",
        "it has: vpn",
        "profile = ",
    ),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_profile_that_cannot_be_used(hub: ClassicNode, case: str) -> None:
    right, wrong, words, remedy = SPOILT[case]
    whole = hub.charon.swanctl_conf.read_text()
    assert right in whole
    hub.charon.swanctl_conf.write_text(whole.replace(right, wrong, 1))
    try:
        assert remedy in breaks(hub, words, "problem")
    finally:
        hub.charon.swanctl_conf.write_text(whole)
    mended(hub, words)


@pytest.mark.parametrize(
    ("folder", "words"),
    [("ecdsa", "does not have its private key"), ("x509ca", "no certificate of an authority")],
)
def test_credentials_that_are_not_loaded(hub: ClassicNode, folder: str, words: str) -> None:
    there, away = hub.charon.etc / folder, hub.charon.etc / f"{folder}.away"
    shutil.move(there, away)
    try:
        hub.charon.swanctl("--load-creds", "--clear", "--noprompt")
        remedy = breaks(hub, words, "problem")
    finally:
        shutil.move(away, there)
    assert remedy.startswith("put it in /etc/swanctl/")
    obey(hub, remedy.partition("then: ")[2])
    mended(hub, words)


def test_a_certificate_that_expired(hub: ClassicNode) -> None:
    place = hub.charon.etc / "x509" / "hub1.pem"
    whole = place.read_bytes()
    place.write_bytes(hub.charon.authority.issue("old", expired=True).certificate.read_bytes())
    try:
        remedy = breaks(hub, "it expired on 2020-01-01", "problem")
        assert "/etc/swanctl/x509/hub1.pem" in remedy
    finally:
        place.write_bytes(whole)
    obey(hub, remedy.partition("then: ")[2])
    mended(hub, "it expired")


def test_a_crl_that_is_not_renewed(hub: ClassicNode) -> None:
    authority = Authority("of old lists")
    options = ["--this-update", "01.01.20 00:00:00", "--next-update", "02.01.20 00:00:00"]
    (hub.charon.etc / "x509ca" / "old.pem").write_bytes(authority.certificate.read_bytes())
    place = hub.charon.etc / "x509crl" / "old.pem"
    place.write_bytes(sign_crl(authority, *options))
    try:
        hub.charon.swanctl("--load-creds", "--noprompt")
        remedy = breaks(hub, "a newer one was due on 2020-01-01", "warning")
        place.write_bytes(sign_crl(authority))
        obey(hub, remedy.partition("then: ")[2])
        mended(hub, "a newer one was due")
    finally:
        place.unlink()
        (hub.charon.etc / "x509ca" / "old.pem").unlink()
        hub.charon.load_all()


def sign_crl(authority: Authority, *options: str) -> bytes:
    key = authority._credential.key
    command = ["pki", "--signcrl", "--cacert", str(authority.certificate), "--cakey", str(key)]
    done = subprocess.run([*command, *options], check=True, capture_output=True)
    return done.stdout


def test_nobody_is_told_what_is_for_root_alone(hub: ClassicNode, tmp_path: Path) -> None:
    """Run as an unprivileged user: says why it could not look, and blames nothing for it."""
    for path in (tmp_path, *tmp_path.parents[:-2]):
        path.chmod(0o755)
    file = tmp_path / "nhrpd.toml"
    file.write_text(hub.config_path.read_text())
    command = [sys.executable, "-m", "nhrpd_py.cli.ctl", "--json", "check", "-c", str(file)]
    dropped = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--", *command]
    done = subprocess.run(
        hub.namespace.enter(dropped),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    rows = json.loads(done.stdout)["check"]
    unknown = {row["subject"]: row["finding"] for row in rows if row["state"] == "unknown"}
    assert "permission" in unknown["nhrpd"]
    assert "permission denied" in unknown["charon"]
    assert "root" in unknown["gre1"]
    assert {row["finding"] for row in rows if row["state"] == "problem"} == set()
    assert done.returncode == 0


# --- routing, names, peers ------------------------------------------------------------------------


def test_a_hub_whose_bgp_announces_no_spokes(pair: tuple[ClassicNode, ClassicNode]) -> None:
    hub, _ = pair
    bgp = ("configure terminal", "router bgp 65000", "address-family ipv4 unicast")
    hub.routing.vtysh(*bgp, "no redistribute kernel")
    words = "BGP does not announce our route"
    obey(hub, breaks(hub, words, "warning"))
    mended(hub, words)


def test_a_spoke_without_a_way_to_the_other_sites(pair: tuple[ClassicNode, ClassicNode]) -> None:
    hub, spoke = pair
    spoke.routing.stop()
    try:
        words = "no route for other sites leads into it"
        remedy = breaks(spoke, words, "warning").replace("SITES", "172.16.0.0/16")
        assert f"via {hub.tunnel} " in remedy
        obey(spoke, remedy)
        mended(spoke, words)
        spoke.namespace.ip("route delete 172.16.0.0/16")
    finally:
        spoke.routing.start()
    mended(spoke, words)


def test_a_server_that_is_gone(pair: tuple[ClassicNode, ClassicNode]) -> None:
    hub, spoke = pair
    hub.kill()
    try:
        wait_until(
            lambda: any(
                row["state"] != "ok" and row["subject"] == f"NHS {hub.nbma}" for row in check(spoke)
            ),
            60.0,
            "the NHS is reported",
        )
    finally:
        hub.start()
    wait_until(lambda: registered(hub, spoke), 60.0, "registration")
    assert [r["state"] for r in check(spoke) if r["subject"] == f"NHS {hub.nbma}"] == ["ok"]


def test_a_name_that_nobody_resolves(pair: tuple[ClassicNode, ClassicNode]) -> None:
    _, spoke = pair
    spoke.lab.resolver.stop()
    try:
        breaks(spoke, "resolve", "problem")
    finally:
        spoke.lab.resolver.start()
    mended(spoke, "resolve")


def test_a_route_of_somebody_else_with_our_number(pair: tuple[ClassicNode, ClassicNode]) -> None:
    hub, _ = pair
    hub.namespace.ip("route add 198.51.100.0/24 dev eth0 proto 208")
    words = "have our protocol number and are not ours: 198.51.100.0/24 dev eth0"
    assert "under [routes]" in breaks(hub, words, "warning")
    hub.namespace.ip("route delete 198.51.100.0/24")
    mended(hub, words)


GRAB = """
import socket, struct, sys
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.bind((0, 0))
payload = struct.pack('>BBH', 0, 0, 1) + struct.pack('=HHB3x', 5, 1, 1)
s.send(struct.pack('=IHHII', 16 + len(payload), 1025, 5, 1, 0) + payload)
print(struct.unpack('=i', s.recv(100)[16:20])[0], flush=True)
sys.stdin.read() or __import__('signal').pause()
"""


def test_a_group_that_another_program_took(pair: tuple[ClassicNode, ClassicNode]) -> None:
    hub, _ = pair
    hub.kill()
    thief = hub.namespace.popen(sys.executable, "-c", GRAB, stdout=subprocess.PIPE)
    assert thief.stdout is not None
    try:
        assert thief.stdout.readline() == b"0\n"
        hub.start()
        remedy = breaks(hub, "has bound it: nhrpd gets no samples", "problem")
        assert remedy.startswith(f"kill {thief.pid} ")
        obey(hub, remedy)
        wait_until(lambda: thief.poll() is not None, 5.0, "the thief ends")
        mended(hub, "no redirects")
        mended(hub, "has bound it")
    finally:
        thief.kill()
        thief.stdout.close()


def test_a_file_that_was_changed_since_it_was_read(pair: tuple[ClassicNode, ClassicNode]) -> None:
    hub, _ = pair
    whole = hub.config_path.read_text()
    hub.config_path.write_text(whole.replace("holding-time = 30", "holding-time = 31"))
    words = "is not what it runs with (differs: interface.gre1.holding-time)"
    assert breaks(hub, words, "warning") == "systemctl reload nhrpd"
    hub.config_path.write_text(whole)
    mended(hub, words)


def test_the_table_is_short_while_all_is_well(pair: tuple[ClassicNode, ClassicNode]) -> None:
    _, spoke = pair
    done = spoke.run_ctl("check", check=False)
    assert done.stdout.splitlines()[-1].endswith("checks passed")
    assert "\nok " not in done.stdout
    assert "\nok " in spoke.run_ctl("check", "--all", check=False).stdout
