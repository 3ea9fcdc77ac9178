"""The CHILD_SAs that charon has installed, by the pair of outer addresses between which they are.

A pair carries traffic while it has at least one SA. It may have several: both ends initiated, a rekeying is going on,
or two peers are behind one NAT address, which IPsec cannot tell apart. Owned by the engine, fed by charon's reports.
"""

from nhrpd_py.core.address import Address
from nhrpd_py.core.events import Association
from nhrpd_py.core.ipsec.handovers import Handovers
from nhrpd_py.core.ipsec.traffic import SaTraffic

Pair = tuple[Address, Address]

DESERTED_S = 20.0
"""How long charon may be away until the SAs with other spokes count as lost. Their dead peer detection gives us up
after about half a minute without traffic, and nobody here can answer it or notice that.
"""


class Associations:
    """All CHILD_SAs, by pair of addresses."""

    __slots__ = (
        "_pairs",
        "_since",
        "changes",
        "handovers",
        "known",
        "lost_at",
        "problem",
        "traffic",
    )

    def __init__(self) -> None:
        self.known = False
        """charon has reported all its SAs at least once."""
        self.problem: str | None = "waiting for charon"
        """Why charon cannot be reached now, for people."""
        self.lost_at: float | None = None
        """When charon was lost; None while it is there."""
        self.changes = 0
        """Counts how often a pair began or ceased to carry traffic."""
        self._pairs: dict[Pair, dict[int, Association]] = {}
        self._since: dict[Pair, float] = {}
        self.handovers = Handovers()
        self.traffic = SaTraffic()

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
        self.changes += 1
        return True

    def remove(self, pair: Pair, identifier: int) -> bool:
        """Removes an SA; returns whether it was the last of its pair."""
        of_pair = self._pairs.get(pair)
        if of_pair is None or of_pair.pop(identifier, None) is None or of_pair:
            return False
        self.changes += 1
        del self._pairs[pair]
        del self._since[pair]
        self.traffic.forget(pair)
        return True

    def of(self, pair: Pair) -> tuple[Association, ...]:
        """Returns the SAs of a pair, the newest last."""
        return tuple(self._pairs.get(pair, {}).values())

    def deserted(self, now: float) -> str | None:
        """Returns why no SA with another spoke can be relied upon any more, for people; None while they can."""
        if self.lost_at is None or now < self.lost_at + DESERTED_S:
            return None
        return f"charon has been away for {DESERTED_S:g} s, and the peer may have given its SA up"

    def from_address(self, local: Address) -> list[Association]:
        """Returns the SAs with which one of our addresses is an end."""
        return [
            each
            for (ours, _), of_pair in self._pairs.items()
            if ours == local
            for each in of_pair.values()
        ]

    def since(self, pair: Pair) -> float | None:
        """Returns when the pair began to carry traffic; None while it does not."""
        return self._since.get(pair)
