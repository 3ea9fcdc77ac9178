"""What nhrpd does for nodes that are to talk to each other, done by hand for the tests that run without it."""

from __future__ import annotations

import pytest

from tools.lab.charon import Charon
from tools.lab.classic import ClassicNode
from tools.lab.topology import Node

NHRPD_PROTOCOL = 208


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
    """Asks in vain and returns what both charons logged meanwhile."""
    logs = [node.charon.log_path for node in (one, two)]
    before = [len(log.read_bytes()) for log in logs]
    with pytest.raises(Exception, match=r"establishing CHILD_SA 'dmvpn' failed|not established"):
        connect(one, two)
    assert one.charon.children(two.nbma) == []
    return "\n".join(
        log.read_bytes()[size:].decode(errors="replace")
        for log, size in zip(logs, before, strict=True)
    )
