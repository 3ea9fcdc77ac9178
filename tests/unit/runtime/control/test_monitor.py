"""Watching notices as they happen."""

import json
from typing import Any

import trio

from nhrpd_py.core.notices import NhsUp
from nhrpd_py.runtime.control.notices import QUEUE_LENGTH
from tests.unit.runtime.control.api_client import fetch
from tests.unit.runtime.fake_daemon import a_daemon

UP = NhsUp(interface="gre1", protocol=bytes([10, 0, 0, 1]), nbma=bytes([192, 0, 2, 1]), name="hub")


async def open_monitor(path: str) -> trio.SocketStream:
    stream = await trio.open_unix_socket(path)
    await stream.send_all(b"GET /v1/monitor HTTP/1.1\r\nHost: x\r\n\r\n")
    head = b""
    while b"\r\n\r\n" not in head:
        head += await stream.receive_some()
    assert b"application/x-ndjson" in head
    return stream


async def test_a_watcher_gets_each_notice_as_it_happens(path) -> None:
    async with a_daemon(path) as daemon:
        stream = await open_monitor(path)
        await trio.testing.wait_all_tasks_blocked(0.05)
        daemon.notices.publish(UP)
        seen = b""
        while not seen.endswith(b"}\n\r\n"):
            seen += await stream.receive_some()
        row = json.loads(seen.split(b"\r\n")[1])
        assert row == {
            "time": 1_700_000_000.0,
            "event": "nhs.up",
            "level": "info",
            "interface": "gre1",
            "protocol": "10.0.0.1",
            "nbma": "192.0.2.1",
            "name": "hub",
        }
        await stream.aclose()


async def test_a_watcher_that_does_not_read_is_told_how_much_it_missed(path) -> None:
    async with a_daemon(path) as daemon:
        with daemon.notices.subscribe() as slow:
            for _ in range(QUEUE_LENGTH + 5):
                daemon.notices.publish(UP)
            rows: list[Any] = []
            while len(rows) < QUEUE_LENGTH:
                rows += await slow.take()
            daemon.notices.publish(UP)
            assert [row["event"] for row in rows] == ["nhs.up"] * QUEUE_LENGTH
            last = await slow.take()
        assert [(row["event"], row.get("lost")) for row in last] == [
            ("monitor.overflow", 5),
            ("nhs.up", None),
        ]


async def test_a_stopped_watcher_neither_holds_the_daemon_up_nor_its_end(path) -> None:
    with trio.fail_after(10):
        async with a_daemon(path) as daemon:
            stream = await open_monitor(path)
            await trio.testing.wait_all_tasks_blocked(0.05)
            for _ in range(200):
                for _ in range(100):
                    daemon.notices.publish(UP)
                await trio.lowlevel.checkpoint()
            await trio.sleep(0.1)
            assert await fetch(path, "/v1/cache")
        await stream.aclose()


async def test_a_watcher_that_hangs_up_frees_its_place(path) -> None:
    async with a_daemon(path) as daemon:
        for _ in range(3):
            stream = await open_monitor(path)
            await trio.testing.wait_all_tasks_blocked(0.02)
            await stream.aclose()
        with trio.fail_after(2):
            while daemon.notices._subscribers:  # noqa: ASYNC110 (there is nothing to wait for)
                await trio.sleep(0.01)
