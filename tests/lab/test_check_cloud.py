"""`nhrpctl check` where there are peers: routing, names, servers, listeners."""

import sys
from collections.abc import Iterator

import pytest

from tests.lab.checks import breaks, check, mended, obey
from tools.lab.classic import ClassicNode
from tools.lab.machine import Role
from tools.lab.namespace import wait_until
from tools.lab.nodes import registered
from tools.lab.topology import Lab

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[ClassicNode, ClassicNode]]:
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


def test_a_second_uplink_that_has_the_better_route(pair: tuple[ClassicNode, ClassicNode]) -> None:
    """The tunnel is bound to the first, which takes nothing from the hub then."""
    hub, spoke = pair
    spoke.namespace.ip(
        "link add wan2 type dummy",
        "address add 198.51.100.2/24 dev wan2",
        "link set wan2 up",
        f"route add {hub.nbma}/32 dev wan2",
    )
    try:
        spoke.namespace.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0")
        spoke.namespace.run("sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=1")
        words = f"eth0 drops what {hub.nbma} sends"
        obey(spoke, breaks(spoke, words, "problem"))
        mended(spoke, words)
    finally:
        spoke.namespace.ip("link delete wan2")
        spoke.namespace.run("sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=0")


def test_a_site_whose_route_is_in_another_table(pair: tuple[ClassicNode, ClassicNode]) -> None:
    hub, spoke = pair
    spoke.namespace.ip(f"route add 10.77.0.0/16 via {hub.tunnel} dev gre1 onlink table 100")
    try:
        words = "routes in table 100 lead into it (10.77.0.0/16"
        obey(spoke, breaks(spoke, words, "warning"))
        mended(spoke, words)
    finally:
        spoke.namespace.ip("route flush table 100")
        spoke.namespace.run("ip", "route", "delete", "10.77.0.0/16")


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
import signal, socket, struct
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.bind((0, 0))
payload = struct.pack('>BBH', 0, 0, 1) + struct.pack('=HHB3x', 5, 1, 1)
s.send(struct.pack('=IHHII', 16 + len(payload), 1025, 5, 1, 0) + payload)
print(struct.unpack('=i', s.recv(100)[16:20])[0], flush=True)
signal.pause()
"""


def test_a_group_that_another_program_took(pair: tuple[ClassicNode, ClassicNode]) -> None:
    hub, _ = pair
    hub.kill()
    log = hub.directory / "thief.txt"
    thief = hub.namespace.popen(sys.executable, "-c", GRAB, log=log)
    try:
        assert wait_until(log.read_text, 10.0, "the thief's word") == "0\n"
        hub.start()
        remedy = breaks(hub, "has bound it: nhrpd gets nothing", "problem")
        assert remedy.endswith(f"kill {thief.pid}")
        obey(hub, f"kill {thief.pid}")
        wait_until(lambda: thief.poll() is not None, 5.0, "the thief ends")
        mended(hub, "no redirects", 60.0)  # it tries again after 30 s
        mended(hub, "has bound it")
    finally:
        thief.kill()


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
