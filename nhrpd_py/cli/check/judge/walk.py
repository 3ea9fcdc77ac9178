"""What the packet filter does with a packet: the way of one through a base chain. Pure.

A rule may ask what the checks do not understand. Such a rule may let a packet pass, and is believed to; it is never
taken as the reason why one is dropped. So what is called dropped is dropped.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase

from nhrpd_py.cli.check.facts import BaseChain, Conditions, FilterRule, SamplingRule, Verdict

UNSURE = "?"
"""The rule that decided may be another one: one before it may not fit."""
MAX_DEPTH = 16
"""The kernel's own limit of jumps."""
OTHER_FAMILY = {"ip": "ip6", "ip6": "ip"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """A packet as the filter sees it; an interface that is not known is None."""

    family: str
    """`ip` or `ip6`"""
    input: str | None = None
    output: str | None = None
    protocol: str = ""
    """Empty: any."""
    port: int | None = None
    """The destination port."""
    destination: str = ""
    """Empty: any."""
    state: str = "new"


class Fit(Enum):
    NO = 0
    PERHAPS = 1
    YES = 2


@dataclass(slots=True)
class Way:
    """What happened to a packet in a base chain."""

    packet: Packet
    group: int
    """The NFLOG group that is looked for."""
    verdict: Verdict = Verdict.NONE
    by: str = ""
    """The rule that decided; empty: the policy, or UNSURE."""
    sample: SamplingRule | None = None
    """The first rule of the group that stood on its way, before the decision."""
    may_drop: bool = False
    """A rule that drops stood on its way, and may be about it."""
    chains: dict[str, tuple[Verdict, str]] = field(default_factory=dict)
    """What each chain decided, and by which rule: it decides the same wherever one jumps there from."""

    @property
    def sampled(self) -> bool:
        return self.sample is not None

    @property
    def dropped(self) -> bool:
        return self.verdict is Verdict.DROP


def way_of(base: BaseChain, packet: Packet, group: int = 0) -> Way:
    """Returns the way of a packet through a base chain."""
    way = Way(packet, group)
    if base.family == OTHER_FAMILY[packet.family]:
        way.verdict = Verdict.ACCEPT
    elif not _passes(base, base.name, way, 0):
        way.verdict = Verdict.DROP if base.drops else Verdict.ACCEPT
    return way


def _passes(base: BaseChain, chain: str, way: Way, depth: int) -> bool:
    """Goes through a chain, unless it is known what that leads to; returns whether a rule decided."""
    if chain not in way.chains:
        way.chains[chain] = (
            Verdict.NONE,
            "",
        )  # while it is gone through: the kernel takes no circles
        is_decided = _goes_through(base, chain, way, depth)
        way.chains[chain] = (way.verdict, way.by) if is_decided else (Verdict.NONE, "")
        return is_decided
    verdict, by = way.chains[chain]
    if verdict is Verdict.NONE:
        return False
    way.verdict, way.by = verdict, by
    return True


def _goes_through(base: BaseChain, chain: str, way: Way, depth: int) -> bool:
    rules: Sequence[FilterRule] = base.chains.get(chain, ()) if depth <= MAX_DEPTH else ()
    has_left = False  # a rule before may have led out of the chain
    for rule in rules:
        fit = fit_of(rule.conditions, way.packet)
        if fit is Fit.NO:
            continue
        if rule.verdict is Verdict.RETURN:
            if fit is Fit.YES:
                return False
            has_left = True
            continue
        leaves = rule.verdict is Verdict.GOTO
        if leaves and fit is Fit.YES:
            return _follows(base, rule, Fit.PERHAPS if has_left else fit, way, depth)
        if has_left:
            fit = Fit.PERHAPS
        if rule.sample is not None and rule.sample.group == way.group:
            way.sample = way.sample or rule.sample
        match rule.verdict:
            case Verdict.ACCEPT:
                way.verdict, way.by = rule.verdict, rule.text if fit is Fit.YES else UNSURE
                return True
            case Verdict.DROP if fit is Fit.YES:
                way.verdict, way.by = rule.verdict, rule.text
                return True
            case Verdict.DROP:
                way.may_drop = True
            case Verdict.JUMP | Verdict.GOTO:
                if _follows(base, rule, fit, way, depth):
                    return True
                has_left |= leaves
            case _:
                pass
    return False


def _follows(base: BaseChain, rule: FilterRule, fit: Fit, way: Way, depth: int) -> bool:
    """Goes through the chain that a rule leads to; a drop there is none where the rule may not fit."""
    if not _passes(base, rule.target, way, depth + 1):
        return False
    if fit is Fit.YES:
        return True
    if way.verdict is Verdict.DROP:
        way.verdict, way.by = Verdict.NONE, ""
        return False
    way.by = UNSURE
    return True


def fit_of(conditions: Conditions, packet: Packet) -> Fit:
    """Returns whether a rule is about a packet."""
    fits = [
        _listed(conditions.families, packet.family),
        _named(conditions.inputs, packet.input),
        _named(conditions.outputs, packet.output),
        _listed(conditions.protocols, packet.protocol),
        _listed(conditions.states, packet.state),
        _ported(conditions, packet),
        _addressed(conditions.destinations, packet.destination),
        Fit.PERHAPS if conditions.more else Fit.YES,
    ]
    return min(fits, key=lambda each: each.value)


def _named(patterns: Sequence[str] | None, name: str | None) -> Fit:
    if patterns is None:
        return Fit.YES
    if name is None:
        return Fit.PERHAPS
    excluded = [each[1:] for each in patterns if each.startswith("!")]
    wanted = [each for each in patterns if not each.startswith("!")]
    if any(fnmatchcase(name, each) for each in excluded):
        return Fit.NO
    if any(fnmatchcase(name, each) for each in wanted) or (excluded and not wanted):
        return Fit.YES
    return Fit.NO


def _listed(wanted: frozenset[str] | None, value: str) -> Fit:
    if wanted is None:
        return Fit.YES
    if not value:
        return Fit.PERHAPS
    return Fit.YES if value in wanted else Fit.NO


def _ported(conditions: Conditions, packet: Packet) -> Fit:
    if conditions.ports is None:
        return Fit.YES
    if packet.port is None:
        return Fit.PERHAPS if not packet.protocol else Fit.NO
    return Fit.YES if any(low <= packet.port <= high for low, high in conditions.ports) else Fit.NO


def _addressed(prefixes: Sequence[str] | None, address: str) -> Fit:
    if prefixes is None:
        return Fit.YES
    if not address:
        return Fit.PERHAPS
    try:
        is_within = any(
            ipaddress.ip_address(address) in ipaddress.ip_network(each.lstrip("!"), strict=False)
            for each in prefixes
        )
    except ValueError:  # a name, or a mask that is no prefix
        return Fit.PERHAPS
    is_excluded = any(each.startswith("!") for each in prefixes)
    return Fit.YES if is_within != is_excluded else Fit.NO
