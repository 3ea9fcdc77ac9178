"""Round trips of everything that can be said, and the total decoder."""

from hypothesis import given
from hypothesis import strategies as st

from nhrpd_py.packet.cie import ClientInformation, decode_entries, encode_entries
from nhrpd_py.packet.extension import Extension, authentication_matches, cisco_authentication
from nhrpd_py.packet.iana import NBMA_SIZES, PROTOCOL_SIZES, PacketType
from nhrpd_py.packet.inner import data_addresses, peek
from nhrpd_py.packet.layout import destination_at, extension_at, size_of, source_at
from nhrpd_py.packet.message import Message, decode, encode
from nhrpd_py.packet.wire import BadPacket, internet_checksum

RECORDS = (3, 4, 5)
OTHERS = [n for n in range(1, 0x4000) if n not in RECORDS]
octet = st.integers(0, 0xFF)
word = st.integers(0, 0xFFFF)


def addresses(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


def client_information(nbma_size: int, protocol_size: int) -> st.SearchStrategy[ClientInformation]:
    return st.builds(
        ClientInformation,
        code=octet,
        prefix_length=octet,
        mtu=word,
        holding_time_s=word,
        nbma=st.just(b"") | addresses(nbma_size),
        nbma_subaddress=st.binary(max_size=20),
        protocol=st.just(b"") | addresses(protocol_size),
        preference=octet,
    )


@st.composite
def extension_lists(draw: st.DrawFn, nbma_size: int, protocol_size: int) -> tuple[Extension, ...]:
    record = st.builds(
        lambda number, entries, compulsory: Extension(number, encode_entries(entries), compulsory),
        st.sampled_from(RECORDS),
        st.lists(client_information(nbma_size, protocol_size), max_size=3),
        st.booleans(),
    )
    other = st.builds(
        Extension, st.sampled_from(OTHERS), st.binary(max_size=40), compulsory=st.booleans()
    )
    unique = draw(st.lists(record | other, max_size=5, unique_by=lambda e: e.type))
    vendor = draw(st.lists(st.builds(Extension, st.just(8), st.binary(max_size=8)), max_size=2))
    return (*unique, *vendor)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    packet_type = draw(st.sampled_from(PacketType))
    afn, nbma_size = draw(st.sampled_from(sorted(NBMA_SIZES.items())))
    protocol_type, protocol_size = draw(st.sampled_from(sorted(PROTOCOL_SIZES.items())))
    fields: dict[str, object]
    if packet_type is PacketType.ERROR_INDICATION:
        fields = {"error_code": draw(word), "error_offset": draw(word)}
        fields["payload"] = draw(st.binary(max_size=60))
    elif packet_type is PacketType.TRAFFIC_INDICATION:
        fields = {"traffic_code": draw(word), "payload": draw(st.binary(max_size=60))}
    else:
        entries = st.lists(client_information(nbma_size, protocol_size), min_size=1, max_size=3)
        fields = {"flags": draw(word), "request_id": draw(st.integers(0, 0xFFFFFFFF))}
        fields["entries"] = tuple(draw(entries))
    return Message(
        type=packet_type,
        afn=afn,
        protocol_type=protocol_type,
        hop_count=draw(octet),
        source_nbma=draw(addresses(nbma_size)),
        source_nbma_subaddress=draw(st.binary(max_size=63)),
        source_protocol=draw(addresses(protocol_size)),
        destination_protocol=draw(addresses(protocol_size)),
        extensions=draw(extension_lists(nbma_size, protocol_size)),
        **fields,  # type: ignore[arg-type]
    )


@given(messages())
def test_every_message_survives_the_wire(message: Message) -> None:
    data = encode(message)

    assert decode(data) == message
    assert int.from_bytes(data[10:12], "big") == len(data)
    assert internet_checksum(data) == 0


@given(messages())
def test_every_part_is_where_the_layout_says(message: Message) -> None:
    data = encode(message)
    assert size_of(message) == len(data)
    assert data[source_at(message) :].startswith(message.source_protocol)
    assert data[destination_at(message) :].startswith(message.destination_protocol)
    for extension in message.extensions:
        at = extension_at(message, extension.type)
        assert int.from_bytes(data[at : at + 2]) & 0x3FFF == extension.type


@given(messages(), st.binary(max_size=30))
def test_what_follows_a_packet_changes_nothing(message: Message, more: bytes) -> None:
    assert decode(encode(message) + more) == message


@given(messages())
def test_header_and_addresses_are_seen_in_any_offending_packet(message: Message) -> None:
    header = peek(encode(message))

    assert header is not None
    assert header.type == message.type
    assert (header.flags, header.request_id) == (message.flags, message.request_id)
    assert header.source_nbma == message.source_nbma
    assert header.source_protocol == message.source_protocol
    assert header.destination_protocol == message.destination_protocol


@given(
    st.sampled_from([4, 16]).flatmap(
        lambda size: st.tuples(st.just(size), st.lists(client_information(size, size)))
    )
)
def test_every_list_of_entries_survives(drawn: tuple[int, list[ClientInformation]]) -> None:
    size, entries = drawn

    assert decode_entries(encode_entries(entries), size, size) == tuple(entries)


@given(st.binary(max_size=200))
def test_the_checksum_is_the_folded_sum_of_words(data: bytes) -> None:
    padded = data + bytes(len(data) & 1)
    total = sum(int.from_bytes(padded[i : i + 2], "big") for i in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)

    assert internet_checksum(data) == total ^ 0xFFFF


@given(st.binary(max_size=100), st.sampled_from([*PROTOCOL_SIZES, 0x0806]))
def test_a_payload_yields_addresses_or_bad_packet(payload: bytes, protocol_type: int) -> None:
    peek(payload)
    try:
        source, destination = data_addresses(payload, protocol_type)
    except BadPacket:
        return
    assert len(source) == len(destination) == PROTOCOL_SIZES[protocol_type]


@given(st.binary(min_size=1, max_size=8), st.binary(min_size=1, max_size=8))
def test_only_the_same_secret_authenticates(ours: bytes, theirs: bytes) -> None:
    assert authentication_matches(cisco_authentication(theirs), ours) is (ours == theirs)
