"""The state that a daemon saves for its next start: `state.json` in the state directory.

It holds the registrations that clients made, with the wall-clock instant when each ends, and the
settings of links that the daemon changed, as it found them. The file is written as a new one and
renamed over the old one, so it is always complete; it is readable by its owner only. The daemon
works without it: a missing, foreign or damaged file only leads to a warning, and so does a
directory that cannot be written.

Files of older versions also have a `request_id`, which is not read: request ids are random.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import structlog
import trio

from nhrpd_py.core.address import format_address, parse_address
from nhrpd_py.core.config import MAX_HOLDING_TIME_S
from nhrpd_py.core.events import BindingFound
from nhrpd_py.core.state import SavedBinding, SavedState

FILE_NAME = "state.json"
VERSION = 1
SAVE_INTERVAL_S = 60.0
DAMAGED = (OSError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError)
"""Exceptions of reading a file that we did not write."""


class StateFile:
    """Reads the state once, returns its bindings when their interfaces appear, and saves it every
    minute."""

    def __init__(self, directory: str, clock: Callable[[], float] = time.time) -> None:
        self._path = Path(directory) / FILE_NAME
        self._clock = clock
        self._log = structlog.get_logger().bind(file=str(self._path))
        self._bindings: dict[str, list[tuple[SavedBinding, float]]] = {}
        """Interface name → bindings not returned yet, each with the instant (wall clock) when it
        ends."""
        self.settings: dict[str, dict[str, Any]] = {}
        """Settings of links before the daemon changed them, by name of the link; kept by
        `kernel.found`."""
        self._saved: list[tuple[SavedBinding, float]] = []
        """The bindings of the file, as it was read or written last."""
        self._written: tuple[object, ...] | None = None
        self._failing = False
        self._saving = trio.Lock()

    def read(self) -> None:
        """Reads the file of an earlier run, if there is one. Blocks; call before anything else
        runs."""
        try:
            # O_NONBLOCK: a FIFO in its place must not hold the start up
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                document = json.load(file)
            self._take_over(document)
        except FileNotFoundError:
            self._log.info("state.absent")
        except DAMAGED as error:
            self._bindings.clear()
            self.settings.clear()
            self._log.warning("state.unreadable", reason=f"{type(error).__name__}: {error}")

    def _take_over(self, document: dict[str, Any]) -> None:
        if document["version"] != VERSION:
            raise ValueError(f"version {document['version']} is not {VERSION}")
        now = self._clock()
        saved_at = float(document["saved_at"])
        count = 0
        for entry in document["bindings"]:
            # After the clock was set back a registration must not outlast its holding time.
            left = min(float(entry["expires_at"]) - now, float(entry["expires_at"]) - saved_at)
            if left <= 0:
                continue
            if not left <= MAX_HOLDING_TIME_S:  # NaN too
                raise ValueError(f"a binding that lasts {left} s")
            binding = SavedBinding(
                interface=str(entry["interface"]),
                protocol=parse_address(str(entry["protocol"])),
                nbma=parse_address(str(entry["nbma"])),
                claimed_nbma=parse_address(entry["claimed_nbma"]) if entry["claimed_nbma"] else b"",
                unique=bool(entry["unique"]),
                remaining_s=left,
            )
            self._bindings.setdefault(binding.interface, []).append((binding, now + left))
            count += 1
        self._saved = [each for waiting in self._bindings.values() for each in waiting]
        for name, each in dict(document.get("settings") or {}).items():
            self.settings[str(name)] = dict(each)
        self._log.info("state.read", bindings=count)

    def recall(self, ifindex: int, name: str) -> list[BindingFound]:
        """Returns the bindings of an interface that has appeared, with their remaining time;
        once."""
        now = self._clock()
        return [
            BindingFound(
                ifindex,
                binding.protocol,
                binding.nbma,
                remaining_s=ends_at - now,
                unique=binding.unique,
                claimed_nbma=binding.claimed_nbma,
            )
            for binding, ends_at in self._bindings.pop(name, ())
            if ends_at > now
        ]

    async def run(self, snapshot: Callable[[], SavedState]) -> None:
        """Saves every minute if the state has changed."""
        while True:
            await trio.sleep(SAVE_INTERVAL_S)
            await self.save(snapshot())

    async def save(self, state: SavedState) -> None:
        """Writes a snapshot, unless the file has the same content already."""
        async with self._saving:  # a stop may come while the minute's is being written
            now = self._clock()
            pending = [each for waiting in self._bindings.values() for each in waiting]
            entries = [(b, now + b.remaining_s) for b in state.bindings] + pending
            await self._save(entries, now)

    async def save_settings(self) -> None:
        """Writes changed settings, and leaves all else in the file as it is."""
        async with self._saving:
            await self._save(self._saved, self._clock())

    async def _save(self, entries: list[tuple[SavedBinding, float]], now: float) -> None:
        entries = [(binding, ends_at) for binding, ends_at in entries if ends_at > now]
        settings = json.dumps(self.settings)
        bindings = frozenset(_identity(b, ends_at) for b, ends_at in entries)
        content = (bindings, settings)
        if content == self._written:
            return
        try:
            await trio.to_thread.run_sync(self._write, entries, settings, now)
        except OSError as error:
            if not self._failing:
                self._log.warning("state.unwritable", reason=str(error.strerror))
            self._failing = True
            return
        self._failing = False
        self._written = content
        self._saved = entries

    def _write(self, entries: list[tuple[SavedBinding, float]], settings: str, now: float) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = self._path.with_suffix(".new")
        beside.unlink(missing_ok=True)  # of a killed run; or a symbolic link
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.writelines(_lines(entries, settings, now))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)


def _identity(binding: SavedBinding, ends_at: float) -> tuple[object, ...]:
    """Returns a value that changes when a binding must be saved again; rounding hides clock
    jitter."""
    return (binding.interface, binding.protocol, binding.nbma, binding.unique, round(ends_at / 5))


def _lines(entries: list[tuple[SavedBinding, float]], settings: str, now: float) -> Iterator[str]:
    """Yields the document, one binding a line: encoding it in one piece would block the daemon for
    long."""
    yield f'{{"version": {VERSION}, "saved_at": {now:.3f},\n'
    yield f' "settings": {settings},\n'
    yield ' "bindings": ['
    separator = "\n  "
    for binding, ends_at in entries:
        row = {
            "interface": binding.interface,
            "protocol": format_address(binding.protocol),
            "nbma": format_address(binding.nbma),
            "claimed_nbma": format_address(binding.claimed_nbma),
            "unique": binding.unique,
            "expires_at": round(ends_at, 3),
        }
        yield separator + json.dumps(row)
        separator = ",\n  "
    yield "\n]}\n"
