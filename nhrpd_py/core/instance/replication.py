"""Multicast of one tunnel: who gets a copy of what leaves by it.

The kernel has one outer destination for a packet, and a group has many. So the firewall gives the daemon (NFLOG) what
would leave for a group, and drops it; the daemon sends a copy to each target. They are of the interface, not of a
family: a routing protocol for IPv6 needs no more than a peer that can be reached. A peer with several bindings at one
NBMA address gets one copy.
"""

from collections.abc import Sequence

from nhrpd_py.core.address import Address
from nhrpd_py.core.base.limits import TokenBucket
from nhrpd_py.core.config import MULTICAST_DYNAMIC, MULTICAST_NHS, InterfaceConfig
from nhrpd_py.core.ipsec.associations import Associations
from nhrpd_py.core.station.binding import BindingType
from nhrpd_py.core.station.cache import Cache
from nhrpd_py.core.station.interface import Interface

_USER = "multicast"
"""Who needs the circuits to configured targets."""
_ORIGINS = {BindingType.DYNAMIC: MULTICAST_DYNAMIC, BindingType.NHS: MULTICAST_NHS}


class Replication:
    """The targets of one tunnel's multicast, and how much of it there was."""

    __slots__ = (
        *("_associations", "_caches", "_interface", "_known_by", "_members", "_paces"),
        *("_rate", "_targets", "copies", "packets"),
    )

    def __init__(
        self, interface: Interface, caches: Sequence[Cache], associations: Associations
    ) -> None:
        self._interface = interface
        self._caches = caches
        self._associations = associations
        self._targets: tuple[Address, ...] = ()
        self._members: frozenset[Address] = frozenset()
        self._known_by: tuple[object, ...] = ()
        """What the targets were made of; another value of it, and they are made anew."""
        self._rate = 0
        self._paces: dict[bool, TokenBucket] = {}
        self.packets = 0
        """Multicast packets that the firewall gave us."""
        self.copies = 0
        """Copies that were sent of them."""

    def targets(self) -> tuple[Address, ...]:
        """Returns the NBMA addresses that get a copy now: the same object until they change."""
        interface = self._interface
        circuits = interface.circuits
        known_by = (
            interface.changes,
            self._associations.changes,
            circuits.local,
            circuits.protected,
            interface.config.multicast,
            interface.nbma,
        )
        if known_by != self._known_by:
            self._known_by = known_by
            targets = tuple(filter(circuits.is_up, self._wanted()))
            if targets != self._targets:
                self._targets = targets
                self._members = frozenset(targets)
        return self._targets

    def copies_but(self, apart_from: Address) -> int:
        """Returns how many copies a packet takes that came from an NBMA address; empty: from nobody."""
        return len(self.targets()) - (apart_from in self._members)

    def takes(self, now: float, *, on_link: bool) -> bool:
        """Returns whether the pace allows one more packet.

        Groups of the link, in which routing protocols talk (224.0.0.0/24, ff02::/16), have a pace of their own: a
        stream that is forwarded must not cost neighbours their hellos.
        """
        rate = self._interface.config.multicast_rate
        if rate != self._rate:
            self._rate = rate
            self._paces = {
                each: TokenBucket(rate=rate, burst=rate, now=now) for each in (False, True)
            }
        return self._paces[on_link].take(now)

    def configure(self, before: InterfaceConfig) -> None:
        """Applies the difference between `before` and the configuration in force: whose circuits are needed."""
        circuits = self._interface.circuits
        for nbma in _addresses(before):
            if nbma not in self._interface.config.multicast:
                circuits.release(nbma, _USER)
        if self._interface.opened:
            self.opened()

    def opened(self) -> None:
        """Has the circuits to configured targets made: the netdev is open now."""
        for nbma in _addresses(self._interface.config):
            self._interface.circuits.need(nbma, _USER)

    def shut_down(self) -> None:
        """Takes back the need for circuits."""
        for nbma in _addresses(self._interface.config):
            self._interface.circuits.release(nbma, _USER)

    def _wanted(self) -> dict[Address, None]:
        """Returns the targets, each once, whether their circuits are up or not."""
        wanted = dict.fromkeys(_addresses(self._interface.config))
        origins = self._interface.config.multicast
        for cache in self._caches:
            for binding in cache:
                if _ORIGINS.get(binding.type) in origins:
                    wanted[binding.nbma] = None
        wanted.pop(self._interface.nbma, None)
        return wanted


def _addresses(config: InterfaceConfig) -> list[Address]:
    return [each for each in config.multicast if isinstance(each, bytes)]
