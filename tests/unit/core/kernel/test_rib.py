"""The kernel's routes as the engine knows them."""

import pytest

from nhrpd_py.core.address import Afi, parse_address, parse_prefix
from nhrpd_py.core.kernel.rib import Rib, stretch
from tests.support.sites import GRE, LAN, a_route, host, tunnel

TARGET = parse_address("172.16.4.1")


def a_rib(*routes) -> Rib:
    rib = Rib(Afi.IPV4)
    for route in routes:
        rib.add(route)
    return rib


def test_best_route_is_that_of_the_longest_prefix() -> None:
    rib = a_rib(a_route("172.16.0.0/16", GRE), a_route("172.16.4.0/24", LAN))
    found = rib.lookup(TARGET)
    assert found is not None
    assert found.ifindex == LAN
    assert rib.lookup(parse_address("8.8.8.8")) is None


def test_lowest_metric_counts_and_the_next_one_takes_over() -> None:
    better, worse = (
        a_route("172.16.0.0/16", GRE, metric=10),
        a_route("172.16.0.0/16", LAN, metric=20),
    )
    rib = Rib(Afi.IPV4)
    assert rib.add(worse)
    assert rib.add(better)
    assert rib.lookup(TARGET) == better
    assert len(rib) == 2
    assert rib.remove(better)
    assert rib.lookup(TARGET) == worse
    assert rib.remove(worse)
    assert rib.lookup(TARGET) is None


def test_worse_route_is_no_news() -> None:
    rib = a_rib(a_route("172.16.0.0/16", GRE, metric=10))
    worse = a_route("172.16.0.0/16", LAN, metric=20)
    assert not rib.add(worse)
    assert not rib.remove(worse)


def test_replacing_a_route_of_the_same_metric_is_news_when_it_leads_elsewhere() -> None:
    rib = a_rib(a_route("172.16.0.0/16", GRE, tunnel(1)))
    assert not rib.add(a_route("172.16.0.0/16", GRE, tunnel(1)))
    assert rib.add(a_route("172.16.0.0/16", GRE, tunnel(9)))
    assert len(rib) == 1


def test_removing_an_unknown_route_is_no_news() -> None:
    rib = a_rib(a_route("172.16.0.0/16", GRE, tunnel(1)))
    assert not rib.remove(a_route("172.17.0.0/16", GRE))
    assert not rib.remove(a_route("172.16.0.0/16", GRE, tunnel(9)))
    assert len(rib) == 1


def test_lost_link_takes_its_routes_along() -> None:
    rib = a_rib(
        a_route("172.16.0.0/16", GRE, metric=1),
        a_route("172.16.0.0/16", LAN, metric=2),
        a_route("10.0.0.0/8", GRE),
        a_route("192.168.0.0/16", LAN),
        a_route("192.168.0.0/16", GRE, metric=5),
    )
    changed = rib.drop_link(GRE)
    assert set(changed) == {parse_prefix("172.16.0.0/16"), parse_prefix("10.0.0.0/8")}
    assert len(rib) == 2


def test_inside_gives_the_best_route_of_each_prefix() -> None:
    rib = a_rib(a_route("172.16.4.0/24", LAN), a_route("172.16.0.0/16", GRE))
    found = {str(route.prefix) for route in rib.inside(parse_prefix("172.16.0.0/16"))}
    assert found == {"172.16.4.0/24", "172.16.0.0/16"}


@pytest.mark.parametrize(
    ("exceptions", "result"),
    [
        ([], "172.16.0.0/16"),
        (["172.16.128.0/17"], "172.16.0.0/17"),
        (["172.16.5.0/24"], "172.16.4.0/24"),
        (["172.16.5.0/24", "172.16.4.128/25"], "172.16.4.0/25"),
        (["172.16.4.1/32"], "172.16.4.1/32"),
        (["10.0.0.0/8"], "172.16.0.0/16"),
    ],
)
def test_prefix_is_stretched_around_all_exceptions(exceptions, result) -> None:
    prefix = parse_prefix("172.16.0.0/16")
    found = stretch(prefix, TARGET, (parse_prefix(each) for each in exceptions))
    assert str(found) == result


def test_a_route_that_gave_way_to_ours_counts_until_ours_goes() -> None:
    rib = Rib(Afi.IPV4)
    bgp = a_route("172.16.3.0/24", GRE, tunnel(1), metric=20)
    rib.add(bgp)
    rib.shadow(bgp)
    rib.shadow(bgp)
    rib.shadow(a_route("172.16.4.0/24", GRE, tunnel(1)))
    assert rib.lookup(host(3)) == bgp
    assert len(rib) == 1
    rib.unshadow(bgp.prefix)
    assert rib.lookup(host(3)) is None
    rib.unshadow(bgp.prefix)


def test_another_route_takes_the_place_of_one_that_gave_way() -> None:
    rib = Rib(Afi.IPV4)
    old, new = (a_route("172.16.3.0/24", GRE, tunnel(each), metric=20 * each) for each in (1, 9))
    rib.add(old)
    rib.shadow(old)
    assert rib.add(new)
    assert rib.lookup(host(3)) == new
    rib.unshadow(old.prefix)
    assert rib.lookup(host(3)) == new


def test_a_route_that_gave_way_goes_with_its_link() -> None:
    rib = Rib(Afi.IPV4)
    routes = [
        a_route("172.16.3.0/24", GRE, tunnel(1), metric=20),
        a_route("172.16.3.0/24", GRE + 1, tunnel(1), metric=30),
    ]
    for each in routes:
        rib.add(each)
        rib.shadow(each)
    rib.drop_link(GRE)
    assert rib.lookup(host(3)) == routes[1]
    rib.drop_link(GRE + 1)
    assert rib.lookup(host(3)) is None
