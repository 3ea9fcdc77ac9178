"""Everything that can happen to the engine. The counterpart to events are effects.

Events are facts in the past tense, immutable and free of handles, so that a recorded run replays. Interfaces are
kernel ifindexes, addresses are bytes.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TypeAlias

from nhrpd_py.core.address import Address, Prefix
from nhrpd_py.core.config import Config
from nhrpd_py.core.queries import Command


@dataclass(frozen=True, slots=True)
class PacketReceived:
    """An NHRP packet came out of a tunnel; `nbma_source` is the source of its outer header."""

    ifindex: int
    nbma_source: Address
    data: bytes


@dataclass(frozen=True, slots=True)
class TrafficSeen:
    """The firewall sampled (NFLOG) a data packet that the kernel relays; `data` starts at its IP header."""

    in_ifindex: int
    out_ifindex: int
    """0 where the kernel did not report it."""
    data: bytes


@dataclass(frozen=True, slots=True)
class MulticastSeen:
    """The firewall gave us (NFLOG) a multicast packet that would leave by a tunnel; nothing else sends it."""

    in_ifindex: int
    """0: this machine made it."""
    out_ifindex: int
    nbma_source: Address
    """The source of the outer header with which it came out of a tunnel, where the kernel tells it; else empty."""
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GreParameters:
    """The IFLA_LINKINFO of a GRE netdev. `local` and `remote` are empty when unset (multipoint)."""

    local: Address = b""
    remote: Address = b""
    key: int | None = None
    """The key of received packets (IFLA_GRE_IKEY); nearly always that of sent packets too."""
    output_key: int | None = None
    ttl: int = 0
    """0: inherited from the inner packet."""
    ipv6: bool = False
    """ip6gre: the NBMA addresses are IPv6."""
    defect: str | None = None
    """Why the kernel cannot serve many peers with a netdev of this kind, for people."""
    link: int = 0
    """ifindex of the underlay that the tunnel is bound to (`dev`), or 0."""
    foreign: bool = False
    """Its packets leave in another network namespace: `local` and `link` are of that one, and not reported here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChanged:
    """A link exists with these properties; sent for every link at start and on every change."""

    ifindex: int
    name: str
    up: bool
    """IFF_UP: the operator wants it up. (The operstate of a GRE netdev has no meaning.)"""
    mtu: int
    noarp: bool = False
    vrf: bool = False
    """Enslaved to a VRF: its routes are not in the main table."""
    gre: GreParameters | None = None
    """None: this link is no GRE netdev."""


@dataclass(frozen=True, slots=True)
class LinkGone:
    ifindex: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressAdded:
    ifindex: int
    address: Address
    """IFA_LOCAL: ours, also on a point-to-point link."""
    prefix_length: int
    secondary: bool = False


@dataclass(frozen=True, slots=True)
class AddressRemoved:
    ifindex: int
    address: Address
    prefix_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route of the kernel's main table. Resolution follows the first next hop of several."""

    prefix: Prefix
    ifindex: int
    """0 for a route that drops (blackhole, unreachable, prohibit)."""
    gateway: Address = b""
    metric: int = 0
    protocol: int = 0
    others: tuple[tuple[int, Address], ...] = ()
    """ifindex and gateway of the further next hops of a multipath route, which only the source filter looks at."""


@dataclass(frozen=True, slots=True)
class RouteAdded:
    """Sent for every route of another protocol than ours that is unicast or drops; never for local ones."""

    route: Route


@dataclass(frozen=True, slots=True)
class RouteRemoved:
    route: Route


class Obstacle(StrEnum):
    """Why the network did not deliver an outer packet, as far as ICMP tells (RFC 792, RFC 1812 §5.2.7, RFC 4443)."""

    NO_ROUTE = "no-route"
    """Also where the last router on the way does not reach the host."""
    NO_PROTOCOL = "no-protocol"
    NO_PORT = "no-port"
    """What Linux answers where no tunnel has the GRE key; and what its packet filter says that rejects."""
    PROHIBITED = "prohibited"
    TOO_BIG = "too-big"
    EXPIRED = "expired"
    """Its time to live ended on the way."""


class OuterProtocol(Enum):
    GRE = "GRE"
    ESP = "ESP"
    ESP_IN_UDP = "ESP in UDP"


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketUndelivered:
    """An ICMP error quotes an outer packet of ours. It is a hint and no more: anybody may have sent it."""

    local: Address
    remote: Address
    """Source and destination of the packet."""
    protocol: OuterProtocol
    key: int | None = None
    """Its GRE key."""
    obstacle: Obstacle
    reporter: Address
    """Who sent the error; ourselves where the kernel did not get rid of the packet."""
    mtu: int = 0
    """With TOO_BIG: the octets that fit, 0 where the router does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelCounted:
    """What the kernel has counted of lost packets in a tunnel since it exists; sent every few seconds."""

    ifindex: int
    lost: tuple[tuple[str, int], ...]
    """The kernel's name of each counter (`struct rtnl_link_stats64`), and its value."""


@dataclass(frozen=True, slots=True)
class NeighborSolicited:
    """The kernel asks for a neighbour (RTM_GETNEIGH): with `nbma` it probes an entry in use, else it has no entry."""

    ifindex: int
    address: Address
    nbma: Address


@dataclass(frozen=True, slots=True)
class BindingFound:
    """A binding of an earlier run: from its state file, or from a neighbour entry of ours that outlived it.

    `remaining_s` is None where only the kernel entry is known.
    """

    ifindex: int
    protocol: Address
    nbma: Address
    remaining_s: float | None = None
    unique: bool = False
    claimed_nbma: Address = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """A CHILD_SA in transport mode, installed in the kernel. One pair of addresses may have several."""

    id: int
    """charon's uniqueid of the CHILD_SA; a rekeying gives a new one."""
    local: Address
    remote: Address
    """As the outer header has it: of a peer behind NAT the translated address."""
    identity: str
    """The IKE identity that the peer proved, as charon prints it."""
    answered: bool = False
    """The peer initiated the SA; it cannot receive through it until it has our answer."""
    address_blocks: tuple[Prefix, ...] | None = None
    """The RFC 3779 blocks of its certificate; None where the certificate is not known or has none."""
    mark: int = 0
    """The mark that the kernel gives to what comes out of it; 0 for none."""


@dataclass(frozen=True, slots=True)
class SaInstalled:
    """A CHILD_SA carries traffic from now on. Also sent for each existing one after every connect to charon."""

    association: Association


@dataclass(frozen=True, slots=True)
class SaGone:
    """A CHILD_SA is no more: deleted, rekeyed (its successor was reported before), or lost with its kernel state."""

    local: Address
    remote: Address
    id: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SaCount:
    """What went through the SAs that a pair of addresses has now, as the kernel counts it."""

    local: Address
    remote: Address
    octets_in: int
    octets_out: int
    packets_in: int
    packets_out: int


@dataclass(frozen=True, slots=True)
class SasCounted:
    """The counters of all pairs that have SAs; sent every few seconds."""

    counts: tuple[SaCount, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SaFailed:
    """An attempt to get a wanted SA failed; the supervisor tries again by itself."""

    local: Address
    remote: Address
    reason: str
    retry_in_s: float
    was_up: bool = False
    """charon had accepted the peer, whose SA is being ended: packets of it may have come, and may come for a moment."""


@dataclass(frozen=True, slots=True)
class IpsecReady:
    """charon is connected, and all its SAs have been reported."""

    version: str
    patched: bool
    """charon takes `my-host` and `other-host` with `initiate` (Alpine's and VyOS's builds)."""


@dataclass(frozen=True, slots=True)
class IpsecLost:
    """charon cannot be reached. Its SAs may live on in the kernel; an SA that really ended is reported by SaGone."""

    reason: str


@dataclass(frozen=True, slots=True)
class KernelRefused:
    """The kernel would not take a neighbour or route (`what` names it for people)."""

    ifindex: int
    what: str
    error: str


@dataclass(frozen=True, slots=True)
class WrongSources:
    """Packets came out of an SA whose inner source its peer may not have; `packets` since the last report."""

    interface: str
    mark: int
    source: Address
    """Empty where the packet filter does not tell."""
    packets: int


@dataclass(frozen=True, slots=True)
class SourceFilterState:
    """The packet filter looks at the sources of a tunnel, or does not, for a reason."""

    interface: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class NameResolved:
    """The answer to `ResolveName`: addresses, or an error text and none."""

    name: str
    addresses: tuple[Address, ...]
    error: str | None = None


@dataclass(frozen=True, slots=True)
class InterfaceRefused:
    """`OpenInterface` failed, or no longer holds; the engine shows the reason and asks again in a while."""

    ifindex: int
    error: str
    exposed: bool = False
    """What goes into the tunnel may leave in clear text: no entry of ours may lead there."""


@dataclass(frozen=True, slots=True)
class InterfaceMended:
    """The reason of an earlier `InterfaceRefused` no longer holds."""

    ifindex: int


@dataclass(frozen=True, slots=True)
class CommandGiven:
    """An operator's command; its answer carries the same token."""

    token: int
    command: Command


@dataclass(frozen=True, slots=True)
class ConfigChanged:
    """The file was read again; it is complete and without mistakes."""

    config: Config
    token: int | None = None
    """The token of the `AnswerCommand` that confirms that all is applied; None: no answer is needed."""


@dataclass(frozen=True, slots=True)
class ShutdownRequested:
    pass


Event: TypeAlias = (
    PacketReceived
    | TrafficSeen
    | MulticastSeen
    | LinkChanged
    | LinkGone
    | AddressAdded
    | AddressRemoved
    | RouteAdded
    | RouteRemoved
    | PacketUndelivered
    | TunnelCounted
    | NeighborSolicited
    | BindingFound
    | SaInstalled
    | SaGone
    | SasCounted
    | SaFailed
    | IpsecReady
    | IpsecLost
    | KernelRefused
    | WrongSources
    | SourceFilterState
    | NameResolved
    | InterfaceRefused
    | InterfaceMended
    | CommandGiven
    | ConfigChanged
    | ShutdownRequested
)
