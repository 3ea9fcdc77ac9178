"""Draws tables for people: what `nhrpctl` prints without `--json`.

A table that fits the terminal is drawn in colour; in a narrow one and in a pipe a row is one plain
line, and nothing is cut or folded.
"""

import shutil
import sys
from collections.abc import Sequence

from nhrpd_py.cli.tables import TABLES, Column, cell
from nhrpd_py.cli.words import Row

RICH_GAP = 3
"""Columns of the terminal that rich puts around a cell."""
RICH_ROWS = 400
"""Beyond this many rows, rich takes seconds for its layout; plain columns do."""


def show(view: str, rows: Sequence[Row]) -> None:
    """Prints a view as a table and its legend."""
    table = TABLES[view]
    if not rows:
        sys.stdout.write(f"{table.empty}\n")
        return
    columns = [
        column
        for column in table.columns
        if not column.optional or any(column.text(row) != "-" for row in rows)
    ]
    cells = [[column.text(row) for column in columns] for row in rows]
    if sys.stdout.isatty() and len(rows) <= RICH_ROWS and _fits(columns, cells):
        _rich(columns, cells)
    else:
        _aligned(columns, cells)
    legend = list(table.legend(rows))
    if legend:
        sys.stdout.write("\n" + "".join(f"{line}\n" for line in legend))
    sys.stdout.flush()  # a full disk is an error here, and would be ignored at exit


def _widths(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[int]:
    titles = [column.title for column in columns]
    return [max(map(len, texts)) for texts in zip(titles, *cells, strict=True)]


def _fits(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> bool:
    """Tells whether the terminal is wide enough; folded addresses would be harder to read than long
    lines."""
    widths = _widths(columns, cells)
    return sum(widths) + RICH_GAP * len(widths) <= shutil.get_terminal_size().columns


def _rich(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    from rich import box  # noqa: PLC0415 (a tenth of a second that --json should not pay)
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table as RichTable  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
    for line in cells:
        drawn.add_row(*(Text(text, style=STYLES.get(text, "")) for text in line))
    Console(width=shutil.get_terminal_size().columns).print(drawn)


STYLES = {
    "up": "green",
    "active": "green",
    "down": "red",
    "PROBLEM": "bold red",
    "failed": "red",
    "negative": "red",
    "probe": "yellow",
    "registering": "yellow",
    "refused": "red",
    "incomplete": "yellow",
    "waiting": "yellow",
}


def _aligned(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    """Prints each row as one line, however long; nothing is cut."""
    widths = _widths(columns, cells)
    for line in ([column.title for column in columns], *cells):
        padded = [
            text.rjust(width) if column.right else text.ljust(width)
            for text, width, column in zip(line, widths, columns, strict=True)
        ]
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def notice(row: Row) -> str:
    """Writes a line of `nhrpctl monitor`."""
    import datetime as dt  # noqa: PLC0415 (nothing else needs it)

    at = dt.datetime.fromtimestamp(row["time"]).astimezone()
    pairs = [
        f"{key}={cell(value)}"
        for key, value in row.items()
        if key not in {"time", "event", "level"} and value is not None
    ]
    return f"{at:%H:%M:%S}.{at.microsecond // 1000:03} {row['event']:<24} {' '.join(pairs)}"
