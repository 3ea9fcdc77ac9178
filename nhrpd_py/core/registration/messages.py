"""Messages of a registration: its request, the Purge that takes it back, its reply read. RFC 2332 §5.2.3, §5.2.5."""

from nhrpd_py.core.address import Address
from nhrpd_py.core.registration.servers import Registration
from nhrpd_py.core.station.station import Station, entries_in
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension
from nhrpd_py.packet.iana import (
    NAT,
    PURGE_NO_REPLY,
    REGISTRATION_UNIQUE,
    ExtensionType,
    PacketType,
)
from nhrpd_py.packet.message import Message

UNIQUE_PREFIX_LENGTH = 0xFF
"""§5.2.3: with the unique bit the prefix length must be 255."""


def registration_request(station: Station, registration: Registration) -> Message:
    """Makes the request for a registration, signed; its request id is the registration's."""
    unique = station.config.unique
    known = registration.protocol or registration.server.config.protocol
    extensions = (
        Extension(ExtensionType.FORWARD_TRANSIT_NHS),
        Extension(ExtensionType.REVERSE_TRANSIT_NHS),
        Extension(ExtensionType.RESPONDER_ADDRESS),
        # The NHS's address as we see it, from which an NHS behind NAT learns that it is.
        station.nat_extension((known or bytes(station.host_length // 8), registration.nbma)),
    )
    return station.message(
        PacketType.REGISTRATION_REQUEST,
        # "Anonymous" registration, to our own address, while the NHS's is to be learnt (§5.2.3).
        registration.server.config.protocol or station.address,
        flags=NAT | (REGISTRATION_UNIQUE if unique else 0),
        request_id=registration.request_id,
        entries=(
            ClientInformation(
                prefix_length=UNIQUE_PREFIX_LENGTH if unique else station.host_length,
                holding_time_s=station.config.holding_time_s,
            ),
        ),
        extensions=station.signed(extensions),
    )


def deregistration(station: Station, registration: Registration) -> Message:
    """Makes the Purge Request that takes our own registration back, without a reply."""
    return station.message(
        PacketType.PURGE_REQUEST,
        registration.protocol or station.address,
        flags=PURGE_NO_REPLY,
        request_id=station.requests.unused_id(),
        entries=(ClientInformation(prefix_length=station.host_length, protocol=station.address),),
        extensions=station.signed(()),
    )


def server_address(station: Station, reply: Message) -> Address:
    """Returns the server's overlay address from its reply; empty where the reply does not have it."""
    protocol = reply.destination_protocol
    if protocol in (b"", station.address):
        # The NHS copied the destination of an anonymous registration; its address is in the responder entry.
        responder = reply.extension(ExtensionType.RESPONDER_ADDRESS)
        listed = entries_in(responder, reply) if responder else ()
        protocol = listed[0].protocol if listed and listed[0].protocol else b""
    usable = len(protocol) * 8 == station.host_length and protocol != station.address
    return protocol if usable else b""
