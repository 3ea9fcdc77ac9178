"""Reads what the kernel counts in the SAs that charon has, and reports it."""

from collections.abc import Awaitable, Callable, Iterable, Mapping

import trio

from nhrpd_py.core.events import SaCount, SasCounted
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.vici.sas.children import Pair
from nhrpd_py.runtime.vici.sas.table import AssociationTable

INTERVAL_S = 10.0
SHARE = 100
"""Reading takes at most one part in so many of the time."""

KernelCounts = Callable[[], Awaitable[Mapping[Pair, tuple[int, int]]]]
"""Returns octets and packets of the kernel's ESP states, by (source, destination)."""


async def report_counts(inbox: Inbox, table: AssociationTable, read: KernelCounts) -> None:
    """Reports the counters of all pairs in the table every ten seconds, until cancelled."""
    wait_s = INTERVAL_S
    while True:
        await trio.sleep(wait_s)
        pairs = {each.pair for each in (*table.children(), *table.orphans())}
        if not pairs:
            continue
        began = trio.current_time()
        try:
            found = await read()
        except OSError:  # the kernel has no xfrm_user, or no room: the next time perhaps
            continue
        wait_s = max(INTERVAL_S, (trio.current_time() - began) * SHARE)
        inbox.offer([SasCounted(tuple(_counts(pairs, found)))])


def _counts(pairs: Iterable[Pair], found: Mapping[Pair, tuple[int, int]]) -> Iterable[SaCount]:
    for local, remote in sorted(pairs):
        octets_in, packets_in = found.get((remote, local), (0, 0))
        octets_out, packets_out = found.get((local, remote), (0, 0))
        yield SaCount(
            local=local,
            remote=remote,
            octets_in=octets_in,
            octets_out=octets_out,
            packets_in=packets_in,
            packets_out=packets_out,
        )
