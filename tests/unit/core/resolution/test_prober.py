"""Paths that are proven before traffic takes them, and left when they carry nothing any more."""

import pytest

from nhrpd_py.core.effects import DropNeighbor, DropRoute, Effect, SetNeighbor, SetRoute
from nhrpd_py.core.events import AddressRemoved, ConfigChanged
from nhrpd_py.core.notices import PathFailed, PathProven
from nhrpd_py.core.queries import View
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.iana import CieCode, PacketType
from tests.support.engine import a_hub, a_spoke, of, packets, sent, the
from tests.support.ipsec import a_protected_spoke, installed, wishes
from tests.support.messages import (
    TARGET,
    a_registration_reply,
    a_registration_request,
    a_resolution_reply,
    a_resolution_request,
)
from tests.support.paths import (
    REPLY,
    REQUEST,
    a_proven_spoke,
    an_answered_spoke,
    answer,
    changed,
    path,
    probes,
)
from tests.support.registration import times
from tests.support.resolution import an_asking_spoke, ask, redirect
from tests.support.sites import GRE, HUB, UNDERLAY, an_address, host, nbma, tunnel


def test_traffic_stays_on_the_hub_until_the_path_is_proven() -> None:
    spoke, probe = an_answered_spoke()
    assert spoke.shortcuts() == [("172.16.3.0/24", "10.255.255.3", "waiting")]
    assert path(spoke) == "trying"
    effects = spoke.receive(answer(probe), nbma(3), now=0.02)
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(3), nbma(3))]
    assert [str(each.prefix) for each in of(effects, SetRoute)] == [
        "10.255.255.3/32",
        "172.16.3.0/24",
    ]
    assert the(of(effects, PathProven)).rtt_s == pytest.approx(0.02)
    assert spoke.table(View.SHORTCUTS, "state", "path", "rtt_s") == [("active", "proven", 0.02)]


def test_refusal_proves_as_much() -> None:
    spoke, probe = an_answered_spoke()
    refused = answer(probe, entries=(ClientInformation(code=CieCode.ADMINISTRATIVELY_PROHIBITED),))
    assert of(spoke.receive(refused, nbma(3)), SetNeighbor)


def test_answer_by_way_of_the_hub_proves_our_direction_alone() -> None:
    """FRR answers the first one so; the next one comes at once, and is answered straight."""
    spoke, probe = an_answered_spoke()
    effects = spoke.receive(answer(probe), HUB.nbma, now=0.05)
    assert of(effects, SetNeighbor) == []
    again = the(probes(effects))
    assert of(spoke.receive(answer(again), nbma(3), now=0.1), SetNeighbor)


def test_answer_by_way_of_the_hub_on_a_slow_link_leaves_the_straight_ones_their_time() -> None:
    """It came after the last probe, and the path failed at once, a second before its time."""
    spoke, probe = an_answered_spoke()
    more = [the(probes(spoke.advance(at))) for at in (0.3, 0.9)]
    assert of(spoke.receive(answer(probe), HUB.nbma, now=1.2), PathFailed) == []
    assert of(spoke.receive(answer(more[0]), nbma(3), now=1.4), SetNeighbor)


def test_path_that_answers_nothing_is_left_alone_and_tried_anew() -> None:
    spoke, _ = an_answered_spoke()
    assert times(spoke, 1.9, REQUEST) == [0.3, 0.9]
    effects = spoke.advance(2.0)
    notice = the(of(effects, PathFailed))
    assert notice.reason == "no answer on the direct path to 192.168.100.3"
    assert notice.retry_in_s == 30.0
    assert spoke.cache(2.0) == {"10.255.255.1": ("nhs", "192.168.100.1")}
    assert spoke.table(View.SHORTCUTS, "state", "reason", now=2.0) == [("negative", notice.reason)]
    assert spoke.table(View.PEERS, "nbma", "path", "last_error", now=2.0)[1] == (
        "192.168.100.3",
        "failed",
        notice.reason,
    )
    assert sent(redirect(spoke, now=31.9), REQUEST) == []
    spoke.advance(32.0)
    request = the(sent(redirect(spoke, now=33.0), REQUEST))
    again = probes(spoke.receive(a_resolution_reply(request), HUB.nbma, now=33.0))
    assert of(spoke.receive(answer(the(again)), nbma(3), now=33.1), SetNeighbor)


def test_hold_down_doubles_up_to_a_quarter_of_an_hour() -> None:
    spoke, _ = an_answered_spoke()
    now, waits = 0.0, []
    for _ in range(7):
        times(spoke, now + 1.9, REQUEST)
        failed = the(of(spoke.advance(now + 2.0), PathFailed))
        waits.append(failed.retry_in_s)
        now += 2.0 + failed.retry_in_s
        spoke.run(now)
        request = the(sent(redirect(spoke, now=now), REQUEST))
        assert probes(spoke.receive(a_resolution_reply(request), HUB.nbma, now=now))
    assert waits == [30.0, 60.0, 120.0, 240.0, 480.0, 900.0, 900.0]


def test_reason_tells_that_our_own_direction_works() -> None:
    spoke, probe = an_answered_spoke()
    spoke.receive(answer(probe), HUB.nbma, now=0.05)
    times(spoke, 1.9, REQUEST)
    reason = the(of(spoke.advance(2.0), PathFailed)).reason
    assert reason == "nothing comes straight from 192.168.100.3, though our packets arrive there"


def test_path_in_use_is_checked_every_three_seconds() -> None:
    spoke = a_proven_spoke()
    for at in (3.0, 6.0, 9.0):
        probe = the(probes(spoke.advance(at)))
        assert of(spoke.receive(answer(probe), nbma(3), now=at), SetNeighbor) == []
    assert path(spoke, 9.0) == "proven"


def test_three_answers_missing_put_traffic_on_the_hub_again() -> None:
    spoke = a_proven_spoke()
    assert times(spoke, 4.4, REQUEST) == [3.0, 3.5, 4.0]
    effects = spoke.advance(4.5)
    assert [str(each.prefix) for each in of(effects, DropRoute)] == [
        "172.16.3.0/24",
        "10.255.255.3/32",
    ]
    assert of(effects, DropNeighbor) == [DropNeighbor(GRE, tunnel(3))]
    assert path(spoke, 5.0) == "failed"


def test_one_answer_of_three_is_enough() -> None:
    spoke = a_proven_spoke()
    spoke.advance(3.0)
    second = the(probes(spoke.advance(3.5)))
    spoke.receive(answer(second), nbma(3), now=3.6)
    assert times(spoke, 7.0, REQUEST)[0] == pytest.approx(6.6)


def test_what_arrives_stands_in_for_no_answer() -> None:
    """It says nothing of our own direction."""
    spoke = a_proven_spoke()
    for at in (3.0, 3.5, 4.0):
        spoke.advance(at)
        spoke.receive(a_resolution_request(3, tunnel(2), extensions=()), nbma(3), now=at + 0.1)
    assert of(spoke.advance(4.5), PathFailed)


def test_station_that_knows_no_probes_is_believed_by_what_arrives_in_the_third_try() -> None:
    spoke, _ = an_answered_spoke()
    now, effects = 0.0, list[Effect]()
    for hold_down_s in (30.0, 60.0, None):
        spoke.receive(a_resolution_request(3, TARGET, extensions=()), nbma(3), now=now + 0.1)
        times(spoke, now + 1.9, REQUEST)
        effects = spoke.advance(now + 2.0)
        if hold_down_s is None:
            break
        assert of(effects, PathFailed)
        now += 2.0 + hold_down_s
        spoke.run(now)
        request = the(sent(redirect(spoke, now=now), REQUEST))
        spoke.receive(a_resolution_reply(request), HUB.nbma, now=now)
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(3), nbma(3))]
    assert path(spoke, now + 2.0) == "believed"
    assert len(probes(spoke.run(now + 30.0))) == 9  # it may answer one, and is asked for no more
    # It is no stranger to probes after all.
    effects = spoke.receive(
        a_resolution_request(3, tunnel(2), extensions=()), nbma(3), now=now + 30.0
    )
    assert probes(effects)
    assert path(spoke, now + 30.0) == "trying"


def test_station_that_probes_us_answers_probes_too() -> None:
    spoke, _ = an_answered_spoke()
    spoke.receive(a_resolution_request(3, tunnel(2), extensions=()), nbma(3), now=0.5)
    times(spoke, 1.9, REQUEST)
    assert of(spoke.advance(2.0), PathFailed)


def test_unused_path_is_checked_no_more() -> None:
    spoke = a_proven_spoke()
    asked = []
    while (at := spoke.engine.next_deadline()) is not None and at < 90.0:
        news = spoke.run(at)
        for probe in probes(news):
            asked.append(at)
            spoke.receive(answer(probe), nbma(3), now=at)
    assert asked[0] == 3.0
    assert asked[-1] == 57.0  # its binding ended at 60
    assert path(spoke, 90.0) is None


def test_shortcuts_are_proven_anew_from_another_address_of_ours() -> None:
    spoke = a_proven_spoke()
    effects = spoke.give(
        an_address(UNDERLAY, nbma(22), 24), AddressRemoved(UNDERLAY, nbma(2), 24), now=1.0
    )
    assert len(probes(effects)) == 1
    assert of(effects, DropNeighbor) == []
    assert path(spoke, 1.0) == "trying"
    times(spoke, 2.9, REQUEST)
    assert [str(each.prefix) for each in of(spoke.advance(3.0), DropRoute)] == [
        "172.16.3.0/24",
        "10.255.255.3/32",
    ]


def test_switched_on_the_shortcuts_that_exist_are_proven() -> None:
    spoke, request = an_asking_spoke()
    spoke.receive(a_resolution_reply(request), HUB.nbma)
    effects = spoke.give(ConfigChanged(changed(spoke, path_check_s=3)), now=1.0)
    spoke.receive(answer(the(probes(effects))), nbma(3), now=1.1)
    assert path(spoke, 1.1) == "proven"
    assert spoke.shortcuts(1.1) == [("172.16.3.0/24", "10.255.255.3", "active")]


def test_switched_off_everything_goes_into_the_kernel_at_once() -> None:
    spoke, _ = an_answered_spoke()
    effects = spoke.give(ConfigChanged(changed(spoke, path_check_s=None)), now=0.1)
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(3), nbma(3))]
    assert path(spoke) is None


def test_switched_off_a_requester_at_a_clients_address_is_reached_too() -> None:
    spoke = a_spoke(2, path_check_s=3)
    spoke.receive(a_registration_request(6), nbma(9))
    ask = a_resolution_request(9, host(2))
    assert of(spoke.receive(ask, nbma(9)), SetNeighbor) == []
    effects = spoke.give(ConfigChanged(changed(spoke, path_check_s=None)), now=0.1)
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(9), nbma(9))]


def test_probe_goes_as_soon_as_there_is_an_sa() -> None:
    spoke = a_protected_spoke(path_check_s=3)
    request = the(sent(redirect(spoke, now=1.0), REQUEST))
    assert probes(spoke.receive(a_resolution_reply(request), HUB.nbma, now=1.0)) == []
    effects = spoke.give(installed(3), now=1.1)
    assert of(effects, SetNeighbor) == []
    probe = the(probes(effects))
    assert of(spoke.receive(answer(probe), nbma(3), now=1.2), SetNeighbor)


def test_probes_are_counted() -> None:
    spoke, probe = an_answered_spoke()
    spoke.receive(answer(probe), nbma(3), now=0.02)
    times(spoke, 4.5, REQUEST)
    spoke.advance(4.6)
    row = spoke.table(View.PROBES, "sent", "answered", "proven", "failed", "rtt_counts")[0]
    assert row == (4, 1, 1, 1, (0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0))
    assert a_spoke().rows(View.PROBES) == []


# The answering side.


def test_request_is_answered_when_the_path_to_its_sender_is_proven() -> None:
    egress = a_spoke(3, path_check_s=3)
    effects = ask(egress)
    assert sent(effects, REPLY) == []
    probe = the(probes(effects, 2))
    effects = egress.receive(answer(probe), nbma(2), now=0.1)
    to, reply = next(each for each in packets(effects) if each[1].type is REPLY)
    assert to == nbma(2)
    # Good for a minute: its sender has not shown that it would notice a dead path.
    assert the(reply.entries).holding_time_s == 60


def test_request_is_refused_while_the_path_does_not_carry() -> None:
    egress = a_spoke(3, path_check_s=3)
    ask(egress)
    times(egress, 1.9, REQUEST)
    refused = the(sent(egress.advance(2.0), REPLY))
    assert the(refused.entries).code == CieCode.INSUFFICIENT_RESOURCES
    assert (
        the(the(sent(ask(egress, now=3.0), REPLY)).entries).code == CieCode.INSUFFICIENT_RESOURCES
    )


def test_who_proves_paths_is_answered_at_once_and_for_longer() -> None:
    egress = a_spoke(3, path_check_s=3, holding_time_s=600)
    own = a_resolution_request(2, tunnel(3), extensions=())
    egress.receive(own, nbma(2))
    reply = the(sent(ask(egress, now=0.1), REPLY))
    assert the(reply.entries).holding_time_s == 600


@pytest.mark.parametrize("shortcut", [True, False])
def test_probe_is_answered_straight_however_often_it_comes(shortcut: bool) -> None:
    egress = a_spoke(3, path_check_s=3, shortcut=shortcut)
    own = a_resolution_request(2, tunnel(3), extensions=())
    for at in (0.0, 0.3, 3.0):
        replies = [
            to for to, each in packets(egress.receive(own, nbma(2), now=at)) if each.type is REPLY
        ]
        assert replies == [nbma(2)]


def test_probes_keep_no_binding_alive() -> None:
    """Two peers would keep each other for ever."""
    egress = a_spoke(3, path_check_s=3)
    egress.receive(answer(the(probes(ask(egress), 2))), nbma(2))
    own = a_resolution_request(2, tunnel(3), extensions=())
    asked = [0]
    for at in range(1, 100):
        news = egress.receive(own, nbma(2), now=float(at)) + egress.run(at + 0.1)
        for probe in probes(news, 2):
            asked.append(at)
            egress.receive(answer(probe), nbma(2), now=at + 0.1)
    assert asked[-1] in (57, 58, 59)  # its binding ended at 60
    assert "10.255.255.2" not in egress.cache(99.0)


def test_clients_and_servers_wait_for_nothing() -> None:
    hub = a_hub(2, 3, path_check_s=3)
    assert hub.cache()["10.255.255.2"] == ("dynamic", "192.168.100.2")
    assert len(sent(ask(hub, target=bytes([172, 16, 1, 10])), REPLY)) <= 1


def test_request_whose_sender_cannot_be_bound_makes_nobody_want_an_sa() -> None:
    """Nothing would ever release it."""
    egress = a_protected_spoke(path_check_s=3)
    asker = {"source_protocol": tunnel(4), "source_nbma": nbma(4)}
    effects = ask(egress, host(2), flags=0, now=1.0, **asker)
    assert wishes(effects) == []
    assert len(sent(effects, REPLY)) == 1


def test_requesters_without_an_sa_are_few_at_a_time() -> None:
    egress = a_protected_spoke(path_check_s=3)
    wanted = []
    for number in range(10, 100):
        asker = {"source_protocol": tunnel(number), "source_nbma": nbma(number)}
        wanted += wishes(ask(egress, host(2), now=1.0, **asker))
    assert len(wanted) == 8  # the others are answered by way of the hub, and may begin themselves


# Servers.


@pytest.mark.parametrize(("protected", "interval_s"), [(False, 10.0), (True, 60.0)])
def test_servers_are_asked_often_enough_to_notice_a_dead_one(
    protected: bool, interval_s: float
) -> None:
    make = a_protected_spoke if protected else a_spoke
    spoke = make(registered=False, path_check_s=3, holding_time_s=7200)
    effects = spoke.give(installed(1)) if protected else spoke.started
    request = the(sent(effects, PacketType.REGISTRATION_REQUEST))
    spoke.receive(a_registration_reply(request, granted_s=7200), HUB.nbma)
    assert times(spoke, 200.0, PacketType.REGISTRATION_REQUEST)[0] == pytest.approx(
        interval_s, abs=2.0
    )


def test_dead_server_is_lost_within_fifteen_seconds() -> None:
    spoke = a_spoke(path_check_s=3, holding_time_s=7200)
    times(spoke, 15.0, PacketType.REGISTRATION_REQUEST)
    assert spoke.table(View.NHS, "state", now=15.0) == [("probe",)]
