"""Why a resolution failed, and how long the address is left alone for that."""

from dataclasses import dataclass
from enum import Enum
from typing import Self

from nhrpd_py.packet.iana import CieCode, ErrorCode, describe_cie, describe_error

UNANSWERED_S = 60.0
"""How long an address that nobody answered for is left alone."""
REFUSED_S = 180.0
"""How long a refusal is believed; OpenNHRP's and Cisco's figure."""
BUSY_S = 30.0
"""The same for `insufficient resources`, which asks to come again."""


class FailureKind(Enum):
    NO_ANSWER = "no answer"
    """Nobody answered: that says nothing against the shortcut that we have."""
    REFUSED = "refused"
    """Somebody answered that there is no way, or complained about the request."""
    DENIED = "denied"
    """The answer is not believed, or the peer may not have what it says."""
    HELD_DOWN = "held down"
    """IKE cannot reach the peer."""
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
        """A Resolution Reply with a negative code (RFC 2332 §5.2.0.1)."""
        seconds = BUSY_S if code == CieCode.INSUFFICIENT_RESOURCES else REFUSED_S
        return cls(FailureKind.REFUSED, describe_cie(code), seconds)

    @classmethod
    def complaint(cls, code: int) -> Self:
        """An Error Indication about the request (RFC 2332 §5.2.7)."""
        final = code == ErrorCode.PROTOCOL_ADDRESS_UNREACHABLE
        return cls(FailureKind.REFUSED, describe_error(code), REFUSED_S if final else UNANSWERED_S)

    @classmethod
    def denied(cls, reason: str) -> Self:
        """An answer that we do not believe, or may not follow."""
        return cls(FailureKind.DENIED, reason, REFUSED_S)


NO_ANSWER = Failure(FailureKind.NO_ANSWER, "no answer", UNANSWERED_S)
NO_ROOM = Failure(FailureKind.NO_ROOM, "no room in the cache", BUSY_S)
