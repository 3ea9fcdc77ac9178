"""Turns rows into the JSON of the control API."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, cast, get_args

from nhrpd_py.core.queries import View
from nhrpd_py.core.rows import InterfaceRow, Row

ROWS_PER_SLICE = 256
"""About 2 ms of work, after which the pump may run."""


def render(view: View, rows: Sequence[Row], problems: Mapping[str, str]) -> Iterator[str]:
    """Yields one JSON object, some rows at a time."""
    yield f'{{"{view.value}": ['
    for start in range(0, len(rows), ROWS_PER_SLICE):
        part = [_row(row, problems) for row in rows[start : start + ROWS_PER_SLICE]]
        text = json.dumps(part)[1:-1]
        yield text if start == 0 else f", {text}"
    yield "]}\n"


def _reader(kind: type[Row]) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    names = tuple(field.name for field in fields(kind))
    return names, cast("Callable[[Any], tuple[Any, ...]]", attrgetter(*names))


READERS = {kind: _reader(kind) for kind in get_args(Row)}
"""Type of row → its keys, and the function that reads its values."""


def _row(row: Row, problems: Mapping[str, str]) -> dict[str, Any]:
    """Returns the values of a row by key. (`dataclasses.asdict` copies deeply and takes eight times
    as long.)"""
    names, values = READERS[type(row)]
    found = dict(zip(names, values(row), strict=True))
    if isinstance(row, InterfaceRow) and row.redirect and row.problem is None:
        found["problem"] = problems.get("nflog")
    return found
