"""Shortcuts in use outlive their holding time, idle ones end and are built again: with FRR about.

The pairs of test_interop.py, all at once in one cloud, for it takes several holding times.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.lab.expect import (
    RESOLUTION_REQUEST,
    goes_straight,
    is_ours,
    wait_direct,
    wait_registered,
)
from tools.lab.namespace import wait_until
from tools.lab.nodes import FrrNode, NhrpdNode, dmvpn
from tools.lab.topology import Lab, Node

HOLDING_TIME_S = 12
"""The kernel takes 5 s to tell that an entry is used; much less would leave no time to renew."""
TRAFFIC_S = 2.0 * HOLDING_TIME_S
IDLE_LIMIT_S = 2.5 * HOLDING_TIME_S
PING_INTERVAL_S = 0.1

HUBS: dict[str, type[Node]] = {"our-hub": NhrpdNode, "frr-hub": FrrNode}
SPOKES: tuple[type[Node], ...] = (NhrpdNode, NhrpdNode, FrrNode, FrrNode)


@pytest.fixture(params=list(HUBS))
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(sample_rate="60/minute") as made:
        dmvpn(made, hub=HUBS[request.param], spokes=SPOKES, holding_time_s=HOLDING_TIME_S)
        wait_registered(made)
        yield made


def test_traffic_keeps_a_shortcut_and_silence_ends_it(lab: Lab) -> None:
    hub = lab.hubs[0]
    ours, other_ours, frr, other_frr = lab.spokes
    pairs = [(ours, other_ours), (ours, frr), (frr, other_frr)]
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        pings = []
        for one, two in pairs:
            wait_direct(one, two)
            # From now on without a break, for the kernel needs its time to see that an entry is used.
            count = int(TRAFFIC_S / PING_INTERVAL_S)
            pings.append(pool.submit(one.ping_lan, two, count=count, interval_s=PING_INTERVAL_S))
        wires = [stack.enter_context(one.capture()) for one, _ in pairs]
        results = [ping.result() for ping in pings]
    for (one, two), wire, done in zip(pairs, wires, results, strict=True):
        # A way that FRR has to find may be missing for a moment, when it renews or loses it.
        allowed = 0 if is_ours(one, two) else done.sent // 50
        assert done.lost <= allowed, f"{one.name} to {two.name}: {done.output[-300:]}"
        if is_ours(one):
            carried = wire.carried(one.lan_host, two.lan_host)
            assert {packet.outer_destination for packet in carried} == {two.nbma}
            asked = [
                each for each in wire.nhrp(RESOLUTION_REQUEST) if each.outer_source == one.nbma
            ]
            # Renewals take the routed path, probes the direct one.
            assert {each.outer_destination for each in asked} >= {hub.nbma, two.nbma}
    assert goes_straight(ours, other_ours)

    began = time.monotonic()
    for one, two in pairs:
        for node, peer in ((one, two), (two, one)):
            wait_for_expiry(node, peer)
    print(f"expiry: idle shortcuts went within {time.monotonic() - began:.1f} s")
    for one, two in pairs:
        if is_ours(one, two, hub):
            assert one.ping_lan(two).lost == 0, "over the hub again, without a gap"
        wait_direct(one, two)


def wait_for_expiry(node: Node, peer: Node) -> None:
    wait_until(
        lambda: peer.lan_prefix not in node.routes(),
        IDLE_LIMIT_S,
        f"{node.name}'s idle shortcut to expire",
        interval_s=0.5,
    )
    wait_until(
        lambda: node.shortcuts().get(peer.lan_prefix) is None, 5.0, "and the daemon to forget it"
    )
