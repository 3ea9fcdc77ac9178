"""Decrypts captured ESP packets (RFC 4303) with the keys of the lab's own kernels.

Supports the algorithms of the sample configuration: AES in CBC mode with HMAC-SHA-2. A capture
itself has the packets as they were on the Internet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tools.lab.capture import PROTOCOL_GRE, Packet, decode_gre
from tools.lab.namespace import Namespace

ESP_HEADER_BYTES = 8
AES_BLOCK_BYTES = 16
_STATE = re.compile(
    r"src (?P<source>\S+) dst (?P<destination>\S+)\n\s+proto esp spi 0x(?P<spi>[0-9a-f]+) .*?"
    r"auth-trunc \S+ 0x[0-9a-f]+ (?P<icv_bits>\d+)\n\s+enc cbc\(aes\) 0x(?P<key>[0-9a-f]+)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Key:
    """The keys of the packets with one SPI."""

    key: bytes
    icv_bytes: int


Keys = Mapping[tuple[str, int], Key]
"""By outer destination and SPI."""


def keys_of(namespaces: Iterable[Namespace]) -> Keys:
    """Returns the keys of all SAs that the kernels have now."""
    found = {}
    for namespace in namespaces:
        for state in re.split(r"(?m)^(?=src )", namespace.run("ip", "xfrm", "state")):
            match = _STATE.match(state)
            if match is not None:
                where = match["destination"], int(match["spi"], 16)
                found[where] = Key(bytes.fromhex(match["key"]), int(match["icv_bits"]) // 8)
    return found


def decrypted(packets: Iterable[Packet], keys: Keys) -> list[Packet]:
    """Returns the packets, those in ESP with their content decoded as far as their key is known.

    They keep `is_esp`: that is how they travelled.
    """
    return [_decrypted(packet, keys) if packet.is_esp else packet for packet in packets]


def _decrypted(packet: Packet, keys: Keys) -> Packet:
    data = packet.payload
    key = keys.get((packet.outer_destination, int.from_bytes(data[:4])))
    if key is None:
        return packet
    begin = ESP_HEADER_BYTES + AES_BLOCK_BYTES
    encrypted = data[begin : len(data) - key.icv_bytes]
    if not encrypted or len(encrypted) % AES_BLOCK_BYTES:
        return packet
    decryptor = Cipher(algorithms.AES(key.key), modes.CBC(data[ESP_HEADER_BYTES:begin])).decryptor()
    plain = decryptor.update(encrypted) + decryptor.finalize()
    pad_length, next_header = plain[-2], plain[-1]
    if next_header != PROTOCOL_GRE or pad_length + 2 > len(plain):
        return packet
    return decode_gre(replace(packet, payload=b""), plain[: len(plain) - 2 - pad_length])
