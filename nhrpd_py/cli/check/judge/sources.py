"""Checks of the source filter: what it needs of charon, of the packet filter, and of who else uses marks. Pure."""

from collections.abc import Iterator

from nhrpd_py.cli.check.facts import Facts, Link
from nhrpd_py.cli.check.findings import Area, Finding, Unread
from nhrpd_py.cli.check.judge.tunnels import underlay_of
from nhrpd_py.core.config import InterfaceConfig
from nhrpd_py.runtime.source_filter import marks
from nhrpd_py.runtime.vici.profiles.profile import MARKS
from nhrpd_py.runtime.vici.wire.connection import Section, sections, text

AREA = "sources"
UNIQUE_BY_DIRECTION = "%unique-dir"
"""As good as `%unique`: only the mark of what comes in is of interest."""


def check(facts: Facts) -> Iterator[Finding]:
    """Yields all findings of the area `sources`."""
    filtered = [
        each
        for each in facts.config.interfaces.values()
        if each.ipsec is not None and each.source_filter is not False
    ]
    for config in filtered:
        yield from _program(facts, config)
        yield from _marks(facts, config)
        yield from _others(facts, config)


def _program(facts: Facts, config: InterfaceConfig) -> Iterator[Finding]:
    area = Area(AREA, config.name)
    tools = {each.removesuffix("-legacy") for each in facts.firewall.tools}
    if tools & {"nft", "iptables"}:
        yield area.ok("there is a program for the source filter")
        return
    tell = area.problem if config.source_filter else area.warning
    yield tell("neither nft nor iptables is here: nobody looks at sources", "apt install nftables")


def _marks(facts: Facts, config: InterfaceConfig) -> Iterator[Finding]:
    """Tells whether SAs that the operator's own connections answer have a mark; nhrpd's clones always do."""
    charon = facts.charon
    if config.ipsec is None or charon is None or isinstance(charon.template, Unread):
        return
    for name in (config.ipsec.profile, config.ipsec.fallback_profile):
        connection = charon.template.get(name or "")
        if name is None or name in charon.own or connection is None:
            continue
        area = Area(AREA, f"profile {name}")
        children = dict(sections(connection.get("children")))
        child = children.get(name, next(iter(children.values()), None))
        if child is None:
            continue
        lines = {key: value for key, value in MARKS.items() if not _is_set(child, key)}
        if not lines:
            yield area.ok("what comes out of the SAs that it answers has a mark")
            continue
        what = "has no mark" if lines.keys() - child.keys() else "has no mark of its own"
        tell = area.problem if config.source_filter else area.warning
        yield tell(
            f"what comes out of the SAs that it answers {what}: nobody knows whose packets these are",
            f"{', '.join(map(' = '.join, lines.items()))}   # in the child in "
            f"{facts.config.vici.swanctl_config}, then: swanctl --load-conns",
        )


def _is_set(child: Section, key: str) -> bool:
    """Returns whether a child has one of the two lines; a mark that is no `%unique` one is that of all its SAs."""
    found = text(child.get(key))
    return found == MARKS[key] or (key == "mark_in" and found == UNIQUE_BY_DIRECTION)


def _others(facts: Facts, config: InterfaceConfig) -> Iterator[Finding]:
    links = facts.kernel.links
    link = None if isinstance(links, Unread) else links.get(config.name)
    if link is None or isinstance(links, Unread):
        return
    area = Area(AREA, config.name)
    names = {config.name, underlay_of(facts, config, link) or ""} - {""}
    firewall = facts.firewall
    found = list(marks.of_routing(firewall.routing_rules))
    found += marks.of_nft(firewall.ruleset, names)
    for tool, saved in firewall.saved.items():
        found += marks.of_iptables(_without_counters(saved), tool, names)
    for rule in found:
        yield area.warning(
            f"it uses the marks by which the source filter knows the peers: {rule}",
            "exempt GRE from it (-p gre -j RETURN), give it marks above 0xffff, or source-filter = false "
            f"in [interface.{config.name}]",
        )
    if isinstance(firewall.rules, Unread):
        yield area.unread(firewall.rules)
    elif not found:
        yield area.ok("nobody else uses the marks of its packets")
    yield from _fwmark(area, link)


def _without_counters(text: str) -> str:
    """Returns the output of `iptables-save -c` as it is without `-c`."""
    return "\n".join(
        line.partition("] ")[2] if line.startswith("[") else line for line in text.splitlines()
    )


def _fwmark(area: Area, link: Link) -> Iterator[Finding]:
    try:
        value = int(str(link.data.get("fwmark") or 0), 0)
    except ValueError:
        return
    if marks.is_small(value, 0xFFFFFFFF):
        yield area.warning(
            f"the tunnel sends with the mark {value:#x}, which an SA may have too",
            f"ip link set {link.name} type {link.kind} fwmark 0   # or a mark above 0xffff",
        )
