"""The view of probes: what they found of direct paths, a row an interface and family that proves paths."""

from collections.abc import Iterator

from nhrpd_py.core.rows import ProbeRow
from nhrpd_py.core.station.paths import RTT_BOUNDS_S
from nhrpd_py.core.station.station import Station


def probe_rows(station: Station) -> Iterator[ProbeRow]:
    if not station.paths.enabled:
        return
    counters = station.paths.counters
    yield ProbeRow(
        interface=station.interface.name,
        afi=station.afi,
        sent=counters.sent,
        answered=counters.answered,
        proven=counters.proven,
        failed=counters.failed,
        rtt_sum_s=round(counters.rtt_sum_s, 6),
        rtt_bounds_s=RTT_BOUNDS_S,
        rtt_counts=tuple(counters.rtt_counts),
    )
