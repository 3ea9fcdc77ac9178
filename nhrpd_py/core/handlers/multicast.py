"""Multicast packets that would leave by a tunnel: the firewall gave them to us, and a copy goes to each target.

Never back to the peer that a packet came from: the kernel tells from which outer address it came out of the tunnel, and
where it does not, the packet's source does. What is not replicated is lost, for the firewall has dropped it, and is
counted by reason.
"""

from nhrpd_py.core.address import AFI_OF_PROTOCOL, Address
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.effects import SendMulticast
from nhrpd_py.core.events import MulticastSeen
from nhrpd_py.core.instance.tunnels import Tunnel, Tunnels
from nhrpd_py.core.notices import PacketDropped
from nhrpd_py.core.station.interface import Interface
from nhrpd_py.core.station.location import Locator
from nhrpd_py.packet.data import GroupPacket, group_packet
from nhrpd_py.packet.wire import BadPacket, DropReason


class MulticastHandler:
    """Replicates multicast packets. Called by the engine."""

    __slots__ = ("_locator", "_outbox", "_tunnels")

    def __init__(self, tunnels: Tunnels, locator: Locator, outbox: Outbox) -> None:
        self._tunnels = tunnels
        self._locator = locator
        self._outbox = outbox

    def packet_seen(self, event: MulticastSeen, now: float) -> None:
        """Handles a packet that would leave by a tunnel."""
        tunnel = self._tunnels.open_at(event.out_ifindex)
        if tunnel is None:
            self._outbox.count_drop(None, DropReason.UNKNOWN_INTERFACE)
            return
        interface, replication = tunnel.interface, tunnel.replication
        if not interface.config.multicast:
            self._drop(interface, DropReason.MULTICAST_NOT_ENABLED, now)
            return
        replication.packets += 1
        try:
            packet = group_packet(event.data)
        except BadPacket as bad:
            self._drop(interface, bad.reason, now)
            return
        if len(packet.data) > interface.mtu:
            self._drop(interface, DropReason.MULTICAST_TOO_LONG, now)
            return
        origin = self._origin(event, packet, tunnel)
        copies = replication.copies_but(origin)
        if not copies:  # a hub without spokes says hello to nobody: no fault
            self._outbox.count_drop(interface.name, DropReason.MULTICAST_NO_TARGET)
            return
        if not replication.takes(now, on_link=packet.on_link):
            self._drop(interface, DropReason.MULTICAST_PACE, now)
            return
        replication.copies += copies
        self._outbox.emit(
            SendMulticast(
                interface.name,
                interface.ifindex,
                packet.protocol_type,
                replication.targets(),
                origin,
                packet.data,
            )
        )

    def _origin(self, event: MulticastSeen, packet: GroupPacket, out: Tunnel) -> Address:
        """Returns the NBMA address of the peer that a packet came from; empty where it came from outside the cloud."""
        entered = self._tunnels.open_at(event.in_ifindex)
        if entered is None:
            return b""
        if entered.interface.config.network_id != out.interface.config.network_id:
            return b""
        if event.nbma_source:
            return event.nbma_source
        station = entered[AFI_OF_PROTOCOL[packet.protocol_type]].station
        previous = self._locator.locate(station, packet.source, learnt=True)
        return previous.binding.nbma if previous.binding is not None else b""

    def _drop(self, interface: Interface, reason: DropReason, now: float) -> None:
        """Counts a packet that is lost, and tells of it once a minute."""
        self._outbox.count_drop(interface.name, reason)
        notice = PacketDropped(interface=interface.name, reason=reason)
        self._outbox.remind((interface.name, reason), notice, now)
