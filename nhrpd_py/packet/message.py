"""A whole NHRP packet (RFC 2332 §5) as a value, and its two conversions.

``decode`` is strict and total: any octets yield a ``Message`` or raise ``BadPacket``, never another
exception. It accepts harmless deviations of deployed routers: octets behind the End extension, a
missing End, extensions in an indication, garbage in unused fields.
"""

import struct
from dataclasses import dataclass

from nhrpd_py.packet.cie import MAX_LENGTH, ClientInformation, decode_entries, encode_entries
from nhrpd_py.packet.extension import (
    COMPULSORY,
    END_EXTENSION,
    EXTENSION_HEADER,
    RECORDS,
    TYPE_MASK,
    Extension,
)
from nhrpd_py.packet.iana import (
    NBMA_SIZES,
    PACKET_TYPES,
    PROTOCOL_SIZES,
    ErrorCode,
    ExtensionType,
    PacketType,
)
from nhrpd_py.packet.wire import BadPacket, DropReason, internet_checksum

VERSION = 1

# Fixed part, §5.1:
#   afn 2 | protocol type 2 | SNAP 5 (zero; read by nobody who speaks IP) | hop count 1
#   | packet size 2 | checksum 2 | extension offset 2 | version 1 | type 1
#   | source NBMA type and length 1 | source NBMA subaddress type and length 1
# Start of the mandatory part, §5.2.0.1:
#   source protocol length 1 | destination protocol length 1 | flags 2 | request id 4
# In the indications the flags are unused and two 16-bit fields stand in for the request id: error
# code and error offset (§5.2.7), or traffic code and zero.
HEADER = struct.Struct(">HH5xBHHHBBBBBBHI")
HEADER_SIZE = HEADER.size
_WORD = struct.Struct(">I")
_HALVES = struct.Struct(">HH")
_SIZE_AT = 10
_CHECKSUM_AT = 12
EXTENSION_OFFSET_AT = 14

TYPE_AT = 17
INDICATIONS = frozenset({PacketType.ERROR_INDICATION, PacketType.TRAFFIC_INDICATION})
_REQUESTS = frozenset(
    {PacketType.RESOLUTION_REQUEST, PacketType.REGISTRATION_REQUEST, PacketType.PURGE_REQUEST}
)
REPLIES = frozenset(
    {PacketType.RESOLUTION_REPLY, PacketType.REGISTRATION_REPLY, PacketType.PURGE_REPLY}
)

# §5.2.2, §5.2.3: these two types have no meaning without an entry.
_NEEDS_ENTRIES = frozenset({PacketType.RESOLUTION_REPLY, PacketType.REGISTRATION_REQUEST})

# §5.2.0.1 lets any packet leave out the source NBMA address; but these two ask for a reply to that
# address, or for a binding with it.
_NEEDS_SOURCE_NBMA = frozenset({PacketType.RESOLUTION_REQUEST, PacketType.REGISTRATION_REQUEST})


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One packet. The encoder computes lengths, offsets and the checksum; unused fields are left
    out."""

    type: PacketType
    afn: int
    """Family of the NBMA addresses: ``AFN_IPV4`` or ``AFN_IPV6``."""
    protocol_type: int
    """Family of the protocol addresses: ``PROTOCOL_IPV4`` or ``PROTOCOL_IPV6``."""
    hop_count: int = 255
    flags: int = 0
    """Types 1 to 6; what a bit means depends on the type."""
    request_id: int = 0
    """Types 1 to 6."""
    source_nbma: bytes
    source_nbma_subaddress: bytes = b""
    source_protocol: bytes
    destination_protocol: bytes
    entries: tuple[ClientInformation, ...] = ()
    """Types 1 to 6."""
    error_code: int = 0
    """Type 7. May be a number that ``ErrorCode`` does not know."""
    error_offset: int = 0
    """Type 7: octet of the offending packet, counted from its fixed part."""
    traffic_code: int = 0
    """Type 8; 0 asks for a shortcut."""
    payload: bytes = b""
    """The beginning of the offending NHRP packet (type 7) or of the data packet (type 8)."""
    extensions: tuple[Extension, ...] = ()
    """In the order of the packet, which no NHS may change (§5.3); without End."""

    @property
    def nbma_size(self) -> int:
        """Octets of an NBMA address."""
        return NBMA_SIZES[self.afn]

    @property
    def protocol_size(self) -> int:
        """Octets of a protocol address."""
        return PROTOCOL_SIZES[self.protocol_type]

    @property
    def is_request(self) -> bool:
        """Whether the packet is a request; it travels from source to destination."""
        return self.type in _REQUESTS

    @property
    def is_reply(self) -> bool:
        """Whether the packet is a reply; it travels from destination to source."""
        return self.type in REPLIES

    def extension(self, type: int) -> Extension | None:  # noqa: A002 - the field's name
        """Finds the first extension of a type."""
        for extension in self.extensions:
            if extension.type == type:
                return extension
        return None


def encode(message: Message) -> bytes:
    """Encodes a packet. ``ValueError`` when a field does not fit its width on the wire."""
    try:
        return _encode(message)
    except struct.error as error:
        raise ValueError(f"not encodable: {error}") from error


def decode(data: bytes) -> Message:
    """Decodes one packet, or raises ``BadPacket``. Octets behind the packet size are ignored."""
    try:
        return _decode(data)
    except BadPacket as bad:
        # §5.2.7: an Error Indication is never answered with another one.
        if bad.answer is not None and data[TYPE_AT] == PacketType.ERROR_INDICATION:
            raise BadPacket(bad.reason, bad.offset) from None
        raise


def _encode(message: Message) -> bytes:
    flags = 0
    if message.type is PacketType.ERROR_INDICATION:
        (word,) = _WORD.unpack(_HALVES.pack(message.error_code, message.error_offset))
        body = message.payload
    elif message.type is PacketType.TRAFFIC_INDICATION:
        (word,) = _WORD.unpack(_HALVES.pack(message.traffic_code, 0))
        body = message.payload
    else:
        flags = message.flags
        word = message.request_id
        body = encode_entries(message.entries)
    nbma = message.source_nbma
    subaddress = message.source_nbma_subaddress
    source = message.source_protocol
    destination = message.destination_protocol
    mandatory = b"".join((nbma, subaddress, source, destination, body))
    extension_offset = 0
    tail = b""
    if message.extensions:
        extension_offset = HEADER_SIZE + len(mandatory)
        tail = _encode_extensions(message.extensions)
    header = HEADER.pack(
        message.afn,
        message.protocol_type,
        message.hop_count,
        HEADER_SIZE + len(mandatory) + len(tail),
        0,
        extension_offset,
        VERSION,
        message.type,
        len(nbma),
        len(subaddress),
        len(source),
        len(destination),
        flags,
        word,
    )
    packet = header + mandatory + tail
    checksum = internet_checksum(packet).to_bytes(2, "big")
    return packet[:_CHECKSUM_AT] + checksum + packet[_CHECKSUM_AT + 2 :]


def _encode_extensions(extensions: tuple[Extension, ...]) -> bytes:
    parts: list[bytes] = []
    for extension in extensions:
        value = extension.value
        kind = extension.type | COMPULSORY if extension.compulsory else extension.type
        parts += (EXTENSION_HEADER.pack(kind, len(value)), value)
    parts.append(END_EXTENSION)
    return b"".join(parts)


def _decode(data: bytes) -> Message:
    if len(data) < HEADER_SIZE:
        raise BadPacket(DropReason.TRUNCATED, len(data))
    (
        afn,
        protocol_type,
        hop_count,
        size,
        _checksum,
        extension_offset,
        version,
        type_number,
        nbma_length,
        sub_length,
        source_length,
        destination_length,
        flags,
        word,
    ) = HEADER.unpack_from(data)

    data = _intact(data, size)
    if version != VERSION:
        raise _protocol_error(DropReason.BAD_VERSION, 16)
    packet_type = PACKET_TYPES.get(type_number)
    if packet_type is None:
        raise _protocol_error(DropReason.UNKNOWN_TYPE, TYPE_AT)
    nbma_size = NBMA_SIZES.get(afn)
    protocol_size = PROTOCOL_SIZES.get(protocol_type)
    if nbma_size is None or protocol_size is None:
        raise _protocol_error(DropReason.UNSUPPORTED_ADDRESS_FAMILY, 2 if nbma_size else 0)

    if nbma_length != nbma_size and (nbma_length or packet_type in _NEEDS_SOURCE_NBMA):
        raise _protocol_error(DropReason.BAD_ADDRESS_LENGTH, 18)
    if sub_length > MAX_LENGTH:
        raise _protocol_error(DropReason.BAD_ADDRESS_LENGTH, 19)
    if source_length != protocol_size or destination_length != protocol_size:
        _check_protocol_lengths(packet_type, protocol_size, source_length, destination_length)
    sub_at = HEADER_SIZE + nbma_length
    source_at = sub_at + sub_length
    destination_at = source_at + source_length
    body_at = destination_at + destination_length

    extensions: tuple[Extension, ...] = ()
    if extension_offset:
        end = extension_offset
        if not body_at <= end <= size - EXTENSION_HEADER.size:
            raise _protocol_error(DropReason.BAD_EXTENSION_OFFSET, EXTENSION_OFFSET_AT)
        extensions = _decode_extensions(data, end, nbma_size, protocol_size)
    else:
        end = size
        if body_at > end:
            raise BadPacket(DropReason.TRUNCATED, end)

    entries: tuple[ClientInformation, ...] = ()
    payload = b""
    error_code = error_offset = traffic_code = 0
    if packet_type in INDICATIONS:
        payload = data[body_at:end]
        if packet_type is PacketType.ERROR_INDICATION:
            error_code, error_offset = word >> 16, word & 0xFFFF
        else:
            traffic_code = word >> 16
        flags = word = 0
    else:
        entries = decode_entries(data[body_at:end], nbma_size, protocol_size, body_at)
        if not entries and packet_type in _NEEDS_ENTRIES:
            raise _protocol_error(DropReason.MISSING_CLIENT_INFORMATION, body_at)
    return Message(
        type=packet_type,
        afn=afn,
        protocol_type=protocol_type,
        hop_count=hop_count,
        flags=flags,
        request_id=word,
        source_nbma=data[HEADER_SIZE:sub_at],
        source_nbma_subaddress=data[sub_at:source_at],
        source_protocol=data[source_at:destination_at],
        destination_protocol=data[destination_at:body_at],
        entries=entries,
        error_code=error_code,
        error_offset=error_offset,
        traffic_code=traffic_code,
        payload=payload,
        extensions=extensions,
    )


def _intact(data: bytes, size: int) -> bytes:
    """Cuts ``data`` to the packet and verifies it, before anything is believed or answered."""
    if size != len(data):
        if not HEADER_SIZE <= size < len(data):
            raise BadPacket(DropReason.BAD_PACKET_SIZE, _SIZE_AT)
        data = data[:size]
    if internet_checksum(data):
        raise BadPacket(DropReason.BAD_CHECKSUM, _CHECKSUM_AT)
    return data


def _check_protocol_lengths(
    packet_type: PacketType, protocol_size: int, source_length: int, destination_length: int
) -> None:
    """Accepts an absent protocol address in an Error Indication only.

    All other types are routed, answered and stored by both addresses; but the sender of an error
    may not know them, and its report is still useful.
    """
    admitted = {protocol_size}
    if packet_type is PacketType.ERROR_INDICATION:
        admitted.add(0)
    if source_length not in admitted:
        raise _protocol_error(DropReason.BAD_ADDRESS_LENGTH, 20)
    if destination_length not in admitted:
        raise _protocol_error(DropReason.BAD_ADDRESS_LENGTH, 21)


def _decode_extensions(
    data: bytes, at: int, nbma_size: int, protocol_size: int
) -> tuple[Extension, ...]:
    extensions: list[Extension] = []
    seen: set[int] = set()
    end = len(data)
    while at < end:
        value_at = at + EXTENSION_HEADER.size
        if value_at > end:
            raise BadPacket(DropReason.EXTENSION_OVERRUN, at, ErrorCode.INVALID_EXTENSION)
        kind, length = EXTENSION_HEADER.unpack_from(data, at)
        number = kind & TYPE_MASK
        if number == ExtensionType.END:
            break
        following = value_at + length
        if following > end:
            raise BadPacket(DropReason.EXTENSION_OVERRUN, at, ErrorCode.INVALID_EXTENSION)
        # §5.3: each type once, save those of vendors.
        if number in seen and number != ExtensionType.VENDOR_PRIVATE:
            raise BadPacket(DropReason.DUPLICATE_EXTENSION, at, ErrorCode.INVALID_EXTENSION)
        seen.add(number)
        extension = Extension(number, data[value_at:following], kind >= COMPULSORY)
        if length and number in RECORDS:
            extension.entries(nbma_size, protocol_size, value_at)
        extensions.append(extension)
        at = following
    return tuple(extensions)


def _protocol_error(reason: DropReason, offset: int) -> BadPacket:
    return BadPacket(reason, offset, ErrorCode.PROTOCOL_ERROR)
