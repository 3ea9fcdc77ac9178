"""Bindings of an earlier run, taken over at the start from the state file and from the kernel's neighbour table.

A binding of the state file is valid for the rest of its holding time. Of a binding that is only in the kernel neither
age nor type is known: it gets our own holding time, and its client is asked to register. A mere spoke has no clients:
there it was learnt by resolution, and its path is proven anew, as soon as it is known that it is no server's. Where
file and kernel differ the kernel is right: its entry was written when the client moved, the file once a minute.
"""

from nhrpd_py.core.address import Address, host_prefix
from nhrpd_py.core.base.timers import TimerKey, TimerKind
from nhrpd_py.core.effects import DropNeighbor
from nhrpd_py.core.events import BindingFound
from nhrpd_py.core.notices import BindingAdopted, ClaimRefused
from nhrpd_py.core.purge.sender import PurgeSender
from nhrpd_py.core.registration.claims import Claims
from nhrpd_py.core.registration.servers import Servers
from nhrpd_py.core.station.binding import Binding, BindingType, Origin
from nhrpd_py.core.station.station import Station
from nhrpd_py.packet.wire import DropReason

ASKED_PER_S = 100
"""How many clients are asked to register in one second."""
FIRST_ASK_S = 0.2
"""How long a client has to register by itself."""


class Adoption:
    """Takes over bindings of an earlier run. Owned by the instance."""

    __slots__ = ("_claims", "_purges", "_servers", "_station", "_to_ask")

    def __init__(
        self, station: Station, purges: PurgeSender, claims: Claims, servers: Servers
    ) -> None:
        self._station = station
        self._servers = servers
        self._claims = claims
        self._purges = purges
        self._to_ask: set[Address] = set()
        """The clients that are still to be asked, by overlay address."""

    def adopt(self, event: BindingFound, now: float) -> Binding | None:
        """Takes a binding over; returns it if it is new. A kernel entry that cannot be used is deleted."""
        station = self._station
        known = station.cache.get(event.protocol)
        from_kernel = event.remaining_s is None
        if known is not None:
            outdated = known.origin is Origin.STATE_FILE and from_kernel
            if not outdated or known.nbma == event.nbma:
                self._inherit(known, event)
                return None
        binding = None if self._is_useless(event, now) else self._take_over(event, now)
        if binding is None:
            station.outbox.emit(DropNeighbor(event.ifindex, event.protocol))
            return None
        station.outbox.emit(
            BindingAdopted(
                interface=station.interface.name, protocol=event.protocol, nbma=event.nbma
            )
        )
        if from_kernel:
            self.ask_later(binding, now)
        self._inherit(binding, event)
        return binding

    def servers_known(self, now: float) -> list[Binding]:
        """Takes what turns out to be no server's for learnt; returns these bindings, whose paths are to be proven.

        Called when a server's name was looked up, which takes longer than the reading of the kernel's table.
        """
        cache = self._station.cache
        found = [
            each
            for each in cache
            if each.origin is Origin.KERNEL
            and each.type is BindingType.DYNAMIC
            and self._was_learnt(each.protocol, each.nbma)
        ]
        for binding in found:
            cache.update(
                binding.protocol,
                BindingType.CACHED,
                binding.nbma,
                now,
                holding_time_s=binding.holding_time_s,
                lifetime_s=binding.expires_at - now,
                origin=Origin.KERNEL,
            )
        return found

    def ask_later(self, binding: Binding, now: float) -> None:
        """Sets the timer that asks a client to register; not all clients at once, but ASKED_PER_S in a second."""
        if binding.protocol in self._to_ask:
            return
        key = TimerKey(TimerKind.ASK_TO_REGISTER, self._station.interface.name, binding.protocol)
        self._station.timers.set(key, now + FIRST_ASK_S + len(self._to_ask) / ASKED_PER_S)
        self._to_ask.add(binding.protocol)

    def ask_due(self, protocol: Address) -> None:
        """Asks a client to register, unless it did so by itself meanwhile."""
        self._to_ask.discard(protocol)
        binding = self._station.cache.get(protocol)
        if (
            binding is not None
            and binding.origin is Origin.KERNEL
            and self._station.circuits.is_up(binding.nbma)
        ):
            self._purges.ask_to_register(binding)

    def _is_useless(self, event: BindingFound, now: float) -> bool:
        """Returns whether a binding has ended, or would be refused if a peer claimed it now.

        The routes of a routing daemon may come later than this, and charon's SAs: what comes later is asked then.
        """
        if event.remaining_s is not None and event.remaining_s <= 0:
            return True
        circuits = self._station.circuits
        refusal = (
            self._claims.nbma_refusal(event.nbma)
            or self._claims.refusal(event.protocol, event.nbma)
            or (circuits.is_up(event.nbma) and circuits.address_denial(event.nbma, event.protocol))
        )
        if not refusal:
            return False
        name = self._station.interface.name
        self._station.outbox.count_drop(name, DropReason.CLAIM_REFUSED)
        self._station.outbox.remind(
            (name, event.protocol, event.nbma, refusal),
            ClaimRefused(
                interface=name,
                protocol=event.protocol,
                nbma=event.nbma,
                prefix=host_prefix(event.protocol),
                reason=f"of an earlier run: {refusal}",
            ),
            now,
        )
        return True

    def _take_over(self, event: BindingFound, now: float) -> Binding | None:
        from_kernel = event.remaining_s is None
        is_learnt = from_kernel and self._was_learnt(event.protocol, event.nbma)
        return self._station.cache.update(
            event.protocol,
            BindingType.CACHED if is_learnt else BindingType.DYNAMIC,
            event.nbma,
            now,
            claimed_nbma=event.claimed_nbma,
            holding_time_s=self._station.config.holding_time_s,
            lifetime_s=self._lifetime_s(event),
            unique=event.unique,
            origin=Origin.KERNEL if from_kernel else Origin.STATE_FILE,
        )

    def _was_learnt(self, protocol: Address, nbma: Address) -> bool:
        """Returns whether a binding that only the kernel has can only have been learnt by resolution: we have no
        clients, and it is no server's.

        Where a server's name has not been looked up yet, anybody may be that server.
        """
        config, servers = self._station.config, self._servers
        if not config.nhs or config.redirect:
            return False
        if servers.has_nbma(nbma) or servers.has_protocol(protocol):
            return False
        return all(each.literal or each.registrations for each in servers)

    def _lifetime_s(self, event: BindingFound) -> float | None:
        if event.remaining_s is None:
            return None
        return min(event.remaining_s, self._station.config.max_holding_time_s)

    def _inherit(self, binding: Binding, event: BindingFound) -> None:
        """Keeps a matching kernel entry until charon reports whether its SA exists; deletes any other entry."""
        if binding.installed:
            return
        if event.remaining_s is None and binding.nbma == event.nbma:
            self._station.cache.entries.inherit(binding)
        else:
            self._station.outbox.emit(DropNeighbor(event.ifindex, event.protocol))
