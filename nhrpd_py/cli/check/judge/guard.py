"""Checks of what keeps protected tunnels from clear text: policies and settings. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from nhrpd_py.cli.check.facts import Facts
from nhrpd_py.cli.check.findings import Area, Finding, Unread
from nhrpd_py.cli.check.judge.settings import setting
from nhrpd_py.cli.check.judge.tunnels import GRE_KINDS, tunnel_of
from nhrpd_py.core.effects import ProtectedGre
from nhrpd_py.runtime.guard.gre_block import PRIORITY, block_policies, switches
from nhrpd_py.runtime.netlink.xfrm import IPPROTO_GRE, Action, Direction, Policy

AREA = "guard"
BLOCKED = {"XfrmOutPolBlock": "sent", "XfrmInPolBlock": "received"}


def check(facts: Facts) -> Iterator[Finding]:
    """Yields all findings of the area `guard`."""
    links = facts.kernel.links
    protected = [each for each in facts.config.interfaces.values() if each.ipsec is not None]
    if not protected or isinstance(links, Unread):
        return
    policies = facts.ipsec.policies
    families = set()
    for config in protected:
        link = links.get(config.name)
        if link is None or link.kind not in GRE_KINDS:
            continue
        tunnel = tunnel_of(facts, config, link)
        families.add(tunnel.ipv6)
        area = Area(AREA, config.name)
        yield from _bypasses(facts, area, tunnel)
        if isinstance(policies, Unread):
            yield area.unread(policies)
        else:
            yield from _standing(area, tunnel, policies)
    if not isinstance(policies, Unread):
        yield from _holes(policies, families, {link.index: link.name for link in links.values()})
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


def _holes(
    policies: Sequence[Policy], families: set[bool], names: Mapping[int, str]
) -> Iterator[Finding]:
    """Finds policies of others that win over the guard's and let GRE pass in clear text."""
    for policy in policies:
        selector = policy.selector
        if (
            policy.action == Action.ALLOW
            and not policy.templates
            and policy.direction in (Direction.IN, Direction.OUT)
            and selector.protocol in (0, IPPROTO_GRE)
            and selector.ipv6 in families
            and policy.priority <= PRIORITY
            and not policy.if_id  # an if_id: only for packets of a link of kind xfrm
        ):
            direction = Direction(policy.direction).label
            words = str(selector)
            if selector.ifindex:
                words += f" dev {names.get(selector.ifindex, selector.ifindex)}"
            yield Area(AREA, f"policy {direction}").problem(
                f"lets GRE pass in clear text: {words} priority {policy.priority}",
                f"ip xfrm policy delete {words} dir {direction}{_marked(policy)}",
            )


def _marked(policy: Policy) -> str:
    """Returns what `ip xfrm policy delete` needs in addition to find a policy with a mark."""
    value, mask = policy.mark
    return f" mark {value:#x} mask {mask:#x}" if mask else ""


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
