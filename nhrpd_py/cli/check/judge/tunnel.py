"""Checks of one tunnel of the configuration: its kind, its parameters, its underlay. Pure."""

from collections.abc import Iterator

from nhrpd_py.cli.check.facts import Facts, Link
from nhrpd_py.cli.check.findings import Area, Finding, Unread
from nhrpd_py.cli.check.judge.tunnels import (
    DEFAULT_TTL,
    MADE_BY_MODULES,
    change,
    has_outer_address,
    is_external,
    key_of,
    local_of,
    make,
    outer_link,
    remake,
    remote_of,
    underlay_of,
    use_another,
)
from nhrpd_py.core.config import InterfaceConfig

ETHERNET_GRE = ("gretap", "ip6gretap", "erspan", "ip6erspan")
"""Kinds of link that are GRE too, but carry Ethernet frames where NHRP needs IP packets."""
OUTER_HEADER = {"gre": 20, "ip6gre": 40}
GRE_HEADER = 4
GRE_KEY = 4
ESP_FIXED = 8 + 16 + 32
"""Octets of ESP's header, the IV of AES-CBC and the ICV of HMAC-SHA2-512: the widest in use."""
ESP_TRAILER = 2
CIPHER_BLOCK = 16
UDP_HEADER = 8
"""Of ESP that goes through a NAT."""


def missing(facts: Facts, area: Area, config: InterfaceConfig, link: Link | None) -> Finding:
    """Returns the finding about an interface of the configuration that is no GRE tunnel."""
    if link is None:
        return area.problem("there is no such link", make(facts, config, config.name))
    if not link.kind:
        text = "it is hardware, or loopback: not a tunnel"
    elif link.kind in ETHERNET_GRE:
        text = f"it is a link of kind {link.kind}, not of gre: it carries Ethernet frames"
    else:
        text = f"it is a link of kind {link.kind}, not of gre"
    return area.problem(text, use_another(facts, config))


def check(facts: Facts, area: Area, config: InterfaceConfig, link: Link) -> Iterator[Finding]:
    """Yields all findings about a GRE tunnel and its underlay."""
    misfit = _misfit(link)
    if misfit is not None:
        yield area.problem(misfit, use_another(facts, config))
        return
    yield _multipoint(facts, area, config, link)
    yield _key(area, link)
    if int(link.data.get("ttl") or 0) == 0:
        yield area.warning(
            "outer packets inherit the TTL of inner ones: those of routing protocols go one hop",
            change(link, f"ttl {DEFAULT_TTL}"),
        )
    else:
        yield area.ok(f"ttl {link.data['ttl']}")
    if "NOARP" in link.flags and facts.running:
        yield area.problem(
            "NOARP is set: the kernel does not ask for neighbours",
            f"ip link set {link.name} arp on",
        )
    if not link.up:
        yield area.problem("it is down", f"ip link set {link.name} up")
    else:
        yield area.ok("it is up")
    usable = [each for each in link.addresses if each[2] == "global"]
    if not usable:
        yield area.problem("it has no address", f"ip address add ADDRESS/32 dev {link.name}")
    else:
        yield area.ok(f"it has the address {usable[0][0]}/{usable[0][1]}")
    yield from _underlay(facts, area, config, link)


def _misfit(link: Link) -> str | None:
    """Returns why a GRE tunnel can never serve NHRP, however it is set; None: it can."""
    if link.name in MADE_BY_MODULES:
        return "the module made it, for packets of no other tunnel: it cannot be changed"
    if is_external(link):
        return "it was made with `external`: it does not look at neighbours"
    return None


def _multipoint(facts: Facts, area: Area, config: InterfaceConfig, link: Link) -> Finding:
    remote = remote_of(link)
    if link.kind == "ip6gre" and remote is None:
        return area.problem(
            "Linux sends nothing through a multipoint ip6gre: NHRP needs type gre, over IPv4",
            use_another(facts, config),
        )
    if remote is None:
        return area.ok("it is multipoint")
    text = f"it has one remote end, {remote}: it is not multipoint"
    if link.kind == "ip6gre":
        return area.problem(text, use_another(facts, config))
    return area.problem(
        text,
        f"{remake(facts, config, link)}   # if nothing else needs it as it is, "
        f"else another tunnel in place of [interface.{link.name}] in {facts.file}",
    )


def _key(area: Area, link: Link) -> Finding:
    inward, outward = key_of(link, "ikey"), key_of(link, "okey")
    if inward != outward:
        return area.warning(
            f"the keys of the two directions differ ({inward} in, {outward} out)",
            change(link, f"key {inward if outward is None else outward}"),
        )
    if outward is None:
        return area.warning(
            "it has no key: other GRE between the same hosts cannot be told from it",
            f"{change(link, 'key 42')}   # the same on all nodes",
        )
    return area.ok(f"key {outward}")


def _underlay(facts: Facts, area: Area, config: InterfaceConfig, link: Link) -> Iterator[Finding]:
    name = underlay_of(facts, config, link)
    ipv6 = link.kind == "ip6gre"
    local = local_of(link)
    likely = outer_link(facts, config, ipv6=ipv6)
    if name is None:
        if local is not None:
            yield area.problem(
                f"no link has its outer address {local}", change(link, f"local any dev {likely}")
            )
        else:
            yield area.problem("nothing tells its outer address", change(link, f"dev {likely}"))
        return
    links = facts.kernel.links
    outer = None if isinstance(links, Unread) else links.get(name)
    if outer is None:
        remedy = change(link, f"dev {likely}")
        if not link.data.get("link"):  # the name is that of the configuration's tunnel-source
            remedy = f'tunnel-source = "{likely}"   # under [interface.{link.name}] in {facts.file}'
        yield area.problem(f"its underlay {name} is not there", remedy)
        return
    if not outer.up:
        yield area.problem(f"its underlay {name} is down", f"ip link set {name} up")
    held = [address for address, _length, scope in outer.addresses if scope == "global"]
    if local is not None and local not in held:
        yield area.problem(
            f"its underlay {name} does not have its outer address {local}",
            change(link, f"local any dev {name}"),
        )
    elif not has_outer_address(outer, ipv6=ipv6):
        family = "IPv6" if ipv6 else "IPv4"
        yield area.problem(
            f"its underlay {name} has no {family} address", f"ip address add ADDRESS dev {name}"
        )
    elif outer.up:
        yield area.ok(f"its underlay {name} is up and has an address")
    yield _mtu(area, config, link, outer)


def _mtu(area: Area, config: InterfaceConfig, link: Link, outer: Link) -> Finding:
    room = outer.mtu - OUTER_HEADER[link.kind]
    header = GRE_HEADER + (GRE_KEY if key_of(link, "okey") is not None else 0)
    largest = room - header
    advised = largest
    if config.ipsec is not None:
        largest = _within_esp(room) - header
        advised = _within_esp(room - UDP_HEADER) - header
    if link.mtu > largest:
        what = "GRE and ESP" if config.ipsec is not None else "GRE"
        return area.warning(
            f"its mtu {link.mtu} does not fit into {outer.name}'s {outer.mtu} with {what}: "
            f"more than {largest} needs path MTU discovery or fragments",
            f"ip link set {link.name} mtu {advised}",
        )
    return area.ok(f"mtu {link.mtu} fits into {outer.name}'s {outer.mtu}")


def _within_esp(room: int) -> int:
    """Returns how many octets ESP in transport mode can carry within `room` octets."""
    return (room - ESP_FIXED) // CIPHER_BLOCK * CIPHER_BLOCK - ESP_TRAILER
