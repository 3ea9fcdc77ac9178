"""Reads the output of `iptables-save -c` into base chains. Pure."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace

from nhrpd_py.cli.check.facts import BaseChain, Conditions, FilterRule, SamplingRule, Verdict

PROTOCOLS = {"1": "icmp", "6": "tcp", "17": "udp", "47": "gre", "50": "esp", "51": "ah"}
MODULES = ("conntrack", "state", "comment", "udp", "tcp", "multiport")
"""Matches that ask nothing by themselves: their options do."""
PORTS = ("--dport", "--dports", "--destination-port", "--destination-ports")
LIMITS = frozenset({"limit", "hashlimit", "statistic"})
"""Matches that let a part of the packets through."""
VERDICTS = {
    "ACCEPT": Verdict.ACCEPT,
    "DROP": Verdict.DROP,
    "REJECT": Verdict.DROP,
    "RETURN": Verdict.RETURN,
    "NFQUEUE": Verdict.ACCEPT,
    "QUEUE": Verdict.ACCEPT,
}
"""A program that gets packets to decide about is believed to let them through."""


def iptables_chains(text: str, *, tool: str, family: str) -> list[BaseChain]:
    """Returns the base chains of all tables but nat, which sees first packets only."""
    found: list[BaseChain] = []
    table = ""
    chains: dict[str, list[FilterRule]] = {}
    policies: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            table, chains, policies = line[1:].strip(), {}, {}
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            chains[name] = []
            policies[name] = policy
        elif line.startswith("COMMIT"):
            if table != "nat":
                found += [
                    BaseChain(
                        tool=tool,
                        family=family,
                        table=table,
                        name=name,
                        hook=name.lower(),
                        drops=policy == "DROP",
                        chains=chains,
                    )
                    for name, policy in policies.items()
                    if policy != "-"
                ]
        elif "-A " in line:
            counters, _, rest = line.partition("-A ")
            words = _words(rest)
            packets = counters.strip(" []").partition(":")[0]
            counted = int(packets) if packets.isdigit() else None
            rule = _rule(f"-A {rest}", words, tool, family, counted)
            chains.setdefault(words[0] if words else "", []).append(rule)
    return found


def _words(rest: str) -> list[str]:
    try:
        return shlex.split(rest)
    except ValueError:  # a comment with an odd quote
        return rest.split()


def _rule(
    text: str, words: Sequence[str], tool: str, family: str, packets: int | None
) -> FilterRule:
    conditions = Conditions()
    verdict, target, leaves = Verdict.NONE, "", False
    sample = None
    for option, value, negated in _options(words[1:]):
        match option:
            case "-j" | "-g":
                verdict = VERDICTS.get(value, Verdict.NONE)
                if value not in VERDICTS:
                    target, leaves = value, option == "-g"
            case _:
                conditions = _narrowed(conditions, option, value, negated=negated)
    if target == "NFLOG":
        sample = SamplingRule(
            tool=tool,
            family=family,
            group=int(_after(words, "--nflog-group") or 0),
            packets=packets,
            range_only="--nflog-range" in words and "--nflog-size" not in words,
            size=int(_after(words, "--nflog-size") or 0) or None,
            limited=not LIMITS.isdisjoint(words),
        )
    elif target:
        verdict = Verdict.GOTO if leaves else Verdict.JUMP
    return FilterRule(
        text=text, conditions=conditions, verdict=verdict, target=target, sample=sample
    )


def _options(words: Sequence[str]) -> Iterator[tuple[str, str, bool]]:
    """Yields each option with its value, and whether a `!` stands before it; up to the target."""
    negated = False
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "!":
            negated = True
            continue
        value = ""
        if word == "--comment":  # it may look like anything
            at += 1
            continue
        if word.startswith("-") and at < len(words) and not words[at].startswith("-"):
            value = words[at] if words[at] != "!" else ""
            at += bool(value)
        if word.startswith("-"):
            yield word, value, negated
        negated = False
        if word in ("-j", "-g"):
            return


def _narrowed(conditions: Conditions, option: str, value: str, *, negated: bool) -> Conditions:
    match option:
        case "-i":
            return replace(conditions, inputs=(_pattern(value, negated=negated),))
        case "-o":
            return replace(conditions, outputs=(_pattern(value, negated=negated),))
        case "-d":
            return replace(conditions, destinations=(f"{'!' * negated}{value}",))
        case "-p" if not negated:
            return replace(conditions, protocols=frozenset({PROTOCOLS.get(value, value)}))
        case "--ctstate" | "--state" if not negated:
            return replace(conditions, states=frozenset(value.lower().split(",")))
        case "-m" if value in MODULES:
            return conditions
        case _ if option in PORTS and not negated:
            return replace(conditions, ports=tuple(map(_range, value.split(","))))
        case _:
            return replace(conditions, more=True)


def _pattern(name: str, *, negated: bool) -> str:
    text = name[:-1] + "*" if name.endswith("+") else name
    return f"!{text}" if negated else text


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition(":")
    low = int(first) if first.isdigit() else 0
    if not _:
        return low, low
    return low, int(last) if last.isdigit() else 65535


def _after(words: Sequence[str], option: str) -> str | None:
    return words[words.index(option) + 1] if option in words[:-1] else None
