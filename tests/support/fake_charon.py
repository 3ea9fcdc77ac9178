"""IKE between the nodes of a network: SAs come up after a while, or fail, and end by DELETE, by DPD, or with their
machine.

The SAs that were reported to a daemon (`Ike.known`) lag behind those of the kernels (`Ike.sas`), as with a real charon:
a packet can arrive before the report of the SA through which it came.
"""

import random
from collections.abc import Callable
from typing import Protocol

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
from tests.support.ike import Pair
from tests.support.station import Station

DPD_S = 10.0
MAX_BACK_OFF_S = 60.0
READY = IpsecReady("6.0.1", patched=False)


class Underlay(Protocol):
    """What the charons need of the network between their machines."""

    rng: random.Random

    def at(self, nbma: Address) -> Station | None:
        """Returns the station at an NBMA address."""

    def give(self, name: str, event: Event) -> None:
        """Hands an event to a station."""

    def later(self, seconds: float, station: Station, event: Event | Callable[[], None]) -> None:
        """Gives a station an event after a while, or calls a function."""


class Charons:
    """The charons of all stations of a network."""

    def __init__(self, network: Underlay) -> None:
        self._network = network
        self.failure = 0.0
        """The share of attempts that fail."""
        self.setup_s = 0.1
        self.unreachable: set[frozenset[Address]] = set()
        """Pairs between which IKE packets are lost."""
        self._last_id = 0

    # Effects of the engines.

    def asked(self, station: Station, effect: WantSa | DropSa | EndSa) -> None:
        """Carries out a daemon's effect."""
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

    # Events.

    def booted(self, station: Station) -> None:
        """Connects a new daemon to its charon after a moment, and reports all SAs."""
        boots = station.boots

        def found() -> None:
            if station.boots == boots and station.alive and station.ike.running:
                self._tell_all(station)

        self._later(self._network.rng.random() * 3.0, station, found)

    def restart(self, station: Station, seconds: float = 1.0) -> None:
        """Stops a charon, which deletes its SAs, and starts it after a while."""
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

    def lost_all(self, station: Station) -> None:
        """Drops a machine's SAs (it restarts or has another address); its peers notice by DPD."""
        for pair in list(station.ike.sas):
            self.cut(station, pair, "dead peer", peer_at=DPD_S)

    def cut(
        self,
        station: Station,
        pair: Pair,
        reason: str,
        *,
        own_at: float = 0.01,
        peer_at: float = 0.02,
    ) -> None:
        """Ends the SAs of a pair at both ends."""
        peer = self._network.at(pair[1])
        for identifier in list(station.ike.sas.get(pair, ())):
            self._gone(station, pair, identifier, reason, own_at)
            for other in (peer,) if peer is not None else ():
                self._gone_later(other, (pair[1], pair[0]), identifier, reason, peer_at)

    def rekey(self, station: Station, pair: Pair) -> None:
        """Makes a new SA, then ends the old ones."""
        peer = self._network.at(pair[1])
        old = list(station.ike.sas.get(pair, ()))
        if peer is None or not old:
            return
        self._install(station, peer)
        for identifier in old:
            self._gone(station, pair, identifier, "rekeyed", 0.06)
            self._gone(peer, (pair[1], pair[0]), identifier, "rekeyed", 0.06)

    def carries(self, station: Station, peer: Station) -> bool:
        """Returns whether ESP between a station and a peer can be decrypted."""
        mine = station.ike.sas.get((station.site.nbma, peer.site.nbma), set())
        return bool(mine & peer.ike.sas.get((peer.site.nbma, station.site.nbma), set()))

    def _tell_all(self, station: Station) -> None:
        for pair, ids in list(station.ike.sas.items()):
            for identifier in ids:
                self._network.give(station.name, _installed(pair, identifier))
        for pair, ids in list(station.ike.known.items()):
            for identifier in ids - station.ike.sas.get(pair, set()):
                self._network.give(station.name, SaGone(*pair, identifier, "lost"))
        self._network.give(station.name, READY)

    def _attempt(self, station: Station, pair: Pair) -> None:
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

    def _schedule(self, station: Station, pair: Pair, seconds: float) -> None:
        if pair not in station.ike.pending:
            station.ike.pending.add(pair)
            self._later(seconds, station, lambda: self._attempt(station, pair))

    def _install(self, station: Station, peer: Station) -> None:
        self._last_id += 1
        for one, other in ((station, peer), (peer, station)):
            pair = one.site.nbma, other.site.nbma
            one.ike.sas.setdefault(pair, set()).add(self._last_id)
            seconds = 0.01 + 0.05 * self._network.rng.random()
            self._network.later(seconds, one, _installed(pair, self._last_id))

    def _gone_later(
        self, station: Station, pair: Pair, identifier: int, reason: str, seconds: float
    ) -> None:
        self._later(seconds, station, lambda: self._gone(station, pair, identifier, reason, 0.0))

    def _gone(
        self, station: Station, pair: Pair, identifier: int, reason: str, seconds: float
    ) -> None:
        ids = station.ike.sas.get(pair, set())
        if identifier not in ids:
            return
        ids.discard(identifier)
        if not ids:
            del station.ike.sas[pair]
            if pair in station.ike.wanted:
                self._schedule(station, pair, seconds + self.setup_s)
        # Never before the report that it is installed.
        self._network.later(max(seconds, 0.07), station, SaGone(*pair, identifier, reason))

    def _later(self, seconds: float, station: Station, what: Callable[[], None]) -> None:
        self._network.later(seconds, station, what)


def _installed(pair: Pair, identifier: int) -> SaInstalled:
    local, remote = pair
    return SaInstalled(
        Association(
            id=identifier,
            local=local,
            remote=remote,
            identity=f"CN={remote.hex()}",
            mark=identifier,
        )
    )
