"""What a transit NHS does (RFC 2332 §5.1, §5.3)."""

from dataclasses import replace

import pytest

from nhrpd_py.core.events import RouteAdded
from nhrpd_py.core.queries import View
from nhrpd_py.packet.extension import Extension, of_entries
from nhrpd_py.packet.iana import ErrorCode, ExtensionType, PacketType
from tests.support.engine import Node, a_hub, a_node, a_spoke, drops, kinds, sent, the, the_packet
from tests.support.messages import (
    AUTHENTICATION,
    a_record,
    a_registration_reply,
    a_registration_request,
    a_resolution_reply,
    a_resolution_request,
    a_traffic_indication,
    an_error_indication,
    nat_extension,
    std_extensions,
)
from tests.support.sites import (
    GRE,
    HUB,
    SECRET,
    UNDERLAY,
    a_map,
    a_route,
    a_tunnel_link,
    an_address,
    an_interface,
    host,
    ip,
    nbma,
    tunnel,
)

FORWARD = ExtensionType.FORWARD_TRANSIT_NHS
REVERSE = ExtensionType.REVERSE_TRANSIT_NHS
NAT_ADDRESS = ExtensionType.NAT_ADDRESS


def a_request(**fields):
    return a_resolution_request(2, host(3), **fields)


def a_reply(**fields):
    return a_resolution_reply(a_request(), **fields)


def forwarded(packet, source: bytes = nbma(2), *clients: int, **settings):
    return the_packet(a_hub(*(clients or (2, 3)), **settings).receive(packet, source))


def records(message, kind: int) -> list[bytes]:
    extension = message.extension(kind)
    return [entry.protocol for entry in extension.entries(4, 4)]


def test_request_goes_on_with_one_hop_less_and_one_record_more() -> None:
    to, request = forwarded(a_request())
    assert to == nbma(3)
    assert request.hop_count == 63
    assert records(request, FORWARD) == [HUB.tunnel]
    assert records(request, REVERSE) == []
    assert records(request, ExtensionType.RESPONDER_ADDRESS) == []
    assert replace(request, hop_count=64, extensions=a_request().extensions) == a_request()


def test_reply_goes_on_with_its_record_in_the_reverse_list() -> None:
    to, reply = forwarded(a_reply(), nbma(3))
    assert to == nbma(2)
    assert records(reply, FORWARD) == []
    assert records(reply, REVERSE) == [HUB.tunnel]
    assert reply.entries == a_reply().entries


def test_record_is_added_behind_those_of_others() -> None:
    extensions = (of_entries(FORWARD, (a_record(8), a_record(9))),)
    assert records(forwarded(a_request(extensions=extensions))[1], FORWARD) == [
        tunnel(8),
        tunnel(9),
        HUB.tunnel,
    ]


def test_our_record_says_what_the_rfc_wants() -> None:
    request = forwarded(a_request())[1]
    extension = request.extension(FORWARD)
    assert extension is not None
    assert the(extension.entries(4, 4)) == replace(a_record(1), holding_time_s=60, mtu=1472)


def test_nothing_is_added_that_was_not_asked_for() -> None:
    assert forwarded(a_request(extensions=()))[1].extensions == ()


@pytest.mark.parametrize(
    ("packet", "source", "to"),
    [
        (a_request(hop_count=0), nbma(2), tunnel(2)),
        (a_reply(hop_count=0), nbma(3), host(3)),
        (a_traffic_indication(3, host(2), host(4), hop_count=0), nbma(3), tunnel(3)),
    ],
)
def test_packet_at_the_end_of_its_hops_is_dropped_with_error_15(packet, source, to) -> None:
    effects = a_hub(2, 3).receive(packet, source)
    assert drops(effects) == ["hop-count-exceeded"]
    back, error = the_packet(effects)
    assert (back, error.error_code) == (source, ErrorCode.HOP_COUNT_EXCEEDED)
    assert error.destination_protocol == to
    assert error.error_offset == 9  # ar$hopcnt


def test_last_hop_may_be_used_up() -> None:
    assert forwarded(a_request(hop_count=1))[1].hop_count == 0


VENDOR = Extension(ExtensionType.VENDOR_PRIVATE, b"\0\0\x0cx", compulsory=False)


@pytest.mark.parametrize(
    ("packet", "source", "offset"),
    [
        # Fixed part, three addresses and an entry without any: 52 octets; with two, 60.
        (a_request(extensions=(of_entries(FORWARD, (a_record(8), a_record(1))),)), nbma(2), 52),
        (a_reply(extensions=(VENDOR, of_entries(REVERSE, (a_record(1),)))), nbma(3), 68),
        (a_reply(extensions=(of_entries(3, (a_record(1),)),)), nbma(3), 60),
    ],
)
def test_packet_that_was_here_before_is_dropped_with_error_3(packet, source, offset) -> None:
    effects = a_hub(2, 3).receive(packet, source)
    assert drops(effects) == ["loop-detected"]
    error = the_packet(effects)[1]
    assert (error.error_code, error.error_offset) == (ErrorCode.LOOP_DETECTED, offset)


@pytest.mark.parametrize(
    ("packet", "source"),
    [
        # Our NBMA address alone proves nothing: many stations may share one.
        (
            a_request(extensions=(of_entries(FORWARD, (replace(a_record(1), protocol=b""),)),)),
            nbma(2),
        ),
        # The other list is not that of this direction.
        (a_request(extensions=(of_entries(REVERSE, (a_record(1),)),)), nbma(2)),
        (a_reply(extensions=(of_entries(FORWARD, (a_record(1),)),)), nbma(3)),
    ],
)
def test_packet_that_only_looks_like_a_loop_goes_on(packet, source) -> None:
    effects = a_hub(2, 3).receive(packet, source)
    assert drops(effects) == []


def test_packet_is_never_sent_back_to_where_it_came_from() -> None:
    """Two stations whose routes lead to each other bounced packets without records 255 times."""
    hub = a_hub(2, routes=[a_route("172.17.0.0/16", GRE, tunnel(2))])
    request = a_request(destination_protocol=ip("172.17.0.9"), extensions=())
    to, error = the_packet(hub.receive(request, nbma(2)))
    assert (to, error.error_code) == (nbma(2), ErrorCode.LOOP_DETECTED)
    assert error.error_offset == 36  # the address that leads back: of a request its destination
    hub.receive(a_registration_request(3), nbma(3))
    reply = replace(a_reply(), source_protocol=ip("172.17.0.9"))
    error = the_packet(hub.receive(reply, nbma(2)))[1]
    assert error.error_offset == 32


def test_our_own_error_that_comes_by_again_is_dropped_in_silence() -> None:
    error = an_error_indication(1, 6, a_request())
    effects = a_hub(2, 3).receive(error, nbma(3))
    assert drops(effects) == ["loop-detected"]
    assert kinds(effects) == []


def test_error_of_another_station_goes_on() -> None:
    to, error = forwarded(an_error_indication(3, 6, a_request()), nbma(3))
    assert (to, error.hop_count) == (nbma(2), 254)


def test_exhausted_error_is_dropped_in_silence() -> None:
    effects = a_hub(2, 3).receive(an_error_indication(3, 6, a_request(), hop_count=0), nbma(3))
    assert drops(effects) == ["hop-count-exceeded"]
    assert kinds(effects) == []


def test_signature_is_that_of_each_hop() -> None:
    signed = a_request(extensions=std_extensions(AUTHENTICATION, nat_extension()))
    hub = a_hub(authentication=SECRET)
    for number in (2, 3):
        hub.receive(a_registration_request(number, extensions=(AUTHENTICATION,)), nbma(number))
    request = the_packet(hub.receive(signed, nbma(2)))[1]
    assert [each.type for each in request.extensions] == [4, 5, 3, 7, 9]  # Cisco's order
    assert request.extensions[3] == AUTHENTICATION
    # A hub without a pass phrase does not hand a foreign one on.
    assert [each.type for each in forwarded(signed)[1].extensions] == [4, 5, 3, 9]


def test_order_and_unknown_extensions_stay() -> None:
    unknown = Extension(0x123, b"x", compulsory=False)
    vendor = Extension(ExtensionType.VENDOR_PRIVATE, b"\0\0\x0cx", compulsory=False)
    request = forwarded(a_request(extensions=(vendor, unknown, *std_extensions(vendor))))[1]
    assert [each.type for each in request.extensions] == [8, 0x123, 4, 5, 3, 8]
    assert request.extensions[1] == unknown


def test_unknown_compulsory_extension_makes_us_a_mere_forwarder() -> None:
    extensions = (Extension(0x123, b"x"), *std_extensions(nat_extension()))
    to, request = forwarded(a_request(extensions=extensions))
    assert to == nbma(3)
    assert request.extensions == extensions
    assert request.hop_count == 63


# NAT.


def a_hub_with_natted(number: int) -> Node:
    hub = a_hub(2, 3)
    hub.receive(a_registration_request(number), nbma(50 + number))
    return hub


def test_empty_nat_list_of_a_natted_requester_is_filled_in() -> None:
    request = the_packet(a_hub_with_natted(2).receive(a_request(), nbma(52)))[1]
    assert request.extension(NAT_ADDRESS) == nat_extension((tunnel(2), nbma(52)))


def test_empty_nat_list_of_a_natted_responder_is_filled_in() -> None:
    reply = the_packet(a_hub_with_natted(3).receive(a_reply(), nbma(53)))[1]
    assert reply.extension(NAT_ADDRESS) == nat_extension((tunnel(3), nbma(53)))


def test_nat_list_of_those_without_nat_stays_empty() -> None:
    assert forwarded(a_request())[1].extension(NAT_ADDRESS) == nat_extension()
    refusal = a_reply(entries=(replace(a_reply().entries[0], protocol=b""),))
    assert forwarded(refusal, nbma(3))[1].extension(NAT_ADDRESS) == nat_extension()


def test_nat_list_that_says_something_is_handed_on_as_it_is() -> None:
    said = nat_extension((tunnel(2), nbma(77)))
    request = a_request(extensions=std_extensions(said))
    assert the_packet(a_hub_with_natted(2).receive(request, nbma(52)))[1].extension(9) == said


def test_purge_reply_without_entries_has_no_nat_to_fill_in() -> None:
    """A reply need not have an entry: nothing is to be found out about nobody."""
    reply = replace(a_reply(entries=()), type=PacketType.REGISTRATION_REPLY)
    assert forwarded(reply, nbma(3))[1].extension(NAT_ADDRESS) == nat_extension()


# Where to.


def test_packet_leaves_by_the_tunnel_that_leads_on() -> None:
    hub = a_node(
        1,
        an_interface("gre1"),
        an_interface("gre2", authentication=SECRET),
        routes=[a_route("172.16.3.0/24", 5, ip("10.255.254.3"))],
    )
    hub.give(a_tunnel_link(5, "gre2"), an_address(5, ip("10.255.254.1"), 32))
    client = a_registration_request(
        3,
        source_protocol=ip("10.255.254.3"),
        destination_protocol=ip("10.255.254.3"),
        extensions=(AUTHENTICATION,),
    )
    hub.receive(client, nbma(3), ifindex=5)
    hub.receive(a_registration_request(2), nbma(2))
    effects = hub.receive(a_request(), nbma(2))
    to, request = the_packet(effects)
    assert to == nbma(3)
    assert effects[-1].ifindex == 5  # type: ignore[union-attr]
    # Record and signature are those of the tunnel it leaves by.
    assert records(request, FORWARD) == [ip("10.255.254.1")]
    assert request.extensions[-1] == AUTHENTICATION


def test_reply_to_somebody_behind_us_is_dropped() -> None:
    """Who speaks NHRP is in the cloud."""
    hub = a_hub(3)
    reply = replace(a_reply(), source_protocol=host(1, 77))
    effects = hub.receive(reply, nbma(3))
    assert drops(effects) == ["no-route"]
    assert kinds(effects) == []


def test_reply_finds_a_requester_that_is_known_by_resolution_only() -> None:
    maps = (a_map(tunnel(3), nbma(3)),)
    hub = a_hub(shortcut=True, maps=maps, routes=[a_route("172.16.9.0/24", GRE, tunnel(3))])
    question = a_resolution_request(
        2, host(1, 77), extensions=(of_entries(FORWARD, (a_record(3),)),)
    )
    hub.receive(question, nbma(3))
    assert kinds(hub.receive(a_reply(), nbma(3))) == [(nbma(2), PacketType.RESOLUTION_REPLY)]


def test_forwarded_packets_are_counted_apart_from_our_own() -> None:
    hub = a_hub(2, 3)
    hub.receive(a_request(), nbma(2))
    rows = hub.table(View.TRAFFIC, "direction", "type", "packets")
    assert ("forwarded", "resolution-request", 1) in rows
    assert ("sent", "registration-reply", 2) in rows
    assert ("received", "registration-request", 2) in rows


def test_unroutable_request_climbs_to_the_server_above() -> None:
    """A regional hub does not know everything: it asks up, but never back whence it came."""
    hub = a_spoke(5, routes=[a_route("10.255.255.0/24", GRE)])
    hub.receive(a_registration_request(2), nbma(2))
    request = a_resolution_request(2, tunnel(9))
    assert kinds(hub.receive(request, nbma(2))) == [(HUB.nbma, PacketType.RESOLUTION_REQUEST)]
    effects = hub.receive(request, HUB.nbma)
    assert drops(effects) == ["no-route"]


def test_server_above_without_a_known_address_is_no_way_up() -> None:
    hub = a_spoke(5, registered=False, routes=[a_route("10.255.255.0/24", GRE)])
    silent = a_registration_reply(the(sent(hub.started)), server=tunnel(5))
    hub.receive(silent, HUB.nbma)
    hub.receive(a_registration_request(2), nbma(2))
    assert drops(hub.receive(a_resolution_request(2, tunnel(9)), nbma(2))) == ["no-route"]


def test_station_that_leads_nowhere_any_more_drops() -> None:
    hub = a_hub(2, 3)
    hub.give(RouteAdded(a_route("172.16.3.0/24", UNDERLAY, nbma(254), metric=0)))
    effects = hub.receive(a_reply(source_protocol=host(3)), nbma(3))
    assert drops(effects) == ["no-route"]
