"""What a registered spoke that lies about NBMA addresses cannot do to the ways between others."""

from typing import Any

import pytest

from nhrpd_py.core.effects import SetNeighbor, SetRoute
from nhrpd_py.core.notices import PathFailed
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.iana import PacketType
from tests.support import inspect
from tests.support.engine import Node, a_hub, a_spoke, of, packets, sent, the
from tests.support.messages import (
    a_purge_request,
    a_registration_request,
    a_resolution_reply,
    a_resolution_request,
)
from tests.support.paths import REPLY, REQUEST, answer, path, probes
from tests.support.resolution import FORWARDED, redirect
from tests.support.sites import GRE, HUB, a_map, host, nbma, tunnel

LIAR = 4


def lies(spoke: Node, about: bytes, now: float = 0.0, target: bytes = host(2)) -> list[Any]:
    """The liar asks, and says by way of the hub that it is at an NBMA address."""
    request = a_resolution_request(LIAR, target, extensions=FORWARDED, source_nbma=about)
    return spoke.receive(request, HUB.nbma, now=now)


def answers_with(spoke: Node, about: bytes, now: float = 0.0) -> list[Any]:
    """The liar answers, and says so."""
    request = the(sent(redirect(spoke, host(LIAR), now=now), REQUEST))
    entry = ClientInformation(
        prefix_length=24, holding_time_s=60, nbma=about, protocol=tunnel(LIAR)
    )
    return spoke.receive(a_resolution_reply(request, LIAR, entries=(entry,)), HUB.nbma, now=now)


def resolves(spoke: Node, now: float) -> list[Any]:
    """The spoke learns where spoke 3 and its LAN are."""
    asked = sent(redirect(spoke, host(3), now=now), REQUEST)
    request = the(each for each in asked if each.destination_protocol == host(3))
    return spoke.receive(a_resolution_reply(request), HUB.nbma, now=now)


@pytest.mark.parametrize("lie", [lies, answers_with])
def test_path_to_another_is_not_held_down_because_the_liar_is_not_there(lie: Any) -> None:
    spoke = a_spoke(2, path_check_s=3)
    lie(spoke, nbma(3))
    assert of(spoke.run(2.5), PathFailed)
    probe = the(probes(resolves(spoke, 3.0)))
    assert of(spoke.receive(answer(probe), nbma(3), now=3.1), SetNeighbor)
    assert spoke.shortcuts(3.1)[0] == ("172.16.3.0/24", "10.255.255.3", "active")


def test_path_that_is_tried_for_the_liar_is_tried_for_the_other_next() -> None:
    spoke = a_spoke(2, path_check_s=3)
    lies(spoke, nbma(3))
    assert probes(resolves(spoke, 0.5)) == []
    effects = spoke.run(2.0)
    assert the(of(effects, PathFailed)).protocol == tunnel(LIAR)
    probe = the(probes(effects))
    effects = spoke.receive(answer(probe), nbma(3), now=2.1)
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(3), nbma(3))]
    assert of(effects, SetRoute)


def test_path_that_carried_is_held_down_for_all() -> None:
    spoke = a_spoke(2, path_check_s=3)
    spoke.receive(answer(the(probes(resolves(spoke, 0.0)))), nbma(3))
    assert of(spoke.run(4.6), PathFailed)
    lies(spoke, nbma(3), now=5.0)
    assert path(spoke, 5.0) == "failed"


def test_requests_of_the_other_are_answered_all_the_same() -> None:
    spoke = a_spoke(2, path_check_s=3)
    lies(spoke, nbma(3))
    spoke.run(2.5)
    asked = a_resolution_request(3, host(2), extensions=FORWARDED)
    probe = the(probes(spoke.receive(asked, HUB.nbma, now=3.0)))
    replies = sent(spoke.receive(answer(probe), nbma(3), now=3.1), REPLY)
    assert the(the(replies).entries).code == 0


@pytest.mark.parametrize("lie", [lies, answers_with])
def test_networks_of_others_are_no_outer_addresses_because_the_liar_says_so(lie: Any) -> None:
    spoke = a_spoke(2, path_check_s=3)
    lie(spoke, host(3, 77))
    assert probes(resolves(spoke, 0.5))
    assert ("172.16.3.0/24", "10.255.255.3", "waiting") in spoke.shortcuts(0.5)


def test_hosts_behind_us_are_no_outer_addresses_because_the_liar_says_so() -> None:
    egress = a_spoke(3, path_check_s=3)
    lies(egress, host(3, 77), target=host(3))
    asked = a_resolution_request(2, host(3, 77), extensions=FORWARDED)
    probe = the(probes(egress.receive(asked, HUB.nbma, now=0.1), 2))
    reply = the(sent(egress.receive(answer(probe), nbma(2), now=0.2), REPLY))
    assert the(reply.entries).prefix_length == 24


def test_client_registers_although_a_liar_says_that_its_tunnel_address_is_an_outer_one() -> None:
    """The lie comes by way of another hub, whose word counts."""
    hub = a_hub(path_check_s=3, shortcut=True, maps=(a_map(tunnel(9), nbma(9)),))
    lie = a_resolution_request(LIAR, host(1), extensions=FORWARDED, source_nbma=tunnel(3))
    assert sent(hub.receive(lie, nbma(9)), REQUEST)
    replies = sent(
        hub.receive(a_registration_request(3), nbma(3), now=0.1), PacketType.REGISTRATION_REPLY
    )
    assert the(the(replies).entries).code == 0


def test_station_whose_outer_address_came_to_be_covered_is_not_led_into_the_tunnel() -> None:
    """Nothing led there yet when the shortcut came; then its path is proven by way of the underlay."""
    spoke = a_spoke(2, path_check_s=3)
    waiting = the(
        message
        for to, message in packets(lies(spoke, host(3, 77)))
        if (to, message.type) == (host(3, 77), REQUEST)
    )
    third = the(probes(resolves(spoke, 0.1)))
    spoke.receive(answer(third), nbma(3), now=0.2)
    effects = spoke.receive(answer(waiting, responder=LIAR), host(3, 77), now=0.3)
    assert of(effects, SetNeighbor) == []
    assert "10.255.255.4" not in spoke.cache(0.3)


def test_liar_that_moves_on_leaves_nothing_that_is_tried() -> None:
    """It would have us send three packets for each of its own, and remember all the addresses that it invents."""
    spoke = a_spoke(2, path_check_s=3)
    asked, failed = 0, 0
    for last in range(100):
        now = last / 1000
        asked += len(sent(lies(spoke, bytes([198, 51, 100, 1 + last]), now=now), REQUEST))
    effects = spoke.run(9.0)
    asked += len(sent(effects, REQUEST))
    failed += len(of(effects, PathFailed))
    assert (asked, failed) == (100 + 2, 1)
    assert inspect.timer_count(spoke.engine) <= 3


def test_path_whose_binding_is_taken_back_meanwhile_is_no_failure() -> None:
    spoke = a_spoke(2, path_check_s=3)
    resolves(spoke, 0.0)
    purge = a_purge_request(3, "10.255.255.3/32", tunnel(2))
    spoke.receive(purge, nbma(3), now=0.1)
    effects = spoke.run(9.0)
    assert sent(effects, REQUEST) == []
    assert of(effects, PathFailed) == []
