"""NHRP for scapy: RFC 2332 with the DMVPN additions, dissected and built.

Written from the packet formats and not from ``nhrpd_py.packet``, so that it can serve as a second
opinion on it. Importing the module binds NHRP to GRE::

    from tools.scapy_nhrp import NHRP, ClientInformation, Extension

    IP(dst="192.0.2.1") / GRE(key_present=1, key=42, proto=0x2001) / NHRP(
        type="registration-request",
        source_nbma="192.0.2.2",
        source_protocol="10.0.0.2",
        destination_protocol="10.0.0.1",
        entries=[ClientInformation(prefix_length=32, holding_time=600)],
        extensions=[Extension(type="responder-address"), Extension(type="end")],
    )

Sizes, offsets and the checksum are computed where they are not given. As in all of scapy what is
given is sent, however wrong.
"""

import struct
from ipaddress import ip_address
from typing import Any

from scapy.fields import (
    BitEnumField,
    BitField,
    ByteEnumField,
    ByteField,
    ConditionalField,
    FieldLenField,
    IntField,
    PacketListField,
    ShortEnumField,
    ShortField,
    StrFixedLenField,
    StrLenField,
    X3BytesField,
    XShortEnumField,
    XShortField,
)
from scapy.layers.l2 import GRE
from scapy.packet import Packet, bind_layers
from scapy.utils import checksum

NHRP_PROTOCOL = 0x2001

PACKET_TYPES = {
    1: "resolution-request",
    2: "resolution-reply",
    3: "registration-request",
    4: "registration-reply",
    5: "purge-request",
    6: "purge-reply",
    7: "error-indication",
    8: "traffic-indication",
}
ERROR_CODES = {
    1: "unrecognized-extension",
    3: "loop-detected",
    6: "protocol-address-unreachable",
    7: "protocol-error",
    8: "sdu-size-exceeded",
    9: "invalid-extension",
    10: "invalid-resolution-reply",
    11: "authentication-failure",
    15: "hop-count-exceeded",
    16: "vpn-mismatch",
    17: "vpn-unsupported",
}
CLIENT_CODES = {
    0: "success",
    4: "administratively-prohibited",
    5: "insufficient-resources",
    12: "no-binding",
    13: "binding-not-unique",
    14: "unique-address-registered",
}
EXTENSION_TYPES = {
    0: "end",
    3: "responder-address",
    4: "forward-transit-nhs",
    5: "reverse-transit-nhs",
    7: "authentication",
    8: "vendor-private",
    9: "nat-address",
    10: "mobile-authentication",
}
_END = 0
_AUTHENTICATION = 7
_VENDOR_PRIVATE = 8
_WITH_ENTRIES = (3, 4, 5, 9)
_ERROR_INDICATION = 7
_TRAFFIC_INDICATION = 8
_INDICATIONS = (_ERROR_INDICATION, _TRAFFIC_INDICATION)


class AddressField(StrLenField):  # type: ignore[misc]
    """An address of a length that another field tells; accepts and shows the usual text."""

    def any2i(self, pkt: Any, x: Any) -> Any:
        """Converts text like ``10.0.0.1`` or ``2001:db8::1`` to octets."""
        if isinstance(x, str):
            return ip_address(x).packed
        return super().any2i(pkt, x)

    def i2repr(self, _pkt: Any, x: Any) -> str:
        """Shows octets as the address that they are, if they are one."""
        if x and len(x) in {4, 16}:
            return str(ip_address(bytes(x)))
        return repr(x)


class ClientInformation(Packet):  # type: ignore[misc]
    """Client Information Entry."""

    name = "NHRP Client Information Entry"
    fields_desc = (
        ByteEnumField("code", 0, CLIENT_CODES),
        ByteField("prefix_length", 0),
        ShortField("unused", 0),
        ShortField("mtu", 0),
        ShortField("holding_time", 0),
        FieldLenField("nbma_length", None, fmt="B", length_of="nbma"),
        FieldLenField("nbma_subaddress_length", None, fmt="B", length_of="nbma_subaddress"),
        FieldLenField("protocol_length", None, fmt="B", length_of="protocol"),
        ByteField("preference", 0),
        AddressField("nbma", b"", length_from=lambda p: p.nbma_length & 0x3F),
        StrLenField("nbma_subaddress", b"", length_from=lambda p: p.nbma_subaddress_length & 0x3F),
        AddressField("protocol", b"", length_from=lambda p: p.protocol_length),
    )

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        """Leaves what follows to the next entry of the list."""
        return b"", s


def _value_length(extension: Any, header: int = 0) -> int:
    length: int = extension.length or 0
    return max(0, length - header)


class Extension(Packet):  # type: ignore[misc]
    """Extension; which fields the value has depends on the type."""

    name = "NHRP Extension"
    fields_desc = (
        BitField("compulsory", 1, 1),
        BitField("unused", 0, 1),
        BitEnumField("type", 0, 14, EXTENSION_TYPES),
        ShortField("length", None),
        ConditionalField(
            PacketListField("entries", [], ClientInformation, length_from=_value_length),
            lambda p: p.type in _WITH_ENTRIES,
        ),
        ConditionalField(ShortField("reserved", 0), lambda p: p.type == _AUTHENTICATION),
        ConditionalField(ShortField("spi", 1), lambda p: p.type == _AUTHENTICATION),
        ConditionalField(
            StrLenField("secret", b"", length_from=lambda p: _value_length(p, 4)),
            lambda p: p.type == _AUTHENTICATION,
        ),
        ConditionalField(X3BytesField("oui", 0), lambda p: p.type == _VENDOR_PRIVATE),
        ConditionalField(
            StrLenField("vendor_data", b"", length_from=lambda p: _value_length(p, 3)),
            lambda p: p.type == _VENDOR_PRIVATE,
        ),
        ConditionalField(
            StrLenField("value", b"", length_from=_value_length),
            lambda p: p.type not in (*_WITH_ENTRIES, _AUTHENTICATION, _VENDOR_PRIVATE),
        ),
    )

    def post_build(self, pkt: bytes, pay: bytes) -> bytes:
        """Fills the length in."""
        if self.length is None:
            pkt = pkt[:2] + struct.pack("!H", len(pkt) - 4) + pkt[4:]
        return pkt + pay

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        """Leaves what follows to the next extension."""
        return b"", s


def _addresses_length(packet: Any) -> int:
    return int(
        (packet.source_nbma_length & 0x3F)
        + (packet.source_nbma_subaddress_length & 0x3F)
        + packet.source_protocol_length
        + packet.destination_protocol_length
    )


def _body_length(packet: Any) -> int:
    """Octets between the addresses and the extensions."""
    end: int = packet.extension_offset or packet.packet_size or 0
    return max(0, end - 28 - _addresses_length(packet))


def _extensions_length(packet: Any) -> int:
    offset: int = packet.extension_offset or 0
    size: int = packet.packet_size or 0
    return max(0, size - offset) if offset else 0


def _next_extension(_packet: Any, done: list[Any], last: Any, rest: bytes) -> Any:
    """Ends the list behind the End extension, whatever follows."""
    if not rest or (done and last is not None and last.type == _END):
        return None
    return Extension


def _is(*types: int) -> Any:
    return lambda packet: packet.type in types


def _is_not(*types: int) -> Any:
    return lambda packet: packet.type not in types


class NHRP(Packet):  # type: ignore[misc]
    """A whole NHRP packet: fixed part, mandatory part, extensions."""

    name = "NHRP"
    fields_desc = (
        # Fixed part
        ShortEnumField("afn", 1, {1: "IPv4", 2: "IPv6"}),
        XShortEnumField("protocol_type", 0x0800, {0x0800: "IPv4", 0x86DD: "IPv6"}),
        StrFixedLenField("snap", bytes(5), 5),
        ByteField("hop_count", 255),
        ShortField("packet_size", None),
        XShortField("checksum", None),
        ShortField("extension_offset", None),
        ByteField("version", 1),
        ByteEnumField("type", 1, PACKET_TYPES),
        FieldLenField("source_nbma_length", None, fmt="B", length_of="source_nbma"),
        FieldLenField(
            "source_nbma_subaddress_length", None, fmt="B", length_of="source_nbma_subaddress"
        ),
        # Mandatory part
        FieldLenField("source_protocol_length", None, fmt="B", length_of="source_protocol"),
        FieldLenField(
            "destination_protocol_length", None, fmt="B", length_of="destination_protocol"
        ),
        XShortField("flags", 0),
        ConditionalField(IntField("request_id", 0), _is_not(*_INDICATIONS)),
        ConditionalField(ShortEnumField("error_code", 0, ERROR_CODES), _is(_ERROR_INDICATION)),
        ConditionalField(ShortField("error_offset", 0), _is(_ERROR_INDICATION)),
        ConditionalField(ShortField("traffic_code", 0), _is(_TRAFFIC_INDICATION)),
        ConditionalField(ShortField("unused", 0), _is(_TRAFFIC_INDICATION)),
        AddressField("source_nbma", b"", length_from=lambda p: p.source_nbma_length & 0x3F),
        StrLenField(
            "source_nbma_subaddress",
            b"",
            length_from=lambda p: p.source_nbma_subaddress_length & 0x3F,
        ),
        AddressField("source_protocol", b"", length_from=lambda p: p.source_protocol_length),
        AddressField(
            "destination_protocol", b"", length_from=lambda p: p.destination_protocol_length
        ),
        ConditionalField(
            PacketListField("entries", [], ClientInformation, length_from=_body_length),
            _is_not(*_INDICATIONS),
        ),
        ConditionalField(
            StrLenField("enclosed", b"", length_from=_body_length), _is(*_INDICATIONS)
        ),
        # Extensions
        PacketListField(
            "extensions", [], length_from=_extensions_length, next_cls_cb=_next_extension
        ),
    )

    def post_build(self, pkt: bytes, pay: bytes) -> bytes:
        """Fills size, extension offset and, last, the checksum in."""
        built = bytearray(pkt)
        if self.packet_size is None:
            struct.pack_into("!H", built, 10, len(pkt))
        if self.extension_offset is None:
            length = sum(len(bytes(extension)) for extension in self.extensions)
            struct.pack_into("!H", built, 14, len(pkt) - length if length else 0)
        if self.checksum is None:
            struct.pack_into("!H", built, 12, 0)
            struct.pack_into("!H", built, 12, checksum(bytes(built)))
        return bytes(built) + pay


bind_layers(GRE, NHRP, proto=NHRP_PROTOCOL)
