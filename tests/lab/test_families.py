"""An IPv6 overlay beside the IPv4 one."""

from collections.abc import Iterator

import pytest

from tests.lab.expect import (
    RESOLUTION_REPLY,
    RESOLUTION_REQUEST,
    TRAFFIC_INDICATION,
    route_protocol,
    row,
    wait_direct,
    wait_for_packet,
    wait_registered,
)
from tools.lab.namespace import wait_until
from tools.lab.nodes import FrrNode, NhrpdNode, dmvpn
from tools.lab.topology import Lab, Node

HOLDING_TIME_S = 60
HUBS: dict[str, type[Node]] = {"our-hub": NhrpdNode, "frr-hub": FrrNode}
IPV6_OVER_NHRP = 0x86DD


@pytest.fixture(scope="module", params=list(HUBS))
def both_families(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(ipv6=True, sample_rate="60/minute") as made:
        spokes = (NhrpdNode, NhrpdNode, FrrNode)
        dmvpn(made, hub=HUBS[request.param], spokes=spokes, holding_time_s=HOLDING_TIME_S)
        wait_registered(made)
        yield made


def registered6(hub: Node, spoke: Node) -> bool:
    nhs = spoke.binding(hub.tunnel6, "nhs")
    client = hub.binding(spoke.tunnel6, "dynamic")
    return nhs is not None and client is not None and client.nbma == spoke.nbma


def has_neighbor6(hub: Node, spoke: Node) -> bool:
    """FRR's hub has an entry as NUD_FAILED now and then, and leaves it so until it learns the client anew."""
    entry = hub.neighbors().get(spoke.tunnel6)
    if entry is not None and entry.nbma is None and isinstance(hub, FrrNode):
        hub.vtysh("clear ipv6 nhrp cache")
    return entry is not None and entry.nbma == spoke.nbma


def has_shortcut6(node: Node, peer: Node) -> bool:
    return node.shortcuts(ipv6=True).get(peer.lan_prefix6) == peer.tunnel6


@pytest.mark.parametrize("number", [3, 4], ids=["to-ours", "to-frr"])
def test_an_ipv6_overlay_has_shortcuts_too(both_families: Lab, number: int) -> None:
    lab = both_families
    hub, one = lab.hubs[0], lab.spokes[0]
    two = next(each for each in lab.spokes if each.number == number)
    for spoke in (one, two):
        wait_until(lambda spoke=spoke: registered6(hub, spoke), 20.0, "IPv6 registration")  # type: ignore[misc]
        wait_until(lambda spoke=spoke: has_neighbor6(hub, spoke), HOLDING_TIME_S, "its neighbour")  # type: ignore[misc]
        assert hub.routes(ipv6=True)[spoke.tunnel6].protocol == route_protocol(hub)

    with one.capture() as wire:
        assert wait_until(lambda: one.ping_lan(two, ipv6=True).received, 10.0, "a ping by the hub")

        def both_have_it() -> bool:
            one.ping_lan(two, ipv6=True)
            return has_shortcut6(one, two) and has_shortcut6(two, one)

        wait_until(both_have_it, 30.0, "IPv6 shortcuts both ways")
        assert one.ping_lan(two, ipv6=True, count=5).lost == 0
        assert wait_for_packet(
            lambda: [
                each
                for each in wire.carried(two.lan_host6, one.lan_host6)
                if each.outer_source == two.nbma
            ][4:]
        )
    there = wire.carried(one.lan_host6, two.lan_host6)
    back = wire.carried(two.lan_host6, one.lan_host6)
    assert (there[0].outer_destination, there[-1].outer_destination) == (hub.nbma, two.nbma)
    assert back[-1].outer_source == two.nbma
    if isinstance(hub, NhrpdNode):  # FRR's may lose the very first answer
        assert back[0].outer_source == hub.nbma
    for kind in (TRAFFIC_INDICATION, RESOLUTION_REQUEST, RESOLUTION_REPLY):
        messages = wire.nhrp(kind)
        assert IPV6_OVER_NHRP in {int.from_bytes(each.payload[2:4], "big") for each in messages}

    for node, peer in ((one, two), (two, one)):
        entry = node.neighbors()[peer.tunnel6]
        assert entry.nbma == peer.nbma
        routes = node.routes(ipv6=True)
        if isinstance(node, FrrNode):
            # zebra 8.4 leaves an IPv6 shortcut out of the kernel; nhrpd's host route does its work.
            assert routes[peer.lan_host6].protocol == route_protocol(node)
            continue
        assert isinstance(node, NhrpdNode)
        route = routes[peer.lan_prefix6]
        assert (route.via, route.protocol) == (peer.tunnel6, route_protocol(node))
        assert entry.state == "PERMANENT"
        shortcut = row(node, "shortcuts", afi="ipv6", prefix=peer.lan_prefix6)
        assert shortcut is not None
        assert (shortcut["state"], shortcut["nbma"]) == ("active", peer.nbma)


def test_the_families_do_not_disturb_each_other(both_families: Lab) -> None:
    one, two = both_families.spokes[:2]
    wait_direct(one, two)
    for node, peer in ((one, two), (two, one)):
        assert node.routes()[peer.lan_prefix].via == peer.tunnel
        assert isinstance(node, NhrpdNode)
        assert {each["afi"] for each in node.show("nhs") if each["state"] == "up"} == {
            "ipv4",
            "ipv6",
        }
