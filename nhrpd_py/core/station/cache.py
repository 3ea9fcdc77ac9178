"""The cache of one interface and address family: which NBMA address stands behind which overlay address.

A `Binding` has a type that says who vouches for it, and types have a precedence: a weaker one never overwrites a
stronger one. What the kernel gets of a binding is in `entries`. Bindings that were only learnt by resolution
(`cached`), and any that shortcuts lean on, are watched near the end: the neighbour entry is set STALE, and a probe of
the kernel then tells that traffic uses it.

Changed by the machines of its instance alone. RFC 2332 §6.2 (cache management), §5.2.3 (uniqueness).
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import islice

from nhrpd_py.core.address import Address, Afi
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.base.timers import TimerKey, TimerKind, TimerQueue
from nhrpd_py.core.kernel.tables import KernelTables
from nhrpd_py.core.notices import BindingRemoved, TableFull
from nhrpd_py.core.station.binding import NEVER, Binding, BindingType, Entry, Origin
from nhrpd_py.core.station.entries import NeighborEntries
from nhrpd_py.core.station.interface import Interface
from nhrpd_py.core.station.shortcuts import ShortcutTable

MAX_BINDINGS = 65536
MAX_BINDINGS_PER_NBMA = 1024
MAX_CACHED = 16384
"""Whoever asks is bound: a flood of requests must leave room for those who register."""
EVICTION_TRIES = 16
PROBE_LEAD_S = 8.0
"""The kernel needs 5 s from the first packet through a STALE entry to its probe (delay_first_probe_time)."""


class Cache:
    """The bindings of one interface and family, with the shortcuts that lean on them."""

    __slots__ = (
        "_bindings",
        "_by_nbma",
        "_cached",
        "_interface",
        "_ordered",
        "_outbox",
        "_timers",
        "entries",
        "shortcuts",
    )

    def __init__(
        self,
        interface: Interface,
        afi: Afi,
        *,
        outbox: Outbox,
        tables: KernelTables,
        timers: TimerQueue,
    ) -> None:
        self._interface = interface
        self._outbox = outbox
        self._timers = timers
        self._bindings: dict[Address, Binding] = {}
        self._cached: dict[Address, Binding] = {}
        """Those of type `cached`, the one that was refreshed longest ago first."""
        self._ordered: list[Address] = []
        """The overlay addresses, ascending."""
        self._by_nbma: dict[Address, list[Binding]] = {}
        self.shortcuts = ShortcutTable(
            interface, tables.ribs[afi], outbox=outbox, timers=timers, peers=self
        )
        self.entries = NeighborEntries(self._bindings, self.shortcuts, interface, outbox)

    def __len__(self) -> int:
        return len(self._bindings)

    def __iter__(self) -> Iterator[Binding]:
        return iter(self._bindings.values())

    def get(self, protocol: Address) -> Binding | None:
        return self._bindings.get(protocol)

    def of_nbma(self, nbma: Address) -> tuple[Binding, ...]:
        """The bindings that lead to an NBMA address."""
        return tuple(self._by_nbma.get(nbma, ()))

    def nbma_addresses(self) -> tuple[Address, ...]:
        """All NBMA addresses that bindings lead to."""
        return tuple(self._by_nbma)

    def around(self, address: Address) -> list[Address]:
        """The bound addresses next to an address, below and above: no other has more leading bits of it."""
        at = bisect_left(self._ordered, address)
        return self._ordered[max(0, at - 1) : at + 1]

    def leads_to(self, nbma: Address) -> bool:
        """Tells whether some binding leads to an NBMA address."""
        return nbma in self._by_nbma

    def has_room(self, nbma: Address, now: float) -> bool:
        """Tells whether one more binding fits; a notice says so when not."""
        if len(self._bindings) >= MAX_BINDINGS:
            self._notify_full("cache", MAX_BINDINGS, now)
            return False
        if len(self._by_nbma.get(nbma, ())) >= MAX_BINDINGS_PER_NBMA:
            self._notify_full("bindings of one NBMA address", MAX_BINDINGS_PER_NBMA, now)
            return False
        return True

    def update(
        self,
        protocol: Address,
        kind: BindingType,
        nbma: Address,
        now: float,
        *,
        claimed_nbma: Address = b"",
        holding_time_s: int = 0,
        mtu: int = 0,
        unique: bool = False,
        lifetime_s: float | None = None,
        origin: Origin = Origin.PEER,
    ) -> Binding | None:
        """Adds a binding, or refreshes the one there is; None when a stronger one stands, or there is no room.

        `holding_time_s` 0 means for ever; `lifetime_s` is what is left of it when that is less.
        """
        expires_at = NEVER if holding_time_s == 0 else now + (lifetime_s or holding_time_s)
        binding = self._bindings.get(protocol)
        if binding is None:
            return self._add(
                Binding(
                    protocol,
                    kind,
                    nbma,
                    claimed_nbma or nbma,
                    holding_time_s,
                    expires_at,
                    now,
                    mtu,
                    unique,
                    origin,
                ),
                now,
            )
        if kind < binding.type and binding.origin is not Origin.KERNEL:
            return None
        promoted = kind is not binding.type
        binding.type = kind
        self._sort_in(binding)
        binding.claimed_nbma = claimed_nbma or nbma
        binding.mtu = mtu
        binding.unique = unique
        binding.origin = origin
        shortened = expires_at < binding.expires_at
        binding.expires_at = expires_at
        changed_time = holding_time_s != binding.holding_time_s
        binding.holding_time_s = holding_time_s
        if nbma != binding.nbma:
            self._move(binding, nbma, now)
        elif binding.entry is Entry.STALE and binding.shortcuts_end_at >= expires_at:
            # Else the kernel goes on being asked: the peer's message keeps the binding, but no shortcut.
            self.entries.install(binding)
        # The expiry timer is lazy: when it fires early it looks at `expires_at` and sleeps again.
        if promoted or shortened or changed_time or kind is BindingType.CACHED:
            self._arm(binding, now)
        return binding

    def remove(self, binding: Binding, reason: str) -> None:
        """Takes a binding out of cache and kernel, after the shortcuts that lean on it."""
        for shortcut in self.shortcuts.of_peer(binding.protocol):
            self.shortcuts.remove(shortcut, reason)
        del self._bindings[binding.protocol]
        del self._ordered[bisect_left(self._ordered, binding.protocol)]
        self._cached.pop(binding.protocol, None)
        self._leave_nbma(binding)
        self._timers.stop(self._key(TimerKind.BINDING_EXPIRY, binding.protocol))
        self._timers.stop(self._key(TimerKind.BINDING_PROBE, binding.protocol))
        self.entries.remove(binding)
        self._outbox.emit(
            BindingRemoved(
                interface=self._interface.name,
                protocol=binding.protocol,
                nbma=binding.nbma,
                type=binding.type.name.lower(),
                reason=reason,
            )
        )

    def install_all(self) -> None:
        """Asks for all neighbours and routes anew: the netdev is new to the kernel, or was down."""
        for binding in self._bindings.values():
            self.entries.install(binding)

    def expiry_due(self, protocol: Address, now: float) -> None:
        """The expiry timer fired: the binding goes, or the timer sleeps on until it really ends."""
        binding = self._bindings.get(protocol)
        if binding is None:
            return
        if binding.expires_at <= now:
            self.remove(binding, "expired")
        else:
            key = self._key(TimerKind.BINDING_EXPIRY, protocol)
            self._timers.set(key, binding.expires_at)

    # Whether traffic uses it.

    def probe_due(self, protocol: Address) -> None:
        """A learnt binding, or the first shortcut over one, comes to its end: does the kernel use it?"""
        binding = self._bindings.get(protocol)
        if binding is not None:
            self.entries.probe(binding)

    def confirm(self, binding: Binding) -> bool:
        """Answers a probe of the kernel for an entry in use; returns whether we had asked for that."""
        was_asked = binding.entry is Entry.STALE
        binding.used = True
        self.entries.install(binding)
        return was_asked

    def watch(self, binding: Binding, shortcuts_end_at: float, now: float) -> None:
        """Its shortcuts were renewed, or are new: whether they are used is asked ahead of their end."""
        binding.shortcuts_end_at = shortcuts_end_at
        if binding.entry is Entry.STALE:
            self.entries.install(binding)
        self._arm(binding, now)

    def unwatch(self, binding: Binding, shortcuts_end_at: float) -> None:
        """One of its shortcuts is gone. An entry whose use nobody has to know any more must not stay STALE: the
        kernel would give it up while the daemon is away."""
        binding.shortcuts_end_at = shortcuts_end_at
        if shortcuts_end_at != NEVER or binding.type is BindingType.CACHED:
            return
        self._timers.stop(self._key(TimerKind.BINDING_PROBE, binding.protocol))
        if binding.entry is Entry.STALE:
            self.entries.install(binding)

    def _add(self, binding: Binding, now: float) -> Binding | None:
        if not self.has_room(binding.nbma, now):
            return None
        if binding.type is BindingType.CACHED and not self._has_room_for_cached(now):
            return None
        self._bindings[binding.protocol] = binding
        insort(self._ordered, binding.protocol)
        self._by_nbma.setdefault(binding.nbma, []).append(binding)
        self._sort_in(binding)
        self.shortcuts.peer_added(binding.protocol)
        self.entries.keep_server(binding)
        self.entries.install(binding)
        self._arm(binding, now)
        return binding

    def _move(self, binding: Binding, nbma: Address, now: float) -> None:
        """The peer is at another NBMA address now."""
        self._leave_nbma(binding)
        self._by_nbma.setdefault(nbma, []).append(binding)
        binding.nbma = nbma
        binding.created_at = now
        if binding.entry is Entry.STALE:
            binding.entry = Entry.DIRECT  # the kernel was asked about the address that it had
        self.entries.install(binding)

    def _arm(self, binding: Binding, now: float) -> None:
        timers = self._timers
        expiry = self._key(TimerKind.BINDING_EXPIRY, binding.protocol)
        if binding.expires_at == NEVER:
            timers.stop(expiry)
        else:
            timers.set(expiry, binding.expires_at)
        probe = self._key(TimerKind.BINDING_PROBE, binding.protocol)
        # What a peer registers and what is configured ends when they say so; then only the shortcuts count.
        ends_at = binding.shortcuts_end_at
        if binding.type is BindingType.CACHED:
            ends_at = min(ends_at, binding.expires_at)
        if ends_at == NEVER or binding.entry is Entry.STALE:
            timers.stop(probe)
            return
        left_s = max(1.0, ends_at - now)
        timers.set(probe, now + max(left_s / 4, min(left_s * 2 / 3, left_s - PROBE_LEAD_S)))

    def _sort_in(self, binding: Binding) -> None:
        self._cached.pop(binding.protocol, None)
        if binding.type is BindingType.CACHED:
            self._cached[binding.protocol] = binding

    def _has_room_for_cached(self, now: float) -> bool:
        """Makes room where there is none: the one refreshed longest ago goes, unless a shortcut leans on it."""
        if len(self._cached) < MAX_CACHED:
            return True
        for binding in list(islice(self._cached.values(), EVICTION_TRIES)):
            if binding.shortcuts_end_at == NEVER:
                self.remove(binding, "made room")
                return True
            self._sort_in(binding)
        self._notify_full("cached bindings", MAX_CACHED, now)
        return False

    def _leave_nbma(self, binding: Binding) -> None:
        """Its NBMA address is another one, or it goes; what it needed the circuit for is over."""
        of_nbma = self._by_nbma[binding.nbma]
        of_nbma.remove(binding)
        if not of_nbma:
            del self._by_nbma[binding.nbma]
        self._interface.circuits.release(binding.nbma, binding.protocol)

    def _key(self, kind: TimerKind, protocol: Address) -> TimerKey:
        return TimerKey(kind, self._interface.name, protocol)

    def _notify_full(self, table: str, limit: int, now: float) -> None:
        name = self._interface.name
        self._outbox.remind((name, table), TableFull(interface=name, table=table, limit=limit), now)
