"""Rules: which command of another system becomes which setting of ours.

The tables (`table/`) are lists of rules. They drive the import, and docs/interoperation.md is made of
them: what the page says is what happens.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from nhrpd_py.cli.importing import later
from nhrpd_py.cli.importing.node import Leftover, Node, Said, Setting, Tunnel, Value

BLANK = "\ue000"
"""Stands for a blank within a word while commands are compared."""
Found: TypeAlias = Mapping[str, str]
"""The words of a command that its pattern has in capitals."""


@dataclass(slots=True)
class Place:
    """Where a command stands, for the action that carries it over."""

    node: Node
    said: Said
    subject: str = ""
    """What the block around it is about: an interface, a crypto profile."""
    several: bool = False
    """There are several files: places name theirs."""
    kind: str = "interface"
    """What the subject is."""

    @property
    def where(self) -> str:
        return self.said.where(with_file=self.several)

    @property
    def tunnel(self) -> Tunnel:
        return self.node.tunnel(self.subject)

    def nhrp(self) -> Tunnel:
        """Returns the tunnel, which from now on is known to speak NHRP."""
        tunnel = self.tunnel
        tunnel.first = tunnel.first or self.said
        tunnel.carries_ipv6 |= self.said.text.startswith("ipv6 nhrp ")
        return tunnel

    def set(self, key: str, value: Value, remark: str = "") -> None:
        """Sets a key of the tunnel's table."""
        comment = f"{self.where}; {remark}" if remark else self.where
        self.nhrp().settings[key] = Setting(value, comment)

    def refuse(self, reason: str) -> None:
        """Leaves the line out. The reason is a sentence."""
        interface = self.subject if self.kind == "interface" else ""
        self.node.leftovers.append(Leftover(self.said, reason, interface))


Action: TypeAlias = Callable[[Place, Found], None]


@dataclass(frozen=True, slots=True)
class Rule:
    """One command of another system."""

    command: str
    """As people write it. `a|b`: one of these words; CAPITALS: any word, REST any words; `[…]`: may
    be left out."""
    becomes: str
    """What the page says: our setting, the file that it goes to, or a sentence why there is none."""
    do: Action | None = None
    """Carries it over. None: it is not carried over, and `becomes` says why."""
    block: str = ""
    """The kind of block that the command stands in; empty: in none."""
    needs: str = ""
    """The key of `later.LATER` without which it cannot be carried over."""
    partly: str = ""
    """The key without which a part of it cannot be: the action knows."""
    documented: bool = True

    @property
    def reason(self) -> str | None:
        """Why the command is not carried over, as a sentence; None if it is."""
        not_yet = later.reason(self.needs)
        if not_yet is None and self.do is None:
            return self.becomes
        return not_yet


@dataclass(frozen=True, slots=True)
class _Compiled:
    rule: Rule
    pattern: re.Pattern[str]
    words: tuple[str, ...]
    """The words that must be there, as in the command."""


@dataclass(slots=True)
class Rules:
    """Rules that are looked up by a command."""

    rules: Iterable[Rule]
    _index: dict[tuple[str, str], list[_Compiled]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for rule in self.rules:
            words = tuple(re.sub(r"\[[^\]]*\]", "", rule.command).split())
            compiled = _Compiled(rule, _pattern(rule.command), words)
            for first in words[0].split("|"):
                self._index.setdefault((rule.block, first), []).append(compiled)

    def find(self, block: str, text: str) -> tuple[Rule, Found] | None:
        """Returns the first rule that a command of a block matches, and the words in it."""
        first = text.partition(" ")[0]
        for each in self._index.get((block, first), ()):
            matched = each.pattern.fullmatch(text)
            if matched is not None:
                return each.rule, {
                    name: value for name, value in matched.groupdict().items() if value is not None
                }
        return None

    def incomplete(self, block: str, text: str) -> str | None:
        """Returns the command of which this is the beginning alone, if it is one."""
        words = text.split()
        for each in self._index.get((block, words[0]), ()) if words else ():
            if len(words) < len(each.words) and all(
                wanted.isupper() or word in wanted.split("|")
                for word, wanted in zip(words, each.words, strict=False)
            ):
                return each.rule.command
        return None


def _pattern(command: str) -> re.Pattern[str]:
    """Makes a regular expression of a command; words are separated by one blank."""
    text = ""
    for part in re.findall(r"\[|\]|[^\s\[\]]+", command):
        blank = " " if text else ""
        if part == "[":
            text += "(?:"
        elif part == "]":
            text += ")?"
        elif part == "REST":
            text += f"{blank}(?P<REST>.+)"
        elif part.isupper():
            text += f"{blank}(?P<{part.replace('-', '_')}>\\S+)"
        else:
            text += blank + "(?:" + "|".join(map(re.escape, part.split("|"))) + ")"
    return re.compile(text)


def apply(rules: Rules, place: Place, block: str, words: Sequence[str] | None = None) -> bool:
    """Carries a command over, or says why not; returns whether a rule knows it. `words`: those of the
    command, where blanks may be within words."""
    text = place.said.text
    if words is not None:
        text = " ".join(word.replace(" ", BLANK) for word in words)
    matched = rules.find(block, text)
    if matched is None:
        return False
    rule, found = matched
    if words is not None:
        found = {name: value.replace(BLANK, " ") for name, value in found.items()}
    reason = rule.reason
    if reason is not None:
        place.refuse(reason)
    elif rule.do is not None:
        rule.do(place, found)
    return True
