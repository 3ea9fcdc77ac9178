"""Classic clouds for the lab tests: charon, BGP, DNS and nhrpd on every node, and what is looked at in them."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from tests.lab.expect import row
from tools.lab.capture import Packet
from tools.lab.classic import ClassicNode
from tools.lab.machine import Role
from tools.lab.namespace import wait_until
from tools.lab.nodes import registered
from tools.lab.topology import Lab

GRE_AND_ESP = "ip proto 47 or ip proto 50 or udp port 4500"
HOLDING_TIME_S = 60


@contextlib.contextmanager
def cloud(
    *options: dict[str, Any],
    start: bool = True,
    nhrpd: bool = True,
    static: bool = False,
    firewall_sample: bool = False,
    **common: Any,
) -> Iterator[tuple[Lab, list[ClassicNode]]]:
    """Hub 1 and spokes 2, 3…, one a dictionary, each with its options and those that are common.

    All daemons run, unless `start` is false; all but nhrpd, if `nhrpd` is.
    `static` routes between the sites are for clouds without BGP. With `firewall_sample` all LANs share
    four samples a minute.
    """
    usual: dict[str, Any] = {"holding_time_s": HOLDING_TIME_S, **common}
    roles = [Role.HUB, *[Role.SPOKE] * (len(options) - 1)]
    with Lab(private_run=True, static=static, firewall_sample=firewall_sample) as lab:
        nodes = [
            lab.add(ClassicNode(number=number, **{"role": role, **usual, **each}))
            for number, (role, each) in enumerate(zip(roles, options, strict=True), start=1)
        ]
        if start:
            for node in nodes:
                node.start_services()
        if start and nhrpd:
            for node in nodes:
                node.start()
        yield lab, nodes


def wait_ready(nodes: Sequence[ClassicNode], deadline_s: float = 60.0) -> float:
    """Waits until all spokes are registered, and BGP has told each of the others' LANs; says how long."""
    hub, *spokes = nodes
    began = time.monotonic()
    for spoke in spokes:
        wait_until(
            lambda spoke=spoke: registered(hub, spoke) and server_state(spoke) == "up",  # type: ignore[misc]
            deadline_s,
            f"{spoke.name} registers with {hub.name}",
        )
    for spoke in spokes:
        if spoke.bgp:
            for other in spokes:
                if other is not spoke:
                    wait_until(
                        lambda spoke=spoke, other=other: leads_to_hub(spoke, other, hub),  # type: ignore[misc]
                        deadline_s,
                        f"{spoke.name} has the route to {other.lan_prefix}",
                    )
    return time.monotonic() - began


def leads_to_hub(spoke: ClassicNode, other: ClassicNode, hub: ClassicNode) -> bool:
    """Tells whether a spoke's kernel sends to another's LAN over the hub."""
    route = spoke.routes().get(other.lan_prefix)
    return route is not None and route.via == hub.tunnel


def server_state(spoke: ClassicNode) -> object:
    servers = spoke.show("nhs")
    return servers[0]["state"] if servers else None


def peer(node: ClassicNode, other: ClassicNode) -> dict[str, object] | None:
    """The row of `show peers` about another node."""
    return row(node, "peers", nbma=other.nbma)


def has_shortcut(one: ClassicNode, two: ClassicNode) -> bool:
    """Tells whether a daemon and its kernel send straight to another's LAN."""
    route = one.routes().get(two.lan_prefix)
    return (
        route is not None
        and route.via == two.tunnel
        and row(one, "shortcuts", prefix=two.lan_prefix, state="active") is not None
    )


def make_shortcuts(one: ClassicNode, two: ClassicNode, deadline_s: float = 40.0) -> None:
    """Pings until traffic goes straight both ways."""

    def both() -> bool:
        one.ping_lan(two)
        return has_shortcut(one, two) and has_shortcut(two, one)

    wait_until(both, deadline_s, f"shortcuts between {one.name} and {two.name}")


def in_clear(packets: Sequence[Packet]) -> list[Packet]:
    """The GRE packets that travelled unprotected."""
    return [packet for packet in packets if not packet.is_esp and packet.ike_exchange is None]


def straight(packets: Sequence[Packet], one: ClassicNode, two: ClassicNode) -> list[Packet]:
    """The packets that two nodes sent to each other without the hub."""
    ends = {one.nbma, two.nbma}
    return [each for each in packets if {each.outer_source, each.outer_destination} == ends]
