"""The shortcuts of one interface and address family: prefixes that lead straight to another spoke.

A shortcut is a route `prefix via PEER onlink` and depends on the peer's binding: when that goes, so does the shortcut,
routes before neighbours. Prefixes that are still being resolved, or were refused, are in `resolution`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from nhrpd_py.core.address import Address, Prefix, host_prefix
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.base.prefixmap import PrefixMap
from nhrpd_py.core.base.shares import Shares
from nhrpd_py.core.base.timers import TimerKey, TimerKind, TimerQueue
from nhrpd_py.core.effects import DropRoute, SetRoute
from nhrpd_py.core.kernel.rib import Rib
from nhrpd_py.core.notices import ShortcutInstalled, ShortcutRemoved, ShortcutWaiting, TableFull
from nhrpd_py.core.station.binding import NEVER, Binding
from nhrpd_py.core.station.interface import Interface

MAX_SHORTCUTS = 4096


@dataclass(slots=True, eq=False)
class Shortcut:
    prefix: Prefix
    target: Address
    """The address that was resolved, and is resolved again to renew the shortcut."""
    binding: Binding
    holding_time_s: int
    expires_at: float
    created_at: float
    installed: bool = False
    """Its route is in the kernel; else it waits until the peer can be reached."""


class Peers(Protocol):
    """The cache, which holds the bindings of the shortcuts' peers."""

    def watch(self, binding: Binding, shortcuts_end_at: float, now: float) -> None:
        """Notes a new or renewed shortcut over a peer, and when the first of the peer's shortcuts ends."""

    def unwatch(self, binding: Binding, shortcuts_end_at: float) -> None:
        """Notes that a shortcut over a peer is gone, and when the first that is left ends (NEVER: none is left)."""


class ShortcutTable:
    """The shortcuts of one interface and family. Owned by the cache, which reports changes of bindings to it."""

    __slots__ = (
        "_by_peer",
        "_interface",
        "_outbox",
        "_peers",
        "_rib",
        "_shares",
        "_shortcuts",
        "_timers",
    )

    def __init__(
        self, interface: Interface, rib: Rib, *, outbox: Outbox, timers: TimerQueue, peers: Peers
    ) -> None:
        self._interface = interface
        self._rib = rib
        self._outbox = outbox
        self._timers = timers
        self._peers = peers
        self._shortcuts: PrefixMap[Shortcut] = PrefixMap(rib.address_size)
        self._by_peer: dict[Address, dict[Prefix, Shortcut]] = {}
        self._shares: Shares[Shortcut] = Shares()
        """All of them, by the NBMA address of their peer when they were installed."""

    def __len__(self) -> int:
        return len(self._shortcuts)

    def __iter__(self) -> Iterator[Shortcut]:
        return self._shortcuts.values()

    def longest(self, address: Address) -> Shortcut | None:
        """Returns the shortcut that traffic to an address takes."""
        return self._shortcuts.longest(address)

    def shadows(self, prefix: Prefix) -> bool:
        """Returns whether we have a route for exactly this prefix."""
        shortcut = self._shortcuts.get(prefix)
        return shortcut is not None and shortcut.binding.installed

    def of_peer(self, protocol: Address) -> list[Shortcut]:
        return list(self._by_peer.get(protocol, {}).values())

    def touching(self, prefix: Prefix) -> list[Shortcut]:
        """Returns the shortcuts within a prefix, and those that contain it."""
        return [*self._shortcuts.inside(prefix), *self.around(prefix)]

    def around(self, prefix: Prefix) -> list[Shortcut]:
        """Returns the shortcuts that contain a prefix and more."""
        return [
            each
            for each in self._shortcuts.matches(prefix.address)
            if each.prefix.length < prefix.length
        ]

    def install(
        self,
        prefix: Prefix,
        target: Address,
        binding: Binding,
        holding_time_s: int,
        now: float,
    ) -> Shortcut:
        """Creates, moves or refreshes a shortcut; in a full table the oldest of the peer that has most makes room."""
        old = self._shortcuts.get(prefix)
        if old is not None and old.binding is not binding:
            if self._interface.opened and old.binding.installed and not binding.installed:
                self._outbox.emit(
                    DropRoute(prefix, self._interface.ifindex)
                )  # the new peer is awaited
            self._detach(old)
            old = None
        if old is None:
            if len(self._shortcuts) >= MAX_SHORTCUTS:
                self._notify_full(now)
                self.remove(next(iter(self._shares.of_largest())), "made room")
            old = Shortcut(prefix, target, binding, holding_time_s, now, now)
            self._shortcuts[prefix] = old
            self._shares.add(old, binding.nbma)
            self._by_peer.setdefault(binding.protocol, {})[prefix] = old
            self._interface.circuits.sources.leads(prefix, binding.protocol)
            if not binding.installed:
                self._notify(ShortcutWaiting, old)
        old.holding_time_s = holding_time_s
        old.expires_at = now + holding_time_s
        self._timers.set(self._key(prefix), old.expires_at)
        self._peers.watch(binding, self._first_end(binding), now)
        self.reassert(old)
        return old

    def reassert(self, shortcut: Shortcut) -> None:
        """Installs the route of a shortcut again, if the peer's neighbour entry is installed."""
        if shortcut.binding.installed:
            if not shortcut.installed:
                shortcut.installed = True
                self._notify(ShortcutInstalled, shortcut)
            interface, peer = self._interface, shortcut.binding
            mtu = interface.route_mtu(peer.protocol, peer.mtu)
            self._outbox.emit(SetRoute(shortcut.prefix, interface.ifindex, peer.protocol, mtu))

    def remove(self, shortcut: Shortcut, reason: str) -> None:
        """Withdraws a shortcut; traffic falls back to the routed path."""
        if self._interface.opened and shortcut.binding.installed:
            # First: without its last shortcut, a peer whose circuit is down leaves the kernel.
            self._outbox.emit(DropRoute(shortcut.prefix, self._interface.ifindex))
        self._detach(shortcut)
        self._timers.stop(self._key(shortcut.prefix))
        self._rib.unshadow(shortcut.prefix)
        self._outbox.emit(
            ShortcutRemoved(interface=self._interface.name, prefix=shortcut.prefix, reason=reason)
        )

    def peer_added(self, protocol: Address) -> None:
        """Removes a shortcut to a new binding's address over another peer: both would need the same host route."""
        shortcut = self._shortcuts.get(host_prefix(protocol))
        if shortcut is not None:
            self.remove(shortcut, "its address is known itself")

    def peer_installed(self, protocol: Address) -> None:
        """Installs the routes over a peer whose neighbour entry is in the kernel now."""
        for shortcut in self.of_peer(protocol):
            self.reassert(shortcut)

    def peer_withdrawn(self, protocol: Address) -> None:
        """Withdraws the routes over a peer whose neighbour entry is about to be withdrawn."""
        for shortcut in self.of_peer(protocol):
            ifindex = self._interface.ifindex
            self._outbox.emit(DropRoute(shortcut.prefix, ifindex))
            if shortcut.installed:
                shortcut.installed = False
                self._notify(ShortcutWaiting, shortcut)

    def expire(self, prefix: Prefix) -> None:
        """Removes a shortcut that was not renewed in time."""
        shortcut = self._shortcuts.get(prefix)
        if shortcut is not None:
            self.remove(shortcut, "expired")

    def _detach(self, shortcut: Shortcut) -> None:
        self._shortcuts.pop(shortcut.prefix)
        self._shares.discard(shortcut)
        of_peer = self._by_peer[shortcut.binding.protocol]
        del of_peer[shortcut.prefix]
        self._interface.circuits.sources.leads_no_more(shortcut.prefix, shortcut.binding.protocol)
        if not of_peer:
            del self._by_peer[shortcut.binding.protocol]
        self._peers.unwatch(shortcut.binding, self._first_end(shortcut.binding))

    def _first_end(self, binding: Binding) -> float:
        """Returns when the first shortcut over a peer ends."""
        over_it = self._by_peer.get(binding.protocol, {})
        return min((each.expires_at for each in over_it.values()), default=NEVER)

    def _key(self, prefix: Prefix) -> TimerKey:
        return TimerKey(TimerKind.SHORTCUT_EXPIRY, self._interface.name, prefix)

    def _notify(self, kind: type[ShortcutInstalled | ShortcutWaiting], shortcut: Shortcut) -> None:
        peer = shortcut.binding
        self._outbox.emit(
            kind(
                interface=self._interface.name,
                prefix=shortcut.prefix,
                protocol=peer.protocol,
                nbma=peer.nbma,
            )
        )

    def _notify_full(self, now: float) -> None:
        name = self._interface.name
        full = TableFull(interface=name, table="shortcuts", limit=MAX_SHORTCUTS)
        self._outbox.remind((name, "shortcuts"), full, now)
