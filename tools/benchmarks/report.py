"""The table: both contenders' figures, the ratio, and whether the target is met."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tools.benchmarks import paths

Figures = dict[str, Any]
"""One contender's part of the results."""
KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure. `target` bounds the ratio ours / FRR's, from below if more is better."""

    title: str
    value: Callable[[Figures], float | None]
    form: str
    more_is_better: bool = False
    target: float | None = None
    compared: bool = True
    """Whether the ratio is meaningful."""


def table(results: dict[str, Any]) -> list[str]:
    """Returns the lines of the table."""
    frr, ours = results["contenders"]["frr"], results["contenders"]["nhrpd_py"]
    head = ("", f"FRR {results['frr_version']}", "nhrpd_py", "ratio", "target", "")
    cells: list[tuple[str, ...]] = [head]
    for row in _rows():
        theirs = row.value(frr)
        own = row.value(ours)
        if theirs is None and own is None:
            continue
        cells.append(_cells(row, theirs, own))
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    lines = [
        "  ".join(
            text.ljust(width) if column in (0, 5) else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    return ["", lines[0], "-" * len(lines[0]), *lines[1:], "", *_legend(results)]


def _cells(row: Row, theirs: float | None, own: float | None) -> tuple[str, ...]:
    ratio = own / theirs if own is not None and theirs and row.compared else None
    target, verdict = "", ""
    if row.target is not None:
        target = f"{'>=' if row.more_is_better else '<='} {row.target:.2g}"
        met = ratio is not None and (
            ratio >= row.target if row.more_is_better else ratio <= row.target
        )
        verdict = "met" if met else "NOT MET"
    return (
        row.title,
        "-" if theirs is None else row.form.format(theirs),
        "-" if own is None else row.form.format(own),
        "-" if ratio is None else f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.3f}",
        target,
        verdict,
    )


def _rows() -> list[Row]:
    rate, cpu, kilobytes = "{:,.0f} /s", "{:.2f} s", "{:,.2f} KiB"
    third = 1 / 3
    rows = [
        Row(
            title="start: memory, 2 s after it answers",
            value=_start(lambda start: _sum(start["resident"]) / KIB),
            form="{:,.0f} KiB",
        ),
        Row(
            title="start: CPU until it answers",
            value=_start(lambda start: float(start["cpu_s"])),
            form=cpu,
        ),
        Row(title="start: CPU of the imports alone", value=_imports, form=cpu),
        Row(
            title="first registrations, 1 000 spokes",
            value=_phase(_per_s, "first"),
            form=rate,
            more_is_better=True,
            target=3.0,
        ),
        Row(
            title="first registrations, from 1 000 to 10 000",
            value=_phase(_per_s, "first_many"),
            form=rate,
            more_is_better=True,
            target=3.0,
        ),
        Row(
            title="refreshes, 1 000 spokes",
            value=_phase(_per_s, "refresh"),
            form=rate,
            more_is_better=True,
            target=1.0,
        ),
        Row(
            title="refreshes, 10 000 spokes",
            value=_phase(_per_s, "refresh_many"),
            form=rate,
            more_is_better=True,
            target=1.0,
        ),
        Row(
            title="one at a time, median",
            value=_phase(_key("median_us"), "single"),
            form="{:,.0f} µs",
        ),
        Row(title="one at a time, 99 %", value=_phase(_key("p99_us"), "single"), form="{:,.0f} µs"),
        Row(title="CPU per 1 000 first registrations", value=_phase(_cpu, "first"), form=cpu),
        Row(title="CPU per 1 000 refreshes", value=_phase(_cpu, "refresh"), form=cpu),
        Row(
            title="hub's CPU, 1 000 spokes that check it every 10 s",
            value=_phase(_load, "checked"),
            form="{:.1f} %",
        ),
        Row(
            title="  that only renew, every 200 s",
            value=_phase(_load, "unchecked"),
            form="{:.1f} %",
        ),
    ]
    for spokes in ("1000", "10000"):
        title = f"memory per spoke, {spokes[:-3]} {spokes[-3:]}"
        rows += [
            Row(
                title=f"{title} (FRR: nhrpd)",
                value=_per_spoke(spokes, "nhrpd"),
                form=kilobytes,
                target=third,
            ),
            Row(title=f"{title} (FRR: nhrpd + zebra)", value=_per_spoke(spokes), form=kilobytes),
        ]
    rows += [
        Row(
            title="memory with no spoke (FRR: nhrpd + zebra)",
            value=_resident("idle"),
            form="{:,.0f} KiB",
        ),
        Row(title="memory with 1 000 spokes (same)", value=_resident("1000"), form="{:,.0f} KiB"),
        Row(title="memory with 10 000 spokes (same)", value=_resident("10000"), form="{:,.0f} KiB"),
        Row(
            title="first packet to first direct one",
            value=_path("direct_s", 1000),
            form="{:,.0f} ms",
            target=0.1,
        ),
        Row(
            title="first packet until both directions are direct",
            value=_path("both_s", 1000),
            form="{:,.0f} ms",
        ),
        Row(
            title="hub restarted: registered again after",
            value=_path("return_s", 1),
            form="{:.2f} s",
        ),
        Row(title="  traffic to the hub lost meanwhile", value=_path("lost_s", 1), form="{:.1f} s"),
        Row(
            title="generator's part of the CPU, first",
            value=_phase(_share, "first"),
            form="{:.0f} %",
            compared=False,
        ),
        Row(
            title="generator's part of the CPU, refresh",
            value=_phase(_share, "refresh"),
            form="{:.0f} %",
            compared=False,
        ),
    ]
    return rows


def _legend(results: dict[str, Any]) -> list[str]:
    repeated = {
        name: sum(phase["repeated"] for run in part["runs"] for phase in run["phases"].values())
        for name, part in results["contenders"].items()
    }
    alone = results.get("generator_per_s")
    return [
        *(
            []
            if alone is None
            else [
                f"The generator reaches {alone:,.0f} requests/s against a hub that keeps nothing."
            ]
        ),
        "Medians of all runs; ratio: nhrpd_py / FRR. 32 requests unanswered at a time. First",
        "registrations last until neighbours and host routes of all spokes are in the kernel. CPU is",
        "user and system time of the daemons (FRR: nhrpd + zebra). A start has a tunnel and no spoke;",
        "its memory is VmRSS of all daemons. Memory per spoke is resident memory above that with no",
        "spoke. The hub was killed right after a renewal and started at once, holding time",
        f"{paths.HOLDING_TIME_S} s: a spoke that only waits comes back after a third of that. Both",
        "directions: the later one's first packet that goes from spoke to spoke, seen at its sender.",
        f"Requests sent again: {repeated['frr']} to FRR, {repeated['nhrpd_py']} to nhrpd_py.",
    ]


def _phase(
    figure: Callable[[dict[str, Any]], float], name: str
) -> Callable[[Figures], float | None]:
    def value(figures: Figures) -> float | None:
        found = [figure(run["phases"][name]) for run in figures["runs"] if name in run["phases"]]
        return statistics.median(found) if found else None

    return value


def _per_s(phase: dict[str, Any]) -> float:
    return float(phase["requests"] / (phase["settled_s"] or phase["replied_s"]))


def _cpu(phase: dict[str, Any]) -> float:
    return float(phase["cpu_s"] * 1000 / phase["requests"])


def _load(phase: dict[str, Any]) -> float:
    return float(phase["cpu_s"] / phase["replied_s"] * 100)


def _share(phase: dict[str, Any]) -> float:
    return float(phase["generator_share"] * 100)


def _key(name: str) -> Callable[[dict[str, Any]], float]:
    return lambda phase: float(phase[name])


def _per_spoke(spokes: str, daemon: str | None = None) -> Callable[[Figures], float | None]:
    """Returns a function for the growth per spoke of one daemon or of all."""

    def value(figures: Figures) -> float | None:
        found = [
            (_sum(run["resident"][spokes], daemon) - _sum(run["resident"]["idle"], daemon))
            / int(spokes)
            for run in figures["runs"]
            if spokes in run["resident"]
        ]
        return statistics.median(found) / KIB if found else None

    return value


def _resident(moment: str) -> Callable[[Figures], float | None]:
    def value(figures: Figures) -> float | None:
        found = [
            _sum(run["resident"][moment]) for run in figures["runs"] if moment in run["resident"]
        ]
        return statistics.median(found) / KIB if found else None

    return value


def _sum(resident: dict[str, int], daemon: str | None = None) -> int:
    return sum(size for name, size in resident.items() if daemon in (None, name))


def _start(figure: Callable[[dict[str, Any]], float]) -> Callable[[Figures], float | None]:
    def value(figures: Figures) -> float | None:
        found = [figure(start) for start in figures.get("starts", [])]
        return statistics.median(found) if found else None

    return value


def _imports(figures: Figures) -> float | None:
    found = figures.get("imports_s")
    return statistics.median(found) if found else None


def _path(key: str, scale: float) -> Callable[[Figures], float | None]:
    def value(figures: Figures) -> float | None:
        found = figures.get("paths", {}).get(key)
        middle = paths.median(found) if found else None
        return None if middle is None else middle * scale

    return value
