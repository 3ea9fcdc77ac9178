"""How long a peer is left alone that cannot be reached, by IKE or on the direct path."""

FIRST_HOLD_DOWN_S = 30.0
"""After the first failure; doubles with each one in a row."""
MAX_HOLD_DOWN_S = 900.0
_MAX_DOUBLINGS = 16


def hold_down_s(failures: int) -> float:
    """Returns the seconds of a hold-down before which there were so many in a row."""
    return min(FIRST_HOLD_DOWN_S * 2.0 ** min(failures, _MAX_DOUBLINGS), MAX_HOLD_DOWN_S)
