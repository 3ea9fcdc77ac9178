"""What is kept of one circuit, apart from its CHILD_SAs; `circuits` has the states and what changes them."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum

from nhrpd_py.core.events import PacketReceived


class CircuitState(Enum):
    IDLE = "idle"
    WANTED = "wanted"
    FAILED = "failed"
    ANSWERED = "answered"
    UP = "up"


FAILING_S = 300.0
"""How long an attempt counts as failing that nobody repeats."""


@dataclass(slots=True, eq=False)
class AttemptFailure:
    """Why the last attempt to get an SA failed."""

    reason: str
    count: int = 0
    """Hold-downs of the peer in a row."""
    held_down_until: float = 0.0
    at: float = 0.0
    """When it failed last."""


@dataclass(slots=True, eq=False)
class Circuit:
    """The state of the path to one NBMA address, apart from its CHILD_SAs."""

    needed_by: dict[Hashable, bool] = field(default_factory=dict)
    """User of the circuit → whether it needs the peer as a next hop server."""
    failure: AttemptFailure | None = None
    waits_for_peer: bool = False
    """The peer initiated the SA and may not be able to receive through it yet."""
    held_packets: list[PacketReceived] = field(default_factory=list)
    """Packets that arrived before charon's report of their SA."""

    def is_failing(self, now: float) -> bool:
        """Returns whether attempts fail at present: somebody needs the SA, or did a while ago."""
        if self.failure is None:
            return False
        until = max(self.failure.held_down_until, self.failure.at + FAILING_S)
        return bool(self.needed_by) or now < until

    @property
    def to_server(self) -> bool:
        return any(self.needed_by.values())

    @property
    def is_empty(self) -> bool:
        return not (self.needed_by or self.failure or self.waits_for_peer or self.held_packets)
