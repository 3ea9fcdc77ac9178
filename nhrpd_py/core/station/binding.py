"""A binding: which NBMA address stands behind an overlay address, and how we know. RFC 2332 §6.2, §5.2.3."""

from dataclasses import dataclass
from enum import Enum, IntEnum

from nhrpd_py.core.address import Address

NEVER = float("inf")


class BindingType(IntEnum):
    """How a binding was learnt; a higher type is not overwritten by a lower one."""

    CACHED = 3
    """Learnt from a Resolution Reply, or from a Resolution Request that was for us."""
    DYNAMIC = 4
    """A client registered it with us."""
    NHS = 5
    """A next hop server that accepted our registration."""
    STATIC = 6
    """Configured."""


class Origin(Enum):
    """The source of the present content of a binding."""

    PEER = "peer"
    """A message of this run, or the configuration."""
    STATE_FILE = "state file"
    """The registrations that the last run saved; valid for the rest of their holding time."""
    KERNEL = "kernel"
    """A neighbour entry of an earlier run; any message of a peer replaces it."""


class Entry(Enum):
    """What the kernel's neighbour table has for a binding; `entries` has the transitions."""

    NONE = "none"
    """Nothing: the circuit to its NBMA address is not up, or the tunnel is closed."""
    VIA_SERVER = "via server"
    """The NBMA address of a next hop server, for a kernel that has traffic already."""
    INHERITED = "inherited"
    """Its own NBMA address, from an earlier run; kept until charon reports whether its SA exists."""
    DIRECT = "direct"
    """Its own NBMA address."""
    STALE = "stale"
    """Its own NBMA address, in NUD_STALE, so that the kernel probes it when traffic uses it."""


@dataclass(slots=True, eq=False)
class Binding:
    protocol: Address
    type: BindingType
    nbma: Address
    """Where packets for it are sent: the outer address that we saw, or that a message or the operator gave."""
    claimed_nbma: Address
    """The NBMA address that the peer itself gave; another one than `nbma` behind NAT."""
    holding_time_s: int
    """0: for ever."""
    expires_at: float
    created_at: float
    mtu: int
    unique: bool
    origin: Origin = Origin.PEER
    entry: Entry = Entry.NONE
    routed: bool = False
    """It has a host route."""
    used: bool = False
    """The kernel sent traffic to it lately; only known for bindings that are watched."""
    shortcuts_end_at: float = NEVER
    """When the first of the shortcuts over it ends; they are renewed before."""
    sender: Address = b""
    """The outer source address of the packet that gave it, which is another one than `nbma` where a transit NHS handed
    the packet on; empty for a configured binding."""
    counts_for: Address = b""
    """In whose share of the cache it is; set by the cache."""
    holder: frozenset[str] = frozenset()
    """The IKE identities that have the overlay address: those that were at `held_at` when the peer was last known."""
    held_at: Address = b""

    @property
    def installed(self) -> bool:
        """Whether the kernel sends to its own NBMA address, so that shortcuts may use it."""
        return self.entry in _INSTALLED

    @property
    def nat(self) -> bool:
        """Whether the peer is behind NAT."""
        return self.claimed_nbma != self.nbma


_INSTALLED = frozenset((Entry.INHERITED, Entry.DIRECT, Entry.STALE))
