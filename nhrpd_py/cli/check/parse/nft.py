"""Reads the output of `nft -j list ruleset` into base chains. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nhrpd_py.cli.check.facts import BaseChain, Conditions, FilterRule, SamplingRule, Verdict
from nhrpd_py.cli.check.parse.firewall import both
from nhrpd_py.cli.check.parse.iptables import PROTOCOLS

FAMILIES = ("ip", "ip6", "inet")
NFPROTOS = {"ipv4": "ip", "ipv6": "ip6", "ip": "ip", "ip6": "ip6"}
"""Families as `meta nfproto` and `meta protocol` name them."""
DOING = (
    "counter",
    "log",
    "mangle",
    "notrack",
    "continue",
    "ct helper",
    "ct timeout",
    "flow",
    "dup",
)
"""Statements behind which the rule goes on for every packet. Others may end it: a limit, a set that is full."""

LIMITS = frozenset({"limit", "set", "meter"})
"""Statements that end a rule for a part of the packets: a limit, or a set that has one for each element."""

_Elements = Mapping[tuple[str, str, str], list[Any]]


def nft_chains(document: Mapping[str, Any]) -> list[BaseChain]:
    """Returns the base chains of all tables that work, but for those of type nat, which see first packets only."""
    elements = _elements_of(document)
    dormant = _dormant(document)
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
        if (chain["family"], chain["table"]) not in dormant
    ]


def _dormant(document: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Returns the tables whose chains see nothing."""
    tables = [item["table"] for item in document.get("nftables", ()) if "table" in item]
    return {
        (each["family"], each["name"]) for each in tables if "dormant" in (each.get("flags") or ())
    }


def _elements_of(document: Mapping[str, Any]) -> _Elements:
    """Returns what the named sets and maps hold, by family, table and `@name` as in rules."""
    found = {}
    for item in document.get("nftables", ()):
        named = item.get("set") or item.get("map")
        if named is not None:
            found[named["family"], named["table"], f"@{named['name']}"] = named.get("elem") or []
    return found


def _rules(rule: Mapping[str, Any], elements: _Elements) -> Iterator[FilterRule]:
    """Yields what a rule does: one for itself, and one for each verdict of its verdict map."""

    def listed(value: Any) -> list[Any]:
        match value:
            case {"set": list(items)}:
                return items
            case {"|": list(items)}:
                return items  # flags, as older nft prints them
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
    log: Mapping[str, Any] | None = None
    limited = False
    for expression in rule.get("expr", ()):
        match expression:
            case {"match": {"left": left, "right": right} as match}:
                op = match.get("op", "==")
                conditions = _narrowed(conditions, left, listed(right), negated=op == "!=")
                if op not in ("==", "!=", "in"):
                    conditions = replace(conditions, more=True)
            case {"counter": {"packets": int(count)}}:
                packets = count
            case {"log": {"group": int()} as given}:
                log = given
            case {"vmap": {"key": key, "data": data}}:
                for value, (its, chain) in _verdicts(listed(data)):
                    narrowed = _narrowed(conditions, key, [value], negated=False)
                    yield FilterRule(text=where, conditions=narrowed, verdict=its, target=chain)
            case dict() if any(name in expression for name in DOING):
                pass
            case _:
                its, chain = _verdict(expression)
                if its is Verdict.NONE:
                    conditions = replace(conditions, more=True)
                    limited |= not LIMITS.isdisjoint(expression)
                else:
                    verdict, target = its, chain
    sample = None
    if log is not None:
        sample = SamplingRule(
            tool="nft",
            family=rule["family"],
            group=log["group"],
            packets=packets,
            size=log.get("snaplen") or None,
            limited=limited,
        )
    yield FilterRule(
        text=where, conditions=conditions, verdict=verdict, target=target, sample=sample
    )


def _verdicts(pairs: Sequence[Any]) -> Iterator[tuple[Any, tuple[Verdict, str]]]:
    for pair in pairs:
        match pair:
            case [value, dict(verdict)]:
                yield value, _verdict(verdict)
            case _:  # it may let the packet pass
                yield None, (Verdict.ACCEPT, "")


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
    """Returns conditions with what a match asks; `more` where that, or one of the values, is not understood."""
    unsure = replace(conditions, more=True)
    plain = [_plain(each) for each in values]
    known = all(isinstance(each, str | int) and each != "*" for each in plain)
    texts = frozenset(map(str, plain)) if known else None
    match left:
        case {"meta": {"key": "iif" | "iifname" | "oif" | "oifname" as key}}:
            # the number of a link stands for one that is gone
            names = tuple(f"{'!' * negated}{each}" for each in plain if isinstance(each, str))
            if texts is None or (negated and not names):
                return unsure
            if key.startswith("i"):
                return replace(conditions, inputs=both(conditions.inputs, names))
            return replace(conditions, outputs=both(conditions.outputs, names))
        case {"meta": {"key": "nfproto" | "protocol"}} if texts is not None:
            families = frozenset(NFPROTOS.get(each, each) for each in texts)
            if negated:
                families = frozenset(NFPROTOS.values()) - families
            return replace(conditions, families=_within(conditions.families, families))
        case {"ct": {"key": "state"}} if texts is not None and not negated:
            return replace(conditions, states=_within(conditions.states, texts))
        case {"ct": {"key": "status"}} if texts == frozenset({"dnat"}) and not negated:
            return replace(conditions, states=frozenset())  # nobody translates what we look at
        case (
            {"meta": {"key": "l4proto"}}
            | {"payload": {"protocol": "ip", "field": "protocol"}}
            | {"payload": {"protocol": "ip6", "field": "nexthdr"}}
        ) if texts is not None and not negated:
            found = frozenset(PROTOCOLS.get(each, each) for each in texts)
            narrowed = replace(conditions, protocols=_within(conditions.protocols, found))
            return _of_family(narrowed, left)
        case {"payload": {"protocol": "ip" | "ip6", "field": "daddr"}}:
            prefixes = [_prefix(value) for value in plain]
            narrowed = _of_family(conditions, left)
            if None in prefixes or conditions.destinations is not None:
                return replace(narrowed, more=True)
            told = tuple(f"{'!' * negated}{each}" for each in prefixes)
            return replace(narrowed, destinations=told)
        case {"payload": {"protocol": str(protocol), "field": "dport"}} if not negated:
            ranges = [_range(value) for value in plain]
            if protocol in ("udp", "tcp"):
                own = frozenset({protocol})
                conditions = replace(conditions, protocols=_within(conditions.protocols, own))
            if None in ranges:
                return replace(conditions, more=True)
            return replace(conditions, ports=tuple(each for each in ranges if each is not None))
        case _:
            return _of_family(unsure, left)


def _of_family(conditions: Conditions, left: Any) -> Conditions:
    """Returns conditions narrowed to the family whose header a match looks into."""
    match left:
        case {"payload": {"protocol": "ip" | "ip6" as family}}:
            only = frozenset({family})
            return replace(conditions, families=_within(conditions.families, only))
        case _:
            return conditions


def _within(before: frozenset[str] | None, found: frozenset[str]) -> frozenset[str]:
    return found if before is None else before & found


def _plain(value: Any) -> Any:
    """Returns a value of a set; those with a counter or a timeout stand within `elem`."""
    match value:
        case {"elem": {"val": inner}}:
            return inner
        case _:
            return value


def _prefix(value: Any) -> str | None:
    match value:
        case {"prefix": {"addr": str(address), "len": int(length)}}:
            return f"{address}/{length}"
        case str() if value[:1] not in ("", "@"):
            return value
        case _:
            return None


def _range(value: Any) -> tuple[int, int] | None:
    match value:
        case int():
            return value, value
        case {"range": [int(first), int(last)]}:
            return first, last
        case _:
            return None
