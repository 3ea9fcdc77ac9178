"""What the IPsec part of the benchmark makes of what it saw."""

from typing import Any

from tools.benchmarks.ipsec import Effort, table


def results(**changes: Any) -> dict[str, Any]:
    return {
        "strongswan": "5.9.8",
        "direct_s": [0.1, 0.3, 0.2],
        "both_s": [0.2, 0.4, 0.3],
        "spokes": 3,
        "forwarding_s": [9.0, 8.0, 10.0],
        "boot_s": 7.0,
        "peers": 100,
        "setup_s": 10.0,
        "setup_alone_s": 8.0,
        "setup_cpu_s": 1.0,
        "charon_cpu_s": 3.0,
        "charon_alone_cpu_s": 2.5,
        "held_s": 60.0,
        "held_cpu_s": 0.6,
        "idle_cpu_s": 0.1,
        **changes,
    }


def cell(lines: list[str], title: str) -> str:
    (line,) = [line for line in lines if line.strip().startswith(title)]
    return line.rpartition("  ")[2]


def test_the_table_has_medians_extremes_and_rates() -> None:
    lines = table(results())
    assert cell(lines, "first data packet to first direct") == "200 ms (100 ms to 300 ms)"
    assert cell(lines, "first data packet until both") == "300 ms (200 ms to 400 ms)"
    assert cell(lines, "hub switched on, 3 spokes") == "9.0 s (8.0 s to 10.0 s)"
    assert cell(lines, "the last of them") == "10.0 s"
    assert cell(lines, "SA set-ups, 100 peers") == "10.0 /s"
    assert cell(lines, "by charon alone") == "12.5 /s"
    assert cell(lines, "CPU per SA set up") == "10.0 ms"
    assert cell(lines, "added CPU") == "0.300 s per hour"


def test_what_did_not_happen_is_not_hidden() -> None:
    lines = table(results(direct_s=[0.1, None, None], forwarding_s=[9.0, None, 8.0]))
    assert cell(lines, "first data packet to first direct") == "never (100 ms to never)"
    assert cell(lines, "the last of them") == "never"


def test_the_quick_run_is_smaller_in_everything() -> None:
    quick, full = Effort.of(quick=True), Effort.of(quick=False)
    assert (quick.rounds, quick.spokes, quick.peers) < (full.rounds, full.spokes, full.peers)
    assert full.rounds == 20
    assert full.spokes == 50
