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


class PeerBuckets:
    """A token bucket for each peer, and one for all: a peer that has used up its own leaves the others theirs.

    Holds at most MAX_PEERS peers; the one that took a token longest ago makes room.
    """

    __slots__ = ("_all", "_burst", "_of_peer", "_rate")

    def __init__(self, *, rate: float, burst: float, at_once: float, now: float) -> None:
        """`at_once` is how many peers may use up their limits together."""
        self._rate = rate
        self._burst = burst
        self._all = TokenBucket(rate=rate * at_once, burst=burst * at_once, now=now)
        self._of_peer: dict[Hashable, TokenBucket] = {}

    def __len__(self) -> int:
        return len(self._of_peer)

    def take(self, peer: Hashable, now: float) -> bool:
        """Takes a token of a peer; False when it, or all together, have none."""
        bucket = self._of_peer.pop(peer, None)
        if bucket is None:
            if len(self._of_peer) >= MAX_PEERS:
                del self._of_peer[next(iter(self._of_peer))]
            bucket = TokenBucket(rate=self._rate, burst=self._burst, now=now)
        self._of_peer[peer] = bucket
        return bucket.take(now) and self._all.take(now)


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


MAX_PEERS = 1024
PEERS_AT_ONCE = 10.0
"""So many peers may use up their limits of what they make us send, without taking from the others."""
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
        self.errors = PeerBuckets(
            rate=ERRORS_PER_S, burst=ERROR_BURST, at_once=PEERS_AT_ONCE, now=now
        )
        """Error Indications and refusals that we send, by the NBMA address that they go to."""
        self.resolutions = PeerBuckets(
            rate=RESOLUTIONS_PER_S, burst=RESOLUTION_BURST, at_once=PEERS_AT_ONCE, now=now
        )
        """Resolutions that redirects begin, by who sent the redirects."""
        self.redirects = IntervalLimiter(interval_s=REDIRECT_INTERVAL_S, limit=MAX_REDIRECT_PAIRS)
        """Traffic Indications, by pair of data addresses."""
