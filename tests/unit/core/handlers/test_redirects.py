"""Traffic Indications (draft-detienne-dmvpn §4)."""

from dataclasses import replace

import pytest

from nhrpd_py.core.events import RouteAdded, TrafficSeen
from nhrpd_py.core.notices import RedirectSent
from nhrpd_py.core.queries import View
from nhrpd_py.packet.iana import PacketType
from nhrpd_py.packet.inner import data_addresses
from tests.support.engine import (
    a_hub,
    a_node,
    a_spoke,
    drops,
    kinds,
    of,
    packets,
    sent,
    the,
    the_packet,
)
from tests.support.messages import (
    AUTHENTICATION,
    a_data_packet,
    a_registration_request,
    a_resolution_request,
    a_traffic_indication,
)
from tests.support.sites import (
    GRE,
    HUB,
    LAN,
    SECRET,
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

INDICATION = PacketType.TRAFFIC_INDICATION
BOTH_ENDS = [(nbma(2), INDICATION), (nbma(3), INDICATION)]


def test_previous_hop_is_told_with_the_beginning_of_the_packet() -> None:
    effects = a_hub(2, 3).see(host(2), host(3))
    to, indication = packets(effects)[0]
    assert to == nbma(2)
    assert indication.type is INDICATION
    assert indication.hop_count == 255
    assert indication.traffic_code == 0
    assert (indication.source_nbma, indication.source_protocol) == (HUB.nbma, HUB.tunnel)
    assert indication.destination_protocol == host(2)  # the source of the data, as on all wires
    assert indication.payload == a_data_packet(host(2), host(3))
    assert [(each.type, each.value) for each in indication.extensions] == [
        (4, b""),
        (5, b""),
        (9, b""),
    ]
    notice = of(effects, RedirectSent)[0]
    assert (notice.protocol, notice.source, notice.destination) == (tunnel(2), host(2), host(3))


def test_next_hop_is_told_the_same_of_the_way_back() -> None:
    """A one-way shortcut is what stateful filters at a hub end TCP connections for."""
    effects = a_hub(2, 3).see(host(2), host(3))
    to, indication = packets(effects)[1]
    assert to == nbma(3)
    assert indication.destination_protocol == host(3)
    assert data_addresses(indication.payload, 0x0800) == (host(3), host(2))
    there = a_data_packet(host(2), host(3))
    assert indication.payload == there[:12] + host(3) + host(2) + there[20:]
    notice = of(effects, RedirectSent)[1]
    assert (notice.protocol, notice.source, notice.destination) == (tunnel(3), host(3), host(2))


def test_answers_that_are_sampled_too_tell_nobody_twice() -> None:
    hub = a_hub(2, 3)
    hub.see(host(2), host(3))
    assert sent(hub.see(host(3), host(2), now=0.1)) == []


def test_server_above_us_is_no_end() -> None:
    hub = a_spoke(2, redirect=True)
    hub.receive(a_registration_request(4), nbma(4))
    hub.give(RouteAdded(a_route("172.16.4.0/24", GRE, tunnel(4))))
    assert kinds(hub.see(host(4), host(3))) == [(nbma(4), INDICATION)]


def test_sample_is_cut_to_128_octets() -> None:
    hub = a_hub(2, 3)
    sample = a_data_packet(host(2), host(3)) + bytes(1400)
    indications = sent(hub.give(TrafficSeen(GRE, GRE, sample)))
    assert [len(each.payload) for each in indications] == [128, 128]


def test_indication_is_signed() -> None:
    hub = a_hub(authentication=SECRET)
    for number in (2, 3):
        hub.receive(a_registration_request(number, extensions=(AUTHENTICATION,)), nbma(number))
    extensions = packets(hub.see(host(2), host(3)))[0][1].extensions
    assert [each.type for each in extensions] == [4, 5, 9, 7]
    assert extensions[-1] == AUTHENTICATION


def test_hub_that_hands_an_indication_on_leaves_its_record() -> None:
    lower = a_hub(2, 3)
    indication = packets(lower.see(host(2), host(3)))[0][1]
    upper = a_node(9, routes=[a_route("172.16.2.0/24", GRE, tunnel(2))])
    upper.receive(a_registration_request(2), nbma(2))
    onward = the_packet(upper.receive(indication, HUB.nbma))[1]
    record = onward.extension(4)
    assert record is not None
    assert [each.protocol for each in record.entries(4, 4)] == [tunnel(9)]
    assert drops(upper.receive(onward, HUB.nbma)) == ["loop-detected"]


def test_client_whose_other_end_is_not_up_yet_is_told_too() -> None:
    assert kinds(a_hub(2).see(host(2), host(3))) == [(nbma(2), INDICATION)]


def test_each_pair_is_told_once_in_two_seconds() -> None:
    hub = a_hub(2, 3)
    assert sent(hub.see(host(2), host(3), now=0.0))
    effects = hub.see(host(2), host(3), now=1.9)
    assert sent(effects) == []
    assert drops(effects) == ["rate-limited"] * 2
    assert sent(hub.see(host(2), host(3, 11), now=1.9))
    assert sent(hub.see(host(2), host(3), now=2.0))


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        (host(2), host(1, 77)),  # we are the egress
        (host(2), HUB.tunnel),  # we are the target
        (host(2), ip("8.8.8.8")),  # and so says the default route
        (host(1, 77), host(3)),  # from behind us
        (host(9), host(3)),  # from nobody we know
        (host(2), host(2, 99)),  # in and out through one peer
        (tunnel(2), host(2)),
    ],
)
def test_nobody_is_told_what_would_not_help(source, destination) -> None:
    hub = a_hub(2, 3)
    hub.give(RouteAdded(a_route("0.0.0.0/0", UNDERLAY, nbma(254))))
    assert hub.see(source, destination) == []


def test_nobody_is_told_without_redirect_configured() -> None:
    assert a_hub(2, 3, redirect=False).see(host(2), host(3)) == []


def test_traffic_that_leaves_the_cloud_is_nothing_to_redirect() -> None:
    assert a_hub(2, 3).see(host(2), host(3), out_ifindex=LAN) == []


def test_traffic_whose_way_out_is_unknown_is_judged_by_its_route() -> None:
    assert kinds(a_hub(2, 3).see(host(2), host(3), out_ifindex=0)) == BOTH_ENDS


def test_traffic_of_other_interfaces_is_nothing_to_us() -> None:
    assert a_hub(2, 3).see(host(2), host(3), in_ifindex=LAN) == []


def test_traffic_of_an_interface_that_cannot_speak_is_nothing_to_redirect() -> None:
    hub = a_node(1, redirect=True)
    hub.give(a_tunnel_link(5, "gre5"))
    assert hub.give(TrafficSeen(GRE, GRE, a_data_packet(ip("fd02::1"), ip("fd03::1")))) == []


@pytest.mark.parametrize("sample", [b"", b"\x45", b"\x45" + bytes(18), b"\x60" + bytes(30)])
def test_sample_that_is_no_packet_is_dropped(sample) -> None:
    hub = a_hub(2, 3)
    hub.give(an_address(GRE, ip("fd00::1"), 128))
    effects = hub.give(TrafficSeen(GRE, GRE, sample))
    assert drops(effects) == ["inner-packet"]


def two_tunnels(network_id: int):
    hub = a_node(
        1,
        an_interface("gre1", redirect=True),
        an_interface("gre2", redirect=True, network_id=network_id),
        routes=[
            a_route("172.16.2.0/24", GRE, tunnel(2)),
            a_route("172.16.3.0/24", 5, ip("10.255.254.3")),
        ],
    )
    hub.give(a_tunnel_link(5, "gre2"), an_address(5, ip("10.255.254.1"), 32))
    hub.receive(a_registration_request(2), nbma(2))
    other = a_registration_request(
        3, source_protocol=ip("10.255.254.3"), destination_protocol=ip("10.255.254.3")
    )
    hub.receive(other, nbma(3), ifindex=5)
    return hub


def test_two_tunnels_of_one_cloud_are_redirected_between() -> None:
    hub = two_tunnels(1)
    assert kinds(hub.see(host(2), host(3), out_ifindex=5)) == BOTH_ENDS
    assert two_tunnels(2).see(host(2), host(3), out_ifindex=5) == []


def test_source_that_is_routed_by_another_tunnel_is_not_told() -> None:
    assert two_tunnels(1).see(host(3), host(2), in_ifindex=GRE) == []


def test_source_known_by_resolution_only_is_told_too() -> None:
    hub = a_hub(3, shortcut=True)
    hub.receive(a_resolution_request(2, host(1, 77)), nbma(2))
    assert kinds(hub.see(tunnel(2), host(3))) == BOTH_ENDS


def test_ipv6_traffic_is_redirected_as_well() -> None:
    hub = a_hub()
    hub.give(an_address(GRE, ip("fd00::1"), 128))
    client = replace(
        a_registration_request(2),
        protocol_type=0x86DD,
        source_protocol=ip("fd00::2"),
        destination_protocol=ip("fd00::2"),
        entries=(replace(a_registration_request(2).entries[0], prefix_length=128),),
        extensions=(),
    )
    hub.receive(client, nbma(2))
    to, indication = the_packet(hub.see(ip("fd00::2"), ip("fd00::3")))
    assert to == nbma(2)
    assert indication.destination_protocol == ip("fd00::2")
    assert indication.source_protocol == ip("fd00::1")


# Received.


@pytest.mark.parametrize("destination", [host(2), tunnel(2), host(3), ip("1.2.3.4")])
def test_target_is_the_destination_of_the_data_whatever_the_header_says(destination) -> None:
    """The draft puts the data's destination there; and our route to its source may lead to the hub as well."""
    indication = a_traffic_indication(1, host(2), host(3), destination_protocol=destination)
    request = the(sent(a_spoke(2).receive(indication, HUB.nbma)))
    assert request.type is PacketType.RESOLUTION_REQUEST
    assert request.destination_protocol == host(3)


def test_indication_of_another_than_our_next_hop_is_handed_on() -> None:
    indication = a_traffic_indication(3, host(4), host(3), hop_count=255)
    to, handed_on = the_packet(a_spoke(2).receive(indication, nbma(3)))
    assert (to, handed_on.type) == (HUB.nbma, INDICATION)


@pytest.mark.parametrize("payload", [b"", bytes(19), b"\x60" + bytes(60)])
def test_indication_without_a_packet_is_dropped(payload) -> None:
    effects = a_spoke(2).receive(
        a_traffic_indication(1, host(2), host(3), payload=payload), HUB.nbma
    )
    assert drops(effects) == ["inner-packet"]
    assert sent(effects) == []


def test_twenty_eight_octets_as_cisco_sends_are_enough() -> None:
    payload = a_data_packet(host(2), host(3))[:28]
    effects = a_spoke(2).receive(
        a_traffic_indication(1, host(2), host(3), payload=payload), HUB.nbma
    )
    assert len(sent(effects, PacketType.RESOLUTION_REQUEST)) == 1


def test_redirect_is_counted() -> None:
    hub = a_hub(2, 3)
    hub.see(host(2), host(3))
    assert ("sent", "traffic-indication", 2) in hub.table(
        View.TRAFFIC, "direction", "type", "packets"
    )
