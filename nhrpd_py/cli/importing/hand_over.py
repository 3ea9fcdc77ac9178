"""Imports files: reads them, and makes the files that nhrpd and its companions need."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from nhrpd_py.cli.importing import defaults
from nhrpd_py.cli.importing.detect import COMPANIONS, UNMARKED, format_of
from nhrpd_py.cli.importing.emit import firewall, routing, swanctl, toml, tunnel
from nhrpd_py.cli.importing.emit.output import Output
from nhrpd_py.cli.importing.hiding import masked, safe
from nhrpd_py.cli.importing.node import Leftover, Node, Tunnel
from nhrpd_py.cli.importing.read.frr import read_frr
from nhrpd_py.cli.importing.read.guide import read_guide
from nhrpd_py.cli.importing.read.ios import read_ios
from nhrpd_py.cli.importing.read.netdev import read_commands, read_interfaces
from nhrpd_py.cli.importing.read.opennhrp import read_opennhrp, read_script
from nhrpd_py.cli.importing.read.swanctl import read_swanctl
from nhrpd_py.cli.importing.read.vyos import read_vyos
from nhrpd_py.cli.importing.source import InputError, Source, read_source
from nhrpd_py.config.load import parse
from nhrpd_py.core.config import ConfigError

BY_FILE = ("frr", "quagga")
"""Systems that have a file for each daemon."""
READERS: dict[str, Callable[..., None]] = {
    "frr": read_frr,
    "quagga": read_frr,
    "opennhrp": read_opennhrp,
    "vyos": read_vyos,
    "ios": read_ios,
    "swanctl": read_swanctl,
    "interfaces": read_interfaces,
    "commands": read_commands,
    "script": read_script,
}


@dataclass(slots=True)
class Imported:
    """What came of it."""

    outputs: list[Output] = field(default_factory=list)
    report: list[str] = field(default_factory=list)
    """Lines for people: what was not carried over, and what they should know."""


def hand_over(
    names: Sequence[str], told: str | None, tunnel_kind: str | None, stdin: BinaryIO
) -> Imported:
    """Reads files (`-`: standard input) and makes others of them. Raises InputError.

    `tunnel_kind`: what makes the netdev; None: ifupdown where it did so before, else commands.
    """
    if len(set(names)) < len(names):
        raise InputError(names[0], None, "one file is given twice")
    sources = [read_source(name, stdin) for name in names]
    formats = [format_of(source, told, alone=len(sources) == 1) for source in sources]
    imported = Imported()
    inputs = ", ".join(toml.printable(source.name) for source in sources)
    for role, node in _nodes(sources, formats):
        suffix = f"-{role}" if role else ""
        _finish(node, sources[0])
        kind = tunnel_kind or ("ifupdown" if {"guide", "interfaces"} & set(formats) else "ip")
        made = {output.name for output in imported.outputs}
        imported.outputs += [
            output for output in _outputs(node, inputs, kind, suffix) if output.name not in made
        ]
        imported.report += _report(node, role, several=len(sources) > 1)
    return imported


def _nodes(sources: list[Source], formats: list[str]) -> Iterator[tuple[str, Node]]:
    if "guide" in formats:
        if len(sources) > 1:
            raise InputError(sources[0].name, None, "a guide is imported by itself")
        yield from read_guide(sources[0])
        return
    if "quagga" in formats:  # bgpd.conf of Quagga may look like FRR's
        formats = ["quagga" if each == "frr" else each for each in formats]
    systems = {each for each in formats if each not in (*COMPANIONS, UNMARKED)}
    if len(systems) > 1:
        at = formats.index(sorted(systems)[1])
        raise sources[at].fault(
            1, f"the files are of different systems: {', '.join(sorted(systems))}"
        )
    if not systems:
        raise sources[0].fault(
            1,
            f"there is no configuration of NHRP in it ({formats[0]} alone): give that file as well",
        )
    (system,) = systems
    if UNMARKED in formats and system not in BY_FILE:
        raise sources[formats.index(UNMARKED)].fault(
            1, "nothing in it says whose configuration it is"
        )
    formats = [system if each == UNMARKED else each for each in formats]
    node = Node(system)
    order = sorted(range(len(sources)), key=lambda at: formats[at] == "script")
    for at in order:
        READERS[formats[at]](sources[at], node, several=len(sources) > 1)
    yield "", node


def _finish(node: Node, source: Source) -> None:
    """Completes what only the whole tells. Raises InputError where nothing speaks NHRP."""
    for each in node.tunnels.values():
        if each.first is not None and not each.speaks_nhrp:
            node.leftovers.append(
                Leftover(each.first, f"{each.name} has no network-id: NHRP is not on there.")
            )
    if not node.speakers:
        raise source.fault(1, "no interface in it speaks NHRP (there is no network-id)")
    for each in node.speakers:
        _fold_maps(each)
    names = Counter(each.netdev for each in node.speakers)
    for each in node.speakers:
        if names[each.netdev] > 1:
            raise source.fault(1, f"two interfaces would be called {each.netdev}")
        defaults.write_out(each, node.system)
        if each.device.mtu is None and each.device.known:
            node.note(
                f"{each.netdev} has no mtu of its own: `nhrpctl check` says which one fits the underlay and IPsec."
            )
    speakers = {each.name for each in node.speakers}
    kept = []
    for leftover in node.leftovers:
        if leftover.interface and leftover.interface not in speakers:
            node.aside.append(leftover.said)
        else:
            kept.append(leftover)
    node.leftovers = kept


def _fold_maps(tunnel: Tunnel) -> None:
    """Leaves out maps that say where a server is: the server's own table says so."""
    servers = {(each.protocol, each.nbma): each for each in tunnel.servers}
    kept = []
    for binding in tunnel.bindings:
        server = servers.get((binding.protocol, binding.nbma))
        if server is None:
            kept.append(binding)
        elif not server.remark:
            server.remark = f"the map in {binding.where} says the same"
    tunnel.bindings = kept


def _outputs(node: Node, inputs: str, tunnel_kind: str, suffix: str) -> list[Output]:
    made = [toml.nhrpd_toml(node, inputs, suffix)]
    made += tunnel.netdevs(node, tunnel_kind)  # a guide's netdev is that of all its nodes
    for output in (
        swanctl.swanctl_conf(node, suffix),
        *firewall.rules(node, suffix),
        routing.frr_conf(node, suffix),
    ):
        if output is not None:
            made.append(output)
    try:
        parse(made[0].text, made[0].name)
    except ConfigError as error:
        reason = "; ".join(safe(problem, node.hidden) for problem in error.problems)
        raise InputError(made[0].name, None, f"what was made is not right: {reason}") from None
    return made


def _report(node: Node, role: str, *, several: bool) -> Iterator[str]:
    if role:
        yield f"For the {role}:"
    if node.leftovers:
        yield "Not carried over:"
        for leftover in sorted(node.leftovers, key=lambda each: (each.said.file, each.said.line)):
            where = leftover.said.where(with_file=several)
            yield f"  {toml.printable(where)}: {safe(leftover.said.text, node.hidden)}"
            yield f"      {safe_reason(leftover.reason, node)}"
    if node.aside:
        yield "Left aside, for they are not about the tunnel:"
        by_file: dict[str, list[int]] = {}
        for said in node.aside:
            by_file.setdefault(said.file, []).append(said.line)
        for name, numbers in by_file.items():
            shown = f"{toml.printable(name)} " if several else ""
            yield f"  {shown}{_ranges(numbers)}"
    if node.notes:
        yield "Mind:"
        yield from (f"  {safe_reason(note, node)}" for note in node.notes)


def safe_reason(reason: str, node: Node) -> str:
    """Returns a sentence without any pass phrase that a value in it could be."""
    return toml.printable(masked(reason, node.hidden))


def _ranges(numbers: list[int]) -> str:
    """Writes `line 3`, or `lines 1–4, 7`."""
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    shown = [f"{low}" if low == high else f"{low}–{high}" for low, high in spans]
    word = "line" if len(spans) == 1 and spans[0][0] == spans[0][1] else "lines"
    return f"{word} {', '.join(shown)}"
