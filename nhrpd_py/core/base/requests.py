"""Our unanswered requests by request id, and who gets their replies and Error Indications. RFC 2332 §5.2.0.1."""

from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from nhrpd_py.core.address import Address
from nhrpd_py.packet.message import Message

MAX_REQUEST_ID = 0xFFFFFFFF
MAX_OUTSTANDING = 8192

S_contra = TypeVar("S_contra", contravariant=True)
S = TypeVar("S")


class RequestOwner(Protocol[S_contra]):
    """A machine that sends requests about its subjects: registrations, resolutions, purges."""

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

    def reply_received(self, message: Message, nbma_source: Address, now: float) -> None:
        """Passes the reply to the owner of the request."""
        self.owner.reply_received(self.subject, message, nbma_source, now)

    def error_received(self, code: int, now: float) -> None:
        """Passes the Error Indication to the owner of the request."""
        self.owner.error_received(self.subject, code, now)


class Requests:
    """Gives out request ids and remembers their owners; in a full table the oldest request is forgotten."""

    __slots__ = ("last_id", "outstanding")

    def __init__(self, first_id: int) -> None:
        self.last_id = (first_id - 1) & MAX_REQUEST_ID
        """The last id given out."""
        self.outstanding: dict[int, OutstandingRequest[Any]] = {}

    def new(self, owner: RequestOwner[S], subject: S) -> int:
        """Returns the next request id; replies to it go to `owner`."""
        identifier = self.next_id()
        if len(self.outstanding) >= MAX_OUTSTANDING:
            del self.outstanding[next(iter(self.outstanding))]
        self.outstanding[identifier] = OutstandingRequest(owner, subject)
        return identifier

    def next_id(self) -> int:
        """Returns the next request id, for a request that wants no reply; never 0."""
        self.last_id = (self.last_id + 1) & MAX_REQUEST_ID or 1
        return self.last_id

    def release(self, request_id: int) -> None:
        """Forgets a request; harmless for one that is not outstanding."""
        self.outstanding.pop(request_id, None)
