"""`nhrpctl check` in a real machine: each thing is broken, seen, mended by its own remedy, and gone."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.checks import all_break, all_mended, breaks, mended, obey, own_iproute2
from tools.lab.classic import ClassicNode
from tools.lab.guest import REPOSITORY
from tools.lab.machine import Role
from tools.lab.pki import Authority
from tools.lab.topology import Lab

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClassicNode]:
    """A hub with everything, IPsec included, and no spoke."""
    with Lab(private_run=True, static=False) as lab:
        made = lab.add(ClassicNode(number=1, role=Role.HUB))
        own_iproute2(made, tmp_path_factory.mktemp("iproute2"))
        lab.start()
        mended(made, "does not ask nhrpd for")  # the daemon's settings would undo a test's
        yield made


REMAKE = "ip tunnel del gre1; ip tunnel add gre1 mode gre key 42 ttl 64 dev eth0"
COMMANDS = {
    "down": ("ip link set gre1 down", "it is down", "problem"),
    "ttl": ("ip tunnel change gre1 ttl 0", "inherit the TTL", "warning"),
    "keys": ("ip tunnel change gre1 ikey 41 okey 42", "keys of the two directions", "warning"),
    "address": ("ip address flush dev gre1", "it has no address", "problem"),
    "gone": ("ip tunnel del gre1", "there is no such link", "problem"),
    "remote": (
        REMAKE + " remote 192.0.2.77; ip address add 10.255.255.1/32 dev gre1; ip link set gre1 up",
        "it is not multipoint",
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
    "rp_filter": (
        "sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.gre1.rp_filter=1",
        "path check is strict",
        "warning",
    ),
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
    "order": (
        "iptables-legacy -I FORWARD 1 -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        "decides on packets of established connections",
        "problem",
    ),
    "policy": ("iptables-legacy -P FORWARD DROP", "nothing is relayed", "problem"),
    "lan": ("true", "the networks here are cut off", "problem"),
    "esp": (
        "iptables-legacy -A INPUT -p esp -j DROP",
        "ESP (protocol 50): nothing arrives",
        "problem",
    ),
    "ike": (
        "iptables-legacy -A INPUT -p udp -m udp --dport 500 -j REJECT",
        "IKE (UDP 500): nothing arrives",
        "problem",
    ),
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


ROUNDS = {
    "down": ["down"],
    "address": ["address"],
    "gone": ["gone"],
    "remote": ["remote"],
    "keys": ["keys"],
    "link": ["ttl", "mtu"],
    "settings": ["neighbours", "redirects", "rp_filter", "forward", "pmtu"],
    "xfrm": ["xfrm"],
    "filter": ["policy", "lan", "esp", "ike"],
    "order": ["order"],
    "others": ["solicit", "hole", "rule", "name", "unloaded"],
}
"""Which of them are broken at the same time: none hides another, no remedy touches what another is about."""


def test_each_is_broken_in_one_round() -> None:
    assert sorted(case for cases in ROUNDS.values() for case in cases) == sorted(COMMANDS)


@pytest.mark.parametrize("cases", ROUNDS.values(), ids=ROUNDS)
def test_what_a_command_breaks_the_remedy_mends(hub: ClassicNode, cases: list[str]) -> None:
    for case in cases:
        hub.namespace.run("sh", "-c", COMMANDS[case][0])
    states = {words: state for _, words, state in (COMMANDS[case] for case in cases)}
    for remedy in all_break(hub, states).values():
        obey(hub, remedy)
    all_mended(hub, states)


def test_a_link_of_another_kind_is_left_alone_and_a_tunnel_made_beside_it(hub: ClassicNode) -> None:
    hub.namespace.run("sh", "-c", "ip tunnel del gre1; ip link add gre1 type dummy")
    words = "it is a link of kind dummy"
    try:
        obey(hub, breaks(hub, words, "problem"))
        assert hub.namespace.ip_json("link", "show", "gre1", "type", "dummy")
        assert breaks(hub, words, "problem").endswith("# the tunnels here: gre2")
    finally:
        hub.namespace.run("sh", "-c", "ip link delete gre2; ip link delete gre1")
        obey(hub, breaks(hub, "there is no such link", "problem"))
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
        remedy = breaks(hub, "it expired on 2020-01-02", "problem")
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
        remedy = breaks(hub, "a newer one was due on 2020-01-02", "warning")
        # charon keeps the list with the highest number, which `--lastcrl` makes higher
        place.write_bytes(sign_crl(authority, "--lastcrl", str(place)))
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
