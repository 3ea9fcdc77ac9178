"""Identities whose SAs go from one peer's address to another's: a peer that moved, or two machines in turn.

Where charon keeps identities unique (`unique = replace`), two machines with one certificate, or one identity and
pre-shared key, end each other's SA. Each then makes its own anew, for ever. What ends here within a few seconds of a
beginning there is a handover; a rekeying is none, and neither is a machine that has SAs from both its uplinks at once.
"""

from typing import NamedTuple

from nhrpd_py.core.address import Address, format_address
from nhrpd_py.core.base.alternation import Alternation

HANDOVER_S = 5.0
"""How long from the end of the SA at one address to the beginning at the other, or the other way round."""
WINDOW_S = 600.0
MAX_LEFT = 4096
"""Identities of which it is remembered where they had an SA last."""

Who = tuple[Address, str]
"""Our own NBMA address, and the identity of the peer."""


class Contest(NamedTuple):
    """An identity that is at two addresses in turn, the present one last."""

    who: Who
    places: tuple[Address, Address]

    @property
    def reason(self) -> str:
        """What is wrong, for people, the addresses in a lasting order."""
        one, two = map(format_address, sorted(self.places))
        return (
            f"{self.who[1]} is used by {one} and {two} in turn: one certificate or identity on two machines, which "
            "end each other's security associations, or one machine whose uplink changes again and again"
        )


class Handovers:
    """Where each identity has SAs, and which are at two places in turn. Owned by the associations."""

    __slots__ = ("_alternation", "_at", "_left")

    def __init__(self) -> None:
        self._alternation: Alternation[Who] = Alternation()
        self._at: dict[Who, dict[Address, float]] = {}
        """Identity → the addresses with an SA of its, with the time since when."""
        self._left: dict[Who, tuple[Address, float]] = {}

    def arrived(self, who: Who, remote: Address, now: float) -> Contest | None:
        """Notes the first SA of an identity with an address; returns the contest where there is one."""
        present = self._at.setdefault(who, {})
        if remote in present:
            return None
        present[remote] = now
        former, at = self._left.get(who, (b"", 0.0))
        if not former or former in present or now - at > HANDOVER_S:
            return None
        return self._moved(who, former, remote, now)

    def left(self, who: Who, remote: Address, now: float) -> Contest | None:
        """Notes the end of the last SA of an identity with an address; returns what `arrived` does."""
        present = self._at.get(who, {})
        if present.pop(remote, None) is None:
            return None
        if not present:
            del self._at[who]
        self._left.pop(who, None)
        if len(self._left) >= MAX_LEFT:
            del self._left[next(iter(self._left))]
        self._left[who] = remote, now
        for other, since in reversed(present.items()):
            if now - since <= HANDOVER_S:
                return self._moved(who, remote, other, now)
        return None

    def contests(self, local: Address, now: float) -> dict[Address, Contest]:
        """Returns the contests of our address, by each of the peers' addresses."""
        found = [
            Contest(who, places) for who, places in self._alternation.all(now) if who[0] == local
        ]
        return {place: each for each in found for place in each.places}

    def _moved(self, who: Who, former: Address, place: Address, now: float) -> Contest | None:
        places = self._alternation.moved(who, former, place, now, WINDOW_S)
        return None if places is None else Contest(who, places)
