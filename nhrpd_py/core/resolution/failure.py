"""Why a resolution failed, and how long the address is left alone for that."""

from dataclasses import dataclass
from enum import Enum
from typing import Self

from nhrpd_py.packet.iana import CieCode, ErrorCode, describe_cie, describe_error

UNANSWERED_S = 60.0
"""How long a resolution without an answer stays negative."""
REFUSED_S = 180.0
"""How long a refused resolution stays negative; OpenNHRP's and Cisco's figure."""
BUSY_S = 30.0
"""The same after `insufficient resources`, which is temporary."""


class FailureKind(Enum):
    NO_ANSWER = "no answer"
    """No answer came; a shortcut that exists is kept."""
    REFUSED = "refused"
    """The reply is negative, or an Error Indication came."""
    DENIED = "denied"
    """The answer is not believed, or the peer may not claim its prefix."""
    HELD_DOWN = "held down"
    """IKE cannot reach the peer."""
    DESERTED = "deserted"
    """charon is away, so that no SA with the peer can be made or kept."""
    NO_ROOM = "no room"
    """The cache is full."""


@dataclass(frozen=True, slots=True)
class Failure:
    kind: FailureKind
    reason: str
    """For people."""
    lasts_s: float
    """How long the address is not asked for again."""

    @classmethod
    def refused(cls, code: int) -> Self:
        """Makes the failure of a Resolution Reply with a negative code (RFC 2332 §5.2.0.1)."""
        seconds = BUSY_S if code == CieCode.INSUFFICIENT_RESOURCES else REFUSED_S
        return cls(FailureKind.REFUSED, describe_cie(code), seconds)

    @classmethod
    def complaint(cls, code: int) -> Self:
        """Makes the failure of an Error Indication about the request (RFC 2332 §5.2.7)."""
        final = code == ErrorCode.PROTOCOL_ADDRESS_UNREACHABLE
        return cls(FailureKind.REFUSED, describe_error(code), REFUSED_S if final else UNANSWERED_S)

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
