"""The story that the demonstration tells, with the network that it happens in."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from nhrpd_py.packet import PacketType
from tools.demonstration.drawing import Drawing
from tools.demonstration.scene import Echo, Scene, Step, echoes, steps
from tools.demonstration.text import heading, quoted
from tools.lab.capture import Capture
from tools.lab.namespace import wait_until
from tools.lab.nodes import NhrpdNode, registered
from tools.lab.shell import interact
from tools.lab.topology import Lab, Role

HUB_DELAY_MS, SPOKE_DELAY_MS = 20.0, 5.0
PINGS, PING_INTERVAL_S = 60, 0.005
"""As close together as the kernel's timer permits (User-Mode Linux: 10 ms): the moment of the change
is known to within one interval."""


class StoryError(Exception):
    """A step of the story did not happen."""


def tell(drawing: Path, *, keep: bool) -> None:
    """Tells it, writes the drawing, and ends in a shell if wanted. Raises StoryError."""
    with Lab() as lab:
        try:
            _tell(lab, drawing)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            raise StoryError(str(error)) from error
        if keep:
            heading("Your turn")
            interact(lab)


def _tell(lab: Lab, drawing: Path) -> None:
    nodes = _build(lab)
    _, one, two = nodes
    capture = Capture(lab.internet, "br0", lab.directory / "internet.pcap", "ip proto 47")
    with capture as wire:
        _register(lab, nodes, wire)
        scene = _ping(nodes, wire)

    heading("4. What the Internet saw")
    print("  ms since the first data packet, when the packet entered the Internet\n")
    names = {node.number: node.name for node in nodes}
    for step in scene.highlights:
        print("  " + _row(step, scene.at_ms(step), names))
    print(
        "\n  Data: ping 1 and the first direct packet of each direction; the others are left out."
    )

    heading("5. The path of a packet, before and after")
    for title, echo in (("before", scene.relayed[0]), ("after", scene.direct[-1])):
        _print_path(title, echo, nodes)
    print(
        f"\n  From the first data packet to the first direct one: {scene.switch_ms:.1f} ms.\n"
        f"  {scene.on_the_way_ms:g} ms of it are the delay of the links that the messages crossed;"
        f" the pings' spacing adds\n  up to {scene.interval_ms:.1f} ms."
        f" Round trip, median: {scene.before_ms:.1f} ms over the hub, {scene.after_ms:.1f} ms"
        f" directly."
    )

    heading("6. What the daemons and a kernel know now")
    for view, node in itertools.product(("shortcuts", "cache"), nodes):
        _show(node, view)
    for arguments in (["route", "show", two.lan_prefix], ["neigh", "show", two.tunnel]):
        print(f"\n  {one.name}# ip {' '.join(arguments)}")
        print(quoted(one.namespace.run("ip", *arguments)))
    Drawing(nodes, scene).write(drawing)


def _build(lab: Lab) -> list[NhrpdNode]:
    heading("1. The network")
    nodes = [
        lab.add(NhrpdNode(number=number, role=role, holding_time_s=600))
        for number, role in enumerate((Role.HUB, Role.SPOKE, Role.SPOKE), start=1)
    ]
    for node in nodes:
        delay_ms = _delay_ms(node)
        lab.weather(node, delay_ms=delay_ms)
        print(
            f"  {node.name:7} outer {node.nbma:10} tunnel {node.tunnel:13} LAN {node.lan_prefix:14}"
            f" {delay_ms:2g} ms away"
        )
    print(
        "\n  gre1 on each: mode gre key 42 ttl 64, one multipoint netdev. 192.0.2.0/24 is the"
        " Internet.\n  netem delays what the Internet delivers: by"
        f" {HUB_DELAY_MS:g} ms to the hub, by {SPOKE_DELAY_MS:g} ms to a spoke.\n"
        f"  So a round trip between the LANs takes {2 * (HUB_DELAY_MS + SPOKE_DELAY_MS):g} ms over"
        f" the hub and {2 * SPOKE_DELAY_MS:g} ms directly, at best.\n"
        "  The hub samples what it relays with iptables: hashlimit, NFLOG group 1."
    )
    return nodes


def _register(lab: Lab, nodes: Sequence[NhrpdNode], wire: Capture) -> None:
    heading("2. Registration")
    lab.start()
    hub, *spokes = nodes
    for spoke in spokes:
        wait_until(
            lambda spoke=spoke: registered(hub, spoke),  # type: ignore[misc]
            20.0,
            f"{spoke.name} registers with {hub.name}",
        )
    taken = steps(wire.packets(), nodes)
    for spoke in spokes:
        asked = _first(taken, PacketType.REGISTRATION_REQUEST, spoke.number, hub.number)
        answered = _first(taken, PacketType.REGISTRATION_REPLY, hub.number, spoke.number)
        print(
            f"  {spoke.name} asked {hub.nbma} and {hub.name} sent its reply"
            f" {(answered.time - asked.time) * 1000:.1f} ms later, {HUB_DELAY_MS:g} ms of it delay."
        )
    for view, node in itertools.product(("cache", "nhs"), nodes):
        _show(node, view)


def _ping(nodes: Sequence[NhrpdNode], wire: Capture) -> Scene:
    _, one, two = nodes
    heading(f"3. Traffic: {one.lan_host} pings {two.lan_host}, from LAN to LAN")
    result = one.lan.ping(two.lan_host, count=PINGS, interval_s=PING_INTERVAL_S)
    if result.lost:
        raise StoryError(f"{result.lost} of {result.sent} pings were lost\n{result.output}")
    found = re.findall(r"icmp_seq=(\d+) .*time=([\d.]+) ms", result.output)
    rtts = {int(sequence): float(rtt) for sequence, rtt in found}

    def all_captured() -> tuple[list[Step], list[Echo]] | None:
        taken = steps(wire.packets(), nodes)
        seen = echoes(taken, rtts)
        return (taken, seen) if len(seen) == len(rtts) else None

    taken, seen = wait_until(all_captured, 5.0, "every ping in the capture")
    began_at = seen[0].there[0].time
    scene = Scene(
        steps=[step for step in taken if step.time >= began_at],
        echoes=seen,
        sender=one,
        delays_ms={node.number: _delay_ms(node) for node in nodes},
    )
    print(f"  {PINGS} pings, {scene.interval_ms:.1f} ms apart, none lost:\n")
    for way, run in itertools.groupby(seen, key=_way):
        pings = list(run)
        span = f"{pings[0].sequence}–{pings[-1].sequence}" if len(pings) > 1 else pings[0].sequence
        low, high = min(echo.rtt_ms for echo in pings), max(echo.rtt_ms for echo in pings)
        times = f"{low:.1f} … {high:.1f} ms" if len(pings) > 1 else f"{low:.1f} ms"
        print(f"  ping {span:<6}  {way:42}  round trip {times}")
    if not scene.relayed:
        raise StoryError("no ping took the hub both ways")
    if not scene.direct:
        raise StoryError("no ping took the direct path both ways")
    return scene


def _way(echo: Echo) -> str:
    if echo.is_relayed:
        return "over the hub"
    if echo.is_direct:
        return "directly"
    there, back = (
        "directly" if len(way) == 1 else "over the hub" for way in (echo.there, echo.back)
    )
    return f"there {there}, back {back}"


def _row(step: Step, at_ms: float, names: dict[int, str]) -> str:
    mark = "NHRP" if step.is_nhrp else "data"
    ends = f"{names[step.source]:>6} → {names[step.destination]:6}"
    return f"{at_ms:7.1f}  {ends}  {mark}  {step.what:18}  {step.about}".rstrip()


def _print_path(title: str, echo: Echo, nodes: Sequence[NhrpdNode]) -> None:
    by_number = {node.number: node for node in nodes}
    _, one, two = nodes
    print(f"\n  {title}: ping {echo.sequence}, round trip {echo.rtt_ms:.1f} ms")
    for word, way, inner in (
        ("there", echo.there, f"{one.lan_host} → {two.lan_host}"),
        ("back", echo.back, f"{two.lan_host} → {one.lan_host}"),
    ):
        for number, step in enumerate(way, start=1):
            source, destination = by_number[step.source], by_number[step.destination]
            print(
                f"    {word:5} hop {number}  outer {source.nbma} → {destination.nbma}"
                f"  inner {inner}  {source.name} → {destination.name}"
            )


def _first(taken: Sequence[Step], kind: PacketType, source: int, destination: int) -> Step:
    for step in taken:
        if (step.kind, step.source, step.destination) == (kind, source, destination):
            return step
    raise StoryError(f"no {kind.name} from node {source} to node {destination} in the capture")


def _delay_ms(node: NhrpdNode) -> float:
    return HUB_DELAY_MS if node.role is Role.HUB else SPOKE_DELAY_MS


def _show(node: NhrpdNode, view: str) -> None:
    print(f"\n  {node.name}# nhrpctl show {view}")
    print(quoted(node.run_ctl("show", view).stdout), flush=True)
