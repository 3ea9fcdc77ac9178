"""Client Information Entries (RFC 2332 §5.2.0.1).

An entry describes one station. Entries are in lists, without a count, in the mandatory part of
types 1 to 6 and in the values of the extensions 3, 4, 5 and 9; a list ends where its container
ends.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct

from nhrpd_py.packet.iana import ErrorCode
from nhrpd_py.packet.wire import BadPacket, DropReason

# code 1 | prefix length 1 | unused 2 | MTU 2 | holding time 2
# | NBMA type and length 1 | NBMA subaddress type and length 1 | protocol length 1 | preference 1
CLIENT_INFORMATION = Struct(">BBxxHHBBBB")
_SIZE = CLIENT_INFORMATION.size

MAX_LENGTH = 0x3F
"""Largest value of a "type and length" octet in the native format of an NBMA network: the two upper
bits, reserved and E.164, are zero for IP (§5.1)."""

NO_PREFIX = 0xFF
"""Prefix length "no equivalence information"; 0 means the same in most places (§5.2.0.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientInformation:
    """One entry. An absent address is empty; the reader takes the packet's instead."""

    code: int = 0
    prefix_length: int = 0
    """Bits of the address, which one depends on the packet type; 0 and 255 are both "a single
    address"."""
    mtu: int = 0
    """Octets; 0 is the default."""
    holding_time_s: int = 0
    """Seconds, at most 65535."""
    nbma: bytes = b""
    nbma_subaddress: bytes = b""
    protocol: bytes = b""
    preference: int = 0
    """Higher is better."""


def encode_entries(entries: Iterable[ClientInformation]) -> bytes:
    """Encodes a list of entries. ``struct.error`` when a field does not fit its width."""
    parts: list[bytes] = []
    for entry in entries:
        nbma = entry.nbma
        subaddress = entry.nbma_subaddress
        protocol = entry.protocol
        parts += (
            CLIENT_INFORMATION.pack(
                entry.code,
                entry.prefix_length,
                entry.mtu,
                entry.holding_time_s,
                len(nbma),
                len(subaddress),
                len(protocol),
                entry.preference,
            ),
            nbma,
            subaddress,
            protocol,
        )
    return b"".join(parts)


def size_of_entries(entries: Iterable[ClientInformation]) -> int:
    """Returns how many octets ``encode_entries`` makes of a list."""
    return sum(
        _SIZE + len(entry.nbma) + len(entry.nbma_subaddress) + len(entry.protocol)
        for entry in entries
    )


def decode_entries(
    data: bytes,
    nbma_size: int,
    protocol_size: int,
    base_offset: int = 0,
    *,
    foreign_protocol: bool = False,
) -> tuple[ClientInformation, ...]:
    """Decodes all of ``data``; every address has the size of its family or is absent.

    ``base_offset`` is the offset of ``data`` in its packet, for the offset in ``BadPacket``.
    ``foreign_protocol`` accepts the other protocol family too: FRR names an IPv6 responder by its
    IPv4 address, and the reply must not be dropped for that record.
    """
    entries: list[ClientInformation] = []
    at = 0
    end = len(data)
    while at < end:
        if end - at < _SIZE:
            raise _bad(base_offset + at)
        code, prefix_length, mtu, holding_time_s, nbma_length, sub_length, length, preference = (
            CLIENT_INFORMATION.unpack_from(data, at)
        )
        if (nbma_length and nbma_length != nbma_size) or sub_length > MAX_LENGTH:
            raise _bad(base_offset + at + (8 if sub_length <= MAX_LENGTH else 9))
        if length and length != protocol_size and not (foreign_protocol and length in {4, 16}):
            raise _bad(base_offset + at + 10)
        nbma_at = at + _SIZE
        sub_at = nbma_at + nbma_length
        protocol_at = sub_at + sub_length
        following = protocol_at + length
        if following > end:
            raise _bad(base_offset + at + 8)
        entries.append(
            ClientInformation(
                code=code,
                prefix_length=prefix_length,
                mtu=mtu,
                holding_time_s=holding_time_s,
                nbma=data[nbma_at:sub_at],
                nbma_subaddress=data[sub_at:protocol_at],
                protocol=data[protocol_at:following],
                preference=preference,
            )
        )
        at = following
    return tuple(entries)


def _bad(offset: int) -> BadPacket:
    return BadPacket(DropReason.BAD_CLIENT_INFORMATION, offset, ErrorCode.PROTOCOL_ERROR)
