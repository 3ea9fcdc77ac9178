"""A binding: which NBMA address stands behind an overlay address, and how we know. RFC 2332 §6.2, §5.2.3."""

from dataclasses import dataclass
from enum import IntEnum

from nhrpd_py.core.address import Address

NEVER = float("inf")


class BindingType(IntEnum):
    """Where a binding is from; a higher one is not overwritten by a lower one."""

    CACHED = 3
    """Learnt from a Resolution Reply, or from a Resolution Request that was for us."""
    DYNAMIC = 4
    """A client registered it with us."""
    NHS = 5
    """A next hop server that accepted our registration."""
    STATIC = 6
    """Configured."""


@dataclass(slots=True, eq=False)
class Binding:
    protocol: Address
    type: BindingType
    nbma: Address
    """Where packets for it go: the outer address that we saw, or were told to use."""
    claimed_nbma: Address
    """The NBMA address that the peer believes it has; differs behind NAT."""
    holding_time_s: int
    """0: for ever."""
    expires_at: float
    created_at: float
    mtu: int
    unique: bool
    used: bool = False
    """The kernel sent traffic to it lately; only known of those that are watched."""
    probing: bool = False
    """The neighbour entry is STALE to find that out."""
    shortcuts_end_at: float = NEVER
    """When the first of the shortcuts that lean on it ends; they are renewed ahead of that."""
    routed: bool = False
    """It has a host route."""
    programmed: bool = False
    """It has a neighbour entry: the circuit to its NBMA address is up."""
    adopted: bool = False
    """Taken over from an earlier run, and not refreshed since."""
    recalled: bool = False
    """Read from the state file, and not refreshed since."""
    inherited: bool = False
    """The kernel had it when we started; it keeps it until charon tells whether the SA lives."""
    interim_nbma: Address = b""
    """The NHS that the neighbour entry leads to until the circuit is up, for a kernel that has traffic already."""

    @property
    def nat(self) -> bool:
        return self.claimed_nbma != self.nbma
