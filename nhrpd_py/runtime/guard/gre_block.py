"""The XFRM policies that block clear text of a GRE tunnel, and the settings that would disable
them.

Pure functions; `guard` keeps the policies in the kernel.
"""

from collections.abc import Mapping
from pathlib import Path

from nhrpd_py.core.effects import ProtectedGre
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
"""Selector and direction: the kernel has one policy for each (of a mark and an if_id)."""


def block_policies(gre: ProtectedGre) -> tuple[Policy, Policy]:
    """Returns the policies, out and in, that drop a tunnel's GRE which no security association
    covers."""
    return (
        _block(Direction.OUT, gre.output_key, ipv6=gre.ipv6),
        _block(Direction.IN, gre.input_key, ipv6=gre.ipv6),
    )


def _block(direction: Direction, key: int | None, *, ipv6: bool) -> Policy:
    return Policy(gre_selector(key, ipv6=ipv6), direction, Action.BLOCK, PRIORITY)


def is_guard(policy: Policy) -> bool:
    """Returns whether a policy is the guard's, of any tunnel and of any run."""
    key = policy.selector.gre_key
    return (
        policy.selector.protocol == IPPROTO_GRE
        and key is not None
        and policy.direction in (Direction.IN, Direction.OUT)
        and policy == _block(Direction(policy.direction), key, ipv6=policy.selector.ipv6)
    )


def switches(gre: ProtectedGre) -> list[str]:
    """Returns the settings that could make the kernel skip all policies, as paths below /proc/sys.

    A tunnel may have its address from `lo`, which always skips them, but no packet leaves by it.
    """
    devices = ("all",) if gre.underlay in ("", "lo") else ("all", gre.underlay)
    family, names = (
        ("ipv6", ("disable_policy",)) if gre.ipv6 else ("ipv4", ("disable_xfrm", "disable_policy"))
    )
    return [f"net/{family}/conf/{device}/{name}" for device in devices for name in names]


def bypasses(gre: ProtectedGre, settings: Path = SETTINGS) -> list[str]:
    """Returns the `switches` that are on."""
    return [path for path in switches(gre) if _is_set(settings / path)]


def _is_set(setting: Path) -> bool:
    try:
        return setting.read_text().strip() not in ("", "0")
    except OSError:  # an older kernel, or a link that is gone
        return False


def slot_of(policy: Policy) -> Slot:
    return policy.selector, policy.direction


def touches(item: Message, wanted: Mapping[Slot, Policy], changed: dict[Policy, Policy]) -> bool:
    """Returns whether a notification is about a wanted policy; adds a replaced one to `changed`."""
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
