"""Tunnel addresses that two stations claim in turn, each taking it from the other."""

from typing import NamedTuple

from nhrpd_py.core.address import Address, format_address
from nhrpd_py.core.base.alternation import Alternation

WINDOW_HOLDING_TIMES = 3
"""Moves that lie at most so many holding times apart count together: each end renews thrice in one."""
MIN_WINDOW_S, MAX_WINDOW_S = 60.0, 3600.0


class Contest(NamedTuple):
    """A tunnel address that is at two places in turn, the present one last."""

    protocol: Address
    places: tuple[Address, Address]

    @property
    def reason(self) -> str:
        """What is wrong, for people, the places in a lasting order."""
        one, two = map(format_address, sorted(self.places))
        address = format_address(self.protocol)
        return (
            f"{address} is claimed by {one} and {two} in turn: one tunnel address on two machines, "
            "or one machine whose uplink changes again and again"
        )


class Contests:
    """The contested tunnel addresses of one station."""

    __slots__ = ("_alternation",)

    def __init__(self) -> None:
        self._alternation: Alternation[Address] = Alternation()

    def moved(
        self, protocol: Address, former: Address, nbma: Address, holding_time_s: int, now: float
    ) -> Contest | None:
        """Notes that another NBMA address registered a tunnel address; returns the contest where there is one."""
        window_s = min(max(holding_time_s * WINDOW_HOLDING_TIMES, MIN_WINDOW_S), MAX_WINDOW_S)
        places = self._alternation.moved(protocol, former, nbma, now, window_s)
        return None if places is None else Contest(protocol, places)

    def problem(self, protocol: Address, now: float) -> str | None:
        """Returns what is wrong with a tunnel address, for people; None: nothing."""
        places = self._alternation.places(protocol, now)
        return None if places is None else Contest(protocol, places).reason

    def all(self, now: float) -> list[Contest]:
        """Returns the contests of all addresses."""
        return [Contest(protocol, places) for protocol, places in self._alternation.all(now)]
