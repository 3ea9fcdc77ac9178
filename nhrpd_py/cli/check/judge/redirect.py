"""Checks of what makes redirects: a rule that samples packets, and nhrpd as its listener. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from nhrpd_py.cli.check.facts import DaemonFacts, Facts, Link, SamplingRule
from nhrpd_py.cli.check.findings import Area, Finding, Unread
from nhrpd_py.cli.check.judge import listener
from nhrpd_py.cli.check.judge.walk import UNSURE, Packet, way_of

AREA = "redirect"
SAMPLES = (
    "-m hashlimit --hashlimit-upto 4/minute --hashlimit-burst 1 --hashlimit-mode srcip,dstip "
    "--hashlimit-srcmask {mask} --hashlimit-dstmask {mask} --hashlimit-name loglimit-{group} "
    "-j NFLOG --nflog-group {group} --nflog-size 128"
)
FAMILIES = {
    "ipv4": ("iptables", ("ip", "inet"), 16),
    "ipv6": ("ip6tables", ("ip6", "inet"), 48),
}
"""By family: the command, the families of the rules that see it, the prefix length of a site."""
SWALLOWED = {
    "new": "all of them: no redirects, so no shortcuts",
    "established": "packets of established connections: a connection that is on the hub stays there",
}
"""What a state of packets that are never sampled means."""


def check(facts: Facts) -> Iterator[Finding]:
    """Yields all findings of the area `redirect`."""
    names = [each.name for each in facts.config.interfaces.values() if each.redirect]
    if not names:
        return
    for name in names:
        yield from _rules(facts, name)
    yield from _listener(facts, names)


def _rules(facts: Facts, name: str) -> Iterator[Finding]:
    area = Area(AREA, name)
    rules = facts.firewall.rules
    group = facts.config.nflog.redirect_group
    if isinstance(rules, Unread):
        yield area.unread(rules)
        return
    links = facts.kernel.links
    link = None if isinstance(links, Unread) else links.get(name)
    for family in _families(link):
        _command, seen_by, _mask = FAMILIES[family]
        fitting = [
            rule
            for rule in rules
            if rule.group == group and rule.family in seen_by and rule.samples(name)
        ]
        if fitting:
            yield _ahead(facts, area, family) or _counting(area, family, fitting)
        else:
            yield _missing(facts, area, family, rules)


def _families(link: Link | None) -> list[str]:
    """Returns the families inside a tunnel by its addresses; IPv4 where there are none."""
    if link is None:
        return ["ipv4"]
    found = {
        "ipv6" if ":" in address else "ipv4"
        for address, _length, scope in link.addresses
        if scope == "global"
    }
    return sorted(found) or ["ipv4"]


def _ahead(facts: Facts, area: Area, family: str) -> Finding | None:
    """Tells of a rule that decides before the sample is taken; None where packets are sampled.

    A connection that began over the hub, or comes back to it, has established packets alone.
    """
    group = facts.config.nflog.redirect_group
    packet = Packet(
        family=FAMILIES[family][1][0], input=area.subject, output=area.subject, state="new"
    )
    chains = [each for each in facts.firewall.chains if each.hook == "forward"]
    for state, what in SWALLOWED.items():
        ways = [(each, way_of(each, replace(packet, state=state), group)) for each in chains]
        if not ways or any(way.sampled for _, way in ways):
            continue
        sampling = [
            (base, way, rule)
            for base, way in ways
            for rule in base.rules
            if rule.sample is not None and rule.sample.group == group
        ]
        decided = [(base, way) for base, way, _ in sampling] or ways
        base, way = next(
            ((base, way) for base, way in decided if way.by not in ("", UNSURE)), (None, None)
        )
        if base is None or way is None:
            return None  # nothing is certain
        text = f"a rule before the one that samples decides on {what} ({way.by})"
        remedy = _rule(facts, area.subject, family)
        if base.tool != "nft" and sampling:
            rest = sampling[0][2].text.removeprefix(f"-A {base.name} ")
            command = base.tool if base.table == "filter" else f"{base.tool} -t {base.table}"
            remedy = f"{command} -D {base.name} {rest} && {command} -I {base.name} 1 {rest}"
        return area.problem(text, remedy)
    return None


def _counting(area: Area, family: str, fitting: list[SamplingRule]) -> Finding:
    counts = [rule.packets for rule in fitting if rule.packets is not None]
    counted = f"{sum(counts)} packets so far" if counts else "it has no counter"
    text = f"{fitting[0].tool} samples {family} for group {fitting[0].group} ({counted})"
    if all(rule.range_only for rule in fitting):
        text += "; its --nflog-range never had an effect, --nflog-size has; nhrpd takes 128 octets"
    return area.ok(text)


def _missing(facts: Facts, area: Area, family: str, rules: object) -> Finding:
    group = facts.config.nflog.redirect_group
    found = rules if isinstance(rules, list | tuple) else ()
    expected = {group, facts.config.nflog.multicast_group}
    others = sorted({rule.group for rule in found if rule.samples(area.subject)} - expected)
    text = f"no rule samples {family} that goes from {area.subject} back into it for group {group}"
    if others:
        text += f" (but for {', '.join(map(str, others))})"
    return area.problem(
        f"{text}: no redirects, so no shortcuts", _rule(facts, area.subject, family)
    )


def _rule(facts: Facts, name: str, family: str) -> str:
    """Returns the command that adds a rule that samples, for a tool that this machine has."""
    group = facts.config.nflog.redirect_group
    command, (own, _inet), mask = FAMILIES[family]
    tools = facts.firewall.tools
    usable = [each for each in (command, f"{command}-legacy") if each in tools]
    if usable or "nft" not in tools:
        command = next(iter(usable), command)
        options = SAMPLES.format(mask=mask, group=group)
        return f"{command} -I FORWARD 1 -i {name} -o {name} {options}"
    site = "255.255.0.0" if family == "ipv4" else "ffff:ffff:ffff::"
    chain = "{ type filter hook forward priority mangle; }"
    kept = (
        f"{{ type {family}_addr . {family}_addr; size 65535; flags dynamic, timeout; timeout 2m; }}"
    )
    rule = (
        f"iifname {name} oifname {name} update @sampled {{ {own} saddr & {site} . "
        f"{own} daddr & {site} limit rate 4/minute burst 1 packets }} "
        f"counter log group {group} snaplen 128"
    )
    commands = (
        f"add table {own} nhrpd",
        f"add set {own} nhrpd sampled {kept}",
        f"add chain {own} nhrpd forward {chain}",
        f"add rule {own} nhrpd forward {rule}",
    )
    return " && ".join(f"nft '{command}'" for command in commands)


def _listener(facts: Facts, names: Sequence[str]) -> Iterator[Finding]:
    group = facts.config.nflog.redirect_group
    area = Area(AREA, f"group {group}")
    yield from listener.check(facts, area, group, "redirect-group", "redirects")
    if isinstance(facts.daemon, DaemonFacts):
        yield from _samples(facts, area, names, facts.daemon)


def _samples(
    facts: Facts, area: Area, names: Sequence[str], daemon: DaemonFacts
) -> Iterator[Finding]:
    group = facts.config.nflog.redirect_group
    counters = daemon.counters.get("nflog", {})
    got = counters.get("packets", 0)
    if counters.get("overruns"):
        yield area.warning(
            f"nhrpd lost samples {counters['overruns']} times: the rule sends too many",
            f"in place of the rule that is there: {_rule(facts, names[0], 'ipv4')}",
        )
    rules = facts.firewall.rules
    counted = 0
    if not isinstance(rules, Unread):
        counted = sum(rule.packets or 0 for rule in rules if rule.group == group)
    if not got and counted:
        yield area.warning(
            f"the rule counted {counted} packets, and nhrpd got none since it started",
            "nhrpctl check again after some traffic between spokes; if it stays so: "
            f"systemctl restart {facts.unit}",
        )
    else:
        yield area.ok(f"nhrpd got {got} samples")
