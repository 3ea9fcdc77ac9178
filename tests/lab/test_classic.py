"""The classic DMVPN end to end: stock charons with certificates, BGP over the tunnels, NHRP, shortcuts in ESP.

All tests share one cloud, and leave it so that it works or comes to work again by itself.
"""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from nhrpd_py.core.ipsec.associations import DESERTED_S
from nhrpd_py.runtime.vici.orphans import GRACE_S, LOOK_S
from tests.lab.clouds import (
    GRE_AND_ESP,
    cloud,
    has_shortcut,
    in_clear,
    make_shortcuts,
    peer,
    server_state,
    straight,
    wait_ready,
)
from tests.lab.expect import row, timed
from tools.lab.charon import Child
from tools.lab.classic import ClassicNode
from tools.lab.namespace import wait_until
from tools.lab.nodes import registered

Nodes = list[ClassicNode]


@pytest.fixture(scope="module")
def built() -> Iterator[Nodes]:
    with cloud({}, {}, {}) as (_, nodes):
        yield nodes


@pytest.fixture
def nodes(built: Nodes) -> Nodes:
    """A hub and two spokes that are registered, with traffic between the LANs over the hub."""
    for spoke in built[1:]:
        spoke.forget_shortcuts()
    wait_ready(built)
    return built


def test_lan_traffic_starts_over_the_hub_and_moves_to_an_sa_between_the_spokes(
    nodes: Nodes,
) -> None:
    hub, one, two = nodes
    sessions = bgp_ups(hub)
    with one.capture(expression=GRE_AND_ESP) as wire:
        wait_until(lambda: one.ping_lan(two).received, 10.0, "the first ping")
        make_shortcuts(one, two)
        assert one.ping_lan(two, count=5).lost == 0
        packets = wait_until(lambda: straight(wire.packets(), one, two)[9:], 5.0, "packets")
        everything = wire.packets()
    assert packets
    assert in_clear(everything) == []
    for node, other in ((one, two), (two, one)):
        children = node.charon.children(other.nbma)
        assert 1 <= len(children) <= 2, "where charon is slow both ends make one"
        for child in children:
            assert (child.mode, child.remote_id) == ("TRANSPORT", other.identity)
        assert row(node, "cache", protocol=other.tunnel, up=True, identity=other.identity)
        assert row(node, "shortcuts", prefix=other.lan_prefix, identity=other.identity)
        shown = peer(node, other)
        assert shown is not None
        assert (shown["ipsec"], shown["identity"]) == ("up", other.identity)
    assert bgp_ups(hub) == sessions, "BGP went on running"
    # The shortcut stands beside BGP's route, which is still the best that BGP knows.
    assert one.routing.prefixes()[two.lan_prefix] == hub.tunnel


def the_only_sa(node: ClassicNode, other: ClassicNode) -> Child:
    """Leaves the newest of the SAs of a pair: after a fault both ends may have made one."""
    *older, newest = sorted(node.charon.children(other.nbma), key=lambda each: each.child_id)
    for each in older:
        node.charon.swanctl("--terminate", "--child-id", str(each.child_id))
    wait_until(lambda: len(node.charon.children(other.nbma)) == 1, 10.0, "one SA")
    return newest


@pytest.mark.parametrize("what", ["--child", "--ike"])
def test_rekeying_loses_no_packet(nodes: Nodes, what: str) -> None:
    hub, one, _ = nodes
    before = the_only_sa(one, hub)
    name = "dmvpn" if what == "--child" else before.connection
    ping = one.namespace.start_ping(hub.tunnel, interval_s=0.02, source=one.tunnel)
    one.charon.swanctl("--rekey", what, name)

    def rekeyed() -> bool:
        now = one.charon.children(hub.nbma)
        return [(each.ike_id, each.child_id) for each in now] != [
            (before.ike_id, before.child_id)
        ] and len(now) == 1

    wait_until(rekeyed, 20.0, f"{what} rekeyed")
    assert ping.finish().lost == 0
    shown = peer(one, hub)
    assert shown is not None
    assert shown["ipsec"] == "up"


def test_load_all_in_between_changes_nothing(nodes: Nodes) -> None:
    hub, one, two = nodes
    make_shortcuts(one, two)
    for node in nodes:
        node.charon.swanctl("--load-all", "--noprompt")
    assert one.ping_lan(two, count=5).lost == 0
    assert has_shortcut(one, two)
    for spoke in (one, two):
        spoke.forget_shortcuts()
    one.charon.swanctl("--terminate", "--ike", one.charon.children(two.nbma)[0].connection)
    make_shortcuts(one, two)
    assert server_rows(one) == server_rows(two) == ["up"]
    assert hub.charon.children(one.nbma)


def test_both_spokes_asking_at_once_find_each_other(nodes: Nodes) -> None:
    _, one, two = nodes
    for spoke in (one, two):
        spoke.forget_shortcuts()
    pings = [
        one.lan.start_ping(two.lan_host, interval_s=0.1),
        two.lan.start_ping(one.lan_host, interval_s=0.1),
    ]
    wait_until(
        lambda: has_shortcut(one, two) and has_shortcut(two, one), 40.0, "shortcuts both ways"
    )
    for ping in pings:
        assert ping.finish().received
    assert 1 <= len(one.charon.children(two.nbma)) <= 2
    assert one.ping_lan(two, count=5).lost == 0


# What fails: charon restarts or crashes, a hub is switched off and on.


def test_charon_restarted_on_the_hub(nodes: Nodes) -> None:
    hub, one, two = nodes
    hub.charon.restart()
    seconds = timed(
        lambda: all(server_state(node) == "up" and registered(hub, node) for node in (one, two)),
        60.0,
        "both spokes are registered again",
    )
    wait_until(lambda: forwards(one, two), 40.0, "traffic between the LANs")
    print(f"registered again {seconds:.1f} s after charon of the hub was restarted")


def test_a_charon_that_crashed_on_the_hub_costs_no_traffic(nodes: Nodes) -> None:
    """Its SAs live on in the kernel until the spokes have them made anew."""
    hub, *spokes = nodes
    hub.charon.kill()
    hub.charon.start()
    # Were they given up, three pings to each spoke would tell.
    end = time.monotonic() + GRACE_S + LOOK_S + 2 * 3 * 1.0
    silent = dict.fromkeys(spokes, 0)
    while time.monotonic() < end:
        for spoke in spokes:
            lost = hub.namespace.ping(spoke.tunnel, count=1, source=hub.tunnel).lost
            silent[spoke] = silent[spoke] + 1 if lost else 0
            assert silent[spoke] < 3, f"{spoke.name} does not answer"
    for spoke in spokes:
        spoke.charon.restart()
        wait_until(lambda spoke=spoke: hub.charon.children(spoke.nbma), 40.0, "a new SA")  # type: ignore[misc]
    wait_ready(nodes)


def test_a_charon_that_stays_away_costs_the_shortcut_and_not_the_traffic(nodes: Nodes) -> None:
    """Its peer gives the SA up after a pause, and the kernel here would send into it for ever."""
    _, one, two = nodes
    make_shortcuts(one, two)
    one.charon.kill()
    for child in two.charon.children(one.nbma):
        two.charon.swanctl("--terminate", "--ike-id", str(child.ike_id), "--force", check=False)
    wait_until(lambda: not two.charon.children(one.nbma), 10.0, "the peer has no SA")
    assert has_shortcut(one, two)
    seconds = timed(lambda: forwards(one, two), DESERTED_S + 10.0, "traffic over the hub")
    assert not has_shortcut(one, two)
    one.charon.start()
    wait_ready(nodes)
    make_shortcuts(one, two, 90.0)
    print(f"traffic took the hub after {seconds:.1f} s")


def test_charon_restarted_on_a_spoke(nodes: Nodes) -> None:
    hub, one, two = nodes
    make_shortcuts(one, two)
    one.charon.restart()
    seconds = timed(
        lambda: server_state(one) == "up" and registered(hub, one), 60.0, "registered again"
    )
    assert server_state(two) == "up"
    wait_until(lambda: forwards(one, two), 40.0, "traffic between the LANs")
    print(f"registered again {seconds:.1f} s after charon of the spoke was restarted")


def test_a_hub_that_is_switched_off_and_on_has_its_spokes_again(nodes: Nodes) -> None:
    hub, one, two = nodes
    hub.power_off()
    hub.power_on()
    seconds = timed(
        lambda: all(registered(hub, node) and server_state(node) == "up" for node in (one, two)),
        90.0,
        "both spokes are registered again",
    )
    wait_until(lambda: forwards(one, two), 60.0, "traffic between the LANs")
    print(f"registered again {seconds:.1f} s after the daemons of the hub stood again")


def forwards(one: ClassicNode, two: ClassicNode) -> bool:
    return one.ping_lan(two).received == 1


def server_rows(node: ClassicNode) -> list[Any]:
    return [each["state"] for each in node.show("nhs")]


def bgp_ups(hub: ClassicNode) -> dict[str, int]:
    """How often each BGP session of the hub came up."""
    neighbors = hub.routing.show("ip bgp neighbors")
    return {address: each["connectionsEstablished"] for address, each in neighbors.items()}
