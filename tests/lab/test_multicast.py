"""OSPF and PIM of FRR over the tunnel: our daemon is the hub, with spokes of ours and one of FRR's."""

from collections.abc import Iterator

import pytest

from tests.lab.expect import row
from tests.lab.ospf import Cloud, all_full, build, lans_are_routed
from tools.lab.multicast import FrrTalker, Talker, link_local
from tools.lab.namespace import wait_until
from tools.lab.topology import Lab


@pytest.fixture(scope="module")
def ours() -> Iterator[Cloud]:
    with Lab(static=False, ipv6=True) as lab:
        yield build(lab, Talker, Talker, Talker, FrrTalker, pim=True)


def test_ospf_has_full_adjacencies_and_exchanges_the_lans(ours: Cloud) -> None:
    lab, _ = ours
    _, one, two, frr = lab.nodes
    wait_until(lambda: all_full(ours), 40.0, "OSPF is full everywhere")
    wait_until(lambda: lans_are_routed(ours), 20.0, "routes to all LANs")
    for there in (two, frr):
        wait_until(lambda: one.ping_lan(there).received, 20.0, f"a ping to {there.name}")  # noqa: B023


def test_ospfv3_has_full_adjacencies_and_exchanges_the_lans(ours: Cloud) -> None:
    """It speaks by link-local addresses alone, which nobody registers."""
    lab, protocols = ours
    hub, one, two, _ = lab.nodes

    def are_full() -> bool:
        return protocols[hub.name].full6() == {one.tunnel, two.tunnel} and all(
            protocols[spoke.name].full6() == {hub.tunnel} for spoke in (one, two)
        )

    wait_until(are_full, 40.0, "OSPFv3 is full everywhere")
    wait_until(
        lambda: (
            two.lan_prefix6 in one.routes(ipv6=True) and one.lan_prefix6 in two.routes(ipv6=True)
        ),
        20.0,
        "routes to the LANs",
    )
    wait_until(lambda: one.ping_lan(two, ipv6=True).received, 20.0, "a ping over IPv6")
    assert one.neighbors()[link_local(hub)].nbma == hub.nbma
    assert hub.neighbors()[link_local(one)].nbma == one.nbma


def test_hellos_of_pim_arrive(ours: Cloud) -> None:
    lab, protocols = ours
    (hub,) = lab.hubs
    everybody = {spoke.tunnel for spoke in lab.spokes}
    wait_until(lambda: protocols[hub.name].pim_neighbors() == everybody, 20.0, "spokes at the hub")
    for spoke in lab.spokes:
        wait_until(
            lambda: protocols[spoke.name].pim_neighbors() == {hub.tunnel},  # noqa: B023
            20.0,
            f"the hub at {spoke.name}",
        )


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_adjacencies_are_there_after_a_restart_of_the_hub_s_daemon(ours: Cloud, how: str) -> None:
    lab, _ = ours
    (hub,) = lab.hubs
    assert isinstance(hub, Talker)
    getattr(hub, how)()
    hub.start()
    wait_until(lambda: row(hub, "interfaces", multicast_targets=3), 20.0, "targets")
    wait_until(lambda: all_full(ours), 40.0, "OSPF is full everywhere")
    wait_until(lambda: lans_are_routed(ours), 20.0, "routes to all LANs")
