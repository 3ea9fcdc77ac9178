"""Looks up host names of NHSs without stopping the daemon: `getaddrinfo` in worker threads.

At most 8 lookups run at once, and one for each name. A lookup has 10 s, including its wait for a
thread; then the engine gets an error text. A thread that libc blocks longer is abandoned and keeps
its place among the 8 until it returns.
"""

import socket
from functools import partial

import trio

from nhrpd_py.core.address import Address, parse_address
from nhrpd_py.core.events import NameResolved
from nhrpd_py.runtime.inbox import Inbox

LOOKUPS_AT_ONCE = 8
LOOKUP_DEADLINE_S = 10.0


class NameResolver:
    """Answers `ResolveName` with `NameResolved` through the inbox."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._limiter = trio.CapacityLimiter(LOOKUPS_AT_ONCE)
        self._under_way: set[str] = set()
        self._nursery: trio.Nursery | None = None
        self.counters = {"lookups": 0, "failures": 0}

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Lets `resolve` begin lookups, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    def resolve(self, name: str) -> None:
        """Begins a lookup of a name, unless one of this name is under way already."""
        if self._nursery is None or name in self._under_way:
            return
        self._under_way.add(name)
        self._nursery.start_soon(self._look_up, name)

    async def _look_up(self, name: str) -> None:
        self.counters["lookups"] += 1
        addresses: tuple[Address, ...] = ()
        error: str | None = f"no answer within {LOOKUP_DEADLINE_S:.0f} s"
        try:
            with trio.move_on_after(LOOKUP_DEADLINE_S):
                addresses, error = await trio.to_thread.run_sync(
                    partial(look_up, name), abandon_on_cancel=True, limiter=self._limiter
                )
        finally:
            self._under_way.discard(name)
        if error is not None:
            self.counters["failures"] += 1
        await self._inbox.put([NameResolved(name, addresses, error)])


def look_up(name: str) -> tuple[tuple[Address, ...], str | None]:
    """Returns every A and AAAA record of a name in the resolver's order, or an error for people.
    Blocks."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
    except socket.gaierror as error:
        return (), str(error.strerror)
    except (OSError, UnicodeError) as error:
        return (), str(error)
    texts = dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found)
    return tuple(parse_address(text) for text in texts), None
