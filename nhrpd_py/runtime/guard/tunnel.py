"""One protected tunnel, as the clear-text guard sees it.

How a tunnel goes from state to state; each input is a method of `GuardedTunnel`, called once for
each comparison with the kernel:

                 input:  stands      unread       not_put_back   bypassed
    state  STANDING      STANDING    UNREAD       FAILING        REFUSED
           UNREAD        STANDING    UNREAD       FAILING        REFUSED
           FAILING       STANDING    FAILING      REFUSED        REFUSED
           REFUSED       STANDING    REFUSED      REFUSED        REFUSED

A tunnel begins as STANDING, when its policies were installed; `closed_by_caller` begins it as
REFUSED. The engine is told when a tunnel becomes REFUSED and when that is over.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from nhrpd_py.core.effects import ProtectedGre
from nhrpd_py.core.notices import GuardFailed, Notice


class TunnelState(Enum):
    """Says whether a tunnel's policies keep it from clear text."""

    STANDING = auto()
    """They stand in the kernel, and nothing has it skip them."""
    UNREAD = auto()
    """The kernel did not show them, which does not say that they are gone."""
    FAILING = auto()
    """They could not be put back at the first try."""
    REFUSED = auto()
    """They could not be put back twice, or a setting has the kernel skip them: nothing may be sent.
    """


@dataclass(frozen=True, slots=True)
class Listeners:
    """Holds the functions that are called when a tunnel's state changes."""

    publish: Callable[[Notice], None]
    refused: Callable[[int, str], None]
    """The tunnel of an ifindex is not protected any more, and why."""
    mended: Callable[[int], None]
    """It is protected again."""


class GuardedTunnel:
    """Keeps track of whether one tunnel's GRE is kept from passing in clear."""

    __slots__ = ("_listeners", "gre", "ifindex", "name", "problem", "state")

    def __init__(self, name: str, ifindex: int, gre: ProtectedGre, listeners: Listeners) -> None:
        self.name = name
        self.ifindex = ifindex
        self.gre = gre
        self.state = TunnelState.STANDING
        self.problem: str | None = None
        """Why it is not STANDING, for people."""
        self._listeners = listeners

    def closed_by_caller(self, problem: str) -> None:
        """Notes that a setting undoes the policies from the start, so that the caller keeps the
        tunnel closed."""
        self.state, self.problem = TunnelState.REFUSED, problem

    def stands(self) -> None:
        """Notes that the kernel has the policies and obeys them."""
        self._enter(TunnelState.STANDING)

    def unread(self, problem: str) -> None:
        """Notes that the kernel's policies could not be read."""
        self._enter(
            TunnelState.UNREAD if self.state is TunnelState.STANDING else self.state, problem
        )

    def not_put_back(self, problem: str) -> None:
        """Notes that a policy is missing or replaced, and that the kernel refused to restore it."""
        untried = self.state in (TunnelState.STANDING, TunnelState.UNREAD)
        self._enter(TunnelState.FAILING if untried else TunnelState.REFUSED, problem)

    def bypassed(self, problem: str) -> None:
        """Notes that a setting makes the kernel skip all policies."""
        self._enter(TunnelState.REFUSED, problem)

    def _enter(self, state: TunnelState, problem: str | None = None) -> None:
        before, self.state = self.state, state
        known, self.problem = self.problem, problem
        if problem is not None and problem != known:
            self._listeners.publish(GuardFailed(interface=self.name, reason=problem))
        if state is TunnelState.REFUSED and before is not TunnelState.REFUSED:
            self._listeners.refused(self.ifindex, problem or "")
        elif before is TunnelState.REFUSED and state is TunnelState.STANDING:
            self._listeners.mended(self.ifindex)
