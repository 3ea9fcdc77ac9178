"""Who else uses the marks of packets that come out of SAs: rules of the packet filter, and of routing.

A packet has its SA's mark from when it was decrypted until the source filter clears it. On the way
it passes PREROUTING and INPUT of the outer link as GRE. A rule that sets marks there makes charon's
policy drop it; one that looks for a small number, or an `ip rule` that does, takes it for another.
Pure; rules that cannot concern GRE of the links in question are left out.
"""

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

HIGHEST = 0xFFFF
"""Marks of SAs are numbers from 1 on; larger ones than this are no concern."""
HOOKS = ("PREROUTING", "INPUT")
GRE = frozenset({"gre", "47", "all", "0"})
EXEMPTING = ("RETURN", "ACCEPT")
EXEMPTION = len(["-A", "CHAIN", "-p", "gre", "-j", "RETURN"])
"""Words of a rule that takes GRE out of a chain, and asks for nothing else."""


def is_small(value: int, mask: int) -> bool:
    """Returns whether the mark of an SA may fit a value under a mask."""
    return 0 < value <= HIGHEST and not value & ~mask


# --- ip rule --------------------------------------------------------------------------------------


def of_routing(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yields the rules among those of `ip -json rule` that small marks fit."""
    for row in rows:
        try:
            value = int(str(row.get("fwmark", 0)), 0)
            mask = int(str(row.get("fwmask", "0xffffffff")), 0)
        except ValueError:
            continue
        if is_small(value, mask) and "not" not in row:
            where = row.get("table", row.get("action", ""))
            yield f"ip rule {row.get('priority', '')}: fwmark {value:#x} lookup {where}"


# --- iptables-save --------------------------------------------------------------------------------


def of_iptables(text: str, tool: str, links: Collection[str]) -> Iterator[str]:
    """Yields the rules in the output of `iptables-save` that use marks of what comes in by the links."""
    table = ""
    chains: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            table, chains = line[1:], {}
        elif line.startswith("-A "):
            words = _words(line)
            chains.setdefault(words[1], []).append(words)
        elif line == "COMMIT":
            for hook in HOOKS:
                for words in _reached(chains, hook, links, set()):
                    yield f"{tool} -t {table} {' '.join(words)}"


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # a comment with an odd quote
        return line.split()


def _reached(
    chains: Mapping[str, list[list[str]]], chain: str, links: Collection[str], seen: set[str]
) -> Iterator[list[str]]:
    """Yields the rules that GRE of the links may meet in a chain, and in those that it jumps to, each once."""
    if chain in seen or chain.startswith("nh-"):
        return
    seen.add(chain)
    for words in chains.get(chain, ()):
        options = {
            here: (before, after)
            for before, here, after in zip(words, words[1:], words[2:], strict=False)
        }
        target = (options.get("-j") or options.get("-g") or ("", ""))[1]
        if not _fits(options, links):
            continue
        if target in EXEMPTING and len(words) == EXEMPTION and "-p" in options:
            return
        if (
            _looks(*options.get("--mark", ("", "0")))
            or (target == "MARK" and not _spares(options.get("--set-xmark", ("", "1"))[1]))
            or "--restore-mark" in words
        ):
            yield words
        if target in chains:
            yield from _reached(chains, target, links, seen)


def _looks(before: str, text: str) -> bool:
    """Returns whether `--mark` has a value that the mark of an SA may fit."""
    value, _, mask = text.partition("/")
    try:
        return before != "!" and is_small(int(value, 0), int(mask or "0xffffffff", 0))
    except ValueError:  # a word of a comment
        return False


def _spares(text: str) -> bool:
    """Returns whether `--set-xmark` takes away bits alone that the mark of an SA does not have."""
    value, _, mask = text.partition("/")
    try:
        return not int(value, 0) and not int(mask or "0xffffffff", 0) & HIGHEST
    except ValueError:
        return False


def _fits(options: Mapping[str, tuple[str, str]], links: Collection[str]) -> bool:
    """Returns whether a rule may concern GRE that comes in by one of the links."""
    before, protocol = options.get("-p", ("", "all"))
    if (protocol in GRE) == (before == "!"):
        return False
    before, name = options.get("-i", ("", "+"))
    pattern = f"{name[:-1]}*" if name.endswith("+") else name
    return any(fnmatchcase(link, pattern) for link in links) != (before == "!")


# --- nft ------------------------------------------------------------------------------------------


def of_nft(document: Mapping[str, Any], links: Collection[str]) -> Iterator[str]:
    """Yields the rules in the output of `nft -j list ruleset` that use marks of what comes in by the
    links."""
    chains: dict[_Place, list[list[Any]]] = {}
    hooks: list[_Place] = []
    for item in document.get("nftables", ()):
        chain, rule = item.get("chain"), item.get("rule")
        if chain is not None:
            place = chain["family"], chain["table"], chain["name"]
            chains.setdefault(place, [])
            if str(chain.get("hook")).upper() in HOOKS and not place[1].startswith("nhrpd-"):
                hooks.append(place)
        elif rule is not None:
            place = rule["family"], rule["table"], rule["chain"]
            chains.setdefault(place, []).append(rule.get("expr", []))
    for place in hooks:
        yield from _nft_reached(chains, place, links, set())


_Place = tuple[str, str, str]
"""Family, table and chain."""


def _nft_reached(
    chains: Mapping[_Place, list[list[Any]]],
    place: _Place,
    links: Collection[str],
    seen: set[_Place],
) -> Iterator[str]:
    """Yields the rules that GRE of the links may meet in a chain, and in those that it jumps to, each once."""
    if place in seen:
        return
    seen.add(place)
    for expressions in chains.get(place, ()):
        if not all(_nft_fits(each, links) for each in expressions):
            continue
        for expression in expressions:
            use = _nft_use(expression)
            if use is not None:
                yield f"{use} in nft list chain {' '.join(place)}"
            match expression:
                case {"jump": {"target": str(name)}} | {"goto": {"target": str(name)}}:
                    yield from _nft_reached(chains, (*place[:2], name), links, seen)
                case _:
                    pass
        if _nft_exempts(expressions):
            return


def _nft_use(expression: Any) -> str | None:
    """Returns how a part of a rule uses the mark, as nft writes it."""
    match expression:
        case {"mangle": {"key": {"meta": {"key": "mark"}}}}:
            return "meta mark set"
        case {"match": {"op": "==", "left": {"meta": {"key": "mark"}}, "right": int(value)}}:
            return f"meta mark {value:#x}" if is_small(value, 0xFFFFFFFF) else None
        case {
            "match": {
                "op": "==",
                "left": {"&": [{"meta": {"key": "mark"}}, int(mask)]},
                "right": int(value),
            }
        }:
            return f"meta mark & {mask:#x} == {value:#x}" if is_small(value, mask) else None
        case _:
            return None


def _nft_exempts(expressions: Sequence[Any]) -> bool:
    """Returns whether a rule takes GRE out of a chain, whatever its mark and its link."""
    match expressions:
        case [
            {"match": {"left": {"meta": {"key": "l4proto"}} | {"payload": {"field": "protocol"}}}},
            last,
        ]:
            return last in ({"accept": None}, {"return": None})
        case _:
            return False


def _nft_fits(expression: Any, links: Collection[str]) -> bool:
    """Returns whether a part of a rule may fit GRE that comes in by one of the links."""
    match expression:
        case {"match": {"left": {"meta": {"key": "iifname" | "iif"}}, "right": right, "op": op}}:
            found = any(fnmatchcase(link, name) for link in links for name in _names(right))
            return bool(found != (op == "!="))
        case {"match": {"left": {"meta": {"key": "l4proto"}}, "right": right, "op": op}} | {
            "match": {"left": {"payload": {"field": "protocol"}}, "right": right, "op": op}
        }:
            return bool(any(name in GRE for name in _names(right)) != (op == "!="))
        case {"match": {"left": {"payload": {"protocol": str(name)}}}}:
            return name in ("ip", "ip6", "ether", "gre")
        case _:
            return True


def _names(right: Any) -> list[str]:
    return list(map(str, right.get("set", ()) if isinstance(right, dict) else [right]))
