"""Reads what vtysh of FRR or Quagga shows and saves: frr.conf, or nhrpd.conf and its companions."""

import re
from dataclasses import replace

from nhrpd_py.cli.importing import later
from nhrpd_py.cli.importing.node import Leftover, Node
from nhrpd_py.cli.importing.read import bgp
from nhrpd_py.cli.importing.read.blocks import Block, Collected, Grammar, read_blocks
from nhrpd_py.cli.importing.rules import Place
from nhrpd_py.cli.importing.source import Source
from nhrpd_py.cli.importing.table.frr import RULES

INTERFACE = re.compile(r"interface (?P<subject>\S+)(?: vrf \S+)?")
OTHER_ROUTING = re.compile(
    r"router (?P<subject>ospf6?|eigrp|pim6?|rip|ripng|babel|isis|openfabric)(?: .*)?"
)
POLICY = re.compile(
    r"(?P<subject>(?:bgp )?(?:as-path access-list|community-list|access-list)|(?:ip|ipv6) "
    r"(?:prefix-list|as-path|community-list)) .*"
)
GRAMMAR = Grammar(
    RULES,
    (
        Block("interface", INTERFACE),
        Block("bgp", re.compile(r"router (?P<subject>bgp) \d\S*(?: .*)?"), collected=True),
        Block("routing", OTHER_ROUTING, collected=True),
        Block("policy", POLICY, collected=True, single=True),
        Block("policy", re.compile(r"(?P<subject>route-map) .*"), collected=True),
        Block("static", re.compile(r"(?P<subject>ip|ipv6) route .*"), collected=True, single=True),
        Block("vrf", re.compile(r"vrf (?P<subject>\S+)"), collected=True),
    ),
    concerns={"": re.compile(r"(no )?nhrp "), "interface": re.compile(r"((ip|ipv6) nhrp|tunnel) ")},
)
NEEDS_MULTICAST = ("ospf", "ospf6", "eigrp", "pim", "pim6", "rip", "ripng", "babel")


def read_frr(source: Source, node: Node, *, several: bool, lone_interface: str = "") -> None:
    """Raises InputError."""
    grammar = replace(
        GRAMMAR,
        on_block=_begun,
        lone_interface=lone_interface,
    )
    collected = read_blocks(source, node, grammar, several=several)
    policy: list[str] = []
    for block in collected:
        words = block.head.text.split()
        if words[:2] == ["router", "bgp"]:
            _bgp(block, node)
        elif words[0] == "router":
            _other(block, words[1], node)
        elif words[0] == "vrf":
            _refuse(block, node, later.reason("vrf") or "")
        else:
            policy += _as_it_is(block)
    if any(line.startswith("router ") for line in node.routing) or not node.routing:
        node.routing[:0] = policy


def _begun(place: Place, kind: str) -> None:
    if kind == "interface" and " vrf " in place.said.text:
        reason = later.reason("vrf")
        if reason is not None:
            place.refuse(reason)


def _bgp(block: Collected, node: Node) -> None:
    if " vrf " in block.head.text:
        _refuse(block, node, later.reason("vrf") or "")
        return
    found = bgp.translate(block, node)
    node.routing += [*found.lines(), "!"]


def _other(block: Collected, protocol: str, node: Node) -> None:
    reason = later.reason("multicast") if protocol in NEEDS_MULTICAST else None
    if reason is not None:
        _refuse(block, node, reason)
    else:
        node.routing += [*_as_it_is(block), "exit", "!"]


def _refuse(block: Collected, node: Node, reason: str) -> None:
    """Names the head of a block; its lines need no reason of their own."""
    node.leftovers.append(Leftover(block.head, f"{reason} The lines of the block go with it."))


def _as_it_is(block: Collected) -> list[str]:
    return [block.head.text, *(f" {said.text}" for said in block.lines)]
