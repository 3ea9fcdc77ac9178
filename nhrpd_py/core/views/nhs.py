"""The view of the next hop servers."""

from collections.abc import Iterator

from nhrpd_py.core.address import Afi, format_address
from nhrpd_py.core.instance.instance import Instance
from nhrpd_py.core.registration.servers import NhsState, Registration, Server
from nhrpd_py.core.rows import (
    NhsRow,
)
from nhrpd_py.core.station.station import Station
from nhrpd_py.core.views.common import seconds_left


def nhs_rows(instance: Instance, now: float) -> Iterator[NhsRow]:
    station = instance.station
    for server in instance.client.servers:
        if not _speaks_for(station, server):
            continue
        if not server.registrations:
            yield _unresolved_row(station, server)
        for each in server.registrations.values():
            is_up = each.state is NhsState.UP
            yield NhsRow(
                interface=station.interface.name,
                afi=station.afi,
                name=server.config.nbma,
                nbma=format_address(each.nbma),
                protocol=format_address(each.protocol or server.config.protocol or b"") or None,
                priority=server.config.priority,
                cluster=server.config.cluster,
                state=each.state,
                registered_for_s=round(now - each.up_since, 3) if is_up else None,
                next_attempt_in_s=None if each.next_at is None else seconds_left(each.next_at, now),
                last_error=each.last_error
                or _waiting(station, each)
                or station.interface.undelivered.reason(each.nbma, now),
                requests_sent=each.requests_sent,
                replies_received=each.replies_received,
            )


def _speaks_for(station: Station, server: Server) -> bool:
    """Returns whether a server has a row in this family: the tunnel uses the family, or could."""
    if station.address:
        return True
    if station.interface.addresses:
        return False
    return server.config.protocol is not None or station.afi is Afi.IPV4


def _unresolved_row(station: Station, server: Server) -> NhsRow:
    return NhsRow(
        interface=station.interface.name,
        afi=station.afi,
        name=server.config.nbma,
        nbma=None,
        protocol=format_address(server.config.protocol or b"") or None,
        priority=server.config.priority,
        cluster=server.config.cluster,
        state=NhsState.DOWN,
        registered_for_s=None,
        next_attempt_in_s=None,
        last_error=server.name_error or station.interface.problem,
        requests_sent=0,
        replies_received=0,
    )


def _waiting(station: Station, registration: Registration) -> str | None:
    """Returns why a server without an error has not been sent a request yet; None when it has."""
    if registration.is_idle or station.circuits.is_up(registration.nbma):
        return None
    return station.circuits.problem(registration.nbma) or "waiting for the security association"
