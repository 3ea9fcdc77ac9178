"""The daemon's status for the control API, for Prometheus and for the service manager.

Adds to the engine's views what only the adapters know: packets that were lost on their way to the
engine, counters, and the problems of single parts of the daemon.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import trio

from nhrpd_py.core.engine import Engine
from nhrpd_py.core.queries import Query, View
from nhrpd_py.core.rows import InterfaceRow, NhsRow, Row, TrafficRow
from nhrpd_py.runtime import logs
from nhrpd_py.runtime.control.notices import NoticeHub
from nhrpd_py.runtime.guard.guard import Guard
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.kernel.store import KernelStore
from nhrpd_py.runtime.listeners import Listeners
from nhrpd_py.runtime.multicast import MulticastSender
from nhrpd_py.runtime.packets import PacketSockets
from nhrpd_py.runtime.pump import Pump
from nhrpd_py.runtime.resolver import NameResolver
from nhrpd_py.runtime.source_filter.keeper import SourceFilters
from nhrpd_py.runtime.steered import Steered
from nhrpd_py.runtime.systemd import status_text
from nhrpd_py.runtime.vici.supervisor import Supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStatus:
    """Reads the parts of the daemon at every call; keeps nothing."""

    started_at: float
    engine: Engine
    pump: Pump
    inbox: Inbox
    packets: PacketSockets
    multicast: MulticastSender
    kernel: KernelStore
    guard: Guard
    filters: SourceFilters
    listeners: Listeners
    supervisor: Supervisor
    resolver: NameResolver
    notices: NoticeHub
    steered: Sequence[Steered[Any]]

    def uptime(self) -> float:
        """Returns the seconds since the daemon started."""
        return trio.current_time() - self.started_at

    def ask(self, query: Query) -> Sequence[Row]:
        """Returns the rows of a view."""
        rows = self.engine.view(query, trio.current_time())
        return [*rows, *self._lost(query.interface)] if query.view is View.TRAFFIC else rows

    def _lost(self, interface: str | None) -> Iterator[TrafficRow]:
        """Yields the drops of the adapters, which the engine does not count."""
        of_pump = {None: {"internal-error": self.pump.counters["internal-error"]}}
        drops: tuple[Mapping[Any, Mapping[str, int]], ...] = (
            self.packets.drops,
            self.multicast.drops,
            of_pump,
        )
        for name, reasons in (each for part in drops for each in part.items()):
            if interface in (None, name):
                for reason, packets in reasons.items():
                    if packets:
                        yield TrafficRow(
                            interface=name,
                            afi=None,
                            direction="dropped",
                            type=reason,
                            packets=packets,
                        )

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """Returns the counters of each part, by its name."""
        return {
            "pump": self.pump.counters,
            "inbox": {
                "waiting": len(self.inbox),
                "dropped_batches": self.inbox.dropped_batches,
                "dropped_events": self.inbox.dropped_events,
            },
            "packets": self.packets.counters,
            "multicast": self.multicast.counters,
            "kernel": self.kernel.counters,
            "guard": self.guard.counters,
            "source-filter": self.filters.counters,
            "vici": self.supervisor.counters,
            **self.listeners.counters,
            "resolver": self.resolver.counters,
            "notices": self.notices.counts,
            "logs": logs.counters,
        }

    def problems(self) -> Mapping[str, str]:
        """Returns the problems of parts of the daemon, by their names."""
        return {
            **self._problems_of_steered(),
            **self.kernel.problems,
            **{f"guard {name}": reason for name, reason in self.guard.problems.items()},
            **{f"source-filter {name}": why for name, why in self.filters.problems.items()},
        }

    def sentence(self) -> str:
        """Returns the line that `systemctl status` shows."""
        servers = [row for row in self.ask(Query(view=View.NHS)) if isinstance(row, NhsRow)]
        interfaces = self.ask(Query(view=View.INTERFACES))
        return status_text(
            servers,
            [row for row in interfaces if isinstance(row, InterfaceRow)],
            self.engine.peer_count(),
            self._problems_of_steered(),
        )

    def _problems_of_steered(self) -> dict[str, str]:
        return {part.name: part.problem for part in self.steered if part.problem is not None}
