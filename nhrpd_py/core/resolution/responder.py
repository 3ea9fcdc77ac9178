"""The answering side of resolution: Resolution Requests for what is here or behind us.

The reply goes straight to the requester, whose binding is in the request (§6.2.1: only with the S bit and a holding
time). A request that comes a second time is answered along the routed path instead, for the straight one may be broken.
Answers are remembered: when the route behind an answer changes, its requester gets a Purge Request.
RFC 2332 §5.2.1, §5.2.2, §6.2.1, §6.3.
"""

from dataclasses import dataclass
from typing import TypeAlias

from nhrpd_py.core.address import SIZE_OF_AFI, Address, Prefix, host_prefix, is_unicast
from nhrpd_py.core.base.prefixmap import PrefixMap
from nhrpd_py.core.base.shares import Shares
from nhrpd_py.core.notices import ResolutionAnswered
from nhrpd_py.core.purge.sender import PurgeSender
from nhrpd_py.core.station.binding import BindingType
from nhrpd_py.core.station.location import Locator, Where
from nhrpd_py.core.station.station import Station
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.iana import (
    NAT,
    RESOLUTION_AUTHORITATIVE,
    RESOLUTION_DESTINATION_STABLE,
    RESOLUTION_ROUTER,
    RESOLUTION_SOURCE_STABLE,
    CieCode,
    ExtensionType,
    PacketType,
    describe_cie,
)
from nhrpd_py.packet.message import Message

MAX_ANSWERS = 4096
REPEAT_S = 30.0
"""Within this time a second request with the same id means that the answer was lost."""


Key: TypeAlias = tuple[Address, Address]
"""Requester and target."""


@dataclass(slots=True, eq=False)
class GivenAnswer:
    """An answer that we gave to a requester."""

    requester: Address
    nbma: Address
    target: Address
    prefix: Prefix
    request_id: int
    answered_at: float
    expires_at: float


class Responder:
    """Answers Resolution Requests, and takes answers back. Owned by the instance."""

    __slots__ = ("_answers", "_by_prefix", "_locator", "_purges", "_shares", "_station")

    def __init__(self, station: Station, locator: Locator, purges: PurgeSender) -> None:
        self._station = station
        self._locator = locator
        self._purges = purges
        self._answers: dict[Key, GivenAnswer] = {}
        """By requester and target."""
        self._shares: Shares[GivenAnswer] = Shares()
        """All of them, by requester: in a full table the one that has most makes room."""
        self._by_prefix: PrefixMap[dict[Key, GivenAnswer]] = PrefixMap(SIZE_OF_AFI[station.afi])

    def request_received(self, message: Message, nbma_source: Address, now: float) -> None:
        """Answers a request whose target is here or behind us."""
        if not self._station.config.shortcut:
            self.refuse(message, CieCode.ADMINISTRATIVELY_PROHIBITED, nbma_source)
            return
        prefix = self._locator.prefix_around(self._station, message.destination_protocol)
        if prefix is None:
            # Behind a default route: not specific enough for an answer.
            self.refuse(message, CieCode.NO_BINDING, nbma_source)
            return
        requester_nbma = self._requester_nbma(message, nbma_source)
        self._learn_requester(message, requester_nbma, now)
        repeated = self._remember(message, prefix, requester_nbma, now)
        entry = ClientInformation(
            prefix_length=prefix.length,
            holding_time_s=self._station.config.holding_time_s,
            nbma=self._station.interface.nbma,
            protocol=self._station.address,
        )
        nbma = (
            self._way_back(message, nbma_source)
            if repeated or not self._is_reachable(requester_nbma)
            else requester_nbma
        )
        self._send(message, entry, nbma)
        self._notify(message, requester_nbma, prefix, "")

    def _is_reachable(self, nbma: Address) -> bool:
        """Returns whether an answer can go straight to the requester: with IPsec, there must be an SA already."""
        return is_unicast(nbma) and self._station.circuits.is_up(nbma)

    def refuse(self, message: Message, code: CieCode, nbma_source: Address) -> None:
        """Answers with a refusal, the way the request came (§5.2.2: one entry, everything else zero)."""
        self._send(message, ClientInformation(code=code), self._way_back(message, nbma_source))
        self._notify(message, nbma_source, None, describe_cie(code))

    def routes_moved(self, prefix: Prefix, now: float) -> None:
        """Takes back the answers that are no longer true after the route of `prefix` changed."""
        wider = (
            each
            for each in self._by_prefix.matches(prefix.address)
            if next(iter(each.values())).prefix.length < prefix.length
        )
        for touched in [*self._by_prefix.inside(prefix), *wider]:
            for answer in list(touched.values()):
                if answer.expires_at <= now:
                    self._forget(answer)
                    continue
                location = self._locator.locate(self._station, answer.target)
                is_here = location.where in (Where.HERE, Where.BEHIND_US)
                around = self._locator.prefix_around(self._station, answer.target)
                if is_here and around == answer.prefix:
                    continue
                self._forget(answer)
                self._purges.send(answer.requester, answer.nbma, answer.prefix, now)

    def withdraw_all(self, now: float, *, final: bool) -> None:
        """Takes back all answers that are still valid: our address changed, or (`final`) we are stopping.

        Each requester's binding of our own address is taken back too, for it came with the answer.
        """
        own = self._station.address
        answered: dict[tuple[Address, Address], None] = {}
        for answer in self._answers.values():
            if answer.expires_at > now:
                answered[answer.requester, answer.nbma] = None
                if answer.prefix != host_prefix(own):
                    self._purges.send(
                        answer.requester, answer.nbma, answer.prefix, now, final=final
                    )
        for requester, nbma in answered:
            self._purges.send(requester, nbma, host_prefix(own), now, final=final)
        for answer in list(self._answers.values()):
            self._forget(answer)

    def _requester_nbma(self, message: Message, nbma_source: Address) -> Address:
        """Returns the requester's NBMA address: the outer source if it asks us directly, else its post-NAT address."""
        record = message.extension(ExtensionType.FORWARD_TRANSIT_NHS)
        if record is not None and not record.value:
            return nbma_source
        translated = self._station.nat_address_in(message, message.source_protocol)
        return translated or message.source_nbma

    def _learn_requester(self, message: Message, nbma: Address, now: float) -> None:
        station = self._station
        if not message.flags & RESOLUTION_SOURCE_STABLE or not message.entries:
            return
        entry = message.entries[0]
        requester = message.source_protocol
        if not entry.holding_time_s or not is_unicast(nbma) or nbma == station.interface.nbma:
            return
        if station.tables.is_local(requester) or not is_unicast(requester):
            return
        if station.recurses(requester, nbma):
            return
        if station.circuits.address_denial(nbma, requester) is not None:
            return
        station.cache.update(
            requester,
            BindingType.CACHED,
            nbma,
            now,
            claimed_nbma=message.source_nbma,
            holding_time_s=entry.holding_time_s,
            mtu=entry.mtu,
        )

    def _remember(self, message: Message, prefix: Prefix, nbma: Address, now: float) -> bool:
        """Remembers an answer; returns whether this very request was answered a moment ago."""
        key = (message.source_protocol, message.destination_protocol)
        old = self._answers.get(key)
        repeated = (
            old is not None
            and old.request_id == message.request_id
            and now - old.answered_at < REPEAT_S
        )
        if old is not None:
            self._forget(old)
        elif len(self._answers) >= MAX_ANSWERS:
            self._forget(next(iter(self._shares.of_largest())))
        answer = GivenAnswer(
            requester=message.source_protocol,
            nbma=nbma,
            target=message.destination_protocol,
            prefix=prefix,
            request_id=message.request_id,
            answered_at=now,
            expires_at=now + self._station.config.holding_time_s,
        )
        self._answers[key] = answer
        self._shares.add(answer, answer.requester)
        of_prefix = self._by_prefix.get(prefix)
        if of_prefix is None:
            of_prefix = self._by_prefix[prefix] = {}
        of_prefix[key] = answer
        return repeated

    def _forget(self, answer: GivenAnswer) -> None:
        key = (answer.requester, answer.target)
        del self._answers[key]
        self._shares.discard(answer)
        of_prefix = self._by_prefix[answer.prefix]
        del of_prefix[key]
        if not of_prefix:
            self._by_prefix.pop(answer.prefix)

    def _way_back(self, message: Message, nbma_source: Address) -> Address:
        """Returns the next hop of the routed path to the requester; if unknown, the sender of the packet."""
        location = self._locator.locate(self._station, message.source_protocol)
        if location.binding is not None and location.station is self._station:
            return location.binding.nbma
        return nbma_source

    def _send(self, message: Message, entry: ClientInformation, nbma: Address) -> None:
        station = self._station
        flags = message.flags & (RESOLUTION_ROUTER | RESOLUTION_SOURCE_STABLE | NAT)
        if entry.code == CieCode.SUCCESS:
            flags |= RESOLUTION_AUTHORITATIVE | RESOLUTION_DESTINATION_STABLE
        reply = station.reply(
            PacketType.RESOLUTION_REPLY,
            message,
            message.destination_protocol,
            flags=flags,
            entries=(entry,),
            nat=station.own_nat_extension(),
        )
        station.send(nbma, reply)

    def _notify(self, message: Message, nbma: Address, prefix: Prefix | None, reason: str) -> None:
        self._station.outbox.emit(
            ResolutionAnswered(
                interface=self._station.interface.name,
                protocol=message.source_protocol,
                nbma=nbma,
                target=message.destination_protocol,
                prefix=prefix,
                reason=reason,
            )
        )
