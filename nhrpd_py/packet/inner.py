"""Reads the packets inside indications: a data packet in type 8, an NHRP packet in type 7."""

from dataclasses import dataclass

from nhrpd_py.packet.iana import NBMA_SIZES, PROTOCOL_IPV4, PROTOCOL_IPV6, PROTOCOL_SIZES
from nhrpd_py.packet.message import HEADER, HEADER_SIZE, INDICATIONS, VERSION
from nhrpd_py.packet.wire import BadPacket, DropReason

# By protocol type: IP version, octets of the basic header, offset of the source address, octets of
# an address; the destination address follows the source (RFC 791 §3.1, RFC 8200 §3).
_LAYOUTS = {PROTOCOL_IPV4: (4, 20, 12, 4), PROTOCOL_IPV6: (6, 40, 8, 16)}


@dataclass(frozen=True, slots=True, kw_only=True)
class OffendingHeader:
    """The header of the packet that an Error Indication is about, as far as it is there."""

    type: int
    """May be an unknown type, which can be the reason of the error."""
    afn: int
    protocol_type: int
    flags: int
    request_id: int
    """0 in the types that have none."""
    source_nbma: bytes
    source_protocol: bytes
    destination_protocol: bytes


def data_addresses(payload: bytes, protocol_type: int) -> tuple[bytes, bytes]:
    """Reads source and destination of the data packet in a Traffic Indication.

    Only its basic IP header needs to be there: routers cut the rest at will. Offsets in
    ``BadPacket`` count from the beginning of ``payload``.
    """
    layout = _LAYOUTS.get(protocol_type)
    if layout is None:
        raise BadPacket(DropReason.INNER_PACKET, 0)
    version, header_size, source_at, size = layout
    if len(payload) < header_size:
        raise BadPacket(DropReason.INNER_PACKET, len(payload))
    if payload[0] >> 4 != version:
        raise BadPacket(DropReason.INNER_PACKET, 0)
    destination_at = source_at + size
    return payload[source_at:destination_at], payload[destination_at : destination_at + size]


def exchange_addresses(payload: bytes, protocol_type: int) -> bytes:
    """Returns the beginning of a data packet with source and destination exchanged, as its answer would have them.

    `data_addresses` accepts the packet. An IPv4 header's checksum stays right.
    """
    _version, _header_size, source_at, size = _LAYOUTS[protocol_type]
    source, destination = data_addresses(payload, protocol_type)
    return payload[:source_at] + destination + source + payload[source_at + 2 * size :]


def peek(payload: bytes) -> OffendingHeader | None:
    """Reads the part of an offending NHRP packet that every router sends: header and addresses.

    Size, checksum and extension offset are still those of the packet before it was cut, and the hop
    count may have changed since, so none of them is checked.
    """
    if len(payload) < HEADER_SIZE:
        return None
    (
        afn,
        protocol_type,
        _hop_count,
        _size,
        _checksum,
        _extension_offset,
        version,
        type_number,
        nbma_length,
        sub_length,
        source_length,
        destination_length,
        flags,
        word,
    ) = HEADER.unpack_from(payload)
    if version != VERSION or afn not in NBMA_SIZES or protocol_type not in PROTOCOL_SIZES:
        return None
    protocol_lengths = (0, PROTOCOL_SIZES[protocol_type])
    if nbma_length not in (0, NBMA_SIZES[afn]):
        return None
    if source_length not in protocol_lengths or destination_length not in protocol_lengths:
        return None
    nbma_end = HEADER_SIZE + nbma_length
    source_at = nbma_end + sub_length
    destination_at = source_at + source_length
    end = destination_at + destination_length
    if end > len(payload):
        return None
    if type_number in INDICATIONS:
        flags = word = 0
    return OffendingHeader(
        type=type_number,
        afn=afn,
        protocol_type=protocol_type,
        flags=flags,
        request_id=word,
        source_nbma=payload[HEADER_SIZE:nbma_end],
        source_protocol=payload[source_at:destination_at],
        destination_protocol=payload[destination_at:end],
    )
