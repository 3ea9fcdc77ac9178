"""Makes Resolution Requests: for a resolution, along the routed path, and for a probe, straight to a peer. §5.2.1."""

from nhrpd_py.core.address import Address
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


def resolution_request(station: Station, target: Address, request_id: int) -> Message:
    """Returns a request for an overlay address; its answerer may bind our own address for our holding time."""
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
                holding_time_s=station.config.holding_time_s,
            ),
        ),
        extensions=station.signed(extensions),
    )
