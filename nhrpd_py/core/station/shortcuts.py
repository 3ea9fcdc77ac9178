"""The shortcuts of one interface and address family: prefixes that lead straight to another spoke.

A shortcut is a route `prefix via PEER onlink`, and leans on the peer's binding: when that goes, so does the shortcut,
routes before neighbours. What is still being asked for, or was refused, lives in `resolution`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from nhrpd_py.core.address import SIZE_OF_AFI, Address, Prefix, host_prefix
from nhrpd_py.core.base.prefixmap import PrefixMap
from nhrpd_py.core.base.timers import TimerKey, TimerKind
from nhrpd_py.core.effects import DropRoute, SetRoute
from nhrpd_py.core.notices import ShortcutInstalled, ShortcutRemoved, TableFull
from nhrpd_py.core.station.binding import NEVER, Binding
from nhrpd_py.core.station.station import Station

MAX_SHORTCUTS = 4096


@dataclass(slots=True, eq=False)
class Shortcut:
    prefix: Prefix
    target: Address
    """The address that was asked for, and will be again to renew it."""
    binding: Binding
    holding_time_s: int
    expires_at: float
    created_at: float


class ShortcutTable:
    """See the module."""

    __slots__ = ("_by_peer", "_shortcuts", "_station")

    def __init__(self, station: Station) -> None:
        self._station = station
        self._shortcuts: PrefixMap[Shortcut] = PrefixMap(SIZE_OF_AFI[station.afi])
        self._by_peer: dict[Address, dict[Prefix, Shortcut]] = {}
        station.cache.follower = self

    def __len__(self) -> int:
        return len(self._shortcuts)

    def __iter__(self) -> Iterator[Shortcut]:
        return self._shortcuts.values()

    def longest(self, address: Address) -> Shortcut | None:
        """The shortcut that an address would take."""
        return self._shortcuts.longest(address)

    def shadows(self, prefix: Prefix) -> bool:
        """Tells whether a route of ours stands for exactly this prefix."""
        shortcut = self._shortcuts.get(prefix)
        return shortcut is not None and shortcut.binding.programmed

    def of_peer(self, protocol: Address) -> list[Shortcut]:
        return list(self._by_peer.get(protocol, {}).values())

    def touching(self, prefix: Prefix) -> list[Shortcut]:
        """The shortcuts within a prefix, and those that contain it."""
        inside = list(self._shortcuts.inside(prefix))
        around = (
            each
            for each in self._shortcuts.matches(prefix.address)
            if each.prefix.length < prefix.length
        )
        return [*inside, *around]

    def install(
        self,
        prefix: Prefix,
        target: Address,
        binding: Binding,
        holding_time_s: int,
        now: float,
    ) -> Shortcut | None:
        """Creates, moves or refreshes a shortcut; None when the table is full."""
        old = self._shortcuts.get(prefix)
        if old is not None and old.binding is not binding:
            self._detach(old)
            old = None
        if old is None:
            if len(self._shortcuts) >= MAX_SHORTCUTS:
                self._tell_full(now)
                return None
            old = Shortcut(prefix, target, binding, holding_time_s, now, now)
            self._shortcuts[prefix] = old
            self._by_peer.setdefault(binding.protocol, {})[prefix] = old
            self._station.outbox.emit(
                ShortcutInstalled(
                    interface=self._station.interface.name,
                    prefix=prefix,
                    protocol=binding.protocol,
                    nbma=binding.nbma,
                )
            )
        old.holding_time_s = holding_time_s
        old.expires_at = now + holding_time_s
        self._station.timers.set(self._key(prefix), old.expires_at)
        self._station.cache.watch(binding, self._first_end(binding), now)
        self.reassert(old)
        return old

    def reassert(self, shortcut: Shortcut) -> None:
        """Asks for its route anew; traffic stays on the routed path while the peer's circuit is not up."""
        if shortcut.binding.programmed:
            ifindex = self._station.interface.ifindex
            self._station.outbox.emit(SetRoute(shortcut.prefix, ifindex, shortcut.binding.protocol))

    def remove(self, shortcut: Shortcut, reason: str) -> None:
        """Withdraws a shortcut; traffic falls back to the routed path."""
        self._detach(shortcut)
        station = self._station
        station.timers.stop(self._key(shortcut.prefix))
        station.tables.ribs[station.afi].unshadow(shortcut.prefix)
        if station.interface.opened and shortcut.binding.programmed:
            station.outbox.emit(DropRoute(shortcut.prefix, station.interface.ifindex))
        station.outbox.emit(
            ShortcutRemoved(interface=station.interface.name, prefix=shortcut.prefix, reason=reason)
        )

    def bound(self, protocol: Address) -> None:
        """An address gets a binding: a shortcut to it by way of another peer would fight for the same host route."""
        shortcut = self._shortcuts.get(host_prefix(protocol))
        if shortcut is not None:
            self.remove(shortcut, "its address is known itself")

    def programmed(self, protocol: Address) -> None:
        """A peer's neighbour entry is there: its shortcuts may have their routes."""
        for shortcut in self.of_peer(protocol):
            self.reassert(shortcut)

    def withdrawn(self, protocol: Address) -> None:
        """A peer's neighbour entry goes: so do the routes over it, until `reassert`. They led into nothing."""
        for shortcut in self.of_peer(protocol):
            ifindex = self._station.interface.ifindex
            self._station.outbox.emit(DropRoute(shortcut.prefix, ifindex))

    def forget_binding(self, binding: Binding, reason: str) -> None:
        """Takes a binding out of the cache, after the shortcuts that lean on it."""
        for shortcut in self.of_peer(binding.protocol):
            self.remove(shortcut, reason)
        self._station.cache.remove(binding, reason)

    def expire(self, prefix: Prefix) -> None:
        """Its timer fired: nobody renewed it."""
        shortcut = self._shortcuts.get(prefix)
        if shortcut is not None:
            self.remove(shortcut, "expired")

    def _detach(self, shortcut: Shortcut) -> None:
        self._shortcuts.pop(shortcut.prefix)
        of_peer = self._by_peer[shortcut.binding.protocol]
        del of_peer[shortcut.prefix]
        if not of_peer:
            del self._by_peer[shortcut.binding.protocol]
        self._station.cache.unwatch(shortcut.binding, self._first_end(shortcut.binding))

    def _first_end(self, binding: Binding) -> float:
        """When the first shortcut over a peer ends."""
        over_it = self._by_peer.get(binding.protocol, {})
        return min((each.expires_at for each in over_it.values()), default=NEVER)

    def _key(self, prefix: Prefix) -> TimerKey:
        return TimerKey(TimerKind.SHORTCUT_EXPIRY, self._station.interface.name, prefix)

    def _tell_full(self, now: float) -> None:
        name = self._station.interface.name
        full = TableFull(interface=name, table="shortcuts", limit=MAX_SHORTCUTS)
        self._station.outbox.remind((name, "shortcuts"), full, now)
