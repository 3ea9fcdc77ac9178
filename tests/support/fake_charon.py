"""IKE between the nodes of a network: SAs come after a while, or fail, and go by DELETE, by DPD, or with their machine.

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
    from tests.support.network import Network
    from tests.support.station import Station

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

    def forget_daemon(self) -> None:
        """The daemon ended: it wants nothing any more, and the next one knows nothing."""
        self.wanted.clear()
        self.known.clear()
        self.told = False

    def carry_out(self, effect: WantSa | DropSa | EndSa) -> None:
        """Keeps what the daemon wants."""
        match effect:
            case WantSa():
                self.wanted[effect.local, effect.remote] = effect
            case DropSa():
                assert self.wanted.pop((effect.local, effect.remote), None), "dropped in vain"
            case EndSa():
                pass

    def hear(self, event: Event) -> None:
        """Keeps what the daemon is told."""
        match event:
            case SaInstalled(it):
                self.known.setdefault((it.local, it.remote), set()).add(it.id)
            case SaGone(local, remote, identifier, _):
                ids = self.known.get((local, remote), set())
                ids.discard(identifier)
                if not ids:
                    self.known.pop((local, remote), None)
            case IpsecReady():
                self.told = True
            case _:
                pass


class Charons:
    """The charons of all stations of a network."""

    def __init__(self, network: "Network") -> None:
        self._network = network
        self.failure = 0.0
        """The share of attempts that fail."""
        self.setup_s = 0.1
        self.unreachable: set[frozenset[Address]] = set()
        """Pairs between which IKE does not come through."""
        self._last_id = 0

    # What the engine wants.

    def asked(self, station: "Station", effect: WantSa | DropSa | EndSa) -> None:
        """Does what a daemon asks."""
        pair = effect.local, effect.remote
        match effect:
            case WantSa():
                assert effect.local == station.site.nbma, "an SA from an address that is not ours"
                station.ike.back_off_s.pop(pair, None)
                self._schedule(station, pair, effect.delay_s + self.setup_s)
            case DropSa():
                pass
            case EndSa():
                self.cut(station, pair, "ended")

    # What happens.

    def booted(self, station: "Station") -> None:
        """A new daemon: charon is found in a moment, and tells what there is."""
        boots = station.boots

        def found() -> None:
            if station.boots == boots and station.alive and station.ike.running:
                self._tell_all(station)

        self._later(self._network.rng.random() * 3.0, station, found)

    def restart(self, station: "Station", seconds: float = 1.0) -> None:
        """charon ends, deleting its SAs, and is back after a while."""
        ike = station.ike
        if not ike.running:
            return
        ike.running = False
        self._network.give(station.name, IpsecLost("connection lost"))
        for pair in list(ike.sas):
            self.cut(station, pair, "deleted", own_at=seconds)

        def back() -> None:
            ike.running = True
            if station.alive:
                self._tell_all(station)
            for pair in ike.wanted:
                self._schedule(station, pair, self.setup_s)

        self._later(seconds, station, back)

    def lost_all(self, station: "Station") -> None:
        """The machine restarts, or has another address: its ends are gone, the others find out by DPD."""
        for pair in list(station.ike.sas):
            self.cut(station, pair, "dead peer", peer_at=DPD_S)

    def cut(
        self,
        station: "Station",
        pair: Pair,
        reason: str,
        *,
        own_at: float = 0.01,
        peer_at: float = 0.02,
    ) -> None:
        """The SAs of a pair go, at both ends."""
        peer = self._network.at(pair[1])
        for identifier in list(station.ike.sas.get(pair, ())):
            self._gone(station, pair, identifier, reason, own_at)
            for other in (peer,) if peer is not None else ():
                self._gone_later(other, (pair[1], pair[0]), identifier, reason, peer_at)

    def rekey(self, station: "Station", pair: Pair) -> None:
        """A new SA, then the old ones go."""
        peer = self._network.at(pair[1])
        old = list(station.ike.sas.get(pair, ()))
        if peer is None or not old:
            return
        self._install(station, peer)
        for identifier in old:
            self._gone(station, pair, identifier, "rekeyed", 0.06)
            self._gone(peer, (pair[1], pair[0]), identifier, "rekeyed", 0.06)

    def carries(self, station: "Station", peer: "Station") -> bool:
        """Tells whether ESP of one is understood by the other."""
        mine = station.ike.sas.get((station.site.nbma, peer.site.nbma), set())
        return bool(mine & peer.ike.sas.get((peer.site.nbma, station.site.nbma), set()))

    def _tell_all(self, station: "Station") -> None:
        for pair, ids in list(station.ike.sas.items()):
            for identifier in ids:
                self._network.give(station.name, _installed(pair, identifier))
        for pair, ids in list(station.ike.known.items()):
            for identifier in ids - station.ike.sas.get(pair, set()):
                self._network.give(station.name, SaGone(*pair, identifier, "lost"))
        self._network.give(station.name, READY)

    def _attempt(self, station: "Station", pair: Pair) -> None:
        ike = station.ike
        ike.pending.discard(pair)
        if pair not in ike.wanted or pair in ike.sas or not ike.running or not station.alive:
            return
        ike.attempts += 1
        peer = self._network.at(pair[1])
        is_blocked = frozenset(pair) in self.unreachable
        fails = self._network.rng.random() < self.failure
        if (
            peer is not None
            and peer.ike.running
            and station.site.nbma == pair[0]
            and not is_blocked | fails
        ):
            ike.back_off_s.pop(pair, None)
            self._install(station, peer)
            return
        back_off_s = min(ike.back_off_s.get(pair, 1.0) * 2, MAX_BACK_OFF_S)
        ike.back_off_s[pair] = back_off_s
        self._schedule(station, pair, back_off_s)
        failed = SaFailed(local=pair[0], remote=pair[1], reason="no answer", retry_in_s=back_off_s)
        self._network.give(station.name, failed)

    def _schedule(self, station: "Station", pair: Pair, seconds: float) -> None:
        if pair not in station.ike.pending:
            station.ike.pending.add(pair)
            self._later(seconds, station, lambda: self._attempt(station, pair))

    def _install(self, station: "Station", peer: "Station") -> None:
        self._last_id += 1
        for one, other in ((station, peer), (peer, station)):
            pair = one.site.nbma, other.site.nbma
            one.ike.sas.setdefault(pair, set()).add(self._last_id)
            seconds = 0.01 + 0.05 * self._network.rng.random()
            self._network.later(seconds, one, _installed(pair, self._last_id))

    def _gone_later(
        self, station: "Station", pair: Pair, identifier: int, reason: str, seconds: float
    ) -> None:
        self._later(seconds, station, lambda: self._gone(station, pair, identifier, reason, 0.0))

    def _gone(
        self, station: "Station", pair: Pair, identifier: int, reason: str, seconds: float
    ) -> None:
        ids = station.ike.sas.get(pair, set())
        if identifier not in ids:
            return
        ids.discard(identifier)
        if not ids:
            del station.ike.sas[pair]
            if pair in station.ike.wanted:
                self._schedule(station, pair, seconds + self.setup_s)
        # Never ahead of the word that it is there.
        self._network.later(max(seconds, 0.07), station, SaGone(*pair, identifier, reason))

    def _later(self, seconds: float, station: "Station", what: Callable[[], None]) -> None:
        self._network.later(seconds, station, what)


def _installed(pair: Pair, identifier: int) -> SaInstalled:
    local, remote = pair
    return SaInstalled(
        Association(id=identifier, local=local, remote=remote, identity=f"CN={remote.hex()}")
    )
