"""The NHRP codec: octets to ``Message`` and back. Pure, stdlib only, no state.

Errors on received octets are ``BadPacket`` and nothing else. Addresses are plain ``bytes`` of 4 or
16 octets; an absent one is empty. Numbers stand in ``iana``.
"""

from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension
from nhrpd_py.packet.iana import CieCode, ErrorCode, ExtensionType, PacketType
from nhrpd_py.packet.inner import OffendingHeader, data_addresses, peek
from nhrpd_py.packet.message import Message, decode, encode
from nhrpd_py.packet.wire import BadPacket, DropReason

__all__ = [
    "BadPacket",
    "CieCode",
    "ClientInformation",
    "DropReason",
    "ErrorCode",
    "Extension",
    "ExtensionType",
    "Message",
    "OffendingHeader",
    "PacketType",
    "data_addresses",
    "decode",
    "encode",
    "peek",
]
