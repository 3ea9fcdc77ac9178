"""Which XFRM policies keep a GRE tunnel from clear text, and what would undo them.

Pure: `runtime.guard` keeps them in the kernel.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nhrpd_py.runtime.netlink.socket import Message
from nhrpd_py.runtime.netlink.xfrm import (
    IPPROTO_GRE,
    XFRM_MSG_DELPOLICY,
    XFRM_MSG_FLUSHPOLICY,
    XFRM_MSG_NEWPOLICY,
    XFRM_MSG_UPDPOLICY,
    Action,
    Direction,
    Policy,
    Selector,
    gre_selector,
    read_deleted_policy,
    read_policy,
)

PRIORITY = 1_000_000
"""charon's policies have 366 975 and less, its traps 399 744, its drops 599 743; the smallest
number wins.
"""
SETTINGS = Path("/proc/sys")

Slot = tuple[Selector, int]
"""Selector and direction: what the kernel has one policy of (a mark and an if_id)."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """What the guard has to know of a GRE netdev."""

    ipv6: bool = False
    """The family outside."""
    input_key: int | None = None
    output_key: int | None = None
    underlay: str = ""
    """The link its packets come and go by, where known."""
    ifindex: int = 0

    @property
    def policies(self) -> tuple[Policy, Policy]:
        return (
            _block(Direction.OUT, self.output_key, ipv6=self.ipv6),
            _block(Direction.IN, self.input_key, ipv6=self.ipv6),
        )


def _block(direction: Direction, key: int | None, *, ipv6: bool) -> Policy:
    return Policy(gre_selector(key, ipv6=ipv6), direction, Action.BLOCK, PRIORITY)


def is_guard(policy: Policy) -> bool:
    """Tells whether a policy is one of the guard's, of whatever tunnel and run."""
    key = policy.selector.gre_key
    return (
        policy.selector.protocol == IPPROTO_GRE
        and key is not None
        and policy.direction in (Direction.IN, Direction.OUT)
        and policy == _block(Direction(policy.direction), key, ipv6=policy.selector.ipv6)
    )


def switches(tunnel: Tunnel) -> list[str]:
    """The settings that could have the kernel skip all policies, as paths below /proc/sys.

    A tunnel may have its address from `lo`, which always skips them, but no packet leaves by it.
    """
    devices = ("all",) if tunnel.underlay in ("", "lo") else ("all", tunnel.underlay)
    family, names = (
        ("ipv6", ("disable_policy",))
        if tunnel.ipv6
        else ("ipv4", ("disable_xfrm", "disable_policy"))
    )
    return [f"net/{family}/conf/{device}/{name}" for device in devices for name in names]


def bypasses(tunnel: Tunnel, settings: Path = SETTINGS) -> list[str]:
    """Those of the `switches` that are on."""
    return [path for path in switches(tunnel) if _is_set(settings / path)]


def _is_set(setting: Path) -> bool:
    try:
        return setting.read_text().strip() not in ("", "0")
    except OSError:  # an older kernel, or a link that is gone
        return False


def slot_of(policy: Policy) -> Slot:
    return policy.selector, policy.direction


def touches(item: Message, wanted: Mapping[Slot, Policy], changed: dict[Policy, Policy]) -> bool:
    """Tells whether a notification is about wanted policies; notes what replaced one."""
    kind, _flags, _sequence, _port, payload = item
    if kind == XFRM_MSG_FLUSHPOLICY:
        changed.clear()
        return True
    if kind == XFRM_MSG_DELPOLICY:
        gone = read_deleted_policy(payload)
        ours = wanted.get(slot_of(gone)) if gone is not None else None
        if ours is not None:
            changed.pop(ours, None)
        return ours is not None
    if kind in (XFRM_MSG_NEWPOLICY, XFRM_MSG_UPDPOLICY):
        found = read_policy(payload)
        ours = wanted.get(slot_of(found)) if found is not None else None
        if ours is None or found is None or found.mark != (0, 0) or found.if_id:
            return False
        if found == ours:
            changed.pop(ours, None)
            return False
        changed[ours] = found
        return True
    return False
