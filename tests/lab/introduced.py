"""What the charon tests of the lab itself share: nodes without nhrpd, introduced to each other by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tools.lab.charon import Charon
from tools.lab.classic import ClassicNode
from tools.lab.machine import Role
from tools.lab.topology import Lab, Node

NHRPD_PROTOCOL = 208


def cloud(lab: Lab, *options: dict[str, Any]) -> list[ClassicNode]:
    """Hub 1 and spokes 2, 3…, each with its options, and everything but nhrpd started."""
    roles = [Role.HUB, *[Role.SPOKE] * (len(options) - 1)]
    nodes = [
        lab.add(ClassicNode(number=number, role=role, **each))
        for number, (role, each) in enumerate(zip(roles, options, strict=True), start=1)
    ]
    for node in nodes:
        node.start_services()
    return nodes


def introduce(one: Node, two: Node) -> None:
    """Does by hand what nhrpd does for two nodes that are to talk directly."""
    for node, peer in ((one, two), (two, one)):
        node.namespace.ip(
            f"neigh replace {peer.tunnel} lladdr {peer.nbma} nud permanent dev gre1",
            f"route replace {peer.tunnel} dev gre1 proto {NHRPD_PROTOCOL} metric 10",
        )


def load_clone(charon: Charon, local: str, remote: str) -> str:
    """Loads the connection of swanctl.conf for one peer and returns its name."""
    name = f"nhrp-{remote}"
    charon.request("load-conn", {name: charon.connection(local, remote)})
    return name


def connect(one: ClassicNode, two: ClassicNode) -> None:
    """Asks one charon for a CHILD_SA with another node; raises with charon's words without it."""
    name = load_clone(one.charon, one.nbma, two.nbma)
    one.charon.request("initiate", {"child": "dmvpn", "ike": name, "timeout": "8000"})


def refused(one: ClassicNode, two: ClassicNode) -> str:
    """Asks in vain and returns the end of the initiator's log."""
    with pytest.raises(Exception, match=r"establishing CHILD_SA 'dmvpn' failed|not established"):
        connect(one, two)
    assert one.charon.children() == []
    return one.charon.log_path.read_text()[-4000:]
