"""What rows of several views have in common."""

from nhrpd_py.core.resolution.table import Resolution, ResolutionState
from nhrpd_py.core.station.binding import NEVER


def seconds_left(at: float, now: float) -> float | None:
    return None if at == NEVER else round(max(0.0, at - now), 3)


def resolution_state(resolution: Resolution) -> str:
    return "negative" if resolution.state is ResolutionState.NEGATIVE else "incomplete"
