"""What IPsec adds: the time to a direct encrypted path, a hub's reboot, and what SAs cost.

Stock charons throughout, with the certificates and files of the lab. FRR's nhrpd cannot work
with a stock charon, so these figures are compared with charon alone, where that is possible.
"""

from __future__ import annotations

import contextlib
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from vici.exception import CommandException

from tools.lab.capture import Capture, Packet
from tools.lab.charon import Ipsec
from tools.lab.classic import ClassicNode
from tools.lab.machine import Role
from tools.lab.namespace import CommandFailedError, RunningPing, stop, wait_until
from tools.lab.nodes import cpu_seconds, registered
from tools.lab.ping import first_answer_at
from tools.lab.topology import Lab, Node
from tools.lab.wiring import UNDERLAY

Say = Callable[[str], None]

HOLDING_TIME_S = 600
PING_OCTETS = 1000
"""Larger than any NHRP message: under ESP only the size tells data from NHRP."""
WATCHED_S = 10.0
UNDISTURBED_S = 1.0
"""How long nobody looks at the captures, which takes time from those who are measured."""
PAUSE_S = 3.0
REBOOT_LIMIT_S = 300.0
FIRST_TARGET = 50
"""The peers with which a hub makes SAs have the addresses 192.0.2.50 and up."""
IN_FLIGHT = 8
"""Attempts under way at once: nhrpd's number, for charon alone too."""
SETUP_LIMIT_S = 300.0
QUIET = "charon-systemd { filelog { lab { default = 0\n cfg = 0\n } } }"
"""Lines that the lab wants to read cost a sixth of a negotiation's time."""
NO_REPLACING = (("unique = replace", "unique = no"),)
"""All targets have one identity here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """The number of rounds, nodes and peers to measure."""

    rounds: int
    spokes: int
    peers: int
    held_s: float

    @classmethod
    def of(cls, *, quick: bool) -> Effort:
        if quick:
            return cls(rounds=5, spokes=8, peers=40, held_s=20.0)
        return cls(rounds=20, spokes=50, peers=150, held_s=60.0)


@dataclass(slots=True, kw_only=True)
class Figures:
    """Seconds, unless said otherwise."""

    direct_s: list[float | None] = field(default_factory=list)
    """From the first data packet to the first direct encrypted one, of each round."""
    both_s: list[float | None] = field(default_factory=list)
    """From the first data packet until those of both directions go straight."""
    spokes: int = 0
    forwarding_s: list[float | None] = field(default_factory=list)
    """From the hub's start until each spoke's traffic came back."""
    boot_s: float = 0.0
    """Until the hub's own daemons answered, within that."""
    peers: int = 0
    setup_s: float = 0.0
    setup_alone_s: float = 0.0
    setup_cpu_s: float = 0.0
    """CPU time of nhrpd, for all peers."""
    charon_cpu_s: float = 0.0
    charon_alone_cpu_s: float = 0.0
    held_s: float = 0.0
    held_cpu_s: float = 0.0
    """CPU time of nhrpd with all SAs up."""
    idle_cpu_s: float = 0.0
    """CPU time of nhrpd without SAs, over the same time."""


def measure(effort: Effort, say: Say) -> dict[str, Any]:
    """Returns the figures, and strongSwan's version."""
    figures = Figures()
    say("IPsec: hub and two spokes")
    for direct_s, both_s in _direct_paths(effort.rounds):
        figures.direct_s.append(direct_s)
        figures.both_s.append(both_s)
    say(f"  direct encrypted path {_listed(figures.direct_s)}")
    say(f"  both directions {_listed(figures.both_s)}")
    say(f"IPsec: SAs with {effort.peers} peers")
    _setups(effort, figures)
    say(
        f"  {effort.peers / figures.setup_s:.1f}/s, alone {effort.peers / figures.setup_alone_s:.1f}/s"
    )
    say(
        f"IPsec: a hub with {effort.spokes} spokes (a charon and an nhrpd each), switched off and on"
    )
    _reboot(effort.spokes, figures, say)
    say(f"  forwarding again after {_listed(sorted(figures.forwarding_s, key=_endless))}")
    return {"strongswan": _version(), **asdict(figures)}


# The direct path.


def _direct_paths(rounds: int) -> Iterator[tuple[float | None, float | None]]:
    with Lab(private_run=True, sample_rate="2/second") as lab:
        hub, one, two = _cloud(lab, 2)
        _wait_registered(hub, [one, two])
        for _ in range(rounds):
            yield _direct_path(one, two)


def _direct_path(one: ClassicNode, two: ClassicNode) -> tuple[float | None, float | None]:
    """Returns the seconds until the first direct packet, and until both directions are direct."""
    _forget(one, two)
    time.sleep(PAUSE_S)
    with _sent(one) as wire, _sent(two) as far_wire:
        ping = ["-n", "-q", "-i", "0.01", "-s", str(PING_OCTETS), "-w", f"{WATCHED_S:g}"]
        process = one.lan.popen("ping", *ping, two.lan_host, log=one.directory / "ping.txt")

        def both() -> bool:
            return bool(_first(wire.packets(), two) and _first(far_wire.packets(), one))

        time.sleep(UNDISTURBED_S)
        with contextlib.suppress(AssertionError):
            wait_until(both, WATCHED_S + 1, "direct packets")
        stop(process)
        packets, answers = wire.packets(), far_wire.packets()
    (over_hub,) = {each.nbma for each in one.lab.hubs}
    began = next((p.time for p in packets if _is_data(p) and p.outer_destination == over_hub), None)
    there, back = _first(packets, two), _first(answers, one)
    if began is None or (there is not None and there < began):
        raise CommandFailedError(f"{one.name}: the first packets should go over the hub")
    if there is None:
        return None, None
    return there - began, None if back is None else max(there, back) - began


def _sent(node: ClassicNode) -> Capture:
    return node.capture(expression=f"ip proto 50 and src host {node.nbma}")


def _first(packets: list[Packet], peer: Node) -> float | None:
    data = (p.time for p in packets if _is_data(p) and p.outer_destination == peer.nbma)
    return next(data, None)


def _is_data(packet: Packet) -> bool:
    return packet.is_esp and len(packet.payload) > PING_OCTETS


def _forget(one: ClassicNode, two: ClassicNode) -> None:
    """Removes shortcuts and SAs between two spokes, so that the next packet finds none."""
    for node in (one, two):
        node.forget_shortcuts()

    def cold() -> bool:
        for node, other in ((one, two), (two, one)):
            for child in node.charon.children(other.nbma):
                with contextlib.suppress(CommandException):  # the other end was first
                    node.charon.request("terminate", {"ike-id": str(child.ike_id), "force": "yes"})
        known = [node.binding(other.tunnel) for node, other in ((one, two), (two, one))]
        routed = two.lan_prefix in one.routes() or one.lan_prefix in two.routes()
        return not any(known) and not routed

    wait_until(cold, 20.0, "shortcuts and SAs are gone")


# SAs with many.


def _setups(effort: Effort, figures: Figures) -> None:
    figures.peers = effort.peers
    with _targets(effort.peers) as (node, addresses):
        node.start()
        figures.held_s = effort.held_s
        figures.idle_cpu_s = _cpu_of_waiting(node.process.pid, effort.held_s)
        node.extra = "".join(
            f'[[interface.gre1.map]]\nprotocol = "10.254.0.{number}"\nnbma = "{address}"\n'
            for number, address in enumerate(addresses, start=1)
        )
        nhrpd, charon = node.process.pid, node.charon.process.pid
        before = cpu_seconds(nhrpd), cpu_seconds(charon)
        began = time.monotonic()
        node.reload()
        _wait_sas(node, effort.peers)
        figures.setup_s = time.monotonic() - began
        figures.setup_cpu_s = cpu_seconds(nhrpd) - before[0]
        figures.charon_cpu_s = cpu_seconds(charon) - before[1]
        figures.held_cpu_s = _cpu_of_waiting(nhrpd, effort.held_s)
        node.stop()
    with _targets(effort.peers) as (node, addresses):
        charon = node.charon.process.pid
        spent = cpu_seconds(charon)
        began = time.monotonic()
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            shares = [addresses[start::IN_FLIGHT] for start in range(IN_FLIGHT)]
            for _ in pool.map(lambda share: _bring_up(node, share), shares):
                pass
        _wait_sas(node, effort.peers)
        figures.setup_alone_s = time.monotonic() - began
        figures.charon_alone_cpu_s = cpu_seconds(charon) - spent


@contextmanager
def _targets(peers: int) -> Iterator[tuple[ClassicNode, list[str]]]:
    """A hub, which begins, and one spoke's charon that has the addresses of all peers."""
    addresses = [f"192.0.2.{FIRST_TARGET + number}" for number in range(peers)]
    ipsec = Ipsec(changes=NO_REPLACING)
    with Lab(private_run=True) as lab:
        options: dict[str, Any] = {"bgp": False, "ipsec": ipsec, "log_level": "warning"}
        node = lab.add(ClassicNode(number=1, role=Role.HUB, **options))
        other = lab.add(ClassicNode(number=2, role=Role.SPOKE, **options))
        other.namespace.ip(*(f"address add {each}/24 dev {UNDERLAY}" for each in addresses))
        for each in (other, node):
            each.start_services()
        yield node, addresses


def _bring_up(node: ClassicNode, addresses: list[str]) -> None:
    """Brings SAs up as nhrpd does: a connection for each peer, then its child; but waits for
    each."""
    with node.charon.session() as session:
        for address in addresses:
            name = f"alone-{address}"
            connection = node.charon.connection(node.nbma, address, unique="no")
            session.load_conn({name: connection})
            for _ in session.initiate({"child": "dmvpn", "ike": name, "timeout": "30000"}):
                pass  # log events of charon meanwhile


def _wait_sas(node: Node, peers: int) -> None:
    """Waits until the kernel has the SAs of all peers, in and out."""

    def count() -> bool:
        said = node.namespace.run("ip", "xfrm", "state", "count")
        found = re.search(r"SAD count (\d+)", said)
        return found is not None and int(found[1]) >= 2 * peers

    wait_until(count, SETUP_LIMIT_S, f"SAs with {peers} peers", interval_s=0.1)


def _cpu_of_waiting(pid: int, seconds: float) -> float:
    time.sleep(PAUSE_S)  # work left from the start or the last SA
    spent = cpu_seconds(pid)
    time.sleep(seconds)
    return cpu_seconds(pid) - spent


# A hub that is switched off and on.


def _reboot(spokes: int, figures: Figures, say: Say) -> None:
    figures.spokes = spokes
    with Lab(private_run=True) as lab:
        hub, *others = _cloud(lab, spokes)
        _wait_registered(hub, others)
        # The state file of a hub that has run for longer than a minute.
        state = hub.directory / "state.json"
        wait_until(
            lambda: state.exists() and all(each.tunnel in state.read_text() for each in others),
            120.0,
            "a saved state",
        )
        say("  all registered")
        hub.power_off()
        pings = [
            spoke.namespace.start_ping(hub.tunnel, interval_s=0.5, source=spoke.tunnel)
            for spoke in others
        ]
        began = time.time()
        hub.power_on()
        figures.boot_s = time.time() - began
        try:
            figures.forwarding_s = [_answered_after(ping, began) for ping in pings]
        finally:
            for ping in pings:
                ping.stop()


def _answered_after(ping: RunningPing, began: float) -> float | None:
    try:
        at = wait_until(lambda: first_answer_at(ping.log.read_text()), REBOOT_LIMIT_S, "an answer")
    except AssertionError:
        return None
    return at - began


# All of them.


def _cloud(lab: Lab, spokes: int) -> list[ClassicNode]:
    options: dict[str, Any] = {
        "bgp": False,
        "holding_time_s": HOLDING_TIME_S,
        "log_level": "warning",
        "ipsec": Ipsec(strongswan_conf=QUIET),
    }
    nodes = [lab.add(ClassicNode(number=1, role=Role.HUB, **options))]
    nodes += [
        lab.add(ClassicNode(number=number, role=Role.SPOKE, **options))
        for number in range(2, spokes + 2)
    ]
    for node in nodes:
        node.start()
    return nodes


def _wait_registered(hub: ClassicNode, spokes: list[ClassicNode]) -> None:
    for spoke in spokes:
        wait_until(lambda spoke=spoke: registered(hub, spoke), 120.0, f"{spoke.name} registers")  # type: ignore[misc]


def _version() -> str:
    done = subprocess.run(["swanctl", "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return found[0] if found else "?"


def _endless(value: float | None) -> float:
    return float("inf") if value is None else value


def _listed(values: list[float | None]) -> str:
    return ", ".join("never" if value is None else f"{value:.2f} s" for value in values)


# For people.


def table(results: dict[str, Any]) -> list[str]:
    """Returns the lines of the table."""
    peers, spokes = results["peers"], results["spokes"]
    hours = results["held_s"] / 3600
    held = (results["held_cpu_s"] - results["idle_cpu_s"]) / peers / hours
    last = max((_endless(each) for each in results["forwarding_s"]), default=float("inf"))
    rows = [
        (
            "first data packet to first direct encrypted one",
            _spread(results["direct_s"], 1000, "ms"),
        ),
        (
            "first data packet until both directions are direct",
            _spread(results["both_s"], 1000, "ms"),
        ),
        (
            f"hub switched on, {spokes} spokes: traffic flows again",
            _spread(results["forwarding_s"], 1, "s"),
        ),
        ("  the last of them", "never" if last == float("inf") else f"{last:.1f} s"),
        ("  the hub's own daemons answered after", f"{results['boot_s']:.1f} s"),
        (f"SA set-ups, {peers} peers, driven by nhrpd", f"{peers / results['setup_s']:.1f} /s"),
        ("  by charon alone", f"{peers / results['setup_alone_s']:.1f} /s"),
        ("CPU per SA set up: nhrpd", f"{1000 * results['setup_cpu_s'] / peers:.1f} ms"),
        ("  charon, driven by nhrpd", f"{1000 * results['charon_cpu_s'] / peers:.1f} ms"),
        ("  charon alone", f"{1000 * results['charon_alone_cpu_s'] / peers:.1f} ms"),
        ("added CPU of nhrpd per SA that is held", f"{max(held, 0.0):.3f} s per hour"),
    ]
    width = max(len(title) for title, _ in rows)
    head = f"IPsec with a stock strongSwan {results['strongswan']}"
    return [
        "",
        head,
        "-" * len(head),
        *(f"{title.ljust(width)}  {value}" for title, value in rows),
        "",
        "Median (least to most). Certificates on P-384, all nodes on the guest's one processor. A",
        "direct path begins with no SA between the two. The hub was killed and lost its kernel's",
        "state, but has its state file; the other end's SAs are as they were.",
        f"Eight set-ups at a time, by charon alone too; one charon answers for all {peers} peers.",
    ]


def _spread(values: list[float | None], scale: float, unit: str) -> str:
    if not values:
        return "-"
    found = sorted(_endless(each) * scale for each in values)
    form = "{:,.0f}" if scale > 1 else "{:,.1f}"
    middle, least, most = (
        "never" if each == float("inf") else f"{form.format(each)} {unit}"
        for each in (statistics.median(found), found[0], found[-1])
    )
    return f"{middle} ({least} to {most})"
