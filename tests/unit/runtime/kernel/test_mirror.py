from dataclasses import replace

from nhrpd_py.core.address import parse_address, parse_prefix
from nhrpd_py.core.events import (
    AddressAdded,
    AddressRemoved,
    LinkChanged,
    LinkGone,
    Route,
    RouteAdded,
    RouteRemoved,
)
from nhrpd_py.runtime.kernel.mirror import Mirror
from nhrpd_py.runtime.netlink.rtnl import RouteRead

OURS = 208


def a_link(ifindex=5, *, up=True, mtu=1472):
    return LinkChanged(ifindex=ifindex, name=f"gre{ifindex}", up=up, mtu=mtu)


def an_address(text="10.0.0.1", ifindex=5):
    return AddressAdded(ifindex=ifindex, address=parse_address(text), prefix_length=24)


def a_route(text="10.1.0.0/16", ifindex=5, gateway="", metric=0, protocol=3):
    return Route(
        prefix=parse_prefix(text),
        ifindex=ifindex,
        gateway=parse_address(gateway) if gateway else b"",
        metric=metric,
        protocol=protocol,
    )


def read(route, *, multipath=False):
    return RouteRead(route, multipath)


def test_only_differences_of_links_are_told():
    mirror = Mirror(OURS)
    assert mirror.link_changed(a_link()) == [a_link()]
    assert mirror.link_changed(a_link()) == []
    assert mirror.link_changed(a_link(mtu=1400)) == [a_link(mtu=1400)]
    assert mirror.link_gone(9) == []


def test_the_routes_of_a_link_that_goes_down_are_removed_in_its_wake():
    mirror = Mirror(OURS)
    mirror.link_changed(a_link())
    mirror.route_added(read(a_route()), replaces=False)
    mirror.route_added(read(a_route("10.2.0.0/16", ifindex=6)), replaces=False)
    assert mirror.link_changed(a_link(up=False)) == [a_link(up=False), RouteRemoved(a_route())]
    assert mirror.suspect
    assert not mirror.is_up(5)


def test_what_a_link_had_goes_before_it():
    mirror = Mirror(OURS)
    mirror.link_changed(a_link())
    mirror.address_added(an_address())
    mirror.route_added(read(a_route()), replaces=False)
    assert mirror.link_gone(5) == [
        RouteRemoved(a_route()),
        AddressRemoved(5, parse_address("10.0.0.1"), 24),
        LinkGone(5),
    ]


def test_addresses():
    mirror = Mirror(OURS)
    assert mirror.address_added(an_address()) == [an_address()]
    assert mirror.address_added(an_address()) == []
    gone = AddressRemoved(5, parse_address("10.0.0.1"), 24)
    assert mirror.address_removed(an_address()) == [gone]
    assert mirror.address_removed(an_address()) == []
    assert mirror.suspect


def test_our_own_routes_never_enter():
    mirror = Mirror(OURS)
    own = read(a_route(protocol=OURS))
    assert mirror.route_added(own, replaces=False) == []
    assert mirror.route_removed(own) == []
    assert mirror.sync_routes([own]) == []


def test_a_replaced_route_is_removed_before_the_new_one_is_added():
    mirror = Mirror(OURS)
    old, new = a_route(gateway="10.0.0.7"), a_route(gateway="10.0.0.8")
    mirror.route_added(read(old), replaces=False)
    assert mirror.route_added(read(new), replaces=True) == [RouteRemoved(old), RouteAdded(new)]
    assert mirror.routes_at(new.prefix, 0) == (new,)
    assert mirror.route_added(read(new), replaces=True) == []
    assert mirror.route_removed(read(old)) == []
    assert mirror.route_removed(read(new)) == [RouteRemoved(new)]
    assert mirror.routes_at(new.prefix, 0) == ()


def test_replacing_one_of_several_asks_for_a_dump():
    mirror = Mirror(OURS)
    for gateway in ("10.0.0.7", "10.0.0.8"):
        mirror.route_added(read(a_route(gateway=gateway)), replaces=False)
    assert not mirror.suspect
    mirror.route_added(read(a_route(gateway="10.0.0.9")), replaces=True)
    assert mirror.suspect


def test_the_loss_of_a_next_hop_of_several_asks_for_a_dump():
    mirror = Mirror(OURS)
    route = a_route(gateway="10.0.0.7")
    mirror.route_added(read(route, multipath=True), replaces=False)
    assert mirror.route_removed(read(route)) == [RouteRemoved(route)]
    assert mirror.suspect


def test_a_dump_tells_only_what_differs():
    mirror = Mirror(OURS)
    kept, lost, new = a_route("10.1.0.0/16"), a_route("10.2.0.0/16"), a_route("10.3.0.0/16")
    assert mirror.sync_routes([read(kept), read(lost)]) == [RouteAdded(kept), RouteAdded(lost)]
    assert mirror.sync_routes([read(kept), read(new)]) == [RouteRemoved(lost), RouteAdded(new)]
    mirror = Mirror(OURS)
    assert mirror.sync_links([a_link(5), a_link(6)]) == [a_link(5), a_link(6)]
    assert mirror.sync_links([a_link(6, mtu=9)]) == [LinkGone(5), a_link(6, mtu=9)]
    one, two = an_address("10.0.0.1", 6), an_address("10.0.0.2", 6)
    assert mirror.sync_addresses([one]) == [one]
    assert mirror.sync_addresses([two]) == [AddressRemoved(6, one.address, 24), two]


def test_a_nexthop_object_that_a_route_uses_casts_doubt_on_the_routes_when_it_changes():
    mirror = Mirror(OURS)
    mirror.route_added(RouteRead(a_route(), multipath=False, nexthop=7), replaces=False)
    doubts = []
    for number in (8, 7):
        mirror.nexthop_changed(number)
        doubts.append(mirror.suspect)
    mirror.sync_routes([read(a_route())])
    mirror.nexthop_changed(7)
    assert [*doubts, mirror.suspect] == [False, True, False]


def test_a_route_whose_further_next_hops_change_is_replaced_without_a_loss():
    mirror = Mirror(OURS)
    first = a_route(gateway="10.0.0.7")
    two = replace(first, others=((5, parse_address("10.0.0.8")),))
    mirror.route_added(read(first), replaces=False)
    assert mirror.route_added(read(two, multipath=True), replaces=True) == [RouteAdded(two)]
    assert mirror.routes_at(first.prefix, 0) == (two,)
    assert mirror.sync_routes([read(first)]) == [RouteAdded(first)]
    assert mirror.route_added(read(two, multipath=True), replaces=False) == [RouteAdded(two)]
    assert mirror.routes_at(first.prefix, 0) == (two,)
