"""Checks of the kernel: its modules, the tunnels and the settings. Pure."""

from collections.abc import Iterator

from nhrpd_py.cli.check.facts import Facts
from nhrpd_py.cli.check.findings import Area, Finding, Unread
from nhrpd_py.cli.check.judge import settings, tunnel, ways
from nhrpd_py.cli.check.judge.tunnels import GRE_KINDS, configured_links

AREA = "kernel"


def check(facts: Facts) -> Iterator[Finding]:
    """Yields all findings of the area `kernel`."""
    yield from _modules(facts)
    links = facts.kernel.links
    for config in facts.config.interfaces.values():
        area = Area(AREA, config.name)
        if isinstance(links, Unread):
            yield area.unread(links)
            continue
        link = links.get(config.name)
        if link is None or link.kind not in GRE_KINDS:
            yield tunnel.missing(facts, area, config, link)
        else:
            yield from tunnel.check(facts, area, config, link)
            yield from settings.check_link(facts, area, config, link)
            yield from ways.check(facts, area, config, link)
    yield from settings.check_machine(facts, Area(AREA, "sysctl"))


def _modules(facts: Facts) -> Iterator[Finding]:
    interfaces = facts.config.interfaces.values()
    needed = {"ip_gre": "GRE"}
    if any(link.kind == "ip6gre" for link in configured_links(facts)):
        needed["ip6_gre"] = "GRE over IPv6"
    if any(each.redirect for each in interfaces):
        needed["nfnetlink_log"] = "samples for redirects"
    elif any(each.multicast for each in interfaces):
        needed["nfnetlink_log"] = "multicast"
    if any(each.ipsec for each in interfaces):
        needed |= {"esp4": "ESP", "xfrm_user": "IPsec"}
    found = facts.kernel.modules
    for name, purpose in needed.items():
        area = Area(AREA, name)
        if isinstance(found, Unread):
            yield area.unread(found)
        elif found.get(name):
            yield area.ok(f"the kernel has it ({purpose})")
        else:
            yield area.problem(
                f"the kernel {facts.kernel.release} has no {name} ({purpose})",
                'apt install "linux-image-$(dpkg --print-architecture)"   # then boot that kernel',
            )
