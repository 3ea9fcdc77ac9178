"""Policies of other programs that let a tunnel's GRE pass in clear text.

A policy that allows and has no template wins over those of security associations when its priority
is the smaller number, and over the guard's in any case. charon makes such policies: the plugin
bypass-lan for each connected subnet, and `mode = pass` of a child in swanctl.conf. One is a hole in
a tunnel when its selector can hold what goes between our NBMA address and one that we use; any
other is no matter of ours.
"""

from collections.abc import Collection, Iterable

from nhrpd_py.core.address import IPV4_SIZE, IPV6_SIZE, Address, Prefix, format_address
from nhrpd_py.core.effects import ProtectedGre
from nhrpd_py.runtime.guard.gre_block import PRIORITY, Slot, slot_of
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
    read_deleted_policy,
    read_policy,
)

Pair = tuple[Address, Address]
"""Our NBMA address, and one that we use."""

CHARON_PASSES = range(100_000, 200_000)
"""The priorities that charon gives to policies that let pass."""


def is_pass(policy: Policy) -> bool:
    """Returns whether a policy lets GRE pass in clear text, of whichever tunnel, and wins over the
    guard's."""
    return (
        policy.action == Action.ALLOW
        and not policy.templates
        and policy.direction in (Direction.IN, Direction.OUT)
        and policy.selector.protocol in (0, IPPROTO_GRE)
        and policy.priority <= PRIORITY
        and not policy.if_id  # an if_id: only for packets of a link of kind xfrm
    )


def holds(policy: Policy, gre: ProtectedGre, local: Address, remote: Address) -> bool:
    """Returns whether the packets of a tunnel between two NBMA addresses fit a policy's selector.

    An empty address stands for one that is not known, and fits. So does any mark.
    """
    selector = policy.selector
    going_out = policy.direction == Direction.OUT
    source, destination = (local, remote) if going_out else (remote, local)
    key = (gre.output_key if going_out else gre.input_key) or 0
    high, high_mask, low, low_mask = selector.ports
    return (
        selector.ipv6 == gre.ipv6
        and _covers(selector.source, selector.source_length, source)
        and _covers(selector.destination, selector.destination_length, destination)
        and not (high ^ key >> 16) & high_mask
        and not (low ^ key & 0xFFFF) & low_mask
    )


def _covers(network: Address, length: int, address: Address) -> bool:
    return not (network and address) or Prefix(network, length).contains(address)


def pair_of(policy: Policy) -> Pair | None:
    """Returns the two addresses whose GRE a policy sends through IPsec; None for other policies."""
    selector = policy.selector
    size = 8 * (IPV6_SIZE if selector.ipv6 else IPV4_SIZE)
    if (
        policy.templates
        and policy.direction == Direction.OUT
        and selector.protocol in (0, IPPROTO_GRE)
        and (selector.source_length, selector.destination_length) == (size, size)
    ):
        return selector.source, selector.destination
    return None


def mending(policy: Policy, device: str = "") -> str:
    """Returns what takes a policy away that lets GRE pass; `device` is the link of its selector, if
    it has one."""
    if policy.priority in CHARON_PASSES:
        return (
            "charon has it from its plugin bypass-lan, or from a child with mode = pass: "
            "charon.plugins.bypass-lan { load = no } in strongswan.conf, or interfaces_ignore there"
        )
    value, mask = policy.mark
    mark = f" mark {value:#x} mask {mask:#x}" if mask else ""
    direction = Direction(policy.direction).label
    link = f" dev {device}" if device else ""
    return f"ip xfrm policy delete {policy.selector}{link} dir {direction}{mark}"


_Key = tuple[Selector, int, tuple[int, int], int]
"""The kernel has one policy for each selector, direction, mark and if_id."""


class Passes:
    """Follows the policies that let pass, and the pairs of addresses that IPsec protects."""

    def __init__(self) -> None:
        self._passing: dict[_Key, Policy] = {}
        self._pairs: dict[_Key, Pair] = {}

    def sync(self, policies: Iterable[Policy]) -> None:
        """Takes all policies of the kernel."""
        self._passing.clear()
        self._pairs.clear()
        for policy in policies:
            self._take(policy)

    def follow(self, item: Message) -> bool:
        """Takes a notification of the kernel; returns whether a tunnel may have got a hole, or lost
        one."""
        kind, _flags, _sequence, _port, payload = item
        if kind == XFRM_MSG_FLUSHPOLICY:
            had = bool(self._passing)
            self.sync(())
            return had
        if kind == XFRM_MSG_DELPOLICY:
            gone = read_deleted_policy(payload)
            if gone is None:
                return False
            self._pairs.pop(_key(gone), None)
            return self._passing.pop(_key(gone), None) is not None
        if kind in (XFRM_MSG_NEWPOLICY, XFRM_MSG_UPDPOLICY):
            found = read_policy(payload)
            return found is not None and self._take(found)
        return False

    def hole(
        self,
        gre: ProtectedGre,
        used: Iterable[Pair],
        *,
        foreign: Collection[Address] = (),
        besides: Collection[Slot] = (),
    ) -> tuple[Pair, Policy] | None:
        """Returns a policy that lets packets of a tunnel pass between two addresses, and these.

        `used` are the pairs that the daemon wants SAs for. Those that charon protects count as
        well, unless our address is another tunnel's (`foreign`). Policies in the slots of
        `besides` do not count: the guard's own come there again.
        """
        if not self._passing:
            return None
        pairs = set(used).union(pair for pair in self._pairs.values() if pair[0] not in foreign)
        return min(
            (
                (pair, policy)
                for pair in pairs
                if len(pair[0]) == (IPV6_SIZE if gre.ipv6 else IPV4_SIZE)
                for policy in self._passing.values()
                if holds(policy, gre, *pair)
                and not (policy.mark == (0, 0) and slot_of(policy) in besides)
            ),
            key=lambda found: (found[0], str(found[1])),
            default=None,
        )

    def _take(self, policy: Policy) -> bool:
        key = _key(policy)
        had = self._passing.pop(key, None)
        if is_pass(policy):
            self._passing[key] = policy
            return True
        pair = pair_of(policy)
        if pair is not None:
            self._pairs[key] = pair
        return had is not None or (pair is not None and bool(self._passing))


def _key(policy: Policy) -> _Key:
    return policy.selector, policy.direction, policy.mark, policy.if_id


def describe(pair: Pair, policy: Policy) -> str:
    """Returns why a tunnel is not protected, with the remedy."""
    local, remote = (format_address(each) for each in pair)
    return (
        f"a policy of another program lets GRE between {local} and {remote} pass in clear text: "
        f"{policy}; mend it: {mending(policy)}"
    )
