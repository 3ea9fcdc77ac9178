"""A hub with two tunnels whose addresses are /32: stations find each other by tunnel address, across them.

Client 2 is on gre1. Client 3, 10.255.254.3, is on gre2, in the same cloud or in another one.
"""

from dataclasses import replace

import pytest

from nhrpd_py.core.effects import SendPacket
from nhrpd_py.core.events import AddressRemoved, ConfigChanged, RouteAdded
from nhrpd_py.core.station.location import Where
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.iana import CieCode, ErrorCode, PacketType
from nhrpd_py.packet.message import Message
from tests.support import inspect
from tests.support.engine import Node, a_node, drops, kinds, of, packets, sent, the, the_packet
from tests.support.messages import (
    a_purge_request,
    a_registration_reply,
    a_registration_request,
    a_resolution_reply,
    a_resolution_request,
    a_traffic_indication,
    an_error_indication,
)
from tests.support.sites import (
    GRE,
    HUB,
    LAN,
    a_route,
    a_site,
    a_tunnel_link,
    an_address,
    an_interface,
    an_nhs,
    host,
    ip,
    nbma,
    tunnel,
)

GRE2 = 5
OWN_2 = ip("10.255.254.1")
"""The hub's address on gre2."""
CLIENT_3 = replace(a_site(3), tunnel=ip("10.255.254.3"))


def a_hub_of_two(*, network_id: int = 1, routes=(), length: int = 32) -> Node:
    """Returns the hub; gre2 has `network_id`, gre1 has 1."""
    hub = a_node(
        1,
        an_interface("gre1", shortcut=True, redirect=True),
        an_interface("gre2", network_id=network_id, shortcut=True, redirect=True),
        routes=routes,
    )
    hub.give(a_tunnel_link(GRE2, "gre2"), an_address(GRE2, OWN_2, length))
    hub.receive(a_registration_request(2), nbma(2))
    hub.receive(a_registration_request(CLIENT_3), nbma(3), ifindex=GRE2)
    return hub


REQUEST = a_resolution_request(2, CLIENT_3.tunnel)
REQUEST_BACK = a_resolution_request(CLIENT_3, tunnel(2))


@pytest.mark.parametrize(
    "packet",
    [
        REQUEST,
        a_resolution_reply(REQUEST_BACK, 2, prefix_length=32),
        a_registration_request(2, destination_protocol=CLIENT_3.tunnel),
        a_registration_reply(a_registration_request(CLIENT_3), server=tunnel(2)),
        a_purge_request(2, "172.16.2.0/24", CLIENT_3.tunnel),
        replace(a_purge_request(CLIENT_3, "172.16.3.0/24", tunnel(2)), type=PacketType.PURGE_REPLY),
        an_error_indication(2, 6, REQUEST_BACK),
        a_traffic_indication(2, CLIENT_3.tunnel, host(9), hop_count=2),
    ],
    ids=lambda packet: packet.type.name.lower(),
)
def test_every_message_for_a_client_of_the_other_tunnel_is_handed_on(packet: Message) -> None:
    """The client's host route is our own, which the routing table leaves out: the hub knew of no binding."""
    effects = a_hub_of_two().receive(packet, nbma(2))
    assert drops(effects) == []
    to, message = the_packet(effects)
    assert (to, message.type, message.request_id) == (nbma(3), packet.type, packet.request_id)
    assert the(of(effects, SendPacket)).ifindex == GRE2


def test_a_client_of_the_packets_own_tunnel_comes_first() -> None:
    """Two tunnels of one cloud may both know a station: an answer to it takes the way that it came."""
    hub = a_hub_of_two()
    hub.receive(a_registration_request(2), nbma(22), ifindex=GRE2)
    hub.receive(a_registration_request(4), nbma(4))
    for ifindex, expected in ((GRE, nbma(2)), (GRE2, nbma(22))):
        location = inspect.locate(hub.engine, ifindex, tunnel(2))
        assert location.binding is not None
        assert (location.where, location.binding.nbma) == (Where.NEXT_HOP, expected)


def test_reply_finds_a_requester_that_the_other_tunnel_knows_by_resolution_only() -> None:
    hub = a_hub_of_two()
    other = replace(a_site(8), tunnel=ip("10.255.254.8"))
    hub.receive(a_resolution_request(other, host(1, 77)), nbma(8), ifindex=GRE2)
    question = a_resolution_request(other, host(2))
    assert kinds(hub.receive(a_resolution_reply(question, 2), nbma(2))) == [
        (nbma(8), PacketType.RESOLUTION_REPLY)
    ]
    # A request to it follows routes, and nothing learnt by resolution.
    refusal = the(sent(hub.receive(a_resolution_request(2, other.tunnel), nbma(2))))
    assert the(refusal.entries).code == CieCode.NO_BINDING


def test_stations_of_two_tunnels_are_told_of_a_better_path() -> None:
    hub = a_hub_of_two()
    told = packets(hub.see(tunnel(2), CLIENT_3.tunnel, out_ifindex=GRE2))
    assert [(to, each.destination_protocol) for to, each in told] == [
        (nbma(2), tunnel(2)),
        (nbma(3), CLIENT_3.tunnel),
    ]


def test_request_that_only_the_other_tunnels_server_can_answer_goes_there() -> None:
    """A regional hub has its clients on one tunnel and the hub above it on another."""
    hub = a_node(
        5,
        an_interface("gre1"),
        an_interface("gre2", nhs=(an_nhs(),)),
        routes=[a_route("10.255.254.0/24", GRE2)],
    )
    started = hub.give(a_tunnel_link(GRE2, "gre2"), an_address(GRE2, ip("10.255.254.5"), 32))
    registration = the(sent(started, PacketType.REGISTRATION_REQUEST))
    reply = a_registration_reply(registration, server=OWN_2)
    hub.receive(reply, HUB.nbma, ifindex=GRE2)
    hub.receive(a_registration_request(2), nbma(2))
    effects = hub.receive(a_resolution_request(2, ip("10.255.254.9")), nbma(2))
    assert kinds(effects) == [(HUB.nbma, PacketType.RESOLUTION_REQUEST)]
    assert the(of(effects, SendPacket)).ifindex == GRE2


def test_client_of_the_other_tunnel_is_not_asked_for_on_a_redirect() -> None:
    hub = a_hub_of_two()
    indication = a_traffic_indication(2, host(1, 77), CLIENT_3.tunnel)
    effects = hub.receive(indication, nbma(2))
    assert kinds(effects) == []
    assert drops(effects) == ["already-resolved"]


# Two clouds.


def answer_of(effects) -> ClientInformation:
    """Returns the entry of the only Resolution Reply, which must be to client 2."""
    to, reply = the_packet(effects)
    assert (to, reply.type) == (nbma(2), PacketType.RESOLUTION_REPLY)
    return the(reply.entries)


def test_client_of_another_cloud_is_behind_us() -> None:
    hub = a_hub_of_two(network_id=2)
    assert answer_of(hub.receive(REQUEST, nbma(2))) == ClientInformation(
        prefix_length=32, mtu=1472, holding_time_s=60, nbma=HUB.nbma, protocol=HUB.tunnel
    )


def test_client_of_another_cloud_is_answered_for_alone_whatever_route_is_around_it() -> None:
    """Its host route is the one that counts: no other address need go where it does."""
    summary = a_route("10.255.0.0/16", LAN, host(1, 254))
    hub = a_hub_of_two(network_id=2, routes=[summary])
    assert answer_of(hub.receive(REQUEST, nbma(2))).prefix_length == 32


def test_client_within_the_other_tunnels_network_is_answered_for_with_that_network() -> None:
    """It has no host route; the network's connected route is somebody else's, and known."""
    hub = a_hub_of_two(network_id=2, length=24)
    hub.give(RouteAdded(a_route("10.255.254.0/24", GRE2)))
    assert answer_of(hub.receive(REQUEST, nbma(2))).prefix_length == 24


@pytest.mark.parametrize(
    ("network_id", "code"),
    [(1, CieCode.ADMINISTRATIVELY_PROHIBITED), (2, CieCode.SUCCESS)],
)
def test_nbma_address_of_another_cloud_can_be_a_station_of_ours(network_id, code) -> None:
    """Clouds may be stacked; within one, its host route would lead the tunnel into itself."""
    hub = a_hub_of_two(network_id=network_id)
    lower = ip("10.255.253.4")
    hub.receive(a_registration_request(CLIENT_3), lower, ifindex=GRE2)
    station = a_registration_request(4, source_protocol=lower, destination_protocol=HUB.tunnel)
    _, reply = the_packet(hub.receive(station, nbma(4)))
    assert the(reply.entries).code == code


def test_tunnels_that_a_reload_makes_one_cloud_are_one() -> None:
    hub = a_hub_of_two(network_id=2)
    of_one = {name: replace(each, network_id=7) for name, each in hub.config.interfaces.items()}
    hub.give(ConfigChanged(replace(hub.config, interfaces=of_one)))
    lower = ip("10.255.253.4")
    hub.receive(a_registration_request(CLIENT_3), lower, ifindex=GRE2)
    station = a_registration_request(4, source_protocol=lower, destination_protocol=HUB.tunnel)
    _, reply = the_packet(hub.receive(station, nbma(4)))
    assert the(reply.entries).code == CieCode.ADMINISTRATIVELY_PROHIBITED


def test_client_of_another_cloud_that_has_gone_is_nowhere() -> None:
    hub = a_hub_of_two(network_id=2)
    hub.run(61.0)
    refusal = answer_of(hub.receive(REQUEST, nbma(2), now=61.0))
    assert refusal.code == CieCode.NO_BINDING


def test_reply_to_a_station_of_another_cloud_stays_here() -> None:
    """Clouds are not one network: nothing but data crosses the border."""
    hub = a_hub_of_two(network_id=2)
    effects = hub.receive(a_resolution_reply(REQUEST_BACK, 2), nbma(2))
    assert drops(effects) == ["no-route"]
    assert kinds(effects) == []


def test_station_of_both_clouds_is_a_next_hop_of_its_own_cloud() -> None:
    hub = a_hub_of_two(network_id=2)
    hub.receive(a_registration_request(2), nbma(22), ifindex=GRE2)
    assert inspect.locate(hub.engine, GRE, tunnel(2)).where is Where.NEXT_HOP


def test_purge_of_nobody_known_is_still_error_6() -> None:
    effects = a_hub_of_two().receive(a_purge_request(2, "172.16.2.0/24", tunnel(9)), nbma(2))
    assert the(sent(effects)).error_code == ErrorCode.PROTOCOL_ADDRESS_UNREACHABLE


def test_a_network_that_one_tunnel_lost_is_no_more_the_others() -> None:
    hub = a_hub_of_two()
    hub.give(an_address(GRE2, ip("172.16.1.99"), 24))
    inside = replace(a_site(4), tunnel=host(1, 77))
    hub.receive(a_registration_request(inside), nbma(4))
    assert "172.16.1.77" in hub.cache()
    hub.give(AddressRemoved(GRE2, ip("172.16.1.99"), 24), now=1.0)
    assert "172.16.1.77" not in hub.cache()
