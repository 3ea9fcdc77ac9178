"""The cache of one interface and address family: which NBMA address is behind which overlay address.

A `Binding` has a type that says how it was learnt, and types have a precedence: a weaker one never overwrites a
stronger one. What the kernel gets of a binding is in `entries`. Bindings learnt by resolution (`cached`), and any that
shortcuts use, are watched near their end: the neighbour entry is set STALE, and a probe of the kernel then shows that
traffic uses it.

Changed by the machines of its instance alone. RFC 2332 §6.2 (cache management), §5.2.3 (uniqueness).
"""

from bisect import bisect_left, insort
from collections.abc import Container, Iterator
from itertools import islice

from nhrpd_py.core.address import Address, Afi, Prefix
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.base.shares import Shares
from nhrpd_py.core.base.timers import TimerKey, TimerKind, TimerQueue
from nhrpd_py.core.kernel.tables import KernelTables
from nhrpd_py.core.notices import BindingRemoved, TableFull
from nhrpd_py.core.station.binding import NEVER, Binding, BindingType, Entry, Origin
from nhrpd_py.core.station.entries import NeighborEntries
from nhrpd_py.core.station.interface import Interface
from nhrpd_py.core.station.paths import Paths
from nhrpd_py.core.station.senders import Senders
from nhrpd_py.core.station.shortcuts import ShortcutTable

MAX_BINDINGS = 65536
MAX_BINDINGS_PER_SENDER = 1024
"""What one outer source address can have: the NBMA addresses in packets may be any number."""
KEPT_SHARE = 16
"""The last of so many parts of the table is kept for senders that have no binding yet, one for each."""
MAX_CACHED = 16384
"""Limit of `cached` bindings. Each requester gets one: a flood of requests must leave room for registrations."""
EVICTION_TRIES = 16
PROBE_LEAD_S = 8.0
"""The kernel needs 5 s from the first packet through a STALE entry to its probe (delay_first_probe_time)."""


class Cache:
    """The bindings of one interface and family, with the shortcuts over them."""

    __slots__ = (
        "_bindings",
        "_by_nbma",
        "_cached",
        "_interface",
        "_nbma_ordered",
        "_ordered",
        "_outbox",
        "_paths",
        "_senders",
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
        paths: Paths,
        tables: KernelTables,
        timers: TimerQueue,
    ) -> None:
        self._interface = interface
        self._outbox = outbox
        self._paths = paths
        self._timers = timers
        self._bindings: dict[Address, Binding] = {}
        self._cached: Shares[Binding] = Shares()
        """The bindings of type `cached`, by sender, the one that was refreshed longest ago first."""
        self._ordered: list[Address] = []
        """The overlay addresses, ascending."""
        self._by_nbma: dict[Address, tuple[Binding, ...]] = {}
        self._senders = Senders(self.of_nbma)
        self._nbma_ordered: list[Address] = []
        """The NBMA addresses, ascending."""
        self.shortcuts = ShortcutTable(
            interface, tables.ribs[afi], outbox=outbox, timers=timers, peers=self
        )
        self.entries = NeighborEntries(self._bindings, self.shortcuts, interface, paths, outbox)

    def __len__(self) -> int:
        return len(self._bindings)

    def __iter__(self) -> Iterator[Binding]:
        return iter(self._bindings.values())

    def get(self, protocol: Address) -> Binding | None:
        return self._bindings.get(protocol)

    def of_nbma(self, nbma: Address) -> tuple[Binding, ...]:
        """Returns the bindings that lead to an NBMA address."""
        return self._by_nbma.get(nbma, ())

    def nbma_addresses(self) -> tuple[Address, ...]:
        """Returns all NBMA addresses of bindings."""
        return tuple(self._by_nbma)

    def around(self, address: Address, apart_from: Container[Address] = ()) -> list[Address]:
        """Returns the bound addresses next below and next above an address: none shares more leading bits with it."""
        ordered = self._ordered
        above = bisect_left(ordered, address)
        below = above - 1
        while below >= 0 and ordered[below] in apart_from:
            below -= 1
        while above < len(ordered) and ordered[above] in apart_from:
            above += 1
        return [*ordered[max(0, below) : below + 1], *ordered[above : above + 1]]

    def nbma_around(self, address: Address) -> list[Address]:
        """Returns the NBMA addresses in use next below and next above an address, like `around`."""
        ordered = self._nbma_ordered
        at = bisect_left(ordered, address)
        below = filter(self.is_in_use, map(ordered.__getitem__, range(at - 1, -1, -1)))
        above = filter(self.is_in_use, map(ordered.__getitem__, range(at, len(ordered))))
        return [*islice(below, 1), *islice(above, 1)]

    def nbma_inside(self, prefix: Prefix) -> Iterator[Address]:
        """Yields the NBMA addresses in use within a prefix."""
        ordered = self._nbma_ordered
        start = bisect_left(ordered, prefix.address)
        for nbma in map(ordered.__getitem__, range(start, len(ordered))):
            if prefix.contains(nbma):
                if self.is_in_use(nbma):
                    yield nbma
            elif len(nbma) == len(prefix.address):
                return

    def is_in_use(self, nbma: Address) -> bool:
        """Returns whether packets go to an NBMA address, or should. By the word of a peer alone, the addresses and
        networks of others would be outer ones."""
        bindings = self._by_nbma.get(nbma)
        if bindings is None:
            return False
        if self._interface.circuits.is_up(nbma) and self._paths.carries(nbma):
            return True
        return any(each.type is not BindingType.CACHED for each in bindings)

    def has_room(self, sender: Address, now: float) -> bool:
        """Returns whether there is room for one more binding of a sender; else emits a notice."""
        own = self._senders.count(sender)
        limit = MAX_BINDINGS - MAX_BINDINGS // KEPT_SHARE if own else MAX_BINDINGS
        if len(self._bindings) >= limit:
            self._notify_full("cache", MAX_BINDINGS, now)
            return False
        return not self._has_too_many(sender, now)

    def _has_too_many(self, sender: Address, now: float) -> bool:
        """Returns whether a sender has all the bindings that it can have, and emits a notice if so."""
        if not sender or self._senders.count(sender) < MAX_BINDINGS_PER_SENDER:
            return False
        self._notify_full("bindings of one sender", MAX_BINDINGS_PER_SENDER, now)
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
        sender: Address | None = None,
    ) -> Binding | None:
        """Adds or refreshes a binding and returns it; None when a stronger one exists, or there is no room.

        `holding_time_s` 0 means for ever; `lifetime_s` is the rest of it when that is less. `sender` is the outer
        source of the packet where that is another one than `nbma`, and empty for the operator's word.
        """
        sender = nbma if sender is None else sender
        claimed = nbma if claimed_nbma in (b"", nbma) else claimed_nbma
        expires_at = NEVER if holding_time_s == 0 else now + (lifetime_s or holding_time_s)
        binding = self._bindings.get(protocol)
        if binding is None:
            times = (holding_time_s, expires_at, now)
            new = Binding(protocol, kind, nbma, claimed, *times, mtu, unique, origin, sender=sender)
            return self._add(new, now)
        if kind < binding.type and binding.origin is not Origin.KERNEL:
            return None
        user = self._senders.user(sender, nbma)
        if user != binding.counts_for and self._has_too_many(user, now):
            return None
        promoted = kind is not binding.type
        self._interface.changes += promoted
        binding.type = kind
        binding.sender = sender
        binding.claimed_nbma = claimed
        self.entries.set_mtu(binding, mtu)
        binding.unique = unique
        binding.origin = origin
        shortened = expires_at < binding.expires_at
        binding.expires_at = expires_at
        changed_time = holding_time_s != binding.holding_time_s
        binding.holding_time_s = holding_time_s
        former = binding.nbma
        if nbma != former:
            self._move(binding, nbma, now)
        self._sort_in(binding, user)
        self.hold(binding)
        if promoted and not binding.installed:
            # Who registers, or has us registered, needs no proven path, which it may have waited for.
            self.entries.install(binding)
        elif (
            nbma == former
            and binding.entry is Entry.STALE
            and binding.shortcuts_end_at >= expires_at
        ):
            # Else the entry stays STALE: the peer's message keeps the binding, but no shortcut.
            self.entries.install(binding)
        # The expiry timer is lazy: when it fires early it looks at `expires_at` and sleeps again.
        if promoted or shortened or changed_time or kind is BindingType.CACHED:
            self._arm(binding, now)
        return binding

    def remove(self, binding: Binding, reason: str) -> None:
        """Removes a binding from cache and kernel, after the shortcuts over it."""
        for shortcut in self.shortcuts.of_peer(binding.protocol):
            self.shortcuts.remove(shortcut, reason)
        del self._bindings[binding.protocol]
        del self._ordered[bisect_left(self._ordered, binding.protocol)]
        self._cached.discard(binding)
        self._leave_nbma(binding)
        self._interface.circuits.sources.unbound(binding.protocol)
        self._senders.charge(binding, b"")
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

    def hold(self, binding: Binding) -> None:
        """Notes which identities have an overlay address now: those at its NBMA address, where they are known.

        Another one that gets an SA at the address of the first is no holder by that.
        """
        identities = self._interface.circuits.identities(binding.nbma)
        is_held = binding.held_at == binding.nbma and binding.holder & identities
        if identities and not is_held:
            binding.holder = identities
            binding.held_at = binding.nbma

    def install_all(self) -> None:
        """Installs all neighbours and routes anew: the netdev is new, or was down."""
        for binding in self._bindings.values():
            self.entries.install(binding)

    def expiry_due(self, protocol: Address, now: float) -> None:
        """Removes a binding that has ended, or sets the expiry timer again if it was refreshed."""
        binding = self._bindings.get(protocol)
        if binding is None:
            return
        if binding.expires_at <= now:
            self.remove(binding, "expired")
        else:
            self._timers.set(self._key(TimerKind.BINDING_EXPIRY, protocol), binding.expires_at)

    # Use by traffic.

    def probe_due(self, protocol: Address) -> None:
        """Finds out whether traffic uses a learnt binding, or the shortcuts over one, before they end."""
        binding = self._bindings.get(protocol)
        if binding is not None:
            self.entries.probe(binding)

    def confirm(self, binding: Binding) -> bool:
        """Answers the kernel's probe of an entry in use; returns whether the entry was STALE, set by `probe_due`."""
        was_asked = binding.entry is Entry.STALE
        binding.used = True
        self.entries.install(binding)
        return was_asked

    def watch(self, binding: Binding, shortcuts_end_at: float, now: float) -> None:
        """Sets when the first shortcut over a binding ends, and the probe before that: one is new or renewed."""
        binding.shortcuts_end_at = shortcuts_end_at
        if binding.entry is Entry.STALE:
            self.entries.install(binding)
        self._arm(binding, now)

    def unwatch(self, binding: Binding, shortcuts_end_at: float) -> None:
        """Notes that a shortcut over a binding is gone. After the last one the entry must not stay STALE: the kernel
        would give it up while the daemon is away."""
        binding.shortcuts_end_at = shortcuts_end_at
        if shortcuts_end_at != NEVER or binding.type is BindingType.CACHED:
            return
        self._timers.stop(self._key(TimerKind.BINDING_PROBE, binding.protocol))
        if binding.entry is Entry.STALE:
            self.entries.install(binding)

    def _add(self, binding: Binding, now: float) -> Binding | None:
        user = self._senders.user(binding.sender, binding.nbma)
        if not self.has_room(user, now):
            return None
        if binding.type is BindingType.CACHED and not self._has_room_for_cached(now):
            return None
        self._bindings[binding.protocol] = binding
        insort(self._ordered, binding.protocol)
        self._join_nbma(binding)
        self._sort_in(binding, user)
        self.hold(binding)
        self.shortcuts.peer_added(binding.protocol)
        self.entries.keep_server(binding)
        self.entries.install(binding)
        self._arm(binding, now)
        return binding

    def _move(self, binding: Binding, nbma: Address, now: float) -> None:
        """Moves a binding to another NBMA address of its peer."""
        self._leave_nbma(binding)
        binding.nbma = nbma
        self._join_nbma(binding)
        binding.created_at = now
        if binding.entry is Entry.STALE:
            binding.entry = Entry.DIRECT  # the kernel was asked about the address that it had
        self.entries.moved(binding)

    def _arm(self, binding: Binding, now: float) -> None:
        timers = self._timers
        expiry = self._key(TimerKind.BINDING_EXPIRY, binding.protocol)
        if binding.expires_at == NEVER:
            timers.stop(expiry)
        else:
            timers.set(expiry, binding.expires_at)
        probe = self._key(TimerKind.BINDING_PROBE, binding.protocol)
        # The end of registered and configured bindings is not ours to renew; then only the shortcuts count.
        ends_at = binding.shortcuts_end_at
        if binding.type is BindingType.CACHED:
            ends_at = min(ends_at, binding.expires_at)
        if ends_at == NEVER or binding.entry is Entry.STALE:
            timers.stop(probe)
            return
        left_s = max(1.0, ends_at - now)
        timers.set(probe, now + max(left_s / 4, min(left_s * 2 / 3, left_s - PROBE_LEAD_S)))

    def _sort_in(self, binding: Binding, user: Address) -> None:
        """Counts a binding for a user, as the newest."""
        if binding.type is BindingType.CACHED:
            self._cached.add(binding, user)
        else:
            self._cached.discard(binding)
        self._senders.charge(binding, user)

    def _has_room_for_cached(self, now: float) -> bool:
        """If the table is full, removes the oldest unused binding of the sender that has most of them.

        Returns False if shortcuts use the first EVICTION_TRIES.
        """
        if len(self._cached) < MAX_CACHED:
            return True
        for _ in range(EVICTION_TRIES):
            binding = next(iter(self._cached.of_largest()))
            if binding.shortcuts_end_at == NEVER:
                self.remove(binding, "made room")
                return True
            self._sort_in(binding, binding.counts_for)
        self._notify_full("cached bindings", MAX_CACHED, now)
        return False

    def _join_nbma(self, binding: Binding) -> None:
        """Adds a binding to the index by NBMA address."""
        self._interface.changes += 1
        others = self._by_nbma.get(binding.nbma, ())
        if not others:
            insort(self._nbma_ordered, binding.nbma)
        self._by_nbma[binding.nbma] = (*others, binding)
        self._interface.circuits.sources.bound(binding.protocol, binding.nbma)

    def _leave_nbma(self, binding: Binding) -> None:
        """Removes a binding from the index by NBMA address, and releases its circuit."""
        self._interface.changes += 1
        others = tuple(each for each in self._by_nbma[binding.nbma] if each is not binding)
        if others:
            self._by_nbma[binding.nbma] = others
        else:
            del self._by_nbma[binding.nbma]
            del self._nbma_ordered[bisect_left(self._nbma_ordered, binding.nbma)]
            self._interface.link_locals.left(binding.nbma)
        self._interface.circuits.release(binding.nbma, binding.protocol)

    def _key(self, kind: TimerKind, protocol: Address) -> TimerKey:
        return TimerKey(kind, self._interface.name, protocol)

    def _notify_full(self, table: str, limit: int, now: float) -> None:
        name = self._interface.name
        self._outbox.remind((name, table), TableFull(interface=name, table=table, limit=limit), now)
