"""A real `nhrpd` process that runs out of file descriptors, or whose clients leave in the middle."""

import resource
import socket
from pathlib import Path

import pytest

from nhrpd_py.cli.client import Client
from tests.unit.cli.daemon_process import UNPRIVILEGED, Process


@pytest.fixture
def daemon(start) -> Process:
    running = start("-c", UNPRIVILEGED)
    running.until(running.answers, "the control socket")
    return running


def connect(daemon: Process, *requests: bytes) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(daemon.socket)
    for request in requests:
        client.sendall(request)
    return client


def test_connections_wait_while_descriptors_are_lacking_and_one_line_says_so(daemon) -> None:
    status = b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n"
    pid = daemon.process.pid
    used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    _soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 2, hard))
    clients = [connect(daemon, status) for _ in range(8)]
    daemon.until(lambda: "control.no_room" in daemon.log(), "the line")
    assert [client.recv(12) for client in clients[:2]] == [b"HTTP/1.1 200"] * 2
    for client in clients[:2]:
        client.close()
    assert clients[2].recv(12) == b"HTTP/1.1 200"
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
    for client in clients[2:]:
        assert client.recv(12)
        client.close()
    assert daemon.log().count("control.no_room") == 1
    assert "Traceback" not in daemon.log()


@pytest.mark.parametrize("limit", [8, 11])
def test_a_start_with_too_few_descriptors_fails_in_one_line(start, limit) -> None:
    line = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))\n"
    daemon = start("-c", UNPRIVILEGED.replace("sys.exit", f"{line}sys.exit"))
    assert daemon.process.wait(30) == 1, daemon.log()
    lines = [line for line in daemon.log().splitlines() if "daemon.failed" in line]
    assert [line.partition("reason=")[2] for line in lines] == [
        '"Too many open files: raise the limit (systemd: LimitNOFILE=)"'
    ]
    assert "Traceback" not in daemon.log()


def test_clients_that_leave_in_the_middle_are_a_line_at_most(daemon) -> None:
    get = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
    for view in (b"/v1/status", b"/v1/monitor", b"/metrics", b"/v1/config", b"/v1/nonsense"):
        request = get % view
        connect(daemon).close()
        connect(daemon, request[:15]).close()
        connect(daemon, request).close()
        connect(daemon, request * 200).close()
    post = b"POST /v1/flush HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    connect(daemon, post).close()
    daemon.until(lambda: "control.client_left" in daemon.log(), "the line")
    assert Client(daemon.socket).get("/v1/status")["pid"] == daemon.process.pid
    assert "Traceback" not in daemon.log()
    assert "control.failed" not in daemon.log()
