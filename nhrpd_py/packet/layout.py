"""Where the parts of a packet are, in octets from its fixed part, and how long it is.

Error Indications point at the octet at fault (RFC 2332 §5.2.7). The parts of a received message are where its encoding
has them, for the decoder accepts no gaps.
"""

from nhrpd_py.packet.cie import size_of_entries
from nhrpd_py.packet.extension import END_EXTENSION, EXTENSION_HEADER
from nhrpd_py.packet.message import HEADER_SIZE, INDICATIONS, Message

HOP_COUNT_AT = 9
PACKET_SIZE_AT = 10
EXTENSION_OFFSET_AT = 14
REQUEST_ID_AT = 24


def source_at(message: Message) -> int:
    """Returns where the source protocol address is."""
    return HEADER_SIZE + len(message.source_nbma) + len(message.source_nbma_subaddress)


def destination_at(message: Message) -> int:
    """Returns where the destination protocol address is."""
    return source_at(message) + len(message.source_protocol)


def extension_at(message: Message, type: int) -> int:  # noqa: A002 - the field's name
    """Returns where the first extension of a type is; of a missing one, the field that says where extensions are."""
    at = _body_end(message)
    for extension in message.extensions:
        if extension.type == type:
            return at
        at += EXTENSION_HEADER.size + len(extension.value)
    return EXTENSION_OFFSET_AT


def size_of(message: Message) -> int:
    """Returns how many octets ``encode`` makes of a message."""
    size = _body_end(message)
    if message.extensions:
        size += len(END_EXTENSION)
    for extension in message.extensions:
        size += EXTENSION_HEADER.size + len(extension.value)
    return size


def _body_end(message: Message) -> int:
    body_at = destination_at(message) + len(message.destination_protocol)
    if message.type in INDICATIONS:
        return body_at + len(message.payload)
    return body_at + size_of_entries(message.entries)
