"""What a Resolution Reply becomes: a shortcut, a refusal that is believed, or nothing; and where the peer is."""

from dataclasses import replace

import pytest

from nhrpd_py.core.effects import (
    SetNeighbor,
    SetRoute,
)
from nhrpd_py.core.events import RouteRemoved
from nhrpd_py.core.notices import (
    ResolutionFailed,
    ShortcutInstalled,
)
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension, of_entries
from nhrpd_py.packet.iana import ExtensionType, PacketType
from tests.support import inspect
from tests.support.engine import a_spoke, drops, of, sent, the, the_packet
from tests.support.messages import (
    a_record,
    a_registration_request,
    a_resolution_reply,
    an_error_indication,
    nat_extension,
    std_extensions,
)
from tests.support.resolution import an_asking_spoke, redirect
from tests.support.sites import (
    GRE,
    HUB,
    LAN,
    a_map,
    a_route,
    an_address,
    host,
    ip,
    nbma,
    tunnel,
)

REQUEST = PacketType.RESOLUTION_REQUEST


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


BEHIND_SUMMARY = ip("172.24.3.10")
SUMMARY = a_route("172.24.0.0/16", GRE, HUB.tunnel)


def test_shortcut_is_never_wider_than_our_own_route() -> None:
    spoke, request = an_asking_spoke(BEHIND_SUMMARY, routes=[SUMMARY])
    spoke.receive(a_resolution_reply(request, prefix_length=12), HUB.nbma)
    assert spoke.shortcuts() == [("172.24.0.0/16", "10.255.255.3", "active")]


def test_answer_for_an_address_whose_route_is_gone_is_as_wide_as_it_says() -> None:
    spoke, request = an_asking_spoke(BEHIND_SUMMARY, routes=[SUMMARY])
    spoke.give(RouteRemoved(SUMMARY))
    spoke.receive(a_resolution_reply(request, prefix_length=20), HUB.nbma)
    assert spoke.shortcuts() == [("172.24.0.0/20", "10.255.255.3", "active")]


@pytest.mark.parametrize(
    ("known", "prefix"),
    [
        ("", "172.24.0.0/17"),
        ("shortcut", "172.24.0.0/18"),  # 172.24.64.0/24 is behind spoke 4
        ("its own shortcut", "172.24.0.0/17"),
        ("route", "172.24.0.0/20"),
        ("own network", "172.24.0.0/19"),
        ("own address", "172.24.2.0/23"),
        ("binding", "172.24.3.0/25"),
    ],
)
def test_answer_is_cut_to_what_is_not_known_to_be_elsewhere(known, prefix) -> None:
    """The rightful egress of a /24 claims a /17 of the summary."""
    routes = [SUMMARY]
    if known == "route":
        routes.append(a_route("172.24.16.0/24", GRE, HUB.tunnel))
    if known == "own network":
        routes.append(a_route("172.24.32.0/24", LAN))
    maps = (a_map(ip("172.24.3.200"), nbma(4)),) if known == "binding" else ()
    spoke = a_spoke(2, routes=routes, maps=maps)
    if known == "own address":
        spoke.give(an_address(LAN, ip("172.24.1.1"), 32))
    if "shortcut" in known:
        request = the(sent(redirect(spoke, ip("172.24.64.9"))))
        behind = 4 if known == "shortcut" else 3
        spoke.receive(a_resolution_reply(request, behind, prefix_length=24), HUB.nbma)
    request = the(sent(redirect(spoke, BEHIND_SUMMARY)))
    spoke.receive(a_resolution_reply(request, 3, prefix_length=17), HUB.nbma)
    assert (prefix, "10.255.255.3", "active") in spoke.shortcuts()


def test_shortcut_around_the_target_does_not_cut_the_answer() -> None:
    """A network that moved to another peer: the answer about it replaces the former one."""
    spoke, request = an_asking_spoke(BEHIND_SUMMARY, routes=[SUMMARY])
    spoke.receive(a_resolution_reply(request, 4, prefix_length=24), HUB.nbma)
    request = the(sent(inspect.renew(spoke.engine, BEHIND_SUMMARY, 1.0)))
    spoke.receive(a_resolution_reply(request, 3, prefix_length=24), HUB.nbma, now=1.0)
    assert spoke.shortcuts(1.0) == [("172.24.3.0/24", "10.255.255.3", "active")]


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
