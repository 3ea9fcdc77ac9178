"""The classic DMVPN end to end: stock charons with certificates, BGP over the tunnels, NHRP, shortcuts in ESP."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.clouds import (
    GRE_AND_ESP,
    cloud,
    drop_shortcuts,
    has_shortcut,
    in_clear,
    make_shortcuts,
    peer,
    straight,
    wait_ready,
)
from tests.lab.expect import row
from tools.lab.classic import ClassicNode
from tools.lab.namespace import wait_until

Nodes = list[ClassicNode]


@pytest.fixture(scope="module")
def built() -> Iterator[Nodes]:
    with cloud({}, {}, {}) as (_, nodes):
        yield nodes


@pytest.fixture
def nodes(built: Nodes) -> Nodes:
    """A hub and two spokes that are registered, with traffic between the LANs over the hub."""
    drop_shortcuts(*built[1:])
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
        (child,) = node.charon.children(other.nbma)
        assert (child.mode, child.remote_id) == ("TRANSPORT", other.identity)
        assert row(node, "cache", protocol=other.tunnel, up=True, identity=other.identity)
        assert row(node, "shortcuts", prefix=other.lan_prefix, identity=other.identity)
        shown = peer(node, other)
        assert shown is not None
        assert (shown["ipsec"], shown["identity"]) == ("up", other.identity)
    assert bgp_ups(hub) == sessions, "BGP went on running"
    # The shortcut stands beside BGP's route, which is still the best that BGP knows.
    assert one.routing.prefixes()[two.lan_prefix] == hub.tunnel


@pytest.mark.parametrize("what", ["--child", "--ike"])
def test_rekeying_loses_no_packet(nodes: Nodes, what: str) -> None:
    hub, one, _ = nodes
    (before,) = one.charon.children(hub.nbma)
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
    drop_shortcuts(one, two)
    one.charon.swanctl("--terminate", "--ike", one.charon.children(two.nbma)[0].connection)
    make_shortcuts(one, two)
    assert server_rows(one) == server_rows(two) == ["up"]
    assert hub.charon.children(one.nbma)


def test_both_spokes_asking_at_once_find_each_other(nodes: Nodes) -> None:
    _, one, two = nodes
    drop_shortcuts(one, two)
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


def server_rows(node: ClassicNode) -> list[Any]:
    return [each["state"] for each in node.show("nhs")]


def bgp_ups(hub: ClassicNode) -> dict[str, int]:
    """How often each BGP session of the hub came up."""
    neighbors = hub.routing.show("ip bgp neighbors")
    return {address: each["connectionsEstablished"] for address, each in neighbors.items()}
