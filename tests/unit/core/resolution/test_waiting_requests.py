"""Requests that wait for the path to their requester, and those that had better not."""

from typing import Any

import pytest

from nhrpd_py.core.notices import ResolutionAnswered
from nhrpd_py.packet.iana import CieCode
from tests.support.engine import a_spoke, kinds, of, sent, the
from tests.support.ipsec import a_protected_spoke, failed, installed, wishes
from tests.support.messages import a_resolution_request, nat_extension
from tests.support.paths import REPLY, REQUEST, answer, probes
from tests.support.resolution import FORWARDED, ask
from tests.support.sites import HUB, host, ip, nbma, tunnel


def asker(number: int, **fields: Any) -> dict[str, Any]:
    """The fields of a request of spoke N."""
    return {"source_protocol": tunnel(number), "source_nbma": nbma(number), **fields}


def test_requester_behind_nat_is_answered_by_way_of_the_hub_and_begins_the_sa_itself() -> None:
    egress = a_protected_spoke(path_check_s=3)
    translated = nat_extension((tunnel(4), nbma(200)))
    request = asker(4, source_nbma=ip("10.9.9.9"), extensions=(*FORWARDED, translated))
    effects = ask(egress, host(2), now=1.0, **request)
    assert wishes(effects) == []
    assert kinds(effects) == [(HUB.nbma, REPLY)]


def test_requester_that_ike_did_not_reach_just_now_may_reach_us() -> None:
    egress = a_protected_spoke(path_check_s=3)
    assert wishes(ask(egress, host(2), now=1.0, **asker(4))) == ["want 192.168.100.4"]
    egress.give(failed(4), now=11.0)
    effects = ask(egress, host(2), now=12.0, **asker(4))
    assert wishes(effects) == []
    assert kinds(effects) == [(HUB.nbma, REPLY)]
    assert the(the(sent(effects)).entries).code == CieCode.SUCCESS


@pytest.mark.parametrize(
    "fields",
    [
        asker(4, source_protocol=ip("8.8.8.8")),
        asker(4, source_nbma=nbma(3)),
        asker(4, source_nbma=nbma(3), flags=0),
    ],
    ids=["outside the cloud", "our own outer address", "and not to be bound"],
)
def test_who_is_not_believed_is_answered_and_nothing_is_sent_where_it_says_it_is(
    fields: dict[str, Any],
) -> None:
    egress = a_spoke(3, path_check_s=3)
    assert kinds(ask(egress, **fields)) == [(HUB.nbma, REPLY)]
    assert sent(egress.run(2.5), REQUEST) == []


def test_who_asks_much_displaces_no_request_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nhrpd_py.core.resolution.gate.MAX_WAITING", 8)
    egress = a_spoke(3, path_check_s=3)
    probe = the(probes(ask(egress), 2))
    for last in range(20, 120):
        ask(egress, host(3, last), **asker(4))
    assert len(sent(egress.receive(answer(probe), nbma(2), now=0.1), REPLY)) == 1


def test_who_asks_as_many_stations_displaces_no_request_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nhrpd_py.core.resolution.gate.MAX_WAITING", 8)
    egress = a_spoke(3, path_check_s=3)
    probe = the(probes(ask(egress), 2))
    for number in range(20, 120):
        egress.receive(a_resolution_request(source_protocol=tunnel(number)), nbma(4))
    assert len(sent(egress.receive(answer(probe), nbma(2), now=0.1), REPLY)) == 1


def test_answers_to_probes_are_no_news() -> None:
    egress = a_spoke(3, path_check_s=3)
    probe = a_resolution_request(2, tunnel(3), extensions=())
    effects = egress.receive(probe, nbma(2))
    assert sent(effects, REPLY)
    assert of(effects, ResolutionAnswered) == []


def test_sa_that_the_requester_begins_ends_the_hold_down() -> None:
    egress = a_protected_spoke(path_check_s=3)
    ask(egress, host(2), now=1.0, **asker(4))
    egress.give(failed(4), now=11.0)
    egress.give(installed(4), now=12.0)
    assert probes(ask(egress, host(2), now=13.0, **asker(4)), 4)
