"""Mutates good packets and demands of the decoder: a ``Message`` or ``BadPacket``, nothing else.

Run it for as long as you like, from the top of the repository::

    python -m tests.fuzz.packet_fuzzer --seconds 600 --seed 1

It prints the packet that broke the rule, in hexadecimal, and exits 1. With atheris installed,
``atheris.Setup(sys.argv, check); atheris.Fuzz()`` uses the same ``check``.
"""

import argparse
import random
import sys
import time
from collections import Counter
from dataclasses import replace

from nhrpd_py.packet.inner import data_addresses, peek
from nhrpd_py.packet.message import Message, decode, encode
from nhrpd_py.packet.wire import BadPacket, internet_checksum
from tests.unit.packet.samples import ALL
from tests.unit.packet.vectors import OBSERVED

CORPUS = (*OBSERVED.values(), *map(encode, ALL.values()))
INTERESTING = (0, 1, 3, 4, 5, 12, 16, 20, 28, 0x3F, 0x40, 0x7F, 0x80, 0xFE, 0xFF)
EXTENSIONS_WITH_ENTRIES = (3, 4, 5, 9)


def check(data: bytes) -> str:
    """Feeds ``data`` to all decoders; returns what became of it, raises when the rule is broken."""
    peek(data)
    try:
        message = decode(data)
    except BadPacket as bad:
        if not 0 <= bad.offset <= len(data):
            raise AssertionError(f"offset {bad.offset} is outside the packet") from bad
        return bad.reason
    check_message(message)
    return "decoded"


def check_message(message: Message) -> None:
    """What is decoded can be used and sent again, and comes back the same."""
    again = decode(encode(message))
    if again != message:
        raise AssertionError(f"{again} differs from {message}")
    peek(message.payload)
    for protocol_type in (0x0800, 0x86DD):
        try:
            data_addresses(message.payload, protocol_type)
        except BadPacket:
            continue
    for extension in message.extensions:
        if extension.type not in EXTENSIONS_WITH_ENTRIES:
            continue
        try:
            entries = extension.entries(message.nbma_size, message.protocol_size)
        except BadPacket:
            if extension.type != 9:
                raise
            continue
        encode(replace(message, extensions=(), entries=entries))


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Spoils a packet in a few places; most of the time its size and checksum fit afterwards."""
    octets = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(octets) + 1)
        match rng.randrange(6):
            case 0 if at < len(octets):
                octets[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(octets):
                octets[at] = rng.choice(INTERESTING)
            case 2:
                del octets[at:]
            case 3:
                del octets[at : at + rng.randint(1, 20)]
            case 4:
                octets[at:at] = rng.randbytes(rng.randint(1, 20))
            case _:
                other = rng.choice(CORPUS)
                octets[at:] = other[rng.randrange(len(other)) :]
    if len(octets) >= 28 and rng.random() < 0.9:
        octets[10:14] = len(octets).to_bytes(2, "big") + b"\0\0"
        octets[12:14] = internet_checksum(bytes(octets)).to_bytes(2, "big")
    return bytes(octets)


def main() -> int:
    """Fuzzes until the time is over; 1 when the rule was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    outcomes: Counter[str] = Counter()
    ends_at = time.monotonic() + options.seconds
    while time.monotonic() < ends_at:
        data = mutate(rng.choice(CORPUS), rng)
        try:
            outcomes[check(data)] += 1
        except Exception:  # the very thing looked for
            sys.stderr.write(f"{data.hex()}\n")
            raise
    for outcome, count in outcomes.most_common():
        sys.stdout.write(f"{count:10d}  {outcome}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
