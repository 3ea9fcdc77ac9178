"""Shared by the whole codec: the reasons of drops, the only exception, the checksum."""

from enum import StrEnum

from nhrpd_py.packet.iana import ErrorCode


class DropReason(StrEnum):
    """Why a packet was dropped. The values are metric labels and never change."""

    # Found by the codec.
    TRUNCATED = "truncated"
    BAD_VERSION = "bad-version"
    UNKNOWN_TYPE = "unknown-type"
    UNSUPPORTED_ADDRESS_FAMILY = "unsupported-address-family"
    BAD_PACKET_SIZE = "bad-packet-size"
    BAD_CHECKSUM = "bad-checksum"
    BAD_EXTENSION_OFFSET = "bad-extension-offset"
    BAD_ADDRESS_LENGTH = "bad-address-length"
    BAD_CLIENT_INFORMATION = "bad-client-information"
    BAD_EXTENSION = "bad-extension"
    DUPLICATE_EXTENSION = "duplicate-extension"
    EXTENSION_OVERRUN = "extension-overrun"
    MISSING_CLIENT_INFORMATION = "missing-client-information"
    INNER_PACKET = "inner-packet"

    # Found by the protocol, in a packet that is well formed.
    UNKNOWN_INTERFACE = "unknown-interface"
    NOT_ENABLED = "not-enabled"
    FROM_OURSELVES = "from-ourselves"
    AUTHENTICATION_FAILED = "authentication-failed"
    NO_ROUTE = "no-route"
    HOP_COUNT_EXCEEDED = "hop-count-exceeded"
    LOOP_DETECTED = "loop-detected"
    UNSOLICITED_REPLY = "unsolicited-reply"
    WRONG_WAY = "wrong-way"
    UNRECOGNIZED_EXTENSION = "unrecognized-extension"
    RATE_LIMITED = "rate-limited"
    NOT_ALLOWED = "not-allowed"
    CLAIM_REFUSED = "claim-refused"
    FORGED_SOURCE = "forged-source"
    FOREIGN_PURGE = "foreign-purge"
    SDU_SIZE_EXCEEDED = "sdu-size-exceeded"
    NO_ASSOCIATION = "no-security-association"

    # A Traffic Indication that is not followed.
    NOT_IN_CLOUD = "not-in-cloud"
    ALREADY_RESOLVED = "already-resolved"
    ALREADY_ASKED = "already-asked"
    NO_ROOM = "no-room"

    # A multicast packet that is not replicated.
    MULTICAST_NOT_ENABLED = "multicast-not-enabled"
    MULTICAST_NO_GROUP = "multicast-no-group"
    MULTICAST_CUT = "multicast-cut"
    MULTICAST_TOO_LONG = "multicast-too-long"
    MULTICAST_PACE = "multicast-pace"
    MULTICAST_NO_TARGET = "multicast-no-target"


class BadPacket(Exception):  # noqa: N818 - a fact about a packet, not an error of ours
    """A packet that cannot be understood: the only exception that leaves the decoders."""

    def __init__(self, reason: DropReason, offset: int, answer: ErrorCode | None = None) -> None:
        super().__init__(f"{reason} at offset {offset}")
        self.reason = reason
        self.offset = offset
        """Octet at fault, counted from the fixed part: the error offset of an Error Indication."""
        self.answer = answer
        """The code of the Error Indication to send; None where the RFC demands none."""


def internet_checksum(data: bytes) -> int:
    """Computes the checksum of RFC 1071 over ``data``, whose checksum field must hold zero.

    Over whole, intact data, checksum included, the result is 0.

    2**16 is congruent to 1 modulo 2**16 - 1, so one remainder equals the folded sum of all words.
    An odd tail is padded on the right (RFC 2332 §5.1). One's complement has two zeros: the sum is
    0xFFFF when the remainder is 0, except over data that are all zero.
    """
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    remainder = number % 0xFFFF
    if remainder:
        return 0xFFFF - remainder
    return 0 if number else 0xFFFF
