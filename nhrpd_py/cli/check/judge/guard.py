"""Checks of what keeps protected tunnels from clear text: policies and settings. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from nhrpd_py.cli.check.facts import Facts, Link
from nhrpd_py.cli.check.findings import Area, Finding, Unread
from nhrpd_py.cli.check.judge.settings import setting
from nhrpd_py.cli.check.judge.tunnels import (
    GRE_KINDS,
    MADE_BY_MODULES,
    change,
    key_of,
    local_of,
    tunnel_of,
    underlay_of,
)
from nhrpd_py.core.address import NO_ADDRESS, Address, parse_address
from nhrpd_py.core.config import InterfaceConfig
from nhrpd_py.core.effects import ProtectedGre
from nhrpd_py.runtime.guard.gre_block import block_policies, switches
from nhrpd_py.runtime.guard.passes import holds, is_pass, mending, pair_of
from nhrpd_py.runtime.netlink.xfrm import Direction, Policy

AREA = "guard"
OF_GRE = ("gre", "gretap", "ip6gre")
BLOCKED = {"XfrmOutPolBlock": "sent", "XfrmInPolBlock": "received"}


def check(facts: Facts) -> Iterator[Finding]:
    """Yields all findings of the area `guard`."""
    links = facts.kernel.links
    protected = [each for each in facts.config.interfaces.values() if each.ipsec is not None]
    if not protected or isinstance(links, Unread):
        return
    policies = facts.ipsec.policies
    holes: dict[Policy, Finding] = {}
    for config in protected:
        link = links.get(config.name)
        if link is None or link.kind not in GRE_KINDS:
            continue
        tunnel = tunnel_of(facts, config, link)
        area = Area(AREA, config.name)
        yield from _bypasses(facts, area, tunnel)
        yield from _bystanders(facts, area, link)
        if isinstance(policies, Unread):
            yield area.unread(policies)
        else:
            yield from _standing(area, tunnel, policies)
            holes.update(_holes(facts, config, link, tunnel, policies))
    yield from holes.values()
    yield from _counters(facts)


def _standing(area: Area, tunnel: ProtectedGre, policies: Sequence[Policy]) -> Iterator[Finding]:
    missing = [policy for policy in block_policies(tunnel) if policy not in policies]
    if missing:
        directions = " and ".join(Direction(policy.direction).label for policy in missing)
        yield area.problem(
            f"nothing keeps GRE from going in clear text ({directions})",
            " && ".join(_command(policy) for policy in missing),
        )
    else:
        yield area.ok("policies block GRE in clear text, in and out")


def _command(policy: Policy) -> str:
    return (
        f"ip xfrm policy update {policy.selector} dir {Direction(policy.direction).label} "
        f"action block priority {policy.priority}"
    )


def _bypasses(facts: Facts, area: Area, tunnel: ProtectedGre) -> Iterator[Finding]:
    on = [path for path in switches(tunnel) if setting(facts.kernel, path)]
    if on:
        yield area.problem(
            "the kernel skips all IPsec policies: the tunnel is clear text",
            f"sysctl -w {' '.join(f'{path}=0' for path in on)}",
        )
    else:
        yield area.ok("the kernel obeys IPsec policies")


def _bystanders(facts: Facts, area: Area, link: Link) -> Iterator[Finding]:
    """Finds tunnels without a key that are blocked along with a protected one without a key."""
    if key_of(link, "ikey") is not None or key_of(link, "okey") is not None:
        return
    protected = {each.name for each in facts.config.interfaces.values() if each.ipsec is not None}
    names = [
        each.name
        for each in _links(facts).values()
        if each.kind in OF_GRE
        and each.up
        and each.name not in (*protected, *MADE_BY_MODULES, "gretap0", "erspan0")
        and key_of(each, "ikey") is None
        and key_of(each, "okey") is None
        and (each.kind == "ip6gre") == (link.kind == "ip6gre")
    ]
    if names:
        yield area.problem(
            f"it has no key, so that what keeps it from clear text blocks {', '.join(names)} as well",
            f"{change(link, 'key 42')}   # the same on all nodes",
        )


def _holes(
    facts: Facts,
    config: InterfaceConfig,
    link: Link,
    tunnel: ProtectedGre,
    policies: Sequence[Policy],
) -> Iterator[tuple[Policy, Finding]]:
    """Finds policies of others that win over IPsec's and let GRE pass in clear text between outer
    addresses of a tunnel."""
    names = {each.index: each.name for each in _links(facts).values()}
    locals_ = _own_addresses(facts, config, link)
    remotes = _used_addresses(facts, config.name, policies)
    for policy in policies:
        if not is_pass(policy) or not any(
            holds(policy, tunnel, local, remote) for local in locals_ for remote in remotes
        ):
            continue
        ifindex = policy.selector.ifindex
        device = names.get(ifindex, str(ifindex)) if ifindex else ""
        shown = f"{policy.selector}{f' dev {device}' if device else ''}"
        area = Area(AREA, f"policy {Direction(policy.direction).label}")
        yield (
            policy,
            area.problem(
                f"lets GRE pass in clear text: {shown} priority {policy.priority}",
                mending(policy, device),
            ),
        )


def _own_addresses(facts: Facts, config: InterfaceConfig, link: Link) -> set[Address]:
    """Returns what may be the tunnel's NBMA address; the empty one where nothing tells it."""
    texts = {
        str(row["nbma"])
        for row in facts.view("interfaces")
        if row.get("interface") == config.name and row.get("nbma")
    }
    local = local_of(link)
    if not texts and local is not None:
        texts = {local}
    underlay = _links(facts).get(underlay_of(facts, config, link) or "")
    if not texts and underlay is not None:
        texts = {address for address, _length, _scope in underlay.addresses}
    return {parse_address(text) for text in texts} or {NO_ADDRESS}


def _used_addresses(facts: Facts, name: str, policies: Sequence[Policy]) -> set[Address]:
    """Returns the NBMA addresses that a tunnel uses; the empty one where nothing tells them."""
    known = {
        parse_address(str(row["nbma"]))
        for view in ("nhs", "peers", "cache")
        for row in facts.view(view)
        if row.get("interface") == name and row.get("nbma")
    }
    known |= {pair[1] for policy in policies if (pair := pair_of(policy)) is not None}
    return known or {NO_ADDRESS}


def _links(facts: Facts) -> Mapping[str, Link]:
    return {} if isinstance(facts.kernel.links, Unread) else facts.kernel.links


def _counters(facts: Facts) -> Iterator[Finding]:
    found = [
        f"{facts.ipsec.statistics[name]} {verb}"
        for name, verb in BLOCKED.items()
        if facts.ipsec.statistics.get(name)
    ]
    if found:
        yield Area(AREA, "kernel").ok(
            f"packets that would have gone in clear text and were blocked: {', '.join(found)}"
        )
