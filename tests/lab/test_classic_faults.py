"""The classic DMVPN when charon restarts, or a hub is switched off and on."""

import time
from collections.abc import Iterator

import pytest

from nhrpd_py.runtime.vici.orphans import GRACE_S
from tests.lab.clouds import (
    cloud,
    make_shortcuts,
    server_state,
    timed,
    wait_ready,
)
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
    wait_ready(built)
    return built


def forwards(one: ClassicNode, two: ClassicNode) -> bool:
    return one.ping_lan(two).received == 1


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
    end = time.monotonic() + GRACE_S + 15.0
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
