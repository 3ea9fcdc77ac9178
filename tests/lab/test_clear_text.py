"""No packet of a protected tunnel ever travels in clear, whatever becomes of charon and of us."""

from collections.abc import Iterator

import pytest

from tests.lab.clear_text import is_up, lead_into_tunnel, ping_for, watched
from tests.lab.clouds import (
    cloud,
    server_state,
    wait_ready,
)
from tests.lab.expect import timed
from tools.lab.classic import ClassicNode
from tools.lab.namespace import wait_until

Nodes = list[ClassicNode]


@pytest.fixture(scope="module")
def built() -> Iterator[Nodes]:
    with cloud({}, {}, bgp=False) as (_, nodes):
        yield nodes


@pytest.fixture
def nodes(built: Nodes) -> Nodes:
    """A hub and a spoke, registered by one SA; what speaks on the tunnel all the time is a ping, not BGP."""
    wait_ready(built)
    hub, spoke = built
    for node, other in ((hub, spoke), (spoke, hub)):
        wait_until(
            lambda node=node, other=other: len(node.charon.children(other.nbma)) == 1,  # type: ignore[misc]
            30.0,
            f"one SA on {node.name}",
        )
    return built


def test_after_a_delete(nodes: Nodes) -> None:
    hub, spoke = nodes

    def delete() -> None:
        hub.charon.swanctl("--terminate", "--ike-id", str(hub.charon.children()[0].ike_id))
        wait_until(lambda: server_state(spoke) == "up" and is_up(hub, spoke), 30.0, "back")

    clear, esp = watched(nodes, delete)
    assert (clear, esp > 0) == (0, True)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_while_charon_is_gone(nodes: Nodes, how: str) -> None:
    hub, spoke = nodes

    def take_away() -> None:
        getattr(spoke.charon, how)()
        if how == "stop":
            wait_until(lambda: server_state(spoke) != "up", 20.0, "the spoke knows it")
        else:
            assert spoke.namespace.ping(hub.tunnel, count=5, source=spoke.tunnel).lost == 0
        spoke.charon.start()
        # The SA of a charon that was killed lives on in the kernel: its successor has to make its own.
        wait_until(lambda: spoke.charon.children(hub.nbma), 40.0, "charon has an SA again")
        wait_until(lambda: server_state(spoke) == "up" and is_up(hub, spoke), 40.0, "back")

    clear, esp = watched(nodes, take_away)
    assert (clear, esp > 0) == (0, True)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_while_the_daemon_is_gone(nodes: Nodes, how: str) -> None:
    hub, spoke = nodes

    def take_away() -> None:
        getattr(spoke, how)()
        spoke.charon.swanctl("--terminate", "--ike", "*", check=False)
        for child in spoke.charon.children():
            spoke.charon.swanctl("--terminate", "--ike-id", str(child.ike_id))
        lead_into_tunnel(spoke, hub)
        assert spoke.namespace.ping(hub.tunnel, count=3, source=spoke.tunnel).received == 0
        spoke.start()
        wait_until(lambda: server_state(spoke) == "up", 40.0, "back")

    clear, esp = watched(nodes, take_away)
    spoke.namespace.ip(f"route delete {hub.tunnel} dev gre1 proto boot")
    assert (clear, esp > 0) == (0, True)


def test_after_a_peer_died(nodes: Nodes) -> None:
    """DPD: the sample's strongswan.conf gives a dead peer up after about half a minute."""
    hub, spoke = nodes

    def die() -> None:
        spoke.namespace.ip("link set eth0 down")
        seconds = timed(lambda: not is_up(hub, spoke), 90.0, "the hub's charon finds out")
        print(f"a dead peer's SA was gone after {seconds:.1f} s")
        assert hub.neighbors().get(spoke.tunnel) is None or not hub.binding(spoke.tunnel)
        spoke.namespace.ip("link set eth0 up")
        wait_until(lambda: server_state(spoke) == "up" and is_up(hub, spoke), 90.0, "back")

    # The kernel holds a ping back whose destination has no neighbour entry, as here half the time.
    clear, esp = watched(nodes, die, least=0.2)
    assert (clear, esp > 0) == (0, True)


def test_a_setting_that_skips_all_policies_closes_the_tunnel(nodes: Nodes) -> None:
    """Within a second or two: the kernel tells nobody of such a setting."""
    hub, spoke = nodes
    setting = "net.ipv4.conf.eth0.disable_xfrm"

    def leads_somewhere() -> bool:
        return spoke.nbma in hub.namespace.run("ip", "neigh", "show", "dev", "gre1")

    hub.namespace.run("sysctl", "-qw", f"{setting}=1")
    wait_until(lambda: not leads_somewhere(), 15.0, "the hub's kernel knows no way to the spoke")
    (shown,) = hub.show("interfaces")
    assert f"sysctl -w {setting.replace('.', '/')}=0" in shown["problem"]

    def ping() -> None:
        assert not ping_for(hub, spoke)

    assert watched(nodes, ping)[0] == 0
    hub.namespace.run("sysctl", "-qw", f"{setting}=0")
    wait_until(lambda: server_state(spoke) == "up" and is_up(hub, spoke), 90.0, "back")
    wait_until(lambda: ping_for(spoke, hub), 30.0, "traffic")
    assert leads_somewhere()


def test_a_policy_that_lets_gre_pass_closes_the_tunnel(nodes: Nodes) -> None:
    """As charon's bypass-lan makes it for a network that its gateways share."""
    hub, spoke = nodes
    own, peer = hub.nbma, spoke.nbma
    lan = ("src", "172.16.0.0/16", "dst", "172.16.0.0/16", "dir", "out", "priority", "175423")
    hub.namespace.run("ip", "xfrm", "policy", "add", *lan)  # no outer address of ours fits it
    hole = ("src", f"{own}/32", "dst", f"{peer}/32", "dir", "out")
    assert ping_for(hub, spoke)

    def open_hole() -> None:
        hub.namespace.run("ip", "xfrm", "policy", "add", *hole, "priority", "175423")

    seconds = []

    def closed() -> bool:
        return peer not in hub.namespace.run("ip", "neigh", "show", "dev", "gre1")

    open_hole()
    seconds.append(timed(closed, 10.0, "the hub's kernel knows no way to the spoke"))
    print(f"closed after {seconds[0]:.2f} s")
    assert seconds[0] < 1.5
    (shown,) = hub.show("interfaces")
    assert f"lets GRE between {own} and {peer} pass in clear text" in shown["problem"]
    assert "bypass-lan { load = no }" in shown["problem"]
    assert hub.logged("guard.failed")

    def ping() -> None:
        assert not ping_for(hub, spoke)

    assert watched(nodes, ping)[0] == 0
    hub.namespace.run("ip", "xfrm", "policy", "delete", *hole)
    wait_until(lambda: server_state(spoke) == "up" and is_up(hub, spoke), 90.0, "back")
    wait_until(lambda: ping_for(spoke, hub), 30.0, "traffic")
    hub.namespace.run("ip", "xfrm", "policy", "delete", *lan[:6])
