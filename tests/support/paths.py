"""Spokes that prove the path to spoke 3, and the probes and answers of that."""

from dataclasses import replace
from typing import Any

from nhrpd_py.core.config import Config
from nhrpd_py.core.effects import SetNeighbor, SetRoute
from nhrpd_py.core.queries import View
from nhrpd_py.packet.iana import PacketType
from nhrpd_py.packet.message import Message
from tests.support.engine import Node, of, packets, the
from tests.support.messages import a_resolution_reply
from tests.support.resolution import an_asking_spoke
from tests.support.sites import HUB, nbma, tunnel

REQUEST = PacketType.RESOLUTION_REQUEST
REPLY = PacketType.RESOLUTION_REPLY


def probes(effects: list[Any], peer: int = 3) -> list[Message]:
    """The Resolution Requests for a peer's own tunnel address that go straight to it."""
    return [
        message
        for to, message in packets(effects)
        if (to, message.type) == (nbma(peer), REQUEST)
        and message.destination_protocol == tunnel(peer)
    ]


def an_answered_spoke(**settings: Any) -> tuple[Node, Message]:
    """A spoke that got the answer to its request at time 0, and its first probe."""
    spoke, request = an_asking_spoke(path_check_s=3, **settings)
    effects = spoke.receive(a_resolution_reply(request), HUB.nbma)
    assert not of(effects, SetNeighbor)
    assert not of(effects, SetRoute)
    return spoke, the(probes(effects))


def a_proven_spoke(**settings: Any) -> Node:
    """A spoke with a shortcut over a path that was proven at time 0."""
    spoke, probe = an_answered_spoke(**settings)
    spoke.receive(answer(probe), nbma(3))
    return spoke


def answer(probe: Message, **fields: Any) -> Message:
    """The reply to a probe."""
    return a_resolution_reply(probe, **fields)


def path(spoke: Node, now: float = 0.0) -> object:
    """The state of the path to spoke 3, as `show peers` has it."""
    return dict(spoke.table(View.PEERS, "nbma", "path", now=now)).get("192.168.100.3")


def changed(spoke: Node, **changes: Any) -> Config:
    """The configuration of a spoke, with changes of its interface."""
    config = spoke.config
    return replace(
        config,
        interfaces={name: replace(each, **changes) for name, each in config.interfaces.items()},
    )
