"""Taking back, and believing others that do (RFC 2332 §5.2.5, §5.2.6)."""

from dataclasses import replace

import pytest

from nhrpd_py.core.address import parse_prefix, prefix_of
from nhrpd_py.core.base.prefixmap import PrefixMap
from nhrpd_py.core.base.timers import TimerKind
from nhrpd_py.core.effects import DropNeighbor, DropRoute
from nhrpd_py.core.events import AddressRemoved, RouteRemoved
from nhrpd_py.core.notices import PurgeReceived
from nhrpd_py.core.purge import sender as purge_module
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension
from nhrpd_py.packet.iana import PURGE_NO_REPLY, ErrorCode, PacketType
from nhrpd_py.packet.message import Message
from tests.support import inspect
from tests.support.engine import (
    Node,
    a_hub,
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
    a_purge_request,
    a_record,
    a_registration_request,
    a_resolution_reply,
    a_resolution_request,
    a_traffic_indication,
    an_error_indication,
    std_extensions,
)
from tests.support.sites import (
    GRE,
    HUB,
    LAN,
    SECRET,
    a_map,
    a_route,
    a_tunnel_link,
    host,
    nbma,
    tunnel,
)

PURGE = PacketType.PURGE_REQUEST
REPLY = PacketType.PURGE_REPLY


def a_shortcut_spoke() -> Node:
    spoke = a_spoke(2)
    request = the(sent(spoke.receive(a_traffic_indication(1, host(2), host(3)), HUB.nbma)))
    spoke.receive(a_resolution_reply(request), HUB.nbma)
    return spoke


def receive_purge(node: Node, prefix: str, number: int = 3, **fields) -> list:
    purge = a_purge_request(number, prefix, tunnel(2), **fields)
    return node.receive(purge, nbma(number), now=1.0)


def removed(effects: list) -> int:
    return the(of(effects, PurgeReceived)).removed


# Received.


def test_purge_of_a_prefix_removes_the_shortcuts_in_it() -> None:
    spoke = a_shortcut_spoke()
    effects = receive_purge(spoke, "172.16.3.0/24")
    assert [str(each.prefix) for each in of(effects, DropRoute)] == ["172.16.3.0/24"]
    assert removed(effects) == 1
    assert spoke.shortcuts() == []


def test_purge_of_more_than_a_shortcut_removes_it_too() -> None:
    assert removed(receive_purge(a_shortcut_spoke(), "172.16.0.0/16")) == 1


@pytest.mark.parametrize("part", ["172.16.3.0/25", "172.16.3.128/25", "172.16.3.10/32"])
def test_purge_of_a_part_of_a_shortcut_by_its_peer_removes_it(part) -> None:
    """Traffic asks anew from the hub: what is left of the prefix may be a shortcut again."""
    spoke = a_shortcut_spoke()
    effects = receive_purge(spoke, part)
    assert [str(each.prefix) for each in of(effects, DropRoute)] == ["172.16.3.0/24"]
    assert removed(effects) == 1
    assert spoke.shortcuts() == []


def test_purge_of_a_part_by_way_of_the_hub_is_the_peers_too() -> None:
    spoke = a_shortcut_spoke()
    spoke.receive(a_purge_request(3, "172.16.3.0/25", tunnel(2)), HUB.nbma)
    assert spoke.shortcuts() == []


@pytest.mark.parametrize(
    ("sender", "prefix", "address"),
    [
        (4, "172.16.3.0/25", b""),  # another station
        (3, "172.16.3.0/25", nbma(9)),  # another NBMA address of the peer
        (3, "172.16.4.0/25", b""),  # another prefix
    ],
)
def test_purge_of_a_part_that_is_not_of_this_shortcut_leaves_it(sender, prefix, address) -> None:
    spoke = a_shortcut_spoke()
    network = parse_prefix(prefix)
    entry = ClientInformation(prefix_length=network.length, protocol=network.address, nbma=address)
    assert removed(receive_purge(spoke, prefix, sender, entries=(entry,))) == 0
    assert len(spoke.shortcuts()) == 1


def test_purge_of_a_peer_removes_all_that_leans_on_it() -> None:
    spoke = a_shortcut_spoke()
    effects = receive_purge(spoke, "10.255.255.3/32")
    assert [type(each) for each in effects if isinstance(each, DropRoute | DropNeighbor)] == [
        DropRoute,
        DropRoute,
        DropNeighbor,
    ]
    assert spoke.cache() == {"10.255.255.1": ("nhs", "192.168.100.1")}


@pytest.mark.parametrize("length", [0, 32, 255, 33])
def test_all_spellings_of_a_host_are_taken(length) -> None:
    spoke = a_shortcut_spoke()
    entry = ClientInformation(prefix_length=length, protocol=tunnel(3))
    receive_purge(spoke, "10.255.255.3/32", entries=(entry,))
    assert spoke.shortcuts() == []


def test_purge_can_be_narrowed_to_one_nbma_address() -> None:
    spoke = a_shortcut_spoke()
    entry = ClientInformation(prefix_length=8, protocol=tunnel(3), nbma=nbma(9))
    assert removed(receive_purge(spoke, "10.0.0.0/8", entries=(entry,))) == 0
    narrow = ClientInformation(prefix_length=24, protocol=host(3), nbma=nbma(9))
    assert removed(receive_purge(spoke, "172.16.3.0/24", entries=(narrow,))) == 0
    right = replace(entry, nbma=nbma(3))
    assert removed(receive_purge(spoke, "10.0.0.0/8", entries=(right,))) == 1


def test_each_entry_is_purged_and_one_without_an_address_says_nothing() -> None:
    spoke = a_shortcut_spoke()
    entries = (
        ClientInformation(prefix_length=24),
        ClientInformation(prefix_length=24, protocol=host(3)),
        ClientInformation(prefix_length=24, protocol=host(4)),
    )
    effects = receive_purge(spoke, "0.0.0.0/0", entries=entries)
    assert [each.removed for each in of(effects, PurgeReceived)] == [1, 0]


def test_entries_that_say_the_same_are_one_and_the_widest_need_not_be_the_first() -> None:
    spoke = a_shortcut_spoke()
    entries = tuple(
        ClientInformation(prefix_length=length, protocol=host(3), nbma=address)
        for length, address in ((32, b""), (24, nbma(9)), (16, nbma(3)), (16, nbma(3)))
    )
    effects = receive_purge(spoke, "0.0.0.0/0", entries=entries)
    assert [each.removed for each in of(effects, PurgeReceived)] == [0, 0, 1]


def test_purge_of_many_hosts_takes_those_that_there_are() -> None:
    spoke = a_shortcut_spoke()
    entries = tuple(
        ClientInformation(prefix_length=32, protocol=each)
        for each in (host(3), tunnel(3), tunnel(4), tunnel(3))
    )
    effects = receive_purge(spoke, "0.0.0.0/0", entries=entries)
    assert [each.removed for each in of(effects, PurgeReceived)] == [0, 1, 0]
    assert spoke.shortcuts() == []


def test_purge_of_everything_looks_at_each_binding_once(monkeypatch) -> None:
    """A packet holds thousands of entries, a cache thousands of bindings: their product took minutes."""
    looks = 0
    seen = PrefixMap.matches

    def matches(table, address):
        nonlocal looks
        looks += 1
        return seen(table, address)

    spoke = a_shortcut_spoke()
    for number in range(20, 60):
        spoke.receive(a_registration_request(number), nbma(number))
    monkeypatch.setattr(PrefixMap, "matches", matches)
    entries = tuple(
        ClientInformation(prefix_length=1 + number % 24, protocol=bytes([number & 127, 0, 0, 0]))
        for number in range(1000)
    )
    receive_purge(spoke, "0.0.0.0/0", entries=entries)
    # The shortcut and its peer, for nothing else is the sender's; and what is around each of the entries.
    assert looks == 2 + len({prefix_of(each.protocol, each.prefix_length) for each in entries})


def test_client_takes_its_own_registration_back() -> None:
    hub = a_hub(2, 3)
    effects = hub.receive(a_purge_request(2, "10.255.255.2/32", HUB.tunnel), nbma(2))
    assert removed(effects) == 1
    assert set(hub.cache()) == {"10.255.255.3"}


def test_client_may_address_the_purge_to_itself() -> None:
    hub = a_hub(2)
    hub.receive(a_purge_request(2, "10.255.255.2/32", tunnel(2)), nbma(2))
    assert hub.cache() == {}


def test_nobody_takes_back_the_registration_of_another() -> None:
    hub = a_hub(2, 3)
    assert removed(hub.receive(a_purge_request(3, "10.255.255.2/32", HUB.tunnel), nbma(3))) == 0
    assert removed(hub.receive(a_purge_request(3, "10.255.255.0/24", HUB.tunnel), nbma(3))) == 1
    assert set(hub.cache()) == {"10.255.255.2"}


@pytest.mark.parametrize(
    ("secret", "setting", "sender", "is_gone"),
    [
        (SECRET, True, 2, True),
        (SECRET, False, 2, False),
        (None, True, 2, False),
        (SECRET, True, 3, False),
    ],
)
def test_client_that_moved_takes_back_its_registration_where_the_pass_phrase_is_enough(
    secret, setting, sender, is_gone
) -> None:
    signature = (AUTHENTICATION,) if secret else ()
    hub = a_hub(authentication=secret, authenticated_purge=setting)
    hub.receive(a_registration_request(2, extensions=signature), nbma(2))
    purge = a_purge_request(sender, "10.255.255.2/32", HUB.tunnel, extensions=signature)
    hub.receive(purge, nbma(22))
    assert (hub.cache() == {}) is is_gone


def test_servers_and_configured_bindings_are_not_purged() -> None:
    spoke = a_spoke(2, maps=(a_map(tunnel(9), nbma(9)),))
    effects = receive_purge(spoke, "10.255.254.0/23", number=1)
    assert removed(effects) == 0
    assert len(spoke.cache()) == 2


def test_purge_is_confirmed_even_if_there_was_nothing() -> None:
    spoke = a_spoke(2)
    vendor = Extension(8, b"\0\0\x0cx", compulsory=False)
    purge = a_purge_request(3, "172.16.9.0/24", tunnel(2), extensions=(vendor,))
    to, reply = the_packet(spoke.receive(purge, nbma(3)))
    assert to == nbma(3)
    assert reply == replace(purge, type=REPLY)


def test_confirmation_names_us_where_the_sender_wants_to_know() -> None:
    purge = a_purge_request(3, "172.16.9.0/24", tunnel(2), extensions=std_extensions())
    reply = the_packet(a_spoke(2).receive(purge, nbma(3)))[1]
    assert [each.type for each in reply.extensions] == [4, 5, 3]
    assert the(reply.extensions[2].entries(4, 4)) == replace(a_record(2), mtu=1472)


def test_purge_that_wants_no_reply_gets_none() -> None:
    effects = receive_purge(a_spoke(2), "172.16.9.0/24", flags=PURGE_NO_REPLY)
    assert sent(effects) == []


def test_confirmation_is_signed() -> None:
    hub = a_hub(authentication=SECRET)
    purge = a_purge_request(2, "10.255.255.2/32", HUB.tunnel, extensions=(AUTHENTICATION,))
    assert the_packet(hub.receive(purge, nbma(2)))[1].extensions == (AUTHENTICATION,)
    unsigned = a_purge_request(2, "10.255.255.2/32", HUB.tunnel)
    assert drops(hub.receive(unsigned, nbma(2))) == ["authentication-failed"]


def test_purge_for_somebody_else_is_handed_on() -> None:
    effects = a_hub(2, 3).receive(a_purge_request(3, "172.16.3.0/24", tunnel(2)), nbma(3))
    assert kinds(effects) == [(nbma(2), PURGE)]


def test_purge_of_our_own_address_counts_from_our_servers_only() -> None:
    spoke = a_spoke(2)
    assert kinds(receive_purge(spoke, "10.255.255.2/32", number=3)) == [(nbma(3), REPLY)]
    assert (HUB.nbma, PacketType.REGISTRATION_REQUEST) in kinds(
        receive_purge(spoke, "10.255.255.2/32", number=1)
    )


def test_purge_of_a_network_around_us_is_not_about_us() -> None:
    effects = receive_purge(a_shortcut_spoke(), "10.255.255.0/24", number=1)
    assert sent(effects, PacketType.REGISTRATION_REQUEST) == []
    assert removed(effects) == 1


# Sent.


def a_purging_spoke() -> tuple[Node, Message]:
    """Spoke 3, which told spoke 2 what is behind it, and then lost it at second 5."""
    spoke = a_spoke(3)
    spoke.receive(a_resolution_request(2, host(3)), nbma(2))
    effects = spoke.give(RouteRemoved(a_route("172.16.3.0/24", LAN)), now=5.0)
    return spoke, the(sent(effects))


def test_purge_has_the_prefix_and_zero_in_everything_else() -> None:
    _, purge = a_purging_spoke()
    assert purge.type is PURGE
    assert purge.flags == 0
    assert (purge.source_protocol, purge.destination_protocol) == (tunnel(3), tunnel(2))
    assert purge.entries == (
        ClientInformation(prefix_length=24, protocol=parse_prefix("172.16.3.0/24").address),
    )


def test_unconfirmed_purge_is_sent_four_times_with_its_id() -> None:
    spoke, first = a_purging_spoke()
    for at in (6.0, 8.0, 12.0):
        assert sent(spoke.advance(at), PURGE) == [first]
    spoke.run(20.0)
    assert sent(spoke.run(60.0), PURGE) == []
    assert first.request_id not in inspect.outstanding(spoke.engine)


def test_confirmed_purge_is_not_sent_again() -> None:
    spoke, purge = a_purging_spoke()
    spoke.receive(replace(purge, type=REPLY), nbma(2), now=5.5)
    assert sent(spoke.run(60.0), PURGE) == []


def test_purge_is_confirmed_by_whom_it_was_sent_to_alone() -> None:
    spoke, purge = a_purging_spoke()
    effects = spoke.receive(replace(purge, type=REPLY), nbma(4), now=5.5)
    assert drops(effects) == ["wrong-way"]
    assert len(sent(spoke.advance(6.0), PURGE)) == 1


def test_reply_of_another_type_confirms_nothing() -> None:
    spoke, purge = a_purging_spoke()
    wrong = replace(purge, type=PacketType.RESOLUTION_REPLY)
    assert drops(spoke.receive(wrong, nbma(2), now=5.5)) == ["unsolicited-reply"]
    assert len(sent(spoke.advance(6.0), PURGE)) == 1


def test_error_about_a_purge_ends_it() -> None:
    spoke, purge = a_purging_spoke()
    spoke.receive(an_error_indication(2, ErrorCode.UNRECOGNIZED_EXTENSION, purge), nbma(2), now=5.5)
    assert sent(spoke.run(60.0), PURGE) == []


def test_confirmation_that_nobody_waits_for_is_dropped_in_silence() -> None:
    spoke, purge = a_purging_spoke()
    effects = spoke.receive(replace(purge, type=REPLY, request_id=9999), nbma(2), now=5.5)
    assert drops(effects) == ["unsolicited-reply"]
    assert sent(effects) == []


def test_too_many_purges_at_once_are_sent_only_once(monkeypatch) -> None:
    monkeypatch.setattr(purge_module, "MAX_PURGES", 1)
    spoke = a_spoke(3)
    for number in (2, 4):
        spoke.receive(a_resolution_request(number, host(3)), nbma(number))
    effects = spoke.give(RouteRemoved(a_route("172.16.3.0/24", LAN)), now=5.0)
    assert len(sent(effects, PURGE)) == 2
    assert [to for to, _ in packets(spoke.advance(6.0))] == [nbma(4)]


def test_nothing_is_purged_or_hinted_while_we_cannot_speak() -> None:
    spoke, _ = a_purging_spoke()
    engine = spoke.engine
    spoke.receive(a_registration_request(4), nbma(4), now=5.0)
    binding = inspect.cache(engine).get(tunnel(4))
    assert binding is not None
    spoke.give(a_tunnel_link(up=False), now=5.1)
    purges, lan = inspect.purges(engine), parse_prefix("172.16.3.0/24")
    assert inspect.said(engine, lambda: purges.send(tunnel(4), nbma(4), lan, 5.2)) == []
    assert inspect.said(engine, lambda: purges.ask_to_register(binding)) == []
    assert inspect.timer_due(engine, TimerKind.PURGE, 12345, 5.2) == []


def test_pending_purge_skips_a_beat_without_an_address_of_ours() -> None:
    spoke, _ = a_purging_spoke()
    spoke.give(AddressRemoved(GRE, tunnel(3), 32), now=5.5)
    assert sent(spoke.advance(6.0)) == []
