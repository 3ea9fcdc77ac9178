"""Everything that is wrong at present, in one view."""

import pytest

from nhrpd_py.core.events import (
    GreParameters,
    InterfaceRefused,
    IpsecLost,
    LinkGone,
    NameResolved,
    Obstacle,
    OuterProtocol,
    PacketUndelivered,
    RouteAdded,
    TunnelCounted,
)
from nhrpd_py.core.queries import Query, View
from nhrpd_py.packet.iana import PacketType
from tests.support.engine import Node, a_hub, a_node, a_spoke, sent, the
from tests.support.ipsec import IPSEC, a_protected_spoke, failed
from tests.support.messages import a_registration_reply, a_resolution_reply
from tests.support.resolution import an_asking_spoke
from tests.support.sites import (
    GRE,
    HUB,
    UNDERLAY,
    a_link,
    a_route,
    a_tunnel_link,
    an_address,
    an_interface,
    an_nhs,
    nbma,
)


def kinds(node: Node, now: float = 0.0) -> list[object]:
    return [row[0] for row in node.table(View.PROBLEMS, "kind", now=now)]


def test_a_node_without_problems_has_no_rows() -> None:
    assert kinds(a_hub(2, 3)) == []
    assert kinds(a_spoke(2)) == []
    assert kinds(a_protected_spoke(3)) == []


def test_a_tunnel_that_is_not_there_is_refused_stranded_or_without_address() -> None:
    hub = a_hub()
    hub.give(InterfaceRefused(GRE, "EPERM"), now=1.0)
    assert kinds(hub, 1.0) == ["refused"]
    hub.give(LinkGone(GRE), now=2.0)
    assert kinds(hub, 2.0) == ["link"]
    spoke = a_spoke(2)
    spoke.give(LinkGone(UNDERLAY), now=1.0)
    assert kinds(spoke, 1.0) == ["stranded"]
    bare = Node(
        an_interface(), events=[a_link(), an_address(UNDERLAY, nbma(2), 24), a_tunnel_link()]
    )
    assert kinds(bare) == ["address"]


def test_charon_that_is_away_and_stays_away() -> None:
    spoke = a_protected_spoke()
    spoke.give(IpsecLost("nobody listens"), now=1.0)
    assert kinds(spoke, 2.0) == ["charon"]
    spoke.advance(21.0)
    assert kinds(spoke, 21.0)[:2] == ["charon", "deserted"]


def test_an_sa_that_cannot_be_made() -> None:
    spoke = a_node(2, an_interface(ipsec=IPSEC, nhs=(an_nhs(),)))
    assert spoke.give(failed(3, reason="no proposal chosen"), now=1.0)
    assert ("sa-failed", "192.168.100.3", "no proposal chosen") in spoke.table(
        View.PROBLEMS, "kind", "nbma", "reason", now=1.0
    )


def test_an_sa_that_nobody_tries_to_make_any_more_is_no_problem() -> None:
    spoke = a_node(2, an_interface(ipsec=IPSEC, nhs=(an_nhs(),)))
    spoke.give(failed(3, reason="no proposal chosen"), now=1.0)
    assert "sa-failed" in kinds(spoke, 300.0)
    assert "sa-failed" not in kinds(spoke, 301.0)
    spoke.give(failed(1, reason="no answer"), now=302.0)  # the server's is needed
    assert "sa-failed" in kinds(spoke, 9999.0)


def test_a_path_that_nobody_wants_any_more_is_no_problem() -> None:
    spoke, request = an_asking_spoke(path_check_s=3)
    spoke.receive(a_resolution_reply(request), HUB.nbma)
    at = 0.0
    while "path-failed" not in kinds(spoke, at):
        spoke.advance(at := spoke.engine.next_deadline() or 0.0)
        assert at < 60.0
    until = at + 3600.0
    while (at := spoke.engine.next_deadline() or until) < until:
        effects = spoke.advance(at)
        for each in sent(effects, PacketType.REGISTRATION_REQUEST):
            spoke.receive(a_registration_reply(each), HUB.nbma, now=at)
    assert kinds(spoke, until) == []


def test_servers_that_are_silent_or_refuse_or_have_no_address() -> None:
    spoke = a_spoke(2)
    while "server-lost" not in kinds(spoke, now := spoke.engine.next_deadline() or 0.0):
        spoke.advance(now)
        assert now < 60.0
    assert spoke.table(View.PROBLEMS, "kind", "afi", "nbma", "subject", now=now) == [
        ("server-lost", "ipv4", "192.168.100.1", "192.168.100.1")
    ]
    spoke.give(
        a_tunnel_link(gre=GreParameters(key=42, ttl=64, local=nbma(2))),
        RouteAdded(a_route("192.168.100.1/32", GRE, HUB.tunnel)),
        now=now,
    )
    assert kinds(spoke, now) == ["server-recursion"]

    other = a_spoke(2, registered=False)
    request = the(sent(other.started, PacketType.REGISTRATION_REQUEST))
    no = a_registration_reply(request, code=4)
    other.receive(no, HUB.nbma, now=0.1)
    assert kinds(other, 0.1) == ["server-refuses"]

    named = a_spoke(2, registered=False, nhs=(an_nhs("hub.example.net"),))
    named.give(NameResolved("hub.example.net", (), "no such name"), now=1.0)
    assert named.table(View.PROBLEMS, "kind", "subject", "reason", now=1.0) == [
        ("server-name", "hub.example.net", "no such name")
    ]


def test_packets_that_get_lost_and_a_path_that_failed() -> None:
    spoke, request = an_asking_spoke(path_check_s=3)
    spoke.receive(a_resolution_reply(request), HUB.nbma)
    error = PacketUndelivered(
        local=nbma(2),
        remote=HUB.nbma,
        protocol=OuterProtocol.GRE,
        obstacle=Obstacle.NO_ROUTE,
        reporter=nbma(9),
    )
    spoke.give(a_tunnel_link(gre=GreParameters(ttl=64, link=UNDERLAY)), error, now=0.1)
    for total in (0, 3):
        spoke.give(TunnelCounted(ifindex=GRE, lost=(("collisions", total),)), now=0.2)
    for now in (0.3, 0.9, 2.0):
        spoke.advance(now)
    assert kinds(spoke, 2.0) == ["losing", "undelivered", "path-failed"]


@pytest.mark.parametrize(("interface", "count"), [("gre1", 1), ("gre2", 1), (None, 2)])
def test_the_view_can_be_of_one_interface(interface: str | None, count: int) -> None:
    node = Node(an_interface("gre1"), an_interface("gre2"))
    rows = node.engine.view(Query(view=View.PROBLEMS, interface=interface), 0.0)
    assert [row.kind for row in rows] == ["link"] * count  # type: ignore[union-attr]
