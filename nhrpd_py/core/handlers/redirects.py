"""Traffic Indications: a hub that relays traffic between two spokes tells the first that there is a better path.

The firewall samples what the kernel relays within the cloud (NFLOG); each sample may become one indication to the
previous hop. The indication carries the beginning of the data packet, whose destination the spoke then resolves. Beside
the firewall's own limit, there is one indication in two seconds for each pair of addresses. draft-detienne-dmvpn §4.
"""

from nhrpd_py.core.base.limits import Limits
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.events import TrafficSeen
from nhrpd_py.core.notices import RedirectSent
from nhrpd_py.core.station.location import Locator, Where
from nhrpd_py.core.station.station import Station
from nhrpd_py.packet.extension import Extension
from nhrpd_py.packet.iana import ExtensionType, PacketType
from nhrpd_py.packet.inner import data_addresses
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
        peer = previous.binding
        if peer is None or previous.station is not station:
            return
        if onward.binding is not None and onward.binding.nbma == peer.nbma:
            return  # in and out through one peer: a shortcut to itself
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
            payload=event.data[:SAMPLE_BYTES],
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
