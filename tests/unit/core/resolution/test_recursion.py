"""A tunnel that is led into itself: what peers tell of NBMA addresses, and what we tell of our own."""

from dataclasses import replace

import pytest

from nhrpd_py.core.address import Address
from nhrpd_py.core.effects import Effect, SetRoute
from nhrpd_py.core.events import GreParameters, RouteAdded
from nhrpd_py.core.notices import RegistrationRefused, ResolutionFailed, ShortcutRemoved
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.iana import CieCode
from tests.support.engine import Node, a_hub, a_spoke, of, sent, the, the_packet
from tests.support.messages import (
    TARGET,
    a_registration_reply,
    a_registration_request,
    a_resolution_reply,
    a_resolution_request,
    nat_extension,
)
from tests.support.resolution import ask, redirect
from tests.support.sites import (
    GRE,
    HUB,
    LAN,
    UNDERLAY,
    a_route,
    a_site,
    a_tunnel_link,
    an_address,
    an_nhs,
    host,
    ip,
    nbma,
    tunnel,
)

ITSELF = "the reply leads the tunnel into itself"
IN_CLOUD = "the outer address is in the cloud, and would lead the tunnel into itself"
PUBLIC = ip("203.0.113.7")
"""An NBMA address of spoke 3 that its site announces into the cloud."""


def answered(spoke: Node, peer_nbma: Address, target: Address = TARGET) -> str:
    """Redirects a spoke, and answers as spoke 3; returns why the answer is not believed."""
    request = the(sent(redirect(spoke, target)))
    entry = ClientInformation(
        prefix_length=24, holding_time_s=60, nbma=peer_nbma, protocol=tunnel(3)
    )
    effects = spoke.receive(a_resolution_reply(request, entries=(entry,)), HUB.nbma)
    failures = of(effects, ResolutionFailed)
    if not failures:
        return ""
    assert of(effects, SetRoute) == []  # it stays on the hub
    assert "10.255.255.3" not in spoke.cache()
    return the(failures).reason


def unbound(node: Node, number: int) -> Node:
    """Makes a router's tunnel one without `dev`, whose packets follow any route."""
    node.give(a_tunnel_link(gre=GreParameters(key=42, ttl=64, local=nbma(number))))
    return node


# Answers of others.


def test_peer_within_the_prefix_that_it_claims_is_not_believed() -> None:
    """The route to its LAN led to its own NBMA address, and whatever went there was lost for the holding time."""
    assert answered(a_spoke(2), host(3, 88)) == ITSELF


def test_longer_route_of_others_leads_to_the_peer_all_the_same() -> None:
    spoke = a_spoke(2)
    spoke.give(RouteAdded(a_route("172.16.3.64/26", UNDERLAY, nbma(254))))
    assert answered(spoke, host(3, 88)) == ""


@pytest.mark.parametrize("other", ["server", "server that is down", "client", "peer"])
def test_prefix_with_the_nbma_address_of_somebody_else_is_not_believed(other) -> None:
    servers = (an_nhs("198.51.100.1"), an_nhs("198.51.101.1"))
    summary = a_route("198.51.0.0/16", GRE, HUB.tunnel)
    routes = [a_route(each, GRE, HUB.tunnel) for each in ("10.255.255.0/24", "172.16.0.0/16")]
    spoke = a_spoke(2, routes=[*routes, summary], nhs=(an_nhs(), *servers), registered=False)
    first = sent(spoke.started)[0]
    spoke.receive(a_registration_reply(first), HUB.nbma)
    if other == "client":
        spoke.receive(a_registration_request(4), ip("198.51.102.4"))
    if other == "peer":
        peer = replace(a_site(5), nbma=ip("198.51.103.5"))
        request = the(sent(redirect(spoke, host(5))))
        spoke.receive(a_resolution_reply(request, peer), HUB.nbma)
    third = {"server": 100, "server that is down": 101, "client": 102, "peer": 103}[other]
    assert answered(spoke, nbma(3), bytes((198, 51, third, 77))) == ITSELF
    assert answered(spoke, nbma(3), bytes((198, 51, 110, 77))) == ""


def test_peer_that_is_routed_into_the_tunnel_is_not_believed() -> None:
    spoke = unbound(a_spoke(2), 2)
    spoke.give(RouteAdded(a_route("203.0.113.0/24", GRE, HUB.tunnel)))
    assert answered(spoke, PUBLIC) == f"the reply's gateway is refused: {IN_CLOUD}"


@pytest.mark.parametrize(
    "route",
    [
        a_route("0.0.0.0/0", GRE, HUB.tunnel),  # rules may lead the tunnel's own packets elsewhere
        a_route("203.0.113.0/24", LAN, host(2, 254)),
        a_route("203.0.113.0/24", 0),
    ],
)
def test_peer_that_is_not_surely_routed_into_the_tunnel_is_believed(route) -> None:
    spoke = unbound(a_spoke(2), 2)
    spoke.give(RouteAdded(route))
    assert answered(spoke, PUBLIC) == ""


def test_tunnel_that_is_bound_to_its_underlay_knows_no_other_routes() -> None:
    spoke = a_spoke(2)
    spoke.give(RouteAdded(a_route("203.0.113.0/24", GRE, HUB.tunnel)))
    assert answered(spoke, PUBLIC) == ""


def test_peer_within_a_shortcut_is_not_believed() -> None:
    spoke = a_spoke(2)
    request = the(sent(redirect(spoke, host(4))))
    spoke.receive(a_resolution_reply(request, 4), HUB.nbma)
    assert answered(spoke, host(4, 77)) == "the peer's NBMA address is within a shortcut"
    spoke.give(RouteAdded(a_route("172.16.4.77/32", UNDERLAY, nbma(254))))
    assert answered(spoke, host(4, 77), host(3, 11)) == ""


# Registrations.


def registered(hub: Node, number: int, source: Address) -> tuple[int, list[Effect]]:
    effects = hub.receive(a_registration_request(number), source)
    return the(the_packet(effects)[1].entries).code, effects


def test_client_that_is_routed_into_the_tunnel_is_refused() -> None:
    hub = unbound(a_hub(), 1)
    hub.give(RouteAdded(a_route("203.0.113.0/24", GRE, tunnel(4))))
    code, effects = registered(hub, 3, PUBLIC)
    assert code == CieCode.ADMINISTRATIVELY_PROHIBITED
    assert the(of(effects, RegistrationRefused)).reason == IN_CLOUD
    assert hub.cache() == {}


def test_client_that_is_registered_may_renew_whatever_route_comes() -> None:
    """It got through: to refuse it now would let its routes go and come, for ever."""
    hub = unbound(a_hub(), 1)
    assert registered(hub, 3, PUBLIC)[0] == CieCode.SUCCESS
    hub.give(RouteAdded(a_route("203.0.113.0/24", GRE, tunnel(4))))
    assert registered(hub, 3, PUBLIC)[0] == CieCode.SUCCESS


def test_client_of_a_tunnel_that_is_bound_to_its_underlay_is_served() -> None:
    hub = a_hub()
    hub.give(RouteAdded(a_route("203.0.113.0/24", GRE, tunnel(4))))
    assert registered(hub, 3, PUBLIC)[0] == CieCode.SUCCESS


def test_client_within_a_shortcut_is_served_and_the_shortcut_goes() -> None:
    """The kernel would lose all that goes to the client: the shortcut took its NBMA address into the tunnel."""
    spoke = a_spoke(2)
    request = the(sent(redirect(spoke, host(3))))
    spoke.receive(a_resolution_reply(request), HUB.nbma)
    code, effects = registered(spoke, 7, host(3, 77))
    assert code == CieCode.SUCCESS
    assert str(the(of(effects, ShortcutRemoved)).prefix) == "172.16.3.0/24"
    assert spoke.shortcuts() == []


def test_requester_within_a_shortcut_is_answered_and_not_bound() -> None:
    spoke = a_spoke(2)
    request = the(sent(redirect(spoke, host(4))))
    spoke.receive(a_resolution_reply(request, 4), HUB.nbma)
    asking = replace(a_site(7), nbma=host(4, 77))
    reply = the(sent(spoke.receive(a_resolution_request(asking, host(2)), asking.nbma)))
    assert the(reply.entries).code == CieCode.SUCCESS
    assert "10.255.255.7" not in spoke.cache()


# Our own answers.


def a_hub_in_a_network() -> Node:
    """Returns the hub, which has a route to the network of all NBMA addresses, with clients 2 and 3."""
    hub = a_hub(2, 3, shortcut=True)
    hub.give(RouteAdded(a_route("192.168.100.0/24", UNDERLAY)))
    return hub


@pytest.mark.parametrize("target", [HUB.nbma, nbma(2), nbma(3)])
def test_nbma_address_in_use_is_never_answered_for(target) -> None:
    """Asked for its own NBMA address the hub told the whole network: the requester lost the hub."""
    reply = the(sent(a_hub_in_a_network().receive(a_resolution_request(2, target), nbma(2))))
    assert the(reply.entries).code == CieCode.NO_BINDING


@pytest.mark.parametrize(("last", "length"), [(4, 30), (9, 29), (200, 25)])
def test_answer_covers_no_nbma_address_in_use(last, length) -> None:
    request = a_resolution_request(2, nbma(last))
    reply = the(sent(a_hub_in_a_network().receive(request, nbma(2))))
    entry = the(reply.entries)
    assert (entry.code, entry.prefix_length) == (CieCode.SUCCESS, length)


def test_other_address_of_ours_beside_our_nbma_address_stands_without_it() -> None:
    hub = a_hub_in_a_network()
    hub.give(an_address(UNDERLAY, nbma(129), 24))
    reply = the(sent(hub.receive(a_resolution_request(2, nbma(129)), nbma(2))))
    assert the(reply.entries).prefix_length == 25


def test_spoke_behind_nat_covers_neither_of_its_nbma_addresses() -> None:
    """Its own is what the answer says, the other one what Cisco's extension says."""
    spoke = a_spoke(3, registered=False)
    spoke.give(
        RouteAdded(a_route("192.168.100.0/24", UNDERLAY)),
        RouteAdded(a_route("203.0.113.0/24", LAN, host(3, 254))),
    )
    request = the(sent(spoke.started))
    nat = nat_extension((tunnel(3), PUBLIC))
    spoke.receive(a_registration_reply(request, nat), HUB.nbma)
    for target, length in ((ip("203.0.113.9"), 29), (nbma(200), 25)):
        assert the(the(sent(ask(spoke, target))).entries).prefix_length == length
    for target in (PUBLIC, nbma(3)):
        assert the(the(sent(ask(spoke, target))).entries).code == CieCode.NO_BINDING
