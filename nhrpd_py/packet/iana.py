"""Numbers of the NHRP registries, under the names of the documents that define them.

RFC 2332 §5 defines nearly all of them; type 8 and the NAT numbers are those of Cisco and of
draft-detienne-dmvpn, which every DMVPN implementation follows. An extension type, an error code or
an entry's code that is in no registry stays a plain ``int`` inside a message; only in text is it
``UNKNOWN(n)``.
"""

from enum import IntEnum

ETHERTYPE_NHRP = 0x2001
"""Protocol type of the GRE header in front of every packet."""

AFN_IPV4 = 1
AFN_IPV6 = 2
PROTOCOL_IPV4 = 0x0800
PROTOCOL_IPV6 = 0x86DD

NBMA_SIZES = {AFN_IPV4: 4, AFN_IPV6: 16}
"""Octets of an NBMA address by ar$afn. A family that is not here is not supported."""

PROTOCOL_SIZES = {PROTOCOL_IPV4: 4, PROTOCOL_IPV6: 16}
"""Octets of a protocol address by ar$pro.type. A protocol that is not here is not supported."""


class PacketType(IntEnum):
    """ar$op.type, RFC 2332 §5.1; 8 is Cisco's."""

    RESOLUTION_REQUEST = 1
    RESOLUTION_REPLY = 2
    REGISTRATION_REQUEST = 3
    REGISTRATION_REPLY = 4
    PURGE_REQUEST = 5
    PURGE_REPLY = 6
    ERROR_INDICATION = 7
    TRAFFIC_INDICATION = 8


class ErrorCode(IntEnum):
    """Error code of an Error Indication, RFC 2332 §5.2.7 and RFC 2735 §3.4."""

    UNRECOGNIZED_EXTENSION = 1
    LOOP_DETECTED = 3
    PROTOCOL_ADDRESS_UNREACHABLE = 6
    PROTOCOL_ERROR = 7
    SDU_SIZE_EXCEEDED = 8
    INVALID_EXTENSION = 9
    INVALID_RESOLUTION_REPLY = 10
    AUTHENTICATION_FAILURE = 11
    HOP_COUNT_EXCEEDED = 15
    VPN_MISMATCH = 16
    VPN_UNSUPPORTED = 17


LEGACY_LOOP_DETECTED = 2
"""The code of open-source daemons for "loop detected". Understood, never sent."""


class CieCode(IntEnum):
    """Code of a Client Information Entry, RFC 2332 §5.2.0.1; all but 0 refuse (NAK)."""

    SUCCESS = 0
    ADMINISTRATIVELY_PROHIBITED = 4
    INSUFFICIENT_RESOURCES = 5
    NO_BINDING = 12
    BINDING_NOT_UNIQUE = 13
    UNIQUE_ADDRESS_REGISTERED = 14


LEGACY_NO_BINDING = 11
"""The code of open-source daemons for "no binding exists". Understood, never sent."""


class ExtensionType(IntEnum):
    """Extension types, RFC 2332 §5.3.

    9 is Cisco's NAT address; two abandoned documents use the same number for other extensions, so
    its value need not parse.
    """

    END = 0
    RESPONDER_ADDRESS = 3
    FORWARD_TRANSIT_NHS = 4
    REVERSE_TRANSIT_NHS = 5
    AUTHENTICATION = 7
    VENDOR_PRIVATE = 8
    NAT_ADDRESS = 9
    MOBILE_AUTHENTICATION = 10


# Flags of the mandatory part, §5.2.1 to §5.2.5. The same bit means different things in different
# packet types, hence plain integers named after the packet.
RESOLUTION_ROUTER = 0x8000
RESOLUTION_AUTHORITATIVE = 0x4000
RESOLUTION_DESTINATION_STABLE = 0x2000
RESOLUTION_UNIQUE = 0x1000
RESOLUTION_SOURCE_STABLE = 0x0800
REGISTRATION_UNIQUE = 0x8000
PURGE_NO_REPLY = 0x8000
NAT = 0x0002
"""Cisco: the sender understands the NAT address extension. Resolution and registration packets."""

PACKET_TYPES: dict[int, PacketType] = {int(member): member for member in PacketType}
"""Members by number: a tenth of the time that the call ``PacketType(n)`` takes."""

_ERRORS = {int(member): member.name for member in ErrorCode} | {
    LEGACY_LOOP_DETECTED: ErrorCode.LOOP_DETECTED.name
}
_CIE_CODES = {int(member): member.name for member in CieCode} | {
    LEGACY_NO_BINDING: CieCode.NO_BINDING.name
}
_TYPES = {int(member): member.name for member in PacketType}


def describe_error(code: int) -> str:
    """Names an error code for people; ``UNKNOWN(n)`` when no registry has it."""
    return _ERRORS.get(code) or f"UNKNOWN({code})"


def describe_cie(code: int) -> str:
    """Names the code of a Client Information Entry for people."""
    return _CIE_CODES.get(code) or f"UNKNOWN({code})"


def describe_type(number: int) -> str:
    """Names a packet type for people."""
    return _TYPES.get(number) or f"UNKNOWN({number})"
