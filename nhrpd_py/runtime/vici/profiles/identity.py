"""IKE identities as files write them, and as charon says them. No IO.

charon compares identities itself wherever it was told whom to expect. This is for the peer that began
an SA by a connection which demands less than the profile does of a server.
"""

import ipaddress
import re
from collections.abc import Callable

ANY = "%any"
ANYBODY = frozenset(("", "*", ANY, "%any6", "0.0.0.0", "::", "0::0"))  # noqa: S104 (no bind)
"""What charon reads as no demand."""
_ADDRESSES = re.compile(r"[0-9a-fA-F.:]+(/\d+|-[0-9a-fA-F.:]+)")
"""A subnet or range as identity, which many addresses match."""
_TEXT_TYPES = frozenset(("fqdn", "dns", "email", "rfc822", "userfqdn", "keyid"))
_ADDRESS_TYPES = frozenset(("ipv4", "ipv6", "ipv4net", "ipv6net", "ipv4range", "ipv6range"))
_RDN_NAMES = {
    "emailaddress": "e",
    "email": "e",
    "en": "employeenumber",
    "un": "unstructuredname",
    "ua": "unstructuredaddress",
}
"""Other names of the parts of a distinguished name, as charon reads them."""


def is_exact(identity: str) -> bool:
    """Tells an identity that only one peer can have from a pattern, a regular expression, or none."""
    if identity in ANYBODY or "*" in identity or identity.startswith((ANY, "^")):
        return False
    return not _ADDRESSES.fullmatch(_typed(identity)[1])


def fits(demanded: str, said: str) -> bool:
    """Tells whether the identity that charon says a peer has is one that a file demands.

    A file may name its type (`fqdn:`, `@`), write octets in hexadecimal, a distinguished name with
    other separators, in another case, and with other names for its parts, and demand any name below
    a domain (`*.example`), any value of a part (`CN=*`), an address of a subnet or range, or what a
    regular expression says (`^...$`).
    """
    if demanded in ANYBODY:
        return True
    if demanded.startswith("^"):
        try:
            return re.search(demanded, said, re.IGNORECASE) is not None
        except re.error:
            return False
    kind, value = _typed(demanded)
    if kind == "keyid":
        return value == said
    if kind in _TEXT_TYPES:
        return _name_fits(value, said)
    if kind in _ADDRESS_TYPES:
        return _address_fits(value, said)
    if "=" in value:
        return _parts_fit(value, said)
    return _address_fits(value, said) or _name_fits(value, said)


def _typed(identity: str) -> tuple[str, str]:
    """The type that an identity names, or "", and its value."""
    if identity.startswith("@#"):
        return "keyid", _octets(identity[2:], _key)
    if identity.startswith("@@"):
        return "email", identity[2:]
    if identity.startswith("@"):
        return "fqdn", identity[1:]
    kind, separator, value = identity.partition(":")
    kind = kind.lower()
    if not separator or kind not in _TEXT_TYPES | _ADDRESS_TYPES | {"asn1dn"}:
        return "", identity
    if value.startswith("#"):
        if kind in _TEXT_TYPES:
            return kind, _octets(value[1:], _key)
        if kind in ("ipv4", "ipv6"):
            return kind, _octets(value[1:], lambda octets: str(ipaddress.ip_address(octets)))
    return kind, value


def _octets(hexadecimal: str, show: Callable[[bytes], str]) -> str:
    try:
        return show(bytes.fromhex(hexadecimal))
    except ValueError:
        return hexadecimal


def _key(octets: bytes) -> str:
    """As charon shows octets that may be text."""
    text = octets.decode("ascii", errors="replace")
    return text if text.isascii() and text.isprintable() else octets.hex(":")


def _name_fits(demanded: str, said: str) -> bool:
    demanded, said = demanded.lower(), said.lower()
    if demanded.startswith("*"):
        # A name below a domain is no mailbox there, and the other way round.
        alike = ("@" in demanded) == ("@" in said) and "=" not in said
        return alike and said.endswith(demanded[1:])
    return demanded == said


def _address_fits(demanded: str, said: str) -> bool:
    try:
        address = ipaddress.ip_address(said)
        if "/" in demanded:
            return address in ipaddress.ip_network(demanded, strict=False)
        low, separator, high = demanded.partition("-")
        first = ipaddress.ip_address(low)
        last = ipaddress.ip_address(high) if separator else first
    except ValueError:
        return False
    return first.version == address.version == last.version and (
        int(first) <= int(address) <= int(last)
    )


def _parts_fit(demanded: str, said: str) -> bool:
    if "=" not in said:
        return False
    wanted, found = _parts(demanded), _parts(said)
    return len(wanted) == len(found) and all(
        name == has and value in ("*", is_)
        for (name, value), (has, is_) in zip(wanted, found, strict=True)
    )


def _parts(name: str) -> list[tuple[str, str]]:
    """The parts of a distinguished name; slashes only part those of one that begins with a slash.

    charon shows values as they are, separators and all: what lies between two of them and is no
    part of its own goes on with the one before.
    """
    name = name.strip()
    parts: list[tuple[str, str]] = []
    for part in name[1:].split("/") if name.startswith("/") else name.split(","):
        key, separator, value = part.partition("=")
        if separator:
            key = key.strip().lower()
            parts.append((_RDN_NAMES.get(key, key), value.strip().lower()))
        elif parts and part.strip():
            parts[-1] = parts[-1][0], f"{parts[-1][1]}, {part.strip().lower()}"
    return parts
