"""Everything the engine can ask of the world, in the order in which it must happen.

`SetNeighbor`, `SetRoute` and their opposites describe a wanted state: the runtime keeps the set, applies it, and
applies it anew after it lost track of the kernel. All other effects are done once.
"""

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from nhrpd_py.core.address import Address, Prefix
from nhrpd_py.core.notices import Notice


@dataclass(frozen=True, slots=True)
class SendPacket:
    """Send an NHRP packet through a tunnel to an outer destination."""

    ifindex: int
    nbma: Address
    data: bytes


@dataclass(frozen=True, slots=True)
class OpenInterface:
    """Prepare a tunnel (NOARP cleared, solicitations to us, no ICMP redirects) and receive NHRP from it."""

    ifindex: int
    name: str


@dataclass(frozen=True, slots=True)
class CloseInterface:
    """Stop receiving; forget all wanted neighbours and routes of this ifindex without touching the kernel."""

    ifindex: int


class NeighborState(Enum):
    PERMANENT = "permanent"
    STALE = "stale"
    """The kernel will probe it (NeighborSolicited with its nbma) 5 s after traffic uses it."""


@dataclass(frozen=True, slots=True)
class SetNeighbor:
    ifindex: int
    address: Address
    nbma: Address
    state: NeighborState = NeighborState.PERMANENT


@dataclass(frozen=True, slots=True)
class DropNeighbor:
    ifindex: int
    address: Address


@dataclass(frozen=True, slots=True)
class SetRoute:
    """`prefix via GATEWAY dev IFINDEX onlink`; without a gateway `prefix dev IFINDEX`. One per (prefix, ifindex)."""

    prefix: Prefix
    ifindex: int
    gateway: Address = b""


@dataclass(frozen=True, slots=True)
class DropRoute:
    prefix: Prefix
    ifindex: int


@dataclass(frozen=True, slots=True)
class ResolveName:
    """Look a host name up once; a `NameResolved` follows."""

    name: str


@dataclass(frozen=True, slots=True)
class AnswerCommand:
    token: int
    matched: int
    """How many entries the command acted on."""
    refused: str | None = None
    detail: str = ""
    """One line for people."""


@dataclass(frozen=True, slots=True)
class Halt:
    """Everything that must go has been asked to go; the runtime may end after it has carried that out."""


Effect: TypeAlias = (
    SendPacket
    | OpenInterface
    | CloseInterface
    | SetNeighbor
    | DropNeighbor
    | SetRoute
    | DropRoute
    | ResolveName
    | AnswerCommand
    | Halt
    | Notice
)
