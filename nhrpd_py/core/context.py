"""What all parts of one engine share: timers, routing, request ids, limits, and the list of effects being made.

Owned by the engine and passed to every entity that it creates. `emit` appends to the effects of the event that is
being handled; their order is the order of the calls.
"""

import random
from typing import Protocol

from nhrpd_py.core.address import Address, Afi
from nhrpd_py.core.base.limits import IntervalLimiter, TokenBucket
from nhrpd_py.core.base.timers import TimerQueue
from nhrpd_py.core.effects import Effect
from nhrpd_py.core.kernel.rib import Rib
from nhrpd_py.packet.message import Message
from nhrpd_py.packet.wire import DropReason

MAX_REQUEST_ID = 0xFFFFFFFF
MAX_OUTSTANDING = 8192
ERRORS_PER_S = 10.0
ERROR_BURST = 20.0
RESOLUTIONS_PER_S = 100.0
RESOLUTION_BURST = 500.0
"""What peers may make us ask by redirects; §5.2.1: not for every data packet."""
REDIRECT_INTERVAL_S = 2.0
MAX_REDIRECT_PAIRS = 4096
REMINDER_INTERVAL_S = 60.0


class Requester(Protocol):
    """Whoever waits for the answer to a request id."""

    def reply_received(self, message: Message, nbma_source: Address, now: float) -> None:
        """The reply to our outstanding request came; its id is still known."""

    def error_received(self, code: int, now: float) -> None:
        """An Error Indication about our outstanding request came."""


class Context:
    """See the module. `effects` is the list that the event in hand fills."""

    __slots__ = (
        "_request_id",
        "drops",
        "effects",
        "errors",
        "local_addresses",
        "outstanding",
        "redirects",
        "reminders",
        "resolutions",
        "ribs",
        "rng",
        "timers",
    )

    def __init__(self, *, rng: random.Random, now: float, first_request_id: int) -> None:
        self.rng = rng
        self.timers = TimerQueue()
        self.ribs = {afi: Rib(afi) for afi in Afi}
        self.local_addresses: dict[Address, int] = {}
        """Every address of this machine, with the number of links that have it."""
        self.outstanding: dict[int, Requester] = {}
        """Our unanswered requests by request id."""
        self.drops: dict[tuple[str | None, DropReason], int] = {}
        """Packets dropped, by interface name (None: of no known interface) and reason."""
        self.errors = TokenBucket(rate=ERRORS_PER_S, burst=ERROR_BURST, now=now)
        self.resolutions = TokenBucket(rate=RESOLUTIONS_PER_S, burst=RESOLUTION_BURST, now=now)
        self.redirects = IntervalLimiter(interval_s=REDIRECT_INTERVAL_S, limit=MAX_REDIRECT_PAIRS)
        self.reminders = IntervalLimiter(interval_s=REMINDER_INTERVAL_S, limit=MAX_REDIRECT_PAIRS)
        """For notices about a lasting state, such as a full table."""
        self.effects: list[Effect] = []
        self._request_id = (first_request_id - 1) & MAX_REQUEST_ID

    @property
    def request_id(self) -> int:
        """The last request id given out."""
        return self._request_id

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)

    def new_request(self, requester: Requester) -> int:
        """Gives out the next request id (RFC 2332 §5.2.0.1), to be answered to `requester`."""
        self._request_id = (self._request_id + 1) & MAX_REQUEST_ID or 1
        if len(self.outstanding) >= MAX_OUTSTANDING:
            del self.outstanding[next(iter(self.outstanding))]
        self.outstanding[self._request_id] = requester
        return self._request_id

    def release_request(self, request_id: int) -> None:
        self.outstanding.pop(request_id, None)

    def count_drop(self, interface: str | None, reason: DropReason) -> None:
        key = (interface, reason)
        self.drops[key] = self.drops.get(key, 0) + 1

    def jittered(self, seconds: float, share: float = 0.1) -> float:
        """Up to `share` less than `seconds`, so that many nodes do not move in step."""
        return seconds * (1 - share * self.rng.random())
