"""Two waiting times of users: until the direct path, and until a spoke is back after a restart of
the hub.

Both are seen on the wire, in captures of the lab's hub and two spokes. Holding time 30 s; the hub
samples each pair of LANs twice a second (rather than four times a minute), so that runs can follow
one another.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tools.lab.capture import Packet
from tools.lab.namespace import CommandFailedError, wait_until
from tools.lab.nodes import NhrpdNode, dmvpn, registered
from tools.lab.topology import Lab, Node

HOLDING_TIME_S = 30
SAMPLE_RATE = "2/second"
PING_INTERVAL_S = 0.002
LOSS_INTERVAL_S = 0.1
WATCHED_S = 4.0
"""How long a run waits for the direct path: FRR needs over a second."""
PAUSE_S = 3.0
"""Pause between runs, after which the rate limits on redirects have ended."""
RETURN_LIMIT_S = 90.0
REGISTRATION_REPLY = 4
CIE_CODE_AT = 40


@dataclass(frozen=True, slots=True)
class Paths:
    """Seconds, one per run; None where it did not happen."""

    direct_s: list[float | None] = field(default_factory=list)
    """From the first data packet to the first one that goes straight."""
    both_s: list[float | None] = field(default_factory=list)
    """From the first data packet until packets of both directions go straight."""
    return_s: list[float | None] = field(default_factory=list)
    """From the end of the hub's daemon until the spoke's next registration was answered."""
    lost_s: list[float] = field(default_factory=list)
    """Seconds without traffic from a spoke to the hub's LAN meanwhile."""


def measure(
    kind: type[Node], *, direct_runs: int, return_runs: int, say: Callable[[str], None]
) -> Paths:
    """Brings up hub and spokes of one kind and measures."""
    paths = Paths()
    options: dict[str, Any] = {"holding_time_s": HOLDING_TIME_S}
    if kind is NhrpdNode:
        options["log_level"] = "warning"
    with Lab(sample_rate=SAMPLE_RATE) as lab:
        dmvpn(lab, hub=kind, spokes=(kind, kind), **options)
        hub, one, two = lab.nodes
        for spoke in (one, two):
            wait_until(lambda spoke=spoke: registered(hub, spoke), 30.0, "registration")  # type: ignore[misc]
        wait_until(lambda: one.ping_lan(hub).received, 20.0, "a ping to the hub's LAN")
        for _ in range(direct_runs):
            direct_s, both_s = _direct_path(one, two)
            paths.direct_s.append(direct_s)
            paths.both_s.append(both_s)
        say(f"  direct path {_listed(paths.direct_s)}")
        say(f"  both directions {_listed(paths.both_s)}")
        for _ in range(return_runs):
            back_s, lost_s = _return_after_restart(hub, one)
            paths.return_s.append(back_s)
            paths.lost_s.append(lost_s)
        say(f"  registered again {_listed(paths.return_s)}, lost {_listed(paths.lost_s)}")
    return paths


def median(values: list[float | None]) -> float | None:
    """Returns the median; a run without a result counts as infinitely long."""
    middle = statistics.median(float("inf") if value is None else value for value in values)
    return None if middle == float("inf") else middle


def _direct_path(one: Node, two: Node) -> tuple[float | None, float | None]:
    """Returns the seconds until the first direct packet, and until both directions are direct."""
    _forget(one, two)
    time.sleep(PAUSE_S)
    with one.capture() as wire, two.capture() as far_wire:
        ping = ["-n", "-q", "-i", str(PING_INTERVAL_S), "-w", f"{WATCHED_S:g}"]
        one.lan.run("ping", *ping, two.lan_host, check=False)
        requests = wire.carried(one.lan_host, two.lan_host)
        answers = far_wire.carried(two.lan_host, one.lan_host)
    if not requests or requests[0].outer_destination == two.nbma:
        raise CommandFailedError(f"{one.name}: the first packets should go over the hub")
    began = requests[0].time
    there = next((p.time - began for p in requests if p.outer_destination == two.nbma), None)
    back = next((p.time - began for p in answers if p.outer_destination == one.nbma), None)
    return there, None if there is None or back is None else max(there, back)


def _forget(one: Node, two: Node) -> None:
    for node in (one, two):
        node.forget_shortcuts()
    wait_until(
        lambda: two.lan_prefix not in one.routes() and one.lan_prefix not in two.routes(),
        20.0,
        "shortcuts are gone",
    )


def _return_after_restart(hub: Node, spoke: Node) -> tuple[float | None, float]:
    """Kills the hub's daemons right after they renewed the spoke, and starts them at once."""
    with hub.capture() as wire:
        seen = len(_accepted(wire.packets(), spoke))
        wait_until(
            lambda: len(_accepted(wire.packets(), spoke)) > seen, HOLDING_TIME_S, "a renewal"
        )
        ping = spoke.lan.start_ping(hub.lan_host, interval_s=LOSS_INTERVAL_S)
        killed_at = time.time()
        hub.kill()
        hub.start()
        back_at: float | None = None
        while back_at is None and time.time() < killed_at + RETURN_LIMIT_S:
            time.sleep(0.25)
            later = (p.time for p in _accepted(wire.packets(), spoke) if p.time > killed_at)
            back_at = next(later, None)
        lost_s = ping.finish().lost * LOSS_INTERVAL_S
    return None if back_at is None else back_at - killed_at, lost_s


def _accepted(packets: list[Packet], spoke: Node) -> list[Packet]:
    return [
        packet
        for packet in packets
        if packet.nhrp_type == REGISTRATION_REPLY
        and packet.outer_destination == spoke.nbma
        and packet.payload[CIE_CODE_AT] == 0
    ]


def _listed(values: list[float | None] | list[float]) -> str:
    return ", ".join("never" if value is None else f"{value:.3f} s" for value in values)
