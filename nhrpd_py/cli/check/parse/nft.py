"""Reads the output of `nft -j list ruleset` into base chains. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nhrpd_py.cli.check.facts import BaseChain, Conditions, FilterRule, SamplingRule, Verdict
from nhrpd_py.cli.check.parse.firewall import both
from nhrpd_py.cli.check.parse.iptables import PROTOCOLS

FAMILIES = ("ip", "ip6", "inet")
ASKING = ("match", "vmap", "limit", "xt", "ct count", "connlimit", "quota")

_Elements = Mapping[tuple[str, str, str], list[Any]]


def nft_chains(document: Mapping[str, Any]) -> list[BaseChain]:
    """Returns the base chains of all tables, but for those of type nat, which see first packets only."""
    elements = _elements_of(document)
    tables: dict[tuple[str, str], dict[str, list[FilterRule]]] = {}
    bases: list[Mapping[str, Any]] = []
    for item in document.get("nftables", ()):
        chain, rule = item.get("chain"), item.get("rule")
        if chain is not None:
            table = chain["family"], chain["table"]
            tables.setdefault(table, {})[chain["name"]] = []
            if chain.get("hook") and chain.get("type") != "nat" and chain["family"] in FAMILIES:
                bases.append(chain)
        elif rule is not None:
            table = rule["family"], rule["table"]
            rules = tables.setdefault(table, {}).setdefault(rule["chain"], [])
            rules.extend(_rules(rule, elements))
    return [
        BaseChain(
            tool="nft",
            family=chain["family"],
            table=chain["table"],
            name=chain["name"],
            hook=chain["hook"],
            drops=chain.get("policy") == "drop",
            chains=tables[chain["family"], chain["table"]],
        )
        for chain in bases
    ]


def _elements_of(document: Mapping[str, Any]) -> _Elements:
    """Returns what the named sets and maps hold, by family, table and `@name` as in rules."""
    found = {}
    for item in document.get("nftables", ()):
        named = item.get("set") or item.get("map")
        if named is not None:
            found[named["family"], named["table"], f"@{named['name']}"] = named.get("elem", [])
    return found


def _rules(rule: Mapping[str, Any], elements: _Elements) -> Iterator[FilterRule]:
    """Yields what a rule does: one for itself, and one for each verdict of its verdict map."""

    def listed(value: Any) -> list[Any]:
        match value:
            case {"set": list(items)}:
                return items
            case list():
                return value
            case str() if value.startswith("@"):
                return elements.get((rule["family"], rule["table"], value), [])
            case _:
                return [value]

    where = f"{rule['family']} {rule['table']} {rule['chain']} handle {rule.get('handle', '?')}"
    conditions = Conditions()
    verdict, target = Verdict.NONE, ""
    packets: int | None = None
    group: int | None = None
    for expression in rule.get("expr", ()):
        match expression:
            case {"match": {"left": left, "right": right} as match}:
                op = match.get("op", "==")
                conditions = _narrowed(conditions, left, listed(right), negated=op == "!=")
                if op not in ("==", "!=", "in"):
                    conditions = replace(conditions, more=True)
            case {"counter": {"packets": int(count)}}:
                packets = count
            case {"log": {"group": int(number)}}:
                group = number
            case {"vmap": {"key": key, "data": data}}:
                for value, (its, chain) in _verdicts(listed(data)):
                    narrowed = _narrowed(conditions, key, [value], negated=False)
                    yield FilterRule(text=where, conditions=narrowed, verdict=its, target=chain)
            case dict() if any(name in expression for name in ASKING):
                conditions = replace(conditions, more=True)
            case _:
                found = _verdict(expression)
                verdict, target = found if found[0] is not Verdict.NONE else (verdict, target)
    sample = None
    if group is not None:
        sample = SamplingRule(tool="nft", family=rule["family"], group=group, packets=packets)
    yield FilterRule(
        text=where, conditions=conditions, verdict=verdict, target=target, sample=sample
    )


def _verdicts(pairs: Sequence[Any]) -> Iterator[tuple[Any, tuple[Verdict, str]]]:
    for pair in pairs:
        match pair:
            case [value, dict(verdict)]:
                yield value, _verdict(verdict)
            case _:
                pass


def _verdict(statement: Any) -> tuple[Verdict, str]:
    """Returns what a statement decides, and the chain that follows."""
    match statement:
        case {"jump": {"target": str(name)}}:
            return Verdict.JUMP, name
        case {"goto": {"target": str(name)}}:
            return Verdict.GOTO, name
        case {"accept": _} | {"queue": _}:
            return Verdict.ACCEPT, ""
        case {"drop": _} | {"reject": _}:
            return Verdict.DROP, ""
        case {"return": _}:
            return Verdict.RETURN, ""
        case _:
            return Verdict.NONE, ""


def _narrowed(
    conditions: Conditions, left: Any, values: Sequence[Any], *, negated: bool
) -> Conditions:
    match left:
        case {"meta": {"key": "iif" | "iifname"}}:
            names = _names(values, negated=negated)
            return replace(conditions, inputs=both(conditions.inputs, names))
        case {"meta": {"key": "oif" | "oifname"}}:
            names = _names(values, negated=negated)
            return replace(conditions, outputs=both(conditions.outputs, names))
        case {"meta": {"key": "nfproto" | "protocol"}} if not negated:
            return conditions  # chains are looked at for packets of their family
        case {"ct": {"key": "state"}} if not negated:
            states = frozenset(str(each) for each in values)
            return replace(conditions, states=states)
        case {"meta": {"key": "l4proto"}} | {"payload": {"field": "protocol" | "nexthdr"}} if (
            not negated
        ):
            found = frozenset(PROTOCOLS.get(str(each), str(each)) for each in values)
            return replace(conditions, protocols=found)
        case {"payload": {"protocol": str(protocol), "field": "dport"}} if not negated:
            ranges = tuple(each for value in values if (each := _range(value)) is not None)
            if protocol in ("udp", "tcp"):
                conditions = replace(conditions, protocols=frozenset({protocol}))
            return replace(conditions, ports=ranges)
        case _:
            return replace(conditions, more=True)


def _range(value: Any) -> tuple[int, int] | None:
    match value:
        case int():
            return value, value
        case {"range": [int(first), int(last)]}:
            return first, last
        case _:
            return None


def _names(items: Sequence[Any], *, negated: bool) -> tuple[str, ...]:
    """Returns the names in a set; those with a counter or a timeout stand within `elem`."""
    found = (item["elem"].get("val") if _is_elem(item) else item for item in items)
    return tuple(f"{'!' * negated}{name}" for name in found if isinstance(name, str))


def _is_elem(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("elem"), dict)
