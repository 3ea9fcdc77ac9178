"""The metrics for Prometheus, from the control socket (`GET /metrics`).

All numbers are read at the scrape; nothing is counted for this page alone. The engine's numbers
come from its views, those of the adapters from their counters.
"""

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, cast

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from nhrpd_py import __version__
from nhrpd_py.core.queries import Query, View
from nhrpd_py.core.rows import (
    CacheRow,
    InterfaceRow,
    NhsRow,
    ProbeRow,
    ProblemRow,
    Row,
    ShortcutRow,
    TrafficRow,
)

Ask = Callable[[Query], Sequence[Row]]
Counters = Callable[[], Mapping[str, Mapping[str, int]]]


class DaemonCollector:
    """Collects the metrics of the engine and the adapters for one scrape."""

    def __init__(self, ask: Ask, counters: Counters, uptime: Callable[[], float]) -> None:
        """`counters` returns each adapter's counters by its name."""
        self._ask = ask
        self._counters = counters
        self._uptime = uptime

    def collect(self) -> Iterable[Metric]:
        yield from self._daemon()
        yield from self._traffic()
        yield from self._probes()
        yield self._problems()
        yield from self._tables()
        yield self._adapters()

    def _daemon(self) -> Iterable[Metric]:
        version = GaugeMetricFamily("nhrpd_info", "The daemon that answers.", labels=["version"])
        version.add_metric([__version__], 1)
        yield version
        yield GaugeMetricFamily(
            "nhrpd_uptime_seconds", "Time since the daemon started.", value=self._uptime()
        )
        yield CounterMetricFamily(
            "nhrpd_cpu_seconds", "CPU time of the daemon.", value=time.process_time()
        )

    def _traffic(self) -> Iterable[Metric]:
        packets = CounterMetricFamily(
            "nhrpd_packets",
            "NHRP packets sent, received and forwarded.",
            labels=["interface", "afi", "direction", "type"],
        )
        drops = CounterMetricFamily(
            "nhrpd_drops", "Packets not acted upon, by reason.", labels=["interface", "reason"]
        )
        undelivered = CounterMetricFamily(
            "nhrpd_undelivered",
            "ICMP errors about outer packets to peers, by what they say.",
            labels=["interface", "reason"],
        )
        lost = CounterMetricFamily(
            "nhrpd_tunnel_lost",
            "Packets that the kernel lost in the tunnel, by its counter.",
            labels=["interface", "reason"],
        )
        of_direction = {"dropped": drops, "undelivered": undelivered, "lost": lost}
        for row in self._ask(Query(view=View.TRAFFIC)):
            if not isinstance(row, TrafficRow):
                continue
            by_reason = of_direction.get(row.direction)
            if by_reason is not None:
                by_reason.add_metric([row.interface or "", row.type], row.packets)
            else:
                labels = [row.interface or "", row.afi or "", row.direction, row.type]
                packets.add_metric(labels, row.packets)
        yield packets
        yield from of_direction.values()

    def _probes(self) -> Iterable[Metric]:
        results = CounterMetricFamily(
            "nhrpd_probes",
            "Probes of direct paths: sent and answered; paths that were proven, and that failed.",
            labels=["interface", "afi", "result"],
        )
        times = HistogramMetricFamily(
            "nhrpd_probe_rtt_seconds",
            "Round trip times of answered probes.",
            labels=["interface", "afi"],
        )
        for row in self._ask(Query(view=View.PROBES)):
            if not isinstance(row, ProbeRow):
                continue
            for result in ("sent", "answered", "proven", "failed"):
                results.add_metric([row.interface, row.afi, result], getattr(row, result))
            bounds = [*map(str, row.rtt_bounds_s), "+Inf"]
            buckets = list(zip(bounds, accumulate(row.rtt_counts), strict=True))
            times.add_metric([row.interface, row.afi], buckets, row.rtt_sum_s)
        yield results
        yield times

    def _problems(self) -> Metric:
        tally: Tally[tuple[str, ...]] = Tally()
        for row in self._ask(Query(view=View.PROBLEMS)):
            if isinstance(row, ProblemRow):
                tally[row.interface, row.afi or "", row.kind] += 1
        return _gauge("nhrpd_problems", "What is wrong at present, by kind.", "kind", tally)

    def _tables(self) -> Iterable[Metric]:
        cache: Tally[tuple[str, ...]] = Tally()
        shortcuts: Tally[tuple[str, ...]] = Tally()
        servers: Tally[tuple[str, ...]] = Tally()
        interfaces = GaugeMetricFamily(
            "nhrpd_interface_ok", "1 when nothing is wrong.", labels=["interface"]
        )
        octets = CounterMetricFamily(
            "nhrpd_sa_bytes",
            "Octets through the security associations of the interface's outer address.",
            labels=["interface", "direction"],
        )
        wrong = CounterMetricFamily(
            "nhrpd_wrong_sources",
            "Packets that came out of a peer's SA from a source that is not the peer's.",
            labels=["interface"],
        )
        targets = GaugeMetricFamily(
            "nhrpd_multicast_targets",
            "Outer addresses that get copies of multicast.",
            labels=["interface"],
        )
        multicast = CounterMetricFamily(
            "nhrpd_multicast_packets", "Multicast packets to replicate.", labels=["interface"]
        )
        copies = CounterMetricFamily(
            "nhrpd_multicast_copies", "Copies of multicast packets.", labels=["interface"]
        )
        for view in (View.CACHE, View.SHORTCUTS, View.NHS, View.INTERFACES):
            for row in self._ask(Query(view=view)):
                match row:
                    case CacheRow():
                        cache[row.interface, row.afi, row.type] += 1
                    case ShortcutRow():
                        shortcuts[row.interface, row.afi, row.state] += 1
                    case NhsRow():
                        servers[row.interface, row.afi or "", row.state] += 1
                    case InterfaceRow():
                        interfaces.add_metric([row.interface], row.up and row.problem is None)
                        octets.add_metric([row.interface, "in"], row.sa_bytes_in)
                        octets.add_metric([row.interface, "out"], row.sa_bytes_out)
                        wrong.add_metric([row.interface], row.wrong_sources)
                        targets.add_metric([row.interface], row.multicast_targets)
                        multicast.add_metric([row.interface], row.multicast_packets)
                        copies.add_metric([row.interface], row.multicast_copies)
                    case _:
                        pass
        yield _gauge("nhrpd_cache_entries", "Bindings by type.", "type", cache)
        yield _gauge("nhrpd_shortcuts", "Shortcuts by state.", "state", shortcuts)
        yield _gauge("nhrpd_nhs", "Next hop servers by state.", "state", servers)
        yield interfaces
        yield octets
        yield wrong
        yield targets
        yield multicast
        yield copies

    def _adapters(self) -> Metric:
        events = CounterMetricFamily(
            "nhrpd_runtime_events",
            "What the adapters counted: reads, losses, errors.",
            labels=["part", "event"],
        )
        for part, counters in self._counters().items():
            for event, count in counters.items():
                events.add_metric([part, event], count)
        return events


def _gauge(name: str, text: str, label: str, tally: Tally[tuple[str, ...]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["interface", "afi", label])
    for labels, count in tally.items():
        family.add_metric(labels, count)
    return family


def exposition(collector: DaemonCollector) -> bytes:
    """Returns the metrics in the text format that every scraper reads."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(cast(Any, collector))
    return generate_latest(registry)
