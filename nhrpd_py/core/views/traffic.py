"""The view of traffic: packets by type, and drops by reason."""

from collections.abc import Iterator

from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.rows import (
    TrafficRow,
)
from nhrpd_py.core.station.station import Station
from nhrpd_py.packet.iana import PacketType


def traffic_rows(station: Station) -> Iterator[TrafficRow]:
    counters = station.counters
    for direction, counts in (
        ("sent", counters.sent),
        ("received", counters.received),
        ("forwarded", counters.forwarded),
    ):
        for kind in PacketType:
            if counts[kind]:
                yield TrafficRow(
                    interface=station.interface.name,
                    afi=station.afi,
                    direction=direction,
                    type=kind.name.lower().replace("_", "-"),
                    packets=counts[kind],
                )


def drop_rows(outbox: Outbox, interface: str | None) -> Iterator[TrafficRow]:
    """Yields the dropped packets by reason; those of no interface of ours have none."""
    for (name, reason), packets in sorted(
        outbox.drops.items(), key=lambda item: (item[0][0] or "", item[0][1])
    ):
        if interface in (None, name):
            yield TrafficRow(
                interface=name, afi=None, direction="dropped", type=reason, packets=packets
            )
