"""What the parts of an engine share."""

import random

import pytest

from nhrpd_py.core import context as context_module
from nhrpd_py.packet.message import Message
from nhrpd_py.packet.wire import DropReason
from tests.support.bench import a_context


class Waiting:
    """A requester that nothing happens to."""

    def reply_received(self, message: Message, nbma_source: bytes, now: float) -> None:
        raise AssertionError

    def error_received(self, code: int, now: float) -> None:
        raise AssertionError


def test_request_ids_count_up_from_the_first() -> None:
    context = a_context(first_request_id=100)
    assert [context.new_request(Waiting()) for _ in range(3)] == [100, 101, 102]
    assert context.request_id == 102


def test_request_ids_wrap_around_zero() -> None:
    context = a_context(first_request_id=0xFFFFFFFF)
    assert [context.new_request(Waiting()) for _ in range(2)] == [0xFFFFFFFF, 1]


def test_oldest_request_makes_room_in_a_full_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context_module, "MAX_OUTSTANDING", 2)
    context = a_context()
    for _ in range(3):
        context.new_request(Waiting())
    assert list(context.outstanding) == [2, 3]


def test_releasing_an_unknown_request_is_harmless() -> None:
    context = a_context()
    context.release_request(0)
    assert not context.outstanding


def test_drops_are_counted_by_interface_and_reason() -> None:
    context = a_context()
    context.count_drop("gre1", DropReason.NO_ROUTE)
    context.count_drop("gre1", DropReason.NO_ROUTE)
    context.count_drop(None, DropReason.UNKNOWN_INTERFACE)
    assert context.drops == {
        ("gre1", DropReason.NO_ROUTE): 2,
        (None, DropReason.UNKNOWN_INTERFACE): 1,
    }


def test_jitter_takes_away_a_tenth_at_most() -> None:
    context = a_context(rng=random.Random(1))
    spread = [context.jittered(100.0) for _ in range(200)]
    assert 90.0 <= min(spread) < 92.0
    assert 98.0 < max(spread) <= 100.0
