"""The asking side of resolution: from a redirect, a kernel solicitation or an operator to a shortcut.

A `Resolution` is one address that is being resolved, or could not be resolved a while ago:

    ASKING ──(reply)──► a binding, and a shortcut where the prefix is more than the peer itself
       │ refused, denied, no room, or five requests unanswered (a failed renewal is forgotten at once,
       ▼                                                        unless its entry leads to a server)
    NEGATIVE ──(its time is over)──► forgotten; the next redirect asks again
       ▲
       └──(an answer turns out to be unusable: denied, or its peer held down)

Requests follow the routed path, never a shortcut, and are sent again with the same id after 1, 2, 4, 8 s. Traffic stays
on the hub meanwhile. When the kernel asks for an unknown tunnel address (phase 2), the neighbour entry leads to the
best NHS until the answer arrives and its SA and path are there, and while the result is negative, so that no packet
is lost.
RFC 2332 §5.2.1, §5.2.2, §6.2, §6.4.
"""

from collections.abc import Hashable

from nhrpd_py.core.address import Address, is_unicast
from nhrpd_py.core.base.timers import TimerKey, TimerKind
from nhrpd_py.core.notices import ResolutionFailed, ResolutionStarted, TableFull
from nhrpd_py.core.registration.claims import Claims
from nhrpd_py.core.registration.servers import Servers
from nhrpd_py.core.resolution.answer import Answer, failure_of, is_from_responder, read_answers
from nhrpd_py.core.resolution.failure import (
    BUSY_S,
    NO_ANSWER,
    NO_ROOM,
    Failure,
    FailureKind,
    Refusals,
)
from nhrpd_py.core.resolution.indication import is_bound, is_under_way
from nhrpd_py.core.resolution.prober import Prober
from nhrpd_py.core.resolution.request import resolution_request
from nhrpd_py.core.resolution.table import (
    UNUSABLE,
    Resolution,
    ResolutionState,
    ResolutionTable,
    Trigger,
)
from nhrpd_py.core.resolution.wishes import Wishes
from nhrpd_py.core.station.binding import Binding, BindingType
from nhrpd_py.core.station.location import Locator, Where
from nhrpd_py.core.station.station import Station
from nhrpd_py.packet.iana import CieCode, PacketType
from nhrpd_py.packet.message import Message
from nhrpd_py.packet.wire import DropReason

FIRST_RETRY_S = 1.0
MAX_REQUESTS = 5
"""The first and four more, after 1, 2, 4 and 8 s."""


class Requester:
    """Asks for addresses and makes bindings and shortcuts of the answers. Owned by the instance."""

    __slots__ = (
        *("_claims", "_locator", "_prober", "_refusals", "_servers"),
        *("_station", "_wishes", "resolutions"),
    )

    def __init__(
        self,
        station: Station,
        locator: Locator,
        servers: Servers,
        claims: Claims,
        prober: Prober,
        wishes: Wishes,
    ) -> None:
        self._station = station
        self._claims = claims
        self._locator = locator
        self._prober = prober
        self._servers = servers
        self._refusals = Refusals()
        self._wishes = wishes
        self.resolutions = ResolutionTable()

    def redirected(
        self, target: Address, nbma_source: Address, told_by: Hashable, now: float
    ) -> None:
        """Handles a Traffic Indication: `nbma_source` says that there is a better path to `target`.

        `told_by` is the peer whose limits count for it.
        """
        why_not = self.follow(target, nbma_source, told_by, now)
        if why_not is not None:
            self._station.drop(why_not, nbma_source)

    def follow(
        self, target: Address, nbma_source: Address, told_by: Hashable, now: float
    ) -> DropReason | None:
        """Asks for the target of a Traffic Indication, or of a source that a peer uses; returns why not, else None."""
        if not is_unicast(target):
            return DropReason.NOT_IN_CLOUD
        existing = self._station.shortcuts.longest(target)
        if existing is not None and existing.binding.nbma != nbma_source:
            # The hub should not see this traffic any more: our route was removed, so it is installed again. From the
            # peer of our shortcut the indication is right: a part of the prefix is elsewhere now.
            self._station.shortcuts.reassert(existing)
            if existing.binding.installed:
                return None
            if is_under_way(self._station, existing.binding):
                return DropReason.ALREADY_RESOLVED
        if is_bound(self._locator, self._station, target, nbma_source):
            return DropReason.ALREADY_RESOLVED
        if target in self.resolutions:
            return DropReason.ALREADY_ASKED
        if not self._station.limits.resolutions.take(told_by, now):
            return DropReason.RATE_LIMITED
        if self._locator.locate(self._station, target).where not in (
            Where.NEXT_HOP,
            Where.UNRESOLVED,
        ):
            return DropReason.NOT_IN_CLOUD
        if self._next_hop(target) is None:
            return DropReason.NO_ROUTE
        return None if self._start(target, Trigger.REDIRECT, now, told_by) else DropReason.NO_ROOM

    def solicited(self, address: Address, now: float) -> None:
        """Handles a solicitation: the kernel has traffic for a tunnel address without a neighbour entry."""
        station = self._station
        binding = station.cache.get(address)
        if binding is not None:
            station.cache.entries.install(binding)
            if binding.installed:
                return
            if is_under_way(station, binding):
                self._lead_to_server(address)
                return
        if not is_unicast(address) or station.tables.is_local(address):
            return
        if self._start(address, Trigger.KERNEL, now) is not None:
            self._lead_to_server(address)

    def asked(self, address: Address, now: float) -> str | None:
        """Begins a resolution for an operator; returns why it cannot, else None."""
        if not is_unicast(address):
            return "this is no address of one station"
        where = self._locator.locate(self._station, address).where
        if where is Where.HERE:
            return "this is an address of this machine"
        if where is Where.BEHIND_US:
            return "the route to it does not lead into the cloud"
        old = self.resolutions.get(address)
        if old is not None and old.state is ResolutionState.NEGATIVE:
            self.forget(old)
        return None if self._start(address, Trigger.OPERATOR, now) else "no next hop server to ask"

    def renew(self, target: Address, now: float) -> None:
        """Resolves an address again whose binding or shortcut is in use: it ends soon, or routes changed."""
        self._start(target, Trigger.RENEWAL, now)

    def binding_in_use(self, protocol: Address, now: float) -> None:
        """Handles the kernel's probe of an entry in use; if the entry ends soon, renews what leads over it."""
        cache = self._station.cache
        binding = cache.get(protocol)
        if binding is None or not cache.confirm(binding):
            return
        targets = {each.target for each in self._station.shortcuts.of_peer(protocol)}
        if not targets and binding.type is BindingType.CACHED:
            targets = {protocol}
        for target in sorted(targets):
            self.renew(target, now)

    def timer_due(self, target: Address, now: float) -> None:
        """Sends the request again, fails after the last one, or forgets a negative result."""
        resolution = self.resolutions.get(target)
        if resolution is None:
            return
        if resolution.state is ResolutionState.NEGATIVE:
            self.forget(resolution)
        elif resolution.requests < MAX_REQUESTS:
            self._send(resolution, now)
        else:
            self._fail(resolution, NO_ANSWER, now)

    def came_rightly(self, subject: Resolution, message: Message, nbma_source: Address) -> bool:
        """Returns whether a reply came back the way that was asked, or straight from its responder.

        The first is from a next hop that we sent the request to, or from one of our servers: the routed path back may
        be another one than ours. Only so come Error Indications. What is straight from the responder, see `answer`.
        """
        if nbma_source in subject.asked or self._servers.is_server(nbma_source):
            return True
        is_reply = message.type is PacketType.RESOLUTION_REPLY
        return is_reply and is_from_responder(self._station, message, nbma_source)

    def reply_received(
        self, subject: Resolution, message: Message, nbma_source: Address, now: float
    ) -> None:
        """Handles the Resolution Reply to our request (§5.2.2): the first usable one of its best entries counts."""
        station = self._station
        if (
            message.type is not PacketType.RESOLUTION_REPLY
            or message.source_protocol != station.address
            or message.destination_protocol != subject.target
        ):
            station.drop(DropReason.UNSOLICITED_REPLY, nbma_source)
            return
        entry = message.entries[0]
        if entry.code != CieCode.SUCCESS:
            self._fail(subject, Failure.refused(entry.code), now)
            return
        failures: list[Failure] = []
        for answer in read_answers(station, self._servers, message, nbma_source):
            failure = self._failure_of(subject, answer, now)
            if failure is None:
                self._accept(subject, answer, nbma_source, now)
                return
            failures.append(failure)
        self._fail(subject, failures[0], now)

    def _failure_of(self, subject: Resolution, answer: Answer, now: float) -> Failure | None:
        """Returns why an answer cannot be used; None when it can."""
        circuits, paths = self._station.circuits, self._station.paths
        gateway, nbma = answer.gateway, answer.nbma
        failure = failure_of(self._station, self._claims, self._servers, answer)
        if failure is not None:
            return failure
        deserted = circuits.deserted(now)
        if deserted is not None:
            return Failure.deserted(deserted)
        held_down = circuits.held_down(nbma, now) or paths.held_down(nbma, gateway, now)
        if held_down is not None:
            if subject.trigger is not Trigger.OPERATOR:
                return Failure(FailureKind.HELD_DOWN, *held_down)
            circuits.clear_failure(nbma)
            paths.forgive(nbma)
        refusal = self._wishes.admit(subject.target, nbma)
        return None if refusal is None else Failure(FailureKind.NO_ROOM, refusal, BUSY_S)

    def _accept(
        self, resolution: Resolution, answer: Answer, nbma_source: Address, now: float
    ) -> None:
        """Makes a binding of an answer, and a shortcut where the prefix is more than the peer itself."""
        station = self._station
        self._refusals.forget(resolution.target)
        gateway, prefix, entry = answer.gateway, answer.prefix, answer.entry
        was_known = station.cache.get(gateway) is not None
        holding_time_s = station.granted_s(entry.holding_time_s)
        binding = station.cache.update(
            gateway,
            BindingType.CACHED,
            answer.nbma,
            now,
            claimed_nbma=entry.nbma,
            holding_time_s=holding_time_s,
            mtu=entry.mtu,
            sender=nbma_source,
        ) or station.cache.get(gateway)
        if binding is None:
            self._fail(resolution, NO_ROOM, now)
            return
        if resolution.trigger in (Trigger.REDIRECT, Trigger.KERNEL):
            binding.used = True  # traffic caused the resolution
        if not binding.installed:
            self._need_circuit(binding, was_known=was_known)
            # The peer moved here from an address that had a circuit: its traffic waits on the routed path.
            was_direct = not station.cache.entries.server_of(gateway)
            if was_direct and resolution.trigger is Trigger.KERNEL and resolution.target == gateway:
                self._lead_to_server(gateway)
        if binding.type is BindingType.CACHED:
            self._prober.want(binding.nbma, gateway, now)
        # A host with a binding has its route already.
        if not prefix.is_host or station.cache.get(prefix.address) is None:
            station.shortcuts.install(prefix, resolution.target, binding, holding_time_s, now)
        self.forget(resolution)

    def leave_alone(self, target: Address, failure: Failure, now: float) -> None:
        """Makes an address negative whose answer cannot be used: its traffic stays on the routed path for a while."""
        resolution = self.resolutions.get(target)
        if resolution is None:
            resolution = Resolution(target, Trigger.REDIRECT, now)
            self._add(resolution, UNUSABLE, now)
        self._fail(resolution, failure, now)

    def error_received(self, subject: Resolution, code: int, now: float) -> None:
        """Ends our request in failure, after an Error Indication about it."""
        self._fail(subject, Failure.complaint(code), now)

    def forget(self, resolution: Resolution) -> None:
        """Ends a resolution, whatever its state."""
        station = self._station
        self.resolutions.remove(resolution)
        station.circuits.sources.awaits_no_more(resolution.target)
        station.timers.stop(self._key(resolution.target))
        station.requests.release(resolution.request_id)
        binding = station.cache.get(resolution.target)
        if binding is None or not is_under_way(station, binding):
            station.cache.entries.leave_server(resolution.target)  # nobody else would, any more

    def forget_all(self) -> None:
        self._refusals.forget_all()
        for resolution in list(self.resolutions.values()):
            self.forget(resolution)

    def _start(
        self, target: Address, trigger: Trigger, now: float, told_by: Hashable = None
    ) -> Resolution | None:
        """Begins a resolution, or returns the one that exists; None when there is nobody to ask."""
        station = self._station
        old = self.resolutions.get(target)
        if old is not None:
            return old
        if not station.ready or self._next_hop(target) is None:
            return None
        resolution = Resolution(target, trigger, now)
        self._add(resolution, trigger if told_by is None else told_by, now)
        resolution.request_id = station.requests.new(self, resolution)
        if trigger is not Trigger.RENEWAL:
            station.circuits.sources.awaits(target)
            station.outbox.emit(
                ResolutionStarted(interface=station.interface.name, target=target, trigger=trigger)
            )
        self._send(resolution, now)
        return resolution

    def _send(self, resolution: Resolution, now: float) -> None:
        station = self._station
        retry_s = FIRST_RETRY_S * 2**resolution.requests
        resolution.requests += 1
        resolution.until = now + station.jitter(retry_s)
        station.timers.set(self._key(resolution.target), resolution.until)
        nbma = self._next_hop(resolution.target) if station.ready else None
        if nbma is None:
            return  # the NHS, or our own address, may be back at the next try
        if resolution.request_id not in station.requests.outstanding:
            resolution.request_id = station.requests.new(self, resolution)  # it was displaced
        request = resolution_request(station, resolution.target, resolution.request_id)
        if nbma not in resolution.asked:
            resolution.asked += (nbma,)
        station.send(nbma, request)

    def _next_hop(self, target: Address) -> Address | None:
        """Returns where to send the request: the next hop of the routed path, or the NHS where that is unknown."""
        location = self._locator.locate(self._station, target)
        if location.where in (Where.HERE, Where.BEHIND_US):
            return None
        here = location.binding if location.station is self._station else None
        if here is not None and here.protocol != target:
            return here.nbma
        return self._servers.best_nbma() or (here.nbma if here is not None else None)

    def _need_circuit(self, binding: Binding, *, was_known: bool) -> None:
        """Requests an SA. A peer known before may be making one itself."""
        circuits = self._station.circuits
        delay_s = circuits.crossing_delay_s(binding.nbma) if was_known else 0.0
        circuits.need(binding.nbma, binding.protocol, delay_s=delay_s)

    def _fail(self, resolution: Resolution, failure: Failure, now: float) -> None:
        """Enters NEGATIVE; a failed renewal is forgotten instead: binding and shortcut stay until they end."""
        station = self._station
        station.circuits.sources.awaits_no_more(resolution.target)
        station.requests.release(resolution.request_id)
        resolution.request_id = 0
        station.outbox.emit(
            ResolutionFailed(
                interface=station.interface.name, target=resolution.target, reason=failure.reason
            )
        )
        if failure.kind is not FailureKind.NO_ANSWER:
            shortcut = station.shortcuts.longest(resolution.target)
            if shortcut is not None:
                station.shortcuts.remove(shortcut, failure.reason)
        leads_to_server = bool(station.cache.entries.server_of(resolution.target))
        if resolution.trigger is Trigger.RENEWAL and not leads_to_server:
            self.forget(resolution)
            return
        resolution.state = ResolutionState.NEGATIVE
        resolution.reason = failure.reason
        resolution.held_down = failure.kind is FailureKind.HELD_DOWN
        resolution.until = now + self._refusals.lasts_s(resolution.target, failure, now)
        station.timers.set(self._key(resolution.target), resolution.until)

    def _lead_to_server(self, target: Address) -> None:
        """§5.2.1: packets go on along the routed path while there is no answer, or a negative one."""
        server = self._servers.best_nbma()
        if server:
            self._station.cache.entries.lead_to_server(target, server)

    def _add(self, resolution: Resolution, user: Hashable, now: float) -> None:
        """Adds a resolution that `user` caused; in a full table one of the user that has most makes room."""
        table = self.resolutions
        if table.is_full:
            victim = table.victim()
            if victim.state is ResolutionState.ASKING:
                name = self._station.interface.name
                full = TableFull(interface=name, table="resolutions", limit=len(table))
                self._station.outbox.remind((name, "resolutions"), full, now)
            self.forget(victim)
        table.add(resolution, user)

    def _key(self, target: Address) -> TimerKey:
        return TimerKey(TimerKind.RESOLUTION, self._station.interface.name, target)
