"""Shortcuts in use: each is renewed ahead of its own end, whatever else leans on the peer's binding."""

from nhrpd_py.core.effects import NeighborState, SetNeighbor
from nhrpd_py.core.events import NeighborSolicited
from nhrpd_py.core.notices import ShortcutRemoved
from nhrpd_py.packet.iana import PacketType
from tests.support.engine import Node, a_spoke, of, sent, the
from tests.support.messages import a_resolution_reply, a_resolution_request, a_traffic_indication
from tests.support.sites import GRE, HUB, host, nbma, tunnel

REQUEST = PacketType.RESOLUTION_REQUEST
STALE = SetNeighbor(GRE, tunnel(3), nbma(3), NeighborState.STALE)


def a_shortcut(spoke: Node, target: bytes, prefix_length: int, now: float) -> None:
    effects = spoke.receive(a_traffic_indication(1, host(2), target), HUB.nbma, now=now)
    reply = a_resolution_reply(the(sent(effects, REQUEST)), prefix_length=prefix_length)
    spoke.receive(reply, HUB.nbma, now=now)


def the_peer_asks(spoke: Node, now: float) -> None:
    """Spoke 3 renews its own shortcut, to the LAN of `spoke`."""
    spoke.receive(a_resolution_request(3, host(2)), nbma(3), now=now)


def used(spoke: Node, now: float) -> list:
    """The kernel probes the entry of spoke 3: there is traffic."""
    return spoke.give(NeighborSolicited(GRE, tunnel(3), nbma(3)), now=now)


def test_peer_that_renews_first_does_not_cost_us_our_shortcut() -> None:
    spoke = a_spoke(2)
    a_shortcut(spoke, host(3), 24, now=0.0)
    spoke.run(30.0)
    the_peer_asks(spoke, now=30.0)
    # The binding lives to 90 s now, the shortcut still to 60 s: that is what counts.
    assert of(spoke.run(52.0), SetNeighbor) == [STALE]
    renewal = the(sent(used(spoke, now=57.0), REQUEST))
    assert renewal.destination_protocol == host(3)
    spoke.receive(a_resolution_reply(renewal), HUB.nbma, now=57.1)
    assert of(spoke.run(90.0), ShortcutRemoved) == []


def test_peer_that_renews_while_we_ask_the_kernel_does_not_end_the_asking() -> None:
    spoke = a_spoke(2)
    a_shortcut(spoke, host(3), 24, now=0.0)
    assert of(spoke.run(40.0), SetNeighbor) == [STALE]
    the_peer_asks(spoke, now=44.0)
    assert of(spoke.run(44.9), SetNeighbor) == []
    renewal = the(sent(used(spoke, now=45.0), REQUEST))
    assert renewal.destination_protocol == host(3)


def test_younger_shortcut_over_a_peer_does_not_cost_the_older_one() -> None:
    spoke = a_spoke(2)
    a_shortcut(spoke, host(3), 24, now=0.0)
    spoke.run(35.0)
    a_shortcut(spoke, bytes([172, 16, 33, 1]), 24, now=35.0)
    assert of(spoke.run(52.0), SetNeighbor) == [STALE]
    asked = {each.destination_protocol for each in sent(used(spoke, now=57.0), REQUEST)}
    assert asked == {host(3), bytes([172, 16, 33, 1])}


def test_idle_shortcut_ends_while_another_over_its_peer_lives_on() -> None:
    spoke = a_spoke(2)
    a_shortcut(spoke, host(3), 24, now=0.0)
    spoke.run(35.0)
    a_shortcut(spoke, bytes([172, 16, 33, 1]), 24, now=35.0)
    removed = the(of(spoke.run(61.0), ShortcutRemoved))
    assert str(removed.prefix) == "172.16.3.0/24"
    asked = {each.destination_protocol for each in sent(used(spoke, now=62.0), REQUEST)}
    assert asked == {bytes([172, 16, 33, 1])}
