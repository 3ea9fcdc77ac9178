"""OSPF over the tunnel where FRR's nhrpd is the hub."""

from tests.lab.ospf import all_full, build, lans_are_routed
from tools.lab.multicast import FrrTalker, Talker
from tools.lab.namespace import wait_until
from tools.lab.topology import Lab


def test_ospf_goes_by_the_hub_of_frr_too() -> None:
    with Lab(static=False) as lab:
        cloud = build(lab, FrrTalker, Talker, FrrTalker)
        wait_until(lambda: all_full(cloud), 60.0, "OSPF is full everywhere")
        wait_until(lambda: lans_are_routed(cloud), 20.0, "routes to all LANs")
        _, one, two = lab.nodes
        wait_until(lambda: one.ping_lan(two).received, 20.0, "a ping")
