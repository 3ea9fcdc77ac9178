"""Reads a running configuration of IOS or IOS XE."""

import ipaddress
import re
from dataclasses import replace

from nhrpd_py.cli.importing import later
from nhrpd_py.cli.importing.node import Leftover, Node, Tunnel
from nhrpd_py.cli.importing.read import bgp
from nhrpd_py.cli.importing.read.blocks import Block, Collected, Grammar, read_blocks
from nhrpd_py.cli.importing.read.ios_crypto import connections
from nhrpd_py.cli.importing.rules import Place
from nhrpd_py.cli.importing.source import Source
from nhrpd_py.cli.importing.table.ios import RULES

CRYPTO_BLOCKS = (
    ("isakmp policy", r"crypto isakmp policy (?P<subject>\d+)"),
    ("isakmp profile", r"crypto isakmp profile (?P<subject>\S+)"),
    ("keyring", r"crypto keyring (?P<subject>\S+).*"),
    ("transform-set", r"crypto ipsec transform-set (?P<subject>\S+) .+"),
    ("ipsec profile", r"crypto ipsec profile (?P<subject>\S+).*"),
    ("ikev2 proposal", r"crypto ikev2 proposal (?P<subject>\S+).*"),
    ("ikev2 policy", r"crypto ikev2 policy (?P<subject>\S+).*"),
    ("ikev2 keyring", r"crypto ikev2 keyring (?P<subject>\S+).*"),
    ("ikev2 profile", r"crypto ikev2 profile (?P<subject>\S+).*"),
)


def _full_name(name: str) -> str:
    """Returns Tunnel0 for `tun 0` as well; other interfaces are compared by what they begin with."""
    short = re.fullmatch(r"(?i)tu(?:n(?:n(?:el?)?)?)? ?(\d+)", name)
    return f"Tunnel{short[1]}" if short is not None else name


GRAMMAR = Grammar(
    RULES,
    (
        Block(
            "interface",
            re.compile(r"[iI]nt(?:erface)? (?P<subject>[A-Za-z]\S*(?: \d\S*)?)(?: multipoint)?"),
            name=_full_name,
        ),
        *(Block(kind, re.compile(begins)) for kind, begins in CRYPTO_BLOCKS),
        Block("bgp", re.compile(r"router (?P<subject>bgp) \d\S*"), collected=True),
        Block(
            "routing",
            re.compile(r"router (?P<subject>eig\w*|ospf\w*|rip|odr|isis)(?: .*)?"),
            collected=True,
        ),
        Block("routing", re.compile(r"ipv6 router (?P<subject>eigrp|ospf) .*"), collected=True),
        Block(
            "policy",
            re.compile(r"(?P<subject>ip|ipv6) prefix-list .*"),
            collected=True,
            single=True,
        ),
        Block("policy", re.compile(r"(?P<subject>route-map) .*"), collected=True),
        Block("static", re.compile(r"(?P<subject>ip) route .*"), collected=True, single=True),
        Block("crypto map", re.compile(r"crypto map (?P<subject>\S+).*")),
        Block("trustpoint", re.compile(r"crypto pki (?P<subject>trustpoint|certificate) .*")),
        Block(
            "other",
            re.compile(r"(?P<subject>line|vrf definition|ip vrf|aaa|policy-map|class-map) .*"),
        ),
    ),
    concerns={
        "interface": re.compile(r"((no )?(ip|ipv6) nhrp|tunnel) ?"),
        "ipsec profile": re.compile(r"."),
        "transform-set": re.compile(r"."),
        "isakmp policy": re.compile(r"."),
        "isakmp profile": re.compile(r"."),
        "keyring": re.compile(r"."),
        "ikev2 proposal": re.compile(r"."),
        "ikev2 profile": re.compile(r"."),
        "ikev2 keyring": re.compile(r"."),
        "": re.compile(r"crypto (isakmp|ikev2) "),
    },
)
GATEWAY = re.compile(r"\d+(\.\d+){3}")
HOSTNAME = re.compile(r"(?i)hostname (?P<name>\S+)")


def read_ios(source: Source, node: Node, *, several: bool) -> None:
    """Raises InputError."""
    _one_router(source)
    collected = read_blocks(source, node, replace(GRAMMAR, on_block=_begun), several=several)
    for tunnel in node.tunnels.values():
        _place_servers(tunnel, node)
        _find_source(tunnel, node)
    connections(node)
    _routing(collected, node)


def _one_router(source: Source) -> None:
    """Two routers in one text have two tunnels of one name. Raises InputError."""
    first = ""
    for number, line in source.numbered():
        found = HOSTNAME.fullmatch(line.strip())
        if found is not None:
            if first and found["name"] != first:
                raise source.fault(
                    number,
                    f"another router begins here (after {first}): import one router at a time",
                )
            first = found["name"]


def _begun(place: Place, kind: str) -> None:
    if kind == "transform-set":
        words = place.said.text.split()[4:]
        place.node.part(kind, place.subject)["algorithms"] = words
    elif kind == "isakmp policy":
        place.node.part(kind, place.subject)
    elif kind == "interface":
        place.node.tunnel(place.subject)


def _place_servers(tunnel: Tunnel, node: Node) -> None:
    """Gives servers the outer addresses that maps, or a tunnel's one other end, have for them."""
    for server, said in tunnel.unplaced_servers:
        known = next((each for each in tunnel.bindings if each.protocol == server.protocol), None)
        if known is not None:
            server.nbma = known.nbma
            server.remark = f"its outer address: {known.where}"
            known.serves = True
        elif tunnel.remote is not None:
            server.nbma = tunnel.remote
            server.remark = "its outer address: tunnel destination"
        else:
            reason = "Nothing says the server's outer address: there is no `ip nhrp map` for it."
            node.leftovers.append(Leftover(said, reason, tunnel.name))
            continue
        same = [(each.protocol, each.nbma) for each in tunnel.servers]
        if (server.protocol, server.nbma) in same:
            node.leftovers.append(Leftover(said, "The server is there already.", tunnel.name))
        else:
            tunnel.servers.append(server)
    tunnel.unplaced_servers.clear()
    tunnel.bindings = [each for each in tunnel.bindings if not each.serves]


def _find_source(tunnel: Tunnel, node: Node) -> None:
    """Finds the address of the interface that a tunnel is bound to."""
    device = tunnel.device
    device.known = tunnel.multipoint is True or tunnel.remote is not None
    name = tunnel.source_name
    if name is None:
        return
    link = _link(name, node)
    for address in [] if link is None else link.device.addresses:
        if ":" not in address:
            device.local = str(ipaddress.ip_interface(address).ip)
            device.link_remark = f"the address of {name}"
            return
    device.link = "eth0"
    device.link_remark = f"what was {name}: put the name that the link has on Linux"


def _link(name: str, node: Node) -> Tunnel | None:
    """Finds an interface by its name, or by the short form of it (Gi0/0)."""
    wanted = re.fullmatch(r"([A-Za-z-]+) ?([\d/.]+)", name)
    for each in node.tunnels.values():
        there = re.fullmatch(r"([A-Za-z-]+) ?([\d/.]+)", each.name)
        if each.name.lower() == name.lower():
            return each
        if (
            wanted
            and there
            and wanted[2] == there[2]
            and there[1].lower().startswith(wanted[1].lower())
        ):
            return each
    return None


def _routing(collected: list[Collected], node: Node) -> None:
    policy: list[str] = []
    for block in collected:
        words = block.head.text.split()
        if words[:2] == ["router", "bgp"]:
            found = bgp.translate(block, node)
            node.routing += [*found.lines(), "!"]
        elif words[:2] == ["ip", "route"]:
            policy += _static(block, node)
        elif "router" in words[:2]:
            why = later.reason("multicast") or "FRR's daemon for it is set up by hand."
            node.leftovers.append(Leftover(block.head, f"{why} The lines of the block go with it."))
        else:
            policy += [block.head.text, *(f" {said.text}" for said in block.lines)]
    has_bgp = any(line.startswith("router ") for line in node.routing)
    node.routing[:0] = (
        policy if has_bgp else [line for line in policy if line.startswith("ip route")]
    )


def _static(block: Collected, node: Node) -> list[str]:
    """A route through the tunnel; others are the underlay's, and made with its other settings."""
    words = block.head.text.split()
    ways = words[4:]
    try:
        prefix = str(ipaddress.IPv4Network("/".join(words[2:4]), strict=False))
    except ValueError:
        prefix, ways = "", []
    if not any(_leads_into_tunnel(way, node) for way in ways[:2]):
        node.aside.append(block.head)
        return []
    gateway = next((way for way in ways if GATEWAY.fullmatch(way)), None)
    return [f"ip route {prefix} {gateway or node.tunnel(ways[0]).netdev}"]


def _leads_into_tunnel(way: str, node: Node) -> bool:
    speakers = node.speakers
    if any(each.name.lower() == way.lower() for each in speakers):
        return True
    try:
        gateway = ipaddress.ip_address(way)
    except ValueError:
        return False
    return any(
        gateway in ipaddress.ip_interface(address).network
        for each in speakers
        for address in each.device.addresses
    )
