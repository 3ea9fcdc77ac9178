"""Clouds whose routes come from OSPF, by multicast over the tunnel."""

from tests.lab.expect import wait_registered
from tools.lab.machine import Role
from tools.lab.multicast import RoutingProtocols, Talker, link_local, replicate
from tools.lab.topology import Lab, Node
from tools.lab.wiring import TUNNEL

Cloud = tuple[Lab, dict[str, RoutingProtocols]]


def build(lab: Lab, hub: type[Node], *spokes: type[Node], pim: bool = False) -> Cloud:
    """A cloud without static routes; nodes with our daemon have OSPFv3 as well, where there is IPv6."""
    lab.add(hub(number=1, role=Role.HUB))
    for number, kind in enumerate(spokes, start=2):
        lab.add(kind(number=number, role=Role.SPOKE))
    protocols = {}
    for node in lab.nodes:
        replicate(node)
        has_ospfv3 = lab.ipv6 and isinstance(node, Talker)
        if has_ospfv3:
            node.namespace.ip(f"address add {link_local(node)}/64 dev {TUNNEL} nodad")
        protocols[node.name] = RoutingProtocols(node=node, ospfv3=has_ospfv3, pim=pim)
    lab.start()
    for each in protocols.values():
        each.start()
    wait_registered(lab)
    return lab, protocols


def all_full(cloud: Cloud) -> bool:
    lab, protocols = cloud
    (hub,) = lab.hubs
    return protocols[hub.name].full() == {spoke.tunnel for spoke in lab.spokes} and all(
        protocols[spoke.name].full() == {hub.tunnel} for spoke in lab.spokes
    )


def lans_are_routed(cloud: Cloud) -> bool:
    lab, _ = cloud
    return all(
        other.lan_prefix in node.routes()
        for node in lab.nodes
        for other in lab.nodes
        if other is not node
    )
