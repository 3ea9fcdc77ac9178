"""SAs of a charon that is gone: whether they live on in the kernel, and when they are given up.

One that nobody here wishes for is the peer's to renew, and carries traffic until it does. It must not
be given up by the clock: while it carries traffic, the peer's charon sees no reason to ask whether we
live, and would find out only after we had stopped sending.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import trio

from nhrpd_py.core.events import Event
from nhrpd_py.runtime.vici.attempts.wanted import Wishes
from nhrpd_py.runtime.vici.sas.children import Child, Pair
from nhrpd_py.runtime.vici.sas.table import AssociationTable

FIRST_LOOK_S = 0.2
"""After charon went: one that is stopped takes its SAs out of the kernel within milliseconds."""
LOOK_S = 2.0
GRACE_S = 30.0
"""What a new charon has to make those anew that are wished for."""

KernelPairs = Callable[[], Awaitable[set[Pair]]]
"""The (source, destination) of all ESP states of the kernel."""


class Orphans:
    """See the module. `online_since` tells since when charon can be asked, `tell` takes what is gone."""

    def __init__(
        self,
        table: AssociationTable,
        wishes: Wishes,
        kernel_pairs: KernelPairs | None,
        online_since: Callable[[], float | None],
        tell: Callable[[Sequence[Event]], Awaitable[None]],
    ) -> None:
        self._table = table
        self._wishes = wishes
        self._kernel_pairs = kernel_pairs
        self._online_since = online_since
        self._tell = tell
        self._went = trio.Event()

    def look(self) -> None:
        """charon went."""
        self._went.set()

    async def run(self) -> None:
        while True:
            with trio.move_on_after(LOOK_S):
                await self._went.wait()
                await trio.sleep(FIRST_LOOK_S)
            self._went = trio.Event()
            if self._table.orphans():
                kernel = await self._kernel()
                await self._tell(self._table.bury(partial(self._dead, kernel)))

    async def _kernel(self) -> set[Pair] | None:
        if self._kernel_pairs is None:
            return None
        try:
            return await self._kernel_pairs()
        except (OSError, ValueError):
            return None

    def _dead(self, kernel: set[Pair] | None, orphan: Child) -> str | None:
        if kernel is not None and orphan.pair not in kernel:
            return "the kernel has it no more"
        online = self._online_since()
        if online is None or trio.current_time() - online < GRACE_S:
            return None
        wished = self._wishes.of_pair(orphan.pair)
        if self._table.is_up(orphan.pair) or any(each.failures for each in wished):
            return "charon was restarted and has it no more"
        return None
