"""NHRP messages as FRR makes them, if it does; a test can set every field.

A station is given by its site, or by the site's number. Requests are sent by spoke 2 unless another is named.
"""

from typing import TypedDict, Unpack

from nhrpd_py.core.address import (
    AFN_OF_SIZE,
    PROTOCOL_OF_AFI,
    Address,
    Prefix,
    afi_of,
    parse_prefix,
)
from nhrpd_py.core.events import PacketReceived
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension, cisco_authentication, of_entries
from nhrpd_py.packet.iana import (
    NAT,
    RESOLUTION_AUTHORITATIVE,
    RESOLUTION_DESTINATION_STABLE,
    RESOLUTION_ROUTER,
    RESOLUTION_SOURCE_STABLE,
    ExtensionType,
    PacketType,
)
from nhrpd_py.packet.message import Message, encode
from tests.support.sites import GRE, HUB, Site, a_site, host, nbma, tunnel

REQUEST_FLAGS = RESOLUTION_ROUTER | RESOLUTION_AUTHORITATIVE | RESOLUTION_SOURCE_STABLE | NAT
REPLY_FLAGS = REQUEST_FLAGS | RESOLUTION_DESTINATION_STABLE
HOLDING_TIME_S = 60
AUTHENTICATION = cisco_authentication(b"secret")
TARGET = host(3)
"""The target of Resolution Requests: a host behind spoke 3."""


class MessageFields(TypedDict, total=False):
    """The fields of a message that a test may set."""

    afn: int
    protocol_type: int
    hop_count: int
    flags: int
    request_id: int
    source_nbma: bytes
    source_protocol: bytes
    destination_protocol: bytes
    entries: tuple[ClientInformation, ...]
    error_code: int
    error_offset: int
    traffic_code: int
    payload: bytes
    extensions: tuple[Extension, ...]


def a_registration_request(client: Site | int = 2, **fields: Unpack[MessageFields]) -> Message:
    """Returns a client's anonymous registration, as FRR sends it with `no-unique` and a dynamic NHS."""
    site = _site(client)
    fields = {
        "hop_count": 1,
        "flags": NAT,
        "request_id": 1,
        "entries": (_own_entry(site),),
        "extensions": std_extensions(nat_extension((bytes(4), HUB.nbma))),
        **fields,
    }
    return _message(PacketType.REGISTRATION_REQUEST, site, site.tunnel, fields)


def a_registration_reply(
    request: Message,
    *more: Extension,
    server: Address = HUB.tunnel,
    code: int = 0,
    granted_s: int = HOLDING_TIME_S,
) -> Message:
    """Returns the reply of a server with that overlay address."""
    entries = tuple(
        ClientInformation(
            code=code,
            prefix_length=each.prefix_length,
            holding_time_s=0 if code else granted_s,
        )
        for each in request.entries
    )
    return _answer(
        PacketType.REGISTRATION_REPLY,
        request,
        {
            "flags": request.flags,
            "destination_protocol": server,
            "entries": entries,
            "extensions": more,
        },
    )


def a_resolution_request(
    requester: Site | int = 2,
    target: Address = TARGET,
    **fields: Unpack[MessageFields],
) -> Message:
    """Returns a requester's request for `target`."""
    site = _site(requester)
    fields = {
        "hop_count": 64,
        "flags": REQUEST_FLAGS,
        "request_id": 7,
        "entries": (_own_entry(site),),
        "extensions": std_extensions(nat_extension()),
        **fields,
    }
    return _message(PacketType.RESOLUTION_REQUEST, site, target, fields)


def a_resolution_reply(
    request: Message,
    responder: Site | int = 3,
    prefix_length: int = 24,
    **fields: Unpack[MessageFields],
) -> Message:
    """Returns a responder's reply about its LAN."""
    site = _site(responder)
    entry = ClientInformation(
        prefix_length=prefix_length,
        holding_time_s=HOLDING_TIME_S,
        nbma=site.nbma,
        protocol=site.tunnel,
    )
    fields = {
        "flags": REPLY_FLAGS,
        "destination_protocol": request.destination_protocol,
        "entries": (entry,),
        "extensions": std_extensions(nat_extension()),
        **fields,
    }
    return _answer(PacketType.RESOLUTION_REPLY, request, fields)


def a_purge_request(
    sender: Site | int,
    prefix: Prefix | str,
    destination: Address,
    **fields: Unpack[MessageFields],
) -> Message:
    """Returns a Purge Request with which the sender takes a prefix back."""
    network = parse_prefix(prefix) if isinstance(prefix, str) else prefix
    fields = {
        "request_id": 9,
        "entries": (ClientInformation(prefix_length=network.length, protocol=network.address),),
        **fields,
    }
    return _message(PacketType.PURGE_REQUEST, _site(sender), destination, fields)


def an_error_indication(
    sender: Site | int, code: int, about: Message, **fields: Unpack[MessageFields]
) -> Message:
    """Returns an Error Indication of the sender about another station's message."""
    fields = {"error_code": code, "payload": encode(about)[:40], **fields}
    return _message(
        PacketType.ERROR_INDICATION,
        _site(sender),
        about.source_protocol,
        fields,
    )


def a_traffic_indication(
    sender: Site | int, source: Address, destination: Address, **fields: Unpack[MessageFields]
) -> Message:
    """Returns a Traffic Indication: the sender relayed a data packet back into the cloud."""
    fields = {"hop_count": 1, "payload": a_data_packet(source, destination), **fields}
    return _message(PacketType.TRAFFIC_INDICATION, _site(sender), source, fields)


def a_data_packet(source: Address, destination: Address) -> bytes:
    """Returns the beginning of a ping, of the addresses' family."""
    if len(source) == 4:
        header = bytes.fromhex("450000540000400040010000")
        return header + source + destination + bytes(64)
    return bytes.fromhex("6000000000403a40") + source + destination + bytes(64)


def received(message: Message, source: Address, *, ifindex: int = GRE) -> PacketReceived:
    """Returns the event of a message that came out of the tunnel."""
    return PacketReceived(ifindex, source, encode(message))


# Parts of messages.


def std_extensions(*more: Extension) -> tuple[Extension, ...]:
    """The three records to be filled in on the way, empty, in the order that FRR has them; and more."""
    return (
        Extension(ExtensionType.FORWARD_TRANSIT_NHS),
        Extension(ExtensionType.REVERSE_TRANSIT_NHS),
        Extension(ExtensionType.RESPONDER_ADDRESS),
        *more,
    )


def nat_extension(*entries: tuple[Address, Address]) -> Extension:
    """Returns a NAT extension with (protocol, NBMA) entries."""
    return of_entries(
        ExtensionType.NAT_ADDRESS,
        [ClientInformation(prefix_length=32, nbma=b, protocol=a) for a, b in entries],
        compulsory=False,
    )


def a_record(number: int) -> ClientInformation:
    """Returns the entry of site N in a transit record."""
    return ClientInformation(
        holding_time_s=HOLDING_TIME_S, nbma=nbma(number), protocol=tunnel(number)
    )


def _site(station: Site | int) -> Site:
    return a_site(station) if isinstance(station, int) else station


def _own_entry(site: Site) -> ClientInformation:
    bits = len(site.tunnel) * 8
    return ClientInformation(prefix_length=bits, holding_time_s=HOLDING_TIME_S)


def _message(
    kind: PacketType, source: Site, destination: Address, fields: MessageFields
) -> Message:
    fields = {
        "afn": AFN_OF_SIZE[len(source.nbma)],
        "protocol_type": PROTOCOL_OF_AFI[afi_of(source.tunnel)],
        "source_nbma": source.nbma,
        "source_protocol": source.tunnel,
        "destination_protocol": destination,
        **fields,
    }
    return Message(type=kind, **fields)


def _answer(kind: PacketType, request: Message, fields: MessageFields) -> Message:
    fields = {
        "afn": request.afn,
        "protocol_type": request.protocol_type,
        "hop_count": 64,
        "request_id": request.request_id,
        "source_nbma": request.source_nbma,
        "source_protocol": request.source_protocol,
        "destination_protocol": request.destination_protocol,
        **fields,
    }
    return Message(type=kind, **fields)
