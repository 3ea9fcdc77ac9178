"""`nhrpctl` as its user meets it: output, exit status, and who is to blame."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from functools import partial

import pytest
import trio
from click.testing import CliRunner

from nhrpd_py import __version__
from nhrpd_py.cli.ctl import cli
from nhrpd_py.core.effects import AnswerCommand
from nhrpd_py.core.notices import NhsUp
from nhrpd_py.core.queries import Flush, FlushWhat, Query, Resolve, View
from tests.unit.runtime.fake_daemon import FakeDaemon, a_daemon

UP = NhsUp(interface="gre1", protocol=bytes([10, 0, 0, 1]), nbma=bytes([192, 0, 2, 1]), name="hub")


async def nhrpctl(*arguments: str, path: str = "") -> subprocess.CompletedProcess[bytes]:
    return await trio.run_process(
        [sys.executable, "-m", "nhrpd_py.cli.ctl", *arguments],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env={**os.environ, "NHRPD_SOCKET": path or "/nonexistent/nhrpd.sock"},
    )


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "nhrpd.sock")


@pytest.mark.parametrize("view", list(View))
async def test_json_is_what_the_daemon_says(path, view) -> None:
    async with a_daemon(path) as daemon:
        done = await nhrpctl("show", view, "--json", path=path)
        rows = [asdict(row) for row in daemon.engine.rows[view]]
        assert json.loads(done.stdout) == json.loads(json.dumps({view.value: rows}))
        assert (done.returncode, done.stderr) == (0, b"")


async def test_json_may_stand_before_the_command_and_the_socket_may_be_an_option(path) -> None:
    async with a_daemon(path):
        done = await nhrpctl("-s", path, "--json", "show", "cache")
        assert list(json.loads(done.stdout)) == ["cache"]


async def test_without_json_it_is_a_table(path) -> None:
    async with a_daemon(path) as daemon:
        done = await nhrpctl("show", "shortcuts", "-i", "gre1", path=path)
        assert done.returncode == 0
        assert b"10.1.0.0/16" in done.stdout
        assert b"1h02m" in done.stdout
        assert b"active = traffic goes directly" in done.stdout
        assert daemon.engine.queries[-1] == Query(view=View.SHORTCUTS, interface="gre1")


async def test_a_flush_says_what_it_did(path) -> None:
    async with a_daemon(path) as daemon:
        done = await nhrpctl("flush", "cache", "--nbma", "192.0.2.1", path=path)
        assert (done.returncode, done.stdout) == (0, b"3 bindings forgotten\n")
        assert daemon.engine.commands == [Flush(what=FlushWhat.CACHE, nbma=bytes([192, 0, 2, 1]))]


async def test_a_flush_without_argument_forgets_everything_learnt(path) -> None:
    async with a_daemon(path) as daemon:
        assert (await nhrpctl("flush", path=path)).returncode == 0
        assert daemon.engine.commands == [Flush(what=FlushWhat.ALL)]


async def test_nothing_matched_is_exit_1(path) -> None:
    async with a_daemon(path) as daemon:
        daemon.engine.answer = lambda token: AnswerCommand(token, 0, detail="nothing matched")
        done = await nhrpctl("flush", path=path)
        assert (done.returncode, done.stdout) == (1, b"nothing matched\n")


async def test_a_refusal_is_exit_1_with_the_reason(path) -> None:
    async with a_daemon(path) as daemon:
        daemon.engine.answer = lambda token: AnswerCommand(token, 0, refused="no NHS is up")
        done = await nhrpctl("resolve", "10.9.0.1", path=path)
        assert (done.returncode, done.stderr) == (1, b"nhrpctl: no NHS is up\n")
        assert daemon.engine.commands == [Resolve(address=bytes([10, 9, 0, 1]))]
        done = await nhrpctl("--json", "resolve", "10.9.0.1", path=path)
        assert json.loads(done.stdout)["refused"] == "no NHS is up"
        assert done.returncode == 1


async def test_an_unknown_interface_is_exit_1_with_its_name(path) -> None:
    async with a_daemon(path):
        done = await nhrpctl("show", "cache", "-i", "gre9", path=path)
        assert done.returncode == 1
        assert done.stderr == b"nhrpctl: no interface 'gre9' is configured\n"


async def test_an_argument_that_is_not_text_is_refused_as_any_other(path) -> None:
    async with a_daemon(path):
        done = await nhrpctl("show", "cache", "-i", os.fsdecode(b"gre\xff"), path=path)
        assert done.returncode == 1
        assert done.stderr.startswith(b"nhrpctl: no interface 'gre")


@pytest.mark.parametrize(
    "arguments",
    [["show", "cash"], ["show"], ["flush", "dust"], ["dance"], ["resolve"], ["--colour"]],
)
async def test_wrong_usage_is_exit_2(arguments) -> None:
    assert (await nhrpctl(*arguments)).returncode == 2


async def test_an_address_that_is_none_is_wrong_usage(path) -> None:
    async with a_daemon(path):
        done = await nhrpctl("resolve", "10.0.0.x", path=path)
        assert done.returncode == 2
        assert b"'10.0.0.x' does not appear to be an IPv4 or IPv6 address" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["show", "cache"], ["flush"], ["resolve", "10.0.0.1"], ["monitor"]]
)
async def test_without_a_daemon_it_is_one_line_and_exit_3(arguments, path) -> None:
    done = await nhrpctl(*arguments, path=path)
    assert done.returncode == 3
    assert done.stdout == b""
    assert done.stderr == f"nhrpctl: no daemon answers on {path}\n".encode()


async def test_a_socket_that_a_crashed_daemon_left_is_no_daemon(path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    assert (await nhrpctl("show", "cache", path=path)).returncode == 3


async def test_a_full_backlog_is_waited_for(path) -> None:
    """Linux answers a full one with EAGAIN, at once."""
    with socket.socket(socket.AF_UNIX) as busy, contextlib.ExitStack() as others:
        busy.bind(path)
        busy.listen(0)
        others.enter_context(socket.socket(socket.AF_UNIX)).connect(path)

        def serve() -> None:
            time.sleep(0.5)
            busy.accept()[0].close()
            with busy.accept()[0] as client:
                client.recv(4096)
                client.sendall(b'HTTP/1.0 200 OK\r\n\r\n{"nhs": []}')

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, serve)
                done = await nhrpctl("show", "nhs", path=path)
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("arguments", [["show", "nhs"], ["--json", "show", "nhs"], ["flush"]])
async def test_what_cannot_be_written_is_one_line(path, arguments) -> None:
    script = f"{sys.executable} -m nhrpd_py.cli.ctl -s {path} {' '.join(arguments)} >/dev/full"
    async with a_daemon(path):
        done = await trio.run_process(["sh", "-c", script], capture_stderr=True, check=False)
        assert done.returncode == 1
        assert done.stderr == b"nhrpctl: cannot write: No space left on device\n"


async def test_a_closed_output_is_no_error(path) -> None:
    async with a_daemon(path):
        script = f"{sys.executable} -m nhrpd_py.cli.ctl -s {path} show nhs >&-"
        done = await trio.run_process(["sh", "-c", script], capture_stderr=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")


async def test_interrupting_monitor_is_its_ordinary_end(path) -> None:
    argv = [sys.executable, "-m", "nhrpd_py.cli.ctl", "-s", path, "monitor"]
    async with a_daemon(path) as daemon:
        start = partial(trio.run_process, argv, capture_stdout=True, capture_stderr=True)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                process = await nursery.start(partial(start, check=False))
                while not daemon.notices._subscribers:  # noqa: ASYNC110
                    await trio.sleep(0.02)
                process.send_signal(signal.SIGINT)
        assert process.returncode == 0


@pytest.mark.parametrize("answer", [b"[]", b"{}", b'{"nhs": [{}]}', b'{"nhs": 7}', b"[" * 9000])
async def test_what_answers_but_is_no_nhrpd_is_one_line_and_exit_3(path, answer) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()

        def serve() -> None:
            with other.accept()[0] as client:
                client.recv(4096)
                client.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + answer)

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, serve)
                done = await nhrpctl("show", "nhs", path=path)
    assert done.returncode == 3
    assert done.stdout == b""
    assert len(done.stderr.splitlines()) == 1


async def test_monitor_prints_what_happens_until_the_daemon_goes(path) -> None:
    async def publish(daemon: FakeDaemon) -> None:
        while True:
            await trio.sleep(0.05)
            daemon.notices.publish(UP)

    async with trio.open_nursery() as nursery:
        async with a_daemon(path) as daemon:
            nursery.start_soon(publish, daemon)
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "nhrpd_py.cli.ctl", "-s", path, "monitor", "--json"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            assert process.stdout is not None
            assert process.stderr is not None
            first = b""
            while b"\n" not in first:
                first += await process.stdout.receive_some()
        nursery.cancel_scope.cancel()
    assert json.loads(first.splitlines()[0])["event"] == "nhs.up"
    async with process.stdout, process.stderr:
        assert await process.wait() == 3
        assert b"nhrpctl: the daemon went away" in await process.stderr.receive_some()


def test_help_names_every_view_and_the_exit_statuses() -> None:
    run = CliRunner()
    text = run.invoke(cli, ["show", "--help"]).output
    assert all(view.value in text for view in View)
    assert "3 without a daemon" in " ".join(run.invoke(cli, ["--help"]).output.split())
    assert "everything that was learnt" in run.invoke(cli, ["flush", "--help"]).output


def test_version() -> None:
    result = CliRunner().invoke(cli, ["--version"])
    assert result.output == f"nhrpctl {__version__}\n"


def test_a_script_does_not_pay_for_tables() -> None:
    script = "import sys, nhrpd_py.cli.ctl; "
    script += "print([m for m in ('rich', 'trio', 'pydantic', 'structlog') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == b"[]\n"
