"""The story that the demonstration tells, with the network that it happens in."""

from __future__ import annotations

import re
import statistics
import time
from pathlib import Path

from tools.demonstration.drawing import Drawing
from tools.demonstration.scene import Echo, Step, echoes, steps
from tools.lab.capture import Capture
from tools.lab.namespace import wait_until
from tools.lab.nodes import NhrpdNode, dmvpn, registered
from tools.lab.shell import interact
from tools.lab.topology import Lab

HUB_DELAY_MS, SPOKE_DELAY_MS = 20.0, 5.0
PINGS, PING_INTERVAL_S = 12, 0.05
TIMELINE_TAIL = 2
"""How many packets of the direct path end the timeline."""


class StoryError(Exception):
    """A step of the story did not happen."""


def tell(drawing: Path, *, keep: bool) -> None:
    """Tells it, writes the drawing, and ends in a shell if wanted. Raises StoryError."""
    with Lab() as lab:
        try:
            _tell(lab, drawing)
        except AssertionError as error:
            raise StoryError(str(error)) from error
        if keep:
            interact(lab)


def _tell(lab: Lab, drawing: Path) -> None:
    _say("1. The network")
    started_at = time.monotonic()
    dmvpn(lab, hub=NhrpdNode, spokes=(NhrpdNode, NhrpdNode), holding_time_s=600)
    hub, one, two = nodes = [node for node in lab.nodes if isinstance(node, NhrpdNode)]
    for node in nodes:
        delay_ms = HUB_DELAY_MS if node is hub else SPOKE_DELAY_MS
        lab.weather(node, delay_ms=delay_ms)
        print(
            f"  {node.name:7} outer {node.nbma:10} tunnel {node.tunnel:13} LAN {node.lan_prefix:14}"
            f" {delay_ms:g} ms away"
        )
    print(
        "  gre1: mode gre key 42 ttl 64, one multipoint netdev a node; 192.0.2.0/24 is the Internet."
    )
    print("  The hub samples what it relays: iptables hashlimit, NFLOG group 1.")

    _say("2. Registration")
    wait_until(lambda: registered(hub, one) and registered(hub, two), 20.0, "both spokes register")
    print(
        f"  Both spokes are registered {time.monotonic() - started_at:.1f} s after nothing existed."
    )
    for node in nodes:
        _show(node, "cache")
    for node in (one, two):
        _show(node, "nhs")

    _say(f"3. Traffic: {one.lan_host} pings {two.lan_host}, LAN to LAN")
    capture = Capture(lab.internet, "br0", lab.directory / "internet.pcap", "ip proto 47")
    with capture as wire:
        result = one.lan.ping(two.lan_host, count=PINGS, interval_s=PING_INTERVAL_S)
        print(_indented(result.output.strip()))
        if result.lost:
            raise StoryError(f"{result.lost} of {result.sent} pings were lost")
        rtts = _rtts(result.output)
        taken = wait_until(
            lambda: _complete(steps(wire.packets(), nodes), rtts), 5.0, "every ping in the capture"
        )
    pings = echoes(taken, rtts)
    direct = [echo for echo in pings if echo.is_direct]
    relayed = [echo for echo in pings if not echo.is_direct]
    if not direct or not relayed:
        raise StoryError("no packet took the hub, or none the direct path")

    _say("4. What happened (ms since the first data packet, seen on the Internet)")
    names = {node.number: node.name for node in nodes}
    first_direct = min(
        step.at_ms for step in taken if step.echo and {step.source, step.destination} == {2, 3}
    )
    shown = _interesting(taken)
    for step in shown:
        mark = "NHRP" if step.is_nhrp else "    "
        print(
            f"  {step.at_ms:8.1f}  {names[step.source]:>6} → {names[step.destination]:6}  {mark}  {step.what}"
        )

    _say("5. The path of a packet")
    before, after = relayed[0], direct[-1]
    print(f"  before: {_path(before, nodes)}   round trip {before.rtt_ms:.1f} ms")
    print(f"  after:  {_path(after, nodes)}   round trip {after.rtt_ms:.1f} ms")
    print(f"  From the first data packet to the first direct one: {first_direct:.1f} ms.")
    for node in nodes:
        _show(node, "shortcuts")
    print(f"\n  {one.name}'s kernel: {_route(one, two.lan_prefix)}")

    Drawing(nodes, shown, before, after, first_direct, _median(relayed), _median(direct)).write(
        drawing
    )
    _say("That was it.")
    print(
        f"  {len(relayed)} of {len(pings)} pings took the hub at least one way, none was lost,"
        f" and the rest went straight."
    )


def _interesting(taken: list[Step]) -> list[Step]:
    """The first ping, all NHRP of the redirect, and the first packets of the direct path."""
    nhrp = [step for step in taken if step.is_nhrp and "Registration" not in step.what]
    data = [step for step in taken if step.echo]
    first = [step for step in data if step.echo and step.echo[1] == 1]
    straight = [step for step in data if {step.source, step.destination} == {2, 3}]
    chosen = {id(step): step for step in (*first, *nhrp, *straight[:TIMELINE_TAIL])}
    return sorted(chosen.values(), key=lambda step: step.at_ms)


def _complete(taken: list[Step], rtts: dict[int, float]) -> list[Step] | None:
    return taken if len(echoes(taken, rtts)) == len(rtts) else None


def _rtts(output: str) -> dict[int, float]:
    found = re.findall(r"icmp_seq=(\d+) .*time=([\d.]+) ms", output)
    return {int(sequence): float(rtt) for sequence, rtt in found}


def _path(echo: Echo, nodes: list[NhrpdNode]) -> str:
    nbma = {node.number: node.nbma for node in nodes}
    return " → ".join(nbma[number] for number in echo.there)


def _median(found: list[Echo]) -> float:
    return statistics.median(echo.rtt_ms for echo in found)


def _route(node: NhrpdNode, prefix: str) -> str:
    return node.namespace.run("ip", "route", "show", prefix).strip()


def _show(node: NhrpdNode, view: str) -> None:
    print(f"\n  {node.name}# nhrpctl show {view}")
    print(_indented(node.run_ctl("show", view).stdout.rstrip()))


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())


def _say(heading: str) -> None:
    print(f"\n{heading}\n{'-' * len(heading)}", flush=True)
