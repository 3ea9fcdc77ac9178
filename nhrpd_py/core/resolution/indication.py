"""Whether a Traffic Indication tells us anything new: its target may be a station to which a better path is known."""

from nhrpd_py.core.address import Address
from nhrpd_py.core.ipsec.circuit import CircuitState
from nhrpd_py.core.station.binding import BindingType
from nhrpd_py.core.station.location import Locator
from nhrpd_py.core.station.station import Station


def is_bound(locator: Locator, station: Station, target: Address, nbma_source: Address) -> bool:
    """Returns whether the straight path to a station is known, and used as soon as its SA is there.

    It may have registered with us, on any tunnel of the cloud, or been resolved. `nbma_source` sent the indication.
    """
    found = locator.known(station, target)
    if found is None:
        return False
    holder, binding = found
    if not binding.installed and holder.circuits.state(binding.nbma) is CircuitState.IDLE:
        return False  # it asked us once, and nobody makes an SA
    # From the very peer an indication means that the station moved; a client of ours would have told us.
    return binding.nbma != nbma_source or binding.type is not BindingType.CACHED
