"""Servers with a name: looked up at start, every five minutes, and when they are lost."""

from nhrpd_py.core.address import parse_prefix
from nhrpd_py.core.effects import DropNeighbor, DropRoute, ResolveName, SetNeighbor
from nhrpd_py.core.events import (
    NameResolved,
)
from nhrpd_py.core.notices import ClaimRefused, NameUnresolved
from nhrpd_py.core.queries import View
from nhrpd_py.packet.iana import (
    PacketType,
)
from tests.support.engine import Node, a_spoke, kinds, of, sent, the, the_packet
from tests.support.messages import (
    a_registration_reply,
    a_registration_request,
)
from tests.support.registration import HUB2_NBMA, a_fresh_spoke, run_while, states
from tests.support.resolution import a_shortcut_spoke, solicit
from tests.support.sites import (
    GRE,
    HUB,
    a_tunnel_link,
    an_nhs,
    host,
    ip,
    nbma,
    tunnel,
)


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
    to, request = the_packet(effects)
    assert (to, request.type) == (HUB2_NBMA, PacketType.REGISTRATION_REQUEST)
    effects = spoke.receive(a_registration_reply(request), HUB2_NBMA, now=300.1)
    assert spoke.table(View.NHS, "nbma", "state") == [("192.168.100.11", "up")]
    # Traffic to the hub changes over, and no Purge takes the new registration back.
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, HUB.tunnel, HUB2_NBMA)]
    assert of(effects, DropNeighbor) == []
    assert sent(effects, PacketType.PURGE_REQUEST) == []


def test_former_address_of_a_name_serves_until_the_new_one_has_answered() -> None:
    """DNS was believed: a wrong or early answer cost the server that worked."""
    spoke = a_named_spoke(HUB.nbma)
    spoke.receive(a_registration_reply(sent(spoke.started)[0]), HUB.nbma)
    spoke.give(NameResolved("hub.example.net", (HUB2_NBMA,)), now=1.0)
    effects = run_while(spoke, 200.0, HUB.nbma)
    assert of(effects, DropNeighbor) == []
    assert ("192.168.100.1", "up") in spoke.table(View.NHS, "nbma", "state")
    run_while(spoke, 300.0)
    assert spoke.table(View.NHS, "nbma", "state") == [("192.168.100.11", "probe")]


def test_former_address_of_a_name_is_not_asked_again_after_the_tunnel_was_down() -> None:
    spoke = a_named_spoke(HUB.nbma)
    spoke.receive(a_registration_reply(sent(spoke.started)[0]), HUB.nbma)
    spoke.give(NameResolved("hub.example.net", (HUB2_NBMA,)), now=1.0)
    spoke.give(a_tunnel_link(up=False), now=2.0)
    effects = spoke.give(a_tunnel_link(), now=3.0)
    assert kinds(effects) == [(HUB2_NBMA, PacketType.REGISTRATION_REQUEST)]


def test_what_led_to_a_former_address_by_the_way_goes_with_it() -> None:
    spoke = a_named_spoke(HUB.nbma)
    spoke.receive(a_registration_reply(sent(spoke.started)[0]), HUB.nbma)
    assert of(solicit(spoke, tunnel(9)), SetNeighbor) == [SetNeighbor(GRE, tunnel(9), HUB.nbma)]
    run_while(spoke, 30.0)
    assert states(spoke) == ["probe"]
    effects = spoke.give(NameResolved("hub.example.net", (HUB2_NBMA,)), now=30.0)
    assert DropNeighbor(GRE, tunnel(9)) in effects


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


def test_worse_server_waits_for_the_name_of_the_better_one_and_not_for_ever() -> None:
    spoke = a_fresh_spoke(
        nhs=(an_nhs("hub.example.net"), an_nhs("192.168.100.11", priority=10)),
    )
    assert sent(spoke.started) == []
    effects = spoke.give(NameResolved("hub.example.net", (), "no such host"))
    assert kinds(effects) == [(HUB2_NBMA, PacketType.REGISTRATION_REQUEST)]


def test_an_address_that_turns_out_to_be_a_servers_outer_one_is_bound_to_nobody() -> None:
    """Its host route would lead the packets for the server into the tunnel."""
    new = ip("10.255.255.9")
    hub = a_spoke(
        1,
        registered=False,
        nhs=(an_nhs("hub.example.net"),),
        overlay=(parse_prefix("10.255.255.0/24"),),
    )
    hub.give(NameResolved("hub.example.net", (HUB2_NBMA,)))
    hub.receive(a_registration_request(9), nbma(9))
    hub.receive(a_registration_request(3), nbma(3))
    assert set(hub.cache()) == {"10.255.255.3", "10.255.255.9"}
    effects = hub.give(NameResolved("hub.example.net", (HUB2_NBMA, new)), now=1.0)
    assert "outer address" in the(of(effects, ClaimRefused)).reason
    assert DropNeighbor(GRE, new) in effects
    assert list(hub.cache()) == ["10.255.255.3"]


def test_a_shortcut_around_a_servers_new_address_goes() -> None:
    spoke = a_shortcut_spoke(nhs=(an_nhs(), an_nhs("hub.example.net")))
    inside = host(3, 200)
    assert spoke.table(View.SHORTCUTS, "prefix") == [("172.16.3.0/24",)]
    spoke.give(NameResolved("hub.example.net", (ip("203.0.113.9"),)), now=1.0)
    assert spoke.table(View.SHORTCUTS, "prefix") == [("172.16.3.0/24",)]
    effects = spoke.give(NameResolved("hub.example.net", (inside,)), now=2.0)
    assert [each.prefix for each in of(effects, DropRoute)] == [parse_prefix("172.16.3.0/24")]
    assert spoke.table(View.SHORTCUTS, "prefix") == []
