"""What a Resolution Reply becomes: a shortcut, a refusal that is believed, or nothing; and where the peer is."""

from dataclasses import replace

import pytest

from nhrpd_py.core.effects import (
    SetNeighbor,
    SetRoute,
)
from nhrpd_py.core.events import CommandGiven, RouteAdded
from nhrpd_py.core.notices import (
    ResolutionFailed,
    ShortcutInstalled,
)
from nhrpd_py.core.queries import Flush, FlushWhat, View
from nhrpd_py.core.resolution import failure as failure_module
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension, of_entries
from nhrpd_py.packet.iana import ExtensionType, PacketType
from nhrpd_py.packet.message import Message
from tests.support.engine import Node, a_spoke, drops, of, sent, the, the_packet
from tests.support.messages import (
    a_record,
    a_registration_reply,
    a_registration_request,
    a_resolution_reply,
    a_resolution_request,
    an_error_indication,
    nat_extension,
    std_extensions,
)
from tests.support.resolution import FORWARDED, an_asking_spoke, redirect
from tests.support.sites import (
    GRE,
    HUB,
    a_route,
    a_tunnel_link,
    host,
    ip,
    nbma,
    tunnel,
)

REQUEST = PacketType.RESOLUTION_REQUEST
REFUSED = "the reply's gateway is refused: "
IN_CLOUD = f"{REFUSED}the outer address is in the cloud, and would lead the tunnel into itself"
OUTER = f"{REFUSED}it is an outer address, and would lead the tunnel into itself"


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


@pytest.mark.parametrize(
    ("told", "mtu"), [(1400, 1400), (576, 576), (575, 0), (0, 0), (1472, 0), (17912, 0)]
)
def test_routes_over_a_peer_have_its_mtu_where_that_is_smaller_than_the_tunnel_s(told, mtu) -> None:
    spoke, request = an_asking_spoke()
    reply = a_resolution_reply(request)
    entry = replace(reply.entries[0], mtu=told)
    effects = spoke.receive(replace(reply, entries=(entry,)), HUB.nbma)
    assert [(str(each.prefix), each.mtu) for each in of(effects, SetRoute)] == [
        ("10.255.255.3/32", mtu),
        ("172.16.3.0/24", mtu),
    ]


def test_routes_get_another_mtu_when_the_peer_tells_one_or_the_tunnel_gets_one() -> None:
    spoke, request = an_asking_spoke()
    spoke.receive(a_resolution_reply(request), HUB.nbma)

    def routes(effects) -> list[tuple[str, int]]:
        return [(str(each.prefix), each.mtu) for each in of(effects, SetRoute)]

    told = ClientInformation(prefix_length=32, mtu=1400, holding_time_s=60)
    question = a_resolution_request(3, host(2), entries=(told,), extensions=FORWARDED)
    assert routes(spoke.receive(question, HUB.nbma)) == [
        ("10.255.255.3/32", 1400),
        ("172.16.3.0/24", 1400),
    ]
    again = replace(question, request_id=8)
    assert routes(spoke.receive(again, HUB.nbma)) == []
    smaller = replace(a_tunnel_link(), mtu=1380)
    assert routes(spoke.give(smaller)) == [("10.255.255.3/32", 0), ("172.16.3.0/24", 0)]
    assert routes(spoke.give(a_tunnel_link())) == [
        ("10.255.255.3/32", 1400),
        ("172.16.3.0/24", 1400),
    ]


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
    assert error.error_offset == 24  # the request id, which nobody waits for
    assert error.destination_protocol == host(
        3
    )  # the sender of a reply is whom the request was for


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


def a_reply_of_two(request, first: bytes, preference: int = 0, code: int = 0):
    """A reply whose first entry leads to the overlay address `first`, and whose second to spoke 4."""
    reply = a_resolution_reply(request, 3)
    entry = replace(reply.entries[0], protocol=first)
    other = replace(
        entry, nbma=nbma(4), protocol=tunnel(4), preference=preference, code=code, mtu=1300
    )
    return replace(reply, entries=(entry, other))


def test_entry_that_is_as_good_takes_the_place_of_one_that_cannot_be_used() -> None:
    spoke, request = an_asking_spoke()
    spoke.receive(a_reply_of_two(request, nbma(3)), HUB.nbma)  # leads the tunnel into itself
    assert spoke.shortcuts() == [("172.16.3.0/24", "10.255.255.4", "active")]
    assert spoke.cache()["10.255.255.4"] == ("cached", "192.168.100.4")


@pytest.mark.parametrize(("preference", "code"), [(1, 0), (0, 4)])
def test_entry_that_is_not_as_good_does_not(preference, code) -> None:
    spoke, request = an_asking_spoke()
    effects = spoke.receive(a_reply_of_two(request, nbma(3), preference, code), HUB.nbma)
    assert the(of(effects, ResolutionFailed)).reason == IN_CLOUD


def test_first_of_two_reasons_is_told_where_no_entry_can_be_used() -> None:
    spoke, request = an_asking_spoke()
    reply = a_reply_of_two(request, tunnel(2))
    worse = replace(reply.entries[1], nbma=ip("0.0.0.0"))
    effects = spoke.receive(replace(reply, entries=(reply.entries[0], worse)), HUB.nbma)
    assert the(of(effects, ResolutionFailed)).reason == "the reply leads back to us"


def test_hundreds_of_entries_are_not_all_looked_at() -> None:
    spoke, request = an_asking_spoke()
    reply = a_reply_of_two(request, tunnel(2))
    entries = (*reply.entries[:1] * 8, reply.entries[1])
    effects = spoke.receive(replace(reply, entries=entries), HUB.nbma)
    assert the(of(effects, ResolutionFailed)).reason == "the reply leads back to us"


@pytest.mark.parametrize(
    ("code", "reason", "seconds"),
    [
        (4, "ADMINISTRATIVELY_PROHIBITED", 180.0),
        (
            5,
            "INSUFFICIENT_RESOURCES: the other end has no room, or does not reach us directly",
            30.0,
        ),
        (11, "NO_BINDING", 180.0),
        (12, "NO_BINDING", 180.0),
        (13, "BINDING_NOT_UNIQUE", 180.0),
        (200, "UNKNOWN(200)", 180.0),
    ],
)
def test_refusal_is_believed_for_a_while(code, reason, seconds) -> None:
    """The first one for 5 s: a hub says `no binding` just after its start, when it has not learnt its routes yet."""
    spoke, request = an_asking_spoke()
    now = 0.0
    for lasts_s in (seconds if code == 5 else 5.0, seconds, seconds):
        nak = a_resolution_reply(request, entries=(ClientInformation(code=code),))
        failed = the(of(spoke.receive(nak, HUB.nbma, now), ResolutionFailed))
        assert failed.reason == reason
        until = now + lasts_s
        spoke.run(until - 0.1)
        assert sent(redirect(spoke, now=until - 0.1), REQUEST) == []
        spoke.run(until)
        now = until + 1.0
        request = the(sent(redirect(spoke, now=now), REQUEST))


@pytest.mark.parametrize(("code", "seconds"), [(6, 180.0), (3, 60.0), (2, 60.0), (15, 60.0)])
def test_error_ends_the_request_too(code, seconds) -> None:
    spoke, request = an_asking_spoke()
    now = 0.0
    for lasts_s in (5.0, seconds):
        effects = spoke.receive(an_error_indication(1, code, request), HUB.nbma, now)
        assert of(effects, ResolutionFailed)
        until = now + lasts_s
        spoke.run(until - 0.1)
        assert spoke.shortcuts(now=until) == [("172.16.3.10/32", None, "negative")]
        spoke.run(until)
        assert spoke.shortcuts(now=until) == []
        now = until + 1.0
        request = the(sent(redirect(spoke, now=now), REQUEST))


def refused(spoke: Node, request: Message, now: float) -> float:
    """Refuses a request; returns for how many seconds nobody asks again."""
    nak = a_resolution_reply(request, entries=(ClientInformation(code=12),))
    spoke.receive(nak, HUB.nbma, now)
    rows = spoke.table(View.SHORTCUTS, "state", "expires_in_s", now=now)
    return float(the(seconds for state, seconds in rows if state == "negative"))


def test_refusal_is_the_first_again_after_an_answer() -> None:
    spoke, request = an_asking_spoke()
    assert refused(spoke, request, 0.0) == 5.0
    spoke.run(6.0)
    answered = the(sent(redirect(spoke, now=6.0), REQUEST))
    spoke.receive(a_resolution_reply(answered), HUB.nbma, 6.0)
    spoke.give(CommandGiven(1, Flush(what=FlushWhat.SHORTCUTS)), now=7.0)
    assert refused(spoke, the(sent(redirect(spoke, now=8.0), REQUEST)), 8.0) == 5.0


def test_refusal_is_the_first_again_when_nobody_has_asked_for_long() -> None:
    spoke, request = an_asking_spoke()
    assert refused(spoke, request, 0.0) == 5.0
    spoke.run(200.0)
    assert refused(spoke, the(sent(redirect(spoke, now=200.0), REQUEST)), 200.0) == 5.0


def test_refusals_are_forgotten_with_the_netdev() -> None:
    spoke, request = an_asking_spoke()
    assert refused(spoke, request, 0.0) == 5.0
    spoke.give(a_tunnel_link(up=False), a_tunnel_link(), now=1.0)
    routes = [a_route(each, GRE, HUB.tunnel) for each in ("10.255.255.0/24", "172.16.0.0/16")]
    effects = spoke.advance(1.0) + spoke.give(*map(RouteAdded, routes), now=1.0)
    spoke.run(2.0)
    for each in sent(effects, PacketType.REGISTRATION_REQUEST):
        spoke.receive(a_registration_reply(each), HUB.nbma, 2.0)
    assert refused(spoke, the(sent(redirect(spoke, now=3.0), REQUEST)), 3.0) == 5.0


def test_oldest_refusal_is_forgotten_when_there_are_too_many(monkeypatch) -> None:
    monkeypatch.setattr(failure_module, "MAX_REFUSALS", 2)
    spoke = a_spoke(2)
    for last in (1, 2, 3):
        request = the(sent(redirect(spoke, host(3, last))))
        spoke.receive(a_resolution_reply(request, entries=(ClientInformation(code=12),)), HUB.nbma)
    spoke.run(5.0)
    again: dict[str, float] = {}
    for last in (3, 1):
        request = the(sent(redirect(spoke, host(3, last), now=6.0), REQUEST))
        nak = a_resolution_reply(request, entries=(ClientInformation(code=12),))
        spoke.receive(nak, HUB.nbma, 6.0)
        rows = spoke.table(View.SHORTCUTS, "prefix", "expires_in_s", now=6.0)
        again = dict(rows)
    assert again == {"172.16.3.3/32": 180.0, "172.16.3.1/32": 5.0}


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
        (tunnel(3), HUB.tunnel, IN_CLOUD),
        (nbma(3), nbma(3), IN_CLOUD),
        (HUB.nbma, nbma(3), OUTER),
    ],
)
def test_reply_that_cannot_be_true_is_refused(protocol, address, reason) -> None:
    spoke, request = an_asking_spoke()
    entry = ClientInformation(prefix_length=24, holding_time_s=60, nbma=address, protocol=protocol)
    effects = spoke.receive(a_resolution_reply(request, entries=(entry,)), HUB.nbma)
    assert the(of(effects, ResolutionFailed)).reason == reason
    assert spoke.cache() == {"10.255.255.1": ("nhs", "192.168.100.1")}


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
    told = std_extensions(nat_extension((tunnel(3), nbma(60))))
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
