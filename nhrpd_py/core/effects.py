"""Everything the engine can ask of the world, in the order in which it must happen.

`SetNeighbor`, `SetRoute` and their opposites describe a wanted state: the runtime keeps the set, applies it, and
applies it anew after it lost track of the kernel. All other effects are done once.
"""

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from nhrpd_py.core.address import Address, Prefix
from nhrpd_py.core.config import IpsecConfig
from nhrpd_py.core.notices import Notice


@dataclass(frozen=True, slots=True)
class SendPacket:
    """Send an NHRP packet through a tunnel to an outer destination."""

    ifindex: int
    nbma: Address
    data: bytes


@dataclass(frozen=True, slots=True)
class SendMulticast:
    """Send copies of a data packet through a tunnel, one to each outer destination, as they are."""

    interface: str
    ifindex: int
    protocol_type: int
    """Its ethertype."""
    targets: tuple[Address, ...]
    """The same object as long as the destinations are the same: what is made of them can be kept."""
    apart_from: Address
    """One of them that gets no copy, for the packet came from there; else empty."""
    data: bytes


@dataclass(frozen=True, slots=True)
class ProtectedGre:
    """The GRE traffic of one tunnel that must never leave or enter in clear."""

    input_key: int | None = None
    output_key: int | None = None
    ipv6: bool = False
    """The underlay's family."""
    underlay: str = ""
    """The link that it comes and goes by, where known."""


@dataclass(frozen=True, slots=True)
class OpenInterface:
    """Prepare a tunnel (NOARP cleared, solicitations to us, no ICMP redirects) and receive NHRP from it.

    With `guard`, only when the clear-text guard is in the kernel; the guard stays when the interface is closed.
    """

    ifindex: int
    name: str
    guard: ProtectedGre | None = None


@dataclass(frozen=True, slots=True)
class CloseInterface:
    """Stop receiving; forget all wanted neighbours and routes of this ifindex without touching the kernel.

    `withdrawn`: all our entries are deleted, those of an earlier run too, so that nothing is sent there any more.
    `final`: the tunnel is no longer ours; it gets back the settings that it had before it was prepared.
    """

    ifindex: int
    withdrawn: bool = False
    final: bool = False


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
    mtu: int = 0
    """Octets; 0: the tunnel's."""


@dataclass(frozen=True, slots=True)
class DropRoute:
    prefix: Prefix
    ifindex: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WantSa:
    """Keep a CHILD_SA between two addresses up, until `DropSa`.

    There is one for each (interface, profile, local, remote). A repeated one replaces the earlier one, and the next
    attempt is made at once instead of after its hold-down.
    """

    ipsec: IpsecConfig
    local: Address
    remote: Address
    server: bool
    """The peer is one of our NHSs and must have the profile's own remote identity; any other peer `peer_identity`."""
    interface: str = ""
    """The tunnel that needs the SA: two tunnels may go between the same addresses."""
    delay_s: float = 0.0
    """How long to wait before the first attempt, so that the peer can initiate and not both ends do."""


@dataclass(frozen=True, slots=True)
class DropSa:
    """Make no more attempts for an SA that is not needed. If it is up, charon's own rules end it (inactivity)."""

    profile: str
    local: Address
    remote: Address
    interface: str = ""


@dataclass(frozen=True, slots=True)
class EndSa:
    """End the SAs between two addresses, which carry nothing, without asking the peer. A `WantSa` stays in force."""

    local: Address
    remote: Address


@dataclass(frozen=True, slots=True)
class FilterSources:
    """Look at the inner sources of what comes out of the SAs of a tunnel: count the wrong ones, and drop them or not.

    A packet whose mark was not told yet passes, so that a new SA loses nothing.
    """

    interface: str
    drop: bool
    underlay: str = ""
    """The link by which its packets come, where known: rules of others for it may disturb the filter."""


@dataclass(frozen=True, slots=True)
class UnfilterSources:
    """Remove the source filter of a tunnel from the kernel."""

    interface: str


@dataclass(frozen=True, slots=True)
class AllowSources:
    """A change of the inner sources that packets with a mark may have; the first one of a mark makes it known.

    The prefixes of a mark never overlap. Mark 0: allowed whatever the mark.
    """

    interface: str
    mark: int
    added: tuple[Prefix, ...] = ()
    removed: tuple[Prefix, ...] = ()


@dataclass(frozen=True, slots=True)
class ForgetMark:
    """A mark and all its sources are no more: its last SA is gone."""

    interface: str
    mark: int


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
    """The last effect of a clean stop: after the withdrawals before it are carried out, the daemon may end."""


Effect: TypeAlias = (
    SendPacket
    | SendMulticast
    | OpenInterface
    | CloseInterface
    | SetNeighbor
    | DropNeighbor
    | SetRoute
    | DropRoute
    | WantSa
    | DropSa
    | EndSa
    | FilterSources
    | UnfilterSources
    | AllowSources
    | ForgetMark
    | ResolveName
    | AnswerCommand
    | Halt
    | Notice
)
