"""No packet of a protected tunnel ever travels in clear, whatever becomes of charon and of us."""

from collections.abc import Callable, Iterator

import pytest

from tests.lab.clouds import (
    GRE_AND_ESP,
    cloud,
    in_clear,
    peer,
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


def lead_into_tunnel(node: ClassicNode, other: ClassicNode) -> None:
    """Leaves entries as an operator or a routing daemon may have left them."""
    node.namespace.ip(
        f"neigh replace {other.tunnel} lladdr {other.nbma} nud permanent dev gre1",
        f"route replace {other.tunnel} dev gre1",
    )


def watched(nodes: Nodes, what: Callable[[], None]) -> tuple[int, int]:
    """Pings both ways between the tunnel addresses while something is done; the GRE in clear, and all the ESP."""
    hub, spoke = nodes
    with hub.capture(expression=GRE_AND_ESP) as wire:
        pings = [
            spoke.namespace.start_ping(hub.tunnel, interval_s=0.05, source=spoke.tunnel),
            hub.namespace.start_ping(spoke.tunnel, interval_s=0.05, source=hub.tunnel),
        ]
        what()
        for ping in pings:
            ping.finish()
        packets = wire.stop()
    return len(in_clear(packets)), sum(packet.is_esp for packet in packets)


def ping_for(node: ClassicNode, other: ClassicNode) -> bool:
    return node.namespace.ping(other.tunnel, count=1, source=node.tunnel).received == 1


def is_up(node: ClassicNode, other: ClassicNode) -> bool:
    shown = peer(node, other)
    return shown is not None and shown["ipsec"] == "up"


def test_before_the_first_sa_and_while_it_is_made() -> None:
    with cloud({}, {}, start=False, bgp=False) as (_, nodes):
        hub, spoke = nodes
        hub.start()
        lead_into_tunnel(hub, spoke)
        lead_into_tunnel(spoke, hub)
        spoke.start_services()

        def bring_up() -> None:
            spoke.start()
            wait_until(lambda: server_state(spoke) == "up", 40.0, "registration")

        # The hub's guard stands; the spoke's not before its daemon: only what the hub lets in counts here.
        with hub.capture(expression="ip proto 47 and src host " + hub.nbma) as wire:
            bring_up()
        assert wire.packets() == []

        def ping() -> None:
            wait_until(lambda: ping_for(spoke, hub), 5.0, "ping")

        clear, esp = watched(nodes, ping)
        assert (clear, esp > 0) == (0, True)


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

    clear, esp = watched(nodes, die)
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
