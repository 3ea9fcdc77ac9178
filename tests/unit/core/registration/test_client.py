"""The client's side of registration: next hop servers (RFC 2332 §5.2.3, §5.2.4)."""

from dataclasses import replace
from itertools import pairwise

import pytest

from nhrpd_py.core.config import IpsecConfig
from nhrpd_py.core.effects import DropNeighbor, EndSa, SetNeighbor
from nhrpd_py.core.events import (
    Association,
    IpsecReady,
    SaGone,
    SaInstalled,
)
from nhrpd_py.core.notices import ErrorReceived, NhsDown, NhsUp
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
from tests.support.engine import a_spoke, drops, of, sent, the, the_packet
from tests.support.messages import (
    a_record,
    a_registration_reply,
    an_error_indication,
    nat_extension,
)
from tests.support.registration import a_fresh_spoke, states, times
from tests.support.sites import (
    GRE,
    HUB,
    SECRET,
    an_address,
    an_nhs,
    host,
    ip,
    nbma,
    tunnel,
)


def test_registration_starts_at_once_to_our_own_address() -> None:
    to, request = the_packet(a_fresh_spoke().started)
    assert to == HUB.nbma
    assert request.type is PacketType.REGISTRATION_REQUEST
    assert request.destination_protocol == tunnel(2)
    assert request.hop_count == 255
    assert request.flags == NAT
    entry = the(request.entries)
    assert (entry.code, entry.prefix_length, entry.holding_time_s) == (0, 32, 60)
    assert entry.mtu == 1472  # that of the tunnel
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


def test_server_s_mtu_is_that_of_its_responder_entry_for_the_other_is_our_own() -> None:
    spoke = a_fresh_spoke()
    request = the_packet(spoke.started)[1]
    responder = replace(a_record(1), mtu=1380)
    reply = a_registration_reply(request, of_entries(ExtensionType.RESPONDER_ADDRESS, (responder,)))
    echo = replace(reply.entries[0], mtu=1472)
    spoke.receive(replace(reply, entries=(echo,)), HUB.nbma)
    assert ("nhs", 1380) in spoke.table(View.CACHE, "type", "mtu")
    spoke = a_spoke(2)  # its server names no responder
    assert ("nhs", None) in spoke.table(View.CACHE, "type", "mtu")


def test_renewal_is_asked_for_at_a_third_of_the_holding_time_with_a_new_id() -> None:
    spoke = a_spoke(2)
    assert spoke.engine.next_deadline() == 20.0  # §5.2.3
    renewal = the_packet(spoke.advance(20.0))[1]
    assert renewal.request_id == 2
    spoke.receive(a_registration_reply(renewal), HUB.nbma, now=20.1)
    assert spoke.engine.next_deadline() == 40.1


def test_renewal_goes_to_the_address_that_the_server_told_as_long_as_that_answers() -> None:
    """After a loss another server may be at this NBMA address, which knows nothing of that one's address."""
    spoke = a_spoke(2)
    renewal = the_packet(spoke.advance(20.0))[1]
    assert renewal.destination_protocol == HUB.tunnel
    spoke.receive(a_registration_reply(renewal), HUB.nbma, now=20.1)
    second, third, fourth = (the_packet(spoke.advance(at))[1] for at in (40.1, 41.1, 43.1))
    assert [each.destination_protocol for each in (second, third, fourth)] == [
        HUB.tunnel,
        tunnel(2),
        tunnel(2),
    ]
    # Another request has another id, and its repetition has not.
    assert second.request_id != third.request_id == fourth.request_id
    spoke.receive(a_registration_reply(third, server=tunnel(9)), HUB.nbma, now=43.2)
    assert spoke.table(View.NHS, "state", "protocol", now=43.2) == [("up", "10.255.255.9")]
    assert the_packet(spoke.advance(63.2))[1].destination_protocol == tunnel(9)


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


@pytest.mark.parametrize("address", [HUB.nbma, nbma(3), host(2, 1), ip("224.0.0.5")])
def test_server_cannot_have_an_address_that_leads_the_tunnel_into_itself(address) -> None:
    spoke = a_fresh_spoke(nhs=(an_nhs(), an_nhs("192.168.100.3", tunnel(3))))
    request = sent(spoke.started, PacketType.REGISTRATION_REQUEST)[0]
    effects = spoke.receive(a_registration_reply(request, server=address), HUB.nbma)
    assert of(effects, SetNeighbor) == []
    state, error = spoke.table(View.NHS, "state", "last_error")[0]
    assert state == "up"
    assert "the reply tells the overlay address" in str(error)


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
    reason = "error indication: AUTHENTICATION_FAILURE; the server has another pass phrase than we"
    assert spoke.table(View.NHS, "state", "last_error") == [("refused", reason)]
    # The reason why it is lost is the known one.
    spoke.advance(1.0)
    spoke.advance(3.0)
    assert the(of(spoke.advance(7.0), NhsDown)).reason.startswith("error indication")


def test_own_nbma_address_is_no_server() -> None:
    spoke = a_fresh_spoke(nhs=(an_nhs("192.168.100.2"),))
    assert sent(spoke.started) == []
    assert spoke.table(View.NHS, "state", "last_error") == [
        ("down", "this is our own NBMA address")
    ]


def test_server_that_refuses_a_renewal_stays_up_until_three_are_lost() -> None:
    spoke = a_spoke(2)
    renewal = the(sent(spoke.advance(20.0), PacketType.REGISTRATION_REQUEST))
    reply = a_registration_reply(renewal)
    refused = replace(reply.entries[0], code=CieCode.ADMINISTRATIVELY_PROHIBITED)
    spoke.receive(replace(reply, entries=(refused,)), HUB.nbma, now=20.0)
    assert states(spoke, 20.0) == ["up"]
