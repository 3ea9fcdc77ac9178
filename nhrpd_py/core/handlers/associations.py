"""SA events of charon, applied to every protected tunnel whose own NBMA address is the SA's local address.

While charon is away no SA counts as lost at first, for the kernel's SAs live on; one that really ended is reported by
`SaGone`. After a while those with other spokes do, for the peers give up ours.
"""

from collections.abc import Iterator

from nhrpd_py.core.address import Address
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.base.timers import TimerKey, TimerKind, TimerQueue
from nhrpd_py.core.events import PacketReceived, SaFailed, SaGone, SaInstalled
from nhrpd_py.core.handlers.sources import SourceHandler
from nhrpd_py.core.instance.tunnels import Tunnel, Tunnels
from nhrpd_py.core.ipsec.associations import DESERTED_S, Associations
from nhrpd_py.core.ipsec.handovers import Contest
from nhrpd_py.core.notices import (
    AssociationFailed,
    AssociationLost,
    AssociationReady,
    ClaimContested,
    NbmaShared,
)
from nhrpd_py.core.station.interface import Interface
from nhrpd_py.packet.wire import DropReason


class AssociationHandler:
    """Applies charon's SA events to the protected tunnels. Called by the engine."""

    __slots__ = ("_associations", "_outbox", "_released", "_sources", "_timers", "_tunnels")

    def __init__(
        self,
        tunnels: Tunnels,
        associations: Associations,
        sources: SourceHandler,
        outbox: Outbox,
        timers: TimerQueue,
    ) -> None:
        self._tunnels = tunnels
        self._associations = associations
        self._sources = sources
        self._outbox = outbox
        self._timers = timers
        self._released: list[PacketReceived] = []

    def installed(self, event: SaInstalled, now: float) -> None:
        """Handles a new CHILD_SA: its peer's circuit is up, and packets held for this report are released."""
        association = event.association
        pair = association.local, association.remote
        before = {each.identity for each in self._associations.of(pair)}
        if not self._associations.add(association, now):
            return
        if association.identity not in before:
            who = association.local, association.identity
            contest = self._associations.handovers.arrived(who, association.remote, now)
            self._notify_contested(contest, now)
        for tunnel in self._protected(association.local):
            circuits = tunnel.interface.circuits
            self._sources.installed(tunnel, association)
            circuits.clear_failure(association.remote)
            if association.answered and not before:
                circuits.wait_for_peer(association.remote, now)
            if association.identity not in before:
                self._notify_installed(tunnel.interface, event, shares=bool(before))
            if not circuits.waits_for_peer(association.remote):
                for instance in tunnel:
                    instance.dependents.circuit_up(association.remote, now)
            self._released += circuits.release_held(association.remote)

    def released(self) -> list[PacketReceived]:
        """Removes and returns the packets that `installed` released."""
        if not self._released:
            return []
        packets, self._released = self._released, []
        return packets

    def admit(self, tunnel: Tunnel, event: PacketReceived, now: float) -> bool:
        """Returns whether a packet may be handled now: its SA is known. Else it is held, or dropped and counted."""
        circuits = tunnel.interface.circuits
        remote = event.nbma_source
        if circuits.is_up(remote):
            if circuits.waits_for_peer(remote):
                self.peer_ready(tunnel, remote, now)
            return True
        # The guard lets nothing through in clear, so the packet came through an SA that is not reported yet.
        if not circuits.hold(event, now):
            self._outbox.count_drop(tunnel.interface.name, DropReason.NO_ASSOCIATION)
        return False

    def gone(self, event: SaGone, now: float) -> None:
        pair = event.local, event.remote
        names = dict.fromkeys(each.identity for each in self._associations.of(pair))
        identity = ", ".join(names)
        is_last = self._associations.remove(pair, event.id)
        for name in names.keys() - {each.identity for each in self._associations.of(pair)}:
            contest = self._associations.handovers.left((event.local, name), event.remote, now)
            self._notify_contested(contest, now)
        for tunnel in self._protected(event.local):
            tunnel.interface.circuits.sources.gone(event.remote, event.id)
        if not is_last:
            return
        for tunnel in self._protected(event.local):
            interface = tunnel.interface
            interface.circuits.peer_ready(event.remote)
            self._outbox.emit(
                AssociationLost(
                    interface=interface.name,
                    nbma=event.remote,
                    identity=identity,
                    reason=event.reason,
                )
            )
            reason = f"the security association is gone: {event.reason}"
            for instance in tunnel:
                instance.dependents.circuit_down(event.remote, reason, now)

    def failed(self, event: SaFailed, now: float) -> None:
        """Handles a failed attempt, ours or the peer's; while an SA of the pair is up it only becomes a notice.

        But one of another peer behind the same address takes along what that peer claimed through its SA.
        """
        is_up = (event.local, event.remote) in self._associations
        for tunnel in self._protected(event.local):
            interface = tunnel.interface
            if not is_up:
                interface.circuits.failed(event.remote, event.reason)
            self._outbox.remind(
                (interface.name, event.remote, event.reason),
                AssociationFailed(
                    interface=interface.name,
                    nbma=event.remote,
                    reason=event.reason,
                    retry_in_s=event.retry_in_s,
                ),
                now,
            )
            for instance in tunnel:
                if not is_up:
                    instance.dependents.circuit_failed(event.remote, event.reason, now)
                elif event.was_up:
                    instance.dependents.intruded(event.remote, now)

    def ready(self, now: float) -> None:
        """Handles the end of charon's report: the first time, all bindings are checked against the SAs that exist."""
        first = not self._associations.known
        self._associations.known = True
        self._associations.problem = None
        self._associations.lost_at = None
        if first:
            for tunnel in self._protected():
                for instance in tunnel:
                    instance.dependents.review(now)

    def lost(self, reason: str, now: float) -> None:
        """Notes that charon is away; after a while the direct ways to other spokes count as lost."""
        self._associations.problem = reason
        if self._associations.lost_at is None:
            self._associations.lost_at = now
            for tunnel in self._protected():
                key = TimerKey(TimerKind.DESERTED, tunnel.interface.name, None)
                self._timers.set(key, now + DESERTED_S)

    def deserted_due(self, tunnel: Tunnel, now: float) -> None:
        """Gives up the direct ways of a tunnel to other spokes, unless charon came back."""
        reason = tunnel.interface.circuits.deserted(now)
        if reason is not None:
            for instance in tunnel:
                instance.dependents.deserted(reason, now)

    def peer_ready(self, tunnel: Tunnel, remote: Address, now: float) -> None:
        """Lets data go through an SA that the peer initiated: the peer can receive through it by now."""
        interface = tunnel.interface
        interface.circuits.peer_ready(remote)
        if interface.opened and interface.circuits.is_up(remote):
            for instance in tunnel:
                instance.dependents.circuit_up(remote, now)

    def held_due(self, tunnel: Tunnel, remote: Address) -> None:
        """Drops the packets held for a peer: no SA was reported through which they can have come."""
        for _ in tunnel.interface.circuits.release_held(remote):
            self._outbox.count_drop(tunnel.interface.name, DropReason.NO_ASSOCIATION)

    def _protected(self, local: Address | None = None) -> Iterator[Tunnel]:
        """Yields the protected tunnels, or those of one local NBMA address."""
        for tunnel in self._tunnels:
            circuits = tunnel.interface.circuits
            if circuits.protected and local in (None, circuits.local):
                yield tunnel

    def _notify_contested(self, contest: Contest | None, now: float) -> None:
        """Tells that an identity is at two addresses in turn, once in a while."""
        if contest is None:
            return
        for tunnel in self._protected(contest.who[0]):
            name = tunnel.interface.name
            self._outbox.remind(
                (name, *contest.who, "contested"),
                ClaimContested(
                    interface=name,
                    subject=contest.who[1],
                    nbma=contest.places[1],
                    previous_nbma=contest.places[0],
                    reason=contest.reason,
                ),
                now,
            )

    def _notify_installed(self, interface: Interface, event: SaInstalled, *, shares: bool) -> None:
        association = event.association
        self._outbox.emit(
            AssociationReady(
                interface=interface.name,
                nbma=association.remote,
                identity=association.identity,
            )
        )
        if shares:
            self._outbox.emit(
                NbmaShared(
                    interface=interface.name,
                    nbma=association.remote,
                    identities=interface.circuits.identity(association.remote) or "",
                )
            )
