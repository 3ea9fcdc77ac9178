"""The control API's server under clients of all manners."""

import errno
import json
from functools import partial
from pathlib import Path

import structlog
import trio

from nhrpd_py.core.queries import View
from nhrpd_py.runtime.control import api, http
from nhrpd_py.runtime.control.http import MAX_CONNECTIONS
from nhrpd_py.runtime.control.json import ROWS_PER_SLICE
from tests.unit.runtime.control.api_client import curl, fetch, refusal
from tests.unit.runtime.fake_daemon import a_cache_row, a_daemon


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_ten_thousand_rows_arrive_whole_and_let_others_in_after_each_slice(path) -> None:
    async with a_daemon(path) as daemon:
        daemon.engine.rows[View.CACHE] = [a_cache_row(n) for n in range(10_000)]
        turns = 0

        async def pulse() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pulse)
            status, body = await curl(path, "GET", "/v1/cache")
            nursery.cancel_scope.cancel()
        rows = json.loads(body)["cache"]
        assert status == 200
        assert len({row["protocol"] for row in rows}) == 10_000
        assert turns >= 10_000 // ROWS_PER_SLICE


async def test_a_bug_behind_a_view_is_an_answer_and_the_daemon_goes_on(path) -> None:
    async with a_daemon(path) as daemon:
        del daemon.engine.rows[View.NHS]
        status, error = await refusal(path, "GET", "/v1/nhs")
        assert (status, error) == (500, "the daemon failed at this; its log tells why")
        assert await fetch(path, "/v1/cache")


async def test_garbage_on_the_socket_ends_only_its_connection(path) -> None:
    async with a_daemon(path):
        for garbage in (b"\0\xff\0\n\r\n\r\n", b"GET\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
            async with await trio.open_unix_socket(path) as stream:
                await stream.send_all(garbage)
                with trio.move_on_after(1):
                    while await stream.receive_some():
                        pass
        assert await fetch(path, "/v1/cache")


async def said_to(path: str, request: bytes) -> bytes:
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(request)
        with trio.fail_after(5):
            return b"".join([part async for part in stream])


async def test_http_2_is_not_spoken(path) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
    with structlog.testing.capture_logs() as lines:
        async with a_daemon(path):
            assert (await said_to(path, preface)).startswith(b"HTTP/1.1 505 ")
    assert lines == []


async def test_an_upgrade_to_http_2_is_not_taken(path) -> None:
    offer = (
        b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"
    )
    async with a_daemon(path):
        answer = await said_to(path, offer)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1


async def test_connections_beyond_the_limit_cost_no_descriptor_and_wait_for_their_turn(
    path,
) -> None:
    async with a_daemon(path):
        before = descriptors()
        idle = [await trio.open_unix_socket(path) for _ in range(MAX_CONNECTIONS + 50)]
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert descriptors() - before == len(idle) + MAX_CONNECTIONS
        for stream in idle:
            await stream.aclose()
        assert await fetch(path, "/v1/cache")
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert descriptors() == before


async def test_many_connections_at_once_are_all_served(path) -> None:
    async with a_daemon(path), trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(partial(fetch, path, "/v1/nhs"))


async def test_clients_that_leave_in_the_middle_of_an_answer_are_a_line_at_most(path) -> None:
    request = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
    with structlog.testing.capture_logs() as lines:
        async with a_daemon(path) as daemon:
            daemon.engine.rows[View.CACHE] = [a_cache_row(n) for n in range(10_000)]
            for octets in (0, 1, 100, 70_000):
                for target in (b"/v1/cache", b"/v1/status", b"/v1/monitor"):
                    stream = await trio.open_unix_socket(path)
                    await stream.send_all(request % target)
                    if octets:
                        with trio.move_on_after(0.05):
                            await stream.receive_some(octets)
                    await stream.aclose()
            assert await fetch(path, "/v1/nhs")
    assert {line["event"] for line in lines} <= {"control.client_left"}
    assert not any(line.get("exc_info") for line in lines)


async def test_a_client_that_leaves_its_request_half_sent_is_one_line(path) -> None:
    with structlog.testing.capture_logs() as lines:
        async with a_daemon(path) as daemon:
            stream = await trio.open_unix_socket(path)
            await stream.send_all(
                b"POST /v1/flush HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"
            )
            await stream.aclose()
            with trio.fail_after(5):
                while not lines:  # noqa: ASYNC110 (there is nothing to wait for)
                    await trio.sleep(0.01)
            assert daemon.engine.commands == []
    assert [line["event"] for line in lines] == ["control.client_left"]


async def test_a_client_that_keeps_its_request_half_sent_loses_its_place(path, monkeypatch) -> None:
    monkeypatch.setattr(api, "BODY_LIMIT_S", 0.05)
    async with a_daemon(path) as daemon, await trio.open_unix_socket(path) as stream:
        await stream.send_all(b"POST /v1/flush HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        answer = b""
        with trio.fail_after(20):
            async for part in stream:  # until it is closed
                answer += part
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"the rest did not come within 0.05 s" in answer
        assert daemon.engine.commands == []


async def test_a_shortage_of_descriptors_is_told_once_and_ends(path, monkeypatch) -> None:
    accept = trio.SocketListener.accept
    failures = [OSError(errno.EMFILE, "Too many open files")] * 3

    async def fail_first(listener: trio.SocketListener) -> trio.SocketStream:
        if failures:
            raise failures.pop()
        return await accept(listener)

    monkeypatch.setattr(trio.SocketListener, "accept", fail_first)
    monkeypatch.setattr(http, "ACCEPT_PAUSE_S", 0.01)
    with structlog.testing.capture_logs() as lines:
        async with a_daemon(path):
            assert await fetch(path, "/v1/nhs")
    assert not failures
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("control.no_room", "Too many open files")
    ]
