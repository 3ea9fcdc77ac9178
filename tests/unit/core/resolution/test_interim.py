"""The kernel asks for a neighbour (phase 2): traffic goes by way of the hub while we ask, and after a refusal."""

from typing import Any

import pytest

from nhrpd_py.core.effects import (
    DropNeighbor,
    Effect,
    SetNeighbor,
    SetRoute,
)
from nhrpd_py.core.events import NeighborSolicited
from nhrpd_py.core.notices import (
    ResolutionFailed,
    TableFull,
)
from nhrpd_py.core.station import cache as cache_module
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.iana import PacketType
from tests.support import inspect
from tests.support.engine import Node, a_spoke, drops, kinds, of, packets, sent, the
from tests.support.messages import (
    a_registration_reply,
    a_registration_request,
    a_resolution_reply,
)
from tests.support.paths import answer, probes
from tests.support.resolution import an_asking_spoke, redirect, solicit
from tests.support.sites import (
    GRE,
    HUB,
    UNDERLAY,
    a_route,
    an_nhs,
    ip,
    nbma,
    tunnel,
)

REQUEST = PacketType.RESOLUTION_REQUEST


def a_phase_2_spoke(**settings: Any) -> Node:
    return a_spoke(2, prefix_length=24, routes=[a_route("10.255.255.0/24", GRE)], **settings)


def test_kernel_gets_the_hub_as_a_neighbour_while_we_ask() -> None:
    spoke = a_phase_2_spoke()
    effects = solicit(spoke, tunnel(3))
    assert kinds(effects) == [(HUB.nbma, REQUEST)]
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(3), HUB.nbma)]
    assert spoke.cache() == {
        "10.255.255.1": ("nhs", "192.168.100.1"),
        "10.255.255.3": ("incomplete", "192.168.100.1"),
    }


def test_hub_stays_the_neighbour_while_the_path_is_tried() -> None:
    spoke = a_phase_2_spoke(path_check_s=3)
    request = the(sent(solicit(spoke, tunnel(3))))
    effects = spoke.receive(a_resolution_reply(request, prefix_length=32), HUB.nbma)
    assert of(effects, DropNeighbor) == []
    probe = the(probes(effects))
    assert sent(solicit(spoke, tunnel(3), now=0.1)) == []  # it is known, and nobody is asked again
    effects = spoke.receive(answer(probe), nbma(3), now=0.2)
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(3), nbma(3))]
    assert of(effects, DropNeighbor) == []


def test_answer_to_the_kernel_replaces_the_hub_without_a_gap() -> None:
    spoke = a_phase_2_spoke()
    request = the(sent(solicit(spoke, tunnel(3))))
    effects = spoke.receive(a_resolution_reply(request, prefix_length=32), HUB.nbma)
    assert of(effects, DropNeighbor) == []
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(3), nbma(3))]
    assert of(effects, SetRoute) == []


@pytest.mark.parametrize(("code", "seconds"), [(4, 5.0), (5, 30.0), (12, 5.0)])
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
        busy = a_resolution_reply(request, entries=(ClientInformation(code=5),))
        spoke.receive(busy, HUB.nbma, now=3.1)
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
    effects = redirect(spoke, now=1.0)
    assert sent(effects) == []
    assert drops(effects) == ["already-asked"]
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
