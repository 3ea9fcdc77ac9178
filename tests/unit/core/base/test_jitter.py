"""Jitter: periods are shortened a little."""

import random

from nhrpd_py.core.base.jitter import Jitter


def test_jitter_takes_away_a_tenth_at_most() -> None:
    jitter = Jitter(random.Random(1))
    spread = [jitter(100.0) for _ in range(200)]
    assert 90.0 <= min(spread) < 92.0
    assert 98.0 < max(spread) <= 100.0
