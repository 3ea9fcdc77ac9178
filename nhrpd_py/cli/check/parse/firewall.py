"""Finds the rules that send forwarded packets to an NFLOG group, among those that were read. Pure.

A rule in a chain of the operator's own counts where FORWARD jumps to it, and must fit the
interfaces of the jump as well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from nhrpd_py.cli.check.facts import BaseChain, SamplingRule

MAX_DEPTH = 16
"""The kernel's own limit of jumps."""

Names = tuple[str, ...] | None


def sampling_rules(chains: Sequence[BaseChain]) -> list[SamplingRule]:
    """Returns the rules that sample forwarded packets, in the order in which packets meet them."""
    return [
        rule for chain in chains if chain.hook == "forward" for rule in _reached(chain, chain.name)
    ]


def _reached(base: BaseChain, chain: str, depth: int = 0) -> Iterator[SamplingRule]:
    """Yields the rules that packets meet in a chain, and in those that it jumps to."""
    if depth > MAX_DEPTH:
        return
    for rule in base.chains.get(chain, ()):
        inputs, outputs = _named(rule.conditions.inputs), _named(rule.conditions.outputs)
        if rule.sample is not None:
            yield replace(rule.sample, inputs=inputs, outputs=outputs)
        elif rule.target:
            for inner in _reached(base, rule.target, depth + 1):
                yield replace(
                    inner,
                    inputs=both(inputs, inner.inputs),
                    outputs=both(outputs, inner.outputs),
                )


def _named(patterns: Names) -> Names:
    """Returns patterns without those for all but one interface: such a rule is not made for the tunnel."""
    if patterns is None:
        return None
    return tuple(each for each in patterns if not each.startswith("!"))


def both(outer: Names, inner: Names) -> Names:
    """Returns the patterns that fit both an outer and an inner rule: the narrower of each two.

    Where some exclude a name, the others are alternatives beside them.
    """
    if outer is None or inner is None:
        return outer if inner is None else inner
    if any(each.startswith("!") for each in (*outer, *inner)):
        return outer + inner
    within = tuple(each for each in inner if any(fnmatchcase(each, wide) for wide in outer))
    return within + tuple(
        each for each in outer if each not in within and any(fnmatchcase(each, i) for i in inner)
    )
