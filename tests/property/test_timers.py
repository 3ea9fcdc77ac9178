"""The timer queue against a plain dictionary of deadlines."""

from hypothesis import given
from hypothesis import strategies as st

from nhrpd_py.core.base.timers import TimerKey, TimerKind, TimerQueue
from tests.support.inspect import heap_size

keys = st.builds(TimerKey, st.sampled_from(TimerKind), st.just("gre1"), st.integers(0, 5))
instants = st.integers(0, 50).map(float)
steps = st.one_of(
    st.tuples(st.just("set"), keys, instants),
    st.tuples(st.just("stop"), keys, instants),
    st.tuples(st.just("pop"), keys, instants),
)


@given(st.lists(steps, max_size=60))
def test_a_queue_does_what_a_dictionary_of_deadlines_would(
    script: list[tuple[str, TimerKey, float]],
) -> None:
    queue = TimerQueue()
    model: dict[TimerKey, float] = {}
    for verb, key, instant in script:
        match verb:
            case "set":
                queue.set(key, instant)
                model[key] = instant
            case "stop":
                queue.stop(key)
                model.pop(key, None)
            case _:
                due = queue.pop_due(instant)
                if due is None:
                    assert all(at > instant for at in model.values())
                else:
                    at = model.pop(due)
                    assert at <= instant
                    assert all(at <= other for other in model.values())
        assert len(queue) == len(model)
        assert queue.next_deadline() == min(model.values(), default=None)
        assert all(queue.deadline(each) == at for each, at in model.items())


@given(st.lists(st.tuples(keys, instants), max_size=60), instants)
def test_due_timers_come_in_the_order_of_their_deadlines(
    armed: list[tuple[TimerKey, float]], now: float
) -> None:
    queue = TimerQueue()
    model: dict[TimerKey, float] = {}
    for key, at in armed:
        queue.set(key, at)
        model[key] = at
    popped = []
    while (key_due := queue.pop_due(now)) is not None:
        popped.append(model[key_due])
    assert popped == sorted(at for at in model.values() if at <= now)


@given(st.integers(1, 6), st.integers(1000, 3000))
def test_moving_timers_for_ever_does_not_grow_the_heap(timers: int, moves: int) -> None:
    queue = TimerQueue()
    for move in range(moves):
        queue.set(TimerKey(TimerKind.NHS_SEND, "gre1", move % timers), float(move))
    assert len(queue) == timers
    assert heap_size(queue) <= 1025
