"""How much one outer source may send us: a peer that floods must not keep the packets of others waiting.

All packets go through one queue to one task, so whoever fills the queue delays everybody. Each outer source address
therefore has a token bucket, ahead of the queue, and a packet costs as many tokens as it has entries to be handled.
What a source sends beyond that is dropped by the reader, for a small part of the time that handling it would take.

A source address says who sent a packet where IPsec protects the tunnel. Elsewhere a flood may have any number of
them, and this is no help.
"""

import struct

from nhrpd_py.core.address import Address
from nhrpd_py.packet.iana import PacketType

TOKENS_PER_S = 1000.0
"""Entries and packets from one source in the long run: 500 registrations a second; a spoke sends one in three minutes.
The slowest CPU that was measured handles 16 000 changed entries a second."""
BURST = 4000.0
"""At once: the requests of a thousand spokes that a hub hands on to one, or 30 messages of 80 entries. A quarter of a
second's work at most."""
MAX_SOURCES = 4096
"""Sources that are remembered; those that have been known longest make room, and start with a full bucket again."""
FEW_SOURCES = 256
"""Up to so many are kept without a look at which of them need to be."""
EXTENSION_OCTETS_PER_TOKEN = 256
ENTRY_SIZE = 12
"""Octets of the smallest entry, one without addresses (RFC 2332 §5.2.0.1)."""
MANDATORY_SIZE = 40
"""Octets before the first entry: the fixed part, the common header, and three IPv4 addresses."""

_HEADER = struct.Struct("!14xHxB")
"""Where the extensions begin (0: there are none), and the type."""
_WITHOUT_ENTRIES = frozenset((PacketType.ERROR_INDICATION, PacketType.TRAFFIC_INDICATION))


def cost_of(buffer: bytes | bytearray, start: int, size: int) -> int:
    """Returns the tokens that a packet costs, without decoding it: one, and one for each entry that it has room for."""
    if size < MANDATORY_SIZE:
        return 1
    extensions_at, kind = _HEADER.unpack_from(buffer, start)
    end = extensions_at if MANDATORY_SIZE <= extensions_at <= size else size
    if kind in _WITHOUT_ENTRIES:
        end = MANDATORY_SIZE
    return 1 + (end - MANDATORY_SIZE) // ENTRY_SIZE + (size - end) // EXTENSION_OCTETS_PER_TOKEN


class SourceLimiter:
    """The token buckets of all sources that sent something just now; the others' are full."""

    def __init__(self) -> None:
        self._full_at: dict[Address, float] = {}
        """Source → when its bucket will be full again: one number says how many tokens it has at any time."""
        self._sweep_size = FEW_SOURCES

    def __len__(self) -> int:
        return len(self._full_at)

    def admits(self, source: Address, cost: int, now: float) -> bool:
        """Takes the tokens for a packet; False when its source has not got that many."""
        full_at = self._full_at.get(source)
        if full_at is None and len(self._full_at) >= self._sweep_size:
            self._sweep(now)
        full_at = max(full_at or now, now) + cost / TOKENS_PER_S
        admitted = full_at - now <= BURST / TOKENS_PER_S
        if admitted:
            self._full_at[source] = full_at
        return admitted

    def _sweep(self, now: float) -> None:
        """Forgets the sources whose buckets are full again; where nearly all are still in use, the oldest ones."""
        self._full_at = {source: at for source, at in self._full_at.items() if at > now}
        while len(self._full_at) > MAX_SOURCES - MAX_SOURCES // 4:  # the next look is not soon
            del self._full_at[next(iter(self._full_at))]
        self._sweep_size = min(max(FEW_SOURCES, 2 * len(self._full_at)), MAX_SOURCES)
