"""The command `tools/fuzz`: a campaign of many packets; prints what it cost, and what it broke.

tools/fuzz --packets 1000000 --processes 2 --seed 7
tools/fuzz --seed 7 --run 12        # one run again: its fault, and the few steps that lead to it
"""

import argparse
import gc
import multiprocessing
import os
import resource
import sys
import time
import traceback
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from tests.fuzz.campaign import PACKETS_PER_RUN, BrokenError, Figures, Run
from tests.fuzz.roles import ROLES
from tests.fuzz.shrink import describe, shrunk

PROGRESS_S = 60.0
TRACED_EVERY = 251
"""Of so many runs one is measured for memory, which makes it slow: a prime, so that all roles are."""
WARM_UP = 2 * len(ROLES)
"""Runs until what is loaded and cached once is there."""


@dataclass(slots=True)
class Result:
    """What one run found."""

    number: int
    figures: Figures
    fault: str = ""
    resident: int = 0
    """Octets of its process after it."""
    peak: int = 0
    """The most that it had allocated, octets; 0 where that was not measured."""
    kept: int = 0
    """What was still allocated after its end."""


@dataclass(slots=True)
class Campaign:
    """The results so far."""

    began: float = field(default_factory=time.monotonic)
    roles: dict[str, Figures] = field(default_factory=dict)
    packets: int = 0
    faults: int = 0
    first_resident: int = 0
    resident: int = 0
    peak: int = 0
    kept: int = 0
    told_at: float = field(default_factory=time.monotonic)

    def add(self, result: Result) -> None:
        """Adds the result of a run."""
        role = ROLES[result.number % len(ROLES)].name
        self.roles.setdefault(role, Figures()).add(result.figures)
        self.packets += result.figures.packets
        self.faults += bool(result.fault)
        if result.number < WARM_UP:
            self.first_resident = max(self.first_resident, result.resident)
        self.resident = max(self.resident, result.resident)
        self.peak = max(self.peak, result.peak)
        self.kept = max(self.kept, result.kept)
        if result.fault:
            say(result.fault)
        if time.monotonic() - self.told_at >= PROGRESS_S:
            self.told_at = time.monotonic()
            say(f"{datetime.now().astimezone():%H:%M:%S} {self.line()}")

    def line(self) -> str:
        """Returns the figures in one line."""
        whole = Figures()
        for each in self.roles.values():
            whole.add(each)
        return (
            f"{self.packets} packets, {whole.events} events, {self.faults} faults; "
            f"{whole.handling_s / max(1, self.packets) * 1e6:.0f} µs a packet, "
            f"the worst {whole.worst_s * 1e3:.2f} ms; "
            f"resident {self.first_resident / 2**20:.0f} → {self.resident / 2**20:.0f} MiB, "
            f"allocated at most {self.peak / 2**20:.1f} MiB, kept {self.kept / 2**10:.0f} KiB"
        )

    def table(self) -> str:
        """Returns the figures by role."""
        lines = [f"{'role':<30}{'packets':>11}{'events':>10}{'mean µs':>9}{'worst ms':>9}"]
        lines[0] += f"{'effects':>9}{'sent':>6}"
        for name, each in self.roles.items():
            mean_us = each.handling_s / max(1, each.packets) * 1e6
            lines.append(
                f"{name:<30}{each.packets:>11}{each.events:>10}{mean_us:>9.0f}"
                f"{each.worst_s * 1e3:>9.2f}{each.effects:>9}{each.sent:>6}"
            )
        return "\n".join(lines)


def perform(task: tuple[int, int, int]) -> Result:
    """Performs one run: (seed, number, packets). Garbage is collected between runs: it is mostly the campaign's own."""
    gc.disable()
    seed, number, packets = task
    run = Run(seed, number, packets)
    traced = number >= WARM_UP and number % TRACED_EVERY == 0
    if traced:
        gc.collect()
        tracemalloc.start()
    fault = ""
    try:
        run.run()
    except BrokenError as broken:
        fault = report(run, broken)
    figures = run.figures
    result = Result(number, figures, fault)
    if traced:
        figures.worst_s = 0.0  # of a packet that was slowed down
        del run
        gc.collect()
        result.kept, result.peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    gc.enable()
    gc.collect()
    result.resident = resident()
    return result


def report(run: Run, broken: BrokenError, *, shrink: bool = False) -> str:
    """Returns what to say of a fault; with `shrink`, the steps that lead to it."""
    fault = broken.__cause__
    assert fault is not None
    lines = [
        f"FAULT of {run.role.name!r} after {len(run.steps)} steps:",
        "".join(traceback.format_exception(fault, chain=False)).rstrip(),
    ]
    if shrink:
        steps = shrunk(run, fault)
        lines += [f"these {len(steps)} steps are enough:", *map(describe, steps)]
    else:
        lines += ["the last steps:", *map(describe, run.steps[-3:])]
        again = f"tools/fuzz --seed {run.seed} --run {run.number}"
        if run.packets != PACKETS_PER_RUN:
            again += f" --packets {run.packets}"
        lines.append(f"again, with the few steps that are needed: {again}")
    return "\n".join(lines)


def resident() -> int:
    """Returns the resident size of this process, octets."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def say(text: str) -> None:
    """Prints a line at once."""
    print(text, flush=True)


def ends_at(options: argparse.Namespace) -> float:
    """Returns when to stop, by the monotonic clock."""
    limits = [float("inf")]
    if options.minutes is not None:
        limits.append(options.minutes * 60)
    if options.until is not None:
        now = datetime.now().astimezone()
        hour, minute = map(int, options.until.split(":"))
        until = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
        if until < now:
            until += timedelta(days=1)
        limits.append((until - now).total_seconds())
    return time.monotonic() + min(limits)


def tasks(options: argparse.Namespace, end: float) -> Iterator[tuple[int, int, int]]:
    """Yields the runs, until there are packets enough or the time is over."""
    number, left = 0, options.packets
    while left > 0 and time.monotonic() < end:
        yield options.seed, number, min(left, PACKETS_PER_RUN)
        number += 1
        left -= PACKETS_PER_RUN


def main() -> int:
    """Performs a campaign, or one run again; returns 1 where a rule was broken."""
    parser = argparse.ArgumentParser(prog="tools/fuzz", description=__doc__)
    parser.add_argument("--packets", type=int, help="100 000 000 unless given; of one run 4 000")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--run", type=int, help="perform this run alone, and shorten what it breaks"
    )
    parser.add_argument("--minutes", type=float, help="stop after so long")
    parser.add_argument("--until", metavar="HH:MM", help="stop at this time of the day")
    options = parser.parse_args()
    if options.run is not None:
        run = Run(options.seed, options.run, options.packets or PACKETS_PER_RUN)
        try:
            run.run()
        except BrokenError as broken:
            say(report(run, broken, shrink=True))
            return 1
        say(f"{run.role.name!r}: {run.figures.packets} packets, and nothing is wrong")
        return 0
    options.packets = options.packets or 100_000_000
    campaign = Campaign()
    say(f"{options.packets} packets, seed {options.seed}, process {os.getpid()}")
    todo = tasks(options, ends_at(options))
    if options.processes == 1:
        for task in todo:
            campaign.add(perform(task))
    else:
        with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
            for result in pool.imap(perform, todo):
                campaign.add(result)
    say(campaign.table())
    say(campaign.line())
    return 1 if campaign.faults else 0


if __name__ == "__main__":
    sys.exit(main())
