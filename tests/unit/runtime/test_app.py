"""A whole run of the daemon: real engine, pump and control socket; the kernel's side is played."""

import json
import os
import signal
import socket
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import structlog
import trio

from nhrpd_py.cli.client import Client
from nhrpd_py.config.load import load
from nhrpd_py.core.config import Config
from nhrpd_py.core.events import LinkChanged
from nhrpd_py.runtime import app, listeners, pump, steered
from nhrpd_py.runtime.control.socket import ControlSocket
from nhrpd_py.runtime.netlink.nflog import NflogError


class PlayedKernel:
    """Takes every wish; tells of one link that is no tunnel."""

    last: ClassVar["PlayedKernel"]

    problems: ClassVar[dict[str, str]] = {}

    def __init__(self, inbox, routes, publish, found) -> None:
        self._inbox = inbox
        self.counters: Counter[str] = Counter()
        self.settled = self.gave_back = False
        PlayedKernel.last = self

    async def run(self, task_status=trio.TASK_STATUS_IGNORED) -> None:
        await self._inbox.put([LinkChanged(ifindex=1, name="lo", up=True, mtu=65536)])
        task_status.started()
        await trio.sleep_forever()

    async def settle(self, deadline_s: float) -> bool:
        self.settled = True
        return True

    async def give_back(self) -> None:
        assert self.settled
        self.gave_back = True

    def __getattr__(self, name: str):
        return lambda *_: None


class PlayedPackets:
    def __init__(self, inbox) -> None:
        self.counters: Counter[str] = Counter()
        self.drops = {"gre1": Counter({"oversized": 3, "overload": 0}), "gre2": Counter(overload=1)}

    async def run(self, task_status=trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()

    def __getattr__(self, name: str):
        return lambda *_: None


class PlayedGuard:
    """Leaves the policies of the machine that runs the tests alone."""

    def __init__(self, publish, refuse, mended) -> None:
        self.counters: Counter[str] = Counter()
        self.problems: dict[str, str] = {}

    def configure(self, protected) -> None:
        assert not protected

    def close(self) -> None: ...


class PlayedNflog:
    """Fails as often as it is told to, then works."""

    failures = 0

    def __init__(self, inbox, *, whole: bool = False) -> None:
        self.whole = whole
        self.counters: Counter[str] = Counter()

    async def run(self, group: int, task_status=trio.TASK_STATUS_IGNORED) -> None:
        if PlayedNflog.failures:
            PlayedNflog.failures -= 1
            raise NflogError(16, f"NFLOG group {group} is taken")
        task_status.started()
        await trio.sleep_forever()


@pytest.fixture
def played(monkeypatch):
    monkeypatch.setattr(app, "KernelStore", PlayedKernel)
    monkeypatch.setattr(app, "PacketSockets", PlayedPackets)
    monkeypatch.setattr(listeners, "Nflog", PlayedNflog)
    monkeypatch.setattr(app, "Guard", PlayedGuard)
    monkeypatch.setattr(app, "tame_garbage_collector", lambda: None)
    monkeypatch.setattr(PlayedNflog, "failures", 0)


class Run:
    """A daemon in a directory of its own."""

    def __init__(self, directory: Path, extra: str = "") -> None:
        self.directory = directory
        self.path = str(directory / "nhrpd.sock")
        text = f'[daemon]\ncontrol-socket = "{self.path}"\nstate-directory = "{directory}/state"\n'
        self.file = directory / "nhrpd.toml"
        self.file.write_text(f"{text}[interface.gre1]\nnetwork-id = 1\n{extra}")
        self.config = load(self.file)

    async def daemon(self, *earlier: signal.Signals) -> None:
        control = ControlSocket(self.path)
        try:
            await app.run(
                self.config,
                control,
                read=partial(load, self.file),
                log_level="error",
                log_format="json",
                earlier=earlier,
            )
        finally:
            control.close()

    async def get(self, target: str) -> dict[str, Any]:
        return await trio.to_thread.run_sync(Client(self.path).get, target)


async def test_a_signal_saves_the_state_withdraws_and_ends_the_daemon_cleanly(
    tmp_path, played
) -> None:
    run = Run(tmp_path)
    with trio.fail_after(20), structlog.testing.capture_logs() as lines:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.daemon)
            await trio.sleep(0.1)
            (row,) = (await run.get("/v1/interfaces"))["interfaces"]
            assert (row["interface"], row["ifindex"]) == ("gre1", None)
            assert row["problem"]
            os.kill(os.getpid(), signal.SIGTERM)
    assert PlayedKernel.last.gave_back
    assert not os.path.lexists(run.path)  # noqa: ASYNC240 (one look after the end)
    assert json.loads((tmp_path / "state" / "state.json").read_text())["version"] == 1
    assert [line["event"] for line in lines][-2:] == ["daemon.stopping", "daemon.stopped"]


async def test_the_request_ids_of_a_run_are_random(monkeypatch) -> None:
    """They come from the operating system, not from a generator that a peer could work out."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(pump, "Engine", lambda _config, **parts: given.update(parts))
    pump.make_engine(Config())
    drawn = [given["request_ids"]() for _ in range(1000)]
    assert len(set(drawn)) > 990
    assert max(drawn) < 1 << 32
    assert all(any(each >> bit & 1 for each in drawn) for bit in range(32))


async def test_packets_that_never_reached_the_engine_are_in_show_traffic(tmp_path, played) -> None:
    run = Run(tmp_path)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.daemon)
            await trio.sleep(0.1)
            every = (await run.get("/v1/traffic"))["traffic"]
            of_one = (await run.get("/v1/traffic?interface=gre1"))["traffic"]
            os.kill(os.getpid(), signal.SIGTERM)
    lost = {"interface": "gre1", "afi": None, "direction": "dropped", "type": "oversized"}
    assert of_one == [{**lost, "packets": 3}]
    assert [(row["interface"], row["type"]) for row in every] == [
        ("gre1", "oversized"),
        ("gre2", "overload"),
    ]


async def test_a_failing_nflog_is_shown_retried_and_never_fatal(
    tmp_path, played, monkeypatch
) -> None:
    monkeypatch.setattr(PlayedNflog, "failures", 1)
    monkeypatch.setattr(steered, "RETRY_S", 0.5)
    run = Run(tmp_path, "redirect = true\n")
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.daemon)
            await trio.sleep(0.1)
            problems = (await run.get("/v1/status"))["problems"]
            assert "NFLOG group 1 is taken" in problems["nflog"]
            await trio.sleep(1.0)
            assert (await run.get("/v1/status"))["problems"] == {}
            os.kill(os.getpid(), signal.SIGTERM)


async def test_the_group_for_multicast_is_bound_where_an_interface_has_targets(
    tmp_path, played, monkeypatch
) -> None:
    bound: list[tuple[bool, int]] = []
    work = PlayedNflog.run

    async def run_and_note(self, group, task_status=trio.TASK_STATUS_IGNORED) -> None:
        bound.append((self.whole, group))
        await work(self, group, task_status)

    monkeypatch.setattr(PlayedNflog, "run", run_and_note)
    run = Run(tmp_path)
    quiet = run.file.read_text()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.daemon)
            await trio.sleep(0.1)
            assert bound == []
            for text, expected in (
                (f"{quiet}multicast = ['dynamic']\n", [(True, 2)]),
                (quiet, []),
                (f"{quiet}multicast = ['dynamic']\n[nflog]\nmulticast-group = 9\n", [(True, 9)]),
            ):
                bound.clear()
                run.file.write_text(text)
                await trio.to_thread.run_sync(Client(run.path).post, "/v1/reload")
                assert bound == expected
            os.kill(os.getpid(), signal.SIGTERM)


async def test_a_second_signal_ends_a_stop_that_hangs(tmp_path, played, monkeypatch) -> None:
    async def hang(_self, _deadline_s: float) -> bool:
        await trio.sleep(3600)
        return False

    monkeypatch.setattr(PlayedKernel, "settle", hang)
    run = Run(tmp_path)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.daemon)
            await trio.sleep(0.2)
            os.kill(os.getpid(), signal.SIGTERM)
            await trio.sleep(0.2)
            os.kill(os.getpid(), signal.SIGTERM)


async def test_a_stop_that_came_earlier_starts_nothing(tmp_path, played, monkeypatch) -> None:
    async def fail(_self, task_status=trio.TASK_STATUS_IGNORED) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(PlayedPackets, "run", fail)
    with trio.fail_after(5), structlog.testing.capture_logs() as lines:
        await Run(tmp_path).daemon(signal.SIGHUP, signal.SIGTERM)
    assert [(line["event"], line.get("signal")) for line in lines][-2:] == [
        ("daemon.stopping", "SIGTERM"),
        ("daemon.stopped", None),
    ]


async def test_a_reload_that_was_asked_for_earlier_follows_the_start(tmp_path, played) -> None:
    run = Run(tmp_path)
    with trio.fail_after(20), structlog.testing.capture_logs() as lines:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.daemon, signal.SIGHUP, signal.SIGUSR1)
            while "config.reloaded" not in [line["event"] for line in lines]:  # noqa: ASYNC110
                await trio.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)
    assert [line["signal"] for line in lines if line["event"] == "signal.unused"] == ["SIGUSR1"]


async def test_a_part_that_fails_ends_the_daemon(tmp_path, played, monkeypatch) -> None:
    async def fail(_self, task_status=trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    monkeypatch.setattr(PlayedPackets, "run", fail)
    with pytest.raises(ExceptionGroup) as caught:
        await Run(tmp_path).daemon()
    assert caught.group_contains(ZeroDivisionError)


async def test_the_service_manager_hears_of_readiness_and_of_the_end(
    tmp_path, played, monkeypatch
) -> None:
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(10)
        run = Run(tmp_path)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run.daemon)
                ready = await trio.to_thread.run_sync(manager.recv, 4096)
                assert (await run.get("/v1/interfaces"))["interfaces"]
                os.kill(os.getpid(), signal.SIGTERM)
        stopping = manager.recv(4096)
    assert ready.startswith(b"READY=1\nSTATUS=0 peers; gre1: ")
    assert stopping.startswith(b"STOPPING=1\n")


async def test_a_reload_applies_the_file_or_leaves_everything_as_it_is(tmp_path, played):
    run = Run(tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.daemon)
        with trio.fail_after(10):
            await trio.testing.wait_all_tasks_blocked()  # the socket is bound
            good = run.file.read_text()
            run.file.write_text(good + "holding-time = 90\nredirect = true\n")
            answer = await trio.to_thread.run_sync(Client(run.path).post, "/v1/reload")
            assert answer["changes"] == ["interface gre1: holding-time, redirect"]
            (row,) = (await run.get("/v1/interfaces"))["interfaces"]
            assert (row["holding_time_s"], row["redirect"]) == (90, True)
            run.file.write_text(good + "holding-time = 0\n")
            answer = await trio.to_thread.run_sync(Client(run.path).post, "/v1/reload")
            assert "interface.gre1.holding-time: " in answer["problems"][0]
            (row,) = (await run.get("/v1/interfaces"))["interfaces"]
            assert row["holding_time_s"] == 90
        nursery.cancel_scope.cancel()
