"""Who owns the control socket."""

import fcntl
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nhrpd_py.runtime.control.socket import ControlSocket, ControlSocketError


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


def test_a_group_that_the_daemon_is_no_member_of_is_named_with_the_remedy(
    path, monkeypatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(ControlSocketError, match=r"group root, of which .* SupplementaryGroups="):
        ControlSocket(path, "root")
