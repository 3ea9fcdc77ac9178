"""Our daemon and FRR's, in every role: registration, redirect, shortcut, expiry, rebuild."""

import time
from collections.abc import Iterator

import pytest

from tests.lab.expect import (
    RESOLUTION_REPLY,
    RESOLUTION_REQUEST,
    TRAFFIC_INDICATION,
    goes_straight,
    route_protocol,
    wait_direct,
    wait_registered,
)
from tools.lab.namespace import wait_until
from tools.lab.nodes import NhrpdNode, dmvpn
from tools.lab.topology import Lab, Node

HOLDING_TIME_S = 24

CASTS: dict[str, tuple[type[Node], tuple[type[Node], ...]]] = {
    "all-ours": (NhrpdNode, (NhrpdNode, NhrpdNode)),
}


@pytest.fixture(scope="module", params=list(CASTS))
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    hub, spokes = CASTS[request.param]
    with Lab(sample_rate="60/minute") as made:
        yield dmvpn(made, hub=hub, spokes=spokes, holding_time_s=HOLDING_TIME_S)


def test_life_of_a_shortcut(lab: Lab) -> None:
    """One test a cast, for each step stands on the one before."""
    hub = lab.hubs[0]
    one, two = lab.spokes
    wait_registered(lab)
    registration_is_everywhere(hub, one, two)
    with one.capture() as wire:
        first_answer(one, two)
        seconds = wait_direct(one, two)
    print(f"interop: direct path after {seconds:.2f} s")
    the_wire_tells_the_story(wire.carried(one.lan_host, two.lan_host), hub, two)
    if any(isinstance(each, NhrpdNode) for each in (hub, one)):
        assert [packet.outer_source for packet in wire.nhrp(TRAFFIC_INDICATION)].count(hub.nbma)
    asked = [each for each in wire.nhrp(RESOLUTION_REQUEST) if each.outer_source == one.nbma]
    assert asked
    assert asked[0].outer_destination == hub.nbma
    assert wire.nhrp(RESOLUTION_REPLY)
    the_kernel_has_the_shortcut(one, two)
    the_kernel_has_the_shortcut(two, one)
    ours = [each for each in (one, two) if isinstance(each, NhrpdNode)]
    if len(ours) == 2:
        stays_straight_over_its_holding_time(one, two)
    goes_when_idle(one, two)
    assert one.ping_lan(two, count=2).lost == 0
    wait_direct(one, two)


def registration_is_everywhere(hub: Node, *spokes: Node) -> None:
    for spoke in spokes:
        binding = hub.binding(spoke.tunnel, "dynamic")
        assert binding is not None
        assert binding.nbma == spoke.nbma
        assert hub.neighbors()[spoke.tunnel].nbma == spoke.nbma
        assert hub.routes()[spoke.tunnel].protocol == route_protocol(hub)
        back = spoke.binding(hub.tunnel, "nhs")
        assert back is not None
        assert back.nbma == hub.nbma
        assert spoke.neighbors()[hub.tunnel].nbma == hub.nbma
        if isinstance(hub, NhrpdNode):
            assert hub.neighbors()[spoke.tunnel].state == "PERMANENT"


def first_answer(one: Node, two: Node) -> None:
    """FRR as hub may lose a first packet while its neighbour entries settle; ours may not."""
    if all(isinstance(each, NhrpdNode) for each in one.lab.nodes):
        assert one.ping_lan(two).lost == 0
    else:
        wait_until(lambda: one.ping_lan(two).received, 10.0, "a ping over the hub")


def the_wire_tells_the_story(carried: list, hub: Node, two: Node) -> None:
    destinations = [packet.outer_destination for packet in carried]
    assert destinations[0] == hub.nbma
    assert destinations[-1] == two.nbma


def the_kernel_has_the_shortcut(node: Node, peer: Node) -> None:
    route = node.routes()[peer.lan_prefix]
    assert (route.via, route.protocol) == (peer.tunnel, route_protocol(node))
    assert node.neighbors()[peer.tunnel].nbma == peer.nbma


def stays_straight_over_its_holding_time(one: Node, two: Node) -> None:
    """Traffic keeps a shortcut alive: for more than a holding time no packet sees the hub."""
    hub = one.lab.hubs[0]
    with one.capture() as wire:
        end = time.monotonic() + HOLDING_TIME_S * 1.5
        while time.monotonic() < end:
            assert one.ping_lan(two, count=5, interval_s=0.2).lost == 0
        carried = wire.carried(one.lan_host, two.lan_host)
    assert carried
    assert {packet.outer_destination for packet in carried} == {two.nbma}
    asked = [each for each in wire.nhrp(RESOLUTION_REQUEST) if each.outer_source == one.nbma]
    assert {each.outer_destination for each in asked} == {hub.nbma}, "renewed along the routed path"
    assert goes_straight(one, two)


def goes_when_idle(one: Node, two: Node) -> None:
    for node, peer in ((one, two), (two, one)):
        wait_for_expiry(node, peer)


def wait_for_expiry(node: Node, peer: Node) -> None:
    wait_until(
        lambda: peer.lan_prefix not in node.routes(),
        HOLDING_TIME_S * 2.5,
        f"{node.name}'s idle shortcut to expire",
        interval_s=0.5,
    )
    assert node.shortcuts().get(peer.lan_prefix) is None
