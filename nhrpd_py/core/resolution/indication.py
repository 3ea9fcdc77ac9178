"""Whether a Traffic Indication tells us anything new: its target may be a station to which a better path is known."""

from nhrpd_py.core.address import Address
from nhrpd_py.core.station.binding import Binding, BindingType
from nhrpd_py.core.station.location import Locator
from nhrpd_py.core.station.station import Station


def is_bound(locator: Locator, station: Station, target: Address, nbma_source: Address) -> bool:
    """Returns whether the straight path to a station is known, and used as soon as its SA is there and its path proven.

    It may have registered with us, on any tunnel of the cloud, or been resolved. `nbma_source` sent the indication.
    """
    found = locator.known(station, target)
    if found is None:
        return False
    holder, binding = found
    if not binding.installed and not is_under_way(holder, binding):
        return False  # it asked us once, and nobody makes an SA, or tries the path
    # From the very peer an indication means that the station moved; a client of ours would have told us.
    return binding.nbma != nbma_source or binding.type is not BindingType.CACHED


def is_under_way(station: Station, binding: Binding) -> bool:
    """Returns whether the SA or the proof of the path is in the making by which a binding goes into the kernel."""
    circuits, paths, nbma = station.circuits, station.paths, binding.nbma
    if not circuits.is_up(nbma):
        return circuits.is_needed(nbma)
    return binding.type is not BindingType.CACHED or paths.is_tried(nbma) or paths.carries(nbma)
