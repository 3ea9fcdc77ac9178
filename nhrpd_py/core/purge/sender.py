"""Purge Requests of ours: sent again after 1, 2 and 4 s until they are confirmed. RFC 2332 §5.2.5."""

from dataclasses import dataclass

from nhrpd_py.core.address import Address, Prefix, host_prefix
from nhrpd_py.core.base.shares import Shares
from nhrpd_py.core.base.timers import TimerKey, TimerKind
from nhrpd_py.core.registration.servers import Servers
from nhrpd_py.core.station.binding import Binding
from nhrpd_py.core.station.station import Station
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.iana import PURGE_NO_REPLY, PacketType
from nhrpd_py.packet.message import Message
from nhrpd_py.packet.wire import DropReason

FIRST_RETRY_S = 1.0
MAX_SENDS = 4
MAX_PURGES = 4096


@dataclass(slots=True, eq=False)
class Purge:
    """A Purge Request of ours without a reply yet."""

    destination: Address
    nbma: Address
    prefix: Prefix
    request_id: int = 0
    sends: int = 0
    by_server: bool = False
    """It goes by way of our server, which knows where we are now; `nbma` is for when none is up."""
    asked: tuple[Address, ...] = ()
    """The NBMA addresses that it was sent to."""


class PurgeSender:
    """The Purge Requests of one station. Owned by its instance."""

    __slots__ = ("_purges", "_servers", "_shares", "_station")

    def __init__(self, station: Station, servers: Servers) -> None:
        self._station = station
        self._servers = servers
        self._purges: dict[int, Purge] = {}
        self._shares: Shares[Purge] = Shares()
        """All of them, by the NBMA address that they go to."""

    def send(
        self,
        destination: Address,
        nbma: Address,
        prefix: Prefix,
        now: float,
        *,
        final: bool = False,
        by_server: bool = False,
    ) -> None:
        """Asks a station to forget a prefix. `final`: sent once, without a reply, for we are stopping.

        `by_server`: from our new NBMA address the station would not believe us, but it believes its server. When too
        many are not confirmed, the oldest to the station that has most is not sent again.
        """
        if not self._station.ready:
            return
        purge = Purge(destination, nbma, prefix, by_server=by_server)
        if final:
            self._send_once(purge)
            return
        if len(self._purges) >= MAX_PURGES:
            self.finish(next(iter(self._shares.of_largest())))
        purge.request_id = self._station.requests.new(self, purge)
        self._purges[purge.request_id] = purge
        self._shares.add(purge, nbma)
        self._transmit(purge, now)

    def ask_to_register(self, binding: Binding) -> None:
        """Asks an adopted client to register: purges its own address at itself, which affects no other station."""
        if not self._station.ready:
            return
        self._send_once(Purge(binding.protocol, binding.nbma, host_prefix(binding.protocol)))

    def came_rightly(self, subject: Purge, message: Message, nbma_source: Address) -> bool:
        """Returns whether a reply is from whom we sent the Purge to: the station, or our server on the way there."""
        return nbma_source in subject.asked

    def reply_received(
        self, subject: Purge, message: Message, nbma_source: Address, now: float
    ) -> None:
        """Ends a purge after its reply."""
        if message.type is PacketType.PURGE_REPLY:
            self.finish(subject)
        else:
            self._station.drop(DropReason.UNSOLICITED_REPLY, nbma_source)

    def error_received(self, subject: Purge, code: int, now: float) -> None:
        """Ends a purge after an Error Indication about it."""
        self.finish(subject)

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
        self._shares.discard(purge)
        self._station.timers.stop(self._key(purge))
        self._station.requests.release(purge.request_id)

    def finish_all(self) -> None:
        for purge in list(self._purges.values()):
            self.finish(purge)

    def _send_once(self, purge: Purge) -> None:
        purge.request_id = self._station.requests.unused_id()
        self._station.send(purge.nbma, self._message(purge, PURGE_NO_REPLY))

    def _transmit(self, purge: Purge, now: float) -> None:
        retry_s = FIRST_RETRY_S * 2**purge.sends
        purge.sends += 1
        self._station.timers.set(self._key(purge), now + retry_s)
        if self._station.ready:
            nbma = self._servers.best_nbma() if purge.by_server else b""
            nbma = nbma or purge.nbma
            if nbma not in purge.asked:
                purge.asked += (nbma,)
            self._station.send(nbma, self._message(purge, 0))

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
