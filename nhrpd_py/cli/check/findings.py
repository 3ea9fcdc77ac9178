"""What a check found: the rows of `nhrpctl check`, and its JSON contract."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """How grave a finding is; only `problem` makes the exit status 1."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNKNOWN = "unknown"
    """The fact could not be read, and the finding says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about one thing, and what mends it."""

    area: str
    """kernel | firewall | redirect | multicast | guard | ipsec | routing | daemon | names"""
    subject: str
    state: State
    finding: str
    remedy: str | None = None
    """A command, or a line for the file that it names; None: nothing is to be mended."""

    def row(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Unread:
    """Stands in for a fact that could not be read."""

    why: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Area:
    """Makes findings of one area about one subject."""

    name: str
    subject: str

    def ok(self, text: str) -> Finding:
        return Finding(self.name, self.subject, State.OK, text)

    def warning(self, text: str, remedy: str) -> Finding:
        return Finding(self.name, self.subject, State.WARNING, text, remedy)

    def problem(self, text: str, remedy: str) -> Finding:
        return Finding(self.name, self.subject, State.PROBLEM, text, remedy)

    def unread(self, missing: Unread) -> Finding:
        return Finding(self.name, self.subject, State.UNKNOWN, missing.why, missing.remedy)
