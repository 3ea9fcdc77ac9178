"""The CHILD_SAs that charon has installed, by the pair of outer addresses between which they are.

A pair carries traffic while it has at least one. There may be several: both ends initiated, a rekeying is going on, or
two peers hide behind one NAT address, which IPsec cannot tell apart. Owned by the engine, fed by charon's reports.
"""

from nhrpd_py.core.address import Address
from nhrpd_py.core.events import Association

Pair = tuple[Address, Address]


class Associations:
    """All CHILD_SAs, by pair of addresses."""

    __slots__ = ("_pairs", "_since", "known", "problem")

    def __init__(self) -> None:
        self.known = False
        """charon has reported all its SAs at least once."""
        self.problem: str | None = "waiting for charon"
        """Why charon cannot be asked just now, for people."""
        self._pairs: dict[Pair, dict[int, Association]] = {}
        self._since: dict[Pair, float] = {}

    def __contains__(self, pair: Pair) -> bool:
        return pair in self._pairs

    def add(self, association: Association, now: float) -> bool:
        """Adds or replaces an SA; returns whether it was unknown: charon reports all of them after each connect."""
        pair = association.local, association.remote
        of_pair = self._pairs.setdefault(pair, {})
        if of_pair.get(association.id) == association:
            return False
        of_pair.pop(association.id, None)  # the newest stands last
        of_pair[association.id] = association
        self._since.setdefault(pair, now)
        return True

    def remove(self, pair: Pair, identifier: int) -> bool:
        """Removes an SA; returns whether it was the last of its pair."""
        of_pair = self._pairs.get(pair)
        if of_pair is None or of_pair.pop(identifier, None) is None or of_pair:
            return False
        del self._pairs[pair]
        del self._since[pair]
        return True

    def of(self, pair: Pair) -> tuple[Association, ...]:
        """Returns the SAs of a pair, the newest last."""
        return tuple(self._pairs.get(pair, {}).values())

    def since(self, pair: Pair) -> float | None:
        """Returns when the pair began to carry traffic; None while it does not."""
        return self._since.get(pair)
