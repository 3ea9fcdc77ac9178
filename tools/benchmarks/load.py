"""The load on one hub: first registrations, refreshes, single requests; CPU time and memory."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tools.benchmarks.contenders import (
    HOLDING_TIME_S,
    HUB_MAC,
    HUB_NBMA,
    Contender,
    Ours,
    network,
    started,
)
from tools.benchmarks.profiled import CUT
from tools.lab.kernel import read_neighbors, read_routes
from tools.lab.namespace import CommandFailedError, Namespace, wait_until
from tools.lab.wiring import GRE_KEY, TUNNEL, UNDERLAY

SOURCES = Path(__file__).parent
WINDOW = 32
WARM_UP_SPOKE = 4_000_000
PHASE_LIMIT_S = 120.0
START_LIMIT_S = 30.0
STEADY_S = 1.0
"""Pause before memory is read."""
CHECKED_S, UNCHECKED_S = 10.0, 200.0
"""How often a spoke registers: with `path-check`, and by its holding time of 600 s alone."""
WATCHED_S = 60.0
"""One round of what the daemon does by itself: it writes its state file once in this time."""
NBMA_BASE, PROTOCOL_BASE = 0x0A400000, 0x0AC00000
FEW = 1_000
MANY = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """The figures of one phase, from the generator and the process table."""

    requests: int
    replied_s: float
    settled_s: float
    """Until neighbours and routes are in the kernel; 0 where that was not waited for."""
    median_us: float
    p99_us: float
    repeated: int
    generator_share: float
    """The generator's share of the one processor, while requests were open."""
    cpu_s: float
    """CPU time of the daemons in this phase."""

    @property
    def per_s(self) -> float:
        """Returns requests per second, up to the kernel's state if that was waited for."""
        return self.requests / (self.settled_s or self.replied_s)


@dataclass(slots=True, eq=False, kw_only=True)
class Run:
    """One run of a daemon under load."""

    phases: dict[str, Phase] = field(default_factory=dict)
    resident: dict[str, dict[str, int]] = field(default_factory=dict)
    """Octets by moment (`idle`, number of spokes) and daemon."""

    def as_json(self) -> dict[str, Any]:
        """Returns the figures for a file."""
        return {
            "phases": {name: asdict(phase) for name, phase in self.phases.items()},
            "resident": self.resident,
        }


@dataclass(slots=True, eq=False)
class Load:
    """The compiled generator and the phases driven with it."""

    directory: Path
    say: Callable[[str], None]
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1, 1 << 20))

    def __post_init__(self) -> None:
        compiler = shutil.which("gcc") or "cc"
        for program in ("generator", "reflector"):
            source, binary = SOURCES / f"{program}.c", self.directory / program
            subprocess.run([compiler, "-O2", "-o", binary, source], check=True, timeout=60)

    def capacity_per_s(self, *, requests: int) -> float:
        """Returns the generator's own limit, against a hub that stores nothing."""
        with network() as (hub, load):
            hub.popen(self.directory / "reflector", UNDERLAY)
            said = self._generate(load, "--spokes", FEW, "--requests", requests)
        return float(said["replies"] / said["replied_s"])

    def run(self, contender: Contender, *, many: bool, refreshes: int, singles: int) -> Run:
        """Starts a daemon, drives it through all phases and stops it.

        With `many`, goes on from 1 000 to 10 000 spokes.
        """
        run = Run()
        with started(contender) as load:
            self._warm_up(contender, load)
            run.resident["idle"] = self._resident(contender)
            run.phases["first"] = self._drive(contender, load, "--spokes", FEW, settle=True)
            self._verify(contender, FEW)
            run.phases["refresh"] = self._drive(
                contender, load, "--spokes", FEW, "--requests", refreshes
            )
            run.phases["single"] = self._drive(
                contender, load, "--spokes", FEW, "--requests", singles, window=1
            )
            run.resident[str(FEW)] = self._resident(contender)
            if many:
                if isinstance(contender, Ours):
                    for name, each_s in (("checked", CHECKED_S), ("unchecked", UNCHECKED_S)):
                        run.phases[name] = self._renew(contender, load, each_s)
                more = ("--first", FEW + 1, "--spokes", MANY - FEW)
                run.phases["first_many"] = self._drive(contender, load, *more, settle=True)
                self._verify(contender, MANY)
                run.phases["refresh_many"] = self._drive(contender, load, "--spokes", MANY)
                run.resident[str(MANY)] = self._resident(contender)
            contender.check()
        return run

    def profile(self, contender: Ours, *, refreshes: int) -> dict[str, Path]:
        """Drives our daemon under the profiler; returns a profile per phase."""
        prefix = contender.profile
        if prefix is None:
            raise CommandFailedError("a contender without a place for profiles")
        with started(contender) as load:
            self._warm_up(contender, load)
            self._cut(contender, prefix, 0)
            self._drive(contender, load, "--spokes", MANY, settle=True)
            self._cut(contender, prefix, 1)
            self._drive(contender, load, "--spokes", MANY, "--requests", refreshes)
            self._cut(contender, prefix, 2)
        return {
            "first registrations": Path(f"{prefix}.1"),
            "refreshes": Path(f"{prefix}.2"),
        }

    def _renew(self, contender: Contender, load: Namespace, each_s: float) -> Phase:
        """Drives a daemon for a while as 1 000 spokes do that renew every so many seconds."""
        interval_s = each_s / FEW
        arguments = ("--interval-us", round(interval_s * 1e6), "--spokes", FEW)
        return self._drive(contender, load, *arguments, "--requests", round(WATCHED_S / interval_s))

    @staticmethod
    def _cut(contender: Ours, prefix: Path, number: int) -> None:
        contender.processes["nhrpd"].send_signal(CUT)
        wait_until(Path(f"{prefix}.{number}").exists, 10.0, "a profile")

    def _warm_up(self, contender: Contender, load: Namespace) -> None:
        """Registers one spoke that is not measured: the daemon is ready when that works."""
        self._drive(
            *(contender, load, "--first", WARM_UP_SPOKE, "--retry-ms", 100),
            settle=True,
            limit_s=START_LIMIT_S,
        )

    def _drive(
        self,
        contender: Contender,
        load: Namespace,
        *arguments: str | int,
        window: int = WINDOW,
        settle: bool = False,
        limit_s: float = PHASE_LIMIT_S,
    ) -> Phase:
        until: tuple[str, ...] = ()
        if settle:
            proc = f"/proc/{contender.namespace.pid}"
            until = ("--settle", f"{proc}/net/fib_triestat", "--settle-namespace", f"{proc}/ns/net")
        before = contender.cpu_seconds()
        said = self._generate(load, *arguments, *until, window=window, limit_s=limit_s)
        after = contender.cpu_seconds()
        contender.check()
        wrong = said and (said["replies"] < said["requests"] or said["refused"] or said["bad"])
        if not said or wrong or (settle and not said["settled_s"]):
            raise CommandFailedError(f"{contender.NAME}: the load did not get through: {said}")
        return Phase(
            requests=said["requests"],
            replied_s=said["replied_s"],
            settled_s=said["settled_s"],
            median_us=said["median_us"],
            p99_us=said["p99_us"],
            repeated=said["repeated"],
            generator_share=said["cpu_s"] / said["replied_s"],
            cpu_s=after - before,
        )

    def _generate(
        self,
        load: Namespace,
        *arguments: str | int,
        window: int = WINDOW,
        limit_s: float = PHASE_LIMIT_S,
    ) -> dict[str, Any]:
        argv: list[str | float] = [
            "--device",
            UNDERLAY,
            "--hub-mac",
            HUB_MAC,
            "--hub-nbma",
            HUB_NBMA,
        ]
        argv += ["--key", GRE_KEY, "--holding-time", HOLDING_TIME_S, "--window", window]
        argv += ["--limit-s", limit_s, "--first-id", next(self._ids), *arguments]
        words = [str(word) for word in argv]
        answer = load.run(
            self.directory / "generator", *words, check=False, limit_s=limit_s + PHASE_LIMIT_S
        )
        said: dict[str, Any] = json.loads(answer or "{}")
        return said

    @staticmethod
    def _verify(contender: Contender, spokes: int) -> None:
        """Checks that the kernel has every spoke's neighbour with its NBMA address, and its route."""
        neighbors = read_neighbors(contender.namespace, TUNNEL)
        routes = read_routes(contender.namespace, ipv6=False)
        for number in range(1, spokes + 1):
            protocol = _dotted(PROTOCOL_BASE + number)
            neighbor, route = neighbors.get(protocol), routes.get(protocol)
            if neighbor is None or neighbor.nbma != _dotted(NBMA_BASE + number):
                raise CommandFailedError(f"{contender.NAME}: neighbour {protocol} is {neighbor}")
            if route is None or route.device != TUNNEL:
                raise CommandFailedError(f"{contender.NAME}: route {protocol} is {route}")

    @staticmethod
    def _resident(contender: Contender) -> dict[str, int]:
        """Reads memory once it has been the same for a while."""
        seen: list[dict[str, int]] = []

        def steady() -> dict[str, int] | None:
            seen.append(contender.resident())
            return seen[-1] if len(seen) > 1 and seen[-1] == seen[-2] else None

        return wait_until(steady, 30.0, "steady memory", interval_s=STEADY_S)


def _dotted(address: int) -> str:
    return ".".join(str(octet) for octet in address.to_bytes(4, "big"))
