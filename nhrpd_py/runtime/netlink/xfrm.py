"""Reads policies and states of the kernel's IPsec (linux/xfrm.h), and writes the policies that the
guard needs.

Uses `struct`, for pyroute2 has no message classes for them. `netlink.xfrm_socket` sends the
requests.
"""

import enum
import socket
import struct
from dataclasses import dataclass
from typing import Any

from nhrpd_py.core.address import IPV4_SIZE, IPV6_SIZE, Address, format_address
from nhrpd_py.runtime.netlink.socket import U32, MalformedError, attributes

XFRMNLGRP_POLICY = 4
XFRM_MSG_NEWSA, XFRM_MSG_GETSA = 0x10, 0x12
XFRM_MSG_NEWPOLICY, XFRM_MSG_DELPOLICY, XFRM_MSG_GETPOLICY = 0x13, 0x14, 0x15
XFRM_MSG_UPDPOLICY, XFRM_MSG_FLUSHPOLICY = 0x19, 0x1D
XFRMA_TMPL, XFRMA_POLICY, XFRMA_POLICY_TYPE, XFRMA_MARK, XFRMA_IF_ID = 5, 7, 16, 21, 31
XFRM_POLICY_TYPE_MAIN = 0

IPPROTO_GRE, IPPROTO_ESP, IPPROTO_AH = 47, 50, 51
PORT_MASK = 0xFFFF

# struct xfrm_selector: daddr, saddr: 16 octets each; dport, its mask, sport, its mask: be16 each;
# family u16, prefixlen_d u8, prefixlen_s u8, proto u8, pad, ifindex s32, user u32
SELECTOR = struct.Struct("=16s16s2s2s2s2sHBBB3xiI")
# struct xfrm_lifetime_cfg: soft and hard limits of octets and packets (all ones: none), then of
# seconds since it was added and since it was used (0: none)
LIFETIME = struct.Struct("=4Q4Q")
# struct xfrm_lifetime_cur: octets, packets, added at, used at (seconds since 1970)
CURRENT = struct.Struct("=4Q")
# rest of struct xfrm_userpolicy_info: priority u32, index u32, dir u8, action u8, flags u8, share u8
POLICY_TAIL = struct.Struct("=IIBBBB4x")
# rest of struct xfrm_userpolicy_id, behind a selector: index u32, dir u8
POLICY_ID_TAIL = struct.Struct("=IB3x")
# struct xfrm_user_tmpl: daddr, spi be32, proto u8, pad, family u16, pad, saddr, reqid u32, mode u8,
# share u8, optional u8, pad, aalgos u32, ealgos u32, calgos u32
TEMPLATE = struct.Struct("=16s4sB3xH2x16sIBBBxIII")
# struct xfrm_id and the source: daddr, spi be32, proto u8, pad, saddr
STATE_ID = struct.Struct("=16s4sB3x16s")
# rest of struct xfrm_usersa_info: replay window, replayed and forged packets, sequence, reqid: u32
# each; family u16, mode u8, replay window u8, flags u8
STATE_TAIL = struct.Struct("=IIIIIHBBB7x")
# struct xfrm_mark: value u32, mask u32
MARK = struct.Struct("=II")

POLICY_SIZE = SELECTOR.size + LIFETIME.size + CURRENT.size + POLICY_TAIL.size
POLICY_ID_SIZE = SELECTOR.size + POLICY_ID_TAIL.size
STATE_SIZE = SELECTOR.size + STATE_ID.size + LIFETIME.size + CURRENT.size + STATE_TAIL.size
UNLIMITED = LIFETIME.pack(*(0xFFFFFFFFFFFFFFFF,) * 4, 0, 0, 0, 0)


class Direction(enum.IntEnum):
    """The direction of a policy's packets: XFRM_POLICY_IN, _OUT and _FWD."""

    IN = 0
    OUT = 1
    FWD = 2

    @property
    def label(self) -> str:
        """Returns the name that `ip xfrm policy` gives it."""
        return self.name.lower()


class Action(enum.IntEnum):
    """The action of a policy: XFRM_POLICY_ALLOW and _BLOCK."""

    ALLOW = 0
    BLOCK = 1


class Mode(enum.IntEnum):
    """How a security association encapsulates: XFRM_MODE_TRANSPORT and so on."""

    TRANSPORT = 0
    TUNNEL = 1


@dataclass(frozen=True, slots=True)
class Selector:
    """Selects the packets of a policy. An empty address stands for any of the family."""

    ipv6: bool
    protocol: int = 0
    source: Address = b""
    source_length: int = 0
    destination: Address = b""
    destination_length: int = 0
    ports: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Source port and its mask, destination port and its mask."""
    ifindex: int = 0

    @property
    def gre_key(self) -> int | None:
        """The GRE key of the selector, whose halves are in the place of the ports; None for
        others."""
        high, high_mask, low, low_mask = self.ports
        if self.protocol != IPPROTO_GRE or (high_mask, low_mask) != (PORT_MASK, PORT_MASK):
            return None
        return high << 16 | low

    def __str__(self) -> str:
        """Returns the selector as `ip xfrm policy` takes it."""
        wildcard = "::" if self.ipv6 else "0.0.0.0"  # noqa: S104 (any address)
        words = [
            f"src {format_address(self.source) or wildcard}/{self.source_length}",
            f"dst {format_address(self.destination) or wildcard}/{self.destination_length}",
        ]
        if self.protocol:
            words.append(f"proto {'gre' if self.protocol == IPPROTO_GRE else self.protocol}")
        if self.gre_key is not None:
            words.append(f"key {self.gre_key}")
        elif self.ports[1] or self.ports[3]:
            words.append(f"sport {self.ports[0]} dport {self.ports[2]}")
        return " ".join(words)


def gre_selector(key: int | None, *, ipv6: bool) -> Selector:
    """Returns a selector of GRE with a key between any addresses; None: GRE without a key.

    The kernel reads a missing key as 0, in both directions, so that "key 0" does not match other
    tunnels, which "any GRE" would.
    """
    number = key or 0
    ports = (number >> 16, PORT_MASK, number & PORT_MASK, PORT_MASK)
    return Selector(ipv6=ipv6, protocol=IPPROTO_GRE, ports=ports)


@dataclass(frozen=True, slots=True)
class PolicyTemplate:
    """Names the security association that a policy's packets must go through."""

    source: Address
    destination: Address
    protocol: int
    """IPPROTO_ESP, IPPROTO_AH…"""
    mode: int
    reqid: int


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy of the main database, without its limits and counters."""

    selector: Selector
    direction: int
    """A `Direction`; larger numbers are socket policies."""
    action: int
    priority: int
    """The smallest number wins."""
    templates: tuple[PolicyTemplate, ...] = ()
    mark: tuple[int, int] = (0, 0)
    if_id: int = 0

    def __str__(self) -> str:
        """Returns the policy as `ip xfrm policy` shows it."""
        direction = Direction(self.direction).label if self.direction in _DIRECTIONS else "?"
        action = "block" if self.action == Action.BLOCK else "allow"
        return f"{self.selector} dir {direction} action {action} priority {self.priority}"


_DIRECTIONS = frozenset(Direction)


@dataclass(frozen=True, slots=True)
class State:
    """One security association of the kernel, for packets from `source` to `destination`."""

    source: Address
    destination: Address
    spi: int
    protocol: int
    """IPPROTO_ESP, IPPROTO_AH…"""
    mode: int
    """A `Mode`, or an unknown number."""
    reqid: int
    octets: int
    packets: int
    added_at: int
    """Seconds since 1970, as `used_at`, which is 0 for never."""
    used_at: int


# --- packing --------------------------------------------------------------------------------------


def _pack_selector(selector: Selector) -> bytes:
    ports = [number.to_bytes(2) for number in selector.ports]
    return SELECTOR.pack(
        selector.destination,
        selector.source,
        *(ports[2], ports[3], ports[0], ports[1]),
        socket.AF_INET6 if selector.ipv6 else socket.AF_INET,
        selector.destination_length,
        selector.source_length,
        selector.protocol,
        selector.ifindex,
        0,
    )


def set_policy(policy: Policy) -> bytes:
    """Returns the payload of an XFRM_MSG_NEWPOLICY (EEXIST if there is one) or XFRM_MSG_UPDPOLICY
    (replaces).

    It covers the guard's policies only: no template, no mark, no limits.
    """
    tail = POLICY_TAIL.pack(policy.priority, 0, policy.direction, policy.action, 0, 0)
    return _pack_selector(policy.selector) + UNLIMITED + bytes(CURRENT.size) + tail


def drop_policy(policy: Policy) -> bytes:
    """Returns the payload of an XFRM_MSG_DELPOLICY: the kernel has one policy a selector and
    direction."""
    return _pack_selector(policy.selector) + POLICY_ID_TAIL.pack(0, policy.direction)


# --- reading --------------------------------------------------------------------------------------


def _address(octets: bytes, family: int) -> Address:
    return octets[: IPV4_SIZE if family == socket.AF_INET else IPV6_SIZE]


def _read_selector(payload: memoryview) -> Selector:
    daddr, saddr, *ports, family, length_d, length_s, protocol, ifindex, _user = (
        SELECTOR.unpack_from(payload)
    )
    dport, dport_mask, sport, sport_mask = (int.from_bytes(octets) for octets in ports)
    return Selector(
        ipv6=family == socket.AF_INET6,
        protocol=protocol,
        source=_address(saddr, family) if length_s else b"",
        source_length=length_s,
        destination=_address(daddr, family) if length_d else b"",
        destination_length=length_d,
        ports=(sport, sport_mask, dport, dport_mask),
        ifindex=ifindex,
    )


def read_policy(payload: memoryview) -> Policy | None:
    """Reads an XFRM_MSG_NEWPOLICY or XFRM_MSG_UPDPOLICY; None if it is not of the main database."""
    if len(payload) < POLICY_SIZE:
        raise MalformedError(f"a policy of {len(payload)} octets")
    found = attributes(payload, POLICY_SIZE)
    kind = found.get(XFRMA_POLICY_TYPE)
    if kind is not None and kind[:1] != bytes((XFRM_POLICY_TYPE_MAIN,)):
        return None
    priority, _index, direction, action, _flags, _share = POLICY_TAIL.unpack_from(
        payload, POLICY_SIZE - POLICY_TAIL.size
    )
    return Policy(
        selector=_read_selector(payload),
        direction=direction,
        action=action,
        priority=priority,
        templates=_read_templates(found.get(XFRMA_TMPL)),
        mark=_read_fixed(MARK, found.get(XFRMA_MARK)) or (0, 0),
        if_id=(_read_fixed(U32, found.get(XFRMA_IF_ID)) or (0,))[0],
    )


def _read_fixed(layout: struct.Struct, octets: memoryview | None) -> Any:
    if octets is None:
        return None
    if len(octets) != layout.size:
        raise MalformedError(f"{len(octets)} octets instead of {layout.size}")
    return layout.unpack(octets)


def _read_templates(octets: memoryview | None) -> tuple[PolicyTemplate, ...]:
    if octets is None:
        return ()
    if len(octets) % TEMPLATE.size:
        raise MalformedError(f"templates of {len(octets)} octets")
    return tuple(
        PolicyTemplate(_address(saddr, family), _address(daddr, family), protocol, mode, reqid)
        for daddr, _spi, protocol, family, saddr, reqid, mode, *_ in TEMPLATE.iter_unpack(octets)
    )


def read_deleted_policy(payload: memoryview) -> Policy | None:
    """Reads an XFRM_MSG_DELPOLICY; None if it was not of the main database.

    It begins with the request (a selector or just an index); the policy is in an attribute.
    """
    found = attributes(payload, POLICY_ID_SIZE)
    kind = found.get(XFRMA_POLICY_TYPE)
    whole = found.get(XFRMA_POLICY)
    if whole is None:
        raise MalformedError("a deletion that does not tell its policy")
    if kind is not None and kind[:1] != bytes((XFRM_POLICY_TYPE_MAIN,)):
        return None
    return read_policy(whole)


def read_state(payload: memoryview) -> State:
    """Reads an XFRM_MSG_NEWSA."""
    if len(payload) < STATE_SIZE:
        raise MalformedError(f"a state of {len(payload)} octets")
    daddr, spi, protocol, saddr = STATE_ID.unpack_from(payload, SELECTOR.size)
    octets, packets, added_at, used_at = CURRENT.unpack_from(
        payload, SELECTOR.size + STATE_ID.size + LIFETIME.size
    )
    _window, _replayed, _forged, _sequence, reqid, family, mode, *_ = STATE_TAIL.unpack_from(
        payload, STATE_SIZE - STATE_TAIL.size
    )
    return State(
        source=_address(saddr, family),
        destination=_address(daddr, family),
        spi=int.from_bytes(spi),
        protocol=protocol,
        mode=mode,
        reqid=reqid,
        octets=octets,
        packets=packets,
        added_at=added_at,
        used_at=used_at,
    )
