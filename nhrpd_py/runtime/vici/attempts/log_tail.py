"""Follows charon's log while attempts are under way: only the log has the reason of a failure."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from nhrpd_py.core.address import Address
from nhrpd_py.runtime.vici.attempts.reasons import FailureLog
from nhrpd_py.runtime.vici.wire.connection import ViciConnection, ViciError

OPENED_S = 1.0
"""How long an attempt waits for the log before it begins without it."""
LINGER_S = 5.0
"""How long the log is still followed after the last attempt."""
RETRY_S = 5.0
"""The pause after charon closed the log's connection."""


class LogTail:
    """Follows charon's log while there are attempts, and only then: a busy charon logs much."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._attempts = 0
        self._changed = trio.Event()
        self._open = trio.Event()
        self.failures = FailureLog()

    @asynccontextmanager
    async def following(self, remote: Address) -> AsyncIterator[None]:
        """Keeps the lines about a peer during an attempt; `opened` tells when there are lines."""
        self.failures.forget(remote)
        self._attempts += 1
        self._notify()
        try:
            yield
        finally:
            self._attempts -= 1
            self._notify()

    async def opened(self) -> None:
        """Waits until lines come, or have not come in time."""
        with trio.move_on_after(OPENED_S):
            await self._open.wait()

    async def run(self) -> None:
        """Reads lines until it is cancelled; nothing is read unless this runs."""
        self._open = trio.Event()
        while True:
            while not self._attempts:
                await self._changed.wait()
            try:
                is_lost = await self._follow()
            except ViciError:
                is_lost = True
            if is_lost:
                await trio.sleep(
                    RETRY_S
                )  # reasons of failures are less exact then; the session notices the loss

    async def _follow(self) -> bool:
        """Reads until there are no attempts; returns whether charon closed the connection. Raises ViciError."""
        is_lost = False
        connection = await ViciConnection.open(self._path)
        try:
            if not await connection.register("log"):
                await trio.sleep_forever()
            self._open.set()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._until_idle, nursery.cancel_scope)
                try:
                    while True:
                        self.failures.add((await connection.next_event())[1])
                except ViciError:
                    is_lost = True
                    nursery.cancel_scope.cancel()
                    await trio.lowlevel.checkpoint()
        finally:
            self._open = trio.Event()
            await connection.aclose()
        return is_lost

    async def _until_idle(self, scope: trio.CancelScope) -> None:
        while True:
            while self._attempts:
                await self._changed.wait()
            with trio.move_on_after(LINGER_S):
                await self._changed.wait()
                continue
            if not self._attempts:
                scope.cancel()
                return

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
