"""Why a resolution failed, and how long the address is left alone for that.

The first refusal of an address may come from a server that has just started and has not learnt its routes yet: it is
believed for 5 s only, another one after it for as long as its code says.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Self

from nhrpd_py.core.address import Address
from nhrpd_py.packet.iana import CieCode, ErrorCode, describe_cie, describe_error

UNANSWERED_S = 60.0
"""How long a resolution without an answer stays negative."""
FIRST_REFUSED_S = 5.0
"""How long the first refusal of an address counts."""
REFUSED_S = 180.0
"""How long a refused resolution stays negative; OpenNHRP's and Cisco's figure."""
BUSY_S = 30.0
"""The same after `insufficient resources`, which is temporary."""
UNROUTED_S = 5.0
"""A routing daemon may be about to put a route back that gave way to one of ours."""
MAX_REFUSALS = 1024


class FailureKind(Enum):
    NO_ANSWER = "no answer"
    """No answer came; a shortcut that exists is kept."""
    REFUSED = "refused"
    """The reply is negative, or an Error Indication came."""
    BUSY = "busy"
    """The reply is negative for lack of resources."""
    DENIED = "denied"
    """The answer is not believed, or the peer may not claim its prefix."""
    HELD_DOWN = "held down"
    """IKE cannot reach the peer."""
    DESERTED = "deserted"
    """charon is away, so that no SA with the peer can be made or kept."""
    NO_ROOM = "no room"
    """The cache is full, or too many SAs are wanted already."""


@dataclass(frozen=True, slots=True)
class Failure:
    kind: FailureKind
    reason: str
    """For people."""
    lasts_s: float
    """How long the address is not asked for again."""

    @classmethod
    def refused(cls, code: int) -> Self:
        """Makes the failure of a Resolution Reply with a negative code (RFC 2332 §5.2.0.1).

        Our responders have no code of their own for a path that does not carry.
        """
        if code == CieCode.INSUFFICIENT_RESOURCES:
            reason = (
                f"{describe_cie(code)}: the other end has no room, or does not reach us directly"
            )
            return cls(FailureKind.BUSY, reason, BUSY_S)
        return cls(FailureKind.REFUSED, describe_cie(code), REFUSED_S)

    @classmethod
    def complaint(cls, code: int) -> Self:
        """Makes the failure of an Error Indication about the request (RFC 2332 §5.2.7)."""
        final = code == ErrorCode.PROTOCOL_ADDRESS_UNREACHABLE
        return cls(FailureKind.REFUSED, describe_error(code), REFUSED_S if final else UNANSWERED_S)

    @classmethod
    def stray(cls, reason: str) -> Self:
        """Makes the failure of an answer about an address that is not routed into the cloud, or not yet."""
        return cls(FailureKind.DENIED, reason, UNROUTED_S)

    @classmethod
    def denied(cls, reason: str) -> Self:
        """Makes the failure of an answer that we do not believe, or that the policy denies."""
        return cls(FailureKind.DENIED, reason, REFUSED_S)

    @classmethod
    def deserted(cls, reason: str) -> Self:
        """Makes the failure of an answer that leads to a spoke while charon is away."""
        return cls(FailureKind.DESERTED, reason, BUSY_S)


NO_ANSWER = Failure(FailureKind.NO_ANSWER, "no answer", UNANSWERED_S)
NO_ROOM = Failure(FailureKind.NO_ROOM, "no room in the cache", BUSY_S)


class Refusals:
    """Which addresses were refused lately; of one that is asked for anew the next refusal is not the first."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: dict[Address, float] = {}
        """Refused address → until when the next refusal counts as another one; the oldest first."""

    def lasts_s(self, target: Address, failure: Failure, now: float) -> float:
        """Returns how long a failure counts, and remembers a refusal."""
        if failure.kind is not FailureKind.REFUSED:
            return failure.lasts_s
        was_refused = self._until.pop(target, now) > now
        lasts_s = failure.lasts_s if was_refused else min(FIRST_REFUSED_S, failure.lasts_s)
        if len(self._until) >= MAX_REFUSALS:
            del self._until[next(iter(self._until))]
        self._until[target] = now + lasts_s + REFUSED_S
        return lasts_s

    def forget(self, target: Address) -> None:
        """Forgets the refusals of an address that was answered."""
        self._until.pop(target, None)

    def forget_all(self) -> None:
        self._until.clear()
