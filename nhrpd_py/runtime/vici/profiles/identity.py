"""Compares IKE identities as files write them with identities as charon prints them. No IO.

charon itself compares a peer's identity with the one that the peer's connection demands. The comparison
here is for a peer of a connection that demands less than the profile demands of a server.
"""

import ipaddress
import re
from collections.abc import Callable

ANY = "%any"
ANYBODY = frozenset(("", "*", ANY, "%any6", "0.0.0.0", "::", "0::0"))  # noqa: S104 (no bind)
"""Values that charon reads as any identity."""
_ADDRESSES = re.compile(r"[0-9a-fA-F.:]+(/\d+|-[0-9a-fA-F.:]+)")
"""An identity that is a subnet or a range, which many addresses match."""
_TEXT_TYPES = frozenset(("fqdn", "dns", "email", "rfc822", "userfqdn", "keyid"))
_ADDRESS_TYPES = frozenset(("ipv4", "ipv6", "ipv4net", "ipv6net", "ipv4range", "ipv6range"))
_RDN_NAMES = {
    "emailaddress": "e",
    "email": "e",
    "en": "employeenumber",
    "un": "unstructuredname",
    "ua": "unstructuredaddress",
}
"""Other names that charon accepts for the parts of a distinguished name."""


def is_exact(identity: str) -> bool:
    """Returns whether an identity is exact: no pattern, no regular expression, and not empty."""
    if identity in ANYBODY or "*" in identity or identity.startswith((ANY, "^")):
        return False
    return not _ADDRESSES.fullmatch(_typed(identity)[1])


def fits(demanded: str, said: str) -> bool:
    """Returns whether the identity `said`, as charon prints a peer's, fits the one that a file
    demands.

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
    """Returns the type that an identity names (or "") and its value."""
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
    """Returns octets as charon prints a key id: as text where they are text, else in hexadecimal."""
    text = octets.decode("ascii", errors="replace")
    return text if text.isascii() and text.isprintable() else octets.hex(":")


def _name_fits(demanded: str, said: str) -> bool:
    demanded, said = demanded.lower(), said.lower()
    if demanded.startswith("*"):
        # A pattern of host names does not match a mailbox of the same domain, nor the reverse.
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
    """Returns the parts of a distinguished name as (name, value).

    Slashes separate the parts only where the whole begins with a slash. charon prints values as they are,
    separators included: a piece without `=` belongs to the value before it.
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
