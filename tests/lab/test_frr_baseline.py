"""The lab itself, proved with FRR on every node: what our daemon is compared with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tools.lab.namespace import wait_until
from tools.lab.nodes import FrrNode, dmvpn, registered
from tools.lab.topology import Binding, Lab, Node

FRR_PROTOCOL = 191
TRAFFIC_INDICATION = 8


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield dmvpn(made, hub=FrrNode, spokes=(FrrNode, FrrNode))


def ping_until_shortcut(one: Node, two: Node) -> str | None:
    one.ping_lan(two)
    return one.shortcuts().get(two.lan_prefix)


def wait_for_registration(lab: Lab, spoke: Node) -> Binding:
    hub = lab.hubs[0]
    return wait_until(lambda: registered(hub, spoke), 20.0, f"{spoke.name} registers")


def test_spokes_register_and_the_hub_has_neighbours_and_host_routes(lab: Lab) -> None:
    hub = lab.hubs[0]
    for spoke in lab.spokes:
        binding = wait_for_registration(lab, spoke)
        assert binding.nbma == spoke.nbma
        assert hub.neighbors()[spoke.tunnel].nbma == spoke.nbma
        assert hub.routes()[spoke.tunnel].protocol == FRR_PROTOCOL


def test_lan_traffic_is_redirected_to_the_direct_path(lab: Lab) -> None:
    one, two = lab.spokes
    hub = lab.hubs[0]
    for spoke in lab.spokes:
        wait_for_registration(lab, spoke)
    with one.capture() as wire:
        wait_until(lambda: one.ping_lan(two).received, 10.0, "a ping over the hub")
        wait_until(lambda: ping_until_shortcut(one, two), 20.0, "a shortcut")
        assert one.ping_lan(two, count=3).lost == 0
    route = one.routes()[two.lan_prefix]
    assert (route.via, route.protocol) == (two.tunnel, FRR_PROTOCOL)
    requests = wire.carried(one.lan_host, two.lan_host)
    assert requests[0].outer_destination == hub.nbma
    assert requests[-1].outer_destination == two.nbma
    assert requests[-1].gre_key == 42
    assert wire.nhrp(TRAFFIC_INDICATION)[0].outer_source == hub.nbma
