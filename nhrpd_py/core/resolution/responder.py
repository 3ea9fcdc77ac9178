"""The answering side of resolution: Resolution Requests for what is here or behind us.

The reply goes straight to the requester, whose binding is in the request (§6.2.1: only with the S bit and a holding
time). A request that comes a second time is answered along the routed path instead, for the straight one may be broken.
Where paths are proven, a requester is answered once packets are known to go both ways between us, for it will send
straight to us; a probe is answered at once, and straight. Answers are remembered: when the route behind an answer
changes, its requester gets a Purge Request.
RFC 2332 §5.2.1, §5.2.2, §6.2.1, §6.3.
"""

from dataclasses import dataclass
from typing import TypeAlias

from nhrpd_py.core.address import SIZE_OF_AFI, Address, Prefix, host_prefix, is_unicast, prefix_of
from nhrpd_py.core.base.prefixmap import PrefixMap
from nhrpd_py.core.base.shares import Shares
from nhrpd_py.core.notices import ClaimRefused, ResolutionAnswered
from nhrpd_py.core.purge.sender import PurgeSender
from nhrpd_py.core.registration.claims import Claims, was_handed_on
from nhrpd_py.core.resolution.gate import Gate
from nhrpd_py.core.resolution.prober import Prober
from nhrpd_py.core.resolution.wishes import Wishes
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
    RESOLUTION_UNIQUE,
    CieCode,
    PacketType,
    describe_cie,
)
from nhrpd_py.packet.message import Message
from nhrpd_py.packet.wire import DropReason

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
    widest: int
    """The shortest prefix length that the requester takes; 0: any."""
    request_id: int
    answered_at: float
    expires_at: float


class Responder:
    """Answers Resolution Requests, and takes answers back. Owned by the instance."""

    __slots__ = (
        "_answers",
        "_by_prefix",
        "_claims",
        "_gate",
        "_locator",
        "_purges",
        "_shares",
        "_station",
    )

    def __init__(
        self,
        station: Station,
        locator: Locator,
        purges: PurgeSender,
        claims: Claims,
        prober: Prober,
        wishes: Wishes,
    ) -> None:
        self._station = station
        self._claims = claims
        self._locator = locator
        self._purges = purges
        self._gate = Gate(station, prober, wishes)
        self._answers: dict[Key, GivenAnswer] = {}
        """By requester and target."""
        self._shares: Shares[GivenAnswer] = Shares()
        """All of them, by the requester's NBMA address: in a full table the one that has most makes room."""
        self._by_prefix: PrefixMap[dict[Key, GivenAnswer]] = PrefixMap(SIZE_OF_AFI[station.afi])

    def request_received(self, message: Message, nbma_source: Address, now: float) -> None:
        """Answers a request whose target is here or behind us."""
        if not self._station.config.shortcut:
            self.refuse(message, CieCode.ADMINISTRATIVELY_PROHIBITED, nbma_source, now)
            return
        prefix = self._prefix_for(message.destination_protocol, self._widest(message))
        if prefix is None:
            # Behind a default route: not specific enough for an answer. Or an NBMA address.
            self.refuse(message, CieCode.NO_BINDING, nbma_source, now)
            return
        requester_nbma = self._requester_nbma(message, nbma_source)
        is_probe = self._gate.is_probe(message)
        if not is_probe and self._gate.is_held_down(requester_nbma, message.source_protocol, now):
            self.refuse(message, CieCode.INSUFFICIENT_RESOURCES, nbma_source, now)
            return
        holding_time_s = self._gate.holding_time_s(requester_nbma)
        entry = ClientInformation(
            prefix_length=prefix.length,
            mtu=self._station.mtu,
            holding_time_s=holding_time_s,
            nbma=self._station.interface.nbma,
            protocol=self._station.address,
        )
        reply = self._reply(message, entry)
        if not self._station.fits(reply):
            self._station.refuse_size(message, nbma_source, now)
            return
        is_believed = self._learn_requester(
            message, requester_nbma, nbma_source, now, is_probe=is_probe
        )
        if is_probe:
            self._gate.probed(requester_nbma, message.source_protocol, now)
        elif is_believed and self._gate.must_wait(message, nbma_source, requester_nbma, now):
            return
        repeated = self._remember(message, prefix, requester_nbma, holding_time_s, now)
        if is_probe:
            nbma = nbma_source
        elif (
            repeated
            or not self._is_reachable(requester_nbma)
            or self._gate.is_doubtful(requester_nbma)
        ):
            nbma = self._way_back(message, nbma_source)
        else:
            nbma = requester_nbma
        self._station.send(nbma, reply)
        if not is_probe:  # of which each peer sends one every few seconds
            self._notify(message, requester_nbma, prefix, "")

    def path_proven(self, nbma: Address, now: float) -> None:
        """Answers the requests that waited for the path to their requester."""
        for waiting in self._gate.take(nbma):
            self.request_received(waiting.message, waiting.nbma_source, now)

    def path_failed(self, nbma: Address, now: float, requester: Address | None = None) -> None:
        """Refuses the requests that waited for the path to their requester; it may ask again in a while.

        With `requester` only that one's: whether others are there shows when they are asked. One that has registered
        with us meanwhile needs no proof.
        """
        code = CieCode.INSUFFICIENT_RESOURCES
        for waiting in self._gate.take(nbma, requester):
            if self._gate.wants_proof(nbma):
                self.refuse(waiting.message, code, waiting.nbma_source, now)
            else:
                self.request_received(waiting.message, waiting.nbma_source, now)

    def has_waiting(self, nbma: Address) -> bool:
        """Returns whether a request waits for the path to an NBMA address."""
        return self._gate.has_waiting(nbma)

    def forget_waiting(self) -> None:
        """Forgets the requests that wait: nothing that is tried decides about them any more."""
        self._gate.clear()

    def _widest(self, message: Message) -> int:
        """Returns the shortest prefix length that a requester takes; 0: any.

        A requester of a unique binding wants one host (§5.2.1). So would one that asks for host length; but FRR and
        we say that to peers of which some pass over every other length, and mean "any".
        """
        host_length = self._station.host_length
        if message.flags & RESOLUTION_UNIQUE:
            return host_length
        length = message.entries[0].prefix_length if message.entries else 0
        return length if length < host_length else 0

    def _prefix_for(self, target: Address, widest: int) -> Prefix | None:
        """Returns the prefix to answer with for a target, no wider than `widest`; None when there is none."""
        prefix = self._locator.prefix_around(self._station, target)
        if prefix is None or prefix.length >= widest:
            return prefix
        return prefix_of(target, widest)

    def _is_reachable(self, nbma: Address) -> bool:
        """Returns whether an answer can go straight to the requester: with IPsec, there must be an SA already."""
        return is_unicast(nbma) and self._station.circuits.is_up(nbma)

    def refuse(self, message: Message, code: CieCode, nbma_source: Address, now: float) -> None:
        """Answers with a refusal, the way the request came (§5.2.2: one entry, everything else zero)."""
        reply = self._reply(message, ClientInformation(code=code))
        if not self._station.fits(reply):
            self._station.refuse_size(message, nbma_source, now)
            return
        is_probe = self._gate.is_probe(message)
        self._station.send(nbma_source if is_probe else self._way_back(message, nbma_source), reply)
        if not is_probe:
            self._notify(message, nbma_source, None, describe_cie(code))

    def routes_moved(self, prefix: Prefix, now: float) -> None:
        """Takes back the answers that are no longer true after the route of `prefix` changed."""
        wider = (
            each
            for each in self._by_prefix.matches(prefix.address)
            if next(iter(each.values())).prefix.length < prefix.length
        )
        untrue: list[GivenAnswer] = []
        for touched in [*self._by_prefix.inside(prefix), *wider]:
            for answer in list(touched.values()):
                if answer.expires_at > now:
                    location = self._locator.locate(self._station, answer.target)
                    is_here = location.where in (Where.HERE, Where.BEHIND_US)
                    if is_here and self._prefix_for(answer.target, answer.widest) == answer.prefix:
                        continue
                    untrue.append(answer)
                self._forget(answer)
        self._purge(untrue, now)

    def withdraw_all(self, now: float, *, final: bool = False, moved: bool = False) -> None:
        """Takes back all answers that are still valid: (`moved`) we have another NBMA address, or (`final`) we stop.

        Each requester's binding of our own address is taken back too, for it came with the answer.
        """
        own = host_prefix(self._station.address)
        valid = [each for each in self._answers.values() if each.expires_at > now]
        others = [each for each in valid if each.prefix != own]
        self._purge(others, now, final=final, by_server=moved)
        for requester, nbma in {(each.requester, each.nbma): None for each in valid}:
            self._purges.send(requester, nbma, own, now, final=final, by_server=moved)
        for answer in list(self._answers.values()):
            self._forget(answer)

    def _purge(
        self,
        answers: list[GivenAnswer],
        now: float,
        *,
        final: bool = False,
        by_server: bool = False,
    ) -> None:
        """Takes answers back: each prefix once at a requester, however many of its addresses that asked for."""
        told = {(each.requester, each.nbma, each.prefix): None for each in answers}
        for requester, nbma, prefix in told:
            self._purges.send(requester, nbma, prefix, now, final=final, by_server=by_server)

    def _requester_nbma(self, message: Message, nbma_source: Address) -> Address:
        """Returns the requester's NBMA address: the outer source if it asks us directly, else its post-NAT address.

        What a stranger hands on is answered by way of that stranger.
        """
        if not was_handed_on(message):
            return nbma_source
        if not self._claims.may_hand_on(nbma_source, message.source_protocol):
            return nbma_source
        translated = self._station.nat_address_in(message, message.source_protocol)
        return translated or message.source_nbma

    def _learn_requester(
        self, message: Message, nbma: Address, nbma_source: Address, now: float, *, is_probe: bool
    ) -> bool:
        """Binds the requester's address; returns whether it is believed to be at its NBMA address, bound or not.

        A probe only moves a binding: by new ones, or refreshed ones, two peers would keep each other for ever.
        """
        station = self._station
        known = station.cache.get(message.source_protocol)
        if is_probe and (known is None or known.nbma == nbma):
            return True
        is_stable = message.flags & RESOLUTION_SOURCE_STABLE
        entry = message.entries[0] if is_stable and message.entries else None
        if entry is None or not entry.holding_time_s:
            return self._claims.nbma_refusal(nbma) is None
        requester = message.source_protocol
        if was_handed_on(message) and not self._claims.may_hand_on(nbma_source, requester):
            return False
        objection = (
            self._claims.nbma_refusal(nbma)
            or (known is None and self._claims.intrusion(nbma_source, now))
            or self._claims.objection(requester, nbma, unknown=True)
            or station.circuits.address_denial(nbma, requester)
        )
        if objection is not None:
            self._notify_objection(requester, nbma, objection, now)
            return False
        # Of what a server hands on, each claimed address counts for itself. What was said before holds on.
        left_s = known.expires_at - now if known is not None else 0.0
        holding_time_s = station.granted_s(entry.holding_time_s)
        station.cache.update(
            requester,
            BindingType.CACHED,
            nbma,
            now,
            claimed_nbma=message.source_nbma,
            holding_time_s=holding_time_s,
            lifetime_s=max(left_s, holding_time_s),
            mtu=entry.mtu,
        )
        return True

    def _notify_objection(
        self, requester: Address, nbma: Address, objection: str, now: float
    ) -> None:
        name = self._station.interface.name
        self._station.outbox.count_drop(name, DropReason.CLAIM_REFUSED)
        self._station.outbox.remind(
            (name, nbma, requester, objection),
            ClaimRefused(
                interface=name,
                protocol=requester,
                nbma=nbma,
                prefix=host_prefix(requester),
                reason=objection,
            ),
            now,
        )

    def _remember(
        self, message: Message, prefix: Prefix, nbma: Address, holding_time_s: int, now: float
    ) -> bool:
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
            widest=self._widest(message),
            request_id=message.request_id,
            answered_at=now,
            expires_at=now + holding_time_s,
        )
        self._answers[key] = answer
        self._shares.add(answer, nbma)
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

    def _reply(self, message: Message, entry: ClientInformation) -> Message:
        station = self._station
        copied = RESOLUTION_ROUTER | RESOLUTION_SOURCE_STABLE | NAT
        flags = message.flags & copied
        if entry.code == CieCode.SUCCESS:
            # The bit of uniqueness is true where it is asked for: the one entry then is for one host.
            flags = message.flags & (copied | RESOLUTION_UNIQUE)
            flags |= RESOLUTION_AUTHORITATIVE | RESOLUTION_DESTINATION_STABLE
        return station.reply(
            PacketType.RESOLUTION_REPLY,
            message,
            message.destination_protocol,
            flags=flags,
            entries=(entry,),
            nat=station.own_nat_extension(),
        )

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
