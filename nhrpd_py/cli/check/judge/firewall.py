"""Checks of the packet filter: whether it lets through what the tunnel carries, and what carries the tunnel. Pure.

Only what is surely dropped is told; see `walk`.
"""

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import replace

from nhrpd_py.cli.check.facts import BaseChain, Facts, Link
from nhrpd_py.cli.check.findings import Area, Finding, State, Unread
from nhrpd_py.cli.check.judge.ipsec import goes_in_udp
from nhrpd_py.cli.check.judge.tunnels import (
    GRE_KINDS,
    configured_links,
    crossed_by,
    outer_address_of,
    underlay_of,
)
from nhrpd_py.cli.check.judge.walk import Packet, way_of
from nhrpd_py.core.config import InterfaceConfig

AREA = "firewall"
DOCKERS = "DOCKER-USER"
"""The chain that Docker leaves to the operator."""
FIREWALLD = "firewalld"
"""The table of firewalld, which may own it: then nobody else can change it."""
OTHER_VPNS = ("wireguard", "tun", "vti", "xfrm", "ipip", "sit")
"""Kinds of links to people or sites that need not reach the cloud."""
OF_CONTAINERS = ("docker", "br-", "virbr", "veth", "lxc", "cni", "podman")
INCOMING = ("prerouting", "input")
OUTGOING = ("output", "postrouting")
ESP = "ESP (protocol 50)"
OUTER = {
    ESP: Packet(family="ip", protocol="esp"),
    "IKE (UDP 500)": Packet(family="ip", protocol="udp", port=500),
    "IKE behind NAT (UDP 4500)": Packet(family="ip", protocol="udp", port=4500),
    "GRE (protocol 47)": Packet(family="ip", protocol="gre"),
}
PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"))
)
COMMAND_PORTS = {None: "", 500: " --dport 500", 4500: " --dport 4500"}


def check(facts: Facts) -> Iterator[Finding]:
    """Yields all findings of the area `firewall`."""
    rules = facts.firewall.rules
    if isinstance(rules, Unread):
        if not any(each.redirect for each in facts.config.interfaces.values()):
            yield Area(AREA, "rules").unread(rules)  # else the area `redirect` tells it
        return
    for config in facts.config.interfaces.values():
        area = Area(AREA, config.name)
        link = next((each for each in configured_links(facts) if each.name == config.name), None)
        said = [*_forwarded(facts, area, config, link), *_outer(facts, area, config, link)]
        yield from said or [area.ok("the packet filter lets the tunnel pass")]


# --- what is forwarded ----------------------------------------------------------------------------


def _forwarded(
    facts: Facts, area: Area, config: InterfaceConfig, link: Link | None
) -> Iterator[Finding]:
    for family in _families(link):
        name = config.name
        if config.redirect:
            within = Packet(family=family, input=name, output=name)
            base = _dropping(facts, "forward", within) or _dropping(
                facts, "forward", replace(within, state="established")
            )
            if base is not None:
                yield area.problem(
                    f"{_where(base, within)} what goes from one spoke to another: nothing is relayed",
                    _let_through(base, (("-i", name), ("-o", name))),
                )
        lans = _lans(facts, family)
        bases = [_cut_off(facts, family, name, lan) for lan in lans]
        cut_off = [base for base in bases if base is not None]
        if lans and len(cut_off) == len(lans):
            base = cut_off[0]
            yield area.problem(
                f"{_where(base, Packet(family=family))} what goes between it and {', '.join(lans)}: "
                "the networks here are cut off",
                _trusted(name, *lans)
                if base.table == FIREWALLD
                else f"{_let_through(base, (('-i', name),))} && {_let_through(base, (('-o', name),))}",
            )


def _cut_off(facts: Facts, family: str, tunnel: str, lan: str) -> BaseChain | None:
    """Returns the chain that keeps a tunnel and a LAN apart: also answers, or whoever begins."""
    there = Packet(family=family, input=lan, output=tunnel)
    back = Packet(family=family, input=tunnel, output=lan)
    for packet in (there, back):
        base = _dropping(facts, "forward", replace(packet, state="established"))
        if base is not None:
            return base
    if _dropping(facts, "forward", there) is not None:
        return _dropping(facts, "forward", back)
    return None


def _families(link: Link | None) -> list[str]:
    if link is None:
        return ["ip"]
    addresses = [address for address, _length, scope in link.addresses if scope == "global"]
    return sorted({"ip6" if ":" in each else "ip" for each in addresses}) or ["ip"]


def _lans(facts: Facts, family: str) -> list[str]:
    """Returns the links to networks behind this machine: not those of containers and other VPNs, no uplinks."""
    links, routes = facts.kernel.links, facts.kernel.routes
    if isinstance(links, Unread):
        return []
    uplinks = {
        hop.get("dev")
        for route in ([] if isinstance(routes, Unread) else routes)
        if route.get("dst") == "default"
        for hop in (route, *(route.get("nexthops") or ()))
    }
    underlays = {
        underlay_of(facts, config, links[config.name])
        for config in facts.config.interfaces.values()
        if config.name in links
    }
    return [
        link.name
        for link in links.values()
        if link.up
        and "LOOPBACK" not in link.flags
        and link.name != "lo"
        and link.kind not in (*GRE_KINDS, *OTHER_VPNS)
        and link.name not in underlays | uplinks
        and not link.name.startswith(OF_CONTAINERS)
        and any(
            scope == "global" and (":" in a) == (family == "ip6") for a, _, scope in link.addresses
        )
    ]


# --- what carries the tunnel ----------------------------------------------------------------------


def _outer(
    facts: Facts, area: Area, config: InterfaceConfig, link: Link | None
) -> Iterator[Finding]:
    underlay = crossed_by(facts, config, link) if link is not None else None
    family = "ip6" if link is not None and link.kind == "ip6gre" else "ip"
    names = [name for name in OUTER if config.ipsec is not None or name.startswith("GRE")]
    if config.ipsec is not None and goes_in_udp(facts, config.ipsec.profile):
        names.remove(ESP)
    needless = link is not None and _is_private(outer_address_of(facts, config, link))
    for name in names:
        incoming = replace(OUTER[name], family=family, input=underlay)
        for finding in _way_in(facts, area, config, name, incoming):
            if name == ESP and needless:
                said = f"{finding.finding}, unless a NAT is between, where ESP goes in UDP"
                yield replace(finding, state=State.WARNING, finding=said)
            else:
                yield finding
        outgoing = replace(OUTER[name], family=family, output=underlay)
        for hook in OUTGOING:
            base = _dropping(facts, hook, replace(outgoing, state="established"))
            if base is not None:
                yield area.problem(
                    f"{_where(base, outgoing)} {name}: nothing leaves this machine for its peers",
                    _let_out(base, outgoing),
                )


def _is_private(address: str | None) -> bool:
    """Returns whether an outer address is one that peers hardly reach without NAT."""
    try:
        return any(ipaddress.ip_address(address or "") in each for each in PRIVATE)
    except ValueError:  # nothing tells it
        return False


def _way_in(
    facts: Facts, area: Area, config: InterfaceConfig, name: str, packet: Packet
) -> Iterator[Finding]:
    for hook in INCOMING:
        base = _dropping(facts, hook, replace(packet, state="established"))
        if base is not None:
            yield area.problem(
                f"{_where(base, packet)} {name}: nothing arrives from peers", _let_in(base, packet)
            )
            return
        base = _dropping(facts, hook, packet)
        if base is None:
            continue
        if config.nhs and not config.redirect:
            yield area.warning(
                f"{_where(base, packet)} {name} but for answers: other spokes cannot begin",
                _let_in(base, packet),
            )
        else:
            yield area.problem(
                f"{_where(base, packet)} {name} but for answers: spokes cannot register",
                _let_in(base, packet),
            )
        return


# --- words and commands ---------------------------------------------------------------------------


def _dropping(facts: Facts, hook: str, packet: Packet) -> BaseChain | None:
    """Returns the first base chain that drops a packet."""
    return next(
        (
            base
            for base in facts.firewall.chains
            if base.hook == hook and way_of(base, packet).dropped
        ),
        None,
    )


def _where(base: BaseChain, packet: Packet) -> str:
    """Returns which rule, or the policy of which chain, drops a packet."""
    ways = (way_of(base, replace(packet, state=state)) for state in ("established", "new"))
    by = next((way.by for way in ways if way.dropped), "")
    chain = f"{base.name} of {base.tool}"
    if base.tool == "nft":
        chain = f"{base.name} of nft's table {base.family} {base.table}"
    return f"{chain} drops ({by or 'its policy'})"


def _command(base: BaseChain) -> str:
    table = "" if base.table == "filter" else f" -t {base.table}"
    return f"{base.tool}{table}"


def _let_through(base: BaseChain, ways: Sequence[tuple[str, str]]) -> str:
    """Returns the command that accepts what comes in or goes out by an interface, behind the samples."""
    if base.table == FIREWALLD:
        return _trusted(*dict.fromkeys(name for _option, name in ways))
    samples = [rule.text for rule in base.rules if rule.sample is not None]
    if base.tool == "nft":
        names = {"-i": "iifname", "-o": "oifname"}
        asked = " ".join(f"{names[option]} {name}" for option, name in ways)
        # the place of a rule ends with its handle, and what is added to a handle comes behind it
        to = f"add rule {samples[-1]}" if samples else f"insert rule {_place(base)}"
        return f"nft {to} {asked} accept"
    asked = " ".join(f"{option} {name}" for option, name in ways)
    if DOCKERS in base.chains:
        return f"{_command(base)} -I {DOCKERS} 1 {asked} -j ACCEPT"
    behind = [place for place, rule in enumerate(base.rules, 1) if rule.sample is not None]
    return f"{_command(base)} -I {base.name} {max(behind, default=0) + 1} {asked} -j ACCEPT"


def _let_in(base: BaseChain, packet: Packet) -> str:
    return _accept(base, packet, "-i", packet.input)


def _let_out(base: BaseChain, packet: Packet) -> str:
    return _accept(base, packet, "-o", packet.output)


def _place(base: BaseChain) -> str:
    return f"{base.family} {base.table} {base.name}"


def _trusted(*links: str) -> str:
    """Returns the command after which firewalld forwards between some links whatever it is."""
    moved = " ".join(f"--change-interface={each}" for each in links)
    return _told(f"--zone=trusted {moved}")


def _told(change: str) -> str:
    """Returns the command that has firewalld change its rules."""
    return f"firewall-cmd --permanent {change} && firewall-cmd --reload"


def _accept(base: BaseChain, packet: Packet, option: str, link: str | None) -> str:
    if base.table == FIREWALLD:
        what = f"protocol={packet.protocol}" if packet.port is None else f"port={packet.port}/udp"
        return _told(f"--add-{what}")
    if base.tool == "nft":
        what = f"meta l4proto {packet.protocol}"
        if packet.port is not None:
            what = f"udp dport {packet.port}"
        return f"nft insert rule {_place(base)} {what} accept"
    by = f"{option} {link} " if link is not None else ""
    asked = f"{by}-p {packet.protocol}{COMMAND_PORTS[packet.port]}"
    return f"{_command(base)} -I {base.name} 1 {asked} -j ACCEPT"
