"""Checks of the ways that a tunnel's own packets take: to its servers, and to some of its peers. Pure."""

import ipaddress
from collections.abc import Iterator

from nhrpd_py.cli.check.facts import Facts, Link, Row
from nhrpd_py.cli.check.findings import Area, Finding, Unread
from nhrpd_py.cli.check.judge.tunnels import (
    change,
    crossed_by,
    is_covered,
    outer_address_of,
    outer_link,
    peers_of,
    underlay_of,
)
from nhrpd_py.core.config import InterfaceConfig

STRICT = "1"
"""The value of rp_filter."""
WITHOUT_GATEWAY = frozenset({"POINTOPOINT", "NOARP", "LOOPBACK"})
"""Flags of links that have no neighbours to look for."""


def check(facts: Facts, area: Area, config: InterfaceConfig, link: Link) -> Iterator[Finding]:
    """Yields all findings about the ways of one tunnel."""
    links = facts.kernel.links
    underlay = underlay_of(facts, config, link)
    local = outer_address_of(facts, config, link)
    outer = None if isinstance(links, Unread) else links.get(underlay or "")
    by_it = _ways_by(facts, link, outer)
    for remote in peers_of(facts, config):
        way = facts.kernel.ways.get((remote, local or ""))
        found = _bound(area, link, outer, remote, by_it)
        found = found or _inward(facts, area, config, link, remote, way)
        if crossed_by(facts, config, link) is not None:
            found = found or _strict(facts, area, outer, remote, way)
        if found is not None:
            yield found
            return  # the others have the same fault


def _ways_by(facts: Facts, link: Link, outer: Link | None) -> frozenset[str] | None:
    """Returns where routes lead by the link that a tunnel is bound to; None where it is not, or nothing tells it."""
    if not link.data.get("link") or outer is None or not outer.up:
        return None
    if WITHOUT_GATEWAY & outer.flags or isinstance(facts.kernel.routes, Unread):
        return None
    found = [_prefix(route) for route in facts.kernel.routes if _goes_by(route, outer.name)]
    # a name that nobody resolves, or a route of another kind, may lead anywhere
    return frozenset(each for each in found if each) if found and all(found) else None


def _bound(
    area: Area, link: Link, outer: Link | None, remote: str, by_it: frozenset[str] | None
) -> Finding | None:
    """Finds a tunnel that is bound to a link by which no route leads to a peer: the kernel looks for it there."""
    if by_it is None or outer is None or not _is_address(remote) or is_covered(remote, by_it):
        return None
    return area.problem(
        f"no route leads to {remote} by {outer.name}, which it is bound to: the kernel looks for "
        "it on that link",
        f"ip route add default via GATEWAY dev {outer.name} metric 500   # or the tunnel by "
        f"another link: {change(link, 'dev LINK')}",
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:  # a name that nobody resolves
        return False
    return True


def _goes_by(route: Row, device: str) -> bool:
    hops = [route, *(route.get("nexthops") or ())]
    return any(hop.get("dev") == device for hop in hops)


def _prefix(route: Row) -> str | None:
    text = str(route.get("dst"))
    try:
        return str(ipaddress.ip_network("0.0.0.0/0" if text == "default" else text, strict=False))
    except ValueError:
        return None


def _inward(
    facts: Facts, area: Area, config: InterfaceConfig, link: Link, remote: str, way: Row | None
) -> Finding | None:
    """Finds a tunnel whose own packets are led into it."""
    if link.data.get("link") or way is None or way.get("dev") != link.name:
        return None
    return area.problem(
        f"the way to {remote} leads into the tunnel itself",
        change(link, f"dev {underlay_of(facts, config, link) or outer_link(facts, config)}"),
    )


def _strict(
    facts: Facts, area: Area, outer: Link | None, remote: str, way: Row | None
) -> Finding | None:
    """Finds a link that takes nothing from a peer, for the way back to it is another one."""
    if outer is None or way is None or way.get("dev") in (outer.name, "lo", None):
        return None
    names = [f"net/ipv4/conf/{name}/rp_filter" for name in ("all", outer.name)]
    if max(facts.kernel.sysctls.get(name, "0") for name in names) != STRICT:
        return None
    return area.problem(
        f"{outer.name} drops what {remote} sends: its reverse path check is strict, and the route to "
        f"{remote} goes by {way['dev']}",
        f"sysctl -w net/ipv4/conf/{outer.name}/rp_filter=2",
    )
