"""Orphans: SAs of a charon that is gone. Finds out whether they are still in the kernel, and ends
them.

An orphan that is not wanted here is renewed by the peer, and carries traffic until then. It must
not be ended after a fixed time: while it carries traffic, the peer's charon does not check whether
we are alive (dead peer detection), and would notice only after we had stopped sending.
"""

from collections.abc import Awaitable, Callable
from functools import partial

import trio

from nhrpd_py.runtime.vici.attempts.wanted import WantedSas
from nhrpd_py.runtime.vici.reports import Reports
from nhrpd_py.runtime.vici.sas.children import Child, Pair
from nhrpd_py.runtime.vici.sas.table import AssociationTable

FIRST_LOOK_S = 0.2
"""First look after charon is gone: a charon that is stopped removes its SAs within milliseconds."""
LOOK_S = 2.0
GRACE_S = 30.0
"""How long a new charon has to make wanted SAs anew."""

KernelPairs = Callable[[], Awaitable[set[Pair]]]
"""Returns the (source, destination) of all ESP states of the kernel."""


class Orphans:
    """Looks for orphans in the kernel, and reports those that are gone."""

    def __init__(
        self,
        table: AssociationTable,
        wanted: WantedSas,
        kernel_pairs: KernelPairs | None,
        reports: Reports,
    ) -> None:
        self._table = table
        self._wanted = wanted
        self._kernel_pairs = kernel_pairs
        self._reports = reports
        self._charon_went = trio.Event()

    def charon_lost(self) -> None:
        """Makes `run` look at the kernel soon: charon is gone."""
        self._charon_went.set()

    async def run(self) -> None:
        while True:
            with trio.move_on_after(LOOK_S):
                await self._charon_went.wait()
                await trio.sleep(FIRST_LOOK_S)
            self._charon_went = trio.Event()
            if self._table.orphans():
                kernel = await self._kernel()
                await self._reports.sas(self._table.bury(partial(self._end, kernel)))

    async def _kernel(self) -> set[Pair] | None:
        if self._kernel_pairs is None:
            return None
        try:
            return await self._kernel_pairs()
        except (OSError, ValueError):
            return None

    def _end(self, kernel: set[Pair] | None, orphan: Child) -> str | None:
        """Returns why an orphan has ended, or None."""
        if kernel is not None and orphan.pair not in kernel:
            return "the kernel has it no more"
        ready_since = self._reports.ready_since
        if ready_since is None or trio.current_time() - ready_since < GRACE_S:
            return None
        wanted = self._wanted.of_pair(orphan.pair)
        if self._table.is_up(orphan.pair) or any(each.failures for each in wanted):
            return "charon was restarted and has it no more"
        return None
