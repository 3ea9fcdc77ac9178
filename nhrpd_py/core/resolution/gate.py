"""Whether the path to a requester allows an answer, which makes it send straight to us.

A requester that proves paths itself is answered at once: it will find out. Any other is answered when the path to it is
proven, and refused while that is known not to carry; until then its request waits here. Clients, servers and the
operator's maps are not asked for proof.
"""

from dataclasses import dataclass
from typing import TypeAlias

from nhrpd_py.core.address import Address, is_unicast
from nhrpd_py.core.base.shares import Shares
from nhrpd_py.core.registration.claims import was_handed_on
from nhrpd_py.core.resolution.prober import Prober
from nhrpd_py.core.resolution.request import FOREIGN_S
from nhrpd_py.core.resolution.wishes import Wishes
from nhrpd_py.core.station.binding import BindingType
from nhrpd_py.core.station.station import Station
from nhrpd_py.packet.message import Message

MAX_WAITING = 256

Key: TypeAlias = tuple[Address, Address]


@dataclass(frozen=True, slots=True, eq=False)
class WaitingRequest:
    """A request that waits for the path to its requester, who is at `nbma`."""

    message: Message
    nbma_source: Address
    nbma: Address


class Gate:
    """Holds requests back until their paths are proven. Owned by the responder."""

    __slots__ = ("_prober", "_shares", "_station", "_waiting", "_wishes")

    def __init__(self, station: Station, prober: Prober, wishes: Wishes) -> None:
        self._station = station
        self._prober = prober
        self._wishes = wishes
        self._waiting: dict[Key, WaitingRequest] = {}
        """By requester and target."""
        self._shares: Shares[Key] = Shares()
        """All of them, by the requester's NBMA address: in a full table the one that has most makes room."""

    def is_probe(self, message: Message) -> bool:
        """Returns whether a peer asks us straight for our own tunnel address: it tries its path to us."""
        is_direct = not was_handed_on(message)
        return is_direct and message.destination_protocol == self._station.address

    def probed(self, nbma: Address, protocol: Address, now: float) -> None:
        """Notes that a peer proves its own path, and tries ours to it where something of ours leads there."""
        station = self._station
        if not station.paths.enabled or not self.wants_proof(nbma):
            return
        path = station.paths.make(nbma, protocol)
        if path is not None:
            path.probes_us = True
            if self._prober.is_in_use(nbma):
                self._prober.want(nbma, protocol, now)

    def is_held_down(self, nbma: Address, requester: Address, now: float) -> bool:
        """Returns whether the path to a requester is known not to carry, and it would not find out itself."""
        path = self._station.paths.get(nbma)
        if path is None or path.probes_us or not self.wants_proof(nbma):
            return False
        return self._station.paths.held_down(nbma, requester, now) is not None

    def must_wait(self, message: Message, nbma_source: Address, nbma: Address, now: float) -> bool:
        """Keeps a request until the path to its requester is proven; returns whether it has to wait."""
        station = self._station
        paths = station.paths
        if not paths.enabled or not self.wants_proof(nbma) or not is_unicast(nbma):
            return False
        path = paths.get(nbma)
        if path is not None and (path.carries or path.probes_us):
            if not path.carries:
                self._prober.want(nbma, message.source_protocol, now)
            return False
        if not self._wish(message.source_protocol, nbma, now):
            return False
        key = (message.source_protocol, message.destination_protocol)
        if key not in self._waiting and len(self._waiting) >= MAX_WAITING:
            self._remove(next(iter(self._shares.of_largest())))
        self._waiting[key] = WaitingRequest(message, nbma_source, nbma)
        self._shares.add(key, nbma)
        self._prober.want(nbma, message.source_protocol, now)
        return True

    def _wish(self, requester: Address, nbma: Address, now: float) -> bool:
        """Requests the SA with a requester, if there is none; returns False where that may not be.

        Then the answer takes the routed path, and whoever gets it may ask for an SA. The binding of the requester is
        what releases the SA again.
        """
        station = self._station
        if station.circuits.is_up(nbma):
            return True
        binding = station.cache.get(requester)
        if binding is None or binding.nbma != nbma:
            return False
        if binding.nat or station.circuits.held_down(nbma, now) is not None:
            return False  # IKE gets in by no NAT, and did not reach the other just now; they may reach us
        if self._wishes.admit(requester, nbma, unasked=True) is not None:
            return False
        # Both ends may ask each other at once.
        delay_s = station.circuits.crossing_delay_s(nbma)
        station.circuits.need(nbma, requester, delay_s=delay_s)
        return True

    def take(self, nbma: Address, requester: Address | None = None) -> list[WaitingRequest]:
        """Removes and returns the requests that waited for the path to an NBMA address, all or of one requester."""
        keys = [
            key
            for key, each in self._waiting.items()
            if each.nbma == nbma and requester in (None, each.message.source_protocol)
        ]
        return [self._remove(key) for key in keys]

    def has_waiting(self, nbma: Address) -> bool:
        """Returns whether a request waits for the path to an NBMA address."""
        return any(each.nbma == nbma for each in self._waiting.values())

    def clear(self) -> None:
        """Forgets all that wait."""
        for key in list(self._waiting):
            self._remove(key)

    def _remove(self, key: Key) -> WaitingRequest:
        self._shares.discard(key)
        return self._waiting.pop(key)

    def is_doubtful(self, nbma: Address) -> bool:
        """Returns whether we do not use the path to a requester ourselves: then its answer takes the routed path."""
        paths = self._station.paths
        return paths.enabled and self.wants_proof(nbma) and not paths.carries(nbma)

    def holding_time_s(self, nbma: Address) -> int:
        """Returns for how long an answer is good: not long for a station that would not notice a dead path."""
        station = self._station
        path = station.paths.get(nbma)
        if not station.paths.enabled or not self.wants_proof(nbma) or (path and path.probes_us):
            return station.config.holding_time_s
        return min(FOREIGN_S, station.config.holding_time_s)

    def wants_proof(self, nbma: Address) -> bool:
        """Returns whether what leads to an NBMA address was learnt by resolution alone: no client, server or map."""
        bindings = self._station.cache.of_nbma(nbma)
        return all(each.type is BindingType.CACHED for each in bindings)
