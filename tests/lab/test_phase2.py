"""Phase 2: a /24 on the tunnel, and a kernel that asks for the tunnel address of another spoke."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.lab.expect import (
    OUR_PROTOCOL,
    RESOLUTION_REPLY,
    RESOLUTION_REQUEST,
    row,
    wait_for_packet,
    wait_registered,
)
from tools.lab.namespace import wait_until
from tools.lab.nodes import FrrNode, NhrpdNode, dmvpn
from tools.lab.topology import Lab, Node
from tools.lab.wiring import TUNNEL

HOLDING_TIME_S = 12
DELAY_MS = 50.0
"""So that a resolution takes some packets' time, also of a quick ping."""
NOBODY = "10.255.255.77"

CLOUDS: dict[str, type[Node]] = {"our-hub": NhrpdNode, "frr-hub": FrrNode}
SPOKES: tuple[type[Node], ...] = (NhrpdNode, NhrpdNode, FrrNode)


@pytest.fixture(scope="module", params=list(CLOUDS))
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(phase=2, delay_ms=DELAY_MS) as made:
        dmvpn(made, hub=CLOUDS[request.param], spokes=SPOKES, holding_time_s=HOLDING_TIME_S)
        for spoke in made.spokes:
            if isinstance(spoke, FrrNode):
                route_over_the_hub(spoke)
        wait_registered(made)
        yield made


def route_over_the_hub(spoke: FrrNode) -> None:
    """FRR never asks for what its kernel lacks, and answers only whom it has a routed way to."""
    hub = spoke.lab.hubs[0]
    via = f"via {hub.tunnel} dev {TUNNEL} onlink"
    others = [other.lan_prefix for other in spoke.lab.spokes if other is not spoke]
    spoke.namespace.ip(
        *(f"route replace {prefix} {via}" for prefix in ("10.255.255.0/24", *others))
    )


@pytest.fixture
def one(lab: Lab) -> NhrpdNode:
    """Our spoke, which has forgotten what it asked for before."""
    spoke = lab.spokes[0]
    assert isinstance(spoke, NhrpdNode)
    spoke.flush("all")
    others = {other.tunnel for other in lab.spokes}
    wait_until(
        lambda: others.isdisjoint(spoke.neighbors()), 5.0, "a kernel that knows no other spoke"
    )
    wait_registered(lab)
    return spoke


@pytest.mark.parametrize("number", [3, 4], ids=["of-ours", "of-frr"])
def test_an_unknown_tunnel_address_is_resolved_and_nothing_is_lost(
    lab: Lab, one: NhrpdNode, number: int
) -> None:
    hub = lab.hubs[0]
    two = next(each for each in lab.spokes if each.number == number)
    with one.capture() as wire:
        done = one.ping_lan(two, count=40, interval_s=0.05, wait_s=2.0)
        assert done.lost == 0, done.output
        assert wait_for_packet(lambda: wire.carried(one.lan_host, two.lan_host)[39:])
        carried = wire.carried(one.lan_host, two.lan_host)
    assert carried[0].outer_destination == hub.nbma, "relayed while it was being resolved"
    assert carried[-1].outer_destination == two.nbma
    requests = [each for each in wire.nhrp(RESOLUTION_REQUEST) if each.outer_source == one.nbma]
    assert requests[0].outer_destination == hub.nbma
    assert wire.nhrp(RESOLUTION_REPLY)
    first_direct = next(each for each in carried if each.outer_destination == two.nbma)
    print(f"phase 2: direct path after {first_direct.time - carried[0].time:.3f} s")

    neighbor = one.neighbors()[two.tunnel]
    assert (neighbor.nbma, neighbor.state, neighbor.protocol) == (
        two.nbma,
        "PERMANENT",
        OUR_PROTOCOL,
    )
    assert two.tunnel not in one.routes(), "the connected prefix covers it"
    learnt = row(one, "cache", protocol=two.tunnel)
    assert learnt is not None
    assert (learnt["type"], learnt["nbma"]) == ("cached", two.nbma)
    assert two.lan_prefix not in one.shortcuts()


def test_a_host_that_asks_for_the_spoke_itself(lab: Lab, one: NhrpdNode) -> None:
    two = lab.spokes[1]
    done = one.namespace.ping(two.tunnel, count=20, interval_s=0.05, wait_s=2.0)
    assert done.lost == 0, done.output
    assert one.neighbors()[two.tunnel].nbma == two.nbma


def test_a_neighbour_in_use_outlives_its_holding_time_and_an_idle_one_goes(
    lab: Lab, one: NhrpdNode
) -> None:
    two = lab.spokes[1]
    seconds = HOLDING_TIME_S * 1.6
    assert one.ping_lan(two, count=20, interval_s=0.05, wait_s=2.0).lost == 0
    wait_until(lambda: one.binding(two.tunnel, "cached"), 5.0, "the answer")
    with one.capture() as wire, ThreadPoolExecutor() as pool:
        ping = pool.submit(one.ping_lan, two, count=int(seconds / 0.1), interval_s=0.1, wait_s=2.0)
        neighbors = set()
        while not ping.done():
            entry = one.neighbors().get(two.tunnel)
            neighbors.add(entry.nbma if entry else None)
            time.sleep(0.2)
        done = ping.result()
        carried = wire.carried(one.lan_host, two.lan_host)
    assert done.lost == 0, done.output[-500:]
    assert {each.outer_destination for each in carried} == {two.nbma}
    assert neighbors == {two.nbma}, "never without its entry, never over the hub"
    assert [each for each in wire.nhrp(RESOLUTION_REQUEST) if each.outer_source == one.nbma]

    began = time.monotonic()
    wait_until(
        lambda: two.tunnel not in one.neighbors(), HOLDING_TIME_S * 2.5, "the idle entry to go"
    )
    assert one.binding(two.tunnel) is None
    print(f"phase 2: an idle entry went after {time.monotonic() - began:.1f} s")
    assert one.ping_lan(two, count=20, interval_s=0.05, wait_s=2.0).lost == 0
    assert one.neighbors()[two.tunnel].nbma == two.nbma


def test_an_address_that_nobody_has_is_unreachable_soon(lab: Lab, one: NhrpdNode) -> None:
    began = time.monotonic()
    wait_until(
        lambda: "Unreachable" in one.lan.ping(NOBODY, count=1, wait_s=4.0).output,
        12.0,
        "an ICMP error for the sender",
    )
    print(f"phase 2: host unreachable after {time.monotonic() - began:.2f} s")
    if isinstance(lab.hubs[0], NhrpdNode):  # FRR's keeps silent

        def refusal() -> dict[str, object] | None:
            one.lan.ping(NOBODY, count=1, wait_s=1.0)  # the first refusal counts for 5 s only
            return row(one, "cache", protocol=NOBODY, type="negative")

        refused = wait_until(refusal, 10.0, "a negative entry")
        assert refused["nbma"] == lab.hubs[0].nbma, "it is the hub that says so, and knows best"
        assert one.neighbors()[NOBODY].nbma == lab.hubs[0].nbma
