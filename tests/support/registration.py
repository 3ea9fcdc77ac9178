"""Spokes that are not registered yet, and the states of their registrations."""

from typing import Any

from nhrpd_py.core.effects import Effect
from nhrpd_py.core.queries import View
from nhrpd_py.packet.iana import (
    PacketType,
)
from tests.support.engine import Node, a_spoke, packets, sent
from tests.support.messages import a_registration_reply
from tests.support.sites import an_nhs, nbma, tunnel

HUB2 = tunnel(11)
"""Another hub."""
HUB2_NBMA = nbma(11)
HUB2_NHS = an_nhs("192.168.100.11")


def a_fresh_spoke(**settings: Any) -> Node:
    """Returns a spoke that has sent a request and got no reply yet."""
    return a_spoke(2, registered=False, **settings)


def states(node: Node, now: float = 0.0) -> list[object]:
    """Returns the states of a node's servers."""
    return [row[0] for row in node.table(View.NHS, "state", now=now)]


def times(node: Node, until: float, *types: PacketType) -> list[float]:
    """Returns when packets of these types are sent, if nobody answers."""
    found: list[float] = []
    while (at := node.engine.next_deadline()) is not None and at <= until:
        found += [at] * len(sent(node.advance(at), *types))
    return found


def run_while(spoke: Node, until: float, *alive: bytes) -> list[Effect]:
    """Runs all timers; the hub answers at the addresses that are alive."""
    effects: list[Effect] = []
    while (at := spoke.engine.next_deadline()) is not None and at <= until:
        news = spoke.advance(at)
        for to, request in packets(news):
            if to in alive and request.type is PacketType.REGISTRATION_REQUEST:
                news += spoke.receive(a_registration_reply(request), to, now=at)
        effects += news
    return effects
