"""The cache of one interface and address family: which NBMA address stands behind which overlay address.

A `Binding` has a type that says where it is from, and types have a precedence: a weaker source never overwrites a
stronger one. Every binding is a wanted neighbour entry and, unless a connected prefix of the tunnel covers it, a wanted
host route. Bindings that were only learnt by resolution (`cached`), and any that shortcuts lean on, are watched near
the end: the neighbour entry is set STALE, and a probe of the kernel then tells that traffic uses it.

Changed by the machines of its instance alone. RFC 2332 §6.2 (cache management), §5.2.3 (uniqueness).
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import islice
from typing import Protocol

from nhrpd_py.core.address import Address, host_prefix
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.base.timers import TimerKey, TimerKind, TimerQueue
from nhrpd_py.core.effects import (
    DropNeighbor,
    DropRoute,
    NeighborState,
    SetNeighbor,
    SetRoute,
)
from nhrpd_py.core.notices import BindingRemoved, TableFull
from nhrpd_py.core.station.binding import NEVER, Binding, BindingType
from nhrpd_py.core.station.interface import Interface

MAX_BINDINGS = 65536
MAX_BINDINGS_PER_NBMA = 1024
MAX_CACHED = 16384
"""Whoever asks is bound: a flood of requests must leave room for those who register."""
EVICTION_TRIES = 16
PROBE_LEAD_S = 8.0
"""The kernel needs 5 s from the first packet through a STALE entry to its probe (delay_first_probe_time)."""


class Follower(Protocol):
    """Whoever must know of new bindings."""

    def bound(self, protocol: Address) -> None:
        """An address is about to get a binding that had none."""

    def programmed(self, protocol: Address) -> None:
        """A binding that had no neighbour entry has one now."""

    def withdrawn(self, protocol: Address) -> None:
        """A binding stays, but its neighbour entry is about to go."""


class Cache:
    """See the module."""

    __slots__ = (
        "_bindings",
        "_by_nbma",
        "_cached",
        "_interface",
        "_ordered",
        "_outbox",
        "_timers",
        "follower",
        "led",
    )

    def __init__(self, interface: Interface, outbox: Outbox, timers: TimerQueue) -> None:
        self.follower: Follower | None = None
        self._outbox = outbox
        self._timers = timers
        self._interface = interface
        self._bindings: dict[Address, Binding] = {}
        self._cached: dict[Address, Binding] = {}
        """Those of type `cached`, the one that was refreshed longest ago first."""
        self._ordered: list[Address] = []
        """The overlay addresses, ascending."""
        self._by_nbma: dict[Address, list[Binding]] = {}
        self.led: dict[Address, Binding] = {}
        """Those that have an interim neighbour entry."""

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
        """Tells whether one more binding fits, and says so in a notice when not."""
        if len(self._bindings) >= MAX_BINDINGS:
            self._tell_full("cache", MAX_BINDINGS, now)
            return False
        if len(self._by_nbma.get(nbma, ())) >= MAX_BINDINGS_PER_NBMA:
            self._tell_full("bindings of one NBMA address", MAX_BINDINGS_PER_NBMA, now)
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
    ) -> Binding | None:
        """Creates or refreshes a binding; None when a stronger one stands, or there is no room.

        `holding_time_s` 0 means for ever; `lifetime_s` is what is left of it when that is less.
        """
        expires_at = NEVER if holding_time_s == 0 else now + (lifetime_s or holding_time_s)
        binding = self._bindings.get(protocol)
        if binding is None:
            if not self.has_room(nbma, now):
                return None
            if kind is BindingType.CACHED and not self._has_room_for_cached(now):
                return None
            binding = Binding(
                protocol,
                kind,
                nbma,
                claimed_nbma or nbma,
                holding_time_s,
                expires_at,
                now,
                mtu,
                unique,
            )
            self._bindings[protocol] = binding
            insort(self._ordered, protocol)
            self._by_nbma.setdefault(nbma, []).append(binding)
            self._sort_in(binding)
            if self.follower is not None:
                self.follower.bound(protocol)
            self._program(binding)
            self._arm(binding, now)
            return binding
        if kind < binding.type and not binding.adopted:
            return None  # but whatever the kernel alone remembers is weaker than any word of a peer
        promoted = kind is not binding.type
        binding.type = kind
        self._sort_in(binding)
        binding.claimed_nbma = claimed_nbma or nbma
        binding.mtu = mtu
        binding.unique = unique
        binding.adopted = binding.recalled = False
        shortened = expires_at < binding.expires_at
        binding.expires_at = expires_at
        changed_time = holding_time_s != binding.holding_time_s
        binding.holding_time_s = holding_time_s
        if nbma != binding.nbma:
            self._leave_nbma(binding)
            self._by_nbma.setdefault(nbma, []).append(binding)
            binding.nbma = nbma
            binding.created_at = now
            self._program(binding)
        elif binding.probing and binding.shortcuts_end_at >= expires_at:
            # Else the probe goes on: the peer's own word keeps the binding, but no shortcut.
            self._program(binding)
        # The expiry timer is lazy: when it fires early it looks at `expires_at` and sleeps again.
        if promoted or shortened or changed_time or kind is BindingType.CACHED:
            self._arm(binding, now)
        return binding

    def remove(self, binding: Binding, reason: str) -> None:
        """Takes a binding out of cache and kernel. Its shortcuts must have gone before."""
        del self._bindings[binding.protocol]
        del self._ordered[bisect_left(self._ordered, binding.protocol)]
        self._cached.pop(binding.protocol, None)
        self.led.pop(binding.protocol, None)
        self._leave_nbma(binding)
        self._timers.stop(self._key(TimerKind.BINDING_EXPIRY, binding.protocol))
        self._timers.stop(self._key(TimerKind.BINDING_PROBE, binding.protocol))
        ifindex = self._interface.ifindex
        if self._interface.opened:
            if binding.routed:
                self._outbox.emit(DropRoute(host_prefix(binding.protocol), ifindex))
            self._outbox.emit(DropNeighbor(ifindex, binding.protocol))
        self._outbox.emit(
            BindingRemoved(
                interface=self._interface.name,
                protocol=binding.protocol,
                nbma=binding.nbma,
                type=binding.type.name.lower(),
                reason=reason,
            )
        )

    def reassert(self) -> None:
        """Asks for all neighbours and routes anew: the netdev is new to the kernel, or was down."""
        for binding in self._bindings.values():
            self._program(binding)

    def reassert_one(self, binding: Binding) -> None:
        """Asks for one neighbour and route anew."""
        self._program(binding)

    def refit_routes(self) -> None:
        """Adds or withdraws host routes after the tunnel's connected prefixes changed."""
        if not self._interface.opened:
            return
        for binding in self._bindings.values():
            wanted = binding.programmed and not self._interface.on_link(binding.protocol)
            if wanted == binding.routed:
                continue
            binding.routed = wanted
            prefix = host_prefix(binding.protocol)
            ifindex = self._interface.ifindex
            self._outbox.emit(SetRoute(prefix, ifindex) if wanted else DropRoute(prefix, ifindex))

    def detach(self) -> None:
        """The netdev is down or gone: nothing of this is in the kernel any more."""
        for binding in self._bindings.values():
            binding.programmed = binding.routed = binding.probing = binding.inherited = False
            binding.interim_nbma = b""
        self.led.clear()

    def rearm_expiry(self, binding: Binding, now: float) -> bool:
        """The expiry timer fired: tells whether the binding is still good, and sleeps on if so."""
        if binding.expires_at <= now:
            return False
        self._timers.set(self._key(TimerKind.BINDING_EXPIRY, binding.protocol), binding.expires_at)
        return True

    def probe(self, binding: Binding) -> None:
        """Has the kernel tell us whether it uses the entry; one without a circuit has none."""
        if not binding.programmed:
            return
        binding.used = False
        binding.probing = True
        self._outbox.emit(
            SetNeighbor(
                self._interface.ifindex, binding.protocol, binding.nbma, NeighborState.STALE
            )
        )

    def confirm(self, binding: Binding) -> bool:
        """The kernel probed the entry: answers it. Tells whether that is news of use."""
        news = binding.probing
        binding.used = True
        self._program(binding)
        return news

    def watch(self, binding: Binding, shortcuts_end_at: float, now: float) -> None:
        """Its shortcuts were renewed, or are new: whether they are used is asked ahead of their end."""
        binding.shortcuts_end_at = shortcuts_end_at
        if binding.probing:
            self._program(binding)
        self._arm(binding, now)

    def unwatch(self, binding: Binding, shortcuts_end_at: float) -> None:
        """One of its shortcuts is gone. An entry that nobody has to know the use of any more must not stay STALE:
        the kernel would give it up while the daemon is away."""
        binding.shortcuts_end_at = shortcuts_end_at
        if shortcuts_end_at != NEVER or binding.type is BindingType.CACHED:
            return
        self._timers.stop(self._key(TimerKind.BINDING_PROBE, binding.protocol))
        if binding.probing:
            self._program(binding)

    def _program(self, binding: Binding) -> None:
        binding.probing = False
        interface = self._interface
        if not interface.opened:
            return  # `reassert` follows when it opens
        circuits = interface.circuits
        if not circuits.carries(binding.nbma) and not (binding.inherited and circuits.unsure):
            self.withdraw(binding)
            return
        is_news = not binding.programmed
        binding.programmed = True
        if binding.interim_nbma:
            binding.interim_nbma = b""
            del self.led[binding.protocol]
        self._outbox.effects.append(SetNeighbor(interface.ifindex, binding.protocol, binding.nbma))
        binding.routed = not interface.on_link(binding.protocol)
        if binding.routed:
            self._outbox.effects.append(SetRoute(host_prefix(binding.protocol), interface.ifindex))
        if is_news and self.follower is not None:
            self.follower.programmed(binding.protocol)

    def lead(self, binding: Binding, server: Address) -> None:
        """Has the kernel send by way of an NHS what it has for a binding without a circuit; empty: nowhere."""
        ifindex = self._interface.ifindex
        if server and not binding.programmed:
            binding.interim_nbma = server
            self.led[binding.protocol] = binding
            self._outbox.emit(SetNeighbor(ifindex, binding.protocol, server))
        elif binding.interim_nbma:
            binding.interim_nbma = b""
            del self.led[binding.protocol]
            self._outbox.emit(DropNeighbor(ifindex, binding.protocol))

    def withdraw(self, binding: Binding) -> None:
        """Takes route and neighbour back, where there are any; the binding stays, for when its circuit is up."""
        if not binding.programmed:
            return
        if self.follower is not None:
            self.follower.withdrawn(binding.protocol)
        binding.probing = binding.programmed = False
        if binding.routed:
            binding.routed = False
            self._outbox.emit(DropRoute(host_prefix(binding.protocol), self._interface.ifindex))
        self._outbox.emit(DropNeighbor(self._interface.ifindex, binding.protocol))

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
        if ends_at == NEVER or binding.probing:
            timers.stop(probe)
            return
        left_s = max(1.0, ends_at - now)
        timers.set(probe, now + max(left_s / 4, min(left_s * 2 / 3, left_s - PROBE_LEAD_S)))

    def _sort_in(self, binding: Binding) -> None:
        self._cached.pop(binding.protocol, None)
        if binding.type is BindingType.CACHED:
            self._cached[binding.protocol] = binding

    def _has_room_for_cached(self, now: float) -> bool:
        """Makes room where there is none: the one that was refreshed longest ago goes, unless a shortcut needs it."""
        if len(self._cached) < MAX_CACHED:
            return True
        for binding in list(islice(self._cached.values(), EVICTION_TRIES)):
            if binding.shortcuts_end_at == NEVER:
                self.remove(binding, "made room")
                return True
            self._sort_in(binding)
        self._tell_full("cached bindings", MAX_CACHED, now)
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

    def _tell_full(self, table: str, limit: int, now: float) -> None:
        name = self._interface.name
        self._outbox.remind((name, table), TableFull(interface=name, table=table, limit=limit), now)
