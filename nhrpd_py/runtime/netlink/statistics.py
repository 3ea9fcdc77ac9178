"""The counters of a link: RTM_GETSTATS with `struct rtnl_link_stats64`, by their names there."""

import struct

from nhrpd_py.runtime.netlink.socket import MalformedError, attributes

RTM_GETSTATS = 94
IFLA_STATS_LINK_64 = 1
# struct if_stats_msg: family u8, 3 octets of padding, ifindex u32, mask of the attributes wanted u32
IF_STATS = struct.Struct("=B3xII")
NAMES = (
    *("rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors"),
    *("rx_dropped", "tx_dropped", "multicast", "collisions", "rx_length_errors"),
    *("rx_over_errors", "rx_crc_errors", "rx_frame_errors", "rx_fifo_errors", "rx_missed_errors"),
    *("tx_aborted_errors", "tx_carrier_errors", "tx_fifo_errors"),
)
"""The counters in their order; those behind them have no meaning in a tunnel."""
COUNTERS = struct.Struct(f"={len(NAMES)}Q")


def statistics_of(ifindex: int) -> bytes:
    """Returns the payload of an RTM_GETSTATS for the counters of one link."""
    return IF_STATS.pack(0, ifindex, 1 << IFLA_STATS_LINK_64 - 1)


def read_statistics(payload: memoryview) -> dict[str, int] | None:
    """Reads an RTM_NEWSTATS; None where it has no counters."""
    found = attributes(payload, IF_STATS.size).get(IFLA_STATS_LINK_64)
    if found is None:
        return None
    if len(found) < COUNTERS.size:
        raise MalformedError(f"counters of {len(found)} octets")
    return dict(zip(NAMES, COUNTERS.unpack_from(found), strict=True))
