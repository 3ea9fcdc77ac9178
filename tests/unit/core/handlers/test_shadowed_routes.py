"""zebra withdraws its own route of a prefix while our shortcut for the very same one stands."""

from nhrpd_py.core.effects import Effect
from nhrpd_py.core.events import RouteAdded, RouteRemoved
from nhrpd_py.packet.iana import PacketType
from tests.support import inspect
from tests.support.engine import Node, a_spoke, sent, the
from tests.support.ipsec import kernel
from tests.support.messages import a_purge_request, a_resolution_reply, a_traffic_indication
from tests.support.sites import GRE, HUB, LAN, a_route, host, nbma, tunnel

REQUEST = PacketType.RESOLUTION_REQUEST
BGP = a_route("172.16.3.0/24", GRE, HUB.tunnel, metric=20)
SHORTCUT = ("172.16.3.0/24", "10.255.255.3", "active")


def a_spoke_with_bgp_alone() -> Node:
    """No covering route: the hub announces each LAN."""
    spoke = a_spoke(2, routes=[a_route("10.255.255.0/24", GRE, HUB.tunnel), BGP])
    request = the(sent(redirect(spoke, 1.0), REQUEST))
    effects = spoke.receive(a_resolution_reply(request), HUB.nbma, now=1.0)
    assert "+ 172.16.3.0/24 via 10.255.255.3" in kernel(effects)
    return spoke


def redirect(spoke: Node, now: float) -> list[Effect]:
    return spoke.receive(a_traffic_indication(1, host(2), host(3)), HUB.nbma, now=now)


def test_shortcut_outlives_the_route_that_it_shadows() -> None:
    """It was dropped, zebra put its route back, the next redirect made it anew: it flapped."""
    spoke = a_spoke_with_bgp_alone()
    assert spoke.give(RouteRemoved(BGP), now=1.1) == []
    assert spoke.shortcuts(1.1) == [SHORTCUT]


def test_renewal_still_finds_the_routed_path() -> None:
    spoke = a_spoke_with_bgp_alone()
    spoke.give(RouteRemoved(BGP), now=1.1)
    renewals = sent(inspect.renew(spoke.engine, host(3), 30.0), REQUEST)
    assert [each.destination_protocol for each in renewals] == [host(3)]


def test_route_that_comes_back_with_the_end_of_the_shortcut_is_followed() -> None:
    spoke = a_spoke_with_bgp_alone()
    spoke.give(RouteRemoved(BGP), now=1.1)
    spoke.receive(a_purge_request(3, "172.16.3.0/24", tunnel(2)), nbma(3), now=5.0)
    assert spoke.shortcuts(5.0) == []
    assert sent(redirect(spoke, 8.0), REQUEST) == []  # for all we know there is no way
    spoke.give(RouteAdded(BGP), now=9.0)
    assert sent(redirect(spoke, 12.0), REQUEST)


def test_another_route_for_the_prefix_ends_the_shortcut_as_ever() -> None:
    spoke = a_spoke_with_bgp_alone()
    spoke.give(RouteRemoved(BGP), now=1.1)
    effects = spoke.give(RouteAdded(a_route("172.16.3.0/24", LAN, metric=5)), now=2.0)
    assert "- 172.16.3.0/24" in kernel(effects)


def test_removed_route_of_another_link_is_no_shadow() -> None:
    spoke = a_spoke_with_bgp_alone()
    elsewhere = a_route("172.16.3.0/24", LAN, metric=90)
    spoke.give(RouteAdded(elsewhere), now=1.0)
    spoke.give(RouteRemoved(elsewhere), now=1.1)
    assert inspect.route_to(spoke.engine, host(3)) == BGP
