"""Traffic Indications about stations whose better path is known: nothing is asked, and the reason is counted."""

import pytest

from nhrpd_py.core.queries import View
from nhrpd_py.packet.iana import PacketType
from tests.support.engine import Node, a_hub, a_spoke, drops, kinds, sent, the
from tests.support.ipsec import a_protected_spoke, installed, redirected
from tests.support.messages import a_resolution_reply, a_resolution_request, a_traffic_indication
from tests.support.resolution import FORWARDED, an_asking_spoke, redirect
from tests.support.sites import HUB, a_map, host, nbma, tunnel

REQUEST = PacketType.RESOLUTION_REQUEST


def a_resolved_spoke() -> Node:
    """Returns spoke 2, which has resolved the tunnel address of spoke 3."""
    spoke, request = an_asking_spoke(tunnel(3))
    spoke.receive(a_resolution_reply(request, prefix_length=32), HUB.nbma)
    return spoke


@pytest.mark.parametrize(
    ("router", "source"),
    [
        (a_resolved_spoke(), HUB.nbma),
        (a_hub(2, 3, shortcut=True), nbma(2)),
        (a_hub(2, 3, shortcut=True), nbma(3)),  # who is registered tells us when it moves
        (a_spoke(2, maps=(a_map(tunnel(3), nbma(3)),)), HUB.nbma),
    ],
    ids=["resolved", "registered", "registered and the sender", "configured"],
)
def test_station_that_is_bound_is_not_asked_for(router, source) -> None:
    """A hub asked its own client for itself, five times."""
    for_us = a_traffic_indication(9, host(2), tunnel(3), destination_protocol=host(1, 77))
    effects = router.receive(for_us, source)
    assert kinds(effects) == []
    assert drops(effects) == ["already-resolved"]
    assert router.shortcuts() == []
    rows = router.table(View.TRAFFIC, "direction", "type", "packets")
    assert ("dropped", "already-resolved", 1) in rows


def test_server_of_ours_is_not_asked_for() -> None:
    assert drops(redirect(a_spoke(2), HUB.tunnel)) == ["already-resolved"]


def test_station_that_has_moved_is_asked_for_when_its_former_peer_says_so() -> None:
    spoke = a_resolved_spoke()
    indication = a_traffic_indication(3, host(2), tunnel(3))
    request = the(sent(spoke.receive(indication, nbma(3), now=1.0)))
    assert (request.type, request.destination_protocol) == (REQUEST, tunnel(3))


def test_peer_whose_sa_is_being_made_is_not_asked_for_again() -> None:
    """Its traffic goes by way of the hub meanwhile, which says so every two seconds."""
    spoke = a_protected_spoke()
    for target, length in ((tunnel(3), 32), (host(4), 24)):
        request = redirected(spoke, 1.0, target)
        number = target[3] if length == 32 else target[2]
        spoke.receive(a_resolution_reply(request, number, length), HUB.nbma, now=1.1)
    for target in (tunnel(3), host(4), tunnel(4)):
        effects = redirect(spoke, target, now=3.0)
        assert sent(effects) == []
        assert drops(effects) == ["already-resolved"]


def test_peer_that_asked_us_and_has_no_sa_is_asked_for() -> None:
    """Nobody makes one: bound as it is, its traffic would stay on the hub."""
    spoke = a_protected_spoke()
    request = a_resolution_request(3, host(2), extensions=FORWARDED)
    spoke.receive(request, HUB.nbma, now=1.0)
    assert spoke.cache(1.0)["10.255.255.3"] == ("cached", "192.168.100.3")
    assert redirected(spoke, 2.0, tunnel(3)).destination_protocol == tunnel(3)


def test_peer_that_asked_us_and_has_an_sa_is_not_asked_for() -> None:
    spoke = a_protected_spoke(3)
    spoke.receive(a_resolution_request(3, host(2)), nbma(3), now=1.0)
    assert drops(redirect(spoke, tunnel(3), now=2.0)) == ["already-resolved"]
    spoke.give(installed(3, id=99), now=2.0)
    assert drops(redirect(spoke, tunnel(3), now=4.0)) == ["already-resolved"]
