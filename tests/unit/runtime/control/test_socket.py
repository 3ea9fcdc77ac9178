"""The control socket and its API, over a real Unix socket."""

import fcntl
import json
import os
import socket
import stat
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from nhrpd_py.core.address import Prefix
from nhrpd_py.core.effects import AnswerCommand
from nhrpd_py.core.notices import NhsUp
from nhrpd_py.core.queries import Flush, FlushWhat, Query, Resolve, View
from nhrpd_py.runtime.control import socket as control
from nhrpd_py.runtime.control.http import MAX_CONNECTIONS, ROWS_PER_SLICE
from nhrpd_py.runtime.control.notices import QUEUE_LENGTH
from nhrpd_py.runtime.control.socket import ControlSocket, ControlSocketError
from tests.unit.runtime.fake_daemon import a_cache_row, a_daemon, an_interface_row, an_sa_row

UP = NhsUp(interface="gre1", protocol=bytes([10, 0, 0, 1]), nbma=bytes([192, 0, 2, 1]), name="hub")


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "run" / "nhrpd.sock")


async def curl(path: str, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
    """One request on a connection of its own; understands just enough HTTP to be a second opinion."""
    head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(head.encode() + body)
        answer = b""
        async for part in stream:
            answer += part
    headers, _, rest = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in headers.lower():
        whole = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            whole += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        rest = whole
    return int(headers.split()[1]), rest


async def fetch(path: str, target: str) -> Any:
    status, body = await curl(path, "GET", target)
    assert status == 200, body
    return json.loads(body)


async def refusal(path: str, method: str, target: str, body: object = None) -> tuple[int, str]:
    data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
    status, answer = await curl(path, method, target, data)
    return status, json.loads(answer)["error"]


# Who owns the socket.


def test_the_socket_is_for_owner_and_group_only(path) -> None:
    ours = ControlSocket(path)
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o660
    assert stat.S_IMODE(Path(path).parent.stat().st_mode) == 0o755
    ours.close()
    assert not Path(path).exists()


def test_a_second_daemon_is_refused_and_told_who_is_there(path) -> None:
    first = ControlSocket(path)
    with pytest.raises(
        ControlSocketError, match=f"another nhrpd .process {os.getpid()}. is running"
    ):
        ControlSocket(path)
    assert stat.S_ISSOCK(Path(path).stat().st_mode)
    first.close()
    ControlSocket(path).close()


def test_the_socket_of_a_daemon_that_was_killed_is_replaced(path) -> None:
    script = f"from nhrpd_py.runtime.control.socket import ControlSocket; ControlSocket({path!r}); "
    script += "import os; os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", script], check=False)
    assert Path(path).exists()
    ControlSocket(path).close()


def test_a_living_socket_of_another_program_is_left_alone(path) -> None:
    Path(path).parent.mkdir()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        with pytest.raises(ControlSocketError, match="another process answers"):
            ControlSocket(path)
    assert Path(path).exists()


def test_a_file_that_is_no_socket_is_left_alone(path) -> None:
    Path(path).parent.mkdir()
    Path(path).write_text("precious")
    with pytest.raises(ControlSocketError, match="is not a socket"):
        ControlSocket(path)
    assert Path(path).read_text() == "precious"


def test_a_link_in_place_of_the_lock_is_not_written_through(path, tmp_path) -> None:
    Path(path).parent.mkdir()
    (tmp_path / "victim").write_text("precious")
    Path(f"{path}.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(ControlSocketError, match="symbolic links"):
        ControlSocket(path)
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_lock_that_is_no_file_is_refused_and_one_of_garbage_is_a_lock(path) -> None:
    lock = Path(f"{path}.lock")
    lock.parent.mkdir()
    os.mkfifo(lock)
    with pytest.raises(ControlSocketError, match="lock exists and is not a file"):
        ControlSocket(path)
    lock.unlink()
    lock.write_bytes(b"\xff\xfe")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ControlSocketError, match="another nhrpd"):
            ControlSocket(path)
    ControlSocket(path).close()


def test_a_group_that_does_not_exist_is_named(path) -> None:
    with pytest.raises(ControlSocketError, match="no-such-group"):
        ControlSocket(path, "no-such-group")
    ControlSocket(path).close()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# What it answers.


@pytest.mark.parametrize("view", list(View))
async def test_each_view_is_an_object_with_its_rows(path, view) -> None:
    async with a_daemon(path) as daemon:
        document = await fetch(path, f"/v1/{view}")
        assert list(document) == [view.value]
        (row, *_) = document[view.value]
        assert list(row) == list(type(daemon.engine.rows[view][0]).__dataclass_fields__)


async def test_values_are_those_of_the_row_and_unknown_ones_null(path) -> None:
    async with a_daemon(path):
        (row,) = (await fetch(path, "/v1/cache"))["cache"]
        assert (row["expires_in_s"], row["nat"], row["identity"]) == (65.4, True, None)
        (row,) = (await fetch(path, "/v1/interfaces"))["interfaces"]
        assert row["addresses"] == ["10.0.0.7/24"]


async def test_an_empty_view_is_an_empty_list(path) -> None:
    async with a_daemon(path) as daemon:
        daemon.engine.rows[View.CACHE] = []
        assert await fetch(path, "/v1/cache") == {"cache": []}


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


async def test_an_interface_can_be_picked(path) -> None:
    async with a_daemon(path) as daemon:
        await fetch(path, "/v1/cache?interface=gre1")
        assert daemon.engine.queries[-1] == Query(view=View.CACHE, interface="gre1")


async def test_security_associations_are_those_of_the_interface_asked_for(path) -> None:
    async with a_daemon(path) as daemon:
        mine, other = an_sa_row(local_nbma="192.0.2.7"), an_sa_row(local_nbma="198.51.100.7")
        daemon.charon = [mine, other]
        assert (await fetch(path, "/v1/sas"))["sas"] == [asdict(mine), asdict(other)]
        assert (await fetch(path, "/v1/sas?interface=gre1"))["sas"] == [asdict(mine)]


async def test_what_does_not_exist_is_said_in_a_sentence(path) -> None:
    async with a_daemon(path):
        assert await refusal(path, "GET", "/v1/cash") == (404, "there is no view 'cash'")
        assert await refusal(path, "GET", "/v1/cache?interface=gre9") == (
            404,
            "no interface 'gre9' is configured",
        )


async def test_status_tells_version_problems_and_counters(path) -> None:
    async with a_daemon(path) as daemon:
        daemon.problems["nflog"] = "group 1 is taken"
        status = await fetch(path, "/v1/status")
        assert (status["pid"], status["uptime_s"]) == (os.getpid(), 12.5)
        assert status["problems"] == {"nflog": "group 1 is taken"}
        assert status["counters"] == {"packets": {"received": 7}}


async def test_a_failing_nflog_shows_where_redirects_are_wanted(path) -> None:
    async with a_daemon(path) as daemon:
        daemon.engine.rows[View.INTERFACES] = [
            an_interface_row(),
            an_interface_row(interface="gre2", redirect=False),
            an_interface_row(interface="gre3", problem="no underlay"),
        ]
        daemon.problems["nflog"] = "group 1 is taken"
        rows = (await fetch(path, "/v1/interfaces"))["interfaces"]
        assert [row["problem"] for row in rows] == ["group 1 is taken", None, "no underlay"]


async def test_a_flush_reaches_the_engine_and_its_answer_comes_back(path) -> None:
    async with a_daemon(path) as daemon:
        order = {
            "what": "cache",
            "interface": "gre1",
            "protocol": "10.0.0.5/8",
            "nbma": "192.0.2.1",
        }
        status, body = await curl(path, "POST", "/v1/flush", json.dumps(order).encode())
        assert (status, json.loads(body)) == (
            200,
            {"matched": 3, "refused": None, "detail": "3 bindings forgotten"},
        )
        assert daemon.engine.commands == [
            Flush(
                what=FlushWhat.CACHE,
                interface="gre1",
                protocol=Prefix(bytes([10, 0, 0, 0]), 8),
                nbma=bytes([192, 0, 2, 1]),
            )
        ]


async def test_a_flush_without_a_body_means_everything(path) -> None:
    async with a_daemon(path) as daemon:
        assert (await curl(path, "POST", "/v1/flush"))[0] == 200
        assert daemon.engine.commands == [Flush(what=FlushWhat.ALL)]


async def test_commands_at_once_get_each_its_own_answer(path) -> None:
    async with a_daemon(path) as daemon:
        daemon.engine.answer = lambda token: AnswerCommand(
            token, 1, detail=repr(daemon.engine.commands[-1])
        )
        answers = {}

        async def ask(address: str) -> None:
            body = json.dumps({"address": address}).encode()
            answers[address] = json.loads((await curl(path, "POST", "/v1/resolve", body))[1])

        async with trio.open_nursery() as nursery:
            for last in range(1, 21):
                nursery.start_soon(ask, f"10.0.0.{last}")
        for last in range(1, 21):
            mine = Resolve(address=bytes([10, 0, 0, last]))
            assert answers[f"10.0.0.{last}"]["detail"] == repr(mine)
        assert len(daemon.engine.commands) == 20


@pytest.mark.parametrize(
    ("target", "body", "status", "words"),
    [
        ("/v1/flush", b"{", 400, "the body is not JSON"),
        ("/v1/flush", b"[]", 400, "the body must be a JSON object"),
        (
            "/v1/flush",
            {"wat": "x"},
            400,
            "unknown key 'wat'; known: interface, nbma, protocol, what",
        ),
        ("/v1/flush", {"what": "dust"}, 400, "'dust' is not a valid FlushWhat"),
        ("/v1/flush", {"what": 3}, 400, "what must be a string"),
        ("/v1/flush", {"protocol": "10/8/3"}, 400, "'10/8/3' does not appear to be an IPv4 or"),
        ("/v1/flush", {"nbma": "hub"}, 400, "'hub' does not appear to be an IPv4 or IPv6 address"),
        ("/v1/flush", {"interface": "gre9"}, 404, "no interface 'gre9' is configured"),
        ("/v1/flush", b" " * 20_000, 413, "a request has at most 16384 octets"),
        ("/v1/resolve", {}, 400, "address is missing"),
        ("/v1/flush", b"[" * 9000, 400, "the body is not JSON"),
        ("/v1/resolve", {"address": "x"}, 400, "'x' does not appear to be an IPv4 or IPv6 address"),
    ],
)
async def test_a_bad_command_is_refused_in_a_sentence(path, target, body, status, words) -> None:
    async with a_daemon(path) as daemon:
        got, error = await refusal(path, "POST", target, body)
        assert got == status
        assert words in error
        assert daemon.engine.commands == []


async def test_an_engine_that_does_not_answer_is_not_waited_for_for_ever(path, monkeypatch) -> None:
    monkeypatch.setattr(control, "COMMAND_DEADLINE_S", 0.05)
    async with a_daemon(path) as daemon:
        daemon.engine.answer = lambda _token: None
        assert await refusal(path, "POST", "/v1/resolve", {"address": "10.0.0.1"}) == (
            504,
            "the daemon is too busy to answer",
        )
        assert daemon.engine.commands == [Resolve(address=bytes([10, 0, 0, 1]))]


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


# Watching.


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


async def test_metrics_are_prometheus_text(path) -> None:
    async with a_daemon(path) as daemon:
        daemon.engine.rows[View.CACHE] = [a_cache_row(n) for n in range(3)]
        status, body = await curl(path, "GET", "/metrics")
        lines = body.decode().splitlines()
        assert status == 200
        assert (
            'nhrpd_packets_total{afi="ipv4",direction="sent",interface="gre1",type="purge"} 3.0'
            in lines
        )
        assert 'nhrpd_drops_total{interface="gre1",reason="bad-checksum"} 9.0' in lines
        assert 'nhrpd_cache_entries{afi="ipv4",interface="gre1",type="dynamic"} 3.0' in lines
        assert 'nhrpd_nhs{afi="ipv4",interface="gre1",state="probe"} 1.0' in lines
        assert 'nhrpd_interface_ok{interface="gre1"} 1.0' in lines
        assert 'nhrpd_runtime_events_total{event="received",part="packets"} 7.0' in lines
        assert "nhrpd_uptime_seconds 12.5" in lines


async def test_many_connections_at_once_are_all_served(path) -> None:
    async with a_daemon(path), trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(partial(fetch, path, "/v1/nhs"))


def test_a_group_that_the_daemon_is_no_member_of_is_named_with_the_remedy(
    path, monkeypatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(ControlSocketError, match=r"group root, of which .* SupplementaryGroups="):
        ControlSocket(path, "root")
