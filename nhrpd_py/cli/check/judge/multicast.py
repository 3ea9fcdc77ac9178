"""Checks of what makes multicast pass a tunnel: rules that give it to nhrpd, and drop the original. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nhrpd_py.cli.check.facts import BaseChain, DaemonFacts, Facts, FilterRule, Link
from nhrpd_py.cli.check.findings import Area, Finding, Unread
from nhrpd_py.cli.check.judge import listener
from nhrpd_py.cli.check.judge.tunnels import configured_links
from nhrpd_py.cli.check.judge.walk import UNSURE, Fit, Packet, Way, fit_of, way_of

AREA = "multicast"


@dataclass(frozen=True, slots=True)
class Family:
    """What rules of a family are about."""

    name: str
    tool: str
    groups: str
    """All groups, as a prefix."""
    examples: tuple[tuple[str, str], ...]
    """Hooks that multicast leaves by, with a group that is seen there."""


FAMILIES = {
    "ip": Family(
        "IPv4", "iptables", "224.0.0.0/4", (("output", "224.0.0.5"), ("forward", "239.255.0.1"))
    ),
    "ip6": Family("IPv6", "ip6tables", "ff00::/8", (("output", "ff02::5"), ("forward", "ff05::1"))),
}
WHOSE = {"output": "this machine's own", "forward": "what it forwards"}


def check(facts: Facts) -> Iterator[Finding]:
    """Yields all findings of the area `multicast`."""
    users = [each.name for each in facts.config.interfaces.values() if each.multicast]
    if not users:
        return
    if not isinstance(facts.firewall.rules, Unread):
        for name in users:
            yield from _rules(facts, Area(AREA, name))
    group = facts.config.nflog.multicast_group
    area = Area(AREA, f"group {group}")
    yield from listener.check(facts, area, group, "multicast-group", "multicast")
    if isinstance(facts.daemon, DaemonFacts):
        yield _losses(area, facts.daemon)


def _rules(facts: Facts, area: Area) -> Iterator[Finding]:
    link = next((each for each in configured_links(facts) if each.name == area.subject), None)
    for key in _families(link):
        family = FAMILIES[key]
        wrong = [
            finding
            for hook, group in family.examples
            for finding in _of_hook(
                facts,
                area,
                family,
                hook,
                Packet(family=key, output=area.subject, destination=group),
            )
        ]
        number = facts.config.nflog.multicast_group
        yield from wrong or [area.ok(f"{family.name} multicast goes to group {number} alone")]


def _families(link: Link | None) -> list[str]:
    """Returns the families inside a tunnel by its addresses; IPv4 where there are none."""
    addresses = [] if link is None else link.addresses
    found = {
        "ip6" if ":" in each else "ip" for each, _length, scope in addresses if scope == "global"
    }
    return sorted(found) or ["ip"]


def _of_hook(
    facts: Facts, area: Area, family: Family, hook: str, packet: Packet
) -> Iterator[Finding]:
    """Yields what is wrong with the rules for what leaves by one hook."""
    number = facts.config.nflog.multicast_group
    remedy = _remedy(facts, area.subject, family, hook)
    what = f"{family.name} multicast ({WHOSE[hook]})"
    chains = [each for each in facts.firewall.chains if each.hook == hook]
    ways = [way_of(each, packet, number) for each in chains]
    taken = next((each for each in ways if each.sample is not None), None)
    if taken is None or taken.sample is None:
        if _has_rule(chains, packet, number):
            by = next((each.by for each in ways if each.by not in ("", UNSURE)), None)
            if by is None:
                return  # nothing is certain
            text = f"a rule before the one for group {number} decides on {what} ({by})"
        else:
            text = f"no rule gives {what} to group {number}: nobody gets it"
        yield area.problem(text, remedy) if hook == "output" else area.warning(text, remedy)
        return
    sample = taken.sample
    if sample.limited:
        text = f"the rule for {what} has a limit: what is beyond it is not replicated"
        yield area.problem(text, remedy)
    if sample.size is not None:
        text = (
            f"the rule for {what} cuts packets to {sample.size} octets: nhrpd sends whole ones only"
        )
        yield area.problem(text, remedy)
    if not any(each.dropped for each in ways) and not _perhaps_dropped(ways):
        text = f"{what} is not dropped behind the rule: the kernel sends it as well, to nobody"
        yield area.problem(text, remedy)


def _has_rule(chains: Sequence[BaseChain], packet: Packet, number: int) -> bool:
    """Returns whether a rule of the group is about a packet, wherever it stands among those that can be met."""
    return any(
        rule.sample is not None
        and rule.sample.group == number
        and fit_of(rule.conditions, packet) is not Fit.NO
        for chain in chains
        for rule in _rules_below(chain)
    )


def _rules_below(base: BaseChain) -> Iterator[FilterRule]:
    """Yields the rules of a base chain and of those that rules lead to, each once."""
    seen: set[str] = set()
    waiting = [base.name]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for rule in base.chains.get(name, ()):
            yield rule
            waiting.append(rule.target)


def _perhaps_dropped(ways: Sequence[Way]) -> bool:
    """Returns whether a drop that may not fit was met: then nothing is certain."""
    return any(each.may_drop for each in ways)


def _remedy(facts: Facts, name: str, family: Family, hook: str) -> str:
    """Returns the commands that add the rules in front, for a tool that this machine has."""
    group = facts.config.nflog.multicast_group
    tools = facts.firewall.tools
    usable = [each for each in (family.tool, f"{family.tool}-legacy") if each in tools]
    if usable or "nft" not in tools:
        command, chain = next(iter(usable), family.tool), hook.upper()
        asked = f"-o {name} -d {family.groups}"
        return (
            f"{command} -I {chain} 1 {asked} -j NFLOG --nflog-group {group} && "
            f"{command} -I {chain} 2 {asked} -j DROP"
        )
    address = "ip daddr" if family.tool == "iptables" else "ip6 daddr"
    taken = f"log group {group} queue-threshold 1 drop"
    asked = f"oifname {name} {address} {family.groups}"
    commands = (
        "add table inet nhrpd_multicast",
        f"add chain inet nhrpd_multicast {hook} {{ type filter hook {hook} priority mangle; }}",
        f"insert rule inet nhrpd_multicast {hook} {asked} {taken}",
    )
    return " && ".join(f"nft '{command}'" for command in commands)


def _losses(area: Area, daemon: DaemonFacts) -> Finding:
    counters = daemon.counters.get("nflog-multicast", {})
    lost = counters.get("overruns", 0) + counters.get("overload", 0)
    if not lost:
        return area.ok(f"nhrpd got {counters.get('packets', 0)} packets")
    return area.warning(
        f"nhrpd lost multicast {lost} times: it came faster than it was read",
        "nhrpctl show interfaces   # how much there is, and for how many targets",
    )
