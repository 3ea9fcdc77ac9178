"""What went through the SAs of each pair of addresses, as the kernel counts it.

An SA may be up while nothing comes through it: IKE passes a filter that ESP does not. What leaves and is never answered
explains the silence of a peer that is checked; it takes nothing down by itself.
"""

from dataclasses import dataclass

from nhrpd_py.core.address import Address
from nhrpd_py.core.events import SaCount

ONE_WAY_FROM = 3
"""Packets that left since the last one came."""


@dataclass(slots=True, eq=False)
class PairTraffic:
    """The counters of one pair, over the SAs that it has now."""

    count: SaCount
    unanswered: int
    """Packets that left since one came in."""

    never_heard: bool
    """Nothing came since the pair has SAs; those that a rekeying replaced count, too."""


class SaTraffic:
    """The counters of all pairs. Owned by the associations."""

    __slots__ = ("_pairs", "_totals")

    def __init__(self) -> None:
        self._pairs: dict[tuple[Address, Address], PairTraffic] = {}
        self._totals: dict[Address, tuple[int, int]] = {}
        """Our address → octets in and out since the start."""

    def of(self, pair: tuple[Address, Address]) -> PairTraffic | None:
        return self._pairs.get(pair)

    def update(self, count: SaCount) -> None:
        """Takes the counters of a pair, whose SAs may be others than before: then they begin anew."""
        pair = count.local, count.remote
        before = self._pairs.get(pair)
        known = before.count if before is not None else None
        if (
            known is None
            or count.packets_in < known.packets_in
            or count.packets_out < known.packets_out
        ):
            known = None
        octets_in = count.octets_in - (known.octets_in if known else 0)
        octets_out = count.octets_out - (known.octets_out if known else 0)
        total_in, total_out = self._totals.get(count.local, (0, 0))
        self._totals[count.local] = total_in + max(0, octets_in), total_out + max(0, octets_out)
        if known is None:
            unanswered = 0 if count.packets_in else count.packets_out
        elif count.packets_in > known.packets_in:
            unanswered = 0
        else:
            unanswered = (
                (before.unanswered if before else 0) + count.packets_out - known.packets_out
            )
        never_heard = count.packets_in == 0 and (before is None or before.never_heard)
        self._pairs[pair] = PairTraffic(count, unanswered, never_heard)

    def forget(self, pair: tuple[Address, Address]) -> None:
        """Forgets a pair that has no SA any more."""
        self._pairs.pop(pair, None)

    def totals(self, local: Address) -> tuple[int, int]:
        """Returns the octets that came in and went out by an address of ours, since the start."""
        return self._totals.get(local, (0, 0))

    def one_way(self, pair: tuple[Address, Address]) -> str | None:
        """Returns what the counters tell of a pair from which nothing comes, for people; None: nothing."""
        found = self._pairs.get(pair)
        if found is None or found.unanswered < ONE_WAY_FROM:
            return None
        return (
            f"the security association has sent {found.unanswered} packets and got none: ESP (protocol 50, behind "
            "NAT UDP port 4500) does not arrive here or there"
        )
