"""The state of one protected tunnel in the clear-text guard.

The table has the next states; each input is a method of `GuardedTunnel`, called once for each
comparison with the kernel:

                 input:  stands      unread       not_put_back   bypassed
    state  STANDING      STANDING    UNREAD       FAILING        REFUSED
           UNREAD        STANDING    UNREAD       FAILING        REFUSED
           FAILING       STANDING    FAILING      REFUSED        REFUSED
           REFUSED       STANDING    REFUSED      REFUSED        REFUSED

A tunnel begins as STANDING, when its policies were installed; `closed_by_caller` begins it as
REFUSED. The engine is notified when a tunnel enters REFUSED and when it leaves it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from nhrpd_py.core.effects import ProtectedGre
from nhrpd_py.core.notices import GuardFailed, Notice
from nhrpd_py.runtime.guard.passes import Pair


class TunnelState(Enum):
    """Whether a tunnel's policies keep it from clear text."""

    STANDING = auto()
    """The policies are in the kernel, and no setting makes it skip them."""
    UNREAD = auto()
    """The kernel's policies could not be read; they may well be there."""
    FAILING = auto()
    """Missing policies could not be restored at the first try."""
    REFUSED = auto()
    """They could not be restored twice, a setting makes the kernel skip them, or another program's
    policy wins over them: nothing may be sent."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """The functions that are called when a tunnel's state changes."""

    publish: Callable[[Notice], None]
    refused: Callable[[int, str], None]
    """Called with the ifindex of a tunnel that is not protected any more, and the reason."""
    mended: Callable[[int], None]
    """Called with the ifindex of a tunnel that is protected again."""


class GuardedTunnel:
    """Tracks whether the policies of one tunnel block its GRE in clear text."""

    __slots__ = (
        *("_listeners", "gre", "ifindex", "name", "pairs", "problem", "state", "switches_on"),
    )

    def __init__(self, name: str, ifindex: int, gre: ProtectedGre, listeners: Listeners) -> None:
        self.name = name
        self.ifindex = ifindex
        self.gre = gre
        self.state = TunnelState.STANDING
        self.problem: str | None = None
        self.switches_on: list[str] = []
        """The settings that make the kernel skip all policies, when it was last looked."""
        """Why the tunnel is not STANDING, for people."""
        self.pairs: set[Pair] = set()
        """Between these addresses its packets go. While it is REFUSED none is forgotten: they may
        be why."""
        self._listeners = listeners

    def takes_over(self, before: "GuardedTunnel") -> None:
        """Remembers why the tunnel was refused before it was opened anew."""
        if before.state is TunnelState.REFUSED:
            self.pairs = before.pairs

    def leaves(self, pair: Pair) -> None:
        """Notes that no packets go between two addresses any more."""
        if self.state is not TunnelState.REFUSED:
            self.pairs.discard(pair)

    def closed_by_caller(self, problem: str) -> None:
        """Begins as REFUSED: the policies have no effect, and the caller keeps the tunnel
        closed."""
        self.state, self.problem = TunnelState.REFUSED, problem

    def stands(self) -> None:
        """Notes that the kernel has the policies and applies them."""
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
        """Notes that a setting makes the kernel skip all policies, or that another program's policy
        wins over them."""
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
