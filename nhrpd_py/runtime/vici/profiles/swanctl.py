"""Reads the connections of swanctl.conf, exactly as charon would get them.

Runs the real `swanctl --load-conns` against a socket of ours that answers as charon does and keeps
the connections. So no parser of our own is needed, includes and certificates are resolved, and the
real charon is not touched.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import trio
from vici.protocol import FiniteStream, Packet

from nhrpd_py.runtime.vici.wire.connection import (
    Frames,
    Section,
    ViciError,
    ViciLostError,
    decode,
    encode,
)

NOISE = re.compile(r"^(loaded \d|no connections |plugin ')|\bplugin requires\b")
DIRECTORY_LIMIT = 80
"""Octets; the path of a Unix socket has 107."""
SWANCTL = "swanctl"
DEADLINE_S = 10.0
ACCEPT_PAUSE_S = 0.1
OUTPUT_LIMIT = 16384
CONNECTION_LIMIT = 4096
REREAD_S = 2.0
"""Shortest time between two checks of the files; a faulty file is read again then."""
MAX_AGE_S = 60.0
"""Until a file is read again without a visible change: an `include` may lead outside the
directory."""
WATCHED_FILES = 4096


@dataclass(frozen=True, slots=True)
class SwanctlConf:
    """The connections of a swanctl.conf, and what is wrong with the file."""

    connections: Mapping[str, Section] = field(default_factory=dict)
    problem: str | None = None
    """The errors that swanctl printed, or why it could not be run, for people."""


async def read_swanctl(
    path: str, swanctl: str = SWANCTL, directory: Path | None = None
) -> SwanctlConf:
    """Reads a file with swanctl; an error becomes the result's `problem`.

    Our socket is in a new directory below `directory`, or below the one for temporary files.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="swanctl-", dir=directory) as private:  # mode 0700
            return await _read(path, swanctl, private)
    except ViciError as error:
        return SwanctlConf(problem=str(error))
    except FileNotFoundError:
        return SwanctlConf(problem=f"no command {swanctl}: install strongswan-swanctl")
    except OSError as error:
        return SwanctlConf(problem=f"{swanctl}: {error.strerror or error}")


async def _read(path: str, swanctl: str, directory: str) -> SwanctlConf:
    uri = str(Path(directory) / "vici")
    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM) as sock:
        await sock.bind(uri)
        sock.listen(1)
        return await _run(path, swanctl, uri, _ConnectionSink(trio.SocketListener(sock)))


async def _run(path: str, swanctl: str, uri: str, sink: "_ConnectionSink") -> SwanctlConf:
    output = bytearray()
    status: int | None = None
    command = [swanctl, "--load-conns", "--uri", f"unix://{uri}", "--file", path]
    process = await trio.lowlevel.open_process(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C"},
    )
    try:
        with trio.move_on_after(DEADLINE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sink.run)
                await _collect(process, output)
                status = await process.wait()
                nursery.cancel_scope.cancel()
    finally:
        await _end(process)
    problem = sink.problem
    if status is None:
        problem = problem or f"{swanctl} did not end within {DEADLINE_S:g} s"
        return SwanctlConf(problem=problem)
    complaints = complaints_in(output.decode(errors="replace"))
    if complaints:
        problem = f"{path}: {'; '.join(complaints)[:1000]}"
    elif status != 0 and problem is None:
        problem = f"{swanctl} failed ({status})"
    return SwanctlConf(dict(sink.connections), problem)


def complaints_in(output: str) -> list[str]:
    """Returns swanctl's errors about the files, without its totals and the lines about its plugins.

    Some plugins print that they need root.
    """
    lines = dict.fromkeys(line.strip() for line in output.splitlines())
    return [line for line in lines if line and not NOISE.search(line)]


async def _collect(process: trio.Process, output: bytearray) -> None:
    if process.stderr is None:
        return
    async for octets in process.stderr:
        output += octets[: OUTPUT_LIMIT - len(output)]


async def _end(process: trio.Process) -> None:
    if process.returncode is None:
        process.kill()
    with trio.CancelScope(shield=True):
        await process.wait()
        if process.stderr is not None:
            await process.stderr.aclose()


class _ConnectionSink:
    """Answers `swanctl --load-conns` as charon does, and keeps the connections that it loads."""

    def __init__(self, listener: trio.SocketListener) -> None:
        self._listener = listener
        self.connections: dict[str, Section] = {}
        self.problem: str | None = None

    async def run(self) -> None:
        while True:
            try:
                frames = Frames(await self._listener.accept())
            except (
                OSError
            ) as error:  # no descriptors or memory left: swanctl waits for its whole deadline
                self.problem = f"swanctl cannot be heard: {error.strerror or error}"
                await trio.sleep(ACCEPT_PAUSE_S)
                continue
            self.problem = None
            try:
                await self._serve(frames)
            except ViciLostError:
                pass
            finally:
                await frames.aclose()

    async def _serve(self, frames: Frames) -> None:
        while True:
            packet = await frames.receive()
            if packet[0] != Packet.CMD_REQUEST or len(packet) < 2:  # noqa: PLR2004 (type, length)
                raise ViciLostError("swanctl sent no request")
            start = 2 + packet[1]
            command = packet[2:start].decode(errors="replace")
            message = decode(FiniteStream(packet[start:]))
            answer: Section
            if command == "get-conns":
                answer = {"conns": []}
            elif command == "load-conn":
                self._keep(message)
                answer = {"success": "yes"}
            else:
                await frames.send(bytes([Packet.CMD_UNKNOWN]))
                continue
            await frames.send(bytes([Packet.CMD_RESPONSE]) + encode(answer))

    def _keep(self, message: Section) -> None:
        for name, value in message.items():
            if not isinstance(value, Mapping):
                continue
            if len(self.connections) >= CONNECTION_LIMIT:
                self.problem = f"more than {CONNECTION_LIMIT} connections"
                return
            self.connections[name] = value


class SwanctlReader:
    """Reads a swanctl.conf, and again when it changed.

    Only swanctl knows which files belong to it. Those next to the main file and below (conf.d, the
    certificates) are checked by their times and sizes; because of all others a result that is a
    minute old is read again. A faulty file is read again at every call, but no more often than
    every two seconds.
    """

    def __init__(
        self,
        path: str,
        swanctl: str = SWANCTL,
        clock: Callable[[], float] = trio.current_time,
        *,
        directory: Path | None = None,
    ) -> None:
        """`directory` is for our socket: one that swanctl reaches also when AppArmor confines
        it."""
        usable = (
            directory is not None
            and len(bytes(directory)) <= DIRECTORY_LIMIT
            and os.access(directory, os.W_OK | os.X_OK)
        )
        self._directory = directory if usable else None
        self.path = path
        self._swanctl = swanctl
        self._clock = clock
        self._lock = trio.Lock()
        self._conf = SwanctlConf()
        self._looked_at = self._read_at = float("-inf")
        self._fingerprint: object = None
        self.reads = 0

    async def get(self) -> SwanctlConf:
        """Returns the present connections."""
        async with self._lock:
            now = self._clock()
            if now - self._looked_at < REREAD_S:
                return self._conf
            fingerprint = await trio.to_thread.run_sync(fingerprint_of, self.path)
            if (
                fingerprint != self._fingerprint
                or self._conf.problem is not None
                or now - self._read_at >= MAX_AGE_S
            ):
                self._conf = await read_swanctl(self.path, self._swanctl, self._directory)
                self._fingerprint = fingerprint
                self._read_at = now
                self.reads += 1
            self._looked_at = now
            return self._conf


def fingerprint_of(path: str) -> tuple[tuple[object, ...], ...]:
    """Returns a value that differs when the files do. Blocks."""
    found: list[tuple[object, ...]] = []
    pending = [str(Path(path).parent)]
    while pending and len(found) < WATCHED_FILES:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    try:
                        status = entry.stat()
                    except OSError as error:  # a symbolic link that leads nowhere: an editor's lock
                        found.append((entry.path, error.errno))
                        continue
                    found.append((entry.path, status.st_ino, status.st_size, status.st_mtime_ns))
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except OSError as error:
            found.append((error.filename, error.errno))
    return tuple(sorted(found, key=str))
