"""Where an overlay address is."""

import pytest

from nhrpd_py.core.events import LinkGone, RouteAdded
from nhrpd_py.core.kernel.rib import Rib
from nhrpd_py.core.station.location import Where
from tests.support import inspect
from tests.support.engine import Node, a_hub, a_node, a_spoke, sent, the
from tests.support.messages import a_data_packet, a_resolution_reply, a_traffic_indication
from tests.support.sites import (
    GRE,
    HUB,
    LAN,
    UNDERLAY,
    a_route,
    a_tunnel_link,
    an_address,
    an_interface,
    host,
    ip,
    nbma,
    tunnel,
)

GRE2 = 5


def locate(node: Node, address: bytes, *, learnt: bool = False, ifindex: int = GRE):
    return inspect.locate(node.engine, ifindex, address, learnt=learnt)


def prefix_around(node: Node, address: bytes) -> str:
    return str(inspect.prefix_around(node.engine, GRE, address))


def where(node: Node, address: bytes, *, learnt: bool = False, ifindex: int = GRE) -> Where:
    return locate(node, address, learnt=learnt, ifindex=ifindex).where


def test_our_own_addresses_are_here_on_whatever_link() -> None:
    hub = a_hub()
    assert where(hub, HUB.tunnel) is Where.HERE
    assert where(hub, host(1, 1)) is Where.HERE
    assert where(hub, HUB.nbma) is Where.HERE


def test_address_of_ours_in_a_lan_stands_for_its_network() -> None:
    assert prefix_around(a_hub(), host(1, 1)) == "172.16.1.0/24"


def test_address_of_ours_in_the_tunnel_stands_for_itself_whatever_route_covers_it() -> None:
    hub = a_hub(routes=[a_route("10.0.0.0/8", LAN, host(1, 254))])
    assert prefix_around(hub, HUB.tunnel) == "10.255.255.1/32"


def test_address_of_ours_without_a_route_stands_for_itself() -> None:
    hub = a_hub()
    hub.give(an_address(LAN, ip("192.0.2.9"), 32))
    assert prefix_around(hub, ip("192.0.2.9")) == "192.0.2.9/32"
    hub.give(RouteAdded(a_route("0.0.0.0/0", UNDERLAY, nbma(254))))
    assert prefix_around(hub, ip("192.0.2.9")) == "192.0.2.9/32"


def test_registered_client_is_a_next_hop_and_so_is_what_is_routed_over_it() -> None:
    hub = a_hub(3)
    for address in (tunnel(3), host(3)):
        location = locate(hub, address)
        assert location.where is Where.NEXT_HOP
        assert location.binding is not None
        assert location.binding.nbma == nbma(3)


def test_address_routed_over_an_unknown_peer_is_unresolved() -> None:
    assert where(a_hub(), host(3)) is Where.UNRESOLVED


def test_tunnel_address_in_a_connected_prefix_is_unresolved() -> None:
    hub = a_node(1, prefix_length=24, routes=[a_route("10.255.255.0/24", GRE)])
    assert where(hub, tunnel(9)) is Where.UNRESOLVED


@pytest.mark.parametrize("routes", [[], [a_route("172.16.9.0/24", 0)]])
def test_address_without_a_route_or_with_one_that_drops_is_nowhere(routes) -> None:
    assert where(a_hub(routes=routes), host(9)) is Where.NOWHERE


def test_network_behind_us_is_told_as_wide_as_it_is_true() -> None:
    hub = a_hub(
        routes=[
            a_route("172.20.0.0/16", LAN, host(1, 254)),
            a_route("172.20.4.0/24", LAN, host(1, 253)),  # another way, but out of the cloud too
            a_route("172.20.128.0/17", GRE, tunnel(3)),
            a_route("172.20.64.0/18", 0),
        ]
    )
    assert where(hub, ip("172.20.5.1")) is Where.BEHIND_US
    assert prefix_around(hub, ip("172.20.5.1")) == "172.20.0.0/18"


def test_default_route_behind_us_says_nothing() -> None:
    hub = a_hub(routes=[a_route("0.0.0.0/0", UNDERLAY, nbma(254))])
    assert where(hub, ip("8.8.8.8")) is Where.BEHIND_US
    assert prefix_around(hub, ip("8.8.8.8")) == "None"
    assert prefix_around(a_hub(), ip("8.8.8.8")) == "None"


def test_learnt_binding_is_a_next_hop_only_for_who_asks_for_it() -> None:
    spoke = a_spoke(2)
    request = the(sent(spoke.receive(a_traffic_indication(1, host(2), host(3)), HUB.nbma)))
    spoke.receive(a_resolution_reply(request), HUB.nbma)
    direct = locate(spoke, tunnel(3), learnt=True).binding
    routed = locate(spoke, tunnel(3)).binding
    assert direct is not None
    assert direct.nbma == nbma(3)
    assert routed is not None
    assert routed.nbma == HUB.nbma


def two_clouds(network_id: int) -> Node:
    """Router 1 with a second tunnel, which leads to 172.16.3.0/24."""
    hub = a_node(
        1,
        an_interface("gre1"),
        an_interface("gre2", network_id=network_id),
        routes=[a_route("172.16.3.0/24", GRE2, ip("10.255.254.3"))],
    )
    hub.give(a_tunnel_link(GRE2, "gre2"), an_address(GRE2, ip("10.255.254.1"), 32))
    return hub


def test_other_tunnel_of_the_same_network_id_is_the_same_cloud() -> None:
    location = locate(two_clouds(1), host(3))
    assert location.where is Where.UNRESOLVED
    assert location.station.interface.name == "gre2"


def test_other_tunnel_of_another_network_id_is_behind_us() -> None:
    assert where(two_clouds(2), host(3)) is Where.BEHIND_US
    assert prefix_around(two_clouds(2), host(3)) == "172.16.3.0/24"


def test_looking_an_address_up_does_not_look_at_the_routes_within(monkeypatch) -> None:
    """Each forwarded or redirected packet walked the routing table for a prefix that nobody asked for."""
    hub = a_hub()
    monkeypatch.setattr(Rib, "inside", None)
    assert where(hub, host(1)) is Where.BEHIND_US
    assert where(hub, host(1, 1)) is Where.HERE


def test_stations_without_a_link_have_no_place() -> None:
    hub = two_clouds(1)
    hub.give(LinkGone(GRE2))
    assert not inspect.has_station(hub.engine, GRE2)
    assert not inspect.has_station(hub.engine, 0)


def test_data_packets_of_both_families_have_their_addresses_where_they_belong() -> None:
    """The builder is right: everything about redirects leans on it."""
    assert a_data_packet(host(2), host(3))[12:20] == host(2) + host(3)
    assert a_data_packet(ip("fd02::1"), ip("fd03::1"))[8:40] == ip("fd02::1") + ip("fd03::1")
