"""The timer queue."""

from nhrpd_py.core.base.timers import TimerKey, TimerKind, TimerQueue
from tests.support.inspect import heap_size


def a_key(subject: object = b"a") -> TimerKey:
    return TimerKey(TimerKind.BINDING_EXPIRY, "gre1", subject)


def test_timers_come_in_the_order_of_their_deadlines() -> None:
    timers = TimerQueue()
    timers.set(a_key(b"late"), 20.0)
    timers.set(a_key(b"early"), 10.0)
    assert timers.next_deadline() == 10.0
    assert timers.pop_due(9.9) is None
    assert timers.pop_due(30.0) == a_key(b"early")
    assert timers.pop_due(30.0) == a_key(b"late")
    assert timers.pop_due(30.0) is None
    assert timers.next_deadline() is None


def test_timers_of_one_moment_come_in_the_order_of_arming() -> None:
    timers = TimerQueue()
    for subject in (b"c", b"a", b"b"):
        timers.set(a_key(subject), 1.0)
    due = [timers.pop_due(1.0) for _ in range(3)]
    assert due == [a_key(b"c"), a_key(b"a"), a_key(b"b")]


def test_arming_again_moves_a_timer_either_way() -> None:
    timers = TimerQueue()
    timers.set(a_key(), 10.0)
    timers.set(a_key(), 20.0)
    assert timers.deadline(a_key()) == 20.0
    assert timers.pop_due(15.0) is None
    timers.set(a_key(), 5.0)
    assert timers.pop_due(5.0) == a_key()
    assert len(timers) == 0


def test_stopped_timer_does_not_come_and_stopping_twice_is_harmless() -> None:
    timers = TimerQueue()
    timers.set(a_key(), 10.0)
    timers.stop(a_key())
    timers.stop(a_key())
    assert timers.next_deadline() is None
    assert timers.deadline(a_key()) is None


def test_timer_that_is_armed_anew_a_million_times_does_not_fill_the_memory() -> None:
    timers = TimerQueue()
    for at in range(5000):
        timers.set(a_key(), float(at))
    assert heap_size(timers) <= 1025
    assert timers.next_deadline() == 4999.0


def test_the_timers_of_one_interface_stop_together() -> None:
    timers = TimerQueue()
    other = TimerKey(TimerKind.BINDING_EXPIRY, "gre2", b"a")
    for key in (a_key(b"a"), a_key(b"b"), other):
        timers.set(key, 1.0)
    timers.stop_all("gre1")
    assert timers.pop_due(1.0) == other
    assert timers.pop_due(1.0) is None
