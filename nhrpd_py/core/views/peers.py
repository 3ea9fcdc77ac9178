"""The view of peers: a row for each NBMA address that we exchange packets with, or want to."""

from collections.abc import Iterator

from nhrpd_py.core.address import Address, format_address
from nhrpd_py.core.instance.instance import Instance
from nhrpd_py.core.ipsec.circuit import CircuitState
from nhrpd_py.core.ipsec.circuits import Circuits
from nhrpd_py.core.rows import (
    PeerRow,
)
from nhrpd_py.core.station.paths import PathState
from nhrpd_py.core.views.common import contested, path_state, round_trip_s


def peer_rows(instance: Instance, now: float) -> Iterator[PeerRow]:
    """Yields one row for each NBMA address with which we exchange packets, or want to."""
    station = instance.station
    circuits = station.circuits
    errors = {each.nbma: each.last_error for each in instance.client.servers.registrations()}
    contests = contested(station, now)
    failed = [each.nbma for each in station.paths if each.state is PathState.FAILED]
    for nbma in dict.fromkeys([*errors, *station.cache.nbma_addresses(), *failed]):
        path = station.paths.get(nbma)
        bindings = station.cache.of_nbma(nbma)
        traffic = circuits.traffic(nbma)
        since = circuits.up_since(nbma)
        if not circuits.protected:
            since = min((each.created_at for each in bindings), default=None)
        yield PeerRow(
            interface=station.interface.name,
            nbma=format_address(nbma),
            local_nbma=format_address(station.interface.nbma) or None,
            protocol=tuple(format_address(each.protocol) for each in bindings),
            ipsec=_ipsec_state(circuits, nbma),
            identity=circuits.identity(nbma),
            up_for_s=None if since is None else round(now - since, 3),
            path=path_state(path),
            rtt_s=round_trip_s(path),
            wrong_sources=circuits.sources.wrong.get(nbma, 0),
            bytes_in=None if traffic is None else traffic.count.octets_in,
            bytes_out=None if traffic is None else traffic.count.octets_out,
            last_error=contests.get(nbma)
            or circuits.problem(nbma)
            or errors.get(nbma)
            or (path and path.reason)
            or instance.one_way(nbma)
            or station.interface.undelivered.reason(nbma, now),
        )


def _ipsec_state(circuits: Circuits, nbma: Address) -> str:
    """Returns `none`, `wanted`, `up` or `failed`, as in the rows."""
    if not circuits.protected:
        return "none"
    match circuits.state(nbma):
        case CircuitState.ANSWERED | CircuitState.UP:
            return "up"
        case CircuitState.FAILED:
            return "failed"
        case CircuitState.IDLE | CircuitState.WANTED:
            return "wanted"
