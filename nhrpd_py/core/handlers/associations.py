"""charon's word, brought to the interfaces that it concerns.

An association counts for every protected interface whose own NBMA address is its local one. While charon is away
nothing is believed to be lost, for the kernel's SAs live on; what really went is reported one by one.
Owned by the engine.
"""

from collections.abc import Iterator, Mapping

from nhrpd_py.core.address import Address, Afi
from nhrpd_py.core.context import Context
from nhrpd_py.core.events import PacketReceived, SaFailed, SaGone, SaInstalled
from nhrpd_py.core.instance.instance import Instance
from nhrpd_py.core.ipsec.associations import Associations
from nhrpd_py.core.notices import AssociationFailed, AssociationLost, AssociationReady, NbmaShared
from nhrpd_py.core.station.interface import Interface
from nhrpd_py.packet.wire import DropReason

Instances = Mapping[str, Mapping[Afi, Instance]]


class Protection:
    """See the module."""

    __slots__ = ("_associations", "_context", "_instances", "_interfaces", "_released")

    def __init__(
        self,
        context: Context,
        associations: Associations,
        interfaces: Mapping[str, Interface],
        instances: Instances,
    ) -> None:
        self._context = context
        self._associations = associations
        self._interfaces = interfaces
        self._instances = instances
        self._released: list[PacketReceived] = []

    def installed(self, event: SaInstalled, now: float) -> None:
        """Releases the packets that came ahead of this word."""
        association = event.association
        pair = association.local, association.remote
        before = {each.identity for each in self._associations.of(pair)}
        if not self._associations.add(association, now):
            return
        for interface in self._protected(association.local):
            circuits = interface.circuits
            circuits.forgive(association.remote)
            if association.answered and not before:
                circuits.settle(association.remote, now)
            if association.identity not in before:
                self._tell_installed(interface, event, shares=bool(before))
            if not circuits.is_settling(association.remote):
                for instance in self._instances[interface.name].values():
                    instance.gate.came_up(association.remote, now)
            self._released += circuits.unpark(association.remote)

    def released(self) -> list[PacketReceived]:
        """Takes the packets that waited for nothing but `installed`."""
        if not self._released:
            return []
        packets, self._released = self._released, []
        return packets

    def admit(self, interface: Interface, event: PacketReceived, now: float) -> bool:
        """Tells whether a packet may be handled now: its SA is known."""
        circuits = interface.circuits
        remote = event.nbma_source
        if circuits.is_up(remote):
            if circuits.is_settling(remote):
                self.settled(interface, remote, now)
            return True
        # The guard lets nothing through in clear, so there is an SA that we have not heard of yet.
        if not circuits.park(event, now):
            self._context.count_drop(interface.name, DropReason.NO_ASSOCIATION)
        return False

    def gone(self, event: SaGone, now: float) -> None:
        pair = event.local, event.remote
        identity = ", ".join(dict.fromkeys(each.identity for each in self._associations.of(pair)))
        if not self._associations.remove(pair, event.id):
            return
        for interface in self._protected(event.local):
            interface.circuits.settled(event.remote)
            self._context.emit(
                AssociationLost(
                    interface=interface.name,
                    nbma=event.remote,
                    identity=identity,
                    reason=event.reason,
                )
            )
            reason = f"the security association is gone: {event.reason}"
            for instance in self._instances[interface.name].values():
                instance.gate.went_down(event.remote, reason, now)

    def failed(self, event: SaFailed, now: float) -> None:
        """An attempt came to nothing, ours or the peer's; one beside an SA that is up is only told."""
        is_up = (event.local, event.remote) in self._associations
        for interface in self._protected(event.local):
            name = interface.name
            if not is_up:
                interface.circuits.failed(event.remote, event.reason)
            if self._context.reminders.allows((name, event.remote, event.reason), now):
                self._context.emit(
                    AssociationFailed(
                        interface=name,
                        nbma=event.remote,
                        reason=event.reason,
                        retry_in_s=event.retry_in_s,
                    )
                )
            if not is_up:
                for instance in self._instances[name].values():
                    instance.gate.failed(event.remote, event.reason, now)

    def ready(self, now: float) -> None:
        """charon has told all there is: what we took over without knowing is looked at."""
        first = not self._associations.known
        self._associations.known = True
        self._associations.problem = None
        if first:
            for interface in self._protected():
                for instance in self._instances[interface.name].values():
                    instance.gate.review(now)

    def lost(self, reason: str) -> None:
        self._associations.problem = reason

    def settled(self, interface: Interface, remote: Address, now: float) -> None:
        """A peer that began an SA can receive through it by now: data may go that way too."""
        interface.circuits.settled(remote)
        if interface.opened and interface.circuits.is_up(remote):
            for instance in self._instances[interface.name].values():
                instance.gate.came_up(remote, now)

    def parked_due(self, interface: Interface, remote: Address) -> None:
        """Packets waited in vain: there is no SA that they can have come through."""
        for _ in interface.circuits.unpark(remote):
            self._context.count_drop(interface.name, DropReason.NO_ASSOCIATION)

    def _protected(self, local: Address | None = None) -> Iterator[Interface]:
        for interface in self._interfaces.values():
            if interface.circuits.protected and local in (None, interface.circuits.local):
                yield interface

    def _tell_installed(self, interface: Interface, event: SaInstalled, *, shares: bool) -> None:
        association = event.association
        self._context.emit(
            AssociationReady(
                interface=interface.name,
                nbma=association.remote,
                identity=association.identity,
            )
        )
        if shares:
            self._context.emit(
                NbmaShared(
                    interface=interface.name,
                    nbma=association.remote,
                    identities=interface.circuits.identity(association.remote) or "",
                )
            )
