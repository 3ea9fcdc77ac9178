"""Request ids: drawn, given out once, forgotten."""

from nhrpd_py.core.base.requests import Requests
from nhrpd_py.packet.message import Message
from tests.support.engine import RequestIds


class Waiting:
    """An owner of requests that nothing happens to."""

    def came_rightly(self, subject: str, message: Message, nbma_source: bytes) -> bool:
        raise AssertionError

    def reply_received(
        self, subject: str, message: Message, nbma_source: bytes, now: float
    ) -> None:
        raise AssertionError

    def error_received(self, subject: str, code: int, now: float) -> None:
        raise AssertionError


def drawing(*numbers: int) -> Requests:
    return Requests(iter(numbers).__next__)


def test_request_ids_are_those_that_were_drawn() -> None:
    requests = drawing(0x9E3779B9, 5, 0xFFFFFFFF)
    found = [requests.new(Waiting(), "x") for _ in range(3)]
    assert found == [0x9E3779B9, 5, 0xFFFFFFFF]


def test_request_id_is_never_zero_and_has_32_bits() -> None:
    requests = drawing(0, 1 << 32, (1 << 32) + 7)
    assert requests.new(Waiting(), "x") == 7


def test_request_id_that_is_outstanding_is_not_given_out_again() -> None:
    requests = drawing(7, 7, 8, 7, 8, 9)
    assert [requests.new(Waiting(), "x"), requests.new(Waiting(), "x")] == [7, 8]
    assert requests.unused_id() == 9  # nor for a request that wants no reply
    assert list(requests.outstanding) == [7, 8]


def test_request_id_may_come_again_once_it_is_released() -> None:
    requests = drawing(7, 7)
    requests.release(requests.new(Waiting(), "x"))
    assert requests.new(Waiting(), "x") == 7


def test_releasing_an_unknown_request_is_harmless() -> None:
    requests = Requests(RequestIds())
    requests.release(0)
    assert not requests.outstanding
