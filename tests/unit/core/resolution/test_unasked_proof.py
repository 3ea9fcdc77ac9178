"""Who needs no proven path, and what is done for nobody: stations that registered, lost addresses, repeated answers."""

import pytest

from nhrpd_py.core.effects import DropNeighbor, SetNeighbor
from nhrpd_py.core.events import AddressRemoved, ConfigChanged
from nhrpd_py.core.notices import PathFailed, PathProven
from nhrpd_py.core.queries import View
from tests.support.engine import Node, a_hub, a_spoke, drops, of, sent, the
from tests.support.messages import (
    a_registration_request,
    a_resolution_reply,
    a_resolution_request,
    an_error_indication,
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


def test_client_that_registers_while_its_path_is_tried_waits_no_longer() -> None:
    """A hub that was just started is asked by clients that do not know that it has forgotten them."""
    hub = a_hub(path_check_s=3, shortcut=True)
    asked = hub.receive(a_resolution_request(2, host(1)), nbma(2))
    assert probes(asked, 2)
    assert of(asked, SetNeighbor) == []
    effects = hub.receive(a_registration_request(2), nbma(2), now=0.1)
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(2), nbma(2))]


def without_address(spoke: Node, *, outer: bool, now: float) -> None:
    spoke.give(
        AddressRemoved(UNDERLAY, nbma(2), 24) if outer else AddressRemoved(GRE, tunnel(2), 32),
        now=now,
    )


def with_address(spoke: Node, *, outer: bool, now: float) -> list[object]:
    own = an_address(UNDERLAY, nbma(2), 24) if outer else an_address(GRE, tunnel(2), 32)
    return list(spoke.give(own, now=now))


@pytest.mark.parametrize("outer", [True, False], ids=["outer", "tunnel"])
def test_nothing_is_probed_without_an_address_of_ours(outer: bool) -> None:
    """No answer could come back, so that silence says nothing of the path."""
    spoke = a_proven_spoke()
    without_address(spoke, outer=outer, now=1.0)
    assert times(spoke, 9.0, REQUEST) == []
    effects = with_address(spoke, outer=outer, now=10.0)
    spoke.receive(answer(the(probes(effects))), nbma(3), now=10.1)
    assert path(spoke, 10.1) == "proven"
    assert of(spoke.run(12.0), DropNeighbor) == []


def test_checks_that_are_switched_on_without_an_address_begin_when_there_is_one() -> None:
    spoke, request = an_asking_spoke()
    spoke.receive(a_resolution_reply(request), HUB.nbma)
    without_address(spoke, outer=True, now=1.0)
    assert sent(spoke.give(ConfigChanged(changed(spoke, path_check_s=3)), now=2.0)) == []
    assert len(probes(with_address(spoke, outer=True, now=3.0))) == 1


def test_requests_that_wait_are_forgotten_with_the_path_that_they_wait_for() -> None:
    egress = a_spoke(3, path_check_s=3)
    ask(egress, host(3, 11))
    egress.give(AddressRemoved(UNDERLAY, nbma(3), 24), now=0.5)
    egress.give(an_address(UNDERLAY, nbma(33), 24), now=1.0)
    probe = the(probes(ask(egress, now=1.5), 2))
    assert len(sent(egress.receive(answer(probe, responder=2), nbma(2), now=1.6), REPLY)) == 1


def test_reason_is_that_of_the_last_series_of_probes() -> None:
    """That the very first answer came by way of the hub says nothing of a path that breaks later."""
    spoke, probe = an_answered_spoke()
    again = the(probes(spoke.receive(answer(probe), HUB.nbma, now=0.05)))
    spoke.receive(answer(again), nbma(3), now=0.1)
    assert (
        the(of(spoke.run(6.0), PathFailed)).reason
        == "no answer on the direct path to 192.168.100.3"
    )


def test_answer_that_comes_again_and_again_proves_nothing() -> None:
    spoke, probe = an_answered_spoke()
    spoke.receive(answer(probe), nbma(3))
    failed = []
    for tenths in range(1, 50):
        now = tenths / 10
        failed += of(spoke.run(now), PathFailed)
        assert of(spoke.receive(answer(probe), nbma(3), now=now), PathProven) == []
    assert len(failed) == 1
    assert spoke.table(View.PROBES, "sent", "answered")[0] == (4, 1)


def test_error_about_a_probe_proves_nothing_and_came_by_no_wrong_way() -> None:
    spoke, probe = an_answered_spoke()
    effects = spoke.receive(an_error_indication(3, 6, probe), nbma(3))
    assert drops(effects) == []
    assert path(spoke) == "trying"


def test_what_failed_is_asked_for_at_once_when_checks_are_switched_off() -> None:
    spoke, _ = an_answered_spoke()
    assert of(spoke.run(2.0), PathFailed)
    spoke.give(ConfigChanged(changed(spoke, path_check_s=None)), now=3.0)
    request = the(sent(redirect(spoke, now=3.1), REQUEST))
    assert of(spoke.receive(a_resolution_reply(request), HUB.nbma, now=3.2), SetNeighbor)


def test_shorter_interval_holds_at_once() -> None:
    spoke, probe = an_answered_spoke()
    spoke.give(ConfigChanged(changed(spoke, path_check_s=60)), now=0.0)
    spoke.receive(answer(probe), nbma(3))
    spoke.give(ConfigChanged(changed(spoke, path_check_s=1)), now=1.0)
    assert times(spoke, 2.0, REQUEST) == [2.0]
