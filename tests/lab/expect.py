"""What the lab tests wait for and look at, in the words of an operator."""

import time
from collections.abc import Callable

from tools.lab.capture import Packet
from tools.lab.namespace import wait_until
from tools.lab.nodes import FrrNode, NhrpdNode, registered
from tools.lab.topology import Binding, Lab, Node

OUR_PROTOCOL = 208
FRR_PROTOCOL = 191
RESOLUTION_REQUEST, RESOLUTION_REPLY, TRAFFIC_INDICATION = 1, 2, 8


def is_ours(*nodes: Node) -> bool:
    """Tells whether our daemon speaks NHRP on all of them."""
    return all(isinstance(node, NhrpdNode) for node in nodes)


def route_protocol(node: Node) -> int:
    """The number that marks a node's routes in its kernel."""
    return FRR_PROTOCOL if isinstance(node, FrrNode) else OUR_PROTOCOL


def wait_registered(lab: Lab, deadline_s: float = 25.0) -> float:
    """Waits until every spoke is registered with every hub, in daemons and kernels; says how long."""
    started_at = time.monotonic()
    for hub in lab.hubs:
        for spoke in lab.spokes:
            wait_one_registered(hub, spoke, deadline_s)
    return time.monotonic() - started_at


def wait_one_registered(hub: Node, spoke: Node, deadline_s: float = 25.0) -> Binding:
    found = wait_until(
        lambda: registered(hub, spoke), deadline_s, f"{spoke.name} registers with {hub.name}"
    )
    wait_until(
        lambda: _programmed(hub, spoke) and _programmed(spoke, hub),
        5.0,
        f"kernel entries of {hub.name} and {spoke.name} for each other",
    )
    return found


def _programmed(node: Node, peer: Node) -> bool:
    neighbor = node.neighbors().get(peer.tunnel)
    return neighbor is not None and neighbor.nbma is not None


def wait_direct(one: Node, two: Node, deadline_s: float = 30.0) -> float:
    """Pings until both spokes have the shortcut to each other's LAN and packets go straight; says how long."""
    started_at = time.monotonic()

    def both_have_it() -> bool:
        one.ping_lan(two)
        return all(
            node.shortcuts().get(peer.lan_prefix) == peer.tunnel
            for node, peer in ((one, two), (two, one))
        )

    wait_until(both_have_it, deadline_s, f"shortcuts between {one.name} and {two.name}")
    wait_until(
        lambda: goes_straight(one, two), 10.0, f"a direct path from {one.name} to {two.name}"
    )
    return time.monotonic() - started_at


def goes_straight(one: Node, two: Node) -> bool:
    """Tells whether pings between two LANs bypass the hub, both ways, and none is lost."""
    with one.capture() as wire:
        lost = one.ping_lan(two, count=2).lost
        there = wait_for_packet(lambda: wire.carried(one.lan_host, two.lan_host))
        back = wait_for_packet(lambda: wire.carried(two.lan_host, one.lan_host))
    return (
        lost == 0
        and bool(there)
        and bool(back)
        and {packet.outer_destination for packet in there} == {two.nbma}
        and {packet.outer_source for packet in back} == {two.nbma}
    )


def wait_for_packet(find: Callable[[], list[Packet]]) -> list[Packet]:
    """The capture is written by another process: gives it time to appear."""
    try:
        return wait_until(find, 3.0, "captured packets")
    except AssertionError:
        return []


def our_entries(node: Node) -> list[str]:
    """Neighbours and routes of our protocol number that the kernel has."""
    neighbors = [
        address for address, each in node.neighbors().items() if each.protocol == OUR_PROTOCOL
    ]
    routes = [prefix for prefix, each in node.routes().items() if each.protocol == OUR_PROTOCOL]
    return neighbors + routes


def timed(what: Callable[[], object], deadline_s: float, about: str) -> float:
    """Waits for something; says how many seconds it took."""
    began = time.monotonic()
    wait_until(what, deadline_s, about)
    return time.monotonic() - began


def row(node: NhrpdNode, view: str, **wanted: object) -> dict[str, object] | None:
    """The first row of a view with these values."""
    for each in node.show(view):
        if all(each[key] == value for key, value in wanted.items()):
            return dict(each)
    return None
