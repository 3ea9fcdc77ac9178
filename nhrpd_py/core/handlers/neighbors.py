"""Events of the kernel's neighbour table: solicitations, probes of entries in use, entries of an earlier run."""

from nhrpd_py.core.address import Address
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.effects import DropNeighbor
from nhrpd_py.core.events import BindingFound, NeighborSolicited
from nhrpd_py.core.instance.instance import Instance
from nhrpd_py.core.instance.tunnels import Tunnels


class NeighborHandler:
    """Passes neighbour events to their instance. Called by the engine."""

    __slots__ = ("_outbox", "_tunnels")

    def __init__(self, tunnels: Tunnels, outbox: Outbox) -> None:
        self._tunnels = tunnels
        self._outbox = outbox

    def solicited(self, event: NeighborSolicited, now: float) -> None:
        """Handles a solicitation; with an NBMA address it is a probe of an existing entry, which is in use."""
        instance = self._instance(event.ifindex, event.address)
        if instance is None or not instance.station.ready:
            return
        if event.nbma:
            instance.requester.binding_in_use(event.address, now)
        else:
            instance.requester.solicited(event.address, now)

    def found(self, event: BindingFound, now: float) -> None:
        """Handles a binding of an earlier run; its entry is deleted if no tunnel of ours is open there."""
        instance = self._instance(event.ifindex, event.protocol)
        if instance is not None:
            instance.adopt(event, now)
        else:
            self._outbox.emit(DropNeighbor(event.ifindex, event.protocol))

    def _instance(self, ifindex: int, address: Address) -> Instance | None:
        """Returns the instance of an open tunnel for the family of an overlay address."""
        tunnel = self._tunnels.open_at(ifindex)
        return tunnel.of(address) if tunnel is not None else None
