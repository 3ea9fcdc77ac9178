"""A tunnel by which no packet can leave: its underlay was made anew, or its local address is not ours."""

from typing import Any

from nhrpd_py.core.effects import Effect
from nhrpd_py.core.events import (
    AddressRemoved,
    GreParameters,
    LinkChanged,
    LinkGone,
    RouteAdded,
)
from nhrpd_py.core.notices import InterfaceLost, InterfaceReady, NhsDown
from nhrpd_py.core.queries import View
from nhrpd_py.packet.iana import PacketType
from tests.support.engine import Node, a_spoke, of, sent, the
from tests.support.registration import states
from tests.support.sites import (
    GRE,
    HUB,
    UNDERLAY,
    a_link,
    a_route,
    a_tunnel_link,
    an_address,
    nbma,
)

NEW_ETH0 = 77


def bound_to(link: int, **more: Any) -> LinkChanged:
    return a_tunnel_link(gre=GreParameters(key=42, ttl=64, link=link, **more))


def problem(spoke: Node) -> object:
    return spoke.table(View.INTERFACES, "problem")[0][0]


def test_an_underlay_that_was_made_anew_is_a_problem_until_the_tunnel_is_bound_to_it() -> None:
    """Also where tunnel-source names it: the kernel sends by the index, which is gone."""
    spoke = a_spoke(2, tunnel_source="eth0")
    new_eth0 = (a_link(NEW_ETH0), an_address(NEW_ETH0, nbma(2), 24))
    effects = spoke.give(LinkGone(UNDERLAY), *new_eth0, now=10.0)
    (lost,) = of(effects, InterfaceLost)
    assert lost.reason == problem(spoke)
    assert lost.reason == (
        f"the netdev that the tunnel is bound to (ifindex {UNDERLAY}) is gone, and nothing leaves: "
        "ip tunnel change gre1 dev eth0"
    )
    assert sent(spoke.run(200.0)) == []
    assert states(spoke) != ["up"]

    effects = spoke.give(bound_to(NEW_ETH0), now=200.5)
    assert of(effects, InterfaceReady)
    assert len(sent(effects, PacketType.REGISTRATION_REQUEST)) == 1
    assert problem(spoke) is None


def test_a_local_address_that_is_not_ours_is_a_problem_until_it_is() -> None:
    spoke = a_spoke(2)
    spoke.give(bound_to(UNDERLAY, local=nbma(2)), now=5.0)
    effects = spoke.give(AddressRemoved(UNDERLAY, nbma(2), 24), now=10.0)
    assert "is not an address of this machine" in the(of(effects, InterfaceLost)).reason
    spoke.run(300.0)  # requests go unanswered, in ever longer intervals

    effects = spoke.give(an_address(UNDERLAY, nbma(2), 24), now=301.0)
    assert of(effects, InterfaceReady)
    assert len(sent(effects, PacketType.REGISTRATION_REQUEST)) == 1


def test_a_route_to_the_server_that_leads_into_the_tunnel_is_the_reason_of_its_silence() -> None:
    """As a routing protocol makes it, when the hub announces its own outer network."""
    spoke = a_spoke(2)
    recursion = RouteAdded(a_route("192.168.100.1/32", GRE, HUB.tunnel))
    spoke.give(bound_to(0, local=nbma(2)), recursion, now=5.0)
    effects: list[Effect] = []
    while not of(effects, NhsDown):
        at = spoke.engine.next_deadline()
        assert at is not None
        assert at < 60.0
        effects = spoke.advance(at)
    assert the(of(effects, NhsDown)).reason == (
        "no answer to 3 registration requests: the route to 192.168.100.1 leads into gre1 itself; "
        "bind the tunnel to its underlay (ip tunnel change gre1 dev UNDERLAY), or keep that route out"
    )


def test_a_tunnel_that_is_bound_to_its_underlay_does_not_follow_such_a_route() -> None:
    spoke = a_spoke(2)
    spoke.give(RouteAdded(a_route("192.168.100.1/32", GRE, HUB.tunnel)), now=5.0)
    effects = [each for at in (20.0, 21.0, 23.0, 27.0) for each in spoke.advance(at)]
    assert the(of(effects, NhsDown)).reason == "no answer to 3 registration requests"
