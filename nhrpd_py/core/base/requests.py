"""Our unanswered requests by request id, and who gets their replies and Error Indications. RFC 2332 §5.2.0.1.

An id is a random number of 32 bits: a peer that has seen one cannot tell the next, and answer in place of another. So
none has to be kept for the next run (§5.2.3), which draws other ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from nhrpd_py.core.address import Address
from nhrpd_py.packet.message import Message

MAX_REQUEST_ID = 0xFFFFFFFF

S_contra = TypeVar("S_contra", contravariant=True)
S = TypeVar("S")


class RequestOwner(Protocol[S_contra]):
    """A machine that sends requests about its subjects: registrations, resolutions, purges."""

    def came_rightly(self, subject: S_contra, message: Message, nbma_source: Address) -> bool:
        """Returns whether a reply, or an Error Indication, came by the way by which `subject` was asked for."""

    def reply_received(
        self, subject: S_contra, message: Message, nbma_source: Address, now: float
    ) -> None:
        """Handles the reply to the outstanding request about `subject`; its id is not released yet."""

    def error_received(self, subject: S_contra, code: int, now: float) -> None:
        """Handles an Error Indication for the outstanding request about `subject`."""


@dataclass(frozen=True, slots=True)
class OutstandingRequest(Generic[S]):
    """A request that waits for its reply."""

    owner: RequestOwner[S]
    subject: S

    def came_rightly(self, message: Message, nbma_source: Address) -> bool:
        """Returns whether a reply, or an Error Indication, came by the way that was asked."""
        return self.owner.came_rightly(self.subject, message, nbma_source)

    def reply_received(self, message: Message, nbma_source: Address, now: float) -> None:
        """Passes the reply to the owner of the request."""
        self.owner.reply_received(self.subject, message, nbma_source, now)

    def error_received(self, code: int, now: float) -> None:
        """Passes the Error Indication to the owner of the request."""
        self.owner.error_received(self.subject, code, now)


class Requests:
    """Gives out request ids and remembers their owners, each of which limits the number of its requests."""

    __slots__ = ("_draw", "outstanding")

    def __init__(self, draw: Callable[[], int]) -> None:
        """`draw` returns unpredictable numbers of 32 bits or more."""
        self._draw = draw
        self.outstanding: dict[int, OutstandingRequest[Any]] = {}

    def new(self, owner: RequestOwner[S], subject: S) -> int:
        """Returns a new request id; replies to it go to `owner`."""
        identifier = self.unused_id()
        self.outstanding[identifier] = OutstandingRequest(owner, subject)
        return identifier

    def unused_id(self) -> int:
        """Returns a request id for a request that wants no reply; never 0, nor one that is outstanding."""
        while True:
            identifier = self._draw() & MAX_REQUEST_ID
            if identifier and identifier not in self.outstanding:
                return identifier

    def release(self, request_id: int) -> None:
        """Forgets a request; harmless for one that is not outstanding."""
        self.outstanding.pop(request_id, None)
