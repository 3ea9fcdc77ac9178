"""Request ids: given out, displaced, forgotten."""

import pytest

from nhrpd_py.core.base import requests as requests_module
from nhrpd_py.core.base.requests import Requests
from nhrpd_py.packet.message import Message


class Waiting:
    """An owner of requests that nothing happens to."""

    def reply_received(
        self, subject: str, message: Message, nbma_source: bytes, now: float
    ) -> None:
        raise AssertionError

    def error_received(self, subject: str, code: int, now: float) -> None:
        raise AssertionError


def test_request_ids_count_up_from_the_first() -> None:
    requests = Requests(100)
    assert [requests.new(Waiting(), "x") for _ in range(3)] == [100, 101, 102]
    assert requests.last_id == 102


def test_request_ids_wrap_around_zero() -> None:
    requests = Requests(0xFFFFFFFF)
    assert [requests.new(Waiting(), "x"), requests.next_id()] == [0xFFFFFFFF, 1]


def test_request_that_wants_no_reply_displaces_none() -> None:
    requests = Requests(1)
    requests.new(Waiting(), "x")
    requests.next_id()
    assert list(requests.outstanding) == [1]


def test_oldest_request_makes_room_in_a_full_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests_module, "MAX_OUTSTANDING", 2)
    requests = Requests(1)
    for _ in range(3):
        requests.new(Waiting(), "x")
    assert list(requests.outstanding) == [2, 3]


def test_releasing_an_unknown_request_is_harmless() -> None:
    requests = Requests(1)
    requests.release(0)
    assert not requests.outstanding
