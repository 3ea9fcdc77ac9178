"""Why a next hop server does not answer, as far as anything is known."""

from nhrpd_py.core.address import format_address
from nhrpd_py.core.registration.servers import LOST_AFTER, Registration
from nhrpd_py.core.station.station import Station


def silence(station: Station, registration: Registration, now: float) -> str:
    """Returns what to say of a server that does not answer, with the reason where it is known."""
    said = f"no answer to {LOST_AFTER} registration requests"
    nbma, name = registration.nbma, station.interface.name
    if station.sends_into_itself(nbma):
        return (
            f"{said}: the route to {format_address(nbma)} leads into {name} itself; bind the tunnel to its "
            f"underlay (ip tunnel change {name} dev UNDERLAY), or keep that route out"
        )
    hint = station.interface.undelivered.explanation(nbma, now) or station.circuits.one_way(nbma)
    return f"{said}: {hint}" if hint else said
