"""What ping(8) of iputils prints, read; with `-D -O` it prints a dated line for every request."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

_ANSWER = re.compile(r"(?m)^(?:\[[0-9.]+\] )?\d+ bytes from \S+ icmp_seq=(\d+)")
_REQUEST = re.compile(r"(?m)^(?:\[[0-9.]+\] ).*\bicmp_seq=(\d+)")
_DATED = re.compile(r"(?m)^\[([0-9.]+)\] ")
_SUMMARY = re.compile(r"(?m)^(\d+) packets transmitted, (\d+) received")


@dataclass(frozen=True, slots=True)
class PingResult:
    """What became of a number of requests."""

    sent: int
    received: int
    gaps: tuple[tuple[int, int], ...]
    """First and last sequence number of requests in a row that nobody answered."""
    output: str = field(repr=False)

    @property
    def lost(self) -> int:
        """Returns the number of unanswered requests."""
        return self.sent - self.received


def read_result(output: str, *, sent: int | None = None) -> PingResult | None:
    """Returns what became of the first `sent` requests, of all that ping counted if None.

    None when ping counted nothing.
    """
    if sent is None:
        counted = _SUMMARY.search(output)
        if counted is None:
            return None
        sent = int(counted[1])
    answered = {number for number in map(int, _ANSWER.findall(output)) if number <= sent}
    return PingResult(sent, len(answered), tuple(_gaps(answered, sent)), output)


def last_request(output: str) -> int:
    """Returns the highest sequence number of `ping -D -O` so far, 0 before the first."""
    return max(map(int, _REQUEST.findall(output)), default=0)


def first_answer_at(output: str) -> float | None:
    """Returns when the first answer to `ping -D` came, in seconds since 1970."""
    found = re.search(r"(?m)^\[([0-9.]+)\] \d+ bytes from ", output)
    return float(found[1]) if found else None


def longest_silence_s(output: str, since: float, until: float) -> float:
    """Returns the longest time in which `ping -D -O` printed nothing, in seconds.

    `since` and `until`, in seconds since 1970, are the ends of the time that is looked at.
    """
    dates = [at for at in map(float, _DATED.findall(output)) if since < at < until]
    return max(later - earlier for earlier, later in pairwise([since, *dates, until]))


def _gaps(answered: Iterable[int], sent: int) -> list[tuple[int, int]]:
    bounds = [0, *sorted(answered), sent + 1]
    return [(one + 1, two - 1) for one, two in pairwise(bounds) if two > one + 1]
