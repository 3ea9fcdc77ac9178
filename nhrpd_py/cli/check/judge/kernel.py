"""Checks of modules, tunnels and settings of the kernel. Pure."""

from collections.abc import Iterator

from nhrpd_py.cli.check.facts import Facts, Kernel, Link
from nhrpd_py.cli.check.findings import Area, Finding, Unread
from nhrpd_py.core.config import InterfaceConfig
from nhrpd_py.runtime.guard.gre_block import Tunnel

GRE_KINDS = ("gre", "ip6gre")
OUTER_HEADER = {"gre": 20, "ip6gre": 40}
GRE_HEADER = 4
GRE_KEY = 4
ESP_FIXED = 8 + 16 + 32
"""Octets of ESP's header, the IV of AES-CBC and the ICV of HMAC-SHA2-512: the widest in use."""
ESP_TRAILER = 2
CIPHER_BLOCK = 16
UDP_HEADER = 8
"""Of ESP that goes through a NAT."""
SMALLEST_IPV6_MTU = 1280
CROWDED = 0.75
"""The share of gc_thresh3 from which on the neighbour table is nearly full."""


def check(facts: Facts) -> Iterator[Finding]:
    """All findings of the area `kernel`."""
    yield from _modules(facts)
    links = facts.kernel.links
    for config in facts.config.interfaces.values():
        if isinstance(links, Unread):
            yield Area("kernel", config.name).unread(links)
            continue
        link = links.get(config.name)
        if link is None:
            yield Area("kernel", config.name).problem(
                "there is no such link", f"{_add(facts, config)} && {_finish(config.name)}"
            )
        elif not link.kind:
            yield Area("kernel", config.name).problem(
                "it is hardware, or loopback: not a tunnel",
                f"[interface.TUNNEL] in place of [interface.{config.name}] in {facts.file}   "
                f"# the tunnels here: {_tunnels(facts)}",
            )
        elif link.kind not in GRE_KINDS:
            yield Area("kernel", config.name).problem(
                f"it is a link of kind {link.kind}, not of gre",
                f"ip link delete {link.name}; {_add(facts, config)} && {_finish(config.name)}",
            )
        else:
            yield from _tunnel(facts, config, link)
            yield from _neighbors(facts, link)
            yield from _link_settings(facts, config, link)
    yield from _settings(facts)
    yield from _neighbor_table(facts)


def setting(kernel: Kernel, path: str) -> int | None:
    """A number below /proc/sys."""
    text = kernel.sysctls.get(path, "")
    return int(text) if text.lstrip("-").isdigit() else None


def underlay_of(facts: Facts, config: InterfaceConfig, link: Link | None) -> str | None:
    """The link that a tunnel's packets leave by, as far as the configuration tells."""
    if link is not None and link.data.get("link"):
        return str(link.data["link"])
    if config.tunnel_source is not None:
        return config.tunnel_source
    local = "any" if link is None else str(link.data.get("local", "any"))
    if isinstance(facts.kernel.links, Unread):
        return None
    for other in facts.kernel.links.values():
        if any(address == local for address, _length, _scope in other.addresses):
            return other.name
    return None


def tunnel_of(facts: Facts, config: InterfaceConfig, link: Link) -> Tunnel:
    """What the clear-text guard has to know."""
    return Tunnel(
        ipv6=link.kind == "ip6gre",
        input_key=key_of(link, "ikey"),
        output_key=key_of(link, "okey"),
        underlay=underlay_of(facts, config, link) or "",
    )


def key_of(link: Link, name: str) -> int | None:
    """A key, which iproute2 writes like an address."""
    text = link.data.get(name)
    if text is None:
        return None
    parts = str(text).split(".")
    if len(parts) == 1:
        return int(parts[0], 0)
    return int.from_bytes(bytes(int(part) for part in parts))


# --- modules --------------------------------------------------------------------------------------


def _modules(facts: Facts) -> Iterator[Finding]:
    interfaces = facts.config.interfaces.values()
    needed = {"ip_gre": "GRE"}
    if any(link.kind == "ip6gre" for link in _links(facts)):
        needed["ip6_gre"] = "GRE over IPv6"
    if any(each.redirect for each in interfaces):
        needed["nfnetlink_log"] = "samples for redirects"
    if any(each.ipsec for each in interfaces):
        needed |= {"esp4": "ESP", "xfrm_user": "IPsec"}
    found = facts.kernel.modules
    for name, purpose in needed.items():
        area = Area("kernel", name)
        if isinstance(found, Unread):
            yield area.unread(found)
        elif found.get(name):
            yield area.ok(f"the kernel has it ({purpose})")
        else:
            yield area.problem(
                f"the kernel {facts.kernel.release} has no {name} ({purpose})",
                'apt install "linux-image-$(dpkg --print-architecture)" && reboot',
            )


def _links(facts: Facts) -> list[Link]:
    found = facts.kernel.links
    names = facts.config.interfaces
    return [] if isinstance(found, Unread) else [found[name] for name in names if name in found]


def _tunnels(facts: Facts) -> str:
    """Links that could be meant, but for those that the modules make."""
    found = {} if isinstance(facts.kernel.links, Unread) else facts.kernel.links
    made = [each.name for each in found.values() if each.kind in GRE_KINDS]
    return ", ".join(sorted({*made} - {"gre0", "ip6gre0"})) or "none"


# --- the tunnel -----------------------------------------------------------------------------------


def _outer_link(facts: Facts, config: InterfaceConfig) -> str:
    """The link to bind a new tunnel to: that of the configuration, or of the default route."""
    if config.tunnel_source is not None:
        return config.tunnel_source
    routes = facts.kernel.routes
    for route in () if isinstance(routes, Unread) else routes:
        if route.get("dst") == "default" and route.get("dev"):
            return str(route["dev"])
    links = facts.kernel.links
    likely = [
        link.name
        for link in ([] if isinstance(links, Unread) else links.values())
        if link.up
        and "LOOPBACK" not in link.flags
        and link.name not in facts.config.interfaces
        and any(scope == "global" for _address, _length, scope in link.addresses)
    ]
    return likely[0] if len(likely) == 1 else "UNDERLAY"


def _add(facts: Facts, config: InterfaceConfig, link: Link | None = None) -> str:
    key = key_of(link, "okey") if link is not None else None
    ttl = link.data.get("ttl") if link is not None else None
    dev = (underlay_of(facts, config, link) if link else None) or _outer_link(facts, config)
    return (
        f"ip tunnel add {config.name} mode gre key {'KEY' if key is None else key} "
        f"ttl {ttl or 64} dev {dev}"
    )


def _finish(name: str, addresses: tuple[str, ...] = ("ADDRESS/32",)) -> str:
    added = [f"ip address add {address} dev {name}" for address in addresses]
    return " && ".join([*added, f"ip link set {name} up"])


def _tunnel(facts: Facts, config: InterfaceConfig, link: Link) -> Iterator[Finding]:
    area = Area("kernel", link.name)
    usable = [each for each in link.addresses if each[2] == "global"]
    if link.data.get("remote", "any") not in ("any", "::"):
        again = tuple(f"{address}/{length}" for address, length, _scope in usable)
        yield area.problem(
            f"it has one remote end, {link.data['remote']}: it is not multipoint",
            f"ip tunnel del {link.name} && {_add(facts, config, link)} && "
            + _finish(link.name, again or ("ADDRESS/32",)),
        )
    else:
        yield area.ok("it is multipoint")
    yield from _key(area, link)
    if int(link.data.get("ttl") or 0) == 0:
        yield area.warning(
            "outer packets inherit the TTL of inner ones: those of routing protocols go one hop",
            f"ip tunnel change {link.name} ttl 64",
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
    if not usable:
        yield area.problem("it has no address", f"ip address add ADDRESS/32 dev {link.name}")
    else:
        yield area.ok(f"it has the address {usable[0][0]}/{usable[0][1]}")
    yield from _underlay(facts, config, link)


def _key(area: Area, link: Link) -> Iterator[Finding]:
    inward, outward = key_of(link, "ikey"), key_of(link, "okey")
    if inward != outward:
        yield area.warning(
            f"the keys of the two directions differ ({inward} in, {outward} out)",
            f"ip tunnel change {link.name} key {outward or inward}",
        )
    elif outward is None:
        yield area.warning(
            "it has no key: other GRE between the same hosts cannot be told from it",
            f"ip tunnel change {link.name} key 42   # the same on all nodes",
        )
    else:
        yield area.ok(f"key {outward}")


def _underlay(facts: Facts, config: InterfaceConfig, link: Link) -> Iterator[Finding]:
    area = Area("kernel", link.name)
    name = underlay_of(facts, config, link)
    links = facts.kernel.links
    local = str(link.data.get("local", "any"))
    if name is None:
        if local not in ("any", "::"):
            yield area.problem(
                f"no link has its outer address {local}",
                f"ip tunnel change {link.name} local any dev {_outer_link(facts, config)}",
            )
        else:
            yield area.problem(
                "nothing tells its outer address",
                f"ip tunnel change {link.name} dev {_outer_link(facts, config)}",
            )
        return
    outer = None if isinstance(links, Unread) else links.get(name)
    if outer is None:
        yield area.problem(
            f"its underlay {name} is not there",
            f"ip tunnel change {link.name} dev {_outer_link(facts, config)}",
        )
        return
    if not outer.up:
        yield area.problem(f"its underlay {name} is down", f"ip link set {name} up")
    held = [address for address, _length, scope in outer.addresses if scope == "global"]
    ipv6 = link.kind == "ip6gre"
    if local not in ("any", "::") and local not in held:
        yield area.problem(
            f"its underlay {name} does not have its outer address {local}",
            f"ip tunnel change {link.name} local any dev {name}",
        )
    elif not any((":" in address) == ipv6 for address in held):
        family = "IPv6" if ipv6 else "IPv4"
        yield area.problem(
            f"its underlay {name} has no {family} address", f"ip address add ADDRESS dev {name}"
        )
    elif outer.up:
        yield area.ok(f"its underlay {name} is up and has an address")
    yield from _mtu(config, link, outer)


def _mtu(config: InterfaceConfig, link: Link, outer: Link) -> Iterator[Finding]:
    area = Area("kernel", link.name)
    room = outer.mtu - OUTER_HEADER[link.kind]
    header = GRE_HEADER + (GRE_KEY if key_of(link, "okey") is not None else 0)
    largest = room - header
    advised = largest
    if config.ipsec is not None:
        largest = _within_esp(room) - header
        advised = _within_esp(room - UDP_HEADER) - header
    if link.mtu > largest:
        what = "GRE and ESP" if config.ipsec is not None else "GRE"
        yield area.warning(
            f"its mtu {link.mtu} does not fit into {outer.name}'s {outer.mtu} with {what}: "
            f"more than {largest} needs path MTU discovery or fragments",
            f"ip link set {link.name} mtu {advised}",
        )
    else:
        yield area.ok(f"mtu {link.mtu} fits into {outer.name}'s {outer.mtu}")


def _within_esp(room: int) -> int:
    return (room - ESP_FIXED) // CIPHER_BLOCK * CIPHER_BLOCK - ESP_TRAILER


# --- settings -------------------------------------------------------------------------------------


def _neighbors(facts: Facts, link: Link) -> Iterator[Finding]:
    """nhrpd sets these when it starts."""
    area = Area("kernel", link.name)
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


def _link_settings(facts: Facts, config: InterfaceConfig, link: Link) -> Iterator[Finding]:
    area = Area("kernel", link.name)
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
    if config.redirect and local and _has_ipv6(link):
        yield area.warning(
            "it has an IPv6 link-local address: the kernel sends ICMPv6 redirects",
            f"ip link set {link.name} addrgenmode none && "
            f"ip -6 address flush dev {link.name} scope link",
        )


def _settings(facts: Facts) -> Iterator[Finding]:
    area = Area("kernel", "sysctl")
    hub = any(each.redirect for each in facts.config.interfaces.values())
    wanted = {"net/ipv4/ip_forward": "IPv4"}
    if any(_has_ipv6(link) for link in _links(facts)):
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
            yield area.problem(text, remedy) if hub else area.warning(text, remedy)
    if setting(facts.kernel, "net/ipv4/ip_forward_use_pmtu") == 0:
        yield area.warning(
            "forwarded packets do not obey what was learnt of the path's MTU",
            "sysctl -w net/ipv4/ip_forward_use_pmtu=1",
        )


def _neighbor_table(facts: Facts) -> Iterator[Finding]:
    area = Area("kernel", "sysctl")
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
