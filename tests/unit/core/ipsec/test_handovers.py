"""Where each identity has SAs: who comes and goes."""

import pytest

from nhrpd_py.core.ipsec import handovers as handovers_module
from nhrpd_py.core.ipsec.handovers import Contest, Handovers
from tests.support.sites import nbma

WHO = nbma(1), "spoke.example"


def move(handovers: Handovers, former: int, place: int, now: float) -> Contest | None:
    """An SA ends, and another address has one of the same identity a second later."""
    handovers.left(WHO, nbma(former), now)
    return handovers.arrived(WHO, nbma(place), now + 1.0)


def test_third_move_between_two_places_is_a_contest() -> None:
    handovers = Handovers()
    assert handovers.arrived(WHO, nbma(2), 0.0) is None
    assert move(handovers, 2, 3, 10.0) is None
    assert move(handovers, 3, 2, 20.0) is None
    contest = move(handovers, 2, 3, 30.0)
    assert contest is not None
    assert contest.places == (nbma(2), nbma(3))
    assert set(handovers.contests(nbma(1), 31.0)) == {nbma(2), nbma(3)}
    assert handovers.contests(nbma(9), 31.0) == {}


def test_an_sa_more_is_no_move() -> None:
    handovers = Handovers()
    handovers.arrived(WHO, nbma(2), 0.0)
    assert handovers.arrived(WHO, nbma(2), 1.0) is None
    assert handovers.left(WHO, nbma(7), 1.0) is None
    assert handovers.contests(nbma(1), 1.0) == {}


def test_who_left_longest_ago_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handovers_module, "MAX_LEFT", 1)
    handovers = Handovers()
    handovers.arrived(WHO, nbma(2), 0.0)
    other = nbma(1), "other.example"
    handovers.arrived(other, nbma(4), 0.0)
    for moved in range(3):
        handovers.left(WHO, nbma(2 + moved % 2), 10.0 * moved)
        handovers.left(other, nbma(4), 10.0 * moved)
        handovers.arrived(other, nbma(4), 10.0 * moved)
        assert handovers.arrived(WHO, nbma(3 - moved % 2), 10.0 * moved + 1.0) is None
    assert handovers.contests(nbma(1), 30.0) == {}
