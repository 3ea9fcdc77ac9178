"""Whether a binding or a shortcut would lead the tunnel into itself: the kernel drops what it would send that way.

The outer packets for an NBMA address follow the kernel's routes like all others. So a route of ours must not cover an
NBMA address that is in use, and the NBMA address of a peer must not be routed into the cloud by others. A tunnel of
another cloud is a way like any other, for clouds may be stacked.
"""

from collections.abc import Collection

from nhrpd_py.core.address import Address, Prefix, afi_of
from nhrpd_py.core.station.location import MIN_EGRESS_LENGTH, Locator
from nhrpd_py.core.station.shortcuts import Shortcut, ShortcutTable
from nhrpd_py.core.station.station import Station


def captures(
    locator: Locator, station: Station, prefix: Prefix, nbmas: Collection[Address] = ()
) -> bool:
    """Returns whether a route of ours for a prefix would take packets for NBMA addresses away from the underlay.

    It looks at the NBMA addresses in use in the cloud, and at `nbmas`.
    """
    cloud = locator.cloud(station)
    if prefix.is_host:  # no route is the kernel's choice before that of a host
        address = prefix.address
        return address in nbmas or any(each.cache.is_in_use(address) for each in cloud)
    if any(_takes(locator, prefix, each) for each in nbmas):
        return True
    return any(
        _takes(locator, prefix, nbma)
        for member in cloud
        for nbma in member.cache.nbma_inside(prefix)
    )


def capturing(
    locator: Locator, station: Station, nbma: Address
) -> tuple[ShortcutTable, Shortcut] | None:
    """Returns the shortcut that takes packets for an NBMA address away from the underlay, with its table."""
    for member in locator.cloud(station):
        if member.afi is afi_of(nbma):
            shortcut = member.shortcuts.longest(nbma)
            if shortcut is not None and _takes(locator, shortcut.prefix, nbma):
                return member.shortcuts, shortcut
    return None


def _takes(locator: Locator, prefix: Prefix, nbma: Address) -> bool:
    """Returns whether a route for a prefix would be the kernel's choice for an NBMA address."""
    if not prefix.contains(nbma):
        return False
    route = locator.route(nbma)
    return route is None or route.prefix.length <= prefix.length


def is_routed_into_cloud(locator: Locator, station: Station, nbma: Address) -> bool:
    """Returns whether a host route of ours, or a route of others, leads an NBMA address into the cloud.

    Of a tunnel that is bound to its underlay, the packets only follow the routes there. A default route (less than
    /8) says nothing: it often leads into the tunnel while rules send the tunnel's own packets another way.
    """
    if any(each.cache.get(nbma) is not None for each in locator.cloud(station)):
        return True
    gre = station.interface.gre
    if gre is not None and gre.link:
        return False
    route = locator.route(nbma)
    if route is None or route.prefix.length < MIN_EGRESS_LENGTH:
        return False
    outgoing = locator.station(route.ifindex, station.afi)
    return outgoing is not None and locator.same_cloud(station, outgoing)
