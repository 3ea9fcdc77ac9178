"""The control socket: taken by one daemon alone, and ready for the API's server.

A socket file belongs to the daemon that holds the lock file beside it (`nhrpd.sock.lock`); the lock
goes with its process, so a second daemon is refused and a crashed one leaves nothing to clean up by
hand. `http` serves the API on it; that module and its libraries are imported in a thread when
everything else runs, for they take longer to load than the rest of the daemon.
"""

import contextlib
import errno
import fcntl
import grp
import importlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import trio

SOCKET_MODE = 0o660
DIRECTORY_MODE = 0o755
BACKLOG = 256


class ControlSocketError(Exception):
    """The daemon cannot take its control socket; the text says why."""


class ControlSocket:
    """Owns the listening Unix socket, and the lock that keeps other daemons from it."""

    def __init__(self, path: str, group: str | None = None) -> None:
        """Takes the path. Raises ControlSocketError, without a change to files of another
        daemon."""
        self.path = path
        with _explained(path):
            Path(path).parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            self._lock = self._take_lock()
        try:
            with _explained(path):
                self.socket = self._bind(group)
                self._inode = Path(path).stat().st_ino
        except BaseException:
            self._lock.close()
            raise

    def _take_lock(self) -> IO[str]:
        name = f"{self.path}.lock"
        # A user who may write in the directory must not make us write elsewhere.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(name, flags, 0o600)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise ControlSocketError(f"{name} exists and is not a file")
        lock = os.fdopen(descriptor, "r+", encoding="ascii", errors="replace")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = lock.read().strip()
            lock.close()
            who = f"another nhrpd (process {owner})" if owner else "another nhrpd"
            raise ControlSocketError(f"{who} is running on {self.path}") from None
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        return lock

    def _bind(self, group: str | None) -> socket.socket:
        self._clear_the_way()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Bound without access for others, then opened: the mode is never too wide.
            previous = os.umask(0o177)
            try:
                listener.bind(self.path)
            finally:
                os.umask(previous)
            if group is not None:
                self._hand_to(group)
            Path(self.path).chmod(SOCKET_MODE)
            listener.listen(BACKLOG)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        return listener

    def _hand_to(self, group: str) -> None:
        gid = grp.getgrnam(group).gr_gid
        try:
            os.chown(self.path, -1, gid)
        except PermissionError:
            raise ControlSocketError(
                f"control socket {self.path}: cannot be given to the group {group}, of which the"
                " daemon's user is no member (systemd: SupplementaryGroups=)"
            ) from None

    def _clear_the_way(self) -> None:
        """Removes the socket of a daemon that is gone. Raises ControlSocketError where one still
        answers, or where the path is no socket."""
        try:
            mode = Path(self.path).lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise ControlSocketError(f"{self.path} exists and is not a socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            result = probe.connect_ex(self.path)
        if result not in {errno.ECONNREFUSED, errno.ENOENT}:
            raise ControlSocketError(f"another process answers on {self.path}")
        Path(self.path).unlink(missing_ok=True)

    def close(self) -> None:
        """Removes the socket file if it is still ours. The lock file stays: removing it would open
        a race."""
        self.socket.close()
        with contextlib.suppress(OSError):
            if Path(self.path).lstat().st_ino == self._inode:
                Path(self.path).unlink()
        self._lock.close()


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ControlSocketError(f"control socket {path}: {error.strerror or error}") from error
    except KeyError as error:
        raise ControlSocketError(f"control socket {path}: no group {error}") from error


async def load_http() -> None:
    """Imports the HTTP side in a thread, so that the pump keeps running meanwhile."""
    await trio.to_thread.run_sync(importlib.import_module, "nhrpd_py.runtime.control.http")
