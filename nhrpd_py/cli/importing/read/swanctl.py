"""Reads the text of a swanctl.conf that is given beside a configuration, or quoted by a guide."""

import re
from collections.abc import Iterator
from typing import Any

from nhrpd_py.cli.importing.connection import CHILD, connection_name
from nhrpd_py.cli.importing.node import Connection, Leftover, Node, Secret, Section
from nhrpd_py.cli.importing.source import Source

TOKEN = re.compile(r'\s+|#.*|"(?:[^"\\]|\\.)*"|[{}=]|[^\s{}=#"]+')
VALUE = re.compile(r'\s*+("(?:[^"\\]|\\.)*"|(?!")[^#{}]*)')
UNENDED = "a quotation mark has no end: the line is cut off"
DEEPEST = 16


def read_swanctl(source: Source, node: Node, *, several: bool) -> None:  # noqa: ARG001 (readers are alike)
    """Takes the connections and the pre-shared keys over. Raises InputError."""
    root = _Reader(source).run()
    for name, section in _sections(root.get("connections")):
        plain = connection_name(name)
        node.connections[plain] = Connection(plain, _adapted(source, section, node))
    for name, section in _sections(root.get("secrets")):
        key = section.get("secret")
        if name.startswith("ike") and isinstance(key, str):
            owners = [
                value
                for word, value in section.items()
                if word.startswith("id") and isinstance(value, str)
            ]
            node.secrets.append(Secret(key, owners))
            node.hidden.add(key)
        else:
            node.note(
                f"secrets.{name} of {source.name} stays in swanctl.conf: it is no pre-shared key."
            )
    for name in root.keys() - {"connections", "secrets"}:
        node.note(f"{name} of {source.name} stays in swanctl.conf as it is.")


def _sections(section: Any) -> Iterator[tuple[str, Section]]:
    if isinstance(section, dict):
        for name, value in section.items():
            if isinstance(value, dict):
                yield name, value


def _adapted(source: Source, section: Section, node: Node) -> Section:
    """Changes what nhrpd needs otherwise in the children."""
    for _, child in _sections(section.get("children")):
        if "reqid" in child:
            at = _line_with(source, "reqid")
            node.leftovers.append(
                Leftover(
                    source.said(at),
                    "One reqid for all peers mixes up their SAs: charon gives each its own.",
                )
            )
            del child["reqid"]
        if child.get("mode", "tunnel") != "transport":
            child["mode"] = "transport"
            node.note(
                "A child was not in transport mode: nhrpd protects GRE in transport mode, so it is now."
            )
        for key in ("mark_in", "set_mark_in"):
            child.setdefault(key, CHILD[key])
    return section


def _line_with(source: Source, word: str) -> int:
    return next(number for number, line in source.numbered() if line.strip().startswith(word))


class _Reader:
    """Reads sections, which end where their braces do."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._words: list[tuple[int, str]] = []
        for number, line in source.numbered():
            self._words += self._split(number, line)

    def _split(self, number: int, line: str) -> Iterator[tuple[int, str]]:
        """Yields the words of a line; a value is everything behind its `=`."""
        at = 0
        while at < len(line):
            found = TOKEN.match(line, at)
            if found is None:
                raise self._source.fault(number, UNENDED)
            word, at = found[0], found.end()
            if word[0].isspace() or word[0] == "#":
                continue
            yield number, word
            if word == "=":
                value = VALUE.match(line, at)
                if value is None:
                    raise self._source.fault(number, UNENDED)
                at = value.end()
                yield number, f"={value[1].strip()}"

    def run(self) -> dict[str, Any]:
        root: dict[str, Any] = {}
        stack = [(0, root)]
        name = ""
        for number, word in self._words:
            if word == "{":
                if not name or len(stack) >= DEEPEST:
                    raise self._source.fault(number, "a brace opens without a name before it")
                inner: dict[str, Any] = {}
                stack[-1][1][name] = inner
                stack.append((number, inner))
                name = ""
            elif word == "}":
                if len(stack) == 1:
                    raise self._source.fault(number, "a brace closes what was not opened")
                stack.pop()
                name = ""
            elif word == "=":
                continue
            elif word.startswith("=") and name:
                stack[-1][1][name] = _value(word[1:])
                name = ""
            else:
                name = word
        if len(stack) > 1:
            raise self._source.fault(
                stack[-1][0], "the brace that opens here is never closed: the file is not whole"
            )
        return root


def _value(text: str) -> str:
    if text.startswith('"'):
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text
