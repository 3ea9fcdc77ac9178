"""Text for a terminal of 100 columns: headings, and nhrpctl's tables folded where they are wider."""

from __future__ import annotations

import re
import textwrap

WIDTH = 100
INDENT = "    "


def heading(title: str) -> None:
    """Prints a heading."""
    print(f"\n{title}\n{'-' * len(title)}", flush=True)


def quoted(text: str) -> str:
    """Returns a command's output, indented; lines that are too wide go on below, nothing is cut."""
    room = WIDTH - len(INDENT)
    blocks = [_fitting(block.splitlines(), room) for block in text.strip("\n").split("\n\n")]
    lines = [line for block in blocks for line in (*block, "")][:-1]
    return "\n".join(f"{INDENT}{line}".rstrip() for line in lines)


def _fitting(lines: list[str], room: int) -> list[str]:
    if all(len(line) <= room for line in lines):
        return lines
    gap = _last_gap(lines, room)
    if gap is None:
        return [
            part
            for line in lines
            for part in textwrap.wrap(line, room, subsequent_indent="  ") or [""]
        ]
    left = [line[: gap.start()].rstrip() for line in lines]
    right = [f"  … {line[gap.end() :]}" for line in lines]
    return [*left, *_fitting(right, room)]


def _last_gap(lines: list[str], room: int) -> re.Match[str] | None:
    """Returns the last gap between two columns of a table before `room`: blank in every line."""
    if len(lines) < 2:
        return None
    width = max(map(len, lines))
    padded = [line.ljust(width) for line in lines]
    ink = "".join(" " if {*column} == {" "} else "x" for column in zip(*padded, strict=True))
    gaps = [gap for gap in re.finditer(r"(?<=x) {2,}(?=x)", ink) if gap.start() <= room]
    # No second fold between the mark of a folded part and its first column.
    return gaps[-1] if gaps and "…" not in lines[0][: gaps[-1].start()] else None
