"""Packets as they may be shown: without the pass phrases that they carry in clear text."""

from nhrpd_py.packet.extension import EXTENSION_HEADER, TYPE_MASK
from nhrpd_py.packet.iana import ExtensionType, PacketType
from nhrpd_py.packet.message import EXTENSION_OFFSET_AT, HEADER_SIZE, TYPE_AT

_ADDRESS_LENGTHS = slice(18, 22)
"""Lengths of the NBMA address, its subaddress and both protocol addresses (§5.1, §5.2.0.1)."""


def masked(data: bytes) -> bytes:
    """Returns a packet with zeros in place of every authentication extension's value (§5.3.4).

    An Error Indication quotes another packet (§5.2.7), which may have one as well: all that it quotes is zeroed.
    Octets in which no extension can be told from another, as in a damaged packet, are zeroed to their end.
    """
    if len(data) < HEADER_SIZE:
        return data  # too short for any extension
    shown = bytearray(data)
    extensions_at = int.from_bytes(data[EXTENSION_OFFSET_AT : EXTENSION_OFFSET_AT + 2])
    if data[TYPE_AT] == PacketType.ERROR_INDICATION:
        _zero(shown, HEADER_SIZE + sum(data[_ADDRESS_LENGTHS]), extensions_at or len(data))
    if extensions_at:
        _mask_extensions(shown, extensions_at)
    return bytes(shown)


def _mask_extensions(shown: bytearray, at: int) -> None:
    while at < len(shown):
        value_at = at + EXTENSION_HEADER.size
        if value_at > len(shown):
            _zero(shown, at, len(shown))
            return
        kind, length = EXTENSION_HEADER.unpack_from(shown, at)
        at = value_at + length
        if kind & TYPE_MASK == ExtensionType.AUTHENTICATION or at > len(shown):
            _zero(shown, value_at, min(at, len(shown)))
        if kind & TYPE_MASK == ExtensionType.END:
            return


def _zero(shown: bytearray, start: int, end: int) -> None:
    if start < end:
        shown[start:end] = bytes(end - start)
