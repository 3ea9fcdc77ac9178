import pytest

from nhrpd_py.packet.iana import AFN_IPV4, PROTOCOL_IPV4, PROTOCOL_IPV6, PacketType
from nhrpd_py.packet.inner import OffendingHeader, data_addresses, peek
from nhrpd_py.packet.message import decode, encode
from nhrpd_py.packet.wire import BadPacket, DropReason
from tests.unit.packet.samples import ALL, PING, SPOKE, TARGET
from tests.unit.packet.vectors import OBSERVED

REQUEST = OBSERVED["resolution_request"]
"""IPv4 over IPv4: header and addresses are the first 40 octets."""


@pytest.mark.parametrize(
    ("protocol_type", "header_size"), [(PROTOCOL_IPV4, 20), (PROTOCOL_IPV6, 40)]
)
def test_addresses_of_a_data_packet(protocol_type: int, header_size: int) -> None:
    expected = (SPOKE[protocol_type], TARGET[protocol_type])

    assert data_addresses(PING[protocol_type], protocol_type) == expected
    assert data_addresses(PING[protocol_type][:header_size], protocol_type) == expected


@pytest.mark.parametrize(
    ("payload", "protocol_type", "offset"),
    [
        pytest.param(b"", PROTOCOL_IPV4, 0, id="nothing"),
        pytest.param(PING[PROTOCOL_IPV4][:19], PROTOCOL_IPV4, 19, id="short ipv4"),
        pytest.param(PING[PROTOCOL_IPV6][:39], PROTOCOL_IPV6, 39, id="short ipv6"),
        pytest.param(PING[PROTOCOL_IPV6], PROTOCOL_IPV4, 0, id="ipv6 announced as ipv4"),
        pytest.param(PING[PROTOCOL_IPV4] * 2, PROTOCOL_IPV6, 0, id="ipv4 announced as ipv6"),
        pytest.param(PING[PROTOCOL_IPV4], 0x0806, 0, id="neither"),
    ],
)
def test_other_data_are_refused(payload: bytes, protocol_type: int, offset: int) -> None:
    with pytest.raises(BadPacket) as caught:
        data_addresses(payload, protocol_type)

    assert caught.value.reason is DropReason.INNER_PACKET
    assert caught.value.offset == offset
    assert caught.value.answer is None


def test_a_whole_offending_packet_is_read() -> None:
    assert peek(REQUEST) == OffendingHeader(
        type=PacketType.RESOLUTION_REQUEST,
        afn=AFN_IPV4,
        protocol_type=PROTOCOL_IPV4,
        flags=0xC802,
        request_id=2,
        source_nbma=bytes([192, 168, 100, 2]),
        source_protocol=bytes([10, 255, 255, 2]),
        destination_protocol=bytes([172, 16, 4, 1]),
    )


def test_header_and_addresses_of_an_offending_packet_suffice() -> None:
    assert peek(REQUEST[:40]) == peek(REQUEST)


@pytest.mark.parametrize(
    ("name", "type_number", "request_id"),
    [
        ("error_indication_hop_count", PacketType.RESOLUTION_REQUEST, 7),
        ("error_indication_authentication", PacketType.REGISTRATION_REQUEST, 9),
    ],
)
def test_what_other_daemons_send_back_is_read(name: str, type_number: int, request_id: int) -> None:
    header = peek(decode(OBSERVED[name]).payload)

    assert header is not None
    assert (header.type, header.request_id) == (type_number, request_id)
    assert header.source_protocol == bytes([10, 255, 255, 20])


@pytest.mark.parametrize("name", ALL)
def test_every_packet_of_ours_is_recognised_when_it_comes_back(name: str) -> None:
    message = ALL[name]
    header = peek(encode(message))

    assert header == OffendingHeader(
        type=message.type,
        afn=message.afn,
        protocol_type=message.protocol_type,
        flags=message.flags,
        request_id=message.request_id,
        source_nbma=message.source_nbma,
        source_protocol=message.source_protocol,
        destination_protocol=message.destination_protocol,
    )


def test_an_offending_packet_of_an_unknown_type_is_read() -> None:
    header = peek(REQUEST[:17] + b"\x80" + REQUEST[18:])

    assert header is not None
    assert header.type == 128


def test_an_offending_packet_without_addresses_is_read() -> None:
    header = peek(REQUEST[:18] + bytes(4) + REQUEST[22:28])

    assert header is not None
    assert (header.source_nbma, header.source_protocol) == (b"", b"")
    assert header.destination_protocol == b""


def test_a_subaddress_is_skipped() -> None:
    header = peek(REQUEST[:19] + b"\2" + REQUEST[20:32] + b"\xab\xcd" + REQUEST[32:40])

    assert header is not None
    assert header.source_protocol == bytes([10, 255, 255, 2])


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(REQUEST[:27], id="header cut"),
        pytest.param(REQUEST[:39], id="addresses cut"),
        pytest.param(REQUEST[:16] + b"\0" + REQUEST[17:], id="another version"),
        pytest.param(b"\0\x0f" + REQUEST[2:], id="another afn"),
        pytest.param(REQUEST[:2] + b"\x08\x06" + REQUEST[4:], id="another protocol"),
        pytest.param(REQUEST[:18] + b"\5" + REQUEST[19:], id="nbma length"),
        pytest.param(REQUEST[:20] + b"\5" + REQUEST[21:], id="source length"),
        pytest.param(REQUEST[:21] + b"\5" + REQUEST[22:], id="destination length"),
    ],
)
def test_what_cannot_be_told_is_none(payload: bytes) -> None:
    assert peek(payload) is None
