"""charon's log while attempts are under way: nowhere else does it say why one failed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from nhrpd_py.core.address import Address
from nhrpd_py.runtime.vici.attempts.reasons import FailureLog
from nhrpd_py.runtime.vici.wire.connection import Connection, ViciError

OPENED_S = 1.0
"""What an attempt waits for the log at most."""
LINGER_S = 5.0
RETRY_S = 5.0


class LogTail:
    """Follows the log only when somebody is interested: a busy charon says much."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._interested = 0
        self._changed = trio.Event()
        self._open = trio.Event()
        self.failures = FailureLog()

    @asynccontextmanager
    async def following(self, remote: Address) -> AsyncIterator[None]:
        """Begins an attempt with a peer; its lines are kept."""
        self.failures.forget(remote)
        self._interested += 1
        self._notify()
        try:
            with trio.move_on_after(OPENED_S):
                await self._open.wait()
            yield
        finally:
            self._interested -= 1
            self._notify()

    async def run(self) -> None:
        """Must run for any line to be read; lasts as long as the session."""
        self._open = trio.Event()
        while True:
            while not self._interested:
                await self._changed.wait()
            try:
                is_lost = await self._follow()
            except ViciError:
                is_lost = True
            if is_lost:
                await trio.sleep(RETRY_S)  # reasons will be poorer; the session is another's care

    async def _follow(self) -> bool:
        """Reads until nobody is interested; True when charon ended it. Raises ViciError."""
        is_lost = False
        connection = await Connection.open(self._path)
        try:
            if not await connection.register("log"):
                await trio.sleep_forever()
            self._open.set()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._until_idle, nursery.cancel_scope)
                try:
                    while True:
                        self.failures.took((await connection.next_event())[1])
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
            while self._interested:
                await self._changed.wait()
            with trio.move_on_after(LINGER_S):
                await self._changed.wait()
                continue
            if not self._interested:
                scope.cancel()
                return

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
