"""What a clean stop leaves for the next start (RFC 2332 §5.2.3: request ids outlive the process)."""

from dataclasses import dataclass

from nhrpd_py.core.address import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedBinding:
    """A client's registration; its interface is named, since an ifindex changes with a reboot."""

    interface: str
    protocol: Address
    nbma: Address
    claimed_nbma: Address
    unique: bool
    remaining_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedState:
    request_id: int
    """The last request id in use."""
    bindings: tuple[SavedBinding, ...]
