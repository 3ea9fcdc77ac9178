"""What the checks have to know of a tunnel: its keys, its underlay, and the commands that change it.

Pure. Commands are for the operator to type; each is of the family that the tunnel is of.
"""

import ipaddress
from collections.abc import Collection

from nhrpd_py.cli.check.facts import Facts, Link
from nhrpd_py.cli.check.findings import Unread
from nhrpd_py.core.config import InterfaceConfig
from nhrpd_py.core.effects import ProtectedGre

GRE_KINDS = ("gre", "ip6gre")
WITHOUT_PEERS = ("dummy", "vrf")
"""Kinds of links that may have the tunnel's outer address, while its packets come by another link."""
MADE_BY_MODULES = ("gre0", "ip6gre0")
"""Links that the modules ip_gre and ip6_gre make, which serve nobody."""
UNSPECIFIED = ("any", "::")
DEFAULT_TTL = 64


# --- facts of a tunnel ----------------------------------------------------------------------------


def key_of(link: Link, name: str) -> int | None:
    """Returns `ikey` or `okey`, which iproute2 writes like an address; None where there is none."""
    text = link.data.get(name)
    if text is None:
        return None
    parts = str(text).split(".")
    if len(parts) == 1:
        return int(parts[0], 0)
    return int.from_bytes(bytes(int(part) for part in parts))


def local_of(link: Link) -> str | None:
    """Returns the tunnel's own outer address; None: it takes that of its underlay."""
    found = str(link.data.get("local", "any"))
    return None if found in UNSPECIFIED else found


def remote_of(link: Link) -> str | None:
    """Returns the outer address of the one other end; None: the tunnel is multipoint."""
    found = str(link.data.get("remote", "any"))
    return None if found in UNSPECIFIED else found


def is_external(link: Link) -> bool:
    """Tells whether a tunnel takes outer addresses from routes, and so not from neighbours."""
    return bool(link.data.get("external"))


def underlay_of(facts: Facts, config: InterfaceConfig, link: Link) -> str | None:
    """Returns the link that a tunnel's packets leave by; None where nothing tells it."""
    if link.data.get("link"):
        return str(link.data["link"])
    if config.tunnel_source is not None:
        return config.tunnel_source
    local = local_of(link)
    if isinstance(facts.kernel.links, Unread) or local is None:
        return None
    for other in facts.kernel.links.values():
        if any(address == local for address, _length, _scope in other.addresses):
            return other.name
    return None


def crossed_by(facts: Facts, config: InterfaceConfig, link: Link) -> str | None:
    """Returns the link by which the kernel's filters see a tunnel's outer packets; None where nothing surely tells it.

    The outer address may be that of a link by which nothing comes; what comes by a part of a VRF they see by the VRF.
    """
    name, links = underlay_of(facts, config, link), facts.kernel.links
    underlay = None if isinstance(links, Unread) else links.get(name or "")
    if underlay is None or isinstance(links, Unread):
        return name
    master = links.get(underlay.master)
    if master is not None and master.kind == "vrf":
        return None
    return None if underlay.kind in WITHOUT_PEERS or "LOOPBACK" in underlay.flags else name


def outer_address_of(facts: Facts, config: InterfaceConfig, link: Link) -> str | None:
    """Returns our own outer address of a tunnel; None where nothing tells it."""
    local = local_of(link)
    links = facts.kernel.links
    if local is not None or isinstance(links, Unread):
        return local
    outer = links.get(underlay_of(facts, config, link) or "")
    held = () if outer is None else outer.addresses
    family = [
        each for each in held if each[2] == "global" and (":" in each[0]) == (link.kind == "ip6gre")
    ]
    return family[0][0] if family else None


def peers_of(facts: Facts, config: InterfaceConfig) -> list[str]:
    """Returns the outer addresses of a tunnel's servers and peers."""
    found: dict[str, None] = {}
    for server in config.nhs:
        known = facts.names.get(server.nbma, [server.nbma])
        found |= dict.fromkeys(() if isinstance(known, Unread) else known)
    rows = [row for row in facts.view("peers") if row.get("interface") == config.name]
    return list(found | dict.fromkeys(str(row["nbma"]) for row in rows))


def tunnel_of(facts: Facts, config: InterfaceConfig, link: Link) -> ProtectedGre:
    """Returns what the guard against clear text has to know of a tunnel."""
    return ProtectedGre(
        ipv6=link.kind == "ip6gre",
        input_key=key_of(link, "ikey"),
        output_key=key_of(link, "okey"),
        underlay=underlay_of(facts, config, link) or "",
    )


def configured_links(facts: Facts) -> list[Link]:
    """Returns the links of the configuration's interfaces, as far as they exist."""
    found = facts.kernel.links
    names = facts.config.interfaces
    return [] if isinstance(found, Unread) else [found[name] for name in names if name in found]


def is_covered(prefix: str, others: Collection[str]) -> bool:
    """Tells whether one of the other prefixes is for the same addresses, or for more."""
    try:
        network = ipaddress.ip_network(prefix)
    except ValueError:
        return False
    lengths = range(network.prefixlen + 1)
    return any(str(network.supernet(new_prefix=each)) in others for each in lengths)


# --- commands -------------------------------------------------------------------------------------


def change(link: Link, options: str) -> str:
    """Returns the command that changes some options of a tunnel and leaves the others."""
    # of an ip6gre, `ip tunnel` crashes (iproute2 6.1), and `ip -6 tunnel` does not change the TTL
    if link.kind == "ip6gre":
        return f"ip link set {link.name} type ip6gre {options}"
    return f"ip tunnel change {link.name} {options}"


def make(facts: Facts, config: InterfaceConfig, name: str) -> str:
    """Returns the commands that make a new multipoint tunnel."""
    underlay = outer_link(facts, config)
    return _made(f"ip tunnel add {name} mode gre key KEY ttl {DEFAULT_TTL} dev {underlay}", name)


def remake(facts: Facts, config: InterfaceConfig, link: Link) -> str:
    """Returns the commands that make a gre tunnel anew, as a multipoint one.

    The kernel refuses to change a tunnel with a remote end into one without (EINVAL).
    """
    key = key_of(link, "okey")
    local = local_of(link)
    words = [
        f"ip tunnel add {link.name} mode gre",
        f"key {'KEY' if key is None else key}",
        f"ttl {link.data.get('ttl') or DEFAULT_TTL}",
        *([] if local is None else [f"local {local}"]),
        f"dev {underlay_of(facts, config, link) or outer_link(facts, config)}",
    ]
    held = (f"{each}/{length}" for each, length, scope in link.addresses if scope == "global")
    return f"ip tunnel del {link.name} && {_made(' '.join(words), link.name, *held)}"


def _made(added: str, name: str, *addresses: str) -> str:
    given = [f"ip address add {each} dev {name}" for each in addresses or ("ADDRESS/32",)]
    return " && ".join([added, *given, f"ip link set {name} up"])


def use_another(facts: Facts, config: InterfaceConfig) -> str:
    """Returns what to do where the configuration names a link that cannot serve NHRP.

    It may serve something else, so that nothing tells to delete or to change it: the mistake is the
    name in the file.
    """
    links = facts.kernel.links
    found = {} if isinstance(links, Unread) else links
    line = f"in place of [interface.{config.name}] in {facts.file}"
    usable = sorted(
        each.name
        for each in found.values()
        if each.kind == "gre"
        and remote_of(each) is None
        and not is_external(each)
        and each.name not in facts.config.interfaces
        and each.name not in MADE_BY_MODULES
    )
    if usable:
        return f"[interface.TUNNEL] {line}   # the tunnels here: {', '.join(usable)}"
    taken = found.keys() | facts.config.interfaces.keys()
    free = next(name for name in map("gre{}".format, range(1, len(taken) + 2)) if name not in taken)
    return f"{make(facts, config, free)}   # then [interface.{free}] {line}"


def outer_link(facts: Facts, config: InterfaceConfig, *, ipv6: bool = False) -> str:
    """Returns the link to bind a tunnel to; `UNDERLAY` where the operator has to choose.

    It is that of the configuration, else that of the default route, else the only one possible.
    """
    links = facts.kernel.links
    known = {} if isinstance(links, Unread) else links
    if config.tunnel_source is not None and (config.tunnel_source in known or not known):
        return config.tunnel_source
    able = [
        link.name
        for link in known.values()
        if link.up
        and "LOOPBACK" not in link.flags
        and link.kind not in GRE_KINDS
        and has_outer_address(link, ipv6=ipv6)
    ]
    # a link that is configured as a tunnel by mistake may still be what the tunnel goes over
    likely = [name for name in able if name not in facts.config.interfaces] or able
    routes = facts.kernel.routes
    for route in () if isinstance(routes, Unread) else routes:
        device = str(route.get("dev", ""))
        if route.get("dst") == "default" and device and (device in likely or device not in known):
            return device
    return likely[0] if len(likely) == 1 else "UNDERLAY"


def has_outer_address(link: Link, *, ipv6: bool) -> bool:
    """Tells whether a link has an address of a family that tunnels can be bound to."""
    return any(
        scope == "global" and (":" in address) == ipv6 for address, _length, scope in link.addresses
    )
