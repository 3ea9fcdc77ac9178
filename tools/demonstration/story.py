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
from tools.lab.capture import Capture, Packet
from tools.lab.classic import ClassicNode
from tools.lab.decrypt import decrypted, keys_of
from tools.lab.machine import Role
from tools.lab.namespace import wait_until
from tools.lab.nodes import registered
from tools.lab.shell import interact
from tools.lab.topology import Lab

EVERYTHING = "ip proto 47 or ip proto 50 or udp port 500"
HUB_DELAY_MS, SPOKE_DELAY_MS = 20.0, 5.0
PINGS, PING_INTERVAL_S = 150, 0.005
"""As close together as the kernel's timer permits (User-Mode Linux: 10 ms): the moment of the change
is known to within one interval."""


class StoryError(Exception):
    """A step of the story did not happen."""


def tell(drawing: Path, *, keep: bool) -> None:
    """Tells it, writes the drawing, and ends in a shell if wanted. Raises StoryError."""
    with Lab(private_run=True, static=False) as lab:
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
    capture = Capture(lab.internet, "br0", lab.directory / "internet.pcap", EVERYTHING)
    with capture as wire:
        _register(lab, nodes, wire)
        scene = _ping(nodes, wire)

    heading("4. What crossed the Internet")
    _count(wire.packets())
    print(
        "  Decrypted with the keys of the nodes' kernels; ms since the first data packet, when the\n"
        "  packet entered the Internet:\n"
    )
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
    print(f"  {len(scene.handshake)} IKE messages between the spokes are part of that time.")

    heading("6. What the daemons and a kernel know now")
    for view, node in itertools.product(("shortcuts", "peers"), nodes[1:]):
        _show(node, view)
    for arguments in (["route", "show", two.lan_prefix], ["neigh", "show", two.tunnel]):
        print(f"\n  {one.name}# ip {' '.join(arguments)}")
        print(quoted(one.namespace.run("ip", *arguments)))
    Drawing(nodes, scene).write(drawing)


def _build(lab: Lab) -> list[ClassicNode]:
    heading("1. The network")
    nodes = [
        lab.add(ClassicNode(number=number, role=role, holding_time_s=600))
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
        "\n  On each: a stock strongSwan with a certificate, BGP, and gre1 (mode gre key 42 ttl 64,"
        " one\n  multipoint netdev), protected in transport mode. 192.0.2.0/24 is the"
        " Internet.\n  netem delays what the Internet delivers: by"
        f" {HUB_DELAY_MS:g} ms to the hub, by {SPOKE_DELAY_MS:g} ms to a spoke.\n"
        f"  So a round trip between the LANs takes {2 * (HUB_DELAY_MS + SPOKE_DELAY_MS):g} ms over"
        f" the hub and {2 * SPOKE_DELAY_MS:g} ms directly, at best.\n"
        "  The hub samples what it relays with iptables: hashlimit, NFLOG group 1."
    )
    return nodes


def _register(lab: Lab, nodes: Sequence[ClassicNode], wire: Capture) -> None:
    heading("2. Registration, each through its security association")
    for node in nodes:
        node.start_services()
    lab.start()
    hub, *spokes = nodes
    for spoke in spokes:
        wait_until(
            lambda spoke=spoke: registered(hub, spoke),  # type: ignore[misc]
            20.0,
            f"{spoke.name} registers with {hub.name}",
        )
    taken = steps(_readable(wire, nodes), nodes)
    for spoke in spokes:
        asked = _first(taken, PacketType.REGISTRATION_REQUEST, spoke.number, hub.number)
        answered = _first(taken, PacketType.REGISTRATION_REPLY, hub.number, spoke.number)
        print(
            f"  {spoke.name} asked {hub.nbma} and {hub.name} sent its reply"
            f" {(answered.time - asked.time) * 1000:.1f} ms later, {HUB_DELAY_MS:g} ms of it delay."
        )
    _show(hub, "cache")
    _show(hub, "peers")
    for spoke in spokes:
        _show(spoke, "nhs")
    for spoke, other in zip(spokes, reversed(spokes), strict=True):
        wait_until(
            lambda spoke=spoke, other=other: _leads_to(spoke, other, hub),  # type: ignore[misc]
            60.0,
            f"BGP tells {spoke.name} of {other.lan_prefix}",
        )
    print("\n  BGP: each spoke's kernel has the other's LAN by way of the hub.")


def _ping(nodes: Sequence[ClassicNode], wire: Capture) -> Scene:
    _, one, two = nodes
    heading(f"3. Traffic: {one.lan_host} pings {two.lan_host}, from LAN to LAN")
    result = one.lan.ping(two.lan_host, count=PINGS, interval_s=PING_INTERVAL_S)
    if result.lost:
        raise StoryError(f"{result.lost} of {result.sent} pings were lost\n{result.output}")
    found = re.findall(r"icmp_seq=(\d+) .*time=([\d.]+) ms", result.output)
    rtts = {int(sequence): float(rtt) for sequence, rtt in found}

    def all_captured() -> tuple[list[Step], list[Echo]] | None:
        taken = steps(_readable(wire, nodes), nodes)
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


def _leads_to(spoke: ClassicNode, other: ClassicNode, hub: ClassicNode) -> bool:
    route = spoke.routes().get(other.lan_prefix)
    return route is not None and route.via == hub.tunnel


def _readable(wire: Capture, nodes: Sequence[ClassicNode]) -> list[Packet]:
    return decrypted(wire.packets(), keys_of(node.namespace for node in nodes))


def _count(packets: Sequence[Packet]) -> None:
    """Says how much of what was captured was protected. Raises StoryError when something was not."""
    esp = sum(packet.is_esp for packet in packets)
    ike = sum(packet.ike_exchange is not None for packet in packets)
    clear = len(packets) - esp - ike
    print(f"  {esp} ESP packets, {ike} of IKE, {clear} of GRE in clear.\n")
    if clear:
        raise StoryError(f"{clear} packets of the tunnel were not protected")


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
    mark = "NHRP" if step.is_nhrp else "IKE " if step.is_ike else "data"
    ends = f"{names[step.source]:>6} → {names[step.destination]:6}"
    return f"{at_ms:7.1f}  {ends}  {mark}  {step.what:18}  {step.about}".rstrip()


def _print_path(title: str, echo: Echo, nodes: Sequence[ClassicNode]) -> None:
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


def _delay_ms(node: ClassicNode) -> float:
    return HUB_DELAY_MS if node.role is Role.HUB else SPOKE_DELAY_MS


def _show(node: ClassicNode, view: str) -> None:
    print(f"\n  {node.name}# nhrpctl show {view}")
    print(quoted(node.run_ctl("show", view).stdout), flush=True)
