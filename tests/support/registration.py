"""Spokes that are not registered yet, and what becomes of that."""

from typing import Any

from nhrpd_py.core.queries import View
from nhrpd_py.packet.iana import (
    PacketType,
)
from tests.support.engine import Node, a_spoke, sent
from tests.support.sites import an_nhs, nbma, tunnel

HUB2 = tunnel(11)
"""Another hub."""
HUB2_NBMA = nbma(11)
HUB2_NHS = an_nhs("192.168.100.11")


def a_fresh_spoke(**settings: Any) -> Node:
    """A spoke that has asked and heard nothing yet."""
    return a_spoke(2, registered=False, **settings)


def states(node: Node, now: float = 0.0) -> list[object]:
    """The states of its servers."""
    return [row[0] for row in node.table(View.NHS, "state", now=now)]


def times(node: Node, until: float, *types: PacketType) -> list[float]:
    """When packets of these types are sent, if nobody answers."""
    found: list[float] = []
    while (at := node.engine.next_deadline()) is not None and at <= until:
        found += [at] * len(sent(node.advance(at), *types))
    return found
