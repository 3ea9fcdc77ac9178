"""The answering side of resolution (RFC 2332 §5.2.1, §5.2.2, §6.2.1, §6.3)."""

from dataclasses import replace

import pytest

from nhrpd_py.core.address import prefix_of
from nhrpd_py.core.effects import SetNeighbor
from nhrpd_py.core.notices import ResolutionAnswered
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension
from nhrpd_py.packet.iana import (
    RESOLUTION_AUTHORITATIVE,
    RESOLUTION_DESTINATION_STABLE,
    RESOLUTION_ROUTER,
    RESOLUTION_SOURCE_STABLE,
    RESOLUTION_UNIQUE,
    CieCode,
    ExtensionType,
    PacketType,
)
from tests.support import inspect
from tests.support.engine import (
    a_hub,
    a_node,
    a_spoke,
    drops,
    kinds,
    of,
    sent,
    the,
    the_packet,
)
from tests.support.messages import (
    AUTHENTICATION,
    REPLY_FLAGS,
    REQUEST_FLAGS,
    a_registration_reply,
    a_registration_request,
    a_resolution_request,
    nat_extension,
    std_extensions,
)
from tests.support.resolution import FORWARDED, a_request, ask
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

"""Extensions of a request that came through the hub."""


def test_answer_goes_straight_to_the_requester_and_says_what_is_behind_us() -> None:
    effects = ask(a_spoke(3))
    to, reply = the_packet(effects)
    assert to == nbma(2)
    assert reply.type is PacketType.RESOLUTION_REPLY
    assert reply.flags == REPLY_FLAGS
    assert reply.request_id == 7
    assert (reply.source_nbma, reply.source_protocol) == (nbma(2), tunnel(2))
    assert reply.destination_protocol == host(3)
    assert reply.entries == (
        ClientInformation(
            prefix_length=24, mtu=1472, holding_time_s=60, nbma=nbma(3), protocol=tunnel(3)
        ),
    )
    notice = the(of(effects, ResolutionAnswered))
    assert (notice.protocol, notice.target, str(notice.prefix), notice.reason) == (
        tunnel(2),
        host(3),
        "172.16.3.0/24",
        "",
    )


def test_our_own_tunnel_address_is_answered_as_a_host() -> None:
    assert the(the_packet(ask(a_spoke(3), tunnel(3)))[1].entries).prefix_length == 32


@pytest.mark.parametrize(
    ("target", "prefix"),
    [
        ("10.1.2.3", "10.0.0.0/9"),
        ("10.255.254.9", "10.255.254.0/24"),
        ("10.255.255.9", "10.255.255.8/29"),
    ],
)
def test_answer_covers_no_address_of_the_cloud(target, prefix) -> None:
    """Behind us is all of 10/8 but the tunnel: who believed that sent us what is for the other clients."""
    hub = a_hub(2, 3, shortcut=True, routes=[a_route("10.0.0.0/8", LAN, host(1, 254))])
    request = a_resolution_request(2, ip(target))
    answer = the(sent(hub.receive(request, nbma(2)), PacketType.RESOLUTION_REPLY))
    assert str(prefix_of(ip(target), answer.entries[0].prefix_length)) == prefix


def test_answer_covers_no_client_of_another_interface_of_the_cloud() -> None:
    tunnels = (an_interface("gre1", shortcut=True), an_interface("gre2"))
    hub = a_node(1, *tunnels, routes=[a_route("10.0.0.0/8", LAN, host(1, 254))])
    hub.give(a_tunnel_link(5, "gre2"), an_address(5, ip("10.255.254.1"), 32))
    client = ip("10.1.0.1")
    registration = a_registration_request(9, source_protocol=client, destination_protocol=client)
    hub.receive(registration, nbma(9), ifindex=5)
    answer = the(sent(hub.receive(a_resolution_request(2, ip("10.1.2.3")), nbma(2))))
    assert str(prefix_of(ip("10.1.2.3"), answer.entries[0].prefix_length)) == "10.1.2.0/23"


def test_only_flags_that_we_know_come_back() -> None:
    reply = the_packet(ask(a_spoke(3), flags=0xFFFF & ~RESOLUTION_UNIQUE))[1]
    assert reply.flags == REPLY_FLAGS
    reply = the_packet(ask(a_spoke(3), flags=0))[1]
    assert reply.flags == RESOLUTION_AUTHORITATIVE | RESOLUTION_DESTINATION_STABLE


@pytest.mark.parametrize("target", [host(3), tunnel(3)])
@pytest.mark.parametrize("length", [0, 8, 32, 255])
def test_unique_binding_is_one_entry_for_one_host(target, length) -> None:
    wish = (ClientInformation(prefix_length=length, holding_time_s=60),)
    reply = the_packet(
        ask(a_spoke(3), target, flags=REQUEST_FLAGS | RESOLUTION_UNIQUE, entries=wish)
    )[1]
    assert reply.flags == REPLY_FLAGS | RESOLUTION_UNIQUE
    assert the(reply.entries).prefix_length == 32


def test_refusal_is_not_unique() -> None:
    spoke = a_spoke(3, shortcut=False)
    effects = ask(spoke, flags=REQUEST_FLAGS | RESOLUTION_UNIQUE)
    assert refusal(effects) == (HUB.nbma, CieCode.ADMINISTRATIVELY_PROHIBITED)


@pytest.mark.parametrize(
    ("wish", "length"),
    [(1, 24), (24, 24), (25, 25), (31, 31), (0, 24), (32, 24), (255, 24)],
)
def test_answer_is_not_wider_than_the_requester_takes(wish, length) -> None:
    entry = ClientInformation(prefix_length=wish, holding_time_s=60)
    effects = ask(a_spoke(3), entries=(entry,))
    assert the(the_packet(effects)[1].entries).prefix_length == length
    prefix = the(of(effects, ResolutionAnswered)).prefix
    assert prefix is not None
    assert prefix.length == length


def test_requester_is_bound_so_that_traffic_can_go_back() -> None:
    effects = ask(a_spoke(3))
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(2), nbma(2))]
    assert isinstance(effects[0], SetNeighbor)  # before the reply leaves


@pytest.mark.parametrize(
    "change",
    [
        {"flags": REQUEST_FLAGS & ~RESOLUTION_SOURCE_STABLE},
        {"entries": (ClientInformation(prefix_length=32),)},
        {"entries": ()},
        {"source_nbma": ip("224.0.0.1")},
        {"source_nbma": nbma(3)},
        {"source_protocol": ip("224.0.0.1")},
    ],
)
def test_requester_is_not_bound_without_its_word_or_a_usable_address(change) -> None:
    spoke = a_spoke(3)
    effects = ask(spoke, **change)
    assert spoke.cache() == {"10.255.255.1": ("nhs", "192.168.100.1")}
    assert len(sent(effects, PacketType.RESOLUTION_REPLY)) == 1


def test_requester_that_has_an_address_of_ours_is_not_bound() -> None:
    spoke = a_spoke(3)
    request = a_request(source_protocol=host(3, 1))
    inspect.learn_requester(spoke.engine, request, nbma(2), 0.0)
    assert spoke.cache() == {"10.255.255.1": ("nhs", "192.168.100.1")}


def test_requester_at_the_overlay_address_of_another_is_not_bound() -> None:
    spoke = a_spoke(3)
    effects = ask(spoke, source_nbma=HUB.tunnel)
    assert of(effects, SetNeighbor) == []


def test_requester_without_a_usable_nbma_address_is_answered_the_way_it_asked() -> None:
    assert the_packet(ask(a_spoke(3), source_nbma=ip("0.0.0.0")))[0] == HUB.nbma


def test_reply_that_got_lost_goes_along_the_routed_path_the_second_time() -> None:
    spoke = a_spoke(3)
    assert the_packet(ask(spoke))[0] == nbma(2)
    assert the_packet(ask(spoke, now=1.0))[0] == HUB.nbma
    # A new question is not a repeated one, nor is an old one.
    assert the_packet(ask(spoke, now=2.0, request_id=8))[0] == nbma(2)
    spoke.run(32.0)
    assert the_packet(ask(spoke, now=32.0, request_id=8))[0] == nbma(2)


def test_reply_goes_whence_the_request_came_where_no_route_leads_back() -> None:
    spoke = a_spoke(3, routes=[])
    ask(spoke)
    assert the_packet(spoke.receive(a_request(), nbma(9), now=1.0))[0] == nbma(9)


def test_direct_requester_is_where_we_see_it() -> None:
    spoke = a_spoke(3)
    request = a_request(extensions=std_extensions(nat_extension((tunnel(2), nbma(50)))))
    assert the_packet(spoke.receive(request, nbma(60)))[0] == nbma(60)
    assert spoke.cache()["10.255.255.2"] == ("cached", "192.168.100.60")


def test_indirect_requester_is_at_its_post_nat_address() -> None:
    spoke = a_spoke(3)
    nat = nat_extension((tunnel(9), nbma(99)), (tunnel(2), nbma(50)))
    assert the_packet(ask(spoke, extensions=(*FORWARDED, nat)))[0] == nbma(50)
    assert spoke.cache()["10.255.255.2"] == ("cached", "192.168.100.50")


def test_nat_extension_about_somebody_else_tells_nothing() -> None:
    nat = nat_extension((tunnel(9), nbma(99)))
    assert the_packet(ask(a_spoke(3), extensions=(*FORWARDED, nat)))[0] == nbma(2)


def test_our_post_nat_address_is_in_the_answer_and_an_empty_list_where_we_have_none() -> None:
    spoke = a_spoke(3, registered=False)
    seen = nat_extension((tunnel(3), nbma(50)))
    spoke.receive(a_registration_reply(the(sent(spoke.started)), seen), HUB.nbma)
    asked = (*FORWARDED, nat_extension((tunnel(2), nbma(60))))
    reply = the_packet(ask(spoke, extensions=asked))[1]
    assert reply.extensions[1] == nat_extension((tunnel(3), nbma(50)))
    assert the(reply.entries).nbma == nbma(3)  # the main entry is the claim
    reply = the_packet(ask(a_spoke(3), extensions=asked))[1]
    assert reply.extensions[1] == nat_extension()


def test_extensions_come_back_in_their_order_known_or_not() -> None:
    unknown = Extension(0x123, b"x", compulsory=False)
    vendor = Extension(ExtensionType.VENDOR_PRIVATE, b"\0\0\x0cgroup", compulsory=False)
    reply = the_packet(ask(a_spoke(3), extensions=(unknown, *std_extensions(vendor))))[1]
    assert [each.type for each in reply.extensions] == [0x123, 4, 5, 3, 8]
    assert reply.extensions[0] == unknown
    # The responder names itself in the responder address, and in no transit record.
    assert the(reply.extensions[3].entries(4, 4)).protocol == tunnel(3)
    assert reply.extensions[1].value == b""


def test_answer_is_signed_with_our_pass_phrase() -> None:
    spoke = a_spoke(3, authentication=SECRET)
    asked = (*FORWARDED, replace(AUTHENTICATION, compulsory=False), nat_extension())
    reply = the_packet(ask(spoke, extensions=asked))[1]
    assert [each.type for each in reply.extensions] == [4, 7, 9]
    assert reply.extensions[1] == AUTHENTICATION


# Refusals.


def refusal(effects: list) -> tuple[bytes, int]:
    to, reply = the_packet(effects)
    assert reply.type is PacketType.RESOLUTION_REPLY
    entry = the(reply.entries)
    assert entry == ClientInformation(code=entry.code)  # everything else is zero
    assert reply.flags == REQUEST_FLAGS & ~RESOLUTION_AUTHORITATIVE
    assert the(of(effects, ResolutionAnswered)).reason
    return to, entry.code


def test_node_without_shortcuts_refuses() -> None:
    effects = ask(a_spoke(3, shortcut=False))
    assert refusal(effects) == (HUB.nbma, CieCode.ADMINISTRATIVELY_PROHIBITED)


def test_node_with_a_default_route_only_knows_no_binding() -> None:
    spoke = a_spoke(3, routes=[a_route("0.0.0.0/0", UNDERLAY, nbma(254))])
    assert refusal(ask(spoke, ip("8.8.8.8"))) == (HUB.nbma, CieCode.NO_BINDING)


def test_hub_refuses_what_it_has_no_route_to() -> None:
    hub = a_hub(2)
    effects = hub.receive(a_resolution_request(2, host(99)), nbma(2))
    assert refusal(effects) == (nbma(2), CieCode.NO_BINDING)
    assert drops(effects) == ["no-route"]


def test_hub_refuses_what_is_behind_an_unknown_client() -> None:
    effects = a_hub(2).receive(a_resolution_request(2, host(3)), nbma(2))
    assert refusal(effects) == (nbma(2), CieCode.NO_BINDING)


def test_refusals_are_limited_for_they_cost_the_sender_nothing() -> None:
    hub = a_hub(2)
    answers = [
        sent(hub.receive(a_resolution_request(2, host(99), request_id=id_), nbma(2), now=1.0))
        for id_ in range(100)
    ]
    assert len([each for each in answers if each]) == 20


def test_registered_client_is_never_answered_for() -> None:
    """A hub hands requests on to the egress, as FRR and Cisco's phase 3 do."""
    hub = a_hub(2, 3, shortcut=True)
    for target in (tunnel(3), host(3)):
        effects = hub.receive(a_resolution_request(2, target), nbma(2))
        assert kinds(effects) == [(nbma(3), PacketType.RESOLUTION_REQUEST)]


def test_subaddress_of_the_requester_comes_back() -> None:
    request = replace(a_request(), source_nbma_subaddress=b"\1\2")
    reply = the_packet(a_spoke(3).receive(request, HUB.nbma))[1]
    assert reply.source_nbma_subaddress == b"\1\2"
    assert reply.flags & RESOLUTION_ROUTER
