"""Our daemon and FRR's, in every role: registration, redirect, resolution, shortcut.

Two clouds, one with our hub and one with FRR's, and spokes of both kinds in each; what is asked of
a pair of spokes is asked of ours, of FRR's and of one of each. How long shortcuts live is the
subject of test_expiry.py.
"""

from collections.abc import Iterator

import pytest

from tests.lab.expect import (
    RESOLUTION_REPLY,
    RESOLUTION_REQUEST,
    TRAFFIC_INDICATION,
    is_ours,
    route_protocol,
    row,
    wait_direct,
    wait_registered,
)
from tools.lab.capture import Packet
from tools.lab.namespace import wait_until
from tools.lab.nodes import FrrNode, NhrpdNode, dmvpn
from tools.lab.topology import Lab, Node
from tools.lab.wiring import GRE_KEY

HOLDING_TIME_S = 30

HUBS: dict[str, type[Node]] = {"our-hub": NhrpdNode, "frr-hub": FrrNode}
SPOKES: tuple[type[Node], ...] = (NhrpdNode, NhrpdNode, FrrNode, FrrNode)
OURS, MIXED, FRRS = (2, 3), (2, 4), (4, 5)


@pytest.fixture(scope="module", params=list(HUBS))
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(sample_rate="60/minute") as made:
        dmvpn(made, hub=HUBS[request.param], spokes=SPOKES, holding_time_s=HOLDING_TIME_S)
        wait_registered(made)
        yield made


def test_registration_is_in_daemons_and_kernels(lab: Lab) -> None:
    hub = lab.hubs[0]
    for spoke in lab.spokes:
        binding = hub.binding(spoke.tunnel, "dynamic")
        assert binding is not None
        assert binding.nbma == spoke.nbma
        assert hub.neighbors()[spoke.tunnel].nbma == spoke.nbma
        assert hub.routes()[spoke.tunnel].protocol == route_protocol(hub)
        back = spoke.binding(hub.tunnel, "nhs")
        assert back is not None
        assert back.nbma == hub.nbma
        assert spoke.neighbors()[hub.tunnel].nbma == hub.nbma
        for node, peer in ((hub, spoke), (spoke, hub)):
            if isinstance(node, NhrpdNode):
                entry = node.neighbors()[peer.tunnel]
                assert (entry.state, entry.protocol) == ("PERMANENT", route_protocol(node))
        if isinstance(spoke, NhrpdNode):
            server = row(spoke, "nhs", state="up")
            assert server is not None
            assert (server["protocol"], server["last_error"]) == (hub.tunnel, None)


@pytest.mark.parametrize("numbers", [OURS, MIXED, FRRS], ids=["ours", "mixed", "frrs"])
def test_first_packets_go_over_the_hub_and_the_others_straight(
    lab: Lab, numbers: tuple[int, int]
) -> None:
    hub = lab.hubs[0]
    one, two = (next(each for each in lab.spokes if each.number == number) for number in numbers)
    without_shortcuts(one, two)
    with one.capture() as wire:
        first_answer(one, two)
        seconds = wait_direct(one, two)
        assert one.ping_lan(two, count=10, interval_s=0.05).lost == 0
    print(f"interop: direct path after {seconds:.2f} s")
    the_wire_tells_the_story(wire.packets(), hub, one, two)
    for node, peer in ((one, two), (two, one)):
        route = node.routes()[peer.lan_prefix]
        assert (route.via, route.protocol) == (peer.tunnel, route_protocol(node))
        assert node.neighbors()[peer.tunnel].nbma == peer.nbma
        binding = node.binding(peer.tunnel)
        assert binding is not None
        assert binding.nbma == peer.nbma
        if isinstance(node, NhrpdNode):
            shortcut = row(node, "shortcuts", prefix=peer.lan_prefix)
            assert shortcut is not None
            assert (shortcut["state"], shortcut["nbma"]) == ("active", peer.nbma)


def without_shortcuts(one: Node, two: Node) -> None:
    for node, peer in ((one, two), (two, one)):
        node.forget_shortcuts()
        wait_until(
            lambda node=node, peer=peer: peer.lan_prefix not in node.routes(),  # type: ignore[misc]
            5.0,
            f"{node.name} without a shortcut",
        )


def first_answer(one: Node, two: Node) -> None:
    """FRR may lose a first packet while its neighbour entries settle; ours may not."""
    if is_ours(one, two, one.lab.hubs[0]):
        assert one.ping_lan(two).lost == 0
    else:
        wait_until(lambda: one.ping_lan(two).received, 10.0, "a ping over the hub")


def the_wire_tells_the_story(packets: list[Packet], hub: Node, one: Node, two: Node) -> None:
    """What passed `one`: data over the hub, its indication, our question to it, the answer, data straight."""
    there = [
        each
        for each in packets
        if (each.inner_source, each.inner_destination) == (one.lan_host, two.lan_host)
    ]
    back = [
        each
        for each in packets
        if (each.inner_source, each.inner_destination) == (two.lan_host, one.lan_host)
    ]
    assert there[0].outer_destination == hub.nbma
    assert back[0].outer_source == hub.nbma
    assert there[-1].outer_destination == two.nbma
    assert back[-1].outer_source == two.nbma
    assert {each.gre_key for each in packets} == {GRE_KEY}

    nhrp = [each for each in packets if each.is_nhrp]
    told = [each for each in nhrp if each.nhrp_type == TRAFFIC_INDICATION]
    asked = [
        each
        for each in nhrp
        if each.nhrp_type == RESOLUTION_REQUEST and each.outer_source == one.nbma
    ]
    answered = [
        each
        for each in nhrp
        if each.nhrp_type == RESOLUTION_REPLY and each.outer_destination == one.nbma
    ]
    assert told[0].outer_source == hub.nbma
    assert asked[0].outer_destination == hub.nbma
    assert told[0].time < asked[0].time < answered[0].time
