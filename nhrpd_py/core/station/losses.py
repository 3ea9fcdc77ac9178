"""What the kernel loses in a tunnel, by the counters of the netdev, and what each counter means in a GRE tunnel.

Linux counts by the reason (`ip_tunnel_xmit`, `ip_tunnel_rcv`): a tunnel may lose every packet while everything else
looks well. A counter that rises is a state with a reason until it has been quiet for a while.
"""

from typing import NamedTuple

QUIET_S = 90.0
"""How long nothing must be lost until a tunnel counts as mended: a lost server is asked every 64 s."""
LOSING_FROM = 3
"""Packets; a single one is lost wherever a route changes."""


class Counter(NamedTuple):
    """A counter of the kernel: our word for it, and what it means, for people."""

    word: str
    meaning: str | None = None
    """None: it is no trouble by itself."""
    protected: str | None = None
    """The meaning in a tunnel that IPsec protects, where it is another one."""


COUNTERS = {
    "tx_carrier_errors": Counter(
        "no-route",
        "no route leads to the outer addresses of peers",
        "no security association, or no route, for the outer addresses of peers",
    ),
    "collisions": Counter(
        "looped",
        "the outer address of a peer is routed into the tunnel itself; bind the tunnel to its underlay "
        "(ip tunnel change NAME dev UNDERLAY), or keep that route out",
    ),
    "tx_dropped": Counter(
        "refused-to-send",
        "this machine does not send the outer packets: its packet filter (OUTPUT), a queue that is full, "
        "or IPsec refuses them",
    ),
    "tx_fifo_errors": Counter("no-next-hop"),
    "tx_aborted_errors": Counter("aborted"),
    "rx_fifo_errors": Counter(
        "out-of-sequence",
        "packets come without sequence numbers, or out of order; with several peers sequence numbers cannot "
        "work (iseq, oseq)",
    ),
    "rx_crc_errors": Counter(
        "checksum",
        "only one end uses checksums (csum, icsum): the other's packets are not accepted",
    ),
    "rx_frame_errors": Counter(
        "congestion-bits",
        "the congestion bits (ECN) of inner and outer header contradict each other",
    ),
    "rx_dropped": Counter("receive-dropped"),
}
"""The kernel's names (`struct rtnl_link_stats64`) of what we look at."""


class _Count:
    """What is known of one counter."""

    __slots__ = ("lost", "rose_at", "total")

    def __init__(self, total: int) -> None:
        self.total = total
        self.lost = 0
        """Since it was quiet."""
        self.rose_at = 0.0

    @property
    def is_losing(self) -> bool:
        return self.lost >= LOSING_FROM


class Change(NamedTuple):
    """A counter began to rise, or is quiet again."""

    counter: Counter
    packets: int
    """0: it is quiet."""


class Losses:
    """The counters of one tunnel. Owned by the interface; a netdev made anew counts from the start."""

    __slots__ = ("_counts", "_ifindex")

    def __init__(self) -> None:
        self._ifindex = 0
        self._counts: dict[str, _Count] = {}

    def update(self, ifindex: int, lost: tuple[tuple[str, int], ...], now: float) -> list[Change]:
        """Takes the kernel's counters; returns what changed."""
        if ifindex != self._ifindex:
            self._ifindex = ifindex
            self._counts = {}
        changes: list[Change] = []
        for name, total in lost:
            counter, count = COUNTERS.get(name), self._counts.get(name)
            if counter is None:
                continue
            if count is None:
                self._counts[name] = _Count(total)  # what was lost before us is no news
                continue
            was_losing = count.is_losing
            rise, count.total = total - count.total, total
            if rise > 0:
                count.lost += rise
                count.rose_at = now
            elif rise < 0 or now - count.rose_at >= QUIET_S:
                count.lost = 0
            if counter.meaning and was_losing != count.is_losing:
                changes.append(Change(counter, count.lost))
        return changes

    def losing(self, *, protected: bool) -> str | None:
        """Returns what is lost at present and why, for people; None: nothing."""
        found = [
            f"{count.lost} packets lost: {meaning(COUNTERS[name], protected=protected)}"
            for name, count in self._counts.items()
            if count.is_losing and COUNTERS[name].meaning
        ]
        return "; ".join(found) or None

    def totals(self) -> list[tuple[str, int]]:
        """Returns the values of the counters that are not 0, by our words."""
        return [
            (COUNTERS[name].word, each.total) for name, each in self._counts.items() if each.total
        ]


def meaning(counter: Counter, *, protected: bool) -> str:
    """Returns what it means that a counter rises, for people."""
    return (counter.protected if protected else None) or counter.meaning or counter.word
