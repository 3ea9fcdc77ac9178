"""Finds the rules that send forwarded packets to an NFLOG group, in what iptables and nft print.

Pure. A rule in a chain of the operator's own counts where FORWARD jumps to it, and must fit the
interfaces of the jump as well.
"""

import itertools
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from nhrpd_py.cli.check.facts import SamplingRule

MAX_DEPTH = 16
"""The kernel's own limit of jumps."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A rule before it is known whether FORWARD leads to it."""

    rule: SamplingRule | None
    target: str
    inputs: tuple[str, ...] | None
    outputs: tuple[str, ...] | None


_Chains = Mapping[str, Sequence[_Line]]


def _reached(chains: _Chains, chain: str, depth: int = 0) -> Iterator[SamplingRule]:
    """Yields the rules that packets meet in a chain, and in those that it jumps to."""
    if depth > MAX_DEPTH:
        return
    for line in chains.get(chain, ()):
        if line.rule is not None:
            yield line.rule
        elif line.target in chains:
            for rule in _reached(chains, line.target, depth + 1):
                yield replace(
                    rule,
                    inputs=_both(line.inputs, rule.inputs),
                    outputs=_both(line.outputs, rule.outputs),
                )


def _both(outer: tuple[str, ...] | None, inner: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Returns the patterns that fit both an outer and an inner rule: the narrower of each two."""
    if outer is None or inner is None:
        return outer if inner is None else inner
    within = tuple(each for each in inner if any(fnmatchcase(each, wide) for wide in outer))
    return within + tuple(
        each for each in outer if each not in within and any(fnmatchcase(each, i) for i in inner)
    )


# --- iptables-save --------------------------------------------------------------------------------


def iptables_rules(text: str, *, tool: str, family: str) -> list[SamplingRule]:
    """Reads the output of `iptables-save -c`."""
    found: list[SamplingRule] = []
    chains: dict[str, list[_Line]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            chains = {}
        elif line.startswith(":"):
            chains[line[1:].split(" ", 1)[0]] = []
        elif line.startswith("COMMIT"):
            found += _reached(chains, "FORWARD")
        elif "-A " in line:
            name, parsed = _iptables_line(line, tool, family)
            chains.setdefault(name, []).append(parsed)
    return found


def _iptables_line(line: str, tool: str, family: str) -> tuple[str, _Line]:
    counters, _, rest = line.partition("-A ")
    try:
        words = shlex.split(rest)
    except ValueError:  # a comment with an odd quote
        words = rest.split()
    packets = counters.strip(" []").partition(":")[0]
    inputs = _iptables_pattern(words, "-i")
    outputs = _iptables_pattern(words, "-o")
    target = _after(words, "-j") or _after(words, "-g") or ""
    rule = None
    if target == "NFLOG":
        rule = SamplingRule(
            tool=tool,
            family=family,
            group=int(_after(words, "--nflog-group") or 0),
            inputs=inputs,
            outputs=outputs,
            packets=int(packets) if packets.isdigit() else None,
            range_only="--nflog-range" in words and "--nflog-size" not in words,
        )
    return words[0] if words else "", _Line(rule, target, inputs, outputs)


def _after(words: Sequence[str], option: str) -> str | None:
    for here, following in itertools.pairwise(words):
        if here == option:
            return following
    return None


def _iptables_pattern(words: Sequence[str], option: str) -> tuple[str, ...] | None:
    name = _after(words, option)
    if name is None:
        return None
    if words[words.index(option) - 1] == "!":
        return ()  # a rule for all but one interface is not made to sample the tunnel
    return (name[:-1] + "*" if name.endswith("+") else name,)


# --- nft ------------------------------------------------------------------------------------------


def nft_rules(document: Mapping[str, Any]) -> list[SamplingRule]:
    """Reads the output of `nft -j list ruleset`."""
    elements = _nft_elements(document)
    tables: dict[tuple[str, str], dict[str, list[_Line]]] = {}
    forward: list[tuple[tuple[str, str], str]] = []
    for item in document.get("nftables", ()):
        chain, rule = item.get("chain"), item.get("rule")
        if chain is not None:
            table = chain["family"], chain["table"]
            tables.setdefault(table, {})[chain["name"]] = []
            if chain.get("hook") == "forward":
                forward.append((table, chain["name"]))
        elif rule is not None:
            table = rule["family"], rule["table"]
            lines = tables.setdefault(table, {}).setdefault(rule["chain"], [])
            lines.extend(_nft_lines(rule, elements))
    return [
        rule
        for table, name in forward
        if table[0] in ("ip", "ip6", "inet")
        for rule in _reached(tables[table], name)
    ]


_Elements = Mapping[tuple[str, str, str], list[Any]]


def _nft_elements(document: Mapping[str, Any]) -> _Elements:
    """Returns what the named sets and maps hold, by family, table and `@name` as in rules."""
    found = {}
    for item in document.get("nftables", ()):
        named = item.get("set") or item.get("map")
        if named is not None:
            found[named["family"], named["table"], f"@{named['name']}"] = named.get("elem", [])
    return found


def _nft_lines(rule: Mapping[str, Any], elements: _Elements) -> Iterator[_Line]:
    """Yields what a rule does: one line, and one for each jump of its verdict map."""

    def listed(value: Any) -> list[Any]:
        match value:
            case {"set": list(items)}:
                return items
            case str() if value.startswith("@"):
                return elements.get((rule["family"], rule["table"], value), [])
            case _:
                return [value]

    patterns: dict[str, tuple[str, ...] | None] = {"iif": None, "oif": None}
    packets: int | None = None
    group: int | None = None
    target = ""
    jumps: list[tuple[str, Any, str]] = []
    for expression in rule.get("expr", ()):
        match expression:
            case {"match": {"left": {"meta": {"key": str(key)}}, "right": right} as match}:
                kind = key.removesuffix("name")
                if kind in patterns:
                    found = () if match.get("op") == "!=" else _nft_names(listed(right))
                    patterns[kind] = _both(patterns[kind], found)
            case {"counter": {"packets": int(count)}}:
                packets = count
            case {"log": {"group": int(number)}}:
                group = number
            case {"jump": {"target": str(name)}} | {"goto": {"target": str(name)}}:
                target = name
            case {"vmap": {"key": key, "data": data}}:
                jumps += _nft_jumps(key, listed(data))
            case _:
                pass
    sampling = None
    if group is not None:
        sampling = SamplingRule(
            tool="nft",
            family=rule["family"],
            group=group,
            inputs=patterns["iif"],
            outputs=patterns["oif"],
            packets=packets,
        )
    yield _Line(sampling, target, patterns["iif"], patterns["oif"])
    for kind, value, chain in jumps:
        narrowed = dict(patterns)
        if kind in narrowed:
            narrowed[kind] = _both(narrowed[kind], _nft_names([value]))
        yield _Line(None, chain, narrowed["iif"], narrowed["oif"])


def _nft_jumps(key: Any, pairs: Sequence[Any]) -> Iterator[tuple[str, Any, str]]:
    """Yields the jumps of a verdict map: what it looks at, the value, and the chain that follows.

    What it looks at is `iif`, `oif` or something that says nothing of interfaces.
    """
    kind = ""
    match key:
        case {"meta": {"key": str(name)}}:
            kind = name.removesuffix("name")
        case _:
            pass
    for pair in pairs:
        match pair:
            case [value, {"jump": {"target": str(chain)}} | {"goto": {"target": str(chain)}}]:
                yield kind, value, chain
            case _:
                pass


def _nft_names(items: Sequence[Any]) -> tuple[str, ...]:
    """Returns the names in a set; those with a counter or a timeout stand within `elem`."""
    found = (item["elem"].get("val") if _is_elem(item) else item for item in items)
    return tuple(name for name in found if isinstance(name, str))


def _is_elem(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("elem"), dict)
