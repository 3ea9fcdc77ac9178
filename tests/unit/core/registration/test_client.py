"""The client's side of registration: next hop servers (RFC 2332 §5.2.3, §5.2.4)."""

from dataclasses import replace
from itertools import pairwise

import pytest

from nhrpd_py.core.address import Afi
from nhrpd_py.core.base import requests as requests_module
from nhrpd_py.core.base.timers import TimerKind
from nhrpd_py.core.config import IpsecConfig
from nhrpd_py.core.effects import DropNeighbor, Effect, EndSa, ResolveName, SetNeighbor
from nhrpd_py.core.events import (
    AddressRemoved,
    Association,
    IpsecReady,
    NameResolved,
    SaGone,
    SaInstalled,
)
from nhrpd_py.core.notices import ErrorReceived, NameUnresolved, NhsDown, NhsUp
from nhrpd_py.core.queries import View
from nhrpd_py.packet.extension import of_entries
from nhrpd_py.packet.iana import (
    NAT,
    PURGE_NO_REPLY,
    REGISTRATION_UNIQUE,
    CieCode,
    ErrorCode,
    ExtensionType,
    PacketType,
)
from tests.support import inspect
from tests.support.engine import Node, a_spoke, drops, kinds, of, packets, sent, the, the_packet
from tests.support.messages import (
    AUTHENTICATION,
    a_purge_request,
    a_record,
    a_registration_reply,
    a_registration_request,
    an_error_indication,
    nat_extension,
)
from tests.support.sites import (
    GRE,
    HUB,
    SECRET,
    UNDERLAY,
    a_map,
    a_tunnel_link,
    an_address,
    an_nhs,
    ip,
    nbma,
    tunnel,
)

HUB2_NBMA = nbma(11)
HUB2 = tunnel(11)
HUB2_NHS = an_nhs("192.168.100.11")


def a_fresh_spoke(**settings) -> Node:
    """A spoke that has asked and heard nothing yet."""
    return a_spoke(2, registered=False, **settings)


def states(node: Node, now: float = 0.0) -> list[object]:
    return [row[0] for row in node.table(View.NHS, "state", now=now)]


def times(node: Node, until: float, *types: PacketType) -> list[float]:
    """When packets of these types are sent, if nobody answers."""
    found: list[float] = []
    while (at := node.engine.next_deadline()) is not None and at <= until:
        found += [at] * len(sent(node.advance(at), *types))
    return found


def test_registration_starts_at_once_to_our_own_address() -> None:
    to, request = the_packet(a_fresh_spoke().started)
    assert to == HUB.nbma
    assert request.type is PacketType.REGISTRATION_REQUEST
    assert request.destination_protocol == tunnel(2)
    assert request.hop_count == 255
    assert request.flags == NAT
    entry = the(request.entries)
    assert (entry.code, entry.prefix_length, entry.holding_time_s) == (0, 32, 60)
    assert (entry.nbma, entry.protocol) == (b"", b"")


def test_registration_names_the_server_where_it_is_known() -> None:
    request = the_packet(a_fresh_spoke(nhs=(an_nhs(protocol=HUB.tunnel),)).started)[1]
    assert request.destination_protocol == HUB.tunnel
    nat = request.extension(ExtensionType.NAT_ADDRESS)
    assert nat is not None
    assert (the(nat.entries(4, 4)).protocol, the(nat.entries(4, 4)).nbma) == (HUB.tunnel, HUB.nbma)


def test_unique_registration_has_the_flag_and_prefix_length_255() -> None:
    request = the_packet(a_fresh_spoke(unique=True).started)[1]
    assert request.flags == NAT | REGISTRATION_UNIQUE
    assert the(request.entries).prefix_length == 255


def test_unanswered_registration_is_sent_again_with_its_id_at_doubling_distances() -> None:
    spoke = a_fresh_spoke()
    assert times(spoke, 400.0) == [1, 3, 7, 15, 31, 63, 127, 191, 255, 319, 383]
    again = the_packet(spoke.advance(447.0))[1]
    assert again.request_id == the_packet(a_fresh_spoke().started)[1].request_id


def test_server_counts_as_lost_after_three_requests_and_is_asked_on() -> None:
    spoke = a_fresh_spoke()
    assert of(spoke.advance(1.0), NhsDown) == []
    assert of(spoke.advance(3.0), NhsDown) == []
    assert the(of(spoke.advance(7.0), NhsDown)).reason == "no answer to 3 registration requests"
    assert states(spoke) == ["probe"]


def test_accepted_registration_brings_the_server_up() -> None:
    spoke = a_fresh_spoke()
    request = the_packet(spoke.started)[1]
    effects = spoke.receive(a_registration_reply(request), HUB.nbma, now=0.5)
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, HUB.tunnel, HUB.nbma)]
    assert of(effects, NhsUp) == [
        NhsUp(interface="gre1", protocol=HUB.tunnel, nbma=HUB.nbma, name="192.168.100.1")
    ]
    assert spoke.table(View.NHS, "state", "protocol", "registered_for_s", now=1.5) == [
        ("up", "10.255.255.1", 1.0)
    ]


def test_renewal_is_asked_for_at_a_third_of_the_holding_time_with_a_new_id() -> None:
    spoke = a_spoke(2)
    assert spoke.engine.next_deadline() == 20.0  # §5.2.3
    renewal = the_packet(spoke.advance(20.0))[1]
    assert renewal.request_id == 2
    spoke.receive(a_registration_reply(renewal), HUB.nbma, now=20.1)
    assert spoke.engine.next_deadline() == 40.1


def test_server_that_was_up_stays_up_until_three_renewals_are_lost() -> None:
    spoke = a_spoke(2)
    assert times(spoke, 26.9) == [20, 21, 23]
    assert states(spoke) == ["up"]
    assert of(spoke.advance(27.0), NhsDown) != []
    assert states(spoke) == ["probe"]
    # Its binding lives to the end of its holding time: the kernel may still get through.
    assert spoke.cache() == {"10.255.255.1": ("nhs", "192.168.100.1")}
    assert of(spoke.advance(60.0), DropNeighbor) == [DropNeighbor(GRE, HUB.tunnel)]


def test_an_sa_through_which_a_server_answers_no_more_is_ended_once() -> None:
    spoke = a_spoke(2, registered=False, ipsec=IpsecConfig(profile="dmvpn"))
    mine = Association(id=1, local=nbma(2), remote=HUB.nbma, identity="hub1")
    request = the_packet(spoke.give(IpsecReady("5.9.8", patched=False), SaInstalled(mine)))[1]
    spoke.receive(a_registration_reply(request), HUB.nbma)
    effects = [effect for at in (20.0, 21.0, 23.0, 27.0) for effect in spoke.advance(at)]
    assert of(effects, EndSa) == [EndSa(nbma(2), HUB.nbma)]
    # The next one may carry as little, if it is the server's daemon that is away: it stays.
    spoke.give(SaGone(nbma(2), HUB.nbma, 1, "ended"), now=27.1)
    spoke.give(SaInstalled(replace(mine, id=2)), now=27.5)
    assert states(spoke) == ["registering"]
    effects = [effect for at in (28.5, 30.5, 34.5, 42.5) for effect in spoke.advance(at)]
    assert (of(effects, EndSa), states(spoke)) == ([], ["probe"])


def test_reply_to_a_server_given_up_brings_it_back() -> None:
    spoke = a_fresh_spoke()
    request = the_packet(spoke.started)[1]
    spoke.advance(100.0)
    assert states(spoke) == ["registering"]
    times(spoke, 200.0)
    assert states(spoke) == ["probe"]
    assert of(spoke.receive(a_registration_reply(request), HUB.nbma, now=200.0), NhsUp)


@pytest.mark.parametrize("code", [4, 5, 11, 12, 13, 99])
def test_every_refusal_is_one_whatever_its_code(code) -> None:
    spoke = a_fresh_spoke()
    request = the_packet(spoke.started)[1]
    effects = spoke.receive(a_registration_reply(request, code=code), HUB.nbma)
    assert of(effects, ErrorReceived) != []
    assert spoke.cache() == {}
    assert "refused" in str(spoke.table(View.NHS, "last_error")[0][0])
    # Told once, asked on.
    assert (
        of(spoke.receive(a_registration_reply(request, code=code), HUB.nbma), ErrorReceived) == []
    )
    assert times(spoke, 8.0) == [1, 3, 7]
    assert states(spoke) == ["probe"]


def test_server_that_refuses_a_renewal_stays_up_until_three_are_lost() -> None:
    spoke = a_spoke(2)
    renewal = the(sent(spoke.advance(20.0), PacketType.REGISTRATION_REQUEST))
    reply = a_registration_reply(renewal)
    refused = replace(reply.entries[0], code=CieCode.ADMINISTRATIVELY_PROHIBITED)
    spoke.receive(replace(reply, entries=(refused,)), HUB.nbma, now=20.0)
    assert states(spoke, 20.0) == ["up"]


def test_unique_address_of_ours_is_taken_back_once_and_registered_again() -> None:
    """Our NBMA address changed, and the server holds the old one for unique."""
    spoke = a_fresh_spoke(unique=True)
    request = the_packet(spoke.started)[1]
    effects = spoke.receive(a_registration_reply(request, code=14), HUB.nbma, now=0.1)
    to, purge = the_packet(effects)
    assert (to, purge.type, purge.flags) == (HUB.nbma, PacketType.PURGE_REQUEST, PURGE_NO_REPLY)
    assert the(purge.entries).protocol == tunnel(2)
    error = "registration refused: UNIQUE_ADDRESS_REGISTERED; "
    assert spoke.table(View.NHS, "last_error") == [(error + "taking it back",)]
    again = the(sent(spoke.advance(2.1)))
    assert again.type is PacketType.REGISTRATION_REQUEST
    assert again.request_id not in (request.request_id, purge.request_id)
    spoke.receive(a_registration_reply(again), HUB.nbma, now=2.2)
    assert spoke.table(View.NHS, "state", "last_error") == [("up", None)]


def test_address_of_two_stations_is_not_taken_back_again_and_again() -> None:
    spoke = a_fresh_spoke(unique=True)
    purges: list[float] = []
    request = the_packet(spoke.started)[1]
    effects = spoke.receive(a_registration_reply(request, code=14), HUB.nbma)
    at = 0.0
    while at < 1500.0:
        purges += [at] * len(sent(effects, PacketType.PURGE_REQUEST))
        at = spoke.engine.next_deadline() or 0.0
        effects = spoke.advance(at)
        for request in sent(effects, PacketType.REGISTRATION_REQUEST):
            effects += spoke.receive(a_registration_reply(request, code=14), HUB.nbma, now=at)
    assert len(purges) == 3
    assert min(later - earlier for earlier, later in pairwise(purges)) >= 600.0
    error = "registration refused: UNIQUE_ADDRESS_REGISTERED; another station has our address"
    assert spoke.table(View.NHS, "state", "last_error") == [("refused", error)]


def test_one_refused_entry_is_a_refusal() -> None:
    spoke = a_fresh_spoke()
    request = the_packet(spoke.started)[1]
    reply = a_registration_reply(request)
    bad = replace(reply.entries[0], code=CieCode.ADMINISTRATIVELY_PROHIBITED)
    spoke.receive(replace(reply, entries=(*reply.entries, bad)), HUB.nbma)
    assert states(spoke) == ["refused"]


def test_reply_without_entries_is_an_acceptance() -> None:
    spoke = a_fresh_spoke()
    request = the_packet(spoke.started)[1]
    spoke.receive(replace(a_registration_reply(request), entries=()), HUB.nbma)
    assert states(spoke) == ["up"]


def test_second_reply_to_one_request_is_unsolicited_and_not_complained_about() -> None:
    spoke = a_fresh_spoke()
    reply = a_registration_reply(the_packet(spoke.started)[1])
    spoke.receive(reply, HUB.nbma)
    effects = spoke.receive(reply, HUB.nbma)
    assert drops(effects) == ["unsolicited-reply"]
    assert sent(effects) == []


def test_reply_about_an_address_that_we_had_before_is_ignored() -> None:
    spoke = a_fresh_spoke()
    request = the_packet(spoke.started)[1]
    spoke.give(an_address(2, tunnel(99), 32))
    stale = replace(a_registration_reply(request), source_protocol=tunnel(99))
    assert drops(spoke.receive(stale, HUB.nbma)) == ["unsolicited-reply"]
    assert states(spoke) == ["registering"]


def test_reply_of_another_type_to_our_request_id_is_ignored() -> None:
    spoke = a_fresh_spoke()
    request = the_packet(spoke.started)[1]
    wrong = replace(a_registration_reply(request), type=PacketType.RESOLUTION_REPLY)
    assert drops(spoke.receive(wrong, HUB.nbma)) == ["unsolicited-reply"]
    assert states(spoke) == ["registering"]


def test_server_that_copies_our_anonymous_destination_is_known_by_its_responder_entry() -> None:
    spoke = a_fresh_spoke()
    request = the_packet(spoke.started)[1]
    responder = of_entries(ExtensionType.RESPONDER_ADDRESS, (a_record(1),))
    spoke.receive(a_registration_reply(request, responder, server=tunnel(2)), HUB.nbma)
    assert spoke.cache() == {"10.255.255.1": ("nhs", "192.168.100.1")}


def test_server_whose_address_nobody_tells_is_up_with_a_complaint() -> None:
    spoke = a_fresh_spoke()
    request = the_packet(spoke.started)[1]
    spoke.receive(a_registration_reply(request, server=tunnel(2)), HUB.nbma)
    assert spoke.cache() == {}
    assert spoke.table(View.NHS, "state", "last_error") == [
        ("up", "the reply does not tell the server's overlay address")
    ]


def test_server_with_a_new_overlay_address_leaves_the_old_one() -> None:
    spoke = a_spoke(2)
    renewal = the_packet(spoke.advance(20.0))[1]
    effects = spoke.receive(a_registration_reply(renewal, server=tunnel(7)), HUB.nbma, now=20.0)
    assert of(effects, DropNeighbor) == [DropNeighbor(GRE, HUB.tunnel)]
    assert spoke.cache() == {"10.255.255.7": ("nhs", "192.168.100.1")}


def test_outer_address_is_learnt_and_forgotten_with_the_server_that_tells_it() -> None:
    spoke = a_fresh_spoke()
    request = the_packet(spoke.started)[1]
    seen = nat_extension((bytes(4), HUB.nbma), (tunnel(2), nbma(50)))
    spoke.receive(a_registration_reply(request, seen), HUB.nbma)
    assert spoke.table(View.CACHE, "nbma", "nat")[0] == ("192.168.100.50", True)
    renewal = the_packet(spoke.advance(20.0))[1]
    spoke.receive(a_registration_reply(renewal), HUB.nbma, now=20.0)
    assert spoke.table(View.CACHE, "nbma", "nat")[0] == ("192.168.100.2", False)


def test_nat_entry_that_tells_our_own_address_is_no_nat() -> None:
    spoke = a_fresh_spoke()
    seen = nat_extension((tunnel(2), nbma(2)))
    spoke.receive(a_registration_reply(the_packet(spoke.started)[1], seen), HUB.nbma)
    assert spoke.table(View.CACHE, "nat")[0] == (False,)


def test_error_about_our_registration_is_shown_and_told_once() -> None:
    spoke = a_fresh_spoke(authentication=SECRET)
    request = the_packet(spoke.started)[1]
    error = an_error_indication(1, ErrorCode.AUTHENTICATION_FAILURE, request)
    assert the(of(spoke.receive(error, HUB.nbma), ErrorReceived)).nbma == HUB.nbma
    assert of(spoke.receive(error, HUB.nbma), ErrorReceived) == []
    assert spoke.table(View.NHS, "last_error") == [("error indication: AUTHENTICATION_FAILURE",)]
    # The reason why it is lost is the known one.
    spoke.advance(1.0)
    spoke.advance(3.0)
    assert the(of(spoke.advance(7.0), NhsDown)).reason.startswith("error indication")


def test_registration_survives_that_its_request_id_is_displaced(monkeypatch) -> None:
    monkeypatch.setattr(requests_module, "MAX_OUTSTANDING", 1)
    spoke = a_fresh_spoke(nhs=(an_nhs(), HUB2_NHS))
    first, second = sent(spoke.started)
    assert drops(spoke.receive(a_registration_reply(first), HUB.nbma)) == ["unsolicited-reply"]
    spoke.receive(a_registration_reply(second, server=HUB2), HUB2_NBMA)
    again = the(sent(spoke.advance(1.0)))
    spoke.receive(a_registration_reply(again), HUB.nbma, now=1.0)
    assert states(spoke) == ["up", "up"]


def test_own_nbma_address_is_no_server() -> None:
    spoke = a_fresh_spoke(nhs=(an_nhs("192.168.100.2"),))
    assert sent(spoke.started) == []
    assert spoke.table(View.NHS, "state", "last_error") == [
        ("down", "this is our own NBMA address")
    ]


# Several servers.


def test_servers_of_equal_priority_are_all_used() -> None:
    spoke = a_fresh_spoke(nhs=(an_nhs(), HUB2_NHS))
    assert [to for to, _ in kinds(spoke.started)] == [HUB.nbma, HUB2_NBMA]


def test_worse_server_waits_until_the_better_one_is_lost_and_goes_when_it_is_back() -> None:
    spoke = a_fresh_spoke(nhs=(an_nhs(), an_nhs("192.168.100.11", priority=10)))
    first = the_packet(spoke.started)[1]
    spoke.advance(1.0)
    spoke.advance(3.0)
    assert states(spoke) == ["registering", "standby"]
    effects = spoke.advance(7.0)
    second = the(message for to, message in packets(effects) if to == HUB2_NBMA)
    spoke.receive(a_registration_reply(second, server=HUB2), HUB2_NBMA, now=7.1)
    assert states(spoke) == ["probe", "up"]
    effects = spoke.receive(a_registration_reply(first), HUB.nbma, now=8.0)
    assert states(spoke) == ["up", "standby"]
    # The worse one is told, at once and without waiting for its word.
    to, purge = the_packet(effects)
    assert (to, purge.type, purge.flags) == (HUB2_NBMA, PacketType.PURGE_REQUEST, PURGE_NO_REPLY)
    entry = the(purge.entries)
    assert (entry.protocol, entry.prefix_length) == (tunnel(2), 32)
    assert (entry.code, entry.mtu, entry.holding_time_s, entry.preference) == (0, 0, 0, 0)
    assert purge.destination_protocol == HUB2
    assert the(of(effects, NhsDown)).reason == "a better next hop server is up"
    assert spoke.cache() == {"10.255.255.1": ("nhs", "192.168.100.1")}


def a_spoke_of_a_hub_with_two_addresses(*priorities: int) -> Node:
    """The hub is at both NBMA addresses; the registrations with it are up since 1 s, the first one first."""
    addresses = ("192.168.100.1", "192.168.100.11")
    servers = (an_nhs(each, priority=p) for each, p in zip(addresses, priorities, strict=True))
    spoke = a_fresh_spoke(nhs=tuple(servers))
    for to, request in packets(spoke.started):
        spoke.receive(a_registration_reply(request), to, now=1.0)
    return spoke


def run_while(spoke: Node, until: float, *alive: bytes) -> list[Effect]:
    """Runs all timers; the hub answers at the addresses that are alive."""
    effects: list[Effect] = []
    while (at := spoke.engine.next_deadline()) is not None and at <= until:
        news = spoke.advance(at)
        for to, request in packets(news):
            if to in alive and request.type is PacketType.REGISTRATION_REQUEST:
                news += spoke.receive(a_registration_reply(request), to, now=at)
        effects += news
    return effects


def test_traffic_to_a_hub_with_two_addresses_does_not_change_over_with_each_renewal() -> None:
    spoke = a_spoke_of_a_hub_with_two_addresses(0, 0)
    effects = run_while(spoke, 200.0, HUB.nbma, HUB2_NBMA)
    assert of(effects, SetNeighbor) == []
    assert spoke.cache() == {"10.255.255.1": ("nhs", "192.168.100.1")}


def test_other_address_of_the_hub_takes_over_when_one_is_lost() -> None:
    """It was waited for its next renewal, up to a third of the holding time, while all traffic was lost."""
    spoke = a_spoke_of_a_hub_with_two_addresses(0, 0)
    effects = run_while(spoke, 28.0, HUB2_NBMA)
    assert states(spoke) == ["probe", "up"]
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, HUB.tunnel, HUB2_NBMA)]
    effects = run_while(spoke, 200.0, HUB.nbma, HUB2_NBMA)
    assert states(spoke) == ["up", "up"]
    assert of(effects, SetNeighbor) == []


def test_fail_back_to_the_better_address_of_the_hub_does_not_take_our_registration_along() -> None:
    """The Purge at the worse address made the hub forget what we had just registered at the better one."""
    spoke = a_spoke_of_a_hub_with_two_addresses(0, 1)
    run_while(spoke, 40.0, HUB2_NBMA)
    assert states(spoke) == ["probe", "up"]
    effects = run_while(spoke, 120.0, HUB.nbma, HUB2_NBMA)
    assert states(spoke) == ["up", "standby"]
    assert sent(effects, PacketType.PURGE_REQUEST) == []
    assert of(effects, DropNeighbor) == []
    assert of(effects, SetNeighbor)[-1] == SetNeighbor(GRE, HUB.tunnel, HUB.nbma)


def test_other_address_of_a_hub_that_has_a_map_changes_nothing_when_one_is_lost() -> None:
    spoke = a_fresh_spoke(
        nhs=(an_nhs(), an_nhs("192.168.100.11")), maps=(a_map(HUB.tunnel, HUB.nbma),)
    )
    for to, request in packets(spoke.started):
        spoke.receive(a_registration_reply(request), to, now=1.0)
    effects = run_while(spoke, 28.0, HUB2_NBMA)
    assert states(spoke) == ["probe", "up"]
    assert of(effects, SetNeighbor) == []
    assert spoke.cache() == {"10.255.255.1": ("static", "192.168.100.1")}


def test_worse_server_that_is_still_asked_is_just_left() -> None:
    spoke = a_fresh_spoke(nhs=(an_nhs(), an_nhs("192.168.100.11", priority=10)))
    first = the_packet(spoke.started)[1]
    times(spoke, 8.0)
    assert states(spoke) == ["probe", "registering"]
    effects = spoke.receive(a_registration_reply(first), HUB.nbma, now=8.0)
    assert sent(effects) == []
    assert states(spoke) == ["up", "standby"]


def test_priorities_count_within_a_cluster_only() -> None:
    spoke = a_fresh_spoke(nhs=(an_nhs(), an_nhs("192.168.100.11", priority=10, cluster=1)))
    assert [to for to, _ in kinds(spoke.started)] == [HUB.nbma, HUB2_NBMA]


def test_server_that_is_ourselves_does_not_hold_back_a_worse_one() -> None:
    spoke = a_fresh_spoke(nhs=(an_nhs("192.168.100.2"), an_nhs("192.168.100.11", priority=10)))
    assert [to for to, _ in kinds(spoke.started)] == [HUB2_NBMA]


def test_server_of_the_other_address_family_is_not_asked() -> None:
    spoke = a_fresh_spoke(nhs=(an_nhs(protocol=ip("fd00::1")),))
    assert sent(spoke.started) == []


# Names.


def a_named_spoke(*addresses: bytes) -> Node:
    spoke = a_fresh_spoke(nhs=(an_nhs("hub.example.net"),))
    if addresses:
        spoke.started += spoke.give(NameResolved("hub.example.net", addresses))
    return spoke


def test_name_is_looked_up_and_each_of_its_addresses_is_a_server() -> None:
    assert of(a_named_spoke().started, ResolveName) == [ResolveName("hub.example.net")]
    spoke = a_named_spoke(HUB.nbma, HUB2_NBMA)
    assert [to for to, _ in kinds(spoke.started)] == [HUB.nbma, HUB2_NBMA]


def test_name_whose_addresses_are_all_of_the_other_family_is_unresolved() -> None:
    spoke = a_named_spoke()
    effects = spoke.give(NameResolved("hub.example.net", (ip("2001:db8::1"),)))
    reason = "the name has no usable address of the underlay's family"
    assert the(of(effects, NameUnresolved)).reason == reason
    assert spoke.table(View.NHS, "state", "last_error") == [("down", reason)]


def test_our_own_address_among_those_of_a_name_is_no_server() -> None:
    """Hubs that share a name and a configuration register with each other."""
    loopback = ip("127.0.1.1")
    spoke = a_named_spoke(nbma(2), loopback, HUB2_NBMA)
    assert [to for to, _ in kinds(spoke.started)] == [HUB2_NBMA]
    spoke = a_named_spoke()
    effects = spoke.give(NameResolved("hub.example.net", (nbma(2),)))
    assert the(of(effects, NameUnresolved)).reason == "the name leads to this machine alone"
    assert sent(effects) == []


def test_failed_lookup_is_tried_again_after_5_to_60_s() -> None:
    spoke = a_named_spoke()
    now, waits = 0.0, []
    for _ in range(6):
        effects = spoke.give(NameResolved("hub.example.net", (), "no such host"), now=now)
        assert the(of(effects, NameUnresolved)).reason == "no such host"
        due = spoke.engine.next_deadline()
        assert due is not None
        waits.append(due - now)
        now = due
        assert of(spoke.advance(now), ResolveName) == [ResolveName("hub.example.net")]
    assert waits == [5, 10, 20, 40, 60, 60]


def test_failed_lookup_leaves_what_we_had() -> None:
    spoke = a_named_spoke(HUB.nbma)
    spoke.give(NameResolved("hub.example.net", (), "SERVFAIL"), now=1.0)
    assert states(spoke) == ["registering"]


def test_name_is_looked_up_again_every_five_minutes_and_moves_take_effect() -> None:
    spoke = a_named_spoke(HUB.nbma)
    spoke.receive(a_registration_reply(sent(spoke.started)[0]), HUB.nbma)
    assert of(spoke.run(300.0), ResolveName)
    effects = spoke.give(NameResolved("hub.example.net", (HUB2_NBMA,)), now=300.0)
    assert (HUB2_NBMA, PacketType.REGISTRATION_REQUEST) in kinds(effects)
    assert spoke.table(View.NHS, "nbma") == [("192.168.100.11",)]


def test_lost_server_with_a_name_is_looked_up_at_once() -> None:
    spoke = a_named_spoke(HUB.nbma)
    spoke.advance(1.0)
    spoke.advance(3.0)
    assert of(spoke.advance(7.0), ResolveName) == [ResolveName("hub.example.net")]


def test_answer_to_a_name_that_nobody_asked_for_is_ignored() -> None:
    spoke = a_named_spoke()
    assert sent(spoke.give(NameResolved("other.example.net", (HUB.nbma,)))) == []


def test_name_is_looked_up_again_when_the_link_is_back() -> None:
    spoke = a_named_spoke(HUB.nbma)
    spoke.give(a_tunnel_link(up=False), now=1.0)
    effects = spoke.give(a_tunnel_link(), now=2.0)
    assert of(effects, ResolveName) == [ResolveName("hub.example.net")]
    assert kinds(effects) == [(HUB.nbma, PacketType.REGISTRATION_REQUEST)]


def test_answer_that_comes_while_the_link_is_down_does_not_block_the_next_lookup() -> None:
    spoke = a_named_spoke()
    spoke.give(a_tunnel_link(up=False), now=1.0)
    assert sent(spoke.give(NameResolved("hub.example.net", (HUB.nbma,)), now=2.0)) == []
    effects = spoke.give(a_tunnel_link(), now=3.0)
    assert of(effects, ResolveName) == [ResolveName("hub.example.net")]


def test_a_name_has_sixteen_addresses_at_most() -> None:
    spoke = a_named_spoke(*(nbma(number) for number in range(20, 50)))
    assert len(sent(spoke.started)) == 16


# What happens to us.


def test_new_overlay_address_registers_at_once_and_takes_the_old_one_back() -> None:
    spoke = a_spoke(2)
    effects = spoke.give(an_address(GRE, ip("10.255.254.2"), 24), now=5.0)
    assert kinds(effects) == [
        (HUB.nbma, PacketType.PURGE_REQUEST),
        (HUB.nbma, PacketType.REGISTRATION_REQUEST),
    ]
    purge, request = sent(effects)
    assert the(purge.entries).protocol == tunnel(2)
    assert request.source_protocol == ip("10.255.254.2")


def test_new_nbma_address_registers_at_once() -> None:
    spoke = a_spoke(2)
    gone = spoke.give(AddressRemoved(UNDERLAY, nbma(2), 24), now=5.0)
    assert sent(gone) == []
    effects = spoke.give(an_address(UNDERLAY, nbma(22), 24), now=6.0)
    to, request = the_packet(effects)
    assert (to, request.source_nbma) == (HUB.nbma, nbma(22))


def test_nothing_is_asked_while_the_tunnel_is_down_and_at_once_when_it_is_back() -> None:
    spoke = a_spoke(2)
    spoke.give(a_tunnel_link(up=False), now=5.0)
    assert times(spoke, 59.0) == []
    effects = spoke.give(a_tunnel_link(), now=59.0)
    assert kinds(effects) == [(HUB.nbma, PacketType.REGISTRATION_REQUEST)]


def test_server_that_lost_us_is_registered_with_at_once() -> None:
    """A Purge of our own address by our server: it was restarted."""
    spoke = a_spoke(2)
    effects = spoke.receive(a_purge_request(1, "10.255.255.2/32", tunnel(2)), HUB.nbma, now=5.0)
    assert kinds(effects) == [
        (HUB.nbma, PacketType.REGISTRATION_REQUEST),
        (HUB.nbma, PacketType.PURGE_REPLY),
    ]


def test_flood_of_purges_does_not_keep_us_from_registering() -> None:
    spoke = a_spoke(2)
    purge = a_purge_request(1, "10.255.255.2/32", tunnel(2), flags=PURGE_NO_REPLY)
    effects = [each for _ in range(50) for each in spoke.receive(purge, HUB.nbma, now=5.0)]
    request = the(sent(effects))
    assert drops(spoke.receive(a_registration_reply(request), HUB.nbma, now=5.1)) == []
    assert len(sent(spoke.receive(purge, HUB.nbma, now=5.2))) == 1  # and a later one counts again


def test_server_that_is_not_wanted_is_not_kicked() -> None:
    spoke = a_fresh_spoke(nhs=(an_nhs(), an_nhs("192.168.100.11", priority=10)))
    effects = spoke.receive(a_purge_request(11, "10.255.255.2/32", tunnel(2)), HUB2_NBMA, now=0.5)
    assert kinds(effects) == [(HUB2_NBMA, PacketType.PURGE_REPLY)]


def test_server_under_probe_that_lost_us_is_asked_as_if_anew() -> None:
    spoke = a_fresh_spoke()
    times(spoke, 8.0)
    assert states(spoke) == ["probe"]
    spoke.receive(a_purge_request(1, "10.255.255.2/32", tunnel(2)), HUB.nbma, now=8.0)
    assert states(spoke) == ["registering"]
    assert spoke.engine.next_deadline() == 9.0


def test_signed_requests_have_the_signature_last() -> None:
    request = the_packet(a_fresh_spoke(authentication=SECRET).started)[1]
    assert request.extensions[-1] == AUTHENTICATION
    assert [each.type for each in request.extensions] == [4, 5, 3, 9, 7]


def test_configured_binding_of_a_server_is_not_overwritten() -> None:
    spoke = a_spoke(2, maps=(a_map(HUB.tunnel, nbma(77)),))
    assert spoke.cache() == {"10.255.255.1": ("static", "192.168.100.77")}
    assert states(spoke) == ["up"]


def test_server_that_is_our_client_too_becomes_a_server() -> None:
    spoke = a_fresh_spoke()
    spoke.receive(a_registration_request(1), HUB.nbma)
    assert spoke.cache() == {"10.255.255.1": ("dynamic", "192.168.100.1")}
    spoke.receive(a_registration_reply(the_packet(spoke.started)[1]), HUB.nbma)
    assert spoke.cache() == {"10.255.255.1": ("nhs", "192.168.100.1")}


def test_timer_of_a_registration_that_is_gone_is_harmless() -> None:
    spoke = a_spoke(2)
    for kind, subject in (
        (TimerKind.NHS_SEND, (Afi.IPV4, 0, nbma(99))),
        (TimerKind.NHS_RESOLVE, (Afi.IPV4, 99)),
    ):
        assert inspect.timer_due(spoke.engine, kind, subject, 1.0) == []
    assert states(spoke) == ["up"]


def test_worse_server_waits_for_the_name_of_the_better_one_and_not_for_ever() -> None:
    spoke = a_fresh_spoke(
        nhs=(an_nhs("hub.example.net"), an_nhs("192.168.100.11", priority=10)),
    )
    assert sent(spoke.started) == []
    effects = spoke.give(NameResolved("hub.example.net", (), "no such host"))
    assert kinds(effects) == [(HUB2_NBMA, PacketType.REGISTRATION_REQUEST)]
