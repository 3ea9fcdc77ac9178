"""The rows of the table that tell of a start."""

from typing import Any

from tools.benchmarks.report import table
from tools.benchmarks.start import import_seconds


def results(frr: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    return {
        "frr_version": "8.4.4",
        "contenders": {"frr": {"runs": [], **frr}, "nhrpd_py": {"runs": [], **ours}},
    }


def cells(lines: list[str], title: str) -> list[str]:
    (line,) = [line for line in lines if line.startswith(title)]
    return line.removeprefix(title).split()


def a_start(cpu_s: float, **resident: int) -> dict[str, Any]:
    return {"cpu_s": cpu_s, "resident": {name: size << 10 for name, size in resident.items()}}


def test_medians_of_all_daemons_together_and_imports_of_ours_alone() -> None:
    lines = table(
        results(
            {"starts": [a_start(0.02, nhrpd=5000, zebra=7000)]},
            {
                "starts": [a_start(0.5, nhrpd=48_000), a_start(0.7, nhrpd=50_000)],
                "imports_s": [0.3, 0.5, 0.4],
            },
        )
    )
    assert cells(lines, "start: memory, 2 s after it answers") == [
        *("12,000", "KiB", "49,000", "KiB", "4.08")
    ]
    assert cells(lines, "start: CPU until it answers") == ["0.02", "s", "0.60", "s", "30.00"]
    assert cells(lines, "start: CPU of the imports alone") == ["-", "0.40", "s", "-"]


def test_where_no_start_was_measured_no_row_tells_of_one() -> None:
    assert not [line for line in table(results({}, {})) if line.startswith("start:")]


def test_what_the_daemon_imports_can_be_imported() -> None:
    assert all(0 < seconds < 60 for seconds in import_seconds(runs=1))
