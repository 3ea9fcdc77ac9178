"""Events of the kernel's neighbour table: solicitations, probes of entries in use, entries of an earlier run."""

from collections.abc import Iterator

from nhrpd_py.core.address import Address, Afi, afi_of, is_link_local
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.effects import DropNeighbor
from nhrpd_py.core.events import BindingFound, NeighborSolicited
from nhrpd_py.core.instance.instance import Instance
from nhrpd_py.core.instance.tunnels import Tunnel, Tunnels
from nhrpd_py.core.station.binding import BindingType
from nhrpd_py.core.station.link_locals import outer_address_in, with_interface_identifier


class NeighborHandler:
    """Passes neighbour events to their instance. Called by the engine."""

    __slots__ = ("_outbox", "_tunnels")

    def __init__(self, tunnels: Tunnels, outbox: Outbox) -> None:
        self._tunnels = tunnels
        self._outbox = outbox

    def solicited(self, event: NeighborSolicited, now: float) -> None:
        """Handles a solicitation; with an NBMA address it is a probe of an existing entry, which is in use."""
        if _is_link_local(event.address):
            self._link_local_solicited(event)
            return
        instance = self._instance(event.ifindex, event.address)
        if instance is None or not instance.station.ready:
            return
        if event.nbma:
            instance.requester.binding_in_use(event.address, now)
        else:
            instance.requester.solicited(event.address, now)

    def found(self, event: BindingFound, now: float) -> None:
        """Handles a binding of an earlier run; its entry is deleted if no tunnel of ours is open there.

        So is that of a link-local address, which is no binding: the kernel asks for it again.
        """
        instance = self._instance(event.ifindex, event.protocol)
        if instance is not None and not _is_link_local(event.protocol):
            instance.adopt(event, now)
        else:
            self._outbox.emit(DropNeighbor(event.ifindex, event.protocol))

    def _link_local_solicited(self, event: NeighborSolicited) -> None:
        """Has an entry lead to the peer that a link-local address tells, or else to the best server.

        No server hands on what is for a link-local address, but what is routed by way of one: that of another spoke.
        """
        tunnel = self._tunnels.open_at(event.ifindex)
        if tunnel is None:
            return
        circuits = tunnel.interface.circuits
        servers = (each.client.servers.best_nbma() for each in tunnel)
        for nbma in (*_peers_of(tunnel, event.address), *servers):
            if nbma and circuits.carries(nbma):
                tunnel.interface.link_locals.lead(event.ifindex, event.address, nbma)
                return

    def _instance(self, ifindex: int, address: Address) -> Instance | None:
        """Returns the instance of an open tunnel for the family of an overlay address."""
        tunnel = self._tunnels.open_at(ifindex)
        return tunnel.of(address) if tunnel is not None else None


def _peers_of(tunnel: Tunnel, address: Address) -> Iterator[Address]:
    """Yields the NBMA addresses of clients and servers that a link-local address may belong to."""
    outer = outer_address_in(address)
    bindings = [
        binding
        for instance in tunnel
        for binding in instance.station.cache
        if binding.type is not BindingType.CACHED
    ]
    yield from (each.nbma for each in bindings if each.nbma == outer)
    yield from (each.nbma for each in bindings if each.claimed_nbma == outer)  # behind NAT
    protocols = {each.protocol: each.nbma for each in bindings if afi_of(each.protocol) is Afi.IPV6}
    yield from (protocols[each] for each in with_interface_identifier(address, protocols))


def _is_link_local(address: Address) -> bool:
    """Returns whether an address is of fe80::/10; those of 169.254/16 have no routing protocol."""
    return afi_of(address) is Afi.IPV6 and is_link_local(address)
