"""Proves paths: a probe asks a peer straight for its own tunnel address, and what comes straight back proves both ways.

A probe is a Resolution Request for the peer's tunnel address, sent to its NBMA address and not along the routed path; a
refusal proves as much as an answer. An answer by way of another station proves our own direction alone. A path is tried
with probes after 0, 0.3 and 0.9 s, and has failed after 2 s. One that is in use is checked every `path-check` seconds;
three answers missing within 1.5 s take it out of the kernel. Only an answer to something that we sent counts: traffic
that arrives says nothing of our own direction. A station that never answered a probe and never probed us, although its
messages arrive, speaks another dialect: it is believed in the third try.

The states are in `station.paths`. RFC 2332 has nothing of the kind; any station answers these requests.
"""

from dataclasses import dataclass
from typing import Protocol

from nhrpd_py.core.address import Address, format_address
from nhrpd_py.core.base.timers import TimerKey, TimerKind
from nhrpd_py.core.notices import PathFailed, PathProven
from nhrpd_py.core.resolution.failure import Failure, FailureKind
from nhrpd_py.core.resolution.request import resolution_request
from nhrpd_py.core.station.binding import BindingType
from nhrpd_py.core.station.paths import Path, PathState
from nhrpd_py.core.station.station import Station
from nhrpd_py.packet.iana import PacketType
from nhrpd_py.packet.message import Message
from nhrpd_py.packet.wire import DropReason

TRY_AT_S = (0.0, 0.3, 0.9)
"""When the probes of an untried path are sent."""
TRY_LIMIT_S = 2.0
CHECK_AT_S = (0.0, 0.5, 1.0)
"""When the probes of a path in use are sent, from the first one that is due."""
CHECK_LIMIT_S = 1.5
HINT_INTERVAL_S = 1.0
"""Shortest time from the first probe of a check to one that a hint causes."""
BELIEVED_AFTER = 2
"""Failed tries."""
CIRCUIT_LIMIT_S = 45.0
"""How long a path may wait for its SA: charon may have as many to make before as `wishes` admits. One that cannot be
made is told of sooner."""


class PathListener(Protocol):
    """The owner of what depends on paths."""

    def path_proven(self, nbma: Address, now: float) -> None:
        """Handles that packets go both ways between us and a peer."""

    def path_failed(
        self, nbma: Address, failure: Failure, now: float, protocol: Address | None = None
    ) -> None:
        """Handles that a path does not carry; it is left alone for `failure.lasts_s`.

        With `protocol`, that station alone is known not to answer there: it was asked for, in vain.
        """

    def is_waited_for(self, nbma: Address) -> bool:
        """Returns whether something else than a binding waits for a path to be proven."""

    def path_given_up(self, nbma: Address, now: float) -> None:
        """Handles that a path is not tried any more: its SA is gone, or cannot be made."""


@dataclass(slots=True, eq=False)
class Probe:
    path: Path
    sent_at: float
    answered: bool = False
    """An answer that comes a second time shows nothing of our own direction any more."""


class Prober:
    """Tries and checks the paths of a station. Owned by the instance."""

    __slots__ = ("_listener", "_station")

    def __init__(self, station: Station, listener: PathListener) -> None:
        self._station = station
        self._listener = listener

    def want(self, nbma: Address, protocol: Address, now: float) -> None:
        """Tries the path to a peer, unless it carries, is being tried, or held down, or nobody wants its SA."""
        paths, circuits = self._station.paths, self._station.circuits
        if not paths.enabled or not self._station.ready:
            return
        if not (circuits.is_up(nbma) or circuits.is_needed(nbma) or circuits.unsure):
            return  # `circuit_up` begins, if the peer makes one
        path = paths.make(nbma, protocol)
        if path is None or path.state in (PathState.TRYING, PathState.PROVEN):
            return
        if path.state is PathState.BELIEVED and not path.probes_us:
            return
        if paths.held_down(nbma, protocol, now) is not None:
            return
        if path.protocol != protocol:
            path.failures = 0  # another one's
        paths.is_for(path, protocol)
        path.state = PathState.TRYING
        path.reason = ""
        self._begin(path, now)

    def is_in_use(self, nbma: Address) -> bool:
        """Returns whether a binding learnt by resolution leads over a path."""
        bindings = self._station.cache.of_nbma(nbma)
        return any(each.type is BindingType.CACHED for each in bindings)

    def circuit_up(self, nbma: Address, now: float) -> None:
        """Sends the first probe of a path that waited for its SA, or for whom a peer made one."""
        path = self._station.paths.get(nbma)
        if path is not None and path.state is PathState.TRYING and path.probes == 0:
            self._begin(path, now)
        elif path is None or not path.carries:
            for binding in self._station.cache.of_nbma(nbma):
                if binding.type is BindingType.CACHED:
                    self.want(nbma, binding.protocol, now)

    def give_up(self, nbma: Address, now: float) -> None:
        """Forgets a path whose SA is gone or cannot be made: it is tried anew over the next one. A failed one stays."""
        path = self._station.paths.get(nbma)
        if path is not None and path.state is not PathState.FAILED:
            self._forget(path)
            self._listener.path_given_up(nbma, now)

    def timer_due(self, nbma: Address, now: float) -> None:
        """Sends the next probe, or decides after the last one."""
        path = self._station.paths.get(nbma)
        if path is None:
            return
        if path.state is PathState.TRYING:
            if self.is_in_use(nbma) or self._listener.is_waited_for(nbma):
                self._go_on(path, TRY_AT_S, TRY_LIMIT_S, now)
            else:
                self._forget(path)  # what led there was moved or taken back
        elif path.carries:
            if path.probes == 0:
                if not self.is_in_use(path.nbma):
                    self._forget(path)
                    return
                self._begin_series(path, now)
            if path.state is PathState.PROVEN:
                self._go_on(path, CHECK_AT_S, CHECK_LIMIT_S, now)
            else:  # one probe a time: the peer may be of our kind, and shall know that we are
                self._send(path, now)
                path.probes = 0
                self._arm(path, now + self._check_s())

    def undelivered(self, nbma: Address, now: float) -> None:
        """Checks a path at once of which the network says that it does not carry: anybody may say so."""
        path = self._station.paths.get(nbma)
        if path is None or path.state is not PathState.PROVEN or path.probes:
            return
        if now - path.began_at >= HINT_INTERVAL_S:
            self.timer_due(nbma, now)

    def came_rightly(self, subject: Probe, message: Message, nbma_source: Address) -> bool:
        """Lets everything in: an answer by way of another station tells something, too; and see `error_received`."""
        return True

    def reply_received(
        self, subject: Probe, message: Message, nbma_source: Address, now: float
    ) -> None:
        """Handles an answer to a probe, positive or negative."""
        path = subject.path
        station = self._station
        if (
            message.type is not PacketType.RESOLUTION_REPLY
            or message.source_protocol != station.address
        ):
            station.drop(DropReason.UNSOLICITED_REPLY, nbma_source)
            return
        if nbma_source != path.nbma:
            # FRR answers the first one so, and knows our address by now: the next one comes straight.
            is_first = not path.arrived
            path.arrived = True
            if is_first and path.state is PathState.TRYING and path.probes < len(TRY_AT_S):
                self._go_on(path, TRY_AT_S, TRY_LIMIT_S, now)
            return
        if subject.answered:
            station.drop(DropReason.UNSOLICITED_REPLY, nbma_source)
            return
        subject.answered = True
        if path.state not in (PathState.TRYING, PathState.PROVEN, PathState.BELIEVED):
            return  # too late: the hold-down is over first
        path.answers += 1
        path.rtt_s = now - subject.sent_at
        station.paths.counters.answer(path.rtt_s)
        station.interface.undelivered.refute(path.nbma)
        is_new = path.state is not PathState.PROVEN
        path.state = PathState.PROVEN
        path.probes = 0
        self._arm(path, now + self._check_s())
        if is_new:
            path.proven_at = now
            station.paths.counters.proven += 1
            station.outbox.emit(
                PathProven(
                    interface=station.interface.name,
                    protocol=path.protocol,
                    nbma=path.nbma,
                    rtt_s=path.rtt_s,
                )
            )
            self._listener.path_proven(path.nbma, now)

    def error_received(self, subject: Probe, code: int, now: float) -> None:
        """An Error Indication proves nothing: anybody on the way may have sent it. The next probe follows in time."""

    def configure(self, now: float) -> None:
        """Applies a changed `path-check`."""
        paths = self._station.paths
        enabled = self._station.config.path_check_s is not None
        was_enabled, paths.enabled = paths.enabled, enabled
        if was_enabled and not enabled:
            waiting = {path.nbma: None for path in paths if not path.carries}
            for binding in self._station.cache:
                if binding.type is BindingType.CACHED and not binding.installed:
                    waiting[binding.nbma] = (
                        None  # a requester's, whose path nobody wanted to be tried
                    )
            self.forget_all()
            for nbma in waiting:
                self._listener.path_proven(nbma, now)
        elif enabled and not was_enabled:
            self.try_all(now)
        elif enabled:
            for path in paths:
                if path.carries and path.probes == 0:
                    self._arm(path, now + self._check_s())

    def try_all(self, now: float) -> None:
        """Tries every path that learnt bindings lead over, as if nothing were known: what was shown is no longer true.

        What is in the kernel stays there meanwhile.
        """
        self.forget_all()
        for binding in list(self._station.cache):
            if binding.type is BindingType.CACHED:
                self.want(binding.nbma, binding.protocol, now)

    def forget_all(self) -> None:
        """Forgets all paths: our own address is another one, or the tunnel is closed."""
        for path in list(self._station.paths):
            self._forget(path)

    def _begin(self, path: Path, now: float) -> None:
        self._begin_series(path, now)
        if self._station.circuits.is_up(path.nbma):
            self._go_on(path, TRY_AT_S, TRY_LIMIT_S, now)
        else:
            self._arm(path, now + CIRCUIT_LIMIT_S)

    def _begin_series(self, path: Path, now: float) -> None:
        path.began_at = now
        path.probes = 0
        path.arrived = False
        self._release_former(path)

    def _go_on(self, path: Path, at_s: tuple[float, ...], limit_s: float, now: float) -> None:
        if path.probes == 0 and not self._station.circuits.is_up(path.nbma):
            self._fail(path, "no security association in time", now)
        elif path.probes < len(at_s):
            self._send(path, now)
            following = at_s[path.probes] if path.probes < len(at_s) else limit_s
            self._arm(path, path.began_at + following)
        elif self._is_foreign(path):
            path.state = PathState.BELIEVED
            path.probes = 0
            self._arm(path, now + self._check_s())
            self._listener.path_proven(path.nbma, now)
        else:
            self._fail(path, self._reason(path, now), now)

    def _is_foreign(self, path: Path) -> bool:
        """Returns whether a station that does not answer is to be believed.

        One of our own kind whom our packets do not reach looks the same at first, until it probes us.
        """
        heard = path.heard_at is not None and path.heard_at >= path.began_at
        patient = path.failures >= BELIEVED_AFTER
        return heard and patient and not path.probes_us and not path.answers

    def _reason(self, path: Path, now: float) -> str:
        peer = format_address(path.nbma)
        if path.arrived:
            return f"nothing comes straight from {peer}, though our packets arrive there"
        station = self._station
        hint = station.interface.undelivered.explanation(
            path.nbma, now
        ) or station.circuits.one_way(path.nbma)
        return f"no answer on the direct path to {peer}{f': {hint}' if hint else ''}"

    def _fail(self, path: Path, reason: str, now: float) -> None:
        """Enters FAILED. Who tells of an NBMA address can lie: where the path was tried for one station, and others are
        said to be there too, it is tried for the next of them at once."""
        station = self._station
        was_tried = path.state is PathState.TRYING
        station.timers.stop(self._key(path.nbma))
        path.probes = 0
        seconds = station.paths.fail(path, reason, now)
        station.outbox.emit(
            PathFailed(
                interface=station.interface.name,
                protocol=path.protocol,
                nbma=path.nbma,
                reason=reason,
                retry_in_s=seconds,
            )
        )
        failure = Failure(FailureKind.HELD_DOWN, reason, seconds)
        others = [
            each.protocol
            for each in station.cache.of_nbma(path.nbma)
            if each.type is BindingType.CACHED and each.protocol != path.protocol
        ]
        if was_tried and others:
            self._listener.path_failed(path.nbma, failure, now, path.protocol)
            self.want(path.nbma, others[0], now)
        else:
            self._listener.path_failed(path.nbma, failure, now)

    def _send(self, path: Path, now: float) -> None:
        station = self._station
        path.probes += 1
        station.paths.counters.sent += 1
        request_id = station.requests.new(self, Probe(path, now))
        path.request_ids.append(request_id)
        station.send(path.nbma, resolution_request(station, path.protocol, request_id))

    def _release_former(self, path: Path) -> None:
        for request_id in path.request_ids:
            self._station.requests.release(request_id)
        path.request_ids.clear()

    def _forget(self, path: Path) -> None:
        self._release_former(path)
        self._station.timers.stop(self._key(path.nbma))
        if path.probes_us:
            path.state = PathState.UNKNOWN  # that it is no stranger to probes is worth knowing
        else:
            self._station.paths.forget(path.nbma)

    def _check_s(self) -> float:
        return self._station.jitter(float(self._station.config.path_check_s or 0))

    def _arm(self, path: Path, at: float) -> None:
        self._station.timers.set(self._key(path.nbma), at)

    def _key(self, nbma: Address) -> TimerKey:
        return TimerKey(TimerKind.PATH, self._station.interface.name, (self._station.afi, nbma))
