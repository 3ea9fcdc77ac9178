"""The lab itself, proved without NHRP: stock charons, and BGP over neighbours set by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.by_hand import NHRPD_PROTOCOL, connect, introduce
from tests.lab.clouds import cloud
from tools.lab.classic import ClassicNode
from tools.lab.namespace import wait_until


def wait_announced(hub: ClassicNode, spoke: ClassicNode, other: ClassicNode) -> None:
    """Waits until a spoke has what the hub announces of another, in BGP and in its kernel."""
    wanted = {"172.16.0.0/16", other.lan_prefix, f"{other.tunnel}/32"}
    wait_until(lambda: spoke.routing.established(hub.tunnel), 30.0, f"BGP session of {spoke.name}")
    wait_until(
        lambda: (
            wanted <= {each for each, via in spoke.routing.prefixes().items() if via == hub.tunnel}
        ),
        15.0,
        f"{wanted} on {spoke.name}",
    )
    wait_until(
        lambda: (route := spoke.routes().get(other.lan_prefix)) and route.via == hub.tunnel,
        5.0,
        f"{other.lan_prefix} in the kernel of {spoke.name}",
    )


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[ClassicNode]]:
    with cloud({}, {}, {}, nhrpd=False) as (_, built):
        yield built


def test_a_clone_brings_up_a_child_sa_and_gre_goes_through_it(nodes: list[ClassicNode]) -> None:
    hub, spoke, _ = nodes
    introduce(hub, spoke)
    with spoke.capture(expression="ip proto 47 or ip proto 50") as wire:
        if not spoke.charon.children(hub.nbma):  # of another test
            connect(spoke, hub)
        assert spoke.namespace.ping(hub.tunnel, count=3, source=spoke.tunnel).lost == 0
        packets = wait_until(lambda: wire.packets()[5:] and wire.packets(), 5.0, "six packets")
    assert all(packet.is_esp for packet in packets)
    (mine,), (theirs,) = spoke.charon.children(hub.nbma), hub.charon.children(spoke.nbma)
    assert (mine.mode, mine.remote_id) == ("TRANSPORT", hub.identity)
    assert (theirs.mode, theirs.remote_id) == ("TRANSPORT", spoke.identity)
    assert (mine.spi_in, mine.spi_out) == (theirs.spi_out, theirs.spi_in)


def test_bgp_reflects_the_lans_with_the_hub_as_next_hop(nodes: list[ClassicNode]) -> None:
    hub, one, two = nodes
    for spoke in (one, two):
        introduce(hub, spoke)
        if not spoke.charon.children(hub.nbma):
            connect(spoke, hub)
    for spoke, other in ((one, two), (two, one)):
        wait_announced(hub, spoke, other)
    with one.capture(expression="ip proto 47 or ip proto 50") as wire:
        wait_until(lambda: one.ping_lan(two).received, 10.0, "a ping over the hub")
        assert one.ping_lan(two, count=3).lost == 0
    assert {packet.is_esp for packet in wire.packets()} == {True}


def test_a_shortcut_takes_the_place_of_the_bgp_route_and_is_not_announced(
    nodes: list[ClassicNode],
) -> None:
    hub, one, two = nodes
    test_bgp_reflects_the_lans_with_the_hub_as_next_hop(nodes)
    introduce(one, two)
    shortcut = f"{two.lan_prefix} via {two.tunnel} dev gre1 onlink proto {NHRPD_PROTOCOL} metric 10"
    one.namespace.ip(f"route replace {shortcut}")
    # zebra takes its own route back: whoever watches the kernel must not think that BGP lost it.
    wait_until(
        lambda: len(one.namespace.ip_json("route", "show", two.lan_prefix)) == 1,
        10.0,
        "the BGP route leaves the kernel",
    )
    assert one.routes()[two.lan_prefix].via == two.tunnel
    assert one.routes()["172.16.0.0/16"].via == hub.tunnel
    assert one.routing.prefixes()[two.lan_prefix] == hub.tunnel
    assert hub.routing.prefixes()[two.lan_prefix] == two.tunnel
    announced = one.routing.show(f"ip bgp neighbors {hub.tunnel} advertised-routes")
    assert set(announced["advertisedRoutes"]) == {one.lan_prefix}
    one.namespace.ip(f"route delete {shortcut}")
    wait_until(
        lambda: (route := one.routes().get(two.lan_prefix)) and route.via == hub.tunnel,
        10.0,
        "the BGP route is back in the kernel",
    )


def test_names_are_resolved_in_the_nodes(nodes: list[ClassicNode]) -> None:
    hub, spoke, _ = nodes
    assert hub.nbma in spoke.namespace.run("getent", "ahostsv4", "hub1.vpn.example")
    assert spoke.namespace.run("getent", "ahostsv4", "nobody.vpn.example", check=False) == ""
