"""The main job once more, in every pair of address families: register, redirect, resolve, purge.

Three engines talk to each other by hand; 1 is the hub, 2 and 3 are spokes with a network behind them.
"""

from collections import Counter
from collections.abc import Callable

import pytest

from nhrpd_py.core.address import Address, Prefix, prefix_of
from nhrpd_py.core.effects import Effect, SetNeighbor, SetRoute
from nhrpd_py.core.events import (
    AddressAdded,
    Event,
    GreParameters,
    Route,
    RouteAdded,
    ShutdownRequested,
)
from nhrpd_py.packet.iana import PacketType
from tests.support.engine import Node, of, packets, sent
from tests.support.sites import GRE, LAN, UNDERLAY, a_link, a_tunnel_link, an_interface, an_nhs, ip

Text = Callable[[int], str]


class Cloud:
    """The three routers, and a wire that loses nothing."""

    def __init__(self, underlay: Text, overlay: Text, lan: Text) -> None:
        self.underlay = underlay
        self.overlay = overlay
        self.lan = lan
        self.nodes: dict[Address, Node] = {}
        self.log: list[PacketType] = []
        for number in (1, 2, 3):
            node = self.a_router(number)
            self.nodes[ip(underlay(number))] = node
            self.carry(number, node.started)

    def node(self, number: int) -> Node:
        return self.nodes[ip(self.underlay(number))]

    def network(self, number: int) -> Prefix:
        address = ip(self.lan(number))
        return prefix_of(address, 24 if len(address) == 4 else 64)

    def carry(self, number: int, effects: list[Effect]) -> list[tuple[int, Effect]]:
        """Delivers what a node sent, and all that comes of it; gives every effect with its node."""
        found = [(number, each) for each in effects]
        for to, message in packets(effects):
            self.log.append(message.type)
            other = self.nodes.get(to)
            if other is None:
                continue  # not up yet
            index = list(self.nodes).index(to) + 1
            found += self.carry(index, other.receive(message, ip(self.underlay(number))))
        return found

    def a_router(self, number: int) -> Node:
        underlay, overlay, lan = (
            ip(each(number)) for each in (self.underlay, self.overlay, self.lan)
        )
        hub = ip(self.overlay(1))
        routes = [Route(prefix=self.network(number), ifindex=LAN)]
        for other in (2, 3):
            if other != number:
                gateway = ip(self.overlay(other)) if number == 1 else hub
                routes.append(Route(prefix=self.network(other), ifindex=GRE, gateway=gateway))
        everything = prefix_of(hub, 24 if len(hub) == 4 else 64)
        if number != 1:
            routes.append(Route(prefix=everything, ifindex=GRE, gateway=hub))
        events: list[Event] = [
            a_link(),
            AddressAdded(ifindex=UNDERLAY, address=underlay, prefix_length=len(underlay) * 6),
            a_link(LAN, "lan0"),
            AddressAdded(ifindex=LAN, address=lan, prefix_length=self.network(number).length),
            a_tunnel_link(gre=GreParameters(key=1, link=UNDERLAY, ipv6=len(underlay) == 16)),
            AddressAdded(ifindex=GRE, address=overlay, prefix_length=len(overlay) * 8),
            *(RouteAdded(each) for each in routes),
        ]
        servers = () if number == 1 else (an_nhs(self.underlay(1)),)
        return Node(
            an_interface(shortcut=True, redirect=True, unique=True, nhs=servers), events=events
        )


V4: tuple[Text, Text, Text] = (
    "192.168.100.{}".format,
    "10.255.255.{}".format,
    "172.16.{}.1".format,
)
V6: tuple[Text, Text, Text] = ("2001:db8::{}".format, "fd00::{}".format, "fd00:{}::1".format)


@pytest.fixture(params=["4 in 4", "6 in 4", "4 in 6", "6 in 6"])
def cloud(request: pytest.FixtureRequest) -> Cloud:
    inner, outer = request.param.split(" in ")
    underlay = (V4 if outer == "4" else V6)[0]
    _, overlay, lan = V4 if inner == "4" else V6
    return Cloud(underlay, overlay, lan)


def test_spokes_register_at_the_hub(cloud: Cloud) -> None:
    assert cloud.node(1).cache() == {
        cloud.overlay(number): ("dynamic", cloud.underlay(number)) for number in (2, 3)
    }
    for number in (2, 3):
        assert cloud.node(number).cache() == {cloud.overlay(1): ("nhs", cloud.underlay(1))}


def test_relayed_traffic_becomes_a_shortcut_both_ways(cloud: Cloud) -> None:
    cloud.log.clear()
    effects = cloud.carry(1, cloud.node(1).see(ip(cloud.lan(2)), ip(cloud.lan(3))))
    assert Counter(cloud.log) == {
        PacketType.TRAFFIC_INDICATION: 2,
        PacketType.RESOLUTION_REQUEST: 4,  # each by way of the hub
        PacketType.RESOLUTION_REPLY: 2,
    }
    assert cloud.node(2).shortcuts() == [(str(cloud.network(3)), cloud.overlay(3), "active")]
    of_2 = [each for number, each in effects if number == 2]
    assert of(of_2, SetNeighbor) == [SetNeighbor(GRE, ip(cloud.overlay(3)), ip(cloud.underlay(3)))]
    assert of(of_2, SetRoute)[-1].gateway == ip(cloud.overlay(3))
    assert cloud.node(3).shortcuts() == [(str(cloud.network(2)), cloud.overlay(2), "active")]


def test_departing_spoke_takes_back_what_it_told(cloud: Cloud) -> None:
    cloud.carry(1, cloud.node(1).see(ip(cloud.lan(2)), ip(cloud.lan(3))))
    cloud.carry(3, cloud.node(3).give(ShutdownRequested()))
    assert cloud.node(2).shortcuts() == []
    assert cloud.overlay(3) not in cloud.node(1).cache()


def test_unique_address_is_refused_to_a_second_client(cloud: Cloud) -> None:
    thief = cloud.a_router(3)
    request = sent(thief.started)[0]
    effects = cloud.node(1).receive(request, ip(cloud.underlay(9)))
    (reply,) = sent(effects)
    assert reply.entries[0].code == 14
    assert cloud.node(1).cache()[cloud.overlay(3)] == ("dynamic", cloud.underlay(3))


def test_every_packet_on_the_wire_is_of_the_families_of_the_cloud(cloud: Cloud) -> None:
    for effects in (each.started for each in cloud.nodes.values()):
        for _, message in packets(effects):
            assert message.nbma_size == len(ip(cloud.underlay(1)))
            assert message.protocol_size == len(ip(cloud.overlay(1)))
