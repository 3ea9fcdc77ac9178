"""Shortcuts live on while they are used, and follow the routes that they stand for."""

import pytest

from nhrpd_py.core.address import Address, host_prefix
from nhrpd_py.core.base.timers import TimerKind
from nhrpd_py.core.effects import (
    DropNeighbor,
    DropRoute,
    NeighborState,
    SetNeighbor,
    SetRoute,
)
from nhrpd_py.core.events import RouteAdded, RouteRemoved
from nhrpd_py.core.notices import (
    ResolutionFailed,
    ResolutionStarted,
    ShortcutRemoved,
)
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.iana import PacketType
from tests.support import inspect
from tests.support.engine import Node, a_spoke, of, sent, the, the_packet
from tests.support.messages import (
    a_registration_request,
    a_resolution_reply,
)
from tests.support.resolution import a_shortcut_spoke, an_asking_spoke, redirect, solicit
from tests.support.sites import (
    GRE,
    HUB,
    UNDERLAY,
    a_map,
    a_route,
    host,
    nbma,
    tunnel,
)

STALE = NeighborState.STALE

REQUEST = PacketType.RESOLUTION_REQUEST


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
