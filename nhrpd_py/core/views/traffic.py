"""The view of traffic: packets by type, and drops and losses by reason."""

from collections.abc import Iterator

from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.instance.tunnels import Tunnels
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


def loss_rows(tunnels: Tunnels, interface: str | None) -> Iterator[TrafficRow]:
    """Yields what ICMP errors and the kernel's counters tell of lost packets, by reason."""
    for tunnel in tunnels:
        each = tunnel.interface
        if interface not in (None, each.name):
            continue
        undelivered = sorted(each.undelivered.counts.items())
        for direction, counts in (("undelivered", undelivered), ("lost", each.losses.totals())):
            for reason, packets in counts:
                yield TrafficRow(
                    interface=each.name, afi=None, direction=direction, type=reason, packets=packets
                )
