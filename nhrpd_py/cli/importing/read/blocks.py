"""Reads configurations of commands in blocks, as vtysh and IOS print them.

Blocks are told by indentation, or, where a page has lost it, by which commands belong together.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from nhrpd_py.cli.importing.node import Node, Said
from nhrpd_py.cli.importing.rules import Place, Rules, apply
from nhrpd_py.cli.importing.source import Source

ENDS = frozenset(("exit", "end", "quit", "exit-vrf", "exit-address-family"))
PROMPT = re.compile(r"[\w./()@~:-]+[#>]\s*(?P<typed>.*)")
"""A command that somebody typed at a prompt, and copied with it."""


@dataclass(frozen=True, slots=True)
class Block:
    """A kind of block: how it begins, and what becomes of its lines."""

    kind: str
    begins: re.Pattern[str]
    """`subject` is its only group."""
    collected: bool = False
    """Its lines are returned as they are, to be translated as a whole."""
    single: bool = False
    """It is one line."""
    name: Callable[[str], str] = str
    """Makes one name of all spellings of a subject."""


@dataclass(slots=True)
class Collected:
    """The lines of one block that is translated as a whole."""

    head: Said
    lines: list[Said] = field(default_factory=list)


@dataclass(slots=True)
class Grammar:
    """What a system's configuration is made of."""

    rules: Rules
    blocks: tuple[Block, ...]
    comment: str = "!"
    on_block: Callable[[Place, str], None] | None = None
    """Hears of every block that begins: its place, and its kind."""
    concerns: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    """Kind of block → what an unknown command in it must look like to be named; others are put aside."""
    lone_interface: str = ""
    """The interface that commands of interfaces are about where no block says it."""


def read_blocks(source: Source, node: Node, grammar: Grammar, *, several: bool) -> list[Collected]:
    """Carries over what the rules know; returns the blocks that are collected, in order. Raises
    InputError."""
    return _Reader(source, node, grammar, several=several).run()


class _Reader:
    def __init__(self, source: Source, node: Node, grammar: Grammar, *, several: bool) -> None:
        self._source = source
        self._node = node
        self._grammar = grammar
        self._several = several
        self._kind = ""
        self._subject = ""
        self._has_indented_lines = False
        self._collected: list[Collected] = []
        self._collecting: Collected | None = None

    def run(self) -> list[Collected]:
        for number, line in self._source.numbered():
            said = self._source.said(number)
            typed = PROMPT.fullmatch(said.text)
            if typed is not None:
                said = Said(said.file, said.line, typed["typed"])
            if not said.text or said.text.startswith((self._grammar.comment, "#")):
                if line.startswith(self._grammar.comment) and not line[1:].strip():
                    self._leave()
                continue
            self._take(said, indented=line[:1].isspace())
        self._check_end()
        return self._collected

    def _check_end(self) -> None:
        """A file that ends within its last command is not whole. Raises InputError."""
        if not self._source.ends_within_line:
            return
        number = len(self._source.lines)
        text = self._source.said(number).text
        command = self._grammar.rules.incomplete(self._kind, text)
        if command is not None:
            raise self._source.fault(number, f"the file ends within a command ({command})")

    def _leave(self) -> None:
        self._kind = self._subject = ""
        self._has_indented_lines = False
        self._collecting = None

    def _take(self, said: Said, *, indented: bool) -> None:
        if said.text in ENDS and not self._is_within_collected(said, indented=indented):
            self._leave()
            return
        if not indented:
            if self._begins(said):
                return
            if self._has_indented_lines:
                self._leave()
        self._has_indented_lines |= indented
        if self._collecting is not None:
            if indented or self._grammar.rules.find("", said.text) is None:
                self._collecting.lines.append(said)
                return
            self._leave()
        place = Place(self._node, said, self._subject, self._several, self._kind)
        if self._kind and apply(self._grammar.rules, place, self._kind):
            return
        if apply(self._grammar.rules, place, ""):
            self._leave()
            return
        if not self._kind and self._grammar.lone_interface:
            place.subject, place.kind = self._grammar.lone_interface, "interface"
            if apply(self._grammar.rules, place, "interface"):
                return
        if indented and self._begins(said):  # a page that indents whole configurations
            return
        self._unknown(place)

    def _is_within_collected(self, said: Said, *, indented: bool) -> bool:
        if self._collecting is None:
            return False
        return indented or said.text == "exit-address-family"

    def _begins(self, said: Said) -> bool:
        for block in self._grammar.blocks:
            found = block.begins.fullmatch(said.text)
            if found is None:
                continue
            self._leave()
            self._kind, self._subject = block.kind, block.name(found["subject"])
            if block.collected:
                self._collecting = Collected(said)
                self._collected.append(self._collecting)
            if block.single:
                self._leave()
            if self._grammar.on_block is not None:
                place = Place(self._node, said, self._subject, self._several, self._kind)
                self._grammar.on_block(place, block.kind)
            return True
        return False

    def _unknown(self, place: Place) -> None:
        """Names a command that no rule knows, where the tunnel may depend on it."""
        command = self._grammar.rules.incomplete(self._kind, place.said.text)
        concerned = self._grammar.concerns.get(self._kind)
        if command is not None:
            place.refuse(f"The command is not complete ({command}).")
        elif concerned is not None and concerned.match(place.said.text):
            place.refuse("nhrpd has no counterpart for it that import knows of.")
        else:
            self._node.aside.append(place.said)
