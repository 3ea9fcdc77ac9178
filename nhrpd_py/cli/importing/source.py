"""Reads files into lines of text, and says by its line what is wrong with one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nhrpd_py.cli.importing.node import Said

SIZE_LIMIT = 16 << 20
"""Octets of a file; configurations of routers have some hundred thousand at most."""
LONGEST_LINE = 65536
BYTE_ORDER_MARKS = {
    b"\xff\xfe": "UTF-16LE",
    b"\xfe\xff": "UTF-16BE",
}
PAGER = re.compile(r"^\s*<?-+ ?\(?[Mm]ore\)? ?-+>?|^--More--")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class InputError(Exception):
    """A file that cannot be imported: where, and why."""

    def __init__(self, name: str, line: int | None, reason: str) -> None:
        place = name if line is None else f"{name}: line {line}"
        super().__init__(f"{place}: {reason}")


@dataclass(frozen=True, slots=True)
class Source:
    """The lines of one file, numbered from 1."""

    name: str
    lines: tuple[str, ...]
    ends_within_line: bool = False
    """The last line has no end: the file may have been cut off there."""
    offset: int = 0
    """Lines of the file before these."""

    def said(self, number: int, text: str | None = None) -> Said:
        """Returns a line, or what is made of it, with single blanks between words."""
        line = self.lines[number - 1] if text is None else text
        return Said(self.name, number + self.offset, " ".join(line.split()))

    def numbered(self) -> Iterator[tuple[int, str]]:
        yield from enumerate(self.lines, 1)

    def fault(self, number: int, reason: str) -> InputError:
        return InputError(self.name, number + self.offset, reason)


def read_source(name: str, stdin: BinaryIO) -> Source:
    """Reads a file, or standard input for `-`. Raises InputError."""
    shown = "standard input" if name == "-" else name
    try:
        if name == "-":
            octets = stdin.read(SIZE_LIMIT + 1)
        else:
            with Path(name).open("rb") as file:
                octets = file.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:  # ValueError: a zero octet in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(shown, None, str(reason)) from None
    return source_of(shown, octets)


def source_of(name: str, octets: bytes) -> Source:
    """Makes lines of a file's octets. Raises InputError."""
    if len(octets) > SIZE_LIMIT:
        raise InputError(name, None, f"it has more than {SIZE_LIMIT >> 20} MiB: no configuration")
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if octets.startswith(mark):
            raise InputError(
                name, 1, f"it is {encoding}, not UTF-8: iconv -f {encoding} -t UTF-8 {name}"
            )
    octets = octets.removeprefix(b"\xef\xbb\xbf")
    zero = octets.find(0)
    if zero >= 0:
        raise InputError(
            name, _line_of(octets, zero), "a zero octet: it is not text (a binary or packed file?)"
        )
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            name,
            _line_of(octets, error.start),
            "it is not UTF-8: if it is Latin-1, iconv -f ISO-8859-1 -t UTF-8 makes it so",
        ) from None
    return _source(name, text)


def _source(name: str, text: str) -> Source:
    text = ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise InputError(name, 1, "it is empty")
    lines = text.split("\n")
    whole = lines[-1] == ""
    if whole:
        lines.pop()
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_LINE:
            raise InputError(name, number, f"it has more than {LONGEST_LINE} characters")
        if PAGER.match(line):
            raise InputError(
                name,
                number,
                "a pager's prompt: lines are missing here (terminal length 0, or | no-more, before show)",
            )
    return Source(name, tuple(lines), not whole)


def _line_of(octets: bytes, at: int) -> int:
    return octets.count(b"\n", 0, at) + 1
