"""The state to save for the next start, and the number of peers."""

from nhrpd_py.core.instance.tunnels import Tunnels
from nhrpd_py.core.state import SavedBinding, SavedState
from nhrpd_py.core.station.binding import BindingType, Origin


def saved_state(tunnels: Tunnels, now: float) -> SavedState:
    """Returns the registrations of our clients."""
    bindings = tuple(
        SavedBinding(
            interface=instance.station.interface.name,
            protocol=binding.protocol,
            nbma=binding.nbma,
            claimed_nbma=binding.claimed_nbma,
            unique=binding.unique,
            remaining_s=binding.expires_at - now,
        )
        for instance in tunnels.instances()
        for binding in instance.station.cache
        if binding.type is BindingType.DYNAMIC and binding.origin is not Origin.KERNEL
    )
    return SavedState(bindings=bindings)


def peer_count(tunnels: Tunnels) -> int:
    """Returns how many rows the view of peers has at least: NBMA addresses of each tunnel's bindings."""
    return len(
        {
            (instance.station.interface.name, binding.nbma)
            for instance in tunnels.instances()
            for binding in instance.station.cache
        }
    )
