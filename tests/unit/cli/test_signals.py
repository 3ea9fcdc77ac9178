"""Signals at any moment of a real `nhrpd` process, from the first that it can catch."""

import signal
import time

import pytest

from nhrpd_py.cli.client import Client
from nhrpd_py.runtime.signals import ALL, EarlySignals, StopRequested
from tests.unit.cli.daemon_process import UNPRIVILEGED


@pytest.mark.parametrize("delay_ms", [0, 50, 100])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_the_daemon_is_still_being_imported(start, number, delay_ms) -> None:
    daemon = start("-m", "nhrpd_py.cli.daemon")
    daemon.until(lambda: daemon.catches(signal.SIGUSR2), "the handlers")
    time.sleep(delay_ms / 1000)
    daemon.process.send_signal(number)
    daemon.ends_cleanly()


@pytest.mark.parametrize("delay_ms", [0, 50, 100])
def test_a_stop_while_the_parts_of_the_daemon_are_starting(start, delay_ms) -> None:
    daemon = start("-c", UNPRIVILEGED)
    daemon.until(lambda: "state.absent" in daemon.log(), "the first line")
    time.sleep(delay_ms / 1000)
    daemon.process.send_signal(signal.SIGTERM)
    daemon.ends_cleanly()
    assert "daemon.stopped" in daemon.log()


def test_other_signals_end_nothing_and_an_early_reload_is_made_up_for(start) -> None:
    daemon = start("-c", UNPRIVILEGED)
    daemon.until(lambda: "state.absent" in daemon.log(), "the first line")
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        daemon.process.send_signal(number)
    daemon.until(lambda: "config.reloaded" in daemon.log(), "the reload")
    assert Client(daemon.socket).get("/v1/status")["problems"] == {}
    for name in ("SIGUSR1", "SIGUSR2"):
        assert daemon.log().count(f"signal.unused signal={name}") == 1
    daemon.process.send_signal(signal.SIGTERM)
    daemon.ends_cleanly()


def test_early_signals_are_kept_for_the_event_loop_and_given_back_in_the_end() -> None:
    before = {number: signal.getsignal(number) for number in ALL}
    with EarlySignals() as early:
        signal.raise_signal(signal.SIGHUP)
        with pytest.raises(StopRequested):
            signal.raise_signal(signal.SIGTERM)
        early.received.remove(signal.SIGTERM)
        early.hold()
        signal.raise_signal(signal.SIGINT)
        assert early.received == [signal.SIGHUP, signal.SIGINT]
    assert {number: signal.getsignal(number) for number in ALL} == before


def test_a_stop_whose_exception_was_lost_is_still_a_stop() -> None:
    with EarlySignals() as early:
        with pytest.raises(StopRequested):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(StopRequested):
            early.hold()
