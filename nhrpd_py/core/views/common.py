"""What rows of several views have in common."""

from nhrpd_py.core.address import Address
from nhrpd_py.core.resolution.table import Resolution, ResolutionState
from nhrpd_py.core.station.binding import NEVER
from nhrpd_py.core.station.paths import Path, PathState
from nhrpd_py.core.station.station import Station


def seconds_left(at: float, now: float) -> float | None:
    return None if at == NEVER else round(max(0.0, at - now), 3)


def path_state(path: Path | None) -> str | None:
    """Returns the state of a path; None where nothing is known of it."""
    return None if path is None or path.state is PathState.UNKNOWN else path.state.value


def round_trip_s(path: Path | None) -> float | None:
    """Returns the last round trip time of a path that carries."""
    if path is None or path.rtt_s is None or not path.carries:
        return None
    return round(path.rtt_s, 6)


def resolution_state(resolution: Resolution) -> str:
    return "negative" if resolution.state is ResolutionState.NEGATIVE else "incomplete"


def contested(station: Station, now: float) -> dict[Address, str]:
    """Returns the NBMA addresses that have an identity or a tunnel address in turn with another one, and the reason."""
    found = {nbma: each.reason for nbma, each in station.circuits.contests(now).items()}
    for contest in station.contests.all(now):
        found.update(dict.fromkeys(contest.places, contest.reason))
    return found
