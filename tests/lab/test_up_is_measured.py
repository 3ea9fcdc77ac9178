"""What tells of lost packets is said in words: ICMP errors, counters of the tunnel."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.expect import row, wait_direct, wait_registered
from tools.lab.kernel import iptables
from tools.lab.namespace import wait_until
from tools.lab.nodes import NhrpdNode, dmvpn
from tools.lab.topology import Lab, Node
from tools.lab.wiring import TUNNEL

HOLDING_TIME_S = 60
COUNTED_S = 40.0
"""The counters are read every ten seconds."""


@pytest.fixture(scope="module")
def built() -> Iterator[Lab]:
    """A hub and two spokes of ours."""
    with Lab(sample_rate="60/minute") as made:
        dmvpn(made, hub=NhrpdNode, spokes=(NhrpdNode, NhrpdNode), holding_time_s=HOLDING_TIME_S)
        yield made


@pytest.fixture
def lab(built: Lab) -> Lab:
    """The same for all tests; each leaves it as it was, and lost servers are asked anew."""
    for spoke in built.spokes:
        assert isinstance(spoke, NhrpdNode)
        spoke.flush("all")
    wait_registered(built)
    return built


@contextlib.contextmanager
def rejected(receiver: Node, sender: Node, how: str) -> Iterator[None]:
    rule = f"INPUT -s {sender.nbma} -p gre -j REJECT --reject-with {how}"
    iptables(receiver.namespace, f"-I {rule}")
    try:
        yield
    finally:
        iptables(receiver.namespace, f"-D {rule}")


def server(spoke: NhrpdNode) -> dict[str, Any]:
    (found,) = [each for each in spoke.show("nhs") if each["afi"] == "ipv4"]
    return dict(found)


def says(node: NhrpdNode, view: str, key: str, *words: str, **what: object) -> bool:
    found = row(node, view, **what)
    return found is not None and all(each in str(found[key]) for each in words)


def wait_server(spoke: NhrpdNode, state: str, *words: str, deadline_s: float = 30.0) -> None:
    wait_until(
        lambda: (
            server(spoke)["state"] == state
            and all(each in str(server(spoke)["last_error"]) for each in words)
        ),
        deadline_s,
        f"the server is {state}, and {words} is said",
    )


def counted(node: NhrpdNode, direction: str, reason: str) -> int:
    found = row(node, "traffic", interface=TUNNEL, direction=direction, type=reason)
    return 0 if found is None else int(str(found["packets"]))


def metric(node: NhrpdNode, name: str, reason: str) -> float:
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(str(node.socket_path))
        control.sendall(b"GET /metrics HTTP/1.1\r\nHost: nhrpd\r\nConnection: close\r\n\r\n")
        answer = control.makefile("rb").read().decode()
    for line in answer.splitlines():
        if line.startswith(f"{name}{{") and f'reason="{reason}"' in line:
            return float(line.rpartition(" ")[2])
    return 0.0


def change_tunnel(node: Node, options: str) -> None:
    node.namespace.run(*f"ip tunnel change {TUNNEL} mode gre {options}".split())


def remake(node: Node) -> None:
    node.delete_tunnel()
    node.make_tunnel()


@contextlib.contextmanager
def spoiled(one: Node, hub: Node, how: str) -> Iterator[None]:
    """Keeps the outer packets to the hub from leaving, in one of three ways."""
    if how == "refused-to-send":
        rule = f"OUTPUT -d {hub.nbma} -p gre -j DROP"
        iptables(one.namespace, f"-I {rule}")
        yield
        iptables(one.namespace, f"-D {rule}")
        return
    route = f"unreachable {hub.nbma}/32"
    if how == "looped":
        route = f"{hub.nbma}/32 via {hub.tunnel} dev {TUNNEL} onlink"
    one.namespace.ip(f"route add {route}")
    yield
    one.namespace.ip(f"route del {route}")


@pytest.mark.timeout(120)
def test_a_key_that_the_server_does_not_have_is_called_so(lab: Lab) -> None:
    hub, one, _ = lab.nodes
    assert isinstance(one, NhrpdNode)
    change_tunnel(one, "key 43 ttl 64 dev eth0")
    wait_server(one, "probe", f"{hub.nbma} has no tunnel for GRE key 43")
    assert says(one, "peers", "last_error", "GRE key 43", nbma=hub.nbma)
    assert counted(one, "undelivered", "no-port") >= 3
    assert metric(one, "nhrpd_undelivered_total", "no-port") >= 3
    change_tunnel(one, "key 42 ttl 64 dev eth0")
    one.flush("all")
    wait_server(one, "up", "None")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("how", "words", "reason"),
    [
        ("icmp-admin-prohibited", "packet filter prohibits GRE to", "prohibited"),
        ("icmp-proto-unreachable", "does not take GRE", "no-protocol"),
        ("icmp-host-unreachable", "knows no way to", "no-route"),
    ],
)
def test_what_a_packet_filter_of_the_server_says_is_told(
    lab: Lab, how: str, words: str, reason: str
) -> None:
    hub, one, _ = lab.nodes
    assert isinstance(one, NhrpdNode)
    with rejected(hub, one, how):
        wait_server(one, "probe", words)
        assert counted(one, "undelivered", reason) >= 1
    one.flush("all")
    wait_server(one, "up", "None")


@pytest.mark.timeout(120)
def test_a_direct_path_that_is_rejected_is_left_at_once_and_the_reason_told(lab: Lab) -> None:
    _, one, two = lab.nodes
    assert isinstance(one, NhrpdNode)
    wait_direct(one, two)
    ping = one.lan.start_ping(two.lan_host, interval_s=0.05)
    with rejected(two, one, "icmp-admin-prohibited"):
        wait_until(
            lambda: says(one, "peers", "path", "failed", nbma=two.nbma), 10.0, "it is found out"
        )
        assert says(one, "peers", "last_error", "prohibits GRE", nbma=two.nbma)
        assert one.ping_lan(two, count=20, interval_s=0.05).lost == 0
        # The errors made the probe due at once: no more than its time, and the way back.
        assert ping.finish().lost * 0.05 <= 3.0


@pytest.mark.timeout(120)
def test_next_hop_that_is_gone_is_told_by_our_own_kernel(lab: Lab) -> None:
    """ARP finds nobody: the kernel's own ICMP error says so."""
    hub, one, _ = lab.nodes
    assert isinstance(one, NhrpdNode)
    hub.namespace.run("ip", "link", "set", "eth0", "arp", "off")
    one.namespace.run("ip", "neigh", "flush", "dev", "eth0")
    try:
        wait_server(one, "probe", f"this machine does not reach {hub.nbma}", deadline_s=60.0)
    finally:
        hub.namespace.run("ip", "link", "set", "eth0", "arp", "on")


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("no-route", "no route leads to the outer addresses"),
        ("looped", "routed into the tunnel itself"),
        ("refused-to-send", "does not send the outer packets"),
    ],
)
def test_what_a_spoke_does_not_send_is_told(lab: Lab, reason: str, words: str) -> None:
    hub, one, _ = lab.nodes
    assert isinstance(one, NhrpdNode)
    one.delete_tunnel()  # one that is not bound to its underlay
    one.namespace.ip(
        f"tunnel add {TUNNEL} mode gre key 42 ttl 64 local {one.nbma}",
        f"address add {one.tunnel}/32 dev {TUNNEL}",
    )
    one.tunnel_up()
    wait_server(one, "up", "None")
    ping = one.lan.start_ping(hub.lan_host, interval_s=0.2)
    with spoiled(one, hub, reason):
        wait_until(
            lambda: says(one, "interfaces", "losing", words, interface=TUNNEL),
            COUNTED_S,
            "the loss is told",
        )
    ping.stop()
    assert metric(one, "nhrpd_tunnel_lost_total", reason) >= 3
    remake(one)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("option", "reason", "words"),
    [
        ("iseq", "out-of-sequence", "sequence numbers"),
        ("icsum", "checksum", "only one end uses checksums"),
    ],
)
def test_what_a_hub_does_not_take_is_told(lab: Lab, option: str, reason: str, words: str) -> None:
    hub, one, _ = lab.nodes
    assert isinstance(hub, NhrpdNode)
    assert isinstance(one, NhrpdNode)
    wait_until(lambda: counted(hub, "lost", reason) == 0, 15.0, "nothing is lost")
    change_tunnel(hub, f"key 42 ttl 64 dev eth0 {option}")
    wait_until(
        lambda: says(hub, "interfaces", "losing", words, interface=TUNNEL),
        COUNTED_S,
        "the loss is told",
    )
    assert metric(hub, "nhrpd_tunnel_lost_total", reason) >= 3
    remake(hub)
