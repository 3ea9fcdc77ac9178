"""Multicast out of a hub: how many packets a second get a copy to each target, and what a copy costs.

A program of least priority offers packets for a group; on the guest's one processor it runs when the
daemon has nothing to do, so that there is always a next packet, and no flood. Targets are configured
outer addresses: FRR's hub looks through no cache for them. What leaves is counted by the other end of
the underlay.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from tools.benchmarks.contenders import Contender, Frr, Ours, started
from tools.lab.guest import REPOSITORY
from tools.lab.kernel import iptables_restore
from tools.lab.namespace import CommandFailedError, Namespace, stop, wait_until
from tools.lab.wiring import TUNNEL, UNDERLAY

TARGETS = (10, 100, 1000)
FIRST_TARGET = IPv4Address("10.64.0.1")
REPETITIONS = 3
"""The contenders alternate, so that other load of the machine affects both; the median counts."""
WARM_UP_S = 2.0
"""FRR's first packets come a second late."""
WINDOW_S = 5.0
START_LIMIT_S = 20.0
OFFER = """
import contextlib, os, socket, struct, sys
os.nice(19)
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
request = struct.pack("=4s4si", bytes(4), bytes(4), socket.if_nametoindex(sys.argv[1]))
sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
data = bytes(100)
while True:
    with contextlib.suppress(OSError):
        sock.sendto(data, ("239.1.2.3", 5555))
"""

DROP_ALL = f"""
table netdev bench {{
    chain ingress {{ type filter hook ingress device {UNDERLAY} priority 0; policy drop; }}
}}
"""
"""What arrives costs no more than that, for it costs it in the daemon's time."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a contender did with packets for so many targets."""

    contender: str
    targets: int
    packets_per_s: float
    """Packets that had a copy sent to each target."""
    cpu_us_per_copy: float
    busy: float
    """The daemon's share of the processor."""


def measure(directory: Path, say: Say) -> list[dict[str, Any]]:
    """Measures both contenders at each number of targets."""
    found = []
    for count in TARGETS:
        targets = tuple(str(FIRST_TARGET + number) for number in range(count))
        outcomes: dict[str, list[Outcome]] = {Frr.NAME: [], Ours.NAME: []}
        for repetition in range(REPETITIONS):
            place = directory / f"multicast-{count}-{repetition}"
            contenders: tuple[Contender, ...] = (
                Frr(directory=place / "frr", multicast=targets),
                Ours(directory=place / "ours", multicast=targets),
            )
            for contender in contenders:
                outcomes[contender.NAME].append(_measure(contender, count))
        for name, runs in outcomes.items():
            median = sorted(runs, key=lambda each: each.packets_per_s)[len(runs) // 2]
            say(
                f"{name}: {median.packets_per_s:.0f} packets a second to {count} targets, "
                f"{median.cpu_us_per_copy:.1f} µs a copy"
            )
            found.append(asdict(median))
    return found


def _measure(contender: Contender, count: int) -> Outcome:
    with started(contender) as load:
        hub = contender.namespace
        hub.ip(f"link set {TUNNEL} multicast on")
        iptables_restore(hub, REPOSITORY / "etc" / "iptables-multicast.rules")
        load.run("nft", "-f", "-", stdin=DROP_ALL)
        before = _received(load)
        offering = hub.popen(sys.executable, "-c", OFFER, TUNNEL)
        try:
            wait_until(lambda: _received(load) > before + count, START_LIMIT_S, "copies")
            time.sleep(WARM_UP_S)
            began, copies, cpu = time.monotonic(), _received(load), contender.cpu_seconds()
            time.sleep(WINDOW_S)
            took = time.monotonic() - began
            copies, cpu = _received(load) - copies, contender.cpu_seconds() - cpu
        finally:
            stop(offering)
        contender.check()
    if not copies:
        raise CommandFailedError(f"{contender.NAME}: no copies")
    return Outcome(
        contender=contender.NAME,
        targets=count,
        packets_per_s=copies / count / took,
        cpu_us_per_copy=cpu / copies * 1e6,
        busy=cpu / took,
    )


def _received(load: Namespace) -> int:
    (link,) = load.ip_json("-s", "link", "show", "dev", UNDERLAY)
    return int(link["stats64"]["rx"]["packets"])


def table(outcomes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the lines of the table."""
    lines = [
        "",
        "Multicast out of a hub         targets   packets a second   µs a copy   processor",
    ]
    lines += (
        f"  {each['contender']:27} {each['targets']:8} {each['packets_per_s']:16.0f}  "
        f"{each['cpu_us_per_copy']:10.1f}  {each['busy']:9.0%}"
        for each in outcomes
    )
    rates = {(each["contender"], each["targets"]): each["packets_per_s"] for each in outcomes}
    for count in TARGETS:
        if (Ours.NAME, count) in rates and (Frr.NAME, count) in rates:
            factor = rates[Ours.NAME, count] / rates[Frr.NAME, count]
            lines.append(f"  {count} targets: {factor:.1f} times FRR's rate")
    return lines
