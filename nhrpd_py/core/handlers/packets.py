"""The path of a received packet: decode, authenticate, find its destination, handle or forward. Every drop is counted.

The order matters: nothing is believed before it is authenticated, and nothing is answered that is not for us. The
machines of the instance handle the message types; what a transit NHS does is in `forwarding`. RFC 2332 §5.2, §5.3.
"""

from nhrpd_py.core.address import AFI_OF_PROTOCOL, Address, Afi, host_prefix
from nhrpd_py.core.base.limits import Limits
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.base.requests import Requests
from nhrpd_py.core.events import PacketReceived
from nhrpd_py.core.handlers.forwarding import forward, unknown_compulsory
from nhrpd_py.core.instance.instance import Instance
from nhrpd_py.core.instance.tunnels import Tunnel, Tunnels
from nhrpd_py.core.notices import ClaimRefused, ErrorReceived
from nhrpd_py.core.registration.claims import was_handed_on
from nhrpd_py.core.station.location import Location, Locator, Where
from nhrpd_py.core.station.station import Station
from nhrpd_py.packet.iana import (
    CieCode,
    ErrorCode,
    ExtensionType,
    PacketType,
    describe_error,
)
from nhrpd_py.packet.inner import data_addresses, peek
from nhrpd_py.packet.layout import REQUEST_ID_AT, destination_at, extension_at
from nhrpd_py.packet.message import Message, decode
from nhrpd_py.packet.wire import BadPacket, DropReason

RESOLUTION = PacketType.RESOLUTION_REQUEST


class PacketHandler:
    """Handles received packets. Called by the engine."""

    __slots__ = ("_limits", "_locator", "_outbox", "_requests", "_tunnels")

    def __init__(
        self,
        tunnels: Tunnels,
        locator: Locator,
        requests: Requests,
        limits: Limits,
        outbox: Outbox,
    ) -> None:
        self._tunnels = tunnels
        self._locator = locator
        self._requests = requests
        self._limits = limits
        self._outbox = outbox

    def packet_received(self, tunnel: Tunnel, event: PacketReceived, now: float) -> None:
        """Handles a packet that came in through an open tunnel."""
        any_station = tunnel[Afi.IPV4].station
        source = event.nbma_source
        try:
            message = decode(event.data)
        except BadPacket as bad:
            any_station.drop(bad.reason, source)
            if bad.answer is not None:
                offender = peek(event.data)
                speaker = self._speaker(tunnel, offender.protocol_type if offender else 0)
                if speaker is not None:
                    speaker.send_error(
                        source, offender, event.data, bad.answer, now, offset=bad.offset
                    )
            return
        instance = tunnel.get(AFI_OF_PROTOCOL[message.protocol_type])
        if instance is None or not instance.station.ready:
            any_station.drop(DropReason.NOT_ENABLED, source)
            return
        station = instance.station
        station.counters.received[message.type] += 1
        if message.nbma_size != len(station.interface.nbma):
            # Addresses of another underlay than ours: nothing could be sent to them.
            station.drop(DropReason.UNSUPPORTED_ADDRESS_FAMILY, source)
            return
        if source == station.interface.nbma:
            station.drop(DropReason.FROM_OURSELVES, source)
            return
        if not station.authenticates(message):
            self._unauthenticated(instance, message, event, now)
            return
        if message.type in (PacketType.RESOLUTION_REQUEST, PacketType.RESOLUTION_REPLY):
            station.paths.heard(source, now)
        self._dispatch(instance, message, event, now)

    def _unauthenticated(
        self, instance: Instance, message: Message, event: PacketReceived, now: float
    ) -> None:
        """Drops a message without our pass phrase; where it is about a registration, people hear of it."""
        station = instance.station
        source = event.nbma_source
        station.drop(DropReason.AUTHENTICATION_FAILED, source)
        station.send_error(
            source,
            peek(event.data),
            event.data,
            ErrorCode.AUTHENTICATION_FAILURE,
            now,
            offset=extension_at(message, ExtensionType.AUTHENTICATION),
        )
        if message.type is PacketType.REGISTRATION_REQUEST:
            instance.server.unauthenticated(message, source, now)
            return
        about = message.request_id
        if message.type is PacketType.ERROR_INDICATION:
            offender = peek(message.payload)
            about = offender.request_id if offender else 0
        signed = message.extension(ExtensionType.AUTHENTICATION) is not None
        if message.is_reply or message.type is PacketType.ERROR_INDICATION:
            instance.client.unauthenticated(about, source, signed=signed)

    def _dispatch(
        self, instance: Instance, message: Message, event: PacketReceived, now: float
    ) -> None:
        station = instance.station
        source = event.nbma_source
        if message.type is PacketType.RESOLUTION_REQUEST:
            denial = self._denial(instance, message, source)
            if denial is not None:
                self._refuse_claim(instance, message, source, denial, now)
                return
        location = self._target(station, message, source)
        if message.is_request and (location is not None or message.type is RESOLUTION):
            forgery = instance.claims.forgery(message, source)
            if forgery is not None:
                reason = DropReason.FORGED_SOURCE
                self._refuse_claim(instance, message, source, forgery, now, reason=reason)
                return
        if location is not None:
            if location.where in (Where.UNRESOLVED, Where.NOWHERE):
                self._undeliverable(instance, message, event, location, now)
            else:
                forward(station, message, event.data, location, source, now)
            return
        unknown = unknown_compulsory(message)
        if unknown is not None and message.type is not PacketType.ERROR_INDICATION:
            station.drop(DropReason.UNRECOGNIZED_EXTENSION, source)
            if message.is_request:
                station.send_error(
                    source,
                    peek(event.data),
                    event.data,
                    ErrorCode.UNRECOGNIZED_EXTENSION,
                    now,
                    offset=extension_at(message, unknown.type),
                )
            return
        match message.type:
            case PacketType.REGISTRATION_REQUEST:
                instance.server.request_received(message, source, now)
            case PacketType.RESOLUTION_REQUEST:
                instance.responder.request_received(message, source, now)
            case PacketType.PURGE_REQUEST:
                instance.purging.request_received(message, source, now)
            case PacketType.TRAFFIC_INDICATION:
                self._indicated(instance, message, source, now)
            case PacketType.ERROR_INDICATION:
                self._error_received(station, message, source, now)
            case _:
                self._reply_received(station, message, event, now)

    def _denial(self, instance: Instance, message: Message, source: Address) -> str | None:
        """Returns why the peer at `source` may not send requests with the message's source address; None when it may.

        Our own NHSs have checked what they forward. A transit record alone does not make its sender an NHS.
        """
        if was_handed_on(message) and instance.client.servers.is_server(source):
            return None
        return instance.station.circuits.address_denial(source, message.source_protocol)

    def _refuse_claim(
        self,
        instance: Instance,
        message: Message,
        source: Address,
        denial: str,
        now: float,
        *,
        reason: DropReason = DropReason.NOT_ALLOWED,
    ) -> None:
        name = instance.station.interface.name
        instance.station.drop(reason, source)
        self._outbox.remind(
            (name, source, denial),
            ClaimRefused(
                interface=name,
                protocol=message.source_protocol,
                nbma=source,
                prefix=host_prefix(message.source_protocol),
                reason=denial,
            ),
            now,
        )
        if message.type is RESOLUTION and self._limits.errors.take(source, now):
            instance.responder.refuse(message, CieCode.ADMINISTRATIVELY_PROHIBITED, source, now)

    def _target(self, station: Station, message: Message, nbma_source: Address) -> Location | None:
        """Returns where a message must go; None when it is for us."""
        to = message.source_protocol if message.is_reply else message.destination_protocol
        if len(to) * 8 != station.host_length:
            return None
        if message.type is PacketType.REGISTRATION_REQUEST and (
            to == message.source_protocol or to in station.interface.broadcasts
        ):
            return None  # a client that does not know our address yet (§5.2.3)
        if message.type is PacketType.PURGE_REQUEST and to == message.source_protocol:
            return None
        location = self._locator.locate(station, to, learnt=message.is_reply)
        match location.where:
            case Where.HERE:
                return None
            case Where.BEHIND_US:
                # A host behind us cannot speak NHRP: requests and indications about it are ours. Replies are not.
                return location if message.is_reply else None
            case Where.NEXT_HOP:
                peer = location.binding
                if (
                    message.type is PacketType.TRAFFIC_INDICATION
                    and peer is not None
                    and peer.nbma == nbma_source
                ):
                    return None  # we sent the data to this next hop, whatever our route to its source says
                return location
            case Where.UNRESOLVED | Where.NOWHERE:
                # An indication names the data's source, which may be routed differently than we think.
                return None if message.type is PacketType.TRAFFIC_INDICATION else location

    def _undeliverable(
        self,
        instance: Instance,
        message: Message,
        event: PacketReceived,
        location: Location,
        now: float,
    ) -> None:
        """Sends a message without a known next hop to our NHS on the tunnel that leads there; else refuses it."""
        station = instance.station
        source = event.nbma_source
        onward = self._by_server(location) if location.where is Where.UNRESOLVED else None
        if onward is not None and onward.binding is not None and onward.binding.nbma != source:
            forward(station, message, event.data, onward, source, now)
            return
        station.drop(DropReason.NO_ROUTE, source)
        if message.type is PacketType.RESOLUTION_REQUEST:
            if self._limits.errors.take(source, now):
                instance.responder.refuse(message, CieCode.NO_BINDING, source, now)
        elif message.is_request:
            station.send_error(
                source,
                peek(event.data),
                event.data,
                ErrorCode.PROTOCOL_ADDRESS_UNREACHABLE,
                now,
                offset=destination_at(message),
            )

    def _by_server(self, location: Location) -> Location | None:
        """Returns the way by the NHS that we have on a tunnel; None where we know none."""
        egress = location.station
        tunnel = self._tunnels.open_at(egress.interface.ifindex)
        above = tunnel[egress.afi].client.servers.best() if tunnel else None
        peer = egress.cache.get(above.protocol) if above else None
        return Location(Where.NEXT_HOP, egress, peer) if peer else None

    def _indicated(self, instance: Instance, message: Message, source: Address, now: float) -> None:
        station = instance.station
        if not station.config.shortcut:
            station.drop(DropReason.NOT_ALLOWED, source)
            return
        try:
            _, destination = data_addresses(message.payload, message.protocol_type)
        except BadPacket as bad:
            station.drop(bad.reason, source)
            return
        # Those that our hub sends and those that it hands on of others are not of one peer.
        told_by = (source, message.source_nbma == source)
        instance.requester.redirected(destination, source, told_by, now)

    def _reply_received(
        self, station: Station, message: Message, event: PacketReceived, now: float
    ) -> None:
        source = event.nbma_source
        request = self._requests.outstanding.get(message.request_id)
        if request is None:
            station.drop(DropReason.UNSOLICITED_REPLY, source)
            if message.type is PacketType.RESOLUTION_REPLY:  # §5.2.2
                station.send_error(
                    source,
                    peek(event.data),
                    event.data,
                    ErrorCode.INVALID_RESOLUTION_REPLY,
                    now,
                    offset=REQUEST_ID_AT,
                )
            return
        if not request.came_rightly(message, source):
            station.drop(DropReason.WRONG_WAY, source)
            return
        request.reply_received(message, source, now)

    def _error_received(
        self, station: Station, message: Message, source: Address, now: float
    ) -> None:
        """Passes an Error Indication to the owner of the request that it is about; without one it becomes a notice."""
        offender = peek(message.payload)
        mine = offender is not None and offender.source_protocol == station.address
        request = self._requests.outstanding.get(offender.request_id) if offender and mine else None
        if request is None:
            self._outbox.remind(
                (station.interface.name, "error", source, message.error_code),
                ErrorReceived(
                    interface=station.interface.name,
                    protocol=message.source_protocol,
                    nbma=source,
                    error=describe_error(message.error_code),
                ),
                now,
            )
            return
        if not request.came_rightly(message, source):
            station.drop(DropReason.WRONG_WAY, source)
            return
        request.error_received(message.error_code, now)

    def _speaker(self, tunnel: Tunnel, protocol_type: int) -> Station | None:
        instance = tunnel.get(AFI_OF_PROTOCOL.get(protocol_type))
        return instance.station if instance else None
