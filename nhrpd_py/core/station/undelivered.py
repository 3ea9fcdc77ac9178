"""What the network tells of outer packets that did not arrive: ICMP errors, by the NBMA address that they are about.

An ICMP error is a hint that anybody can forge. It is shown, it makes the next probe due at once, and it explains a
silence; it takes nothing down. What the peer itself answers afterwards refutes it.
"""

from collections import Counter
from typing import NamedTuple

from nhrpd_py.core.address import Address, format_address
from nhrpd_py.core.events import Obstacle, OuterProtocol, PacketUndelivered

SHOWN_S = 60.0
"""How long a hint is shown after the last error of its kind."""
MAX_HINTS = 1024
"""NBMA addresses with a hint; the oldest one makes room."""


class Hint(NamedTuple):
    obstacle: Obstacle
    reason: str
    at: float


class Undelivered:
    """The hints about the peers of one interface, and how many errors came. Owned by the interface."""

    __slots__ = ("_hints", "counts")

    def __init__(self) -> None:
        self._hints: dict[Address, Hint] = {}
        self.counts: Counter[Obstacle] = Counter()

    def __len__(self) -> int:
        return len(self._hints)

    def note(self, event: PacketUndelivered, now: float) -> str:
        """Counts and keeps an error about a peer; returns what it says, for people."""
        self.counts[event.obstacle] += 1
        if self._hints.pop(event.remote, None) is None and len(self._hints) >= MAX_HINTS:
            del self._hints[next(iter(self._hints))]
        reason = describe(event)
        self._hints[event.remote] = Hint(event.obstacle, reason, now)
        return reason

    def reason(self, nbma: Address, now: float) -> str | None:
        """Returns what was said of packets to an NBMA address a moment ago, for people."""
        hint = self._hints.get(nbma)
        if hint is None or now - hint.at >= SHOWN_S:
            return None
        return hint.reason

    def explanation(self, nbma: Address, now: float) -> str | None:
        """Returns what explains that a peer does not answer: our questions are small."""
        hint = self._hints.get(nbma)
        is_other = hint is not None and hint.obstacle is Obstacle.TOO_BIG
        return None if is_other else self.reason(nbma, now)

    def reasons(self, now: float) -> list[tuple[Address, str]]:
        """Returns what was said a moment ago, by NBMA address."""
        return [
            (nbma, each.reason) for nbma, each in self._hints.items() if now - each.at < SHOWN_S
        ]

    def refute(self, nbma: Address) -> None:
        """Forgets what was said of a peer that answered. That large packets do not fit is no less true then."""
        hint = self._hints.get(nbma)
        if hint is not None and hint.obstacle is not Obstacle.TOO_BIG:
            del self._hints[nbma]


def describe(event: PacketUndelivered) -> str:
    """Returns what an ICMP error says, as a sentence."""
    what = event.protocol.value
    remote, reporter = format_address(event.remote), format_address(event.reporter)
    itself = event.reporter == event.remote
    by = "its own packet filter" if itself else f"a packet filter at {reporter}"
    match event.obstacle:
        case Obstacle.NO_ROUTE if event.reporter == event.local:
            return f"this machine does not reach {remote}: no answer to its ARP or neighbour requests, or no route"
        case Obstacle.NO_ROUTE:
            return f"{reporter} knows no way to {remote}"
        case Obstacle.NO_PROTOCOL:
            return f"{remote} does not take {what}: the protocol is unreachable there ({reporter} says so)"
        case Obstacle.NO_PORT if event.protocol is OuterProtocol.GRE and itself:
            key = "without a key" if event.key is None else f"for GRE key {event.key}"
            local = format_address(event.local)
            return f"{remote} has no tunnel {key} that takes packets from {local}, or {by} rejects them"
        case Obstacle.NO_PORT:
            return f"{by} rejects {what} to {remote}"
        case Obstacle.PROHIBITED:
            return f"{by} prohibits {what} to {remote}"
        case Obstacle.TOO_BIG:
            size = f"more than {event.mtu} octets" if event.mtu else "full size"
            return f"outer packets of {size} do not fit the way to {remote} ({reporter} says so)"
        case Obstacle.EXPIRED:
            return f"packets to {remote} go round in circles, or too far: they expire at {reporter}"
