"""Spokes behind NAT: what hub and peers learn about them, and the direct path to them."""

from collections.abc import Iterator

import pytest

from tests.lab.expect import row, wait_direct, wait_registered
from tools.lab.machine import Nat, Role
from tools.lab.namespace import wait_until
from tools.lab.nodes import FrrNode, NhrpdNode
from tools.lab.topology import Lab, Node

HOLDING_TIME_S = 60
HUBS: dict[str, type[Node]] = {"our-hub": NhrpdNode, "frr-hub": FrrNode}


@pytest.fixture(scope="module", params=list(HUBS))
def behind_nat(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Spoke 2 behind a router that forwards GRE, spoke 3 on the Internet, spoke 4 masqueraded."""
    with Lab(sample_rate="60/minute") as made:
        made.add(HUBS[request.param](number=1, role=Role.HUB, holding_time_s=HOLDING_TIME_S))
        for number, nat in ((2, Nat.STATIC), (3, Nat.NONE), (4, Nat.MASQUERADE)):
            made.add(
                NhrpdNode(
                    number=number,
                    role=Role.SPOKE,
                    nat=nat,
                    holding_time_s=HOLDING_TIME_S,
                    shortcut=nat is not Nat.MASQUERADE,
                )
            )
        made.start()
        wait_registered(made)
        yield made


def test_hub_and_spoke_know_both_addresses_of_a_spoke_behind_nat(behind_nat: Lab) -> None:
    hub = behind_nat.hubs[0]
    for spoke in behind_nat.spokes:
        assert isinstance(spoke, NhrpdNode)
        is_natted = spoke.nat is not Nat.NONE
        binding = hub.binding(spoke.tunnel, "dynamic")
        assert binding is not None
        assert binding.nbma == spoke.nbma
        assert hub.neighbors()[spoke.tunnel].nbma == spoke.nbma
        if is_natted:
            assert binding.claimed_nbma == spoke.underlay
        if isinstance(hub, NhrpdNode):
            client = row(hub, "cache", protocol=spoke.tunnel, type="dynamic")
            assert client is not None
            assert client["nat"] is is_natted
        own = row(spoke, "cache", type="local")
        assert own is not None
        assert (own["nbma"], own["claimed_nbma"], own["nat"]) == (
            spoke.nbma,
            spoke.underlay,
            is_natted,
        )


def test_a_spoke_behind_static_nat_has_shortcuts_both_ways(behind_nat: Lab) -> None:
    inside, outside, _ = behind_nat.spokes
    assert isinstance(inside, NhrpdNode)
    assert isinstance(outside, NhrpdNode)
    with outside.capture() as wire:
        wait_direct(outside, inside)
    there = wire.carried(outside.lan_host, inside.lan_host)
    back = wire.carried(inside.lan_host, outside.lan_host)
    assert (there[-1].outer_destination, back[-1].outer_source) == (inside.nbma, inside.nbma)
    assert outside.neighbors()[inside.tunnel].nbma == inside.nbma
    assert inside.neighbors()[outside.tunnel].nbma == outside.nbma
    learnt = row(outside, "cache", protocol=inside.tunnel)
    assert learnt is not None
    assert (learnt["nbma"], learnt["claimed_nbma"], learnt["nat"]) == (
        inside.nbma,
        inside.underlay,
        True,
    )
    shortcut = row(outside, "shortcuts", prefix=inside.lan_prefix)
    assert shortcut is not None
    assert (shortcut["via"], shortcut["nbma"]) == (inside.tunnel, inside.nbma)


def test_a_masqueraded_spoke_without_shortcuts_is_served_over_the_hub(behind_nat: Lab) -> None:
    """Its router lets in only what answers. Plain GRE from a stranger would even close the way out.

    So such a spoke declines to be reached directly, and whoever asks is told.
    """
    hub = behind_nat.hubs[0]
    _, outside, hidden = behind_nat.spokes
    assert isinstance(outside, NhrpdNode)
    with outside.capture() as wire:
        assert hidden.ping_lan(outside, count=5).lost == 0

        def refusal() -> dict[str, object] | None:
            outside.ping_lan(hidden)
            return row(outside, "shortcuts", state="negative", prefix=f"{hidden.lan_host}/32")

        refused = wait_until(refusal, 10.0, "a refusal")
        assert outside.ping_lan(hidden, count=5).lost == 0
    assert refused["via"] is None
    there = wire.carried(outside.lan_host, hidden.lan_host)
    assert {each.outer_destination for each in there} == {hub.nbma}
    assert hidden.lan_prefix not in outside.routes()
