"""Spokes that ask for a shortcut to the LAN of spoke 3, or have one, or are asked for what lies behind them."""

from typing import Any

from nhrpd_py.core.address import Address
from nhrpd_py.core.effects import Effect
from nhrpd_py.core.events import NeighborSolicited
from nhrpd_py.packet.extension import of_entries
from nhrpd_py.packet.iana import ExtensionType
from nhrpd_py.packet.message import Message
from tests.support.engine import Node, a_spoke, sent, the
from tests.support.messages import (
    TARGET,
    a_record,
    a_resolution_reply,
    a_resolution_request,
    a_traffic_indication,
)
from tests.support.sites import GRE, HUB, host

FORWARDED = (of_entries(ExtensionType.FORWARD_TRANSIT_NHS, (a_record(1),)),)
"""A request that carries this came by way of the hub."""


def redirect(spoke: Node, target: Address = TARGET, now: float = 0.0) -> list[Effect]:
    """The hub saw a packet of spoke 2 to `target` turn round."""
    return spoke.receive(a_traffic_indication(1, host(2), target), HUB.nbma, now=now)


def an_asking_spoke(target: Address = TARGET, **settings: Any) -> tuple[Node, Message]:
    """A spoke that was redirected, and its request."""
    spoke = a_spoke(2, **settings)
    return spoke, the(sent(redirect(spoke, target)))


def a_shortcut_spoke() -> Node:
    """A spoke with a shortcut to the LAN of spoke 3, as it was at time 0."""
    spoke, request = an_asking_spoke()
    spoke.receive(a_resolution_reply(request), HUB.nbma)
    return spoke


def solicit(spoke: Node, address: Address, now: float = 0.0, known: Address = b"") -> list[Effect]:
    """The kernel has no neighbour entry for an address, or doubts the one that it has."""
    return spoke.give(NeighborSolicited(GRE, address, known), now=now)


def a_request(target: Address = TARGET, **fields: Any) -> Message:
    """Spoke 2's question about what is behind spoke 3, as the hub hands it on."""
    return a_resolution_request(2, target, **{"extensions": FORWARDED, **fields})


def ask(node: Node, target: Address = TARGET, now: float = 0.0, **fields: Any) -> list[Effect]:
    """The hub hands spoke 2's question on to a router."""
    return node.receive(a_request(target, **fields), HUB.nbma, now=now)
