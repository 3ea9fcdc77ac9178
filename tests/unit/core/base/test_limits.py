"""Limits on what others make us send."""

from nhrpd_py.core.base.limits import MAX_PEERS, IntervalLimiter, PeerBuckets, TokenBucket


def test_bucket_gives_a_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=2.0, burst=3.0, now=0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(0.4)
    assert bucket.take(0.5)
    assert not bucket.take(0.5)


def test_bucket_never_holds_more_than_its_burst() -> None:
    bucket = TokenBucket(rate=2.0, burst=3.0, now=0.0)
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]


def test_peers_have_a_limit_each_and_one_together() -> None:
    buckets = PeerBuckets(rate=1.0, burst=2.0, at_once=2.0, now=0.0)
    assert [buckets.take("a", 0.0) for _ in range(3)] == [True, True, False]
    assert [buckets.take("b", 0.0) for _ in range(3)] == [True, True, False]
    assert not buckets.take("c", 0.0)  # all have used up what there is for two
    assert buckets.take("a", 1.0)


def test_limits_of_peers_know_a_bounded_number_of_them() -> None:
    buckets = PeerBuckets(rate=1.0, burst=1.0, at_once=1e6, now=0.0)
    assert all(buckets.take(number, 0.0) for number in range(MAX_PEERS + 1))
    assert len(buckets) == MAX_PEERS
    assert buckets.take(0, 0.0)  # unknown again
    assert not buckets.take(MAX_PEERS, 0.0)


def test_limiter_lets_each_key_through_once_in_its_interval() -> None:
    limiter = IntervalLimiter(interval_s=2.0, limit=10)
    assert limiter.allows("a", 0.0)
    assert limiter.allows("b", 1.0)
    assert not limiter.allows("a", 1.9)
    assert limiter.allows("a", 2.0)
    assert not limiter.allows("a", 3.9)


def test_limiter_forgets_the_oldest_key_when_it_is_full() -> None:
    limiter = IntervalLimiter(interval_s=100.0, limit=2)
    limiter.allows("a", 0.0)
    limiter.allows("b", 1.0)
    limiter.allows("c", 2.0)
    assert len(limiter) == 2
    assert limiter.allows("a", 3.0)  # unknown again
    assert not limiter.allows("c", 3.0)


def test_limiter_that_forgets_lets_everything_through_again() -> None:
    limiter = IntervalLimiter(interval_s=100.0, limit=2)
    limiter.allows("a", 0.0)
    limiter.forget()
    assert limiter.allows("a", 0.0)
