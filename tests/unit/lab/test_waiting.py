"""Waiting for something in the lab: how often it is looked at."""

import pytest

from tools.lab import namespace
from tools.lab.namespace import LONGEST_PAUSE_S, wait_until


class Clock:
    """A time that passes only where somebody takes it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(namespace, "time", clock)
    return clock


@pytest.mark.parametrize(("takes_s", "pause_s"), [(0.01, 0.1), (0.1, 0.2), (3.0, LONGEST_PAUSE_S)])
def test_a_look_that_takes_long_is_followed_by_a_longer_pause(clock, takes_s, pause_s) -> None:
    looks = iter([False, False, True])

    def look() -> bool:
        clock.now += takes_s
        return next(looks)

    assert wait_until(look, 60.0, "it")
    assert clock.pauses == pytest.approx([pause_s] * 2)


def test_a_wait_fails_at_its_deadline_with_what_was_seen_last(clock) -> None:
    with pytest.raises(AssertionError, match="not within 1 s: it; last seen: 0"):
        wait_until(lambda: 0, 1.0, "it")
    assert clock.now == pytest.approx(1.0, abs=0.11)
