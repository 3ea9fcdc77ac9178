"""The kernel store in a network namespace of the test's own: an underlay, a tunnel, and all that the store told."""

import contextlib
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import trio

from nhrpd_py.core.address import parse_address
from nhrpd_py.core.config import RoutesConfig
from nhrpd_py.core.effects import (
    OpenInterface,
)
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.kernel.found import FoundSettings
from nhrpd_py.runtime.kernel.store import KernelStore

PEER = parse_address("10.255.0.2")
NBMA = parse_address("192.0.2.2")


def run(command: str) -> str:
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout


def read(path: str) -> str:
    return Path(path).read_text().strip()


class Store:
    """A running kernel store and all that it told."""

    def __init__(self, protocol=208, settings=None):
        self.inbox = Inbox()
        self.notices: list[Any] = []
        self.settings: dict[str, dict[str, Any]] = settings if settings is not None else {}
        """What the state file has of settings."""
        self.kernel = KernelStore(
            self.inbox,
            RoutesConfig(protocol=protocol),
            self.notices.append,
            FoundSettings(self.settings, trio.lowlevel.checkpoint),
        )
        self.events = []

    @contextlib.asynccontextmanager
    async def running(self):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._collect)
            with trio.fail_after(10):
                await nursery.start(self.kernel.run)
            yield self
            nursery.cancel_scope.cancel()

    async def _collect(self):
        while True:
            self.events += await self.inbox.take()

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, condition, what, seconds=5):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not come; {self.events[-5:]}")
            await trio.sleep(0.02)

    async def open(self, ifindex):
        self.kernel.open_interface(OpenInterface(ifindex, "gre1"))
        await self.until(lambda: self.kernel._wanted[ifindex].ready, "readiness")


def neighbors():
    rows = json.loads(run("ip -j neigh show dev gre1"))
    return {row["dst"]: row for row in rows}


def routes(family="-4"):
    return json.loads(run(f"ip -j {family} route show table main"))
