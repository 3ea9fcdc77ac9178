"""Reads the dates of X.509 certificates and CRLs (RFC 5280 §4.1, §5.1), and their names.

charon tells the dates of few of its certificates; this reads them from DER or PEM. Pure.
"""

import base64
import binascii
import re
from datetime import UTC, datetime

from nhrpd_py.cli.check.facts import Certificate

SEQUENCE, SET, INTEGER, UTC_TIME, GENERALIZED_TIME = 0x30, 0x31, 0x02, 0x17, 0x18
VERSION = 0xA0
COMMON_NAME = bytes.fromhex("0603550403")
LONG_FORM = 0x80
PIVOT = 50
"""Years of two digits below it are of this century (RFC 5280 §4.1.2.5.1)."""
PEM = re.compile(rb"-----BEGIN [A-Z0-9 ]+-----(.*?)-----END", re.DOTALL)


class NotX509Error(ValueError):
    """The octets are no certificate and no CRL."""


def der_of(data: bytes) -> bytes:
    """Returns the DER of what may be PEM. Raises NotX509Error."""
    found = PEM.search(data)
    if found is None:
        return data
    try:
        return base64.b64decode(found[1])
    except binascii.Error as error:
        raise NotX509Error(str(error)) from error


def read_certificate(data: bytes) -> Certificate:
    """Reads a certificate. Raises NotX509Error."""
    der = der_of(data)
    fields = _fields(_first(_first(der, SEQUENCE), SEQUENCE))
    if fields and fields[0][0] == VERSION:
        del fields[0]
    # serial, signature, issuer, validity, subject
    _expect(fields, 5)
    dates = _fields(fields[3][1])
    _expect(dates, 2)
    return Certificate(
        name=_common_name(fields[4][1]),
        not_before=_time(*dates[0]),
        not_after=_time(*dates[1]),
        der=der,
    )


def read_crl(data: bytes) -> Certificate:
    """Reads a CRL: when it was made, and when the next is due. Raises NotX509Error."""
    der = der_of(data)
    fields = _fields(_first(_first(der, SEQUENCE), SEQUENCE))
    if fields and fields[0][0] == INTEGER:
        del fields[0]
    # signature, issuer, this update, maybe the next
    _expect(fields, 3)
    due = None
    if len(fields) > 3 and fields[3][0] in (UTC_TIME, GENERALIZED_TIME):  # noqa: PLR2004
        due = _time(*fields[3])
    return Certificate(
        name=_common_name(fields[1][1]), not_before=_time(*fields[2]), not_after=due, der=der
    )


def _expect(fields: list[tuple[int, bytes]], count: int) -> None:
    if len(fields) < count:
        raise NotX509Error("it ends too soon")


def _element(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Returns tag, content and end of the DER element at an offset."""
    if len(data) < at + 2:
        raise NotX509Error("it ends too soon")
    tag, size = data[at], data[at + 1]
    at += 2
    if size & LONG_FORM:
        width = size & ~LONG_FORM
        size = int.from_bytes(data[at : at + width])
        at += width
    if len(data) < at + size:
        raise NotX509Error("it ends too soon")
    return tag, data[at : at + size], at + size


def _first(data: bytes, wanted: int) -> bytes:
    tag, content, _end = _element(data, 0)
    if tag != wanted:
        raise NotX509Error("it is not X.509")
    return content


def _fields(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(data):
        tag, content, at = _element(data, at)
        found.append((tag, content))
    return found


def _time(tag: int, content: bytes) -> float:
    text = content.decode("ascii", "replace")
    if tag == UTC_TIME:
        text = ("20" if text[:2].isdigit() and int(text[:2]) < PIVOT else "19") + text
    elif tag != GENERALIZED_TIME:
        raise NotX509Error("it has no dates where they belong")
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise NotX509Error(f"it has no valid date: {text}") from error


def _common_name(name: bytes) -> str:
    for _tag, group in _fields(name):
        for _kind, pair in _fields(group):
            if pair.startswith(COMMON_NAME):
                return _element(pair, len(COMMON_NAME))[1].decode(errors="replace")
    return "without a common name"
