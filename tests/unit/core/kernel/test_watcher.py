"""Who watches the routes into a tunnel hears of these, and of no others."""

from dataclasses import replace

from nhrpd_py.core.address import Address, Afi, Prefix
from nhrpd_py.core.kernel.rib import Rib
from tests.support.sites import GRE, LAN, a_route, tunnel

NET = "172.16.4.0/24"


class Heard:
    def __init__(self) -> None:
        self.news: list[tuple[str, str, Address]] = []

    def leads(self, prefix: Prefix, protocol: Address) -> None:
        self.news.append(("+", str(prefix), protocol))

    def leads_no_more(self, prefix: Prefix, protocol: Address) -> None:
        self.news.append(("-", str(prefix), protocol))

    def taken(self) -> list[tuple[str, str, Address]]:
        news, self.news = self.news, []
        return news


def test_watcher_is_told_what_there_is_and_what_changes() -> None:
    rib, heard = Rib(Afi.IPV4), Heard()
    rib.add(a_route(NET, GRE, tunnel(4)))
    rib.add(a_route("172.16.9.0/24", LAN, tunnel(9)))
    rib.watch(GRE, heard)
    assert heard.taken() == [("+", NET, tunnel(4))]
    rib.add(a_route("172.16.8.0/24", LAN, tunnel(9)))
    assert heard.taken() == []
    rib.add(a_route(NET, GRE, tunnel(5)))
    assert heard.taken() == [("+", NET, tunnel(5)), ("-", NET, tunnel(4))]
    rib.add(a_route(NET, LAN, tunnel(9)))
    assert heard.taken() == [("-", NET, tunnel(5))]
    rib.add(a_route(NET, GRE, tunnel(6)))
    assert heard.taken() == [("+", NET, tunnel(6))]


def test_every_next_hop_of_a_route_counts() -> None:
    rib, heard = Rib(Afi.IPV4), Heard()
    rib.watch(GRE, heard)
    hops = ((GRE, tunnel(5)), (LAN, tunnel(9)))
    rib.add(replace(a_route(NET, GRE, tunnel(4)), others=hops))
    assert sorted(heard.taken()) == [("+", NET, tunnel(4)), ("+", NET, tunnel(5))]


def test_who_watches_no_more_is_told_that_nothing_leads_there() -> None:
    rib, heard = Rib(Afi.IPV4), Heard()
    rib.unwatch(GRE)
    rib.add(a_route(NET, GRE, tunnel(4)))
    rib.add(a_route("172.16.9.0/24", LAN, tunnel(9)))
    rib.watch(GRE, heard)
    heard.taken()
    rib.unwatch(GRE)
    assert heard.taken() == [("-", NET, tunnel(4))]
    rib.add(a_route(NET, GRE, tunnel(5)))
    assert heard.taken() == []
