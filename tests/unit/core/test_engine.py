"""The engine: events in, effects out, timers in between."""

import random

import pytest

from nhrpd_py.core.base.timers import TimerKey, TimerKind
from nhrpd_py.core.config import Config
from nhrpd_py.core.effects import AnswerCommand, CloseInterface, Halt, OpenInterface, SetNeighbor
from nhrpd_py.core.engine import Engine
from nhrpd_py.core.events import (
    AddressRemoved,
    CommandGiven,
    InterfaceRefused,
    KernelRefused,
    LinkGone,
    NameResolved,
    RouteAdded,
    RouteRemoved,
    ShutdownRequested,
)
from nhrpd_py.core.notices import InterfaceLost, InterfaceReady, KernelRefusal
from nhrpd_py.core.queries import Flush, FlushWhat, View
from nhrpd_py.packet.iana import PacketType
from tests.support import inspect
from tests.support.engine import Node, RequestIds, a_hub, a_node, a_spoke, of, sent, the
from tests.support.messages import a_registration_reply, a_registration_request
from tests.support.sites import (
    GRE,
    HUB,
    LAN,
    UNDERLAY,
    a_link,
    a_route,
    a_tunnel_link,
    an_address,
    an_interface,
    an_nhs,
    host,
    nbma,
    tunnel,
)


def test_same_events_and_seed_give_the_same_effects() -> None:
    def run() -> list[object]:
        spoke = a_node(2, nhs=(an_nhs(),), rng=random.Random(42))
        return [spoke.advance(float(at)) for at in range(100)]

    assert run() == run()


def test_due_timers_run_before_the_event() -> None:
    hub = a_hub(2)
    effects = hub.receive(a_registration_request(2), nbma(2), now=60.0)
    # It expired, and registered anew: two different things.
    assert [type(each).__name__ for each in effects][:3] == [
        "DropRoute",
        "DropNeighbor",
        "BindingRemoved",
    ]
    assert SetNeighbor(GRE, tunnel(2), nbma(2)) in effects


def test_advancing_early_or_twice_does_nothing() -> None:
    spoke = a_spoke(2)
    assert spoke.advance(19.9) == []
    assert spoke.advance(20.0) != []
    assert spoke.advance(20.0) == []


def test_engine_without_interfaces_has_nothing_to_wait_for() -> None:
    engine = Engine(Config(), rng=random.Random(1), request_ids=RequestIds(), now=0.0)
    assert engine.handle(a_link(), 0.0) == []
    assert engine.next_deadline() is None


def test_interface_opens_with_its_link_and_is_ready_with_its_address() -> None:
    node = Node(an_interface())
    assert node.give(a_link(), an_address(UNDERLAY, nbma(2), 24)) == []
    assert node.give(a_tunnel_link()) == [OpenInterface(GRE, "gre1")]
    ready = node.give(an_address(GRE, tunnel(2), 32))
    assert ready == [InterfaceReady(interface="gre1", nbma=nbma(2), addresses="10.255.255.2/32")]


def test_lost_interface_says_why_and_comes_back() -> None:
    hub = a_hub()
    effects = hub.give(AddressRemoved(UNDERLAY, nbma(1), 24))
    assert the(of(effects, InterfaceLost)).reason == "no NBMA address: eth0 has no ipv4 address"
    assert of(hub.give(an_address(UNDERLAY, nbma(1), 24)), InterfaceReady)
    effects = hub.give(LinkGone(GRE))
    assert the(of(effects, InterfaceLost)).reason == "no such netdev; waiting for it"


def test_address_counts_as_ours_until_the_last_link_that_has_it_loses_it() -> None:
    hub = a_hub()
    hub.give(an_address(LAN, nbma(1), 32), an_address(LAN, nbma(1), 32))
    assert inspect.link_count(hub.engine, nbma(1)) == 2
    hub.give(AddressRemoved(LAN, nbma(1), 32), AddressRemoved(LAN, nbma(1), 32))
    assert inspect.link_count(hub.engine, nbma(1)) == 1
    hub.give(LinkGone(UNDERLAY))
    assert not inspect.is_local(hub.engine, nbma(1))


def test_events_about_unknown_links_are_harmless() -> None:
    hub = a_hub()
    assert hub.give(an_address(99, nbma(9), 24)) == []
    assert hub.give(AddressRemoved(99, nbma(9), 24)) == []
    assert hub.give(LinkGone(99)) == []
    assert hub.give(InterfaceRefused(99, "no")) == []
    assert hub.give(RouteRemoved(a_route("1.0.0.0/8", 99))) == []
    assert not inspect.is_local(hub.engine, nbma(9))


def test_route_that_is_no_news_is_not_looked_at() -> None:
    hub = a_hub()
    route = a_route("172.16.2.0/24", GRE, tunnel(2))
    assert hub.give(RouteAdded(route), RouteRemoved(a_route("9.0.0.0/8", GRE))) == []


def test_routes_of_a_lost_link_are_gone_in_silence() -> None:
    hub = a_hub()
    hub.give(a_link(LAN, "lan0", up=False))
    assert inspect.route_to(hub.engine, host(1)) is None


def test_refused_interface_is_closed_and_tried_again_after_30_s() -> None:
    spoke = a_spoke(2)
    effects = spoke.give(InterfaceRefused(GRE, "EPERM"), now=1.0)
    assert of(effects, CloseInterface) == [CloseInterface(GRE)]
    assert the(of(effects, InterfaceLost)).reason == "EPERM"
    assert spoke.table(View.INTERFACES, "up", "problem") == [(False, "EPERM")]
    assert of(spoke.run(30.9), OpenInterface) == []
    effects = spoke.advance(31.0)
    assert of(effects, OpenInterface)
    assert len(sent(effects, PacketType.REGISTRATION_REQUEST)) == 1
    assert len(of(effects + spoke.run(40.0), InterfaceReady)) == 1


def test_interface_that_stays_refused_is_told_once_and_a_new_reason_too() -> None:
    spoke = a_spoke(2)
    effects = spoke.give(InterfaceRefused(GRE, "EPERM"), now=1.0)
    for at, reason in ((31.0, "EPERM"), (61.0, "ENOMEM")):
        effects += spoke.run(at)
        effects += spoke.give(InterfaceRefused(GRE, reason), now=at)
        assert spoke.table(View.INTERFACES, "up", "problem") == [(False, reason)]
    assert [each.reason for each in of(effects, InterfaceLost)] == ["EPERM", "ENOMEM"]
    assert of(effects, InterfaceReady) == []


def test_refused_interface_that_is_made_anew_works_at_once() -> None:
    spoke = a_spoke(2)
    spoke.give(InterfaceRefused(GRE, "EPERM"), now=1.0)
    effects = spoke.give(LinkGone(GRE), a_tunnel_link(), an_address(GRE, tunnel(2), 24), now=2.0)
    assert len(of(effects, InterfaceReady)) == 1


def test_refused_interface_that_is_gone_meanwhile_is_no_harm() -> None:
    spoke = a_spoke(2)
    spoke.give(InterfaceRefused(GRE, "EPERM"), LinkGone(GRE), now=1.0)
    assert of(spoke.advance(31.0), OpenInterface) == []


def test_refusal_of_the_kernel_is_told_once_a_minute() -> None:
    hub = a_hub()
    refused = KernelRefused(GRE, "neighbour 10.255.255.2", "ENOBUFS")
    assert hub.give(refused) == [
        KernelRefusal(interface="gre1", what="neighbour 10.255.255.2", error="ENOBUFS")
    ]
    assert hub.give(refused, now=59.0) == []
    assert hub.give(refused, now=60.0) != []
    other = hub.give(KernelRefused(99, "route", "EINVAL"))
    assert the(of(other, KernelRefusal)).interface == "ifindex 99"


def test_commands_are_answered_with_their_token() -> None:
    effects = a_hub(2).give(CommandGiven(17, Flush(what=FlushWhat.ALL)))
    assert of(effects, AnswerCommand) == [AnswerCommand(17, 1, None, "1 flushed")]


def test_halted_engine_does_nothing_any_more() -> None:
    spoke = a_spoke(2)
    assert spoke.give(ShutdownRequested())[-1] == Halt()
    assert spoke.engine.next_deadline() is None
    assert spoke.advance(100.0) == []
    assert spoke.receive(a_registration_request(3), nbma(3), now=101.0) == []


def test_timers_of_interfaces_that_nobody_knows_are_skipped() -> None:
    hub = a_hub()
    inspect.set_timer(hub.engine, TimerKey(TimerKind.PURGE, "gre9", 1), 1.0)
    assert hub.advance(1.0) == []


def test_timer_of_an_unknown_form_is_a_bug() -> None:
    hub = a_hub()
    inspect.set_timer(hub.engine, TimerKey(TimerKind.PURGE, "gre1", "x"), 1.0)
    with pytest.raises(AssertionError, match="unknown form"):
        hub.advance(1.0)


def test_binding_timer_that_comes_too_late_is_harmless() -> None:
    hub = a_hub()
    assert inspect.timer_due(hub.engine, TimerKind.BINDING_EXPIRY, tunnel(9), 1.0) == []


def test_clients_are_what_the_next_start_should_know() -> None:
    hub = a_hub(2)
    hub.receive(a_registration_request(3, source_nbma=nbma(33)), nbma(3), now=10.0)
    state = hub.engine.saved_state(20.0)
    assert [(each.protocol, each.remaining_s) for each in state.bindings] == [
        (tunnel(2), 40.0),
        (tunnel(3), 50.0),
    ]
    assert state.bindings[1].claimed_nbma == nbma(33)
    spoke = a_spoke(2, registered=False)
    assert spoke.engine.saved_state(0.0).bindings == ()


def test_two_interfaces_do_not_mix() -> None:
    node = a_node(2, an_interface("gre1", nhs=(an_nhs(),)), an_interface("gre2", network_id=2))
    node.give(a_tunnel_link(5, "gre2"), an_address(5, tunnel(77), 32))
    node.receive(a_registration_request(3), nbma(3), ifindex=5)
    assert node.table(View.CACHE, "interface", "type") == [
        ("gre1", "local"),
        ("gre2", "local"),
        ("gre2", "dynamic"),
    ]
    request = the(sent(node.started, PacketType.REGISTRATION_REQUEST))
    node.receive(a_registration_reply(request), HUB.nbma)
    assert len(node.rows(View.NHS)) == 1


def test_answer_to_a_name_reaches_both_families() -> None:
    spoke = a_node(2, nhs=(an_nhs("hub.example.net"),))
    spoke.give(an_address(GRE, bytes.fromhex("fd00" + "0" * 27 + "2"), 128))
    effects = spoke.give(NameResolved("hub.example.net", (HUB.nbma,)))
    assert len(sent(effects, PacketType.REGISTRATION_REQUEST)) == 2
