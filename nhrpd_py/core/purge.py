"""Taking back what others cached, and believing others that take back theirs.

Sent: to requesters whose answer is no longer true, again after 1, 2 and 4 s until they confirm. Received: everything
within the prefix goes that the sender may take back, and a reply follows unless it wants none. A Purge of our own
address by our next hop server is taken as "I lost your registration". RFC 2332 §5.2.5, §5.2.6.
"""

from dataclasses import dataclass, field, replace

from nhrpd_py.core.address import Address, Prefix, host_prefix, prefix_of
from nhrpd_py.core.cache import Binding, BindingType
from nhrpd_py.core.nhs import NhsClient
from nhrpd_py.core.notices import PurgeReceived
from nhrpd_py.core.shortcut import ShortcutTable
from nhrpd_py.core.station import HOP_COUNT, Station
from nhrpd_py.core.timers import TimerKey, TimerKind
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.iana import PURGE_NO_REPLY, PacketType
from nhrpd_py.packet.message import Message
from nhrpd_py.packet.wire import DropReason

FIRST_RETRY_S = 1.0
MAX_SENDS = 4
MAX_PURGES = 4096


@dataclass(slots=True, eq=False)
class Purge:
    """A Purge Request of ours that is not confirmed yet."""

    destination: Address
    nbma: Address
    prefix: Prefix
    request_id: int = 0
    sends: int = 0
    sender: "PurgeSender" = field(kw_only=True)

    def reply_received(self, message: Message, nbma_source: Address, now: float) -> None:
        self.sender.reply_received(self, message, nbma_source)

    def error_received(self, code: int, now: float) -> None:
        self.sender.finish(self)


class PurgeSender:
    """See the module. Owned by the instance."""

    __slots__ = ("_purges", "_station")

    def __init__(self, station: Station) -> None:
        self._station = station
        self._purges: dict[int, Purge] = {}

    def send(
        self,
        destination: Address,
        nbma: Address,
        prefix: Prefix,
        now: float,
        *,
        final: bool = False,
    ) -> None:
        """Asks a station to forget a prefix. `final`: once, and without a reply, for we are going."""
        if not self._station.ready or len(self._purges) >= MAX_PURGES:
            return
        purge = Purge(destination, nbma, prefix, sender=self)
        purge.request_id = self._station.context.new_request(purge)
        if final:
            self._station.context.release_request(purge.request_id)
            self._station.send(nbma, self._message(purge, PURGE_NO_REPLY))
            return
        self._purges[purge.request_id] = purge
        self._transmit(purge, now)

    def hint(self, binding: Binding) -> None:
        """Tells an adopted client that we lost its registration: it names itself, so nobody else is affected."""
        if not self._station.ready:
            return
        purge = Purge(binding.protocol, binding.nbma, host_prefix(binding.protocol), sender=self)
        purge.request_id = self._station.context.new_request(purge)
        self._station.context.release_request(purge.request_id)
        self._station.send(binding.nbma, self._message(purge, PURGE_NO_REPLY))

    def reply_received(self, purge: Purge, message: Message, nbma_source: Address) -> None:
        """A reply with the id of a Purge Request of ours: confirmed, if it is one."""
        if message.type is PacketType.PURGE_REPLY:
            self.finish(purge)
        else:
            self._station.drop(DropReason.UNSOLICITED_REPLY, nbma_source)

    def timer_due(self, request_id: int, now: float) -> None:
        purge = self._purges.get(request_id)
        if purge is None:
            return
        if purge.sends < MAX_SENDS:
            self._transmit(purge, now)
        else:
            self.finish(purge)

    def finish(self, purge: Purge) -> None:
        self._purges.pop(purge.request_id, None)
        self._station.context.timers.stop(self._key(purge))
        self._station.context.release_request(purge.request_id)

    def finish_all(self) -> None:
        for purge in list(self._purges.values()):
            self.finish(purge)

    def _transmit(self, purge: Purge, now: float) -> None:
        retry_s = FIRST_RETRY_S * 2**purge.sends
        purge.sends += 1
        self._station.context.timers.set(self._key(purge), now + retry_s)
        if self._station.ready:
            self._station.send(purge.nbma, self._message(purge, 0))

    def _message(self, purge: Purge, flags: int) -> Message:
        station = self._station
        return station.message(
            PacketType.PURGE_REQUEST,
            purge.destination,
            flags=flags,
            request_id=purge.request_id,
            entries=(
                ClientInformation(prefix_length=purge.prefix.length, protocol=purge.prefix.address),
            ),
            extensions=station.signed(()),
        )

    def _key(self, purge: Purge) -> TimerKey:
        return TimerKey(TimerKind.PURGE, self._station.interface.name, purge.request_id)


class PurgeReceiver:
    """See the module. Owned by the instance."""

    __slots__ = ("_client", "_shortcuts", "_station")

    def __init__(self, station: Station, client: NhsClient, shortcuts: ShortcutTable) -> None:
        self._station = station
        self._client = client
        self._shortcuts = shortcuts

    def request_received(self, message: Message, nbma_source: Address, now: float) -> None:
        """Takes a Purge Request that is for us, and confirms it unless that is not wanted."""
        for entry in message.entries:
            if not entry.protocol:
                continue
            length = entry.prefix_length
            if length == 0 or length > self._station.host_length:
                length = self._station.host_length
            prefix = prefix_of(entry.protocol, length)
            self._purge(prefix, entry.nbma, message.source_protocol, nbma_source, now)
        if not message.flags & PURGE_NO_REPLY:
            self._reply(message, nbma_source)

    def _purge(
        self, prefix: Prefix, narrowed: Address, sender: Address, nbma_source: Address, now: float
    ) -> None:
        """`narrowed` is the only NBMA address meant, when the sender names one."""
        station = self._station
        if prefix.contains(station.address) and prefix.is_host:
            self._client.kick(now, nbma_source)
            return
        removed = 0
        for shortcut in list(self._shortcuts.touching(prefix)):
            if prefix.covers(shortcut.prefix) and narrowed in (b"", shortcut.binding.nbma):
                self._shortcuts.remove(shortcut, "purged by its owner")
                removed += 1
        for binding in self._bindings(prefix):
            if narrowed not in (b"", binding.nbma):
                continue
            if binding.type is BindingType.CACHED or (
                binding.type is BindingType.DYNAMIC
                and self._is_client(binding, sender, nbma_source)
            ):
                self._shortcuts.forget_binding(binding, "purged by its owner")
                removed += 1
        station.context.emit(
            PurgeReceived(
                interface=station.interface.name,
                protocol=prefix.address,
                nbma=nbma_source,
                prefix=prefix,
                removed=removed,
            )
        )

    def _is_client(self, binding: Binding, sender: Address, nbma_source: Address) -> bool:
        """A registration is its client's to take back, and nobody else's.

        One whose NBMA address has changed is believed where it has to know our pass phrase: with a unique address it
        has no other way to register again.
        """
        if binding.nbma == nbma_source:
            return True
        return self._station.config.authentication is not None and binding.protocol == sender

    def _bindings(self, prefix: Prefix) -> list[Binding]:
        cache = self._station.cache
        if prefix.is_host:
            binding = cache.get(prefix.address)
            return [] if binding is None else [binding]
        return [each for each in cache if prefix.contains(each.protocol)]

    def _reply(self, message: Message, nbma_source: Address) -> None:
        """§5.2.6: the request as it came, with another type; a reply goes whence the request came."""
        station = self._station
        reply = replace(
            message,
            type=PacketType.PURGE_REPLY,
            hop_count=HOP_COUNT,
            extensions=station.signed(message.extensions),
        )
        station.send(nbma_source, reply)
