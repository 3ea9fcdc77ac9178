"""Turns the samples of profiled.py into text: where our daemon spends its time."""

from __future__ import annotations

import json
from pathlib import Path

from tools.lab.guest import REPOSITORY

SHOWN = 20


def profile_text(profiles: dict[str, Path]) -> str:
    """Returns, for each phase, the functions with the most time, alone and with their callees."""
    return "\n\n".join(_phase_text(name, path) for name, path in profiles.items())


def _phase_text(name: str, path: Path) -> str:
    profile = json.loads(path.read_text())
    samples = profile["samples"] or 1
    lines = [f"Where nhrpd_py spends {name} ({samples} samples)", "", "  by itself"]
    for file, line, function, count in profile["own"][:SHOWN]:
        lines.append(f"  {count / samples:6.1%}  {_place(file, line)} {function}")
    lines += ["", "  with what it calls"]
    ours = [row for row in profile["whole"] if _is_ours(row[0])]
    for file, line, function, count in ours[:SHOWN]:
        lines.append(f"  {count / samples:6.1%}  {_place(file, line)} {function}")
    return "\n".join(lines)


def _is_ours(file: str) -> bool:
    return Path(file).is_relative_to(REPOSITORY / "nhrpd_py")


def _place(file: str, line: int) -> str:
    path = Path(file)
    if _is_ours(file):
        return f"{path.relative_to(REPOSITORY)}:{line}"
    parts = path.parts
    start = parts.index("site-packages") + 1 if "site-packages" in parts else len(parts) - 1
    return f"{'/'.join(parts[start:])}:{line}"
