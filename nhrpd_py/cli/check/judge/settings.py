"""Checks of the kernel's settings: those of one tunnel, and those of the machine. Pure."""

from collections.abc import Iterator

from nhrpd_py.cli.check.facts import Facts, KernelFacts, Link
from nhrpd_py.cli.check.findings import Area, Finding, Unread
from nhrpd_py.cli.check.judge.tunnels import configured_links
from nhrpd_py.core.config import InterfaceConfig

SMALLEST_IPV6_MTU = 1280
CROWDED = 0.75
"""The share of gc_thresh3 from which on the neighbour table is nearly full."""


def check_link(facts: Facts, area: Area, config: InterfaceConfig, link: Link) -> Iterator[Finding]:
    """Yields all findings about the settings of one tunnel."""
    yield from _neighbors(facts, area, link)
    yield from _redirects(facts, area, config, link)


def check_machine(facts: Facts, area: Area) -> Iterator[Finding]:
    """Yields all findings about the settings that are the same for all links."""
    yield from _forwarding(facts, area)
    yield from _neighbor_table(facts, area)


def setting(kernel: KernelFacts, path: str) -> int | None:
    """Returns a number below /proc/sys; None where the kernel does not have it."""
    text = kernel.sysctls.get(path, "")
    return int(text) if text.lstrip("-").isdigit() else None


def _neighbors(facts: Facts, area: Area, link: Link) -> Iterator[Finding]:
    """Checks that the kernel asks the daemon for neighbours; the daemon sets that when it starts."""
    if not facts.running:
        return
    families = ["ipv4"]
    if link.mtu >= SMALLEST_IPV6_MTU and _has_ipv6(link):
        families.append("ipv6")
    for family in families:
        base = f"net/{family}/neigh/{link.name}"
        wrong = []
        if setting(facts.kernel, f"{base}/app_solicit") == 0:
            wrong.append(f"{base}/app_solicit=1")
        wrong += [
            f"{base}/{name}=0"
            for name in ("mcast_solicit", "ucast_solicit")
            if setting(facts.kernel, f"{base}/{name}")
        ]
        if wrong:
            silent = wrong[0].endswith("=1")
            text = (
                f"the kernel does not ask nhrpd for {family} neighbours"
                if silent
                else f"the kernel looks for {family} neighbours on the link before it asks nhrpd"
            )
            remedy = f"sysctl -w {' '.join(wrong)}"
            yield area.problem(text, remedy) if silent else area.warning(text, remedy)
        else:
            yield area.ok(f"the kernel asks nhrpd for {family} neighbours")


def _has_ipv6(link: Link) -> bool:
    return any(":" in address and scope == "global" for address, _, scope in link.addresses)


def _redirects(facts: Facts, area: Area, config: InterfaceConfig, link: Link) -> Iterator[Finding]:
    """Checks ICMP redirects and the reverse path check.

    Both go wrong where packets leave by the tunnel that they came from.
    """
    names = [f"net/ipv4/conf/{name}/send_redirects" for name in ("all", link.name)]
    on = [name for name in names if setting(facts.kernel, name)]
    if on and (facts.running or on == names[:1]):
        yield area.warning(
            "the kernel sends ICMP redirects to hosts whose traffic comes back into the tunnel",
            f"sysctl -w {' '.join(f'{name}=0' for name in on)}",
        )
    elif not on:
        yield area.ok("the kernel sends no ICMP redirects")
    checks = [setting(facts.kernel, f"net/ipv4/conf/{n}/rp_filter") for n in ("all", link.name)]
    if max((each or 0) for each in checks) == 1:
        yield area.warning(
            "the reverse path check is strict: packets that come by another way than theirs back "
            "are dropped, as happens while a shortcut comes up or goes",
            "sysctl -w net/ipv4/conf/all/rp_filter=2",
        )
    else:
        yield area.ok("the reverse path check is not strict")
    local = any(address.startswith("fe80:") for address, _, _ in link.addresses)
    if config.redirect and local and _has_ipv6(link) and not config.multicast:  # OSPFv3 needs it
        yield area.warning(
            "it has an IPv6 link-local address: the kernel sends ICMPv6 redirects",
            f"ip link set {link.name} addrgenmode none && "
            f"ip -6 address flush dev {link.name} scope link",
        )


def _forwarding(facts: Facts, area: Area) -> Iterator[Finding]:
    hub = any(each.redirect for each in facts.config.interfaces.values())
    wanted = {"net/ipv4/ip_forward": "IPv4"}
    if any(_has_ipv6(link) for link in configured_links(facts)):
        wanted["net/ipv6/conf/all/forwarding"] = "IPv6"
    for path, family in wanted.items():
        value = setting(facts.kernel, path)
        if value is None:
            yield area.unread(Unread(f"{path} cannot be read"))
        elif value:
            yield area.ok(f"{family} is forwarded")
        else:
            text = f"{family} is not forwarded: " + (
                "spokes do not reach each other" if hub else "nothing behind this node is reached"
            )
            remedy = f"sysctl -w {path}=1"
            if family == "IPv6":  # a router does not obey router advertisements by default
                remedy += "   # first accept_ra=2 where a link lives by router advertisements"
            yield area.problem(text, remedy) if hub else area.warning(text, remedy)
    if setting(facts.kernel, "net/ipv4/ip_forward_use_pmtu") == 0:
        yield area.warning(
            "forwarded packets do not obey what was learnt of the path's MTU",
            "sysctl -w net/ipv4/ip_forward_use_pmtu=1",
        )


def _neighbor_table(facts: Facts, area: Area) -> Iterator[Finding]:
    clients = sum(row.get("type") == "dynamic" for row in facts.view("cache"))
    limit = setting(facts.kernel, "net/ipv4/neigh/default/gc_thresh3")
    if limit is None:
        return
    crowd = max(facts.kernel.counted_neighbors, clients)
    if crowd > limit * CROWDED:
        more = max(8192, 1 << (4 * crowd).bit_length())
        yield area.warning(
            f"the neighbour table takes {limit} entries; there are "
            f"{facts.kernel.counted_neighbors}, and {clients} clients",
            f"sysctl -w net/ipv4/neigh/default/gc_thresh3={more} "
            f"net/ipv4/neigh/default/gc_thresh2={more // 2}",
        )
    else:
        yield area.ok(f"the neighbour table has room ({limit})")
