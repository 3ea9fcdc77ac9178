"""A ping of the lab sees all of its time, or says that it did not."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.lab.namespace import CommandFailedError, Namespace, RunningPing, wait_until
from tools.lab.ping import first_answer_at, last_request, longest_silence_s, read_result

SAID = """\
PING 10.255.255.1 (10.255.255.1) from 10.255.255.2 : 56(84) bytes of data.
[1764057600.250000] From 10.255.255.2 icmp_seq=1 Destination Host Unreachable
[1764057600.750000] no answer yet for icmp_seq=2
[1764057601.250000] 64 bytes from 10.255.255.1: icmp_seq=3 ttl=64 time=0.3 ms
[1764057601.500000] 64 bytes from 10.255.255.1: icmp_seq=3 ttl=64 time=250 ms (DUP!)
[1764057601.750000] 64 bytes from 10.255.255.1: icmp_seq=4 ttl=64 time=0.3 ms
[1764057603.250000] 64 bytes from 10.255.255.1: icmp_seq=6 ttl=64 time=0.3 ms

--- 10.255.255.1 ping statistics ---
7 packets transmitted, 3 received, +1 duplicates, +1 errors, 57.1429% packet loss, time 3000ms
"""


def test_what_nobody_answered_is_counted_and_named() -> None:
    result = read_result(SAID)
    assert result is not None
    assert (result.sent, result.received, result.lost) == (7, 3, 4)
    assert result.gaps == ((1, 2), (5, 5), (7, 7))


def test_only_what_was_sent_in_time_counts() -> None:
    result = read_result(SAID, sent=4)
    assert result is not None
    assert (result.sent, result.received, result.gaps) == (4, 2, ((1, 2),))


def test_without_an_answer_everything_is_one_gap() -> None:
    result = read_result("3 packets transmitted, 0 received, 100% packet loss, time 40ms\n")
    assert result is not None
    assert (result.lost, result.gaps) == (3, ((1, 3),))
    assert read_result("ping: connect: Network is unreachable\n") is None


def test_requests_answers_and_silence_have_their_times() -> None:
    assert last_request(SAID) == 6
    assert last_request("") == 0
    assert first_answer_at(SAID) == 1764057601.25
    assert first_answer_at(SAID.partition("64 bytes")[0]) is None
    assert longest_silence_s(SAID, 1764057600.0, 1764057603.5) == 1.5
    assert longest_silence_s(SAID, 1764057600.0, 1764057606.25) == 3.0
    assert longest_silence_s("", 10.0, 14.0) == 4.0


PROGRAM = """\
#!{python}
import signal, sys, time
count = 0
def end(*_):
    print(f"\\n{{count}} packets transmitted, {{count}} received", flush=True)
    sys.exit()
signal.signal(signal.SIGINT, end)
print("PING 10.255.255.1", flush=True)
while True:
    {turn}
    count += 1
    print(f"[{{time.time():.6f}}] 64 bytes from 10.255.255.1: icmp_seq={{count}} ttl=64", flush=True)
"""
FAST = "time.sleep(0.0005)"
PIPE_OCTETS = 1 << 16

Start = Callable[[str, float], RunningPing]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts a program that prints what ping prints, and does what a line says before each line."""

    def started(turn: str, interval_s: float) -> RunningPing:
        program = tmp_path / "ping"
        program.write_text(PROGRAM.format(python=sys.executable, turn=turn))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        monkeypatch.setattr(Namespace, "enter", lambda _, argv: [str(word) for word in argv])
        monkeypatch.setattr("tools.lab.namespace.LAST_ANSWER_S", 0.01)
        monkeypatch.setattr("tools.lab.namespace.PING_SILENCE_S", 0.5)
        return Namespace("none", directory=tmp_path).start_ping(
            "10.255.255.1", interval_s=interval_s
        )

    return started


def test_a_ping_that_says_more_than_a_pipe_holds_goes_on(start: Start) -> None:
    lines = 3 * PIPE_OCTETS // 60
    ping = start(FAST, 0.02)
    wait_until(
        lambda: last_request(ping.log.read_text()) > lines, 10.0, "three pipes full of lines"
    )
    result = ping.finish()
    assert (result.lost, result.gaps) == (0, ())
    assert result.sent > lines


def test_a_ping_that_ended_early_has_not_seen_everything(start: Start) -> None:
    ping = start("count < 20 or sys.exit(2)", 0.02)
    wait_until(lambda: last_request(ping.log.read_text()) == 20, 10.0, "twenty lines")
    time.sleep(0.1)
    with pytest.raises(CommandFailedError, match=r"ended by itself \(2\)"):
        ping.finish()


def test_a_ping_that_stood_still_has_not_seen_everything(start: Start) -> None:
    ping = start("time.sleep(30 if count == 1000 else 0.0005)", 0.02)
    wait_until(lambda: last_request(ping.log.read_text()) == 1000, 10.0, "a thousand lines")
    time.sleep(0.7)
    with pytest.raises(CommandFailedError, match="paused for"):
        ping.finish()


def test_a_ping_that_sends_less_than_it_should_has_not_seen_everything(start: Start) -> None:
    ping = start("time.sleep(0.1)", 0.02)
    time.sleep(1.0)
    with pytest.raises(CommandFailedError, match="requests, not"):
        ping.finish()
