"""The view of the routes that we ask the kernel for."""

from collections.abc import Iterator

from nhrpd_py.core.address import format_address, host_prefix
from nhrpd_py.core.instance.instance import Instance
from nhrpd_py.core.rows import (
    RouteRow,
)


def route_rows(instance: Instance) -> Iterator[RouteRow]:
    station = instance.station
    name = station.interface.name
    for binding in station.cache:
        if binding.routed:
            yield RouteRow(
                interface=name,
                afi=station.afi,
                prefix=str(host_prefix(binding.protocol)),
                via=None,
                kind="host",
            )
    for shortcut in instance.shortcuts:
        if not shortcut.binding.installed:
            continue
        yield RouteRow(
            interface=name,
            afi=station.afi,
            prefix=str(shortcut.prefix),
            via=format_address(shortcut.binding.protocol),
            kind="shortcut",
        )
