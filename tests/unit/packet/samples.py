"""One message of everything that goes over the wire, for tests that compare opinions on them."""

from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension, cisco_authentication, of_entries
from nhrpd_py.packet.iana import (
    AFN_IPV4,
    AFN_IPV6,
    NAT,
    PROTOCOL_IPV4,
    PROTOCOL_IPV6,
    PURGE_NO_REPLY,
    REGISTRATION_UNIQUE,
    RESOLUTION_AUTHORITATIVE,
    RESOLUTION_DESTINATION_STABLE,
    RESOLUTION_ROUTER,
    RESOLUTION_SOURCE_STABLE,
    CieCode,
    ErrorCode,
    ExtensionType,
    PacketType,
)
from nhrpd_py.packet.message import Message, encode

HUB_NBMA = {
    AFN_IPV4: bytes([192, 0, 2, 1]),
    AFN_IPV6: bytes.fromhex("20010db8") + bytes(11) + b"\1",
}
SPOKE_NBMA = {
    AFN_IPV4: bytes([192, 0, 2, 2]),
    AFN_IPV6: bytes.fromhex("20010db8") + bytes(11) + b"\2",
}
HUB = {
    PROTOCOL_IPV4: bytes([10, 0, 0, 1]),
    PROTOCOL_IPV6: bytes.fromhex("fd00") + bytes(13) + b"\1",
}
SPOKE = {
    PROTOCOL_IPV4: bytes([10, 0, 0, 2]),
    PROTOCOL_IPV6: bytes.fromhex("fd00") + bytes(13) + b"\2",
}
TARGET = {
    PROTOCOL_IPV4: bytes([172, 16, 4, 1]),
    PROTOCOL_IPV6: bytes.fromhex("fd004444") + bytes(11) + b"\1",
}
FAMILIES = {
    "ipv4 over ipv4": (AFN_IPV4, PROTOCOL_IPV4),
    "ipv6 over ipv4": (AFN_IPV4, PROTOCOL_IPV6),
    "ipv4 over ipv6": (AFN_IPV6, PROTOCOL_IPV4),
    "ipv6 over ipv6": (AFN_IPV6, PROTOCOL_IPV6),
}
RESOLUTION_FLAGS = RESOLUTION_ROUTER | RESOLUTION_AUTHORITATIVE | RESOLUTION_SOURCE_STABLE | NAT

# An echo request of 28 octets from the spoke to the target; checksums are right, dissectors look.
PING = {
    PROTOCOL_IPV4: bytes.fromhex("4500001c000100004001c0cd0a000002ac1004010800f7ff00000000"),
    PROTOCOL_IPV6: bytes.fromhex("6000000000083a40")
    + SPOKE[PROTOCOL_IPV6]
    + TARGET[PROTOCOL_IPV6]
    + bytes.fromhex("8000400c00000000"),
}


def empty_records() -> tuple[Extension, ...]:
    """The three records as every DMVPN request carries them."""
    return (
        Extension(ExtensionType.RESPONDER_ADDRESS),
        Extension(ExtensionType.FORWARD_TRANSIT_NHS),
        Extension(ExtensionType.REVERSE_TRANSIT_NHS),
    )


def messages(afn: int, protocol_type: int) -> dict[str, Message]:
    """Every packet type, as this daemon emits it, in one pair of address families."""
    host = 8 * len(HUB[protocol_type])
    hub = ClientInformation(
        mtu=1400, holding_time_s=600, nbma=HUB_NBMA[afn], protocol=HUB[protocol_type]
    )
    spoke = ClientInformation(
        prefix_length=host,
        mtu=1400,
        holding_time_s=600,
        nbma=SPOKE_NBMA[afn],
        protocol=SPOKE[protocol_type],
        preference=7,
    )
    # Wireshark reads the RFC's layout, an address and a digest: a short secret looks broken to it.
    secret = cisco_authentication(b"a secret of odd length"[: len(HUB[protocol_type]) + 3])
    no_nat = Extension(ExtensionType.NAT_ADDRESS, compulsory=False)
    common = Message(
        type=PacketType.RESOLUTION_REQUEST,
        afn=afn,
        protocol_type=protocol_type,
        hop_count=64,
        flags=RESOLUTION_FLAGS,
        request_id=0x01020304,
        source_nbma=SPOKE_NBMA[afn],
        source_protocol=SPOKE[protocol_type],
        destination_protocol=TARGET[protocol_type],
        entries=(ClientInformation(mtu=1400, holding_time_s=600),),
        extensions=(*empty_records(), no_nat, secret),
    )
    return {
        "resolution request": common,
        "resolution reply": Message(
            type=PacketType.RESOLUTION_REPLY,
            afn=afn,
            protocol_type=protocol_type,
            flags=RESOLUTION_FLAGS | RESOLUTION_DESTINATION_STABLE,
            request_id=0x01020304,
            source_nbma=SPOKE_NBMA[afn],
            source_protocol=SPOKE[protocol_type],
            destination_protocol=TARGET[protocol_type],
            entries=(hub, spoke),
            extensions=(
                of_entries(ExtensionType.RESPONDER_ADDRESS, [hub]),
                of_entries(ExtensionType.FORWARD_TRANSIT_NHS, [hub, spoke]),
                of_entries(ExtensionType.REVERSE_TRANSIT_NHS, [spoke]),
                of_entries(ExtensionType.NAT_ADDRESS, [spoke], compulsory=False),
                secret,
            ),
        ),
        "resolution refusal": Message(
            type=PacketType.RESOLUTION_REPLY,
            afn=afn,
            protocol_type=protocol_type,
            flags=RESOLUTION_ROUTER,
            request_id=9,
            source_nbma=SPOKE_NBMA[afn],
            source_protocol=SPOKE[protocol_type],
            destination_protocol=TARGET[protocol_type],
            entries=(ClientInformation(code=CieCode.NO_BINDING),),
        ),
        "registration request": Message(
            type=PacketType.REGISTRATION_REQUEST,
            afn=afn,
            protocol_type=protocol_type,
            hop_count=1,
            flags=REGISTRATION_UNIQUE | NAT,
            request_id=1,
            source_nbma=SPOKE_NBMA[afn],
            source_protocol=SPOKE[protocol_type],
            destination_protocol=HUB[protocol_type],
            entries=(ClientInformation(prefix_length=255, mtu=1400, holding_time_s=600),),
            extensions=(
                *empty_records(),
                of_entries(ExtensionType.NAT_ADDRESS, [hub], compulsory=False),
                Extension(ExtensionType.VENDOR_PRIVATE, b"\0\0\x0cspokes", compulsory=False),
                Extension(ExtensionType.VENDOR_PRIVATE, b"\0\0\x0cmore", compulsory=False),
                secret,
            ),
        ),
        "registration reply": Message(
            type=PacketType.REGISTRATION_REPLY,
            afn=afn,
            protocol_type=protocol_type,
            flags=REGISTRATION_UNIQUE | NAT,
            request_id=1,
            source_nbma=SPOKE_NBMA[afn],
            source_protocol=SPOKE[protocol_type],
            destination_protocol=HUB[protocol_type],
            entries=(ClientInformation(code=CieCode.UNIQUE_ADDRESS_REGISTERED, prefix_length=255),),
            extensions=(of_entries(ExtensionType.RESPONDER_ADDRESS, [hub]),),
        ),
        "purge request": Message(
            type=PacketType.PURGE_REQUEST,
            afn=afn,
            protocol_type=protocol_type,
            flags=PURGE_NO_REPLY,
            request_id=0xFFFFFFFF,
            source_nbma=SPOKE_NBMA[afn],
            source_protocol=SPOKE[protocol_type],
            destination_protocol=HUB[protocol_type],
            entries=(ClientInformation(prefix_length=24, protocol=SPOKE[protocol_type]),),
            extensions=(secret,),
        ),
        "purge reply": Message(
            type=PacketType.PURGE_REPLY,
            afn=afn,
            protocol_type=protocol_type,
            request_id=0xFFFFFFFF,
            source_nbma=SPOKE_NBMA[afn],
            source_protocol=SPOKE[protocol_type],
            destination_protocol=HUB[protocol_type],
            entries=(ClientInformation(prefix_length=24, protocol=SPOKE[protocol_type]),),
            extensions=(of_entries(ExtensionType.RESPONDER_ADDRESS, [hub]),),
        ),
        "error indication": Message(
            type=PacketType.ERROR_INDICATION,
            afn=afn,
            protocol_type=protocol_type,
            source_nbma=HUB_NBMA[afn],
            source_protocol=HUB[protocol_type],
            destination_protocol=SPOKE[protocol_type],
            error_code=ErrorCode.HOP_COUNT_EXCEEDED,
            error_offset=9,
            payload=encode(common),
        ),
        "traffic indication": Message(
            type=PacketType.TRAFFIC_INDICATION,
            afn=afn,
            protocol_type=protocol_type,
            source_nbma=HUB_NBMA[afn],
            source_protocol=HUB[protocol_type],
            destination_protocol=SPOKE[protocol_type],
            payload=PING[protocol_type],
            extensions=(
                Extension(ExtensionType.FORWARD_TRANSIT_NHS),
                Extension(ExtensionType.REVERSE_TRANSIT_NHS),
                no_nat,
                secret,
            ),
        ),
    }


ALL = {
    f"{name}, {family}": message
    for family, (afn, protocol_type) in FAMILIES.items()
    for name, message in messages(afn, protocol_type).items()
}
