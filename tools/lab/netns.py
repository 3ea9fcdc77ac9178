"""The network namespace of the calling thread, changed for a while; other threads keep theirs.

What the thread starts meanwhile is in there too. Cheaper than nsenter(1), a program more to load each
time, but it changes no mount namespace.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def of_our_own() -> Iterator[None]:
    """Has this thread in a new network namespace meanwhile. Raises OSError when it may not."""
    with _back_afterwards() as libc:
        _check(libc.unshare(CLONE_NEWNET), "unshare")
        yield


@contextlib.contextmanager
def of_process(pid: int) -> Iterator[None]:
    """Has this thread in the network namespace of a process meanwhile."""
    with _back_afterwards() as libc:
        there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            _check(libc.setns(there, CLONE_NEWNET), "setns")
        finally:
            os.close(there)
        yield


def members(pid: int) -> list[int]:
    """Returns the processes in the network namespace of a process, itself included."""
    wanted = Path(f"/proc/{pid}/ns/net").stat().st_ino
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            if (process / "ns" / "net").stat().st_ino == wanted:
                found.append(int(process.name))
    return found


@contextlib.contextmanager
def _back_afterwards() -> Iterator[ctypes.CDLL]:
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        yield libc
    finally:
        libc.setns(home, CLONE_NEWNET)
        os.close(home)


def _check(result: int, call: str) -> None:
    if result:
        raise OSError(ctypes.get_errno(), call)
