"""Signals at any moment of a real `nhrpd` process, from the first that it can catch."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nhrpd_py.cli.client import Client
from nhrpd_py.runtime.signals import ALL, EarlySignals, StopRequested

UNPRIVILEGED = """
import sys
from nhrpd_py.cli import daemon, startup
startup.missing_capabilities = list
sys.exit(daemon.main())
"""
"""It looks at links and serves its socket; what it may not do, it does not need here."""
PATIENCE_S = 30


class Process:
    """A daemon in a directory of its own."""

    def __init__(self, directory: Path, *command: str) -> None:
        self.socket = str(directory / "run" / "s")
        self._log = directory / "log"
        file = directory / "nhrpd.toml"
        file.write_text(
            f'[daemon]\ncontrol-socket = "{self.socket}"\nstate-directory = "{directory}/state"\n'
            "[interface.gre1]\nnetwork-id = 1\n"
        )
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command, "-c", str(file)], stdout=log, stderr=log
            )

    def log(self) -> str:
        return self._log.read_text()

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, f"not in time: {what}\n{self.log()}"
            time.sleep(0.002)

    def catches(self, number: signal.Signals) -> bool:
        """Whether the process has a handler of its own for a signal; Python has one for SIGINT."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("SigCgt:")]
        return bool(int(line.split()[1], 16) >> (number - 1) & 1)

    def ends_cleanly(self) -> None:
        assert self.process.wait(PATIENCE_S) == 0, self.log()
        assert "Traceback" not in self.log()
        assert not Path(self.socket).exists()


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def begin(*command: str) -> Process:
        started.append(Process(tmp_path, *command))
        return started[-1]

    yield begin
    for each in started:
        each.process.kill()
        each.process.wait()


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
