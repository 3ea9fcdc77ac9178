"""What nobody is believed, without any rule: overlay addresses that draw traffic from where it belongs."""

from typing import Any

import pytest

from nhrpd_py.core.address import parse_prefix
from nhrpd_py.core.effects import DropNeighbor, Effect, SetNeighbor, SetRoute
from nhrpd_py.core.events import (
    AddressRemoved,
    BindingFound,
    InterfaceMended,
    InterfaceRefused,
    RouteAdded,
)
from nhrpd_py.core.notices import (
    ClaimDoubted,
    ClaimRefused,
    RegistrationRefused,
    ResolutionFailed,
)
from nhrpd_py.core.queries import View
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import of_entries
from nhrpd_py.packet.iana import CieCode, ExtensionType, PacketType
from tests.support.engine import Node, a_hub, a_node, a_spoke, of, sent, the, the_packet
from tests.support.messages import (
    a_record,
    a_registration_reply,
    a_registration_request,
    a_resolution_reply,
    a_resolution_request,
)
from tests.support.resolution import an_asking_spoke, ask, redirect
from tests.support.sites import (
    GRE,
    HUB,
    LAN,
    UNDERLAY,
    a_link,
    a_map,
    a_route,
    an_address,
    an_nhs,
    host,
    ip,
    nbma,
    tunnel,
)

PROHIBITED = CieCode.ADMINISTRATIVELY_PROHIBITED
FORWARD = ExtensionType.FORWARD_TRANSIT_NHS
OVERLAY = (parse_prefix("10.255.255.0/24"),)


def claim(node: Node, protocol: bytes, number: int = 9, now: float = 0.0) -> list[Effect]:
    """Site 9 registers an address."""
    request = a_registration_request(
        number, source_protocol=protocol, destination_protocol=node_address(node)
    )
    return node.receive(request, nbma(number), now=now)


def node_address(node: Node) -> bytes:
    rows = node.table(View.CACHE, "protocol", "type")
    return ip(next(str(protocol) for protocol, kind in rows if kind == "local"))


def code(effects: list[Effect]) -> int:
    return the(the_packet(effects)[1].entries).code


LIES = [
    ("8.8.8.8", "public"),
    ("172.16.1.77", "connected to outside the cloud"),
    ("192.168.100.77", "connected to outside the cloud"),
    ("192.168.100.2", "outer address"),
    ("192.168.100.1", "outer address"),
    ("172.16.1.1", "address of this machine"),
]


@pytest.mark.parametrize(("address", "reason"), LIES)
def test_hub_refuses_an_address_that_is_not_the_clouds(address: str, reason: str) -> None:
    """A host route into the tunnel came of it; the hub's own LAN host was cut off, or 8.8.8.8 drawn in."""
    hub = a_hub(2)
    effects = claim(hub, ip(address))
    assert code(effects) == PROHIBITED
    assert reason in the(of(effects, RegistrationRefused)).reason
    assert of(effects, SetRoute) == []
    assert list(hub.cache()) == ["10.255.255.2"]


def test_an_absent_peers_outer_address_is_refused_where_it_is_known() -> None:
    """Registered as a tunnel address while its owner is away, it kept the owner out when it came back."""
    server = an_nhs("203.0.113.1")
    node = a_spoke(5, registered=False, nhs=(server,), overlay=(parse_prefix("203.0.113.0/24"),))
    effects = claim(node, ip("203.0.113.1"))
    assert "outer address" in the(of(effects, RegistrationRefused)).reason
    mapped = a_hub(maps=(a_map(tunnel(7), ip("10.7.7.7")),))
    assert code(claim(mapped, ip("10.7.7.7"))) == PROHIBITED


def test_overlay_names_what_is_the_clouds_and_refuses_the_rest() -> None:
    hub = a_hub(overlay=OVERLAY)
    assert code(claim(hub, tunnel(9))) == CieCode.SUCCESS
    effects = claim(hub, ip("10.255.254.9"))
    assert "outside overlay" in the(of(effects, RegistrationRefused)).reason
    public = a_hub(overlay=(parse_prefix("8.8.8.0/24"),))
    assert code(claim(public, ip("8.8.8.8"))) == CieCode.SUCCESS


def test_public_addresses_are_believed_in_the_tunnels_own_network() -> None:
    hub = a_hub()
    hub.give(an_address(GRE, ip("8.8.8.1"), 24))
    assert code(claim(hub, ip("8.8.8.8"))) == CieCode.SUCCESS


def test_overlay_beats_a_wider_network_that_the_machine_is_connected_to() -> None:
    wide = an_address(LAN, ip("10.0.0.1"), 8)
    hub = a_hub()
    hub.give(wide)
    assert code(claim(hub, tunnel(9))) == PROHIBITED
    named = a_hub(overlay=OVERLAY)
    named.give(wide)
    assert code(claim(named, tunnel(9))) == CieCode.SUCCESS


def test_a_longer_route_into_the_cloud_beats_a_connected_network_too() -> None:
    hub = a_hub(routes=[a_route("10.255.255.0/24", GRE)])
    hub.give(an_address(LAN, ip("10.0.0.1"), 8))
    assert code(claim(hub, tunnel(9))) == CieCode.SUCCESS


def test_a_network_that_the_machine_gets_later_ends_what_was_believed() -> None:
    hub = a_hub(2)
    effects = hub.give(a_link(7, "lan1"), an_address(7, ip("10.255.255.200"), 24), now=1.0)
    assert "connected" in the(of(effects, ClaimRefused)).reason
    assert hub.cache() == {}
    hub.give(AddressRemoved(7, ip("10.255.255.200"), 24), now=2.0)
    hub.receive(a_registration_request(3), nbma(3), now=2.0)
    hub.give(an_address(7, tunnel(3), 32), now=2.5)
    assert hub.cache() == {}
    assert code(claim(hub, tunnel(2), 2, now=3.0)) == CieCode.SUCCESS


def test_an_outer_address_that_this_machine_gets_ends_the_bindings_that_lead_to_it() -> None:
    hub = a_hub(2, 3)
    effects = hub.give(an_address(UNDERLAY, nbma(2), 32), now=1.0)
    assert of(effects, DropNeighbor) == [DropNeighbor(GRE, tunnel(2))]
    assert "our own" in the(of(effects, ClaimRefused)).reason
    assert list(hub.cache()) == ["10.255.255.3"]


def test_such_an_address_ends_them_too_while_the_tunnel_is_closed() -> None:
    hub = a_hub(2, 3)
    hub.give(InterfaceRefused(GRE, "no guard"), an_address(UNDERLAY, nbma(2), 32), now=1.0)
    hub.give(InterfaceMended(GRE), now=2.0)
    assert list(hub.cache()) == ["10.255.255.3"]


def test_a_network_that_the_tunnel_lost_is_the_clouds_no_more() -> None:
    hub = a_hub(routes=[])
    hub.give(an_address(GRE, ip("172.16.1.99"), 25))
    assert code(claim(hub, host(1, 77))) == CieCode.SUCCESS
    hub.give(AddressRemoved(GRE, ip("172.16.1.99"), 25), now=1.0)
    assert hub.cache() == {}


def test_the_tunnels_broadcast_address_is_nobodys() -> None:
    hub = a_hub(prefix_length=24)
    assert code(claim(hub, ip("10.255.255.255"))) == PROHIBITED


def test_an_address_of_a_server_that_this_machine_gets_leads_into_the_tunnel_no_more() -> None:
    spoke = a_spoke(2)
    effects = spoke.give(an_address(LAN, HUB.tunnel, 32), now=1.0)
    assert of(effects, DropNeighbor) == [DropNeighbor(GRE, HUB.tunnel)]


def test_a_reply_cannot_name_an_outer_address_of_this_machine() -> None:
    spoke, request = an_asking_spoke()
    spoke.give(an_address(UNDERLAY, nbma(77), 32))
    entry = ClientInformation(
        prefix_length=24, holding_time_s=60, nbma=nbma(77), protocol=tunnel(3)
    )
    effects = spoke.receive(a_resolution_reply(request, entries=(entry,)), HUB.nbma)
    assert of(effects, SetNeighbor) == []


def test_what_was_resolved_is_asked_for_again_when_such_a_network_is_gone() -> None:
    """It stayed on the hub for three minutes, after an address that was there for a moment."""
    spoke, request = an_asking_spoke()
    spoke.receive(a_resolution_reply(request), HUB.nbma)
    spoke.give(an_address(GRE, tunnel(3), 32), now=1.0)
    assert spoke.shortcuts(1.0) == []
    spoke.give(AddressRemoved(GRE, tunnel(3), 32), now=2.0)
    assert len(sent(redirect(spoke, now=3.0), PacketType.RESOLUTION_REQUEST)) == 1


def test_what_waits_for_its_path_is_judged_too() -> None:
    spoke, request = an_asking_spoke(path_check_s=3)
    probe = sent(spoke.receive(a_resolution_reply(request), HUB.nbma))[-1]
    assert "10.255.255.3" in spoke.cache()
    refused = spoke.give(an_address(GRE, tunnel(3), 32), now=0.1)
    assert the(of(refused, ClaimRefused)).protocol == tunnel(3)
    effects = spoke.receive(a_resolution_reply(probe), nbma(3), now=0.2)
    assert not of(effects, SetNeighbor)
    assert not of(effects, SetRoute)


@pytest.mark.parametrize(
    ("route", "doubt"),
    [
        (a_route("10.255.0.0/16", LAN, host(1, 9)), "10.255.0.0/16 leads elsewhere"),
        (a_route("10.255.255.0/24", 0), "10.255.255.0/24 drops what goes there"),
        (a_route("0.0.0.0/0", UNDERLAY, nbma(254)), None),
        (a_route("10.255.255.0/24", GRE), None),
    ],
)
def test_routes_of_a_routing_daemon_refuse_nobody_but_are_told(route: Any, doubt: Any) -> None:
    hub = a_hub(routes=[route])
    effects = claim(hub, tunnel(9))
    assert code(effects) == CieCode.SUCCESS
    told = [each.reason for each in of(effects, ClaimDoubted)]
    assert told == ([f"a route for {doubt}"] if doubt else [])
    assert of(claim(hub, tunnel(9), now=1.0), ClaimDoubted) == []


# Spokes: who lives in the cloud is known by the routes.


@pytest.mark.parametrize(
    ("routes", "believed"),
    [
        ([a_route("10.255.255.0/24", GRE, HUB.tunnel)], True),
        ([a_route("10.255.255.9/32", GRE, HUB.tunnel)], True),
        ([a_route("0.0.0.0/0", GRE, HUB.tunnel)], False),
        ([a_route("10.0.0.0/8", LAN, host(2, 9))], False),
        ([a_route("10.0.0.0/8", GRE, HUB.tunnel), a_route("10.255.0.0/16", 0)], True),
        ([], False),
    ],
)
def test_spoke_believes_what_is_routed_into_the_cloud_and_not_by_default(routes, believed) -> None:
    spoke = a_spoke(2, routes=routes)
    assert (code(claim(spoke, tunnel(9))) == CieCode.SUCCESS) is believed
    assert ("10.255.255.9" in spoke.cache()) is believed


def test_spoke_needs_no_route_for_its_servers_its_maps_and_what_it_knows() -> None:
    """Before BGP there is none; and a host route of ours hides the one of the routing daemon."""
    spoke = a_node(2, nhs=(an_nhs(),), maps=(a_map(tunnel(7), nbma(7)),), shortcut=True)
    request = the(sent(spoke.started, PacketType.REGISTRATION_REQUEST))
    spoke.receive(a_registration_reply(request), HUB.nbma)
    assert spoke.cache() == {
        "10.255.255.1": ("nhs", "192.168.100.1"),
        "10.255.255.7": ("static", "192.168.100.7"),
    }
    named = a_spoke(2, routes=[], overlay=OVERLAY)
    assert code(claim(named, tunnel(9))) == CieCode.SUCCESS
    assert code(claim(named, tunnel(9), now=9.0)) == CieCode.SUCCESS


@pytest.mark.parametrize(
    "gateway",
    ["8.8.8.8", "172.16.2.77", "192.168.100.9", "10.99.0.1"],
)
def test_a_replys_gateway_is_judged_like_a_registration(gateway: str) -> None:
    """8.8.8.8, a host of our LAN, somebody's outer address, and what is not routed into the cloud."""
    spoke, request = an_asking_spoke()
    entry = ClientInformation(
        prefix_length=24, holding_time_s=60, nbma=nbma(9), protocol=ip(gateway)
    )
    effects = spoke.receive(a_resolution_reply(request, entries=(entry,)), HUB.nbma)
    assert of(effects, SetNeighbor) == []
    assert of(effects, SetRoute) == []
    assert len(of(effects, ResolutionFailed)) == 1


@pytest.mark.parametrize("requester", [host(3, 77), ip("9.9.9.9"), ip("10.99.0.1"), nbma(77)])
def test_a_requesters_address_is_judged_like_a_registration(requester: bytes) -> None:
    """One packet led the traffic for a host of our own LAN to its sender."""
    spoke = a_spoke(3)
    effects = ask(spoke, source_protocol=requester)
    assert of(effects, SetNeighbor) == []
    assert of(effects, SetRoute) == []
    assert the(of(effects, ClaimRefused)).protocol == requester
    assert ("claim-refused", 1) in spoke.table(View.TRAFFIC, "type", "packets")


# The state file.


@pytest.mark.parametrize(
    ("protocol", "to"),
    [
        (tunnel(2), "224.0.0.5"),
        (tunnel(2), "192.168.100.1"),
        (tunnel(2), "2001:db8::2"),
        (ip("8.8.8.8"), "192.168.100.2"),
        (host(1, 77), "192.168.100.2"),
    ],
)
def test_the_state_file_is_judged_as_the_wire_is(protocol: bytes, to: str) -> None:
    hub = a_hub()
    effects = hub.give(BindingFound(GRE, protocol, ip(to), 30.0))
    assert of(effects, SetNeighbor) == []
    assert "of an earlier run" in the(of(effects, ClaimRefused)).reason
    assert hub.cache() == {}


def test_holding_times_of_the_state_file_have_the_cap_of_the_wire() -> None:
    hub = a_hub(max_holding_time_s=100)
    hub.give(BindingFound(GRE, tunnel(2), nbma(2), 60000.0))
    assert "10.255.255.2" in hub.cache()
    hub.run(101.0)
    assert hub.cache(101.0) == {}


# Transit records.


def handed_on(number: int = 2, **fields: Any) -> Any:
    record = of_entries(FORWARD, (a_record(5),))
    return a_registration_request(number, **{"extensions": (record,), **fields})


def test_a_strangers_transit_record_does_not_count() -> None:
    """With it one peer wrote bindings at any outer address, 65 536 of them, and kept others out."""
    hub = a_hub()
    to, reply = the_packet(hub.receive(handed_on(), nbma(5)))
    assert (to, the(reply.entries).code) == (nbma(5), PROHIBITED)
    assert hub.cache() == {}


def test_a_servers_transit_record_counts() -> None:
    spoke = a_spoke(3)
    spoke.receive(handed_on(9, destination_protocol=tunnel(3)), HUB.nbma)
    assert spoke.cache()["10.255.255.9"] == ("dynamic", "192.168.100.9")


def test_the_requester_in_a_strangers_record_is_not_learnt_and_answered_by_way_of_it() -> None:
    spoke = a_spoke(3)
    record = (of_entries(FORWARD, (a_record(5),)),)
    request = a_resolution_request(2, host(3), extensions=record)
    assert the_packet(spoke.receive(request, nbma(5)))[0] == nbma(5)
    assert "10.255.255.2" not in spoke.cache()
    assert the_packet(ask(spoke, request_id=8))[0] == nbma(2)  # the hub's record is believed
    assert "10.255.255.2" in spoke.cache()


# Holding times.


def test_a_holding_time_is_capped_and_the_client_is_told() -> None:
    hub = a_hub(max_holding_time_s=120)
    entry = ClientInformation(prefix_length=32, holding_time_s=65535)
    effects = hub.receive(a_registration_request(2, entries=(entry,)), nbma(2))
    assert the(the_packet(effects)[1].entries).holding_time_s == 120
    assert hub.table(View.CACHE, "protocol", "expires_in_s", now=0.0)[-1] == ("10.255.255.2", 120)
    hub.run(121.0)
    assert hub.cache(121.0) == {}


def test_a_client_renews_after_a_third_of_what_it_was_granted() -> None:
    spoke = a_spoke(2, registered=False, holding_time_s=600)
    request = the(sent(spoke.started, PacketType.REGISTRATION_REQUEST))
    spoke.receive(a_registration_reply(request), HUB.nbma)  # which grants 60 s
    assert spoke.engine.next_deadline() == 20.0
    assert len(sent(spoke.advance(20.0), PacketType.REGISTRATION_REQUEST)) == 1


def test_a_route_that_comes_makes_a_reply_believed_soon() -> None:
    """A routing daemon puts its route back after ours is gone: a reply in between costs some seconds."""
    spoke, request = an_asking_spoke(routes=[a_route("172.16.0.0/16", GRE, HUB.tunnel)])
    refused = spoke.receive(a_resolution_reply(request), HUB.nbma, now=1.0)
    assert "no route leads there" in the(of(refused, ResolutionFailed)).reason
    spoke.give(RouteAdded(a_route("10.255.255.0/24", GRE, HUB.tunnel)), now=2.0)
    assert spoke.advance(6.0) == []
    again = the(sent(redirect(spoke, now=6.5), PacketType.RESOLUTION_REQUEST))
    spoke.receive(a_resolution_reply(again), HUB.nbma, now=7.0)
    assert spoke.shortcuts(7.0) == [("172.16.3.0/24", "10.255.255.3", "active")]


def test_hub_that_is_the_client_of_another_says_what_lets_its_own_clients_in() -> None:
    """They register before there is any route."""
    hub = a_node(9, redirect=True, nhs=(an_nhs(),))
    effects = hub.receive(a_registration_request(2), nbma(2))
    assert "overlay does not name it" in the(of(effects, RegistrationRefused)).reason
    named = a_node(9, redirect=True, nhs=(an_nhs(),), overlay=OVERLAY)
    assert code(named.receive(a_registration_request(2), nbma(2))) == CieCode.SUCCESS
