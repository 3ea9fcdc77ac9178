"""Extensions (RFC 2332 §5.3): type, compulsory bit and an opaque value.

A value is interpreted on demand, because a transit NHS forwards extensions that it does not know.
The End extension is not represented: the encoder adds it, the decoder stops at it.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct

from nhrpd_py.packet.cie import ClientInformation, decode_entries, encode_entries
from nhrpd_py.packet.iana import ErrorCode, ExtensionType
from nhrpd_py.packet.wire import BadPacket, DropReason

# compulsory 1 bit | unused 1 bit | type 14 bits | length 16 bits
EXTENSION_HEADER = Struct(">HH")
COMPULSORY = 0x8000
TYPE_MASK = 0x3FFF
END_EXTENSION = EXTENSION_HEADER.pack(COMPULSORY | ExtensionType.END, 0)

RECORDS = frozenset(
    {
        ExtensionType.RESPONDER_ADDRESS,
        ExtensionType.FORWARD_TRANSIT_NHS,
        ExtensionType.REVERSE_TRANSIT_NHS,
    }
)
"""Types whose value is a list of Client Information Entries and nothing else."""

# reserved 2 | security parameter index 2; Cisco's form has index 1 and then the clear text.
_CLEAR_TEXT = bytes.fromhex("00000001")


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension. ``type`` may be an unregistered number."""

    type: int
    value: bytes = b""
    compulsory: bool = True

    def entries(
        self, nbma_size: int, protocol_size: int, base_offset: int = 0
    ) -> tuple[ClientInformation, ...]:
        """Reads the value as Client Information Entries.

        Raises ``BadPacket``; only records (types 3, 4 and 5) from ``decode`` always parse.
        ``base_offset`` is the offset of the value in its packet.
        """
        try:
            return decode_entries(
                self.value, nbma_size, protocol_size, base_offset, foreign_protocol=True
            )
        except BadPacket as bad:
            raise BadPacket(
                DropReason.BAD_EXTENSION, bad.offset, ErrorCode.INVALID_EXTENSION
            ) from bad


def of_entries(
    type: int,  # noqa: A002 - the field's name
    entries: Iterable[ClientInformation],
    compulsory: bool = True,
) -> Extension:
    """Builds an extension whose value is a list of Client Information Entries."""
    return Extension(type, encode_entries(entries), compulsory)


def cisco_authentication(secret: bytes) -> Extension:
    """Builds the clear-text authentication extension that DMVPN routers exchange."""
    return Extension(ExtensionType.AUTHENTICATION, _CLEAR_TEXT + secret)


def authentication_matches(extension: Extension, secret: bytes) -> bool:
    """Returns, in a time that depends on lengths only, whether the extension carries ``secret``."""
    return hmac.compare_digest(extension.value, _CLEAR_TEXT + secret)
