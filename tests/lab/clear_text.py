"""Watching for GRE in clear between a hub and a spoke."""

from collections.abc import Callable

from tests.lab.clouds import (
    GRE_AND_ESP,
    in_clear,
    peer,
)
from tools.lab.classic import ClassicNode
from tools.lab.namespace import PING_MINIMUM

Nodes = list[ClassicNode]


def lead_into_tunnel(node: ClassicNode, other: ClassicNode) -> None:
    """Leaves entries as an operator or a routing daemon may have left them."""
    node.namespace.ip(
        f"neigh replace {other.tunnel} lladdr {other.nbma} nud permanent dev gre1",
        f"route replace {other.tunnel} dev gre1",
    )


def watched(
    nodes: Nodes, what: Callable[[], None], *, least: float = PING_MINIMUM
) -> tuple[int, int]:
    """Pings both ways between the tunnel addresses while something is done; the GRE in clear, and all the ESP."""
    hub, spoke = nodes
    with hub.capture(expression=GRE_AND_ESP) as wire:
        pings = [
            spoke.namespace.start_ping(hub.tunnel, interval_s=0.05, source=spoke.tunnel),
            hub.namespace.start_ping(spoke.tunnel, interval_s=0.05, source=hub.tunnel),
        ]
        what()
        for ping in pings:
            ping.finish(least=least)
        packets = wire.stop()
    return len(in_clear(packets)), sum(packet.is_esp for packet in packets)


def ping_for(node: ClassicNode, other: ClassicNode) -> bool:
    return node.namespace.ping(other.tunnel, count=1, source=node.tunnel).received == 1


def is_up(node: ClassicNode, other: ClassicNode) -> bool:
    shown = peer(node, other)
    return shown is not None and shown["ipsec"] == "up"
