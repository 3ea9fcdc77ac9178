"""Neighbour table entries (`struct ndmsg`, linux/neighbour.h), most of the writes of a hub with
thousands of bindings.

Packed and read with `struct`, one precompiled layout per pair of address sizes. An entry of ours is
marked with NDA_PROTOCOL, our route protocol number, and found again by it after a restart.
"""

import errno
import socket
import struct
from functools import cache
from typing import NamedTuple

from nhrpd_py.core.address import IPV4_SIZE, Address
from nhrpd_py.runtime.netlink.socket import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    MalformedError,
    attribute,
    attributes,
)

RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
NDA_DST, NDA_LLADDR, NDA_IFINDEX, NDA_PROTOCOL = 1, 2, 8, 12
NUD_REACHABLE, NUD_STALE, NUD_DELAY, NUD_PROBE, NUD_PERMANENT = 0x02, 0x04, 0x08, 0x10, 0x80
NUD_IN_USE_OR_STALE = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE
"""States that an entry which we set STALE may have taken on by itself."""
RTN_UNICAST = 1

# struct ndmsg: family u8, 3 pad, ifindex s32, state u16, flags u8, type u8
NDMSG = struct.Struct("=BxxxiHBB")

GONE_ERRORS = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.ENXIO})
"""Errors of a delete whose object does not exist."""


class Neighbor(NamedTuple):
    """One entry of the kernel's table; `nbma` is empty while the kernel knows none, `protocol` 0
    where it is unset."""

    ifindex: int
    address: Address
    nbma: Address
    state: int
    protocol: int


def family_of(address: Address) -> int:
    return socket.AF_INET if len(address) == IPV4_SIZE else socket.AF_INET6


@cache
def _set_layout(address_size: int, nbma_size: int) -> struct.Struct:
    """Returns the layout of header, ndmsg, NDA_DST, NDA_LLADDR, and NDA_PROTOCOL (an octet and its
    padding)."""
    padding = -nbma_size % 4
    return struct.Struct(f"=IHHIIBxxxiHBBHH{address_size}sHH{nbma_size}s{padding}xHHB3x")


@cache
def _drop_layout(address_size: int) -> struct.Struct:
    return struct.Struct(f"=IHHIIBxxxiHBBHH{address_size}s")


def set_neighbor(ifindex: int, address: Address, nbma: Address, state: int, protocol: int) -> bytes:
    """Returns a request that sets the entry to exactly this, whatever it was before."""
    size, nbma_size = len(address), len(nbma)
    layout = _set_layout(size, nbma_size)
    return layout.pack(
        *(layout.size, RTM_NEWNEIGH, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE, 0, 0),
        *(family_of(address), ifindex, state, 0, RTN_UNICAST),
        *(size + 4, NDA_DST, address),
        *(nbma_size + 4, NDA_LLADDR, nbma),
        *(5, NDA_PROTOCOL, protocol),
    )


def drop_neighbor(ifindex: int, address: Address) -> bytes:
    size = len(address)
    layout = _drop_layout(size)
    return layout.pack(
        *(layout.size, RTM_DELNEIGH, NLM_F_REQUEST, 0, 0),
        *(family_of(address), ifindex, 0, 0, 0),
        *(size + 4, NDA_DST, address),
    )


def dump_neighbors(ifindex: int = 0) -> bytes:
    """Returns the payload of a dump of all families, of one link where an ifindex is given."""
    head = NDMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    return head + attribute(NDA_IFINDEX, struct.pack("=I", ifindex)) if ifindex else head


def read_neighbor(payload: memoryview) -> Neighbor | None:
    """Reads an entry; None for families and entries that are not for us (bridge FDB, proxies
    without a link).
    """
    if len(payload) < NDMSG.size:
        raise MalformedError("a short neighbour message")
    family, ifindex, state, _flags, _type = NDMSG.unpack_from(payload)
    if family not in (socket.AF_INET, socket.AF_INET6) or not ifindex:
        return None
    found = attributes(payload, NDMSG.size)
    address = bytes(found.get(NDA_DST, b""))
    if not address:
        return None
    protocol = found.get(NDA_PROTOCOL)
    return Neighbor(
        ifindex,
        address,
        bytes(found.get(NDA_LLADDR, b"")),
        state,
        protocol[0] if protocol else 0,
    )


def read_own_neighbor(protocol: int, ifindex: int, payload: memoryview) -> Neighbor | None:
    """Reads an entry; None unless it is of this link, has our protocol number and an NBMA address."""
    entry = read_neighbor(payload)
    if entry is None or entry.ifindex != ifindex or entry.protocol != protocol:
        return None
    return entry if entry.nbma else None
