"""What a transit NHS does with a packet for another station: one hop less, one record more, signed anew.

Loops are found by our own overlay address in the transit record, as responder of a reply that passes, or by a next hop
from which the packet just came. Extensions keep their order; with an unknown compulsory extension the packet is only
forwarded, and no record of ours is added.
RFC 2332 §5.1 (hop count), §5.3.1–§5.3.3 (records), §5.3 (unknown extensions); Cisco NAT extension.
"""

from dataclasses import replace

from nhrpd_py.core.address import Address
from nhrpd_py.core.station.location import Location, usable
from nhrpd_py.core.station.station import Station, entries_in
from nhrpd_py.packet.cie import encode_entries
from nhrpd_py.packet.extension import Extension
from nhrpd_py.packet.iana import ErrorCode, ExtensionType, PacketType
from nhrpd_py.packet.inner import peek
from nhrpd_py.packet.layout import HOP_COUNT_AT, destination_at, extension_at, source_at
from nhrpd_py.packet.message import Message
from nhrpd_py.packet.wire import DropReason

KNOWN_EXTENSIONS = frozenset(
    {
        ExtensionType.RESPONDER_ADDRESS,
        ExtensionType.FORWARD_TRANSIT_NHS,
        ExtensionType.REVERSE_TRANSIT_NHS,
        ExtensionType.AUTHENTICATION,
        ExtensionType.VENDOR_PRIVATE,
        ExtensionType.NAT_ADDRESS,
    }
)


def unknown_compulsory(message: Message) -> Extension | None:
    """Returns the first compulsory extension that we do not know."""
    for extension in message.extensions:
        if extension.compulsory and extension.type not in KNOWN_EXTENSIONS:
            return extension
    return None


def forward(
    station: Station,
    message: Message,
    data: bytes,
    location: Location,
    nbma_source: Address,
    now: float,
) -> None:
    """Sends a message on to the next hop, or drops it and counts the reason.

    It is never sent back to where it came from: two stations whose routes lead to each other would exchange a packet
    without records until its hop count is used up.
    """
    egress = location.station
    peer = location.binding
    if peer is None:
        station.drop(DropReason.NO_ROUTE, nbma_source)
        return
    if message.hop_count == 0:
        code = ErrorCode.HOP_COUNT_EXCEEDED
        station.send_error(nbma_source, peek(data), data, code, now, offset=HOP_COUNT_AT)
        station.drop(DropReason.HOP_COUNT_EXCEEDED, nbma_source)
        return
    loop_at = _loop_at(station, message)
    if loop_at is None and egress is station and peer.nbma == nbma_source:
        # The address that the packet goes to leads back.
        loop_at = source_at(message) if message.is_reply else destination_at(message)
    if loop_at is not None:
        code = ErrorCode.LOOP_DETECTED
        station.send_error(nbma_source, peek(data), data, code, now, offset=loop_at)
        station.drop(DropReason.LOOP_DETECTED, nbma_source)
        return
    records = unknown_compulsory(message) is None and bool(egress.address)
    extensions = tuple(
        _handed_on(station, egress, message, each) if records else each
        for each in message.extensions
    )
    onward = replace(message, hop_count=message.hop_count - 1, extensions=egress.signed(extensions))
    if not egress.fits(onward):
        # It is not handed on without our record: then its receiver would take us for its sender.
        station.refuse_size(message, nbma_source, now)
        return
    egress.send(peer.nbma, onward, forwarded=True)


def _handed_on(
    station: Station, egress: Station, message: Message, extension: Extension
) -> Extension:
    """Returns an extension as the next hop gets it."""
    if extension.type == _transit_record(message):
        return replace(extension, value=extension.value + encode_entries((egress.record(),)))
    if extension.type == ExtensionType.NAT_ADDRESS and not extension.value:
        return _translated(station, message, extension)
    return extension


def _transit_record(message: Message) -> ExtensionType:
    """Returns the transit record of a message: forward in requests, reverse in replies (§5.3.2, §5.3.3)."""
    if message.is_reply:
        return ExtensionType.REVERSE_TRANSIT_NHS
    return ExtensionType.FORWARD_TRANSIT_NHS


def _translated(station: Station, message: Message, extension: Extension) -> Extension:
    """Returns the NAT extension with the sender's post-NAT address, if we know it and the sender does not."""
    if message.is_reply:
        protocol = message.entries[0].protocol if message.entries else b""
    else:
        protocol = message.source_protocol
    binding = usable(station, protocol, learnt=False)
    if binding is None or not binding.nat:
        return extension
    return replace(extension, value=station.nat_extension((protocol, binding.nbma)).value)


def _loop_at(station: Station, message: Message) -> int | None:
    """Returns the octet that shows that the packet has been here before; None where nothing does."""
    if message.type is PacketType.ERROR_INDICATION:
        # §5.2.7: an error of our own that comes by again.
        source = (message.source_protocol, message.source_nbma)
        return source_at(message) if source == (station.address, station.interface.nbma) else None
    suspects = [_transit_record(message)]
    if message.type is PacketType.RESOLUTION_REPLY:
        suspects.append(ExtensionType.RESPONDER_ADDRESS)
    for kind in suspects:
        extension = message.extension(kind)
        if extension is None:
            continue
        if any(
            entry.protocol and station.tables.is_local(entry.protocol)
            for entry in entries_in(extension, message)
        ):
            return extension_at(message, kind)
    return None
