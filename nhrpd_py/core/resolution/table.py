"""The addresses that are being resolved, or could not be: a table with a limit, in which none starves the others."""

from collections.abc import Hashable, ValuesView
from dataclasses import dataclass
from enum import Enum, StrEnum

from nhrpd_py.core.address import Address
from nhrpd_py.core.base.shares import Shares

MAX_RESOLUTIONS = 1024
UNUSABLE = "unusable answers"
"""Who causes the negative results of answers that turned out to be unusable."""


class Trigger(StrEnum):
    REDIRECT = "redirect"
    KERNEL = "kernel"
    OPERATOR = "operator"
    RENEWAL = "renewal"


class ResolutionState(Enum):
    ASKING = "asking"
    NEGATIVE = "negative"


@dataclass(slots=True, eq=False)
class Resolution:
    """An overlay address that is being resolved, or could not be."""

    target: Address
    trigger: Trigger
    started_at: float
    state: ResolutionState = ResolutionState.ASKING
    request_id: int = 0
    """The id of the unanswered request; 0 once the result is negative."""
    requests: int = 0
    """Sent so far."""
    asked: tuple[Address, ...] = ()
    """The NBMA addresses to which they were sent."""
    until: float = 0.0
    """When the next request is sent, or the negative result forgotten."""
    held_down: bool = False
    """It is negative because its peer is left alone for a while."""
    reason: str | None = None
    """Why the result is negative, for people."""


class ResolutionTable:
    """Resolutions by target. Of each is known who caused it: the peer that sent the redirect, else the trigger."""

    __slots__ = ("_resolutions", "_shares")

    def __init__(self) -> None:
        self._resolutions: dict[Address, Resolution] = {}
        self._shares: Shares[Address] = Shares()

    def __len__(self) -> int:
        return len(self._resolutions)

    def __contains__(self, target: Address) -> bool:
        return target in self._resolutions

    def get(self, target: Address) -> Resolution | None:
        return self._resolutions.get(target)

    def values(self) -> ValuesView[Resolution]:
        return self._resolutions.values()

    @property
    def is_full(self) -> bool:
        return len(self._resolutions) >= MAX_RESOLUTIONS

    def victim(self) -> Resolution:
        """Returns the one that makes room, of who caused most: the negative one that ends first, else the oldest."""
        theirs = [self._resolutions[target] for target in self._shares.of_largest()]
        negative = [each for each in theirs if each.state is ResolutionState.NEGATIVE]
        return min(negative, key=lambda each: each.until, default=theirs[0])

    def add(self, resolution: Resolution, user: Hashable) -> None:
        """Adds a resolution that `user` caused."""
        self._resolutions[resolution.target] = resolution
        self._shares.add(resolution.target, user)

    def remove(self, resolution: Resolution) -> None:
        del self._resolutions[resolution.target]
        self._shares.discard(resolution.target)
