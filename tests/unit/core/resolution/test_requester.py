"""The asking side of resolution (RFC 2332 §5.2.1, §5.2.2, §6.2)."""

from dataclasses import replace

import pytest

from nhrpd_py.core.address import Address, host_prefix
from nhrpd_py.core.base import requests as requests_module
from nhrpd_py.core.base.timers import TimerKind
from nhrpd_py.core.effects import (
    DropNeighbor,
    DropRoute,
    Effect,
    NeighborState,
    SetNeighbor,
    SetRoute,
)
from nhrpd_py.core.events import AddressRemoved, NeighborSolicited, RouteAdded, RouteRemoved
from nhrpd_py.core.notices import (
    ResolutionFailed,
    ResolutionStarted,
    ShortcutInstalled,
    ShortcutRemoved,
    TableFull,
)
from nhrpd_py.core.resolution import requester as resolution_module
from nhrpd_py.core.station import cache as cache_module
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension, of_entries
from nhrpd_py.packet.iana import ExtensionType, PacketType
from nhrpd_py.packet.message import Message
from tests.support import inspect
from tests.support.engine import Node, a_spoke, drops, kinds, of, packets, sent, the, the_packet
from tests.support.messages import (
    AUTHENTICATION,
    REQUEST_FLAGS,
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
    an_address,
    an_nhs,
    host,
    ip,
    nbma,
    tunnel,
)

REQUEST = PacketType.RESOLUTION_REQUEST
STALE = NeighborState.STALE


def redirect(spoke: Node, target: bytes = host(3), now: float = 0.0) -> list:
    return spoke.receive(a_traffic_indication(1, host(2), target), HUB.nbma, now=now)


def an_asking_spoke(target: bytes = host(3), **settings) -> tuple[Node, Message]:
    """A spoke that was redirected, and its request."""
    spoke = a_spoke(2, **settings)
    return spoke, the(sent(redirect(spoke, target)))


def a_shortcut_spoke() -> Node:
    """A spoke with a shortcut to the LAN of spoke 3, as it was at time 0."""
    spoke, request = an_asking_spoke()
    spoke.receive(a_resolution_reply(request), HUB.nbma)
    return spoke


def solicit(spoke: Node, address: bytes, now: float = 0.0, known: bytes = b"") -> list:
    return spoke.give(NeighborSolicited(GRE, address, known), now=now)


def test_request_says_what_cisco_and_frr_want_to_hear() -> None:
    spoke, request = an_asking_spoke()
    assert request.flags == REQUEST_FLAGS
    assert request.hop_count == 255
    assert request.destination_protocol == host(3)
    assert (request.source_nbma, request.source_protocol) == (nbma(2), tunnel(2))
    assert request.entries == (ClientInformation(prefix_length=32, holding_time_s=60),)
    assert request.extensions == std_extensions(nat_extension())
    assert spoke.shortcuts() == [("172.16.3.10/32", None, "incomplete")]


def test_signed_request_has_the_signature_last() -> None:
    spoke = a_spoke(2, registered=False, authentication=SECRET)
    reply = a_registration_reply(the(sent(spoke.started)), AUTHENTICATION)
    spoke.receive(reply, HUB.nbma)
    indication = a_traffic_indication(1, host(2), host(3), extensions=(AUTHENTICATION,))
    request = the(sent(spoke.receive(indication, HUB.nbma)))
    assert request.extensions[-1] == AUTHENTICATION


def test_many_redirects_make_one_request() -> None:
    spoke, _ = an_asking_spoke()
    assert sent(redirect(spoke)) == []
    assert sent(redirect(spoke, now=0.9)) == []


def test_lost_request_is_sent_again_with_its_id_and_then_given_up_for_a_minute() -> None:
    spoke, first = an_asking_spoke()
    for at in (1.0, 3.0, 7.0, 15.0):
        assert the(sent(spoke.advance(at), REQUEST)) == first
    effects = spoke.advance(31.0)
    assert the(of(effects, ResolutionFailed)).reason == "no answer"
    assert sent(effects, REQUEST) == []
    assert spoke.shortcuts() == [("172.16.3.10/32", None, "negative")]
    # A negative result damps redirects, and ends.
    assert sent(redirect(spoke, now=90.9), REQUEST) == []
    spoke.advance(91.0)
    assert spoke.shortcuts() == []


def test_reply_becomes_a_shortcut_by_way_of_the_peer() -> None:
    spoke, request = an_asking_spoke()
    effects = spoke.receive(a_resolution_reply(request), HUB.nbma)
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(3), nbma(3))]
    assert [(str(each.prefix), each.gateway) for each in of(effects, SetRoute)] == [
        ("10.255.255.3/32", b""),
        ("172.16.3.0/24", tunnel(3)),
    ]
    notice = the(of(effects, ShortcutInstalled))
    assert (str(notice.prefix), notice.protocol, notice.nbma) == (
        "172.16.3.0/24",
        tunnel(3),
        nbma(3),
    )


def test_neighbour_comes_before_the_route_that_needs_it() -> None:
    spoke, request = an_asking_spoke()
    effects = spoke.receive(a_resolution_reply(request), HUB.nbma)
    order = [type(each) for each in effects if isinstance(each, SetNeighbor | SetRoute)]
    assert order == [SetNeighbor, SetRoute, SetRoute]


def test_second_reply_is_unsolicited_and_answered_with_error_10() -> None:
    spoke, request = an_asking_spoke()
    reply = a_resolution_reply(request)
    spoke.receive(reply, HUB.nbma)
    effects = spoke.receive(reply, nbma(3))
    assert drops(effects) == ["unsolicited-reply"]
    to, error = the_packet(effects)
    assert (to, error.error_code) == (nbma(3), 10)
    assert error.destination_protocol == host(
        3
    )  # the sender of a reply is whom the request was for


@pytest.mark.parametrize("length", [0, 32, 255, 33, 7, 1])
def test_prefix_lengths_that_say_nothing_are_a_host(length) -> None:
    spoke, request = an_asking_spoke()
    spoke.receive(a_resolution_reply(request, prefix_length=length), HUB.nbma)
    assert spoke.shortcuts() == [("172.16.3.10/32", "10.255.255.3", "active")]


def test_shortcut_is_never_wider_than_our_own_route() -> None:
    spoke, request = an_asking_spoke()
    spoke.receive(a_resolution_reply(request, prefix_length=12), HUB.nbma)
    assert spoke.shortcuts() == [("172.16.0.0/16", "10.255.255.3", "active")]


def test_answer_for_an_address_whose_route_is_gone_is_as_wide_as_it_says() -> None:
    spoke, request = an_asking_spoke()
    spoke.give(RouteRemoved(a_route("172.16.0.0/16", GRE, HUB.tunnel)))
    spoke.receive(a_resolution_reply(request, prefix_length=20), HUB.nbma)
    assert spoke.shortcuts() == [("172.16.0.0/20", "10.255.255.3", "active")]


def test_tunnel_address_itself_needs_no_shortcut() -> None:
    spoke, request = an_asking_spoke(tunnel(3))
    spoke.receive(a_resolution_reply(request, prefix_length=32), HUB.nbma)
    assert spoke.shortcuts() == []
    assert spoke.cache()["10.255.255.3"] == ("cached", "192.168.100.3")


def test_reply_without_addresses_means_the_target_at_where_it_came_from() -> None:
    spoke, request = an_asking_spoke(tunnel(3))
    bare = a_resolution_reply(request, entries=(ClientInformation(prefix_length=32),))
    spoke.receive(bare, nbma(3))
    assert spoke.cache()["10.255.255.3"] == ("cached", "192.168.100.3")


def test_first_entry_counts_for_it_is_the_best() -> None:
    spoke, request = an_asking_spoke()
    reply = a_resolution_reply(request)
    other = replace(reply.entries[0], nbma=nbma(4), protocol=tunnel(4))
    spoke.receive(replace(reply, entries=(*reply.entries, other)), HUB.nbma)
    assert "10.255.255.4" not in spoke.cache()


@pytest.mark.parametrize(
    ("code", "reason", "seconds"),
    [
        (4, "ADMINISTRATIVELY_PROHIBITED", 180.0),
        (5, "INSUFFICIENT_RESOURCES", 30.0),
        (11, "NO_BINDING", 180.0),
        (12, "NO_BINDING", 180.0),
        (13, "BINDING_NOT_UNIQUE", 180.0),
        (200, "UNKNOWN(200)", 180.0),
    ],
)
def test_refusal_is_believed_for_a_while(code, reason, seconds) -> None:
    spoke, request = an_asking_spoke()
    nak = a_resolution_reply(request, entries=(ClientInformation(code=code),))
    assert the(of(spoke.receive(nak, HUB.nbma), ResolutionFailed)).reason == reason
    spoke.run(seconds - 0.1)
    assert sent(redirect(spoke, now=seconds - 0.1), REQUEST) == []
    spoke.run(seconds)
    assert len(sent(redirect(spoke, now=seconds), REQUEST)) == 1


@pytest.mark.parametrize(("code", "seconds"), [(6, 180.0), (3, 60.0), (2, 60.0), (15, 60.0)])
def test_error_ends_the_request_too(code, seconds) -> None:
    spoke, request = an_asking_spoke()
    effects = spoke.receive(an_error_indication(1, code, request), HUB.nbma)
    assert of(effects, ResolutionFailed)
    spoke.run(seconds - 0.1)
    assert spoke.shortcuts(now=seconds) == [("172.16.3.10/32", None, "negative")]
    spoke.run(seconds)
    assert spoke.shortcuts(now=seconds) == []


@pytest.mark.parametrize(
    "change",
    [
        {"source_protocol": tunnel(2), "destination_protocol": host(4)},
        {"type": PacketType.REGISTRATION_REPLY},
        {"type": PacketType.PURGE_REPLY},
    ],
)
def test_reply_to_something_else_is_not_taken(change) -> None:
    spoke, request = an_asking_spoke()
    effects = spoke.receive(replace(a_resolution_reply(request), **change), HUB.nbma)
    assert drops(effects) == ["unsolicited-reply"]
    assert spoke.shortcuts() == [("172.16.3.10/32", None, "incomplete")]


@pytest.mark.parametrize(
    ("protocol", "address", "reason"),
    [
        (tunnel(2), nbma(3), "the reply leads back to us"),
        (ip("224.0.0.1"), nbma(3), "the reply names no usable overlay address"),
        (tunnel(3), nbma(2), "the peer has our own NBMA address"),
        (tunnel(3), ip("0.0.0.0"), "the reply names no usable NBMA address"),
        (tunnel(3), ip("224.0.0.1"), "the reply names no usable NBMA address"),
        (tunnel(3), HUB.tunnel, "the reply leads the tunnel into itself"),
        (nbma(3), nbma(3), "the reply leads the tunnel into itself"),
        (HUB.nbma, nbma(3), "the reply leads the tunnel into itself"),
    ],
)
def test_reply_that_cannot_be_true_is_refused(protocol, address, reason) -> None:
    spoke, request = an_asking_spoke()
    entry = ClientInformation(prefix_length=24, holding_time_s=60, nbma=address, protocol=protocol)
    effects = spoke.receive(a_resolution_reply(request, entries=(entry,)), HUB.nbma)
    assert the(of(effects, ResolutionFailed)).reason == reason
    assert spoke.cache() == {"10.255.255.1": ("nhs", "192.168.100.1")}


# Where the peer is.

RECORD = of_entries(ExtensionType.REVERSE_TRANSIT_NHS, (a_record(1),))


def nbma_of_peer(source: bytes, *extensions: Extension) -> object:
    spoke, request = an_asking_spoke()
    spoke.receive(a_resolution_reply(request, extensions=extensions), source)
    return spoke.cache()["10.255.255.3"][1]


def test_post_nat_address_beats_the_claimed_one() -> None:
    assert nbma_of_peer(HUB.nbma, RECORD, nat_extension((tunnel(3), nbma(50)))) == "192.168.100.50"


def test_post_nat_address_of_somebody_else_does_not_count() -> None:
    assert nbma_of_peer(HUB.nbma, RECORD, nat_extension((tunnel(4), nbma(50)))) == "192.168.100.3"


def test_what_we_see_beats_all_that_is_told() -> None:
    told = std_extensions(nat_extension((tunnel(3), nbma(50))))
    assert nbma_of_peer(nbma(60), *told) == "192.168.100.60"


def test_what_we_see_beats_the_claim_without_a_record_too() -> None:
    assert nbma_of_peer(nbma(60)) == "192.168.100.60"


def test_sight_of_a_transit_hub_is_not_that_of_the_peer() -> None:
    assert nbma_of_peer(HUB.nbma) == "192.168.100.3"
    assert nbma_of_peer(HUB.nbma, *std_extensions()) == "192.168.100.3"


def test_peer_known_better_keeps_its_binding_and_gets_its_shortcut() -> None:
    spoke = a_spoke(2)
    spoke.receive(a_registration_request(3), nbma(33))
    request = the(sent(redirect(spoke)))
    spoke.receive(a_resolution_reply(request), HUB.nbma)
    assert spoke.cache()["10.255.255.3"] == ("dynamic", "192.168.100.33")
    assert spoke.shortcuts() == [("172.16.3.0/24", "10.255.255.3", "active")]


# Whom to ask, and whether to ask at all.


@pytest.mark.parametrize(
    "target",
    [tunnel(2), host(2, 1), host(2, 77), ip("8.8.8.8"), ip("224.0.0.5"), ip("0.0.0.0")],
)
def test_nobody_is_asked_about_what_is_here_behind_us_or_nowhere(target) -> None:
    assert sent(redirect(a_spoke(2), target)) == []


def test_redirect_without_shortcut_configured_is_not_followed() -> None:
    spoke = a_spoke(2, shortcut=False)
    effects = redirect(spoke)
    assert drops(effects) == ["not-allowed"]
    assert sent(effects) == []


def test_nobody_is_asked_while_no_server_is_up() -> None:
    spoke = a_spoke(2, registered=False)
    assert sent(redirect(spoke)) == []
    assert spoke.shortcuts() == []


def test_routed_next_hop_is_asked_before_the_server() -> None:
    spoke = a_spoke(2)
    spoke.receive(a_registration_request(3), nbma(3))
    spoke.give(RouteAdded(a_route("172.16.4.0/24", GRE, tunnel(3))))
    assert kinds(redirect(spoke, host(4))) == [(nbma(3), REQUEST)]


def test_server_is_asked_about_the_next_hop_itself() -> None:
    spoke = a_spoke(2)
    spoke.receive(a_registration_request(3), nbma(3))
    assert kinds(redirect(spoke, tunnel(3))) == [(HUB.nbma, REQUEST)]


def test_peer_is_asked_about_itself_where_there_is_no_server() -> None:
    hub = a_spoke(5, registered=False, nhs=())
    hub.receive(a_registration_request(3), nbma(3))
    assert kinds(redirect(hub, tunnel(3))) == [(nbma(3), REQUEST)]


def test_best_server_is_asked() -> None:
    spoke = a_spoke(
        2, registered=False, nhs=(an_nhs(priority=5), an_nhs("192.168.100.11", cluster=1))
    )
    first, second = sent(spoke.started)
    spoke.receive(a_registration_reply(first), HUB.nbma)
    spoke.receive(a_registration_reply(second, server=tunnel(11)), nbma(11), now=1.0)
    assert [to for to, _ in kinds(redirect(spoke, host(3)))] == [HUB.nbma]  # the routed path
    assert [to for to, _ in kinds(solicit(spoke, tunnel(9)))] == [HUB.nbma]
    spoke.give(RouteRemoved(a_route("10.255.255.0/24", GRE, HUB.tunnel)))
    spoke.give(RouteAdded(a_route("10.255.255.0/24", GRE)))
    assert [to for to, _ in kinds(solicit(spoke, tunnel(8)))] == [nbma(11)]  # the better one


def test_retry_skips_a_beat_while_the_server_is_away() -> None:
    spoke, _ = an_asking_spoke()
    inspect.client(spoke.engine).stop()
    spoke.give(RouteRemoved(a_route("172.16.0.0/16", GRE, HUB.tunnel)))
    assert sent(spoke.advance(1.0)) == []
    assert spoke.shortcuts() == [("172.16.3.10/32", None, "incomplete")]


# Redirects while a shortcut is there.


@pytest.mark.parametrize(
    "lost", [AddressRemoved(UNDERLAY, nbma(2), 24), AddressRemoved(GRE, tunnel(2), 32)]
)
def test_retry_skips_a_beat_while_we_have_no_address_of_our_own(lost) -> None:
    """DHCP takes the address away while we ask; it took the daemon along."""
    spoke, request = an_asking_spoke()
    spoke.give(lost, now=0.5)
    assert sent(spoke.advance(1.0), REQUEST) == []
    back = an_address(lost.ifindex, lost.address, lost.prefix_length)
    spoke.give(back, now=2.0)
    again = the(sent(spoke.advance(3.0), REQUEST))
    assert (again.request_id, again.source_nbma) == (request.request_id, nbma(2))


def test_resolution_survives_that_its_request_id_is_displaced(monkeypatch) -> None:
    monkeypatch.setattr(requests_module, "MAX_OUTSTANDING", 1)
    spoke, request = an_asking_spoke()
    redirect(spoke, host(4), now=0.5)
    again = the(sent(spoke.advance(1.0), REQUEST))
    assert again.destination_protocol == host(3)
    assert again.request_id != request.request_id
    spoke.receive(a_resolution_reply(again), HUB.nbma, now=1.1)
    assert ("172.16.3.0/24", "10.255.255.3", "active") in spoke.shortcuts(1.1)


def test_redirect_of_what_has_a_shortcut_asserts_its_route_anew() -> None:
    spoke = a_shortcut_spoke()
    effects = redirect(spoke, host(3, 99), now=1.0)
    assert sent(effects) == []
    assert [(str(each.prefix), each.gateway) for each in of(effects, SetRoute)] == [
        ("172.16.3.0/24", tunnel(3))
    ]


def test_host_shortcut_gives_way_to_a_binding_of_that_host() -> None:
    """There is one route for both: when the shortcut ended, it took the binding's along."""
    spoke, request = an_asking_spoke(tunnel(4))
    spoke.receive(a_resolution_reply(request, 3, prefix_length=32), HUB.nbma)
    assert spoke.shortcuts() == [("10.255.255.4/32", "10.255.255.3", "active")]
    effects = spoke.receive(a_registration_request(4), nbma(4), now=1.0)
    assert [each for each in effects if isinstance(each, SetNeighbor | SetRoute | DropRoute)] == [
        DropRoute(host_prefix(tunnel(4)), GRE),
        SetNeighbor(GRE, tunnel(4), nbma(4)),
        SetRoute(host_prefix(tunnel(4)), GRE),
    ]
    assert spoke.shortcuts() == []
    assert DropRoute(host_prefix(tunnel(4)), GRE) not in spoke.run(60.9)


def test_answer_about_a_host_that_has_a_binding_makes_no_shortcut() -> None:
    spoke, request = an_asking_spoke(tunnel(4))
    spoke.receive(a_registration_request(4), nbma(4))
    effects = spoke.receive(a_resolution_reply(request, 3, prefix_length=32), HUB.nbma)
    assert [each.prefix for each in of(effects, SetRoute)] == [host_prefix(tunnel(3))]
    assert spoke.shortcuts() == []


def test_flood_of_redirects_does_not_become_one_of_requests(monkeypatch) -> None:
    spoke = a_spoke(2)
    effects = [each for last in range(1, 254) for each in redirect(spoke, host(3, last))]
    effects += [each for last in range(1, 254) for each in redirect(spoke, host(4, last))]
    effects += redirect(spoke, host(3, 1))  # is asked for already
    assert len(sent(effects, REQUEST)) == 500
    assert drops(effects) == ["rate-limited"] * 6
    assert len(sent(redirect(spoke, host(5), now=0.1), REQUEST)) == 1


def test_redirect_by_the_peer_of_a_shortcut_is_followed() -> None:
    """A host of its LAN moved behind spoke 4; the wide shortcut hid that for as long as it was in use."""
    spoke = a_shortcut_spoke()
    redirected = spoke.receive(a_traffic_indication(3, host(2), host(3, 77)), nbma(3), now=1.0)
    request = the(sent(redirected))
    assert request.destination_protocol == host(3, 77)
    spoke.receive(a_resolution_reply(request, 4, prefix_length=32), HUB.nbma, now=1.1)
    assert sorted(spoke.shortcuts(2.0)) == [
        ("172.16.3.0/24", "10.255.255.3", "active"),
        ("172.16.3.77/32", "10.255.255.4", "active"),
    ]


# Phase 2: the kernel asks.


def a_phase_2_spoke() -> Node:
    return a_spoke(2, prefix_length=24, routes=[a_route("10.255.255.0/24", GRE)])


def test_kernel_gets_the_hub_as_a_neighbour_while_we_ask() -> None:
    spoke = a_phase_2_spoke()
    effects = solicit(spoke, tunnel(3))
    assert kinds(effects) == [(HUB.nbma, REQUEST)]
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(3), HUB.nbma)]
    assert spoke.cache() == {
        "10.255.255.1": ("nhs", "192.168.100.1"),
        "10.255.255.3": ("incomplete", "192.168.100.1"),
    }


def test_answer_to_the_kernel_replaces_the_hub_without_a_gap() -> None:
    spoke = a_phase_2_spoke()
    request = the(sent(solicit(spoke, tunnel(3))))
    effects = spoke.receive(a_resolution_reply(request, prefix_length=32), HUB.nbma)
    assert of(effects, DropNeighbor) == []
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(3), nbma(3))]
    assert of(effects, SetRoute) == []


@pytest.mark.parametrize(("code", "seconds"), [(4, 180.0), (5, 30.0), (12, 180.0)])
def test_refusal_leaves_traffic_on_the_hub(code, seconds) -> None:
    """§5.2.1: it dropped for three minutes, also where the peer had just been about to register."""
    spoke = a_phase_2_spoke()
    request = the(sent(solicit(spoke, tunnel(3))))
    nak = a_resolution_reply(request, entries=(ClientInformation(code=code),))
    effects = spoke.receive(nak, HUB.nbma)
    assert of(effects, DropNeighbor) == []
    assert spoke.cache()["10.255.255.3"] == ("negative", "192.168.100.1")
    # The kernel that lost the entry gets it again, and nobody is asked.
    assert solicit(spoke, tunnel(3), now=1.0) == [SetNeighbor(GRE, tunnel(3), HUB.nbma)]
    # It goes with the negative result; the next packet asks anew.
    assert of(spoke.run(seconds - 0.1), DropNeighbor) == []
    assert of(spoke.run(seconds), DropNeighbor) == [DropNeighbor(GRE, tunnel(3))]
    again = solicit(spoke, tunnel(3), now=seconds + 1)
    assert kinds(again) == [(HUB.nbma, REQUEST)]
    assert of(again, SetNeighbor) == [SetNeighbor(GRE, tunnel(3), HUB.nbma)]


def test_silence_leaves_traffic_on_the_hub() -> None:
    spoke = a_phase_2_spoke()
    solicit(spoke, tunnel(3))
    assert of(spoke.run(60.0), DropNeighbor) == []
    assert spoke.cache(60.0)["10.255.255.3"] == ("negative", "192.168.100.1")


def test_kernel_that_asks_for_what_was_refused_before_gets_the_hub() -> None:
    """The refusal was about a redirect; that is no reason to drop what the kernel sends now."""
    spoke, request = an_asking_spoke(tunnel(3), prefix_length=24)
    spoke.receive(a_resolution_reply(request, entries=(ClientInformation(code=12),)), HUB.nbma)
    assert solicit(spoke, tunnel(3), now=1.0) == [SetNeighbor(GRE, tunnel(3), HUB.nbma)]
    assert spoke.cache()["10.255.255.3"] == ("negative", "192.168.100.1")


@pytest.mark.parametrize("is_refused", [False, True])
def test_traffic_on_the_hub_moves_with_the_best_server(is_refused) -> None:
    servers = (an_nhs(), an_nhs("192.168.100.11"))
    routes = [a_route("10.255.255.0/24", GRE)]
    spoke = a_spoke(2, registered=False, prefix_length=24, routes=routes, nhs=servers)
    requests = packets(spoke.started)
    for to, request in requests:
        reply = a_registration_reply(request, server=tunnel(to[-1]))
        spoke.receive(reply, to, now=1.0 if to == HUB.nbma else 2.0)
    request = the(sent(solicit(spoke, tunnel(3), now=3.0)))
    if is_refused:
        nak = a_resolution_reply(request, entries=(ClientInformation(code=4),))
        spoke.receive(nak, HUB.nbma, now=3.1)
    effects: list[Effect] = []
    # The other one only goes on answering.
    while (at := spoke.engine.next_deadline()) is not None and at < 40.0:
        news = spoke.advance(at)
        for to, message in packets(news):
            if to == nbma(11) and message.type is PacketType.REGISTRATION_REQUEST:
                reply = a_registration_reply(message, server=tunnel(11))
                news += spoke.receive(reply, to, now=at)
        effects += news
    moved = [each for each in of(effects, SetNeighbor) if each.address == tunnel(3)]
    assert moved == [SetNeighbor(GRE, tunnel(3), nbma(11))]


def test_binding_that_came_by_another_way_keeps_its_neighbour() -> None:
    spoke = a_phase_2_spoke()
    solicit(spoke, tunnel(3))
    spoke.receive(a_registration_request(3), nbma(3))
    entries = inspect.cache(spoke.engine).entries
    assert inspect.said(spoke.engine, lambda: entries.best_server_changed(nbma(9))) == []
    assert of(spoke.run(59.0), DropNeighbor) == []
    assert spoke.cache(59.0)["10.255.255.3"] == ("dynamic", "192.168.100.3")


def test_answer_by_another_gateway_takes_the_interim_neighbour_back_last() -> None:
    spoke = a_phase_2_spoke()
    request = the(sent(solicit(spoke, tunnel(9))))
    effects = spoke.receive(a_resolution_reply(request, prefix_length=32), HUB.nbma)
    order = [type(each) for each in effects if isinstance(each, SetRoute | DropNeighbor)]
    assert order == [SetRoute, DropNeighbor]
    assert of(effects, DropNeighbor) == [DropNeighbor(GRE, tunnel(9))]
    assert spoke.shortcuts() == [("10.255.255.9/32", "10.255.255.3", "active")]


def test_full_cache_leaves_traffic_on_the_hub(monkeypatch) -> None:
    spoke = a_phase_2_spoke()
    request = the(sent(solicit(spoke, tunnel(3))))
    monkeypatch.setattr(cache_module, "MAX_BINDINGS", 1)
    effects = spoke.receive(a_resolution_reply(request, prefix_length=32), HUB.nbma)
    assert of(effects, TableFull)
    assert of(effects, DropNeighbor) == []
    assert spoke.cache()["10.255.255.3"] == ("negative", "192.168.100.1")


def test_full_cache_is_told_and_nobody_asked_for_a_while(monkeypatch) -> None:
    spoke, request = an_asking_spoke()
    monkeypatch.setattr(cache_module, "MAX_BINDINGS", 1)
    effects = spoke.receive(a_resolution_reply(request), HUB.nbma)
    assert [type(each) for each in effects] == [TableFull, ResolutionFailed]
    assert redirect(spoke, now=1.0) == []
    assert spoke.shortcuts() == [("172.16.3.10/32", None, "negative")]


def test_interim_neighbour_stays_where_a_registration_took_its_place() -> None:
    spoke = a_phase_2_spoke()
    request = the(sent(solicit(spoke, tunnel(3))))
    spoke.receive(a_registration_request(3), nbma(3))
    nak = a_resolution_reply(request, entries=(ClientInformation(code=12),))
    assert of(spoke.receive(nak, HUB.nbma), DropNeighbor) == []


def test_kernel_that_lost_an_entry_is_given_it_again() -> None:
    spoke = a_phase_2_spoke()
    assert solicit(spoke, HUB.tunnel) == [SetNeighbor(GRE, HUB.tunnel, HUB.nbma)]


@pytest.mark.parametrize("address", [ip("224.0.0.5"), tunnel(2), ip("255.255.255.255")])
def test_kernel_is_not_answered_about_groups_and_ourselves(address) -> None:
    assert solicit(a_phase_2_spoke(), address) == []


def test_kernel_is_not_answered_while_no_server_is_up() -> None:
    spoke = a_spoke(2, registered=False, prefix_length=24)
    assert solicit(spoke, tunnel(3)) == []


def test_peer_that_is_asked_directly_gives_no_interim_neighbour() -> None:
    """Without a server there is nobody who could relay meanwhile."""
    node = a_spoke(1, registered=False, nhs=(), routes=[a_route("10.255.254.0/24", GRE, tunnel(3))])
    node.receive(a_registration_request(3), nbma(3))
    effects = solicit(node, ip("10.255.254.9"))
    assert kinds(effects) == [(nbma(3), REQUEST)]
    assert of(effects, SetNeighbor) == []


def test_solicitation_for_an_interface_of_nobody_is_ignored() -> None:
    spoke = a_spoke(2)
    assert spoke.give(NeighborSolicited(UNDERLAY, tunnel(3), b"")) == []


# Renewal.


def test_binding_in_use_is_renewed_before_its_end() -> None:
    spoke = a_shortcut_spoke()
    effects = spoke.run(40.0)
    # Two thirds through: is it used? The kernel will tell.
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(3), nbma(3), NeighborState.STALE)]
    effects = solicit(spoke, tunnel(3), now=45.0, known=nbma(3))
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(3), nbma(3))]
    to, request = the_packet(effects)
    assert (to, request.type) == (HUB.nbma, REQUEST)
    assert request.destination_protocol == host(3)  # what was asked for at first
    assert of(effects, ResolutionStarted) == []
    spoke.receive(a_resolution_reply(request), HUB.nbma, now=45.1)
    spoke.run(105.0)
    assert spoke.shortcuts() == [("172.16.3.0/24", "10.255.255.3", "active")]
    effects = spoke.run(105.1)
    assert of(effects, ShortcutRemoved)


def test_binding_out_of_use_ends_in_silence_with_its_shortcut() -> None:
    spoke = a_shortcut_spoke()
    effects = spoke.run(60.0)
    assert sent(effects, REQUEST) == []
    assert the(of(effects, ShortcutRemoved)).reason == "expired"
    order = [type(each) for each in effects if isinstance(each, DropRoute | DropNeighbor)]
    assert order == [DropRoute, DropRoute, DropNeighbor]
    assert spoke.cache() == {"10.255.255.1": ("nhs", "192.168.100.1")}


def test_probe_outside_of_the_end_is_answered_and_is_no_reason_to_ask() -> None:
    spoke = a_shortcut_spoke()
    assert solicit(spoke, tunnel(3), now=5.0, known=nbma(3)) == [
        SetNeighbor(GRE, tunnel(3), nbma(3)),
        SetRoute(host_prefix(tunnel(3)), GRE),
    ]


def test_probe_of_an_entry_that_is_not_ours_is_not_answered() -> None:
    assert solicit(a_spoke(2), tunnel(9), known=nbma(9)) == []


def test_probe_of_a_registered_client_is_answered_only() -> None:
    spoke = a_spoke(2)
    spoke.receive(a_registration_request(3), nbma(3))
    binding = inspect.cache(spoke.engine).get(tunnel(3))
    assert binding is not None
    inspect.set_probing(binding)  # as it was as a cached one, before it registered
    effects = solicit(spoke, tunnel(3), known=nbma(3))
    assert sent(effects) == []
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(3), nbma(3))]


def test_used_binding_without_shortcuts_is_renewed_for_its_own_address() -> None:
    spoke, request = an_asking_spoke(tunnel(3))
    spoke.receive(a_resolution_reply(request, prefix_length=32), HUB.nbma)
    spoke.run(40.0)
    renewal = the(sent(solicit(spoke, tunnel(3), now=45.0, known=nbma(3)), REQUEST))
    assert renewal.destination_protocol == tunnel(3)


def test_lost_renewal_leaves_what_we_have_to_its_end() -> None:
    spoke = a_shortcut_spoke()
    spoke.run(20.0)
    inspect.renew(spoke.engine, host(3), 20.0)
    effects = spoke.run(51.0)
    assert the(of(effects, ResolutionFailed)).reason == "no answer"
    assert spoke.shortcuts() == [("172.16.3.0/24", "10.255.255.3", "active")]


def test_refused_renewal_removes_the_shortcut_at_once() -> None:
    spoke = a_shortcut_spoke()
    spoke.run(40.0)
    request = the(sent(solicit(spoke, tunnel(3), now=45.0, known=nbma(3)), REQUEST))
    nak = a_resolution_reply(request, entries=(ClientInformation(code=12),))
    effects = spoke.receive(nak, HUB.nbma, now=45.1)
    assert the(of(effects, ShortcutRemoved)).reason == "NO_BINDING"
    assert spoke.shortcuts() == []


def test_timers_of_what_is_gone_do_nothing() -> None:
    spoke = a_shortcut_spoke()
    engine = spoke.engine
    assert inspect.timer_due(engine, TimerKind.BINDING_PROBE, tunnel(99), 0.0) == []
    assert inspect.timer_due(engine, TimerKind.RESOLUTION, host(99), 0.0) == []


def a_spoke_with_a_shortcut_over(kind: str) -> tuple[Node, Address]:
    """A shortcut over a binding that does not come from resolution, and the peer's overlay address."""
    maps = (a_map(tunnel(3), nbma(3)),) if kind == "static" else ()
    spoke = a_spoke(2, maps=maps)
    if kind == "dynamic":
        spoke.receive(a_registration_request(3), nbma(3))
    number = 1 if kind == "nhs" else 3
    request = the(sent(redirect(spoke), REQUEST))
    spoke.receive(a_resolution_reply(request, number), HUB.nbma)
    assert spoke.cache()[f"10.255.255.{number}"][0] == kind
    return spoke, tunnel(number)


@pytest.mark.parametrize("kind", ["static", "nhs", "dynamic"])
def test_shortcut_over_any_binding_is_renewed_while_it_is_used(kind) -> None:
    """Over a map or a server it ended at its holding time, although traffic used it."""
    spoke, peer = a_spoke_with_a_shortcut_over(kind)
    stale = [each for each in of(spoke.run(45.0), SetNeighbor) if each.state is STALE]
    assert [each.address for each in stale] == [peer]
    effects = solicit(spoke, peer, now=46.0, known=stale[0].nbma)
    assert the(of(effects, SetNeighbor)).state is NeighborState.PERMANENT
    request = the(sent(effects, REQUEST))
    assert request.destination_protocol == host(3)
    number = peer[-1]
    spoke.receive(a_resolution_reply(request, number), HUB.nbma, now=46.1)
    if kind == "dynamic":
        spoke.receive(a_registration_request(3), nbma(3), now=47.0)
    assert spoke.shortcuts(105.0) == [("172.16.3.0/24", f"10.255.255.{number}", "active")]
    assert the(of(spoke.run(106.2), ShortcutRemoved)).reason == "expired"


@pytest.mark.parametrize("kind", ["static", "nhs", "dynamic"])
def test_entry_of_a_binding_whose_shortcut_ended_unused_is_permanent_again(kind) -> None:
    """A STALE one would fail at the next restart of the daemon."""
    spoke, peer = a_spoke_with_a_shortcut_over(kind)
    if kind == "dynamic":
        spoke.receive(a_registration_request(3), nbma(3), now=1.0)
    effects = spoke.run(60.0)
    assert sent(effects, REQUEST) == []
    assert the(of(effects, ShortcutRemoved)).reason == "expired"
    last = [each.state for each in of(effects, SetNeighbor) if each.address == peer][-1]
    assert last is NeighborState.PERMANENT
    assert [each for each in of(spoke.run(200.0), SetNeighbor) if each.state is STALE] == []


def test_word_of_the_peer_does_not_end_the_search_for_use() -> None:
    spoke, peer = a_spoke_with_a_shortcut_over("dynamic")
    spoke.run(41.0)
    effects = spoke.receive(a_registration_request(3), nbma(3), now=42.0)
    assert of(effects, SetNeighbor) == []
    assert sent(solicit(spoke, peer, now=46.0, known=nbma(3)), REQUEST)


# Routes.


def test_moved_route_makes_us_ask_again() -> None:
    spoke = a_shortcut_spoke()
    effects = spoke.give(RouteAdded(a_route("172.16.3.0/25", GRE, tunnel(7))), now=1.0)
    assert the(sent(effects)).destination_protocol == host(3)
    assert spoke.shortcuts() == [("172.16.3.0/24", "10.255.255.3", "active")]


@pytest.mark.parametrize(
    "event",
    [
        RouteRemoved(a_route("172.16.0.0/16", GRE, HUB.tunnel)),
        RouteAdded(a_route("172.16.3.0/24", UNDERLAY, nbma(254))),
        RouteAdded(a_route("172.16.3.0/24", 0)),
    ],
)
def test_route_that_leads_elsewhere_removes_the_shortcut_at_once(event) -> None:
    spoke = a_shortcut_spoke()
    effects = spoke.give(event, now=1.0)
    assert [str(each.prefix) for each in of(effects, DropRoute)] == ["172.16.3.0/24"]
    assert spoke.shortcuts() == []


def test_default_route_that_flaps_is_no_reason_to_ask() -> None:
    """Each change of it asked for all shortcuts at once, although a longer prefix leads to them."""
    spoke = a_shortcut_spoke()
    default = a_route("0.0.0.0/0", GRE, HUB.tunnel)
    assert sent(spoke.give(RouteAdded(default), RouteRemoved(default), now=1.0)) == []
    assert spoke.shortcuts() == [("172.16.3.0/24", "10.255.255.3", "active")]
    # But a part of the shortcut that leads elsewhere is one, whatever leads to the address asked for.
    route = a_route("172.16.3.128/25", GRE, tunnel(7))
    assert len(sent(spoke.give(RouteAdded(route), now=2.0))) == 1


def test_route_that_has_nothing_to_do_with_it_is_no_reason_to_ask() -> None:
    spoke = a_shortcut_spoke()
    assert spoke.give(RouteAdded(a_route("172.16.9.0/24", GRE, HUB.tunnel)), now=1.0) == []


# Bounds.


def test_full_table_makes_room_by_negative_results_only(monkeypatch) -> None:
    monkeypatch.setattr(resolution_module, "MAX_RESOLUTIONS", 2)
    spoke = a_spoke(2)
    for last, code in ((1, 12), (2, 5)):
        request = the(sent(redirect(spoke, host(3, last))))
        nak = a_resolution_reply(request, entries=(ClientInformation(code=code),))
        spoke.receive(nak, HUB.nbma)
    redirect(spoke, host(3, 3))
    # The one that would have ended first is gone.
    assert [row[0] for row in spoke.shortcuts()] == ["172.16.3.1/32", "172.16.3.3/32"]
    redirect(spoke, host(3, 4))
    effects = redirect(spoke, host(3, 5))
    assert sent(effects) == []
    assert the(of(effects, TableFull)).table == "resolutions"
    assert of(redirect(spoke, host(3, 6)), TableFull) == []
    assert len(spoke.shortcuts()) == 2


def test_requester_in_our_own_name_is_not_believed() -> None:
    """Our own request that comes back to us is from ourselves, by its outer source."""
    spoke = a_spoke(2)
    effects = spoke.receive(a_resolution_request(2, host(2)), nbma(2))
    assert drops(effects) == ["from-ourselves"]
    assert packets(effects) == []


def test_kernel_is_not_answered_about_what_is_routed_elsewhere() -> None:
    spoke = a_spoke(2, routes=[a_route("10.255.255.0/24", UNDERLAY, nbma(254))])
    assert solicit(spoke, tunnel(9)) == []


@pytest.mark.parametrize("target", [ip("224.0.0.5"), ip("255.255.255.255"), ip("127.0.0.1")])
def test_nobody_is_asked_about_groups_even_where_a_default_route_leads_into_the_cloud(
    target,
) -> None:
    spoke = a_spoke(2, routes=[a_route("0.0.0.0/0", GRE, HUB.tunnel)])
    assert sent(redirect(spoke, target)) == []
    assert len(sent(redirect(spoke, ip("8.8.8.8")))) == 1
