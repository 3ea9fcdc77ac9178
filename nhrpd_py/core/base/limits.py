"""Limits on what peers can make us send."""

from collections.abc import Hashable


class TokenBucket:
    """`rate` events a second on average, `burst` at once."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, *, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, now: float) -> bool:
        """Takes a token; False when there is none."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class IntervalLimiter:
    """Lets each key through once in `interval_s`. Holds at most `limit` keys; the oldest make room."""

    __slots__ = ("_interval_s", "_last", "_limit")

    def __init__(self, *, interval_s: float, limit: int) -> None:
        self._interval_s = interval_s
        self._limit = limit
        self._last: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._last)

    def allows(self, key: Hashable, now: float) -> bool:
        last = self._last.get(key)
        if last is not None:
            if now - last < self._interval_s:
                return False
            del self._last[key]  # so that it goes to the end: the dictionary stays in order of age
        elif len(self._last) >= self._limit:
            del self._last[next(iter(self._last))]
        self._last[key] = now
        return True

    def forget(self) -> None:
        self._last.clear()


ERRORS_PER_S = 10.0
ERROR_BURST = 20.0
RESOLUTIONS_PER_S = 100.0
RESOLUTION_BURST = 500.0
"""Resolutions that redirects may begin; §5.2.1: not for every data packet."""
REDIRECT_INTERVAL_S = 2.0
MAX_REDIRECT_PAIRS = 4096


class Limits:
    """The limits of one engine."""

    __slots__ = ("errors", "redirects", "resolutions")

    def __init__(self, now: float) -> None:
        self.errors = TokenBucket(rate=ERRORS_PER_S, burst=ERROR_BURST, now=now)
        """Error Indications and refusals that we send."""
        self.resolutions = TokenBucket(rate=RESOLUTIONS_PER_S, burst=RESOLUTION_BURST, now=now)
        """Resolutions that redirects begin."""
        self.redirects = IntervalLimiter(interval_s=REDIRECT_INTERVAL_S, limit=MAX_REDIRECT_PAIRS)
        """Traffic Indications, by pair of data addresses."""
