"""Writes what import made: into a directory, all or nothing, or as one text."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from nhrpd_py.cli.importing.emit.output import Output
from nhrpd_py.cli.importing.hand_over import Imported

REPORT = "not-carried-over.txt"
PUBLIC = 0o644
PRIVATE = 0o600


class RefusedToWriteError(Exception):
    """Nothing was written; the text is a sentence."""


def as_text(imported: Imported) -> Iterator[str]:
    """Yields everything as one text, with a line above each file."""
    for output in imported.outputs:
        yield f"# ──── {output.name} → {output.place}"
        yield output.text
    yield from (f"# {line}" for line in imported.report)


def into_directory(imported: Imported, directory: str, *, force: bool) -> list[str]:
    """Writes all files, and the report beside them; returns what was written, a line each.

    Raises RefusedToWriteError, without any change, if one of the files is there already; OSError. Files are
    written beside their places first, and moved there when all of them are whole.
    """
    outputs = list(imported.outputs)
    if imported.report:
        outputs.append(Output(REPORT, "(for you)", "\n".join(imported.report) + "\n"))
    Path(directory).mkdir(parents=True, exist_ok=True)
    there = [output.name for output in outputs if os.path.lexists(Path(directory) / output.name)]
    if there and not force:
        raise RefusedToWriteError(
            f"{directory} has {', '.join(there)} already: nothing was written (--force replaces them)"
        )
    waiting: list[tuple[Path, Path]] = []
    try:
        for output in outputs:  # each is known before the next one may fail
            waiting += [_beside(Path(directory), output)]
    except OSError:
        _forget(waiting)
        raise
    placed = 0
    try:
        for temporary, place in waiting:
            if force:
                temporary.replace(place)
            else:
                os.link(temporary, place)  # fails where somebody made one meanwhile
                temporary.unlink()
            placed += 1
    except OSError:
        _forget(waiting[placed:])
        if not force:
            for _, place in waiting[:placed]:
                place.unlink(missing_ok=True)
        raise
    return [f"{directory}/{output.name} → {output.place}" for output in outputs]


def _beside(directory: Path, output: Output) -> tuple[Path, Path]:
    place = directory / output.name
    temporary = directory / f".{output.name}.{os.getpid()}"
    mode = PRIVATE if output.secret else PUBLIC
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(output.text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary, place


def _forget(waiting: Sequence[tuple[Path, Path]]) -> None:
    for temporary, _ in waiting:
        temporary.unlink(missing_ok=True)
