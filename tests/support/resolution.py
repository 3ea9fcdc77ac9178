"""Spokes that resolve the LAN of spoke 3, have a shortcut to it, or answer Resolution Requests."""

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
"""The extension of a request that came by way of the hub."""


def redirect(spoke: Node, target: Address = TARGET, now: float = 0.0) -> list[Effect]:
    """Gives a spoke the hub's Traffic Indication for a packet of spoke 2 to `target`."""
    return spoke.receive(a_traffic_indication(1, host(2), target), HUB.nbma, now=now)


def an_asking_spoke(target: Address = TARGET, **settings: Any) -> tuple[Node, Message]:
    """Returns a spoke that was redirected, and its request."""
    spoke = a_spoke(2, **settings)
    return spoke, the(sent(redirect(spoke, target)))


def a_shortcut_spoke(**settings: Any) -> Node:
    """Returns a spoke with a shortcut to the LAN of spoke 3, installed at time 0."""
    spoke, request = an_asking_spoke(**settings)
    spoke.receive(a_resolution_reply(request), HUB.nbma)
    return spoke


def solicit(spoke: Node, address: Address, now: float = 0.0, known: Address = b"") -> list[Effect]:
    """Gives a spoke a solicitation for an address without neighbour entry, or a probe of an entry."""
    return spoke.give(NeighborSolicited(GRE, address, known), now=now)


def a_request(target: Address = TARGET, **fields: Any) -> Message:
    """Returns spoke 2's request for a host behind spoke 3, as the hub forwards it."""
    return a_resolution_request(2, target, **{"extensions": FORWARDED, **fields})


def ask(node: Node, target: Address = TARGET, now: float = 0.0, **fields: Any) -> list[Effect]:
    """Gives a router spoke 2's request, forwarded by the hub."""
    return node.receive(a_request(target, **fields), HUB.nbma, now=now)
