"""IKE between the nodes of a world: SAs come after a while, or fail, and go by DELETE, by DPD, or with their machine.

What a daemon has been told (`Ike.known`) lags behind what the kernels have (`Ike.sas`), as with a real charon: packets
can be ahead of the word about the SA that they came through.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nhrpd_py.core.address import Address
from nhrpd_py.core.effects import DropSa, EndSa, WantSa
from nhrpd_py.core.events import (
    Association,
    Event,
    IpsecLost,
    IpsecReady,
    SaFailed,
    SaGone,
    SaInstalled,
)

if TYPE_CHECKING:
    from tests.support.network import Node, World

Pair = tuple[Address, Address]

DPD_S = 10.0
MAX_BACK_OFF_S = 60.0
READY = IpsecReady("6.0.1", patched=False)


@dataclass(slots=True, eq=False)
class Ike:
    """One machine's charon."""

    sas: dict[Pair, set[int]] = field(default_factory=dict)
    known: dict[Pair, set[int]] = field(default_factory=dict)
    wanted: dict[Pair, WantSa] = field(default_factory=dict)
    pending: set[Pair] = field(default_factory=set)
    back_off_s: dict[Pair, float] = field(default_factory=dict)
    running: bool = True
    told: bool = False
    """The daemon has had its IpsecReady."""
    attempts: int = 0


class Charons:
    """See the module."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.failure = 0.0
        """The share of attempts that fail."""
        self.setup_s = 0.1
        self.unreachable: set[frozenset[Address]] = set()
        """Pairs between which IKE does not come through."""
        self._last_id = 0

    # What the engine wants.

    def want(self, node: "Node", effect: WantSa) -> None:
        pair = effect.local, effect.remote
        assert effect.local == node.nbma, "an SA from an address that is not ours"
        node.ike.wanted[pair] = effect
        node.ike.back_off_s.pop(pair, None)
        self._schedule(node, pair, effect.delay_s + self.setup_s)

    def drop(self, node: "Node", effect: DropSa) -> None:
        assert node.ike.wanted.pop((effect.local, effect.remote), None), "dropped in vain"

    def end(self, node: "Node", effect: EndSa) -> None:
        self.cut(node, (effect.local, effect.remote), "ended")

    # What happens.

    def booted(self, node: "Node") -> None:
        """A new daemon: charon is found in a moment, and tells what there is."""
        node.ike.wanted.clear()
        node.ike.known.clear()
        node.ike.told = False
        boots = node.boots

        def found() -> None:
            if node.boots == boots and node.alive and node.ike.running:
                self._tell_all(node)

        self._later(self._world.rng.random() * 3.0, node, found)

    def restart(self, node: "Node", seconds: float = 1.0) -> None:
        """charon ends, deleting its SAs, and is back after a while."""
        ike = node.ike
        if not ike.running:
            return
        ike.running = False
        self._world.give(node, IpsecLost("connection lost"))
        for pair in list(ike.sas):
            self.cut(node, pair, "deleted", own_at=seconds)

        def back() -> None:
            ike.running = True
            if node.alive:
                self._tell_all(node)
            for pair in ike.wanted:
                self._schedule(node, pair, self.setup_s)

        self._later(seconds, node, back)

    def lost_all(self, node: "Node") -> None:
        """The machine restarts, or has another address: its ends are gone, the others find out by DPD."""
        for pair in list(node.ike.sas):
            self.cut(node, pair, "dead peer", peer_at=DPD_S)

    def cut(
        self, node: "Node", pair: Pair, reason: str, *, own_at: float = 0.01, peer_at: float = 0.02
    ) -> None:
        """The SAs of a pair go, at both ends."""
        peer = self._world.at(pair[1])
        for identifier in list(node.ike.sas.get(pair, ())):
            self._gone(node, pair, identifier, reason, own_at)
            for other in (peer,) if peer is not None else ():
                self._gone_later(other, (pair[1], pair[0]), identifier, reason, peer_at)

    def rekey(self, node: "Node", pair: Pair) -> None:
        """A new SA, then the old ones go."""
        peer = self._world.at(pair[1])
        old = list(node.ike.sas.get(pair, ()))
        if peer is None or not old:
            return
        self._install(node, peer)
        for identifier in old:
            self._gone(node, pair, identifier, "rekeyed", 0.06)
            self._gone(peer, (pair[1], pair[0]), identifier, "rekeyed", 0.06)

    def carries(self, node: "Node", peer: "Node") -> bool:
        """Tells whether ESP of one is understood by the other."""
        mine = node.ike.sas.get((node.nbma, peer.nbma), set())
        return bool(mine & peer.ike.sas.get((peer.nbma, node.nbma), set()))

    def told(self, node: "Node", event: Event) -> None:
        """The daemon is about to hear of something."""
        known = node.ike.known
        match event:
            case SaInstalled(it):
                known.setdefault((it.local, it.remote), set()).add(it.id)
            case SaGone(local, remote, identifier, _):
                ids = known.get((local, remote), set())
                ids.discard(identifier)
                if not ids:
                    known.pop((local, remote), None)
            case IpsecReady():
                node.ike.told = True
            case _:
                pass

    def _tell_all(self, node: "Node") -> None:
        for pair, ids in list(node.ike.sas.items()):
            for identifier in ids:
                self._world.give(node, _installed(pair, identifier))
        for pair, ids in list(node.ike.known.items()):
            for identifier in ids - node.ike.sas.get(pair, set()):
                self._world.give(node, SaGone(*pair, identifier, "lost"))
        self._world.give(node, READY)

    def _attempt(self, node: "Node", pair: Pair) -> None:
        ike = node.ike
        ike.pending.discard(pair)
        if pair not in ike.wanted or pair in ike.sas or not ike.running or not node.alive:
            return
        ike.attempts += 1
        peer = self._world.at(pair[1])
        is_blocked = frozenset(pair) in self.unreachable
        fails = self._world.rng.random() < self.failure
        if (
            peer is not None
            and peer.ike.running
            and node.nbma == pair[0]
            and not is_blocked | fails
        ):
            ike.back_off_s.pop(pair, None)
            self._install(node, peer)
            return
        back_off_s = min(ike.back_off_s.get(pair, 1.0) * 2, MAX_BACK_OFF_S)
        ike.back_off_s[pair] = back_off_s
        self._schedule(node, pair, back_off_s)
        failed = SaFailed(local=pair[0], remote=pair[1], reason="no answer", retry_in_s=back_off_s)
        self._world.give(node, failed)

    def _schedule(self, node: "Node", pair: Pair, seconds: float) -> None:
        if pair not in node.ike.pending:
            node.ike.pending.add(pair)
            self._later(seconds, node, lambda: self._attempt(node, pair))

    def _install(self, node: "Node", peer: "Node") -> None:
        self._last_id += 1
        for one, other in ((node, peer), (peer, node)):
            pair = one.nbma, other.nbma
            one.ike.sas.setdefault(pair, set()).add(self._last_id)
            seconds = 0.01 + 0.05 * self._world.rng.random()
            self._world.later(seconds, one, _installed(pair, self._last_id))

    def _gone_later(
        self, node: "Node", pair: Pair, identifier: int, reason: str, seconds: float
    ) -> None:
        self._later(seconds, node, lambda: self._gone(node, pair, identifier, reason, 0.0))

    def _gone(self, node: "Node", pair: Pair, identifier: int, reason: str, seconds: float) -> None:
        ids = node.ike.sas.get(pair, set())
        if identifier not in ids:
            return
        ids.discard(identifier)
        if not ids:
            del node.ike.sas[pair]
            if pair in node.ike.wanted:
                self._schedule(node, pair, seconds + self.setup_s)
        # Never ahead of the word that it is there.
        self._world.later(max(seconds, 0.07), node, SaGone(*pair, identifier, reason))

    def _later(self, seconds: float, node: "Node", what: Callable[[], None]) -> None:
        self._world.later(seconds, node, what)


def _installed(pair: Pair, identifier: int) -> SaInstalled:
    local, remote = pair
    return SaInstalled(
        Association(id=identifier, local=local, remote=remote, identity=f"CN={remote.hex()}")
    )
