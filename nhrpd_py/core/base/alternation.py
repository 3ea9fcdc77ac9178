"""Notices who is at two places in turn: two machines that take the same thing from each other again and again."""

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from nhrpd_py.core.address import Address

Who = TypeVar("Who", bound=Hashable)

MAX_SUBJECTS = 1024
"""Whose moves are remembered; whoever moved longest ago makes room."""
MAX_PLACES = 4
RETURNS = 2
"""Moves back to a former place that make it a state: the third move between the same two."""


class _Moves:
    """The last moves of one subject."""

    __slots__ = ("at", "places", "returns", "window_s")

    def __init__(self, place: Address) -> None:
        self.places = [place]
        """The last one is the present place."""
        self.returns = 0
        self.at = 0.0
        self.window_s = 0.0


class Alternation(Generic[Who]):
    """The moves of anything between NBMA addresses."""

    __slots__ = ("_moves",)

    def __init__(self) -> None:
        self._moves: dict[Who, _Moves] = {}

    def __len__(self) -> int:
        return len(self._moves)

    def moved(
        self, who: Who, former: Address, place: Address, now: float, window_s: float
    ) -> tuple[Address, Address] | None:
        """Notes a move; returns both places where it is there and elsewhere in turn, else None.

        A move counts with the one before when that is at most `window_s` old.
        """
        moves = self._moves.pop(who, None)
        if moves is None or moves.places[-1] != former or now - moves.at > moves.window_s:
            moves = _Moves(former)
            if len(self._moves) >= MAX_SUBJECTS:
                del self._moves[next(iter(self._moves))]
        self._moves[who] = moves
        if place in moves.places:
            moves.returns += 1
            moves.places.remove(place)
        moves.places.append(place)
        del moves.places[:-MAX_PLACES]
        moves.at, moves.window_s = now, window_s
        return (former, place) if moves.returns >= RETURNS else None

    def places(self, who: Who, now: float) -> tuple[Address, Address] | None:
        """Returns the last two places of a subject that is there in turn."""
        moves = self._moves.get(who)
        if moves is None or moves.returns < RETURNS or now - moves.at > moves.window_s:
            return None
        return moves.places[-2], moves.places[-1]

    def all(self, now: float) -> Iterator[tuple[Who, tuple[Address, Address]]]:
        """Yields every subject that is at two places in turn, with these."""
        for who in self._moves:
            places = self.places(who, now)
            if places is not None:
                yield who, places
