"""Events of the kernel's neighbour table: what it has traffic for, what it uses, what it has from an earlier run."""

from nhrpd_py.core.address import Address
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.effects import DropNeighbor
from nhrpd_py.core.events import BindingFound, NeighborSolicited
from nhrpd_py.core.instance.instance import Instance
from nhrpd_py.core.instance.tunnels import Tunnels


class NeighborHandler:
    """Brings neighbour events to the instance that they are for. Called by the engine."""

    __slots__ = ("_outbox", "_tunnels")

    def __init__(self, tunnels: Tunnels, outbox: Outbox) -> None:
        self._tunnels = tunnels
        self._outbox = outbox

    def solicited(self, event: NeighborSolicited, now: float) -> None:
        """The kernel asks for an address; with an NBMA address it probes the entry that it has: it is in use."""
        instance = self._instance(event.ifindex, event.address)
        if instance is None or not instance.station.ready:
            return
        if event.nbma:
            instance.requester.binding_in_use(event.address, now)
        else:
            instance.requester.solicited(event.address, now)

    def found(self, event: BindingFound, now: float) -> None:
        """There is a binding of an earlier run; where no tunnel of ours is open its entry is taken back."""
        instance = self._instance(event.ifindex, event.protocol)
        if instance is not None:
            instance.adopt(event, now)
        else:
            self._outbox.emit(DropNeighbor(event.ifindex, event.protocol))

    def _instance(self, ifindex: int, address: Address) -> Instance | None:
        """The instance of an open tunnel that an overlay address is of."""
        tunnel = self._tunnels.open_at(ifindex)
        return tunnel.of(address) if tunnel is not None else None
