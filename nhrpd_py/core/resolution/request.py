"""Makes Resolution Requests: for a resolution, along the routed path, and for a probe, straight to a peer. §5.2.1."""

from nhrpd_py.core.address import Address
from nhrpd_py.core.station.paths import Path
from nhrpd_py.core.station.station import Station
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension
from nhrpd_py.packet.iana import (
    NAT,
    RESOLUTION_AUTHORITATIVE,
    RESOLUTION_ROUTER,
    RESOLUTION_SOURCE_STABLE,
    ExtensionType,
    PacketType,
)
from nhrpd_py.packet.message import Message

FOREIGN_S = 60
"""How long what we tell of ourselves is good for a station that never probed us: it would not notice a path that
breaks."""
DOUBTED_S = 2
"""The same while the path to it does not carry: each of our requests would put its traffic for us there again."""


def resolution_request(station: Station, target: Address, request_id: int) -> Message:
    """Returns a request for an overlay address; its answerer may bind our own address for a while."""
    extensions = (
        Extension(ExtensionType.FORWARD_TRANSIT_NHS),
        Extension(ExtensionType.REVERSE_TRANSIT_NHS),
        Extension(ExtensionType.RESPONDER_ADDRESS),
        station.own_nat_extension(),
    )
    return station.message(
        PacketType.RESOLUTION_REQUEST,
        target,
        flags=RESOLUTION_ROUTER | RESOLUTION_AUTHORITATIVE | RESOLUTION_SOURCE_STABLE | NAT,
        request_id=request_id,
        # Host length, as FRR without `unique` does: 0 makes FRR skip the entry, 255 Cisco.
        entries=(
            ClientInformation(
                prefix_length=station.host_length,
                mtu=station.mtu,
                holding_time_s=_bound_for_s(station, target),
            ),
        ),
        extensions=station.signed(extensions),
    )


def _bound_for_s(station: Station, target: Address) -> int:
    """Returns for how long the station that is asked for, or behind which the target is, may bind us by our request."""
    holding_time_s, path = station.config.holding_time_s, _path_towards(station, target)
    if not station.paths.enabled or (path is not None and path.probes_us):
        return holding_time_s
    is_doubted = path is not None and path.failures > 0 and not path.carries
    return min(DOUBTED_S if is_doubted else FOREIGN_S, holding_time_s)


def _path_towards(station: Station, target: Address) -> Path | None:
    """Returns the path to the station of a target, or behind which it is by its shortcut, or its route (phase 2)."""
    paths = station.paths
    shortcut = station.shortcuts.longest(target)
    if shortcut is not None:
        return paths.get(shortcut.binding.nbma)
    route = station.tables.ribs[station.afi].lookup(target)
    return paths.to_station(target) or (paths.to_station(route.gateway) if route else None)
