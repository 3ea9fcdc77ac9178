"""Messages of a registration: its request, the Purge that takes it back, its reply read. RFC 2332 §5.2.3, §5.2.5."""

from nhrpd_py.core.address import Address
from nhrpd_py.core.registration.servers import NhsState, Registration
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
    """Makes the request for a registration, signed; its request id and destination are the registration's."""
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
        registration.destination,
        flags=NAT | (REGISTRATION_UNIQUE if unique else 0),
        request_id=registration.request_id,
        entries=(
            ClientInformation(
                prefix_length=UNIQUE_PREFIX_LENGTH if unique else station.host_length,
                mtu=station.mtu,
                holding_time_s=station.config.holding_time_s,
            ),
        ),
        extensions=station.signed(extensions),
    )


def request_destination(station: Station, registration: Registration) -> Address:
    """Returns the NHS's address where it is known, else our own, for an "anonymous" registration (§5.2.3).

    A learnt address counts while the NHS answers: after a loss, another NHS may have taken over its NBMA address.
    """
    learnt = registration.state is NhsState.UP and not registration.lost
    known = registration.server.config.protocol or (registration.protocol if learnt else b"")
    return known or station.address


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
        responder = _responder(reply)
        protocol = responder.protocol if responder is not None else b""
    usable = len(protocol) * 8 == station.host_length and protocol != station.address
    return protocol if usable else b""


def server_mtu(reply: Message) -> int:
    """Returns the server's MTU from its reply, or 0. The entry of the reply has our own, which the server returned."""
    responder = _responder(reply)
    return responder.mtu if responder is not None else 0


def _responder(reply: Message) -> ClientInformation | None:
    extension = reply.extension(ExtensionType.RESPONDER_ADDRESS)
    return next(iter(entries_in(extension, reply)), None) if extension is not None else None
