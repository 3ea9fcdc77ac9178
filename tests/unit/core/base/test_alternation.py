"""Who is at two places in turn, and who only moves."""

from itertools import pairwise

from nhrpd_py.core.base.alternation import MAX_PLACES, MAX_SUBJECTS, Alternation

A, B, C, D, E = (bytes([192, 0, 2, number]) for number in range(1, 6))


def moves(*places: bytes, every_s: float = 1.0, window_s: float = 60.0) -> Alternation[str]:
    alternation: Alternation[str] = Alternation()
    for number, (former, place) in enumerate(pairwise(places)):
        alternation.moved("x", former, place, number * every_s, window_s)
    return alternation


def test_the_third_move_between_the_same_two_is_the_sign() -> None:
    assert moves(A, B, A).places("x", 2.0) is None
    assert moves(A, B, A, B).places("x", 2.0) == (A, B)
    assert moves(A, B, C, A, B).places("x", 3.0) == (A, B)  # three of them


def test_who_travels_is_nowhere_twice() -> None:
    alternation = moves(A, B, C, D, E, A, B, C)
    assert alternation.places("x", 9.0) is None
    assert len(alternation._moves["x"].places) == MAX_PLACES


def test_moves_far_apart_are_moves() -> None:
    assert moves(A, B, A, B, A, every_s=61.0).places("x", 200.0) is None


def test_it_ends_when_nobody_moved_for_a_while() -> None:
    alternation = moves(A, B, A, B)
    assert alternation.places("x", 62.0) == (A, B)
    assert list(alternation.all(62.0)) == [("x", (A, B))]
    assert alternation.places("x", 62.1) is None
    assert list(alternation.all(62.1)) == []


def test_a_move_from_elsewhere_than_known_begins_anew() -> None:
    alternation = moves(A, B, A)
    alternation.moved("x", C, A, 3.0, 60.0)
    alternation.moved("x", A, C, 4.0, 60.0)
    assert alternation.places("x", 4.0) is None


def test_the_table_is_bounded() -> None:
    alternation: Alternation[int] = Alternation()
    for who in range(MAX_SUBJECTS + 10):
        for former, place in ((A, B), (B, A), (A, B)):
            alternation.moved(who, former, place, 0.0, 60.0)
    assert len(alternation) == MAX_SUBJECTS
    assert alternation.places(0, 0.0) is None
    assert alternation.places(MAX_SUBJECTS + 9, 0.0) == (A, B)
