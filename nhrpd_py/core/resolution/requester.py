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
best NHS until the answer arrives, and while the result is negative, so that no packet is lost.
RFC 2332 §5.2.1, §5.2.2, §6.2, §6.4.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum

from nhrpd_py.core.address import Address, is_unicast
from nhrpd_py.core.base.timers import TimerKey, TimerKind
from nhrpd_py.core.notices import ResolutionFailed, ResolutionStarted, TableFull
from nhrpd_py.core.registration.servers import Servers
from nhrpd_py.core.resolution.answer import Answer, problem_with, read_answer
from nhrpd_py.core.resolution.failure import NO_ANSWER, NO_ROOM, Failure, FailureKind
from nhrpd_py.core.station.binding import Binding, BindingType
from nhrpd_py.core.station.location import Locator, Where
from nhrpd_py.core.station.station import Station
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension
from nhrpd_py.packet.iana import (
    NAT,
    RESOLUTION_AUTHORITATIVE,
    RESOLUTION_ROUTER,
    RESOLUTION_SOURCE_STABLE,
    CieCode,
    ExtensionType,
    PacketType,
)
from nhrpd_py.packet.message import Message
from nhrpd_py.packet.wire import DropReason

FIRST_RETRY_S = 1.0
MAX_REQUESTS = 5
"""The first and four more, after 1, 2, 4 and 8 s."""
MAX_RESOLUTIONS = 1024
CROSSING_S = 0.5
"""How long to wait before the first attempt when the peer may be making an SA already: else there would be two."""


class Trigger(StrEnum):
    REDIRECT = "redirect"
    KERNEL = "kernel"
    OPERATOR = "operator"
    RENEWAL = "renewal"


class ResolutionState(Enum):
    ASKING = "asking"
    NEGATIVE = "negative"


@dataclass(slots=True, eq=False)
class Resolution:
    """An overlay address that is being resolved, or could not be."""

    target: Address
    trigger: Trigger
    started_at: float
    state: ResolutionState = ResolutionState.ASKING
    request_id: int = 0
    """The id of the unanswered request; 0 once the result is negative."""
    requests: int = 0
    """Sent so far."""
    until: float = 0.0
    """When the next request is sent, or the negative result forgotten."""


class Requester:
    """Asks for addresses and makes bindings and shortcuts of the answers. Owned by the instance."""

    __slots__ = ("_locator", "_servers", "_station", "resolutions")

    def __init__(self, station: Station, locator: Locator, servers: Servers) -> None:
        self._station = station
        self._locator = locator
        self._servers = servers
        self.resolutions: dict[Address, Resolution] = {}

    def redirected(self, target: Address, nbma_source: Address, now: float) -> None:
        """Handles a Traffic Indication: `nbma_source` says that there is a better path to `target`."""
        if not is_unicast(target):
            return
        existing = self._station.shortcuts.longest(target)
        if existing is not None and existing.binding.nbma != nbma_source:
            # The hub should not see this traffic any more: our route was removed, so it is installed again. From the
            # peer of our shortcut the indication is right: a part of the prefix is elsewhere now.
            self._station.shortcuts.reassert(existing)
            return
        if target not in self.resolutions and not self._station.limits.resolutions.take(now):
            self._station.drop(DropReason.RATE_LIMITED, nbma_source)
            return
        where = self._locator.locate(self._station, target).where
        if where in (Where.NEXT_HOP, Where.UNRESOLVED):
            self._start(target, Trigger.REDIRECT, now)

    def solicited(self, address: Address, now: float) -> None:
        """Handles a solicitation: the kernel has traffic for a tunnel address without a neighbour entry."""
        station = self._station
        binding = station.cache.get(address)
        if binding is not None:
            station.cache.entries.install(binding)
            if not binding.installed:
                self._lead_to_server(address)
            return
        if not is_unicast(address) or station.tables.is_local(address):
            return
        if self._start(address, Trigger.KERNEL, now) is not None:
            self._lead_to_server(address)

    def asked(self, address: Address, now: float) -> str | None:
        """Begins a resolution for an operator; returns why it cannot, else None."""
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

    def reply_received(
        self, subject: Resolution, message: Message, nbma_source: Address, now: float
    ) -> None:
        """Handles the Resolution Reply to our request (§5.2.2); its first entry, the best, counts."""
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
        answer = read_answer(station, self._servers, message, nbma_source)
        problem = problem_with(station, answer)
        if problem is not None:
            self._fail(subject, Failure.denied(problem), now)
            return
        deserted = station.circuits.deserted(now)
        if deserted is not None:
            self._fail(subject, Failure.deserted(deserted), now)
            return
        held_down = station.circuits.held_down(answer.nbma, now)
        if held_down is not None and subject.trigger is Trigger.OPERATOR:
            station.circuits.clear_failure(answer.nbma)
        elif held_down is not None:
            self._fail(subject, Failure(FailureKind.HELD_DOWN, *held_down), now)
            return
        self._accept(subject, answer, entry, now)

    def _accept(
        self, resolution: Resolution, answer: Answer, entry: ClientInformation, now: float
    ) -> None:
        """Makes a binding of an answer, and a shortcut where the prefix is more than the peer itself."""
        station = self._station
        gateway, prefix = answer.gateway, answer.prefix
        was_known = station.cache.get(gateway) is not None
        holding_time_s = entry.holding_time_s or station.config.holding_time_s
        binding = station.cache.update(
            gateway,
            BindingType.CACHED,
            answer.nbma,
            now,
            claimed_nbma=entry.nbma,
            holding_time_s=holding_time_s,
            mtu=entry.mtu,
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
        # A host with a binding has its route already.
        if not prefix.is_host or station.cache.get(prefix.address) is None:
            station.shortcuts.install(prefix, resolution.target, binding, holding_time_s, now)
        self.forget(resolution)

    def leave_alone(self, target: Address, failure: Failure, now: float) -> None:
        """Makes an address negative whose answer cannot be used: its traffic stays on the routed path for a while."""
        resolution = self.resolutions.get(target)
        if resolution is None:
            if len(self.resolutions) >= MAX_RESOLUTIONS and not self._make_room(now):
                return
            resolution = Resolution(target, Trigger.REDIRECT, now)
            self.resolutions[target] = resolution
        self._fail(resolution, failure, now)

    def error_received(self, subject: Resolution, code: int, now: float) -> None:
        """Ends our request in failure, after an Error Indication about it."""
        self._fail(subject, Failure.complaint(code), now)

    def forget(self, resolution: Resolution) -> None:
        """Ends a resolution, whatever its state."""
        station = self._station
        del self.resolutions[resolution.target]
        station.timers.stop(self._key(resolution.target))
        station.requests.release(resolution.request_id)
        if station.cache.get(resolution.target) is None:
            station.cache.entries.leave_server(resolution.target)

    def forget_all(self) -> None:
        for resolution in list(self.resolutions.values()):
            self.forget(resolution)

    def _start(self, target: Address, trigger: Trigger, now: float) -> Resolution | None:
        """Begins a resolution, or returns the one that exists; None when no NHS or table space is there."""
        station = self._station
        old = self.resolutions.get(target)
        if old is not None:
            return old
        if not station.ready or self._next_hop(target) is None:
            return None
        if len(self.resolutions) >= MAX_RESOLUTIONS and not self._make_room(now):
            return None
        resolution = Resolution(target, trigger, now)
        self.resolutions[target] = resolution
        resolution.request_id = station.requests.new(self, resolution)
        if trigger is not Trigger.RENEWAL:
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
        extensions = (
            Extension(ExtensionType.FORWARD_TRANSIT_NHS),
            Extension(ExtensionType.REVERSE_TRANSIT_NHS),
            Extension(ExtensionType.RESPONDER_ADDRESS),
            station.own_nat_extension(),
        )
        request = station.message(
            PacketType.RESOLUTION_REQUEST,
            resolution.target,
            flags=RESOLUTION_ROUTER | RESOLUTION_AUTHORITATIVE | RESOLUTION_SOURCE_STABLE | NAT,
            request_id=resolution.request_id,
            # Host length, as FRR without `unique` does: 0 makes FRR skip the entry, 255 Cisco.
            entries=(
                ClientInformation(
                    prefix_length=station.host_length,
                    holding_time_s=station.config.holding_time_s,
                ),
            ),
            extensions=station.signed(extensions),
        )
        station.send(nbma, request)

    def _next_hop(self, target: Address) -> Address | None:
        """Returns where to send the request: the next hop of the routed path, or the NHS where that is unknown."""
        location = self._locator.locate(self._station, target)
        if location.where in (Where.HERE, Where.BEHIND_US):
            return None
        here = location.binding if location.station is self._station else None
        if here is not None and here.protocol != target:
            return here.nbma
        server = self._servers.best()
        if server is not None:
            return server.nbma
        return here.nbma if here is not None else None

    def _need_circuit(self, binding: Binding, *, was_known: bool) -> None:
        """Requests an SA. A peer known before may be making one itself: then the end with the higher address waits."""
        station = self._station
        is_crossing = was_known and station.interface.nbma > binding.nbma
        station.circuits.need(
            binding.nbma, binding.protocol, delay_s=CROSSING_S if is_crossing else 0.0
        )

    def _fail(self, resolution: Resolution, failure: Failure, now: float) -> None:
        """Enters NEGATIVE; a failed renewal is forgotten instead: binding and shortcut stay until they end."""
        station = self._station
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
        resolution.until = now + failure.lasts_s
        station.timers.set(self._key(resolution.target), resolution.until)

    def _lead_to_server(self, target: Address) -> None:
        """§5.2.1: packets go on along the routed path while there is no answer, or a negative one."""
        server = self._servers.best_nbma()
        if server:
            self._station.cache.entries.lead_to_server(target, server)

    def _make_room(self, now: float) -> bool:
        """Forgets the negative result that ends first; returns whether there was one."""
        negative = [
            each for each in self.resolutions.values() if each.state is ResolutionState.NEGATIVE
        ]
        if negative:
            self.forget(min(negative, key=lambda each: each.until))
            return True
        name = self._station.interface.name
        full = TableFull(interface=name, table="resolutions", limit=MAX_RESOLUTIONS)
        self._station.outbox.remind((name, "resolutions"), full, now)
        return False

    def _key(self, target: Address) -> TimerKey:
        return TimerKey(TimerKind.RESOLUTION, self._station.interface.name, target)
