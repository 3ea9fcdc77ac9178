"""The IP address blocks of a certificate (RFC 3779), the addresses that its owner may use."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, summarize_address_range
from typing import Any

from nhrpd_py.core.address import Prefix

FAMILIES: dict[bytes, tuple[Any, int]] = {b"\0\1": (IPv4Address, 32), b"\0\2": (IPv6Address, 128)}
BLOCK_LIMIT = 4096


def address_blocks(certificate: bytes) -> tuple[Prefix, ...] | None:
    """Returns the address blocks of a certificate in DER as prefixes; None where it has none.

    Families with a SAFI grant nothing, nor do blocks that are inherited from the issuer, which the host's
    certificate does not contain. Raises ValueError for octets that are no certificate, or
    not in canonical DER: such a certificate is not trusted.
    """
    from pyasn1.codec.der.decoder import decode  # noqa: PLC0415 (most daemons read no certificate)
    from pyasn1.error import PyAsn1Error  # noqa: PLC0415
    from pyasn1_modules import rfc3779, rfc5280  # noqa: PLC0415

    try:
        parsed, _ = decode(certificate, asn1Spec=rfc5280.Certificate())
        for extension in parsed["tbsCertificate"]["extensions"]:
            if extension["extnID"] == rfc3779.id_pe_ipAddrBlocks:
                octets = bytes(extension["extnValue"])
                blocks, rest = decode(octets, asn1Spec=rfc3779.IPAddrBlocks())
                if rest:
                    raise ValueError("octets behind the address blocks")
                return tuple(_prefixes(blocks))
    except (PyAsn1Error, IndexError, RecursionError) as error:
        raise ValueError(f"no certificate with readable address blocks ({error})") from error
    return None


def _prefixes(blocks: Any) -> Iterator[Prefix]:
    count = 0
    for family in blocks:
        kind = FAMILIES.get(bytes(family["addressFamily"]))
        choice = family["ipAddressChoice"]
        if kind is None or choice.getName() != "addressesOrRanges":
            continue
        address, width = kind
        for entry in choice["addressesOrRanges"]:
            if entry.getName() == "addressPrefix":
                bits = [int(bit) for bit in entry["addressPrefix"]]
                low, high = _bound(bits, width, 0), _bound(bits, width, 1)
            else:
                span = entry["addressRange"]
                low = _bound([int(bit) for bit in span["min"]], width, 0)
                high = _bound([int(bit) for bit in span["max"]], width, 1)
            if low > high:
                raise ValueError("a range of addresses ends before it begins")
            for network in summarize_address_range(address(low), address(high)):
                count += 1
                if count > BLOCK_LIMIT:
                    raise ValueError(f"more than {BLOCK_LIMIT} address blocks")
                yield Prefix(network.network_address.packed, network.prefixlen)


def _bound(bits: list[int], width: int, fill: int) -> int:
    """Returns the lowest (fill 0) or highest (fill 1) address that begins with these bits."""
    if len(bits) > width:
        raise ValueError(f"an address of {len(bits)} bits")
    padded = bits + [fill] * (width - len(bits))
    return int("".join(map(str, padded)), 2)
