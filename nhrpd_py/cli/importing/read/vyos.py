"""Reads VyOS's configuration: `set` commands, or the tree of config.boot."""

import ipaddress
import re
import shlex
from collections.abc import Iterator

from nhrpd_py.cli.importing.node import Node, Said, Setting
from nhrpd_py.cli.importing.read.vyos_bgp import VyosBgp
from nhrpd_py.cli.importing.read.vyos_ipsec import connections
from nhrpd_py.cli.importing.rules import Place, apply
from nhrpd_py.cli.importing.source import Source
from nhrpd_py.cli.importing.table.vyos import RULES

COMMAND = re.compile(r"(?:\S+@\S+[#$] ?)?(?P<verb>set|delete|comment|edit) (?P<path>.+)")
CONCERNS = ("protocols nhrp", "vpn ipsec profile", "interfaces tunnel")
DEEPEST = 64


def read_vyos(source: Source, node: Node, *, several: bool) -> None:
    """Raises InputError."""
    is_tree = any(line.rstrip().endswith("{") for line in source.lines)
    statements = list(_tree(source) if is_tree else _commands(source, node))
    bgp = VyosBgp(node)
    for words, said in statements:
        if words[:2] == ["protocols", "bgp"]:
            bgp.take(words[2:], said)
            continue
        if words[:3] == ["protocols", "static", "route"]:
            _static(words[3:], said, node)
            continue
        subject = words[3] if words[:3] == ["protocols", "nhrp", "tunnel"] and words[3:] else ""
        if words[:2] == ["interfaces", "tunnel"] and len(words) > 2:  # noqa: PLR2004
            subject = words[2]
        place = Place(node, said, subject, several)
        if not apply(RULES, place, "", words):
            _unknown(place, words)
    _finish(node)
    bgp.finish()
    _routes_through(node)


def _unknown(place: Place, words: list[str]) -> None:
    text = " ".join(words)
    command = RULES.incomplete("", text)
    if command is not None and text.startswith("protocols nhrp"):
        place.refuse(f"The command is not complete ({command}).")
    elif text.startswith(CONCERNS):
        place.refuse("nhrpd has no counterpart for it that import knows of.")
    else:
        place.node.aside.append(place.said)


def _commands(source: Source, node: Node) -> Iterator[tuple[list[str], Said]]:
    for number, line in source.numbered():
        text = line.strip()
        if not text or text.startswith(("#", "//")):
            continue
        found = COMMAND.fullmatch(text)
        if found is None:
            node.aside.append(source.said(number))
            continue
        try:
            words = shlex.split(found["path"])
        except ValueError:
            raise source.fault(number, "a quotation mark has no end: the line is cut off") from None
        if found["verb"] == "set":
            yield words, _said(source, number, words)
        elif found["verb"] == "edit":
            raise source.fault(
                number,
                "`edit` changes what later lines mean: give the output of `show configuration commands`",
            )
        else:
            node.aside.append(source.said(number))


def _said(source: Source, number: int, words: list[str]) -> Said:
    """The command with blanks between its words; a word with blanks in it keeps its quotes."""
    shown = (f"'{word}'" if " " in word or not word else word for word in words)
    return source.said(number, " ".join(shown))


def _tree(source: Source) -> Iterator[tuple[list[str], Said]]:
    """Flattens the tree of config.boot. Raises InputError where its braces do not match."""
    path: list[list[str]] = []
    opened: list[tuple[int, bool]] = []
    in_comment = False
    for number, line in source.numbered():
        text = line.strip()
        if in_comment or text.startswith("/*"):
            in_comment = not text.endswith("*/")
            continue
        if not text or text.startswith(("//", "#")):
            continue
        if text == "}":
            if not path:
                raise source.fault(number, "a brace closes what was not opened")
            words = path.pop()
            _, is_empty = opened.pop()
            if is_empty:
                yield (
                    (flat := [word for step in path for word in step] + words),
                    _said(source, number, flat),
                )
            continue
        yield from _node(source, number, text, path, opened)
    if opened:
        number, _ = opened[-1]
        raise source.fault(
            number, "the brace that opens here is never closed: the file is not whole"
        )


def _node(
    source: Source, number: int, text: str, path: list[list[str]], opened: list[tuple[int, bool]]
) -> Iterator[tuple[list[str], Said]]:
    """Takes one line of the tree: a node that opens, or a leaf."""
    opens = text.endswith("{")
    try:
        words = shlex.split(text[:-1] if opens else text)
    except ValueError:
        raise source.fault(number, "a quotation mark has no end: the line is cut off") from None
    if opened:
        opened[-1] = (opened[-1][0], False)
    if opens:
        if not words or len(path) >= DEEPEST:
            raise source.fault(number, "a brace opens nothing")
        path.append(words)
        opened.append((number, True))
        return
    flat = [word for step in path for word in step] + words
    yield flat, _said(source, number, flat)


def _static(words: list[str], said: Said, node: Node) -> None:
    match words:
        case [prefix, "next-hop", gateway, *_]:
            node.part("static", prefix).setdefault("gateway", []).append(gateway)
        case [prefix, "interface", name, *_]:
            node.part("static", prefix).setdefault("gateway", []).append(name)
        case _:
            node.aside.append(said)


def _routes_through(node: Node) -> None:
    """Static routes that lead into a tunnel; others are the underlay's."""
    networks = [
        ipaddress.ip_interface(address).network
        for tunnel in node.speakers
        for address in tunnel.device.addresses
    ]
    for (kind, prefix), part in node.parts.items():
        if kind != "static":
            continue
        for gateway in part["gateway"]:
            try:
                through = any(ipaddress.ip_address(gateway) in network for network in networks)
                ipaddress.ip_network(prefix)
            except ValueError:
                through = gateway in {tunnel.name for tunnel in node.speakers}
            if through:
                node.routing.append(f"ip route {prefix} {gateway}")


def _finish(node: Node) -> None:
    _map_servers(node)
    for tunnel in node.tunnels.values():
        device = tunnel.device
        if device.local in ("0.0.0.0", "::"):  # noqa: S104 (no bind: VyOS's word for any)
            device.local = None
        if not device.local and not device.link and tunnel.first is not None:
            device.link = "eth0"
            device.link_remark = "a guess: put the link that has the outer address"
        if tunnel.first is not None and not tunnel.speaks_nhrp:  # OpenNHRP knew no network id
            tunnel.speaks_nhrp = True
            digits = re.sub(r"\D", "", tunnel.name)
            number = int(digits[:9] or "1") or 1
            tunnel.settings["network-id"] = Setting(
                number,
                "a number of our own choice, for VyOS with OpenNHRP has none; interfaces with one number are one cloud",
            )
    connections(node)


def _map_servers(node: Node) -> None:
    """OpenNHRP's maps: with `register` they are servers, else bindings."""
    from nhrpd_py.cli.importing.table.opennhrp import place_map  # noqa: PLC0415

    for (kind, name), part in list(node.parts.items()):
        if kind != "map":
            continue
        tunnel, _, protocol = name.partition(" ")
        nbma = part.get("nbma", [""])[0]
        said = Said(part["file"][0], int(part["line"][0]), part["text"][0])
        place = Place(node, said, tunnel, part["several"][0] == "True")
        if not nbma:
            place.refuse("The map has no nbma-address.")
        else:
            place_map(place, protocol, nbma, register="register" in part)
