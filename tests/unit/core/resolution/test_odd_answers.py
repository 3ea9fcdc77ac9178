"""Answers to probes that prove nothing, and paths whose SA is late or lost."""

from dataclasses import replace

import pytest

from nhrpd_py.core.effects import DropNeighbor, SetNeighbor, SetRoute
from nhrpd_py.core.events import ConfigChanged
from nhrpd_py.core.notices import PathFailed
from nhrpd_py.core.resolution import gate as gate_module
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.iana import PacketType
from tests.support.engine import Node, a_spoke, drops, of, sent, the
from tests.support.ipsec import a_protected_spoke, gone, installed
from tests.support.messages import (
    TARGET,
    a_registration_reply,
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
from tests.support.sites import HUB, nbma, tunnel


def an_entry(prefix_length: int) -> ClientInformation:
    """The answer that spoke 3 serves a prefix."""
    return ClientInformation(
        prefix_length=prefix_length,
        holding_time_s=600,
        nbma=nbma(3),
        protocol=tunnel(3),
    )


def test_rubbish_with_the_id_of_a_probe_proves_nothing() -> None:
    spoke, probe = an_answered_spoke()
    for_another = replace(answer(probe), source_protocol=tunnel(9))
    assert not of(spoke.receive(for_another, nbma(3), now=0.1), SetNeighbor)
    effects = spoke.receive(a_registration_reply(probe), nbma(3), now=0.1)
    assert drops(effects) == ["unsolicited-reply"]
    assert not of(effects, SetNeighbor)
    spoke.run(1.9)
    assert of(spoke.advance(2.0), PathFailed)


def test_answers_by_way_of_the_hub_hasten_one_probe() -> None:
    spoke, probe = an_answered_spoke()
    second = the(probes(spoke.receive(answer(probe), HUB.nbma, now=0.05)))
    assert probes(spoke.receive(answer(second), HUB.nbma, now=0.06)) == []
    assert path(spoke, 0.06) == "trying"


def test_answer_by_way_of_the_hub_is_no_check_of_a_path_in_use() -> None:
    spoke = a_proven_spoke()
    probe = the(probes(spoke.run(3.0)))
    assert probes(spoke.receive(answer(probe), HUB.nbma, now=3.1)) == []
    spoke.run(4.4)
    effects = spoke.run(4.6)
    assert the(of(effects, PathFailed)).reason == (
        "nothing comes straight from 192.168.100.3, though our packets arrive there"
    )


def test_answer_that_comes_after_the_decision_ends_no_hold_down() -> None:
    """Or a path that takes three seconds would be in use and out of use in turn."""
    spoke, probe = an_answered_spoke()
    spoke.run(2.0)
    effects = spoke.receive(answer(probe), nbma(3), now=2.5)
    assert not of(effects, SetNeighbor)
    assert path(spoke, 2.5) == "failed"
    assert sent(redirect(spoke, now=3.0), REQUEST) == []


def test_changed_seconds_count_from_the_reload() -> None:
    spoke = a_proven_spoke()
    spoke.give(ConfigChanged(changed(spoke, path_check_s=20)), now=1.0)
    assert times(spoke, 25.0, REQUEST)[0] == 21.0


def a_waiting_spoke() -> Node:
    """A protected spoke that waits for the SA with its peer, since second 1."""
    spoke = a_protected_spoke(path_check_s=3)
    request = the(sent(redirect(spoke, now=1.0), REQUEST))
    spoke.receive(a_resolution_reply(request), HUB.nbma, now=1.0)
    return spoke


def test_sa_that_does_not_come_is_the_reason() -> None:
    effects = a_waiting_spoke().run(46.5)
    assert the(of(effects, PathFailed)).reason == "no security association in time"


def test_sa_that_others_kept_charon_from_making_is_no_failure_of_the_path() -> None:
    """Peers that do not answer keep charon busy for up to 40 s."""
    spoke = a_waiting_spoke()
    assert of(spoke.run(41.0), PathFailed) == []
    probe = the(probes(spoke.give(installed(3), now=41.0)))
    assert of(spoke.receive(answer(probe), nbma(3), now=41.1), SetNeighbor)


def test_path_of_a_lost_sa_is_proven_anew_over_the_next_one() -> None:
    spoke = a_waiting_spoke()
    probe = the(probes(spoke.give(installed(3), now=1.1)))
    assert of(spoke.receive(answer(probe), nbma(3), now=1.2), SetNeighbor)
    assert tunnel(3) in [each.address for each in of(spoke.give(gone(3), now=2.0), DropNeighbor)]
    assert path(spoke, 2.0) not in {"proven", "believed"}


def test_peer_in_its_hold_down_is_not_probed_however_often_it_is_named() -> None:
    egress = a_spoke(3, path_check_s=3)
    ask(egress)
    egress.run(2.0)
    assert probes(ask(egress, now=3.0), 2) == []
    assert probes(ask(egress, now=31.0), 2) == []


def test_requests_that_wait_are_few_and_the_oldest_makes_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate_module, "MAX_WAITING", 2)
    egress = a_spoke(3, path_check_s=3)
    asked = [ask(egress, bytes([172, 16, 3, last]), now=0.0) for last in (1, 2, 3)]
    probe = the(probes(asked[0], 2))
    replies = sent(egress.receive(answer(probe), nbma(2), now=0.1), REPLY)
    answered = [each.destination_protocol[-1] for each in replies]
    assert answered == [2, 3]
    assert all(each.type is PacketType.RESOLUTION_REPLY for each in replies)


def test_who_proves_paths_to_us_is_answered_in_its_hold_down_and_not_probed() -> None:
    egress = a_spoke(3, path_check_s=3)
    egress.receive(a_resolution_request(2, tunnel(3), extensions=()), nbma(2))
    ask(egress)
    assert of(egress.run(2.0), PathFailed)
    effects = ask(egress, now=3.0)
    assert len(sent(effects, REPLY)) == 1
    assert probes(effects, 2) == []


def test_believed_path_is_not_tried_again_for_another_prefix() -> None:
    """Its station is asked once every `path-check`, and no more, whatever leads there."""
    spoke, _ = an_answered_spoke()
    now = 0.0
    for hold_down_s in (30.0, 60.0):
        spoke.run(now + 2.0)
        now += 2.0 + hold_down_s
        spoke.run(now)
        request = the(sent(redirect(spoke, now=now), REQUEST))
        spoke.receive(a_resolution_reply(request), HUB.nbma, now=now)
    spoke.receive(a_resolution_request(3, TARGET, extensions=()), nbma(3), now=now + 0.1)
    spoke.run(now + 2.0)
    assert path(spoke, now + 2.0) == "believed"
    request = the(sent(redirect(spoke, bytes([172, 16, 4, 9]), now=now + 2.1), REQUEST))
    effects = spoke.receive(
        a_resolution_reply(request, entries=(an_entry(24),)), HUB.nbma, now=now + 2.1
    )
    assert "172.16.4.0/24" in [str(each.prefix) for each in of(effects, SetRoute)]
    assert probes(effects) == []


def test_reload_without_checks_changes_nothing() -> None:
    spoke, request = an_asking_spoke()
    spoke.receive(a_resolution_reply(request), HUB.nbma)
    assert spoke.give(ConfigChanged(changed(spoke, holding_time_s=500)), now=1.0) == []
