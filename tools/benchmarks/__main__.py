"""`tools/bench`: boots the guest, runs both contenders in it, prints the table."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tools.benchmarks import fairness, ipsec, multicast, start
from tools.benchmarks.contenders import Contender, Frr, Ours
from tools.benchmarks.load import Load, Run
from tools.benchmarks.paths import measure
from tools.benchmarks.profiles import profile_text
from tools.benchmarks.report import table
from tools.lab.frr import FRR_DAEMONS
from tools.lab.guest import GuestFailedError, LabUnavailableError, inside, place
from tools.lab.nodes import FrrNode, NhrpdNode
from tools.lab.topology import Node

LIMIT_S = 3600.0
MEMORY = "8G"
"""The guest's memory, used as needed: 51 nodes with a charon and an nhrpd each take half of it."""
RESULTS = "results.json"
PROFILE = "profile.txt"
SETTINGS = {
    # The kernel keeps at most gc_thresh3 neighbours that are not permanent: FRR's are not.
    "net.ipv4.neigh.default.gc_thresh1": 20_000,
    "net.ipv4.neigh.default.gc_thresh2": 40_000,
    "net.ipv4.neigh.default.gc_thresh3": 80_000,
    # Both daemons get the socket buffer that a window of requests needs.
    "net.core.rmem_max": 8 << 20,
    "net.core.rmem_default": 8 << 20,
}


def main() -> int:
    """Runs on the machine, and then once more in the lab."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1 000 spokes only, few repetitions")
    parser.add_argument("--profile", action="store_true", help="also say where our time goes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument(
        "--only",
        choices=["start", "load", "paths", "multicast", "fairness", "ipsec"],
        help="only one part, for work on it",
    )
    parser.add_argument("--share", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if inside() and arguments.share is not None:
        _measure(arguments)
        return 0
    _stay_on_one_processor()
    with tempfile.TemporaryDirectory(prefix="nhrpd-bench-") as share:
        try:
            where = place(Path(share), memory=MEMORY, limit_s=LIMIT_S)
            status = where.run(
                [sys.executable, "-m", "tools.benchmarks", *sys.argv[1:], "--share", share]
            )
        except (LabUnavailableError, GuestFailedError) as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        if status != 0:
            print(f"bench: failed ({status})", file=sys.stderr)
            return 1
        text = Path(share, RESULTS).read_text()
        if arguments.json is not None:
            arguments.json.write_text(text)
        results = json.loads(text)
        if arguments.only not in ("multicast", "fairness", "ipsec"):
            print("\n".join(table(results)))
        if "multicast" in results:
            print("\n".join(multicast.table(results["multicast"])))
        if "fairness" in results:
            print("\n".join(fairness.table(results["fairness"])))
        if "ipsec" in results:
            print("\n".join(ipsec.table(results["ipsec"])))
        profile = Path(share, PROFILE)
        if profile.exists():
            print(profile.read_text())
    return 0


def _stay_on_one_processor() -> None:
    """Keeps this process and its children on one processor.

    The guest has one. Each of its system calls is an exchange between two of our processes; on two
    processors, one of which must be woken each time, it can cost five times as much.
    """
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _measure(arguments: argparse.Namespace) -> None:
    share: Path = arguments.share
    started_at = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started_at:4.0f} s] {text}", flush=True)

    results: dict[str, Any] = {
        "frr_version": _frr_version(),
        "quick": arguments.quick,
        "contenders": {"frr": {"runs": []}, "nhrpd_py": {"runs": []}},
    }
    with tempfile.TemporaryDirectory(prefix="nhrpd-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        # Loaded in the middle of a run, it would change the underlay; see contenders.py.
        subprocess.run(["modprobe", "--quiet", "ipv6"], check=False)
        if arguments.only in (None, "start"):
            say("starts")
            _measure_starts(directory, results)
        if arguments.only in (None, "load"):
            settle = subprocess.run(
                ["sysctl", "-qw", *(f"{name}={value}" for name, value in SETTINGS.items())],
                capture_output=True,
                text=True,
                check=False,
            )
            if settle.returncode:
                say(f"limits of this kernel stay as they are: {settle.stderr.strip()}")
            load = Load(directory, say)
            results["generator_per_s"] = load.capacity_per_s(requests=100_000)
            _measure_load(load, arguments, results)
            if arguments.profile:
                say("nhrpd_py under the profiler")
                ours = Ours(directory=directory / "profiled", profile=directory / "profile")
                profiles = load.profile(ours, refreshes=50_000)
                (share / PROFILE).write_text(profile_text(profiles))
        if arguments.only in (None, "paths"):
            runs = (5, 1) if arguments.quick else (20, 3)
            kinds: dict[str, type[Node]] = {"frr": FrrNode, "nhrpd_py": NhrpdNode}
            for contender, kind in kinds.items():
                say(f"{contender}: hub and two spokes")
                paths = measure(kind, direct_runs=runs[0], return_runs=runs[1], say=say)
                results["contenders"][contender]["paths"] = {
                    "direct_s": paths.direct_s,
                    "both_s": paths.both_s,
                    "return_s": paths.return_s,
                    "lost_s": paths.lost_s,
                }
        if arguments.only in (None, "multicast"):
            say("multicast out of a hub")
            results["multicast"] = multicast.measure(directory, say)
        if arguments.only in (None, "fairness"):
            say("an honest spoke beside a hostile one")
            results["fairness"] = fairness.measure(directory, say)
        if arguments.only in (None, "ipsec"):
            results["ipsec"] = ipsec.measure(ipsec.Effort.of(quick=arguments.quick), say)
    (share / RESULTS).write_text(json.dumps(results, indent=1))


def _measure_starts(directory: Path, results: dict[str, Any]) -> None:
    contenders = results["contenders"]
    contenders["nhrpd_py"]["imports_s"] = start.import_seconds()
    for repetition in range(3):
        for kind in (Frr, Ours):
            contender = kind(directory=directory / f"start-{kind.NAME}{repetition}")
            starts = contenders[kind.NAME].setdefault("starts", [])
            starts.append(start.measure(contender).as_json())


def _measure_load(load: Load, arguments: argparse.Namespace, results: dict[str, Any]) -> None:
    """Alternates the contenders, so that other load of the machine affects both."""
    repetitions = 2 if arguments.quick else 3
    for repetition in range(repetitions):
        many = not arguments.quick and repetition == 0
        contenders: list[Contender] = [
            Frr(directory=load.directory / f"frr{repetition}"),
            Ours(directory=load.directory / f"nhrpd{repetition}"),
        ]
        for contender in contenders:
            spokes = "10 000" if many else "1 000"
            load.say(f"{contender.NAME}: load of {spokes} spokes, run {repetition + 1}")
            run = load.run(
                contender,
                many=many,
                refreshes=3000 if arguments.quick else 10_000,
                singles=500 if arguments.quick else 2000,
            )
            load.say(f"  {_summary(run)}")
            results["contenders"][contender.NAME]["runs"].append(run.as_json())


def _summary(run: Run) -> str:
    return ", ".join(f"{name} {phase.per_s:.0f}/s" for name, phase in run.phases.items())


def _frr_version() -> str:
    said = subprocess.run(
        [FRR_DAEMONS / "nhrpd", "--version"], capture_output=True, text=True, check=True
    ).stdout
    return said.split()[2]


if __name__ == "__main__":
    sys.exit(main())
