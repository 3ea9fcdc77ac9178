"""Spokes behind NAT with IPsec: UDP encapsulation, which address is whose, and the direct path."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.clouds import (
    GRE_AND_ESP,
    HOLDING_TIME_S,
    cloud,
    has_shortcut,
    in_clear,
    peer,
    server_state,
    straight,
    wait_ready,
)
from tests.lab.expect import row
from tools.lab.classic import ClassicNode
from tools.lab.machine import Nat
from tools.lab.namespace import wait_until

pytestmark = pytest.mark.timeout(400)

Nodes = list[ClassicNode]


@pytest.fixture(scope="module")
def built() -> Iterator[Nodes]:
    """Spoke 2 behind a router that forwards IKE and ESP to it, spoke 3 without NAT, spoke 4 masqueraded.

    Spoke 5 is behind the router of spoke 4, and starts when it is told to.
    """
    masqueraded: dict[str, Any] = {"nat": Nat.MASQUERADE}
    options: tuple[dict[str, Any], ...] = (
        {},
        {"nat": Nat.STATIC},
        {},
        masqueraded,
        {**masqueraded, "nat_of": 4},
    )
    with cloud(*options, static=True, bgp=False, start=False) as (_, nodes):
        for node in nodes[:4]:
            node.start()
        yield nodes


@pytest.fixture
def nodes(built: Nodes) -> Nodes:
    wait_ready(built[:4])
    return built[:4]


def test_the_hub_knows_both_addresses_and_all_is_encrypted(nodes: Nodes) -> None:
    hub, *spokes = nodes
    with hub.capture(expression=GRE_AND_ESP) as wire:
        for spoke in spokes:
            assert hub.namespace.ping(spoke.tunnel, count=3, source=hub.tunnel).lost == 0
    packets = wire.stop()
    assert in_clear(packets) == []
    for spoke in spokes:
        client = row(hub, "cache", protocol=spoke.tunnel)
        shown = peer(hub, spoke)
        assert client is not None
        assert shown is not None
        assert client["nbma"] == spoke.nbma
        assert client["nat"] is (spoke.nat is not Nat.NONE)
        assert (shown["ipsec"], shown["identity"]) == ("up", spoke.identity)


@pytest.mark.parametrize("number", [2, 4])
def test_the_direct_path_to_a_spoke_behind_nat(nodes: Nodes, number: int) -> None:
    outside, hidden = nodes[2], nodes[number - 1]

    def both() -> bool:
        outside.ping_lan(hidden)
        return has_shortcut(outside, hidden) and has_shortcut(hidden, outside)

    wait_until(both, 90.0, "shortcuts both ways")
    with outside.capture(expression=GRE_AND_ESP) as wire:
        assert outside.ping_lan(hidden, count=5).lost == 0
    packets = wire.stop()
    assert in_clear(packets) == []
    assert straight(packets, outside, hidden)


def test_the_second_behind_one_router_is_refused_until_the_first_is_gone(built: Nodes) -> None:
    """The kernel would encrypt for the one what is for the other; before, they drove each other out for ever."""
    hub, _, _, first, second = built
    wait_ready(built[:4])
    second.start()
    try:
        words = f"{second.identity} comes from {first.nbma}, where {first.identity} is"
        wait_until(lambda: hub.logged(words), 60.0, "the hub says why")
        wait_until(lambda: server_state(second) != "up", 30.0, "it is not registered")
        # A registration that came before its SA was ended goes with it.
        wait_until(lambda: hub.binding(second.tunnel) is None, HOLDING_TIME_S / 3, "nor bound")
        wait_until(
            lambda: hub.namespace.ping(first.tunnel, count=10, source=hub.tunnel).lost == 0,
            60.0,
            "the first is served",
        )
        assert server_state(first) == "up"
        first.stop()
        first.charon.stop()
        wait_until(lambda: hub.binding(second.tunnel, "dynamic"), 120.0, "the second has its turn")
        ping = hub.namespace.ping(second.tunnel, count=5, source=hub.tunnel)
        assert ping.lost == 0
    finally:
        second.stop()
        second.charon.stop()
        if not first.charon.running:
            first.start()
    wait_until(lambda: hub.binding(first.tunnel, "dynamic"), 120.0, "the first is back")
