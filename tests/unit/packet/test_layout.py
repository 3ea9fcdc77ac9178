"""Where the parts of a packet are, and how long it is."""

import pytest

from nhrpd_py.packet.iana import ExtensionType
from nhrpd_py.packet.layout import (
    EXTENSION_OFFSET_AT,
    HOP_COUNT_AT,
    PACKET_SIZE_AT,
    REQUEST_ID_AT,
    destination_at,
    extension_at,
    size_of,
    source_at,
)
from nhrpd_py.packet.message import encode
from tests.unit.packet.samples import ALL


@pytest.mark.parametrize("name", ALL)
def test_parts_are_where_the_encoder_puts_them(name: str) -> None:
    message = ALL[name]
    data = encode(message)
    assert size_of(message) == len(data)
    assert data[HOP_COUNT_AT] == message.hop_count
    assert int.from_bytes(data[PACKET_SIZE_AT : PACKET_SIZE_AT + 2]) == len(data)
    assert data[source_at(message) :].startswith(message.source_protocol)
    assert data[destination_at(message) :].startswith(message.destination_protocol)
    if message.request_id:
        assert int.from_bytes(data[REQUEST_ID_AT : REQUEST_ID_AT + 4]) == message.request_id
    offset = int.from_bytes(data[EXTENSION_OFFSET_AT : EXTENSION_OFFSET_AT + 2])
    if message.extensions:
        assert offset == extension_at(message, message.extensions[0].type)
    for extension in message.extensions:
        at = extension_at(message, extension.type)
        assert int.from_bytes(data[at : at + 2]) & 0x3FFF == extension.type


def test_missing_extension_is_missed_where_extensions_are_told_of() -> None:
    message = ALL["purge reply, ipv4 over ipv4"]
    assert extension_at(message, ExtensionType.AUTHENTICATION) == EXTENSION_OFFSET_AT
