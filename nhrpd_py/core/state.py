"""What a run leaves for the next one."""

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
    bindings: tuple[SavedBinding, ...]
