"""Traffic Indications: a hub that relays traffic between two spokes tells the first that there is a better path.

The firewall samples what the kernel relays within the cloud (NFLOG); each sample may become one indication to the
previous hop. The indication carries the beginning of the data packet, whose destination the spoke then resolves. The
next hop gets one as well, with the packet's addresses exchanged, so that both directions move to the direct path
together: a stateful filter at a hub that sees one of them only ends TCP connections. Beside the firewall's own limit,
there is one indication in two seconds for each pair of addresses. draft-detienne-dmvpn §4.
"""

from nhrpd_py.core.address import Address, is_unicast
from nhrpd_py.core.base.limits import Limits
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.events import TrafficSeen
from nhrpd_py.core.notices import RedirectSent
from nhrpd_py.core.station.binding import Binding, BindingType
from nhrpd_py.core.station.location import Locator, Where
from nhrpd_py.core.station.station import Station
from nhrpd_py.packet.extension import Extension
from nhrpd_py.packet.iana import ExtensionType, PacketType
from nhrpd_py.packet.inner import data_addresses, exchange_addresses
from nhrpd_py.packet.wire import BadPacket, DropReason

SAMPLE_BYTES = 128
"""Octets of the data packet that an indication carries: enough for its headers."""


class RedirectHandler:
    """Sends Traffic Indications for sampled packets. Called by the engine."""

    __slots__ = ("_limits", "_locator", "_outbox")

    def __init__(self, locator: Locator, limits: Limits, outbox: Outbox) -> None:
        self._locator = locator
        self._limits = limits
        self._outbox = outbox

    def traffic_seen(self, station: Station, event: TrafficSeen, now: float) -> None:
        """Handles a sample of a relayed packet that came in through `station`."""
        if not station.config.redirect or not station.ready:
            return
        if event.out_ifindex:
            out = self._locator.station(event.out_ifindex, station.afi)
            if out is None or not self._locator.same_cloud(station, out):
                return  # it leaves the cloud, so no peer has a better path
        try:
            source, destination = data_addresses(event.data, station.protocol_type)
        except BadPacket as bad:
            station.drop(bad.reason)
            return
        previous = self._locator.locate(station, source, learnt=True)
        onward = self._locator.locate(station, destination, learnt=True)
        if previous.where is not Where.NEXT_HOP or onward.where in (Where.HERE, Where.BEHIND_US):
            return
        if not is_unicast(destination):
            return  # multicast that we relay: nobody can resolve a group
        peer = previous.binding
        if peer is None or previous.station is not station:
            return
        if onward.binding is not None and onward.binding.nbma == peer.nbma:
            return  # in and out through one peer: a shortcut to itself
        data = event.data[:SAMPLE_BYTES]
        self._indicate(station, peer, source, destination, data, now)
        far = onward.station if onward.where is Where.NEXT_HOP else None
        if (
            far is not None
            and onward.binding is not None
            and onward.binding.type is not BindingType.NHS
        ):
            back = exchange_addresses(data, station.protocol_type)
            self._indicate(far, onward.binding, destination, source, back, now)

    def _indicate(
        self,
        station: Station,
        peer: Binding,
        source: Address,
        destination: Address,
        data: bytes,
        now: float,
    ) -> None:
        """Tells a peer, behind which `source` is, that there is a better path to `destination`."""
        if not station.config.redirect or not station.ready:
            return
        if not self._limits.redirects.allows((station.interface.name, source, destination), now):
            station.drop(DropReason.RATE_LIMITED, peer.nbma)
            return
        indication = station.message(
            PacketType.TRAFFIC_INDICATION,
            # The draft says the data's destination; on the wire all implementations use its source.
            source,
            extensions=station.signed(
                (
                    # Empty, as Cisco's: a hub that hands the indication on leaves its record, and loops are found.
                    Extension(ExtensionType.FORWARD_TRANSIT_NHS),
                    Extension(ExtensionType.REVERSE_TRANSIT_NHS),
                    station.own_nat_extension(),
                )
            ),
            payload=data,
        )
        station.send(peer.nbma, indication)
        self._outbox.emit(
            RedirectSent(
                interface=station.interface.name,
                protocol=peer.protocol,
                nbma=peer.nbma,
                source=source,
                destination=destination,
            )
        )
