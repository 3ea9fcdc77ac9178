"""The view of shortcuts, with the pending and the negative resolutions."""

from collections.abc import Iterator

from nhrpd_py.core.address import format_address, host_prefix
from nhrpd_py.core.instance.instance import Instance
from nhrpd_py.core.resolution.table import Trigger
from nhrpd_py.core.rows import (
    ShortcutRow,
)
from nhrpd_py.core.views.common import path_state, resolution_state, round_trip_s, seconds_left


def shortcut_rows(instance: Instance, now: float) -> Iterator[ShortcutRow]:
    station = instance.station
    for shortcut in instance.shortcuts:
        path = station.paths.get(shortcut.binding.nbma)
        yield ShortcutRow(
            interface=station.interface.name,
            afi=station.afi,
            prefix=str(shortcut.prefix),
            via=format_address(shortcut.binding.protocol),
            nbma=format_address(shortcut.binding.nbma),
            state="active" if shortcut.binding.installed else "waiting",
            used=shortcut.binding.used,
            expires_in_s=seconds_left(shortcut.expires_at, now),
            holding_time_s=shortcut.holding_time_s,
            identity=station.circuits.identity(shortcut.binding.nbma),
            path=path_state(path),
            rtt_s=round_trip_s(path),
            reason=None,
        )
    for resolution in instance.requester.resolutions.values():
        if resolution.trigger in (Trigger.REDIRECT, Trigger.OPERATOR):
            yield ShortcutRow(
                interface=station.interface.name,
                afi=station.afi,
                prefix=str(host_prefix(resolution.target)),
                via=None,
                nbma=None,
                state=resolution_state(resolution),
                used=False,
                expires_in_s=seconds_left(resolution.until, now),
                holding_time_s=None,
                identity=None,
                path=None,
                rtt_s=None,
                reason=resolution.reason,
            )
