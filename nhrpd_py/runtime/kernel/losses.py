"""Reads what the kernel counts of lost packets in our tunnels: one small request for each, every ten seconds."""

from collections import Counter
from collections.abc import Iterable

import trio

from nhrpd_py.core.events import TunnelCounted
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.netlink.requests import Requests
from nhrpd_py.runtime.netlink.socket import NetlinkError
from nhrpd_py.runtime.netlink.statistics import RTM_GETSTATS, read_statistics, statistics_of

INTERVAL_S = 10.0
LOST = (
    *("tx_carrier_errors", "collisions", "tx_dropped", "tx_fifo_errors", "tx_aborted_errors"),
    *("rx_fifo_errors", "rx_crc_errors", "rx_frame_errors", "rx_dropped"),
)
"""The counters that are reported."""


async def report_losses(
    requests: Requests, inbox: Inbox, tunnels: Iterable[int], counters: Counter[str]
) -> None:
    """Reports the counters of the tunnels, which may come and go, until cancelled."""
    while True:
        for ifindex in list(tunnels):
            event = await _counted(requests, ifindex, counters)
            if event is not None:
                inbox.offer([event])
        await trio.sleep(INTERVAL_S)


async def _counted(
    requests: Requests, ifindex: int, counters: Counter[str]
) -> TunnelCounted | None:
    try:
        found = await requests.get(
            RTM_GETSTATS, statistics_of(ifindex), "counters", read_statistics
        )
    except NetlinkError:  # the link went just now, or Linux is older than 4.7
        counters["statistics_failed"] += 1
        return None
    if found is None:
        return None
    return TunnelCounted(ifindex=ifindex, lost=tuple((name, found[name]) for name in LOST))
