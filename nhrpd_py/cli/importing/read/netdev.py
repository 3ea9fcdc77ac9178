"""Reads what makes the tunnel's netdev on Linux: /etc/network/interfaces, `ip` and `iptables` commands."""

import ipaddress
import re
import shlex
from itertools import pairwise

from nhrpd_py.cli.importing.actions import KEYS, MTUS, UnfitError, checked, whole
from nhrpd_py.cli.importing.node import Device, Leftover, Node, Said, Setting
from nhrpd_py.cli.importing.source import Source
from nhrpd_py.config.values import between, interface_name

IFACE = re.compile(r"iface (?P<name>\S+) (?P<family>inet6?) (?P<method>\S+)")
SHELL = re.compile(r"(?:\S*[#$] )?(?P<command>(?:/\S*/)?(?:ip|ip6?tables)\s.*)")
OPTIONS = ("pre-up", "up", "post-up", "down", "pre-down", "post-down")
STANZAS = {
    "endpoint": "remote",
    "remote": "remote",
    "tunnel-remote": "remote",
    "local": "local",
    "tunnel-local": "local",
    "ttl": "ttl",
    "tunnel-ttl": "ttl",
    "key": "key",
    "tunnel-key": "key",
    "tunnel-dev": "dev",
    "tunnel-physdev": "dev",
    "mode": "mode",
    "tunnel-mode": "mode",
    "mtu": "mtu",
}
"""Options of `iface … inet tunnel` and of Alpine's ifupdown-ng → words of `ip tunnel`."""
HASHLIMIT = re.compile(r"--hashlimit-[a-z]+ [\w/,-]+")


def read_interfaces(source: Source, node: Node, *, several: bool) -> None:  # noqa: ARG001 (readers are alike)
    """Reads /etc/network/interfaces."""
    name = ""
    for number, _ in source.numbered():
        said = source.said(number)
        found = IFACE.fullmatch(said.text)
        if found is not None:
            name = found["name"]
            continue
        word, _, rest = said.text.partition(" ")
        if word in OPTIONS:
            command = re.sub(r"\s*\|\|\s*true$", "", rest).replace("$IFACE", name)
            if word in ("pre-up", "up", "post-up") and not _command(command, said, node):
                node.aside.append(said)
        elif word == "address" and name:
            _address(node.tunnel(name).device, rest, said, node)
        elif word == "netmask" and name:
            _netmask(node.tunnel(name).device, rest)
        elif word in STANZAS and name:
            _words(node.tunnel(name).device, [STANZAS[word], rest], said, node)
        elif said.text and word != "auto" and not word.startswith("#"):
            node.aside.append(said)


def read_commands(source: Source, node: Node, *, several: bool) -> None:  # noqa: ARG001 (readers are alike)
    """Reads a script, or a page, with `ip` and `iptables` commands."""
    joined = ""
    first = 0
    for number, line in source.numbered():
        first = first or number
        joined += line.rstrip("\\").strip() + " "
        if line.rstrip().endswith("\\"):
            continue
        said = source.said(first, joined)
        found = SHELL.fullmatch(said.text)
        if (
            said.text
            and not said.text.startswith("#")
            and (found is None or not _command(found["command"], said, node))
        ):
            node.aside.append(said)
        joined, first = "", 0


def _command(text: str, said: Said, node: Node) -> bool:
    """Takes one command over; returns whether it is one about a tunnel or about samples."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError:
        return False
    match words:
        case ["ip", "tunnel", "add", name, *rest]:
            return _made(name, rest, said, node)
        case ["ip", "link", "add", *rest] if "gre" in rest:
            name = rest[1] if rest[0] in ("name", "dev") else rest[0]
            return _made(name, rest, said, node)
        case ["ip", "addr" | "address" | "a", "add", address, "dev", name, *_]:
            _address(node.tunnel(name).device, address, said, node)
        case ["ip", "link", "set", *rest]:
            rest = rest[1:] if rest[:1] == ["dev"] else rest
            if rest and rest[0] in node.tunnels:
                _words(node.tunnel(rest[0]).device, rest[1:], said, node)
        case [tool, *rest] if tool.endswith("iptables") and "NFLOG" in rest:
            _sampling(" ".join(rest), rest, said, node)
        case _:
            return False
    return True


def _made(name: str, words: list[str], said: Said, node: Node) -> bool:
    try:
        checked(interface_name, name)
    except UnfitError:
        return False
    device = node.tunnel(name).device
    device.known = True
    _words(device, words, said, node)
    return True


def _words(device: Device, words: list[str], said: Said, node: Node) -> None:
    """Takes options and their values over, as `ip tunnel` has them."""
    try:
        for word, value in pairwise(words):
            if word == "key" and value.count(".") == 3:  # noqa: PLR2004 (written as an address)
                device.key = int(ipaddress.IPv4Address(value))
            elif word == "key":
                device.key = checked(KEYS, whole(value))
            elif word == "ttl" and value != "inherit":
                device.ttl = checked(between(1, 255), whole(value))
            elif word == "mtu":
                device.mtu = checked(MTUS, whole(value))
            elif word == "local" and value not in ("any", "0.0.0.0"):  # noqa: S104 (no bind)
                device.local = str(ipaddress.ip_address(value))
            elif word == "dev":
                device.link = checked(interface_name, value)
            elif word == "mode":
                device.known = value == "gre"
            elif word == "remote" and value not in ("any", "0.0.0.0"):  # noqa: S104 (no bind)
                node.leftovers.append(
                    Leftover(said, "A tunnel of nhrpd has no remote end: the netdev is multipoint.")
                )
    except (UnfitError, ValueError) as error:
        node.leftovers.append(Leftover(said, f"The value does not fit: {error}."))


def _address(device: Device, text: str, said: Said, node: Node) -> None:
    try:
        device.addresses.append(str(ipaddress.ip_interface(text)))
    except ValueError:
        node.leftovers.append(Leftover(said, "It has no address with a prefix length."))


def _netmask(device: Device, text: str) -> None:
    """Gives the last address its mask: 255.255.255.0, or 24."""
    if not device.addresses:
        return
    address = device.addresses[-1].partition("/")[0]
    try:
        device.addresses[-1] = str(ipaddress.ip_interface(f"{address}/{text}"))
    except ValueError:
        return


def _sampling(text: str, words: list[str], said: Said, node: Node) -> None:
    """The rule that samples: its limits stay, and its group."""
    node.sampling = " ".join(HASHLIMIT.findall(text)) or None
    if "--nflog-group" in words[:-1]:
        try:
            group = checked(between(1, 65535), whole(words[words.index("--nflog-group") + 1]))
        except UnfitError as error:
            node.leftovers.append(Leftover(said, f"The value does not fit: {error}."))
            return
        node.general.setdefault(
            ("nflog", "redirect-group"),
            Setting(group, f"line {said.line}; as in the firewall rule"),
        )
