"""Reads a guide: a page of prose with the configurations of a hub and of spokes in it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nhrpd_py.cli.importing.node import Leftover, Node, Said, Setting
from nhrpd_py.cli.importing.read.frr import read_frr
from nhrpd_py.cli.importing.read.netdev import IFACE, read_commands, read_interfaces
from nhrpd_py.cli.importing.read.swanctl import read_swanctl
from nhrpd_py.cli.importing.source import Source

HEADING = re.compile(
    r"[=#\s]*(?:(?P<hub>hubs?)|(?P<spoke>spokes?)(?: ?\d+)?)[=#:\s]*", re.IGNORECASE
)
VTYSH = re.compile(r"(?:\S*[#$] ?)?(vtysh|configure terminal|router bgp \d+|interface gre\S*)")
INTERFACES = re.compile(
    r"(auto|iface|address|netmask|gateway|mtu|pre-up|up|post-up|pre-down|down|post-down|tunnel-\S+)( .*)?"
)
COMMAND = re.compile(r"(?:\S*[#$] ?)?(ip (tunnel|link|addr|address) |ip6?tables ).*")
HUB, SPOKE = "hub", "spoke"


@dataclass(frozen=True, slots=True)
class Fragment:
    """A configuration within the page."""

    kind: str
    role: str
    """`hub`, `spoke`, or empty: for both."""
    source: Source


def read_guide(source: Source) -> list[tuple[str, Node]]:
    """Returns the nodes that the guide is about, with their roles. Raises InputError."""
    fragments = list(_fragments(source))
    found = []
    for role in (HUB, SPOKE):
        node = Node("quagga")
        own = {each.kind for each in fragments if each.role == role}
        for fragment in fragments:
            common = not fragment.role and (fragment.kind != "swanctl" or "swanctl" not in own)
            if common or fragment.role == role or fragment.kind == "vtysh":
                _read(fragment, node)
        _fit(node, role)
        found.append((role, node))
    return found


def _read(fragment: Fragment, node: Node) -> None:
    if fragment.kind == "vtysh":
        names = list(node.tunnels)
        lone = names[0] if len(names) == 1 else ""
        read_frr(fragment.source, node, several=False, lone_interface=lone)
        return
    readers: dict[str, Callable[..., None]] = {
        "swanctl": read_swanctl,
        "interfaces": read_interfaces,
        "commands": read_commands,
    }
    readers[fragment.kind](fragment.source, node, several=False)


def _fit(node: Node, role: str) -> None:
    """The guide shows one of both where they differ."""
    for tunnel in node.speakers:
        if role == HUB:
            for server in tunnel.servers:
                number = int(re.sub(r"\D", "", server.where) or 0)
                said = Said(
                    "the guide", number, f"ip nhrp nhs {server.protocol} nbma {server.nbma}"
                )
                node.leftovers.append(
                    Leftover(said, "A hub registers nowhere: the line is in the spoke's file.")
                )
            tunnel.servers.clear()
            if node.sampling is not None:
                tunnel.settings.setdefault(
                    "redirect", Setting(value=True, remark="the guide's firewall rule samples")
                )
        else:
            node.sampling = None
    for name, connection in node.connections.items():
        local = connection.section.get("local")
        certificate = local.get("certs", "") if isinstance(local, dict) else ""
        if role == HUB and isinstance(certificate, str) and "spoke" in certificate:
            node.note(
                f"The guide gives the hub's connection {name} a spoke's certificate: put its own."
            )
    if role == SPOKE:
        node.routing.clear()
        node.announced.clear()
        node.general.pop(("nflog", "redirect-group"), None)
        node.leftovers = [each for each in node.leftovers if not _is_about_routing(each)]
        node.note("The guide has no routing for spokes: etc/frr-spoke.conf is a sample of nhrpd.")


def _is_about_routing(leftover: Leftover) -> bool:
    return leftover.said.text.startswith(("neighbor", "router", "redistribute"))


def _fragments(source: Source) -> Iterator[Fragment]:
    role = ""
    at = 0
    lines = source.lines
    while at < len(lines):
        text = lines[at].strip()
        heading = HEADING.fullmatch(text)
        if heading is not None:
            role = HUB if heading["hub"] else SPOKE
            at += 1
            continue
        kind, end = _fragment(lines, at, text)
        if kind:
            part = Source(source.name, lines[at:end], offset=source.offset + at)
            yield Fragment(kind, role if kind in ("swanctl", "vtysh") else "", part)
        at = end


def _fragment(lines: tuple[str, ...], at: int, text: str) -> tuple[str, int]:
    """Returns the kind of configuration that begins on a line, and the line behind its end."""
    if re.fullmatch(r"connections\s*\{.*", text):
        depth, end = 0, at
        while end < len(lines):
            plain = lines[end].partition("#")[0]
            depth += plain.count("{") - plain.count("}")
            end += 1
            if depth <= 0:
                break
        return "swanctl", end
    if text.startswith("auto ") or IFACE.fullmatch(text):
        end = at + 1
        while end < len(lines) and INTERFACES.fullmatch(lines[end].strip()):
            end += 1
        return "interfaces", end
    if COMMAND.fullmatch(text):
        end = at + 1
        while lines[end - 1].rstrip().endswith("\\") and end < len(lines):
            end += 1
        return "commands", end
    if VTYSH.fullmatch(text):
        end = at + 1
        while end < len(lines) and not _ends_vtysh(lines[end].strip()):
            end += 1
        return "vtysh", end
    return "", at + 1


def _ends_vtysh(text: str) -> bool:
    prose = len(text.split()) > 2 and text[:1].isupper()  # noqa: PLR2004 (commands are in lower case)
    return prose or HEADING.fullmatch(text) is not None
