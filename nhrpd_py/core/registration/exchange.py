"""The exchange with one next hop server: Registration Requests, their renewal and their replies.

Each NBMA address of an NHS has a `Registration`, a small state machine:

    DOWN, STANDBY ────────────────── begin ──────────────────────────────► REGISTERING
    REGISTERING, REFUSED, PROBE ──── accepted ───────────────────────────► UP, renewed after ⅓ of the holding time
    REGISTERING, PROBE ───────────── refused ────────────────────────────► REFUSED
    REGISTERING, REFUSED ─────────── no SA can be made ──────────────────► PROBE
    REGISTERING, REFUSED, PROBE ──── restart ────────────────────────────► REGISTERING (UP stays UP)
    UP ───────────────────────────── the SA is gone ─────────────────────► PROBE
    UP, REGISTERING, REFUSED, PROBE  three or more in a row ─────────────► PROBE, or REFUSED where the last request
                                     not accepted                          was refused
    any ──────────────────────────── end: taken back at the server ──────► STANDBY or DOWN
    any ──────────────────────────── release: without a message ─────────► DOWN
    DOWN ─────────────────────────── a better server is hopeful ─────────► STANDBY

An Error Indication, and an answer without our pass phrase, count as a refusal.

An unanswered request is sent again with the same request id after 1, 2, 4 … 64 s; so is a refused one, for policy may
change. Which servers are wanted is decided in `client`. RFC 2332 §5.2.3, §5.2.4.
"""

from typing import Protocol

from nhrpd_py.core.address import Address, format_address
from nhrpd_py.core.base.timers import TimerKey, TimerKind
from nhrpd_py.core.config import MIN_HOLDING_TIME_S
from nhrpd_py.core.notices import ErrorReceived, NhsDown, NhsUp
from nhrpd_py.core.registration.claims import Claims
from nhrpd_py.core.registration.messages import (
    deregistration,
    registration_request,
    request_destination,
    server_address,
    server_mtu,
)
from nhrpd_py.core.registration.servers import (
    FIRST_RETRY_S,
    LOST_AFTER,
    NhsState,
    Registration,
    Server,
    Servers,
)
from nhrpd_py.core.registration.silence import silence
from nhrpd_py.core.registration.ways import ServerWays
from nhrpd_py.core.station.station import Station
from nhrpd_py.packet.iana import CieCode, ErrorCode, PacketType, describe_cie, describe_error
from nhrpd_py.packet.message import Message
from nhrpd_py.packet.wire import DropReason

MAX_RETRY_S = 64.0
RENEWAL_SHARE = 3
"""A registration is renewed after this part of its holding time (RFC 2332 §5.2.3)."""
CHECK_S = 10.0
"""A server is asked at least this often, to notice a dead one; where paths are checked."""
CHECK_PROTECTED_S = 60.0
"""The same with IPsec, whose dead peer detection sees the rest."""
CHECK_RETRY_S = 0.5
"""How soon an unanswered renewal is sent again then."""
HINT_INTERVAL_S = 3.0
"""Shortest time from a request to one that a hint causes."""
TAKE_BACK_S = 2.0
"""From purging our address at an NHS that has it from elsewhere until we register again; as OpenNHRP does."""
TAKE_BACK_INTERVAL_S = 600.0
"""Shortest time between two such purges: two stations with one address must not purge each other all the time."""


class ServerListener(Protocol):
    """What an exchange reports to: it decides which servers are wanted."""

    def server_up(self, now: float) -> None:
        """Handles that a server came up: worse ones may be left."""

    def server_lost(self, server: Server, now: float) -> None:
        """Handles that a server does not accept us any more, or never did: worse ones may be wanted."""


class RegistrationExchange:
    """Moves registrations from state to state; `_enter` is the one place where a state changes."""

    __slots__ = ("_claims", "_listener", "_servers", "_station", "_ways")

    def __init__(
        self, station: Station, servers: Servers, claims: Claims, listener: ServerListener
    ) -> None:
        self._station = station
        self._claims = claims
        self._servers = servers
        self._listener = listener
        self._ways = ServerWays(station, servers)

    # Decisions of `client`.

    def begin(self, registration: Registration, now: float) -> None:
        """Starts to register with an idle NHS."""
        if registration.nbma == self._station.interface.nbma:
            registration.last_error = "this is our own NBMA address"
            self._enter(registration, NhsState.DOWN)
            return
        registration.lost = 0
        registration.retry_s = FIRST_RETRY_S
        self._enter(registration, NhsState.REGISTERING)
        self._station.circuits.need(registration.nbma, registration, server=True)
        self._send(registration, now)

    def restart(self, registration: Registration, now: float) -> None:
        """Sends a request at once and counts tries from the start; an NHS that is up stays up meanwhile."""
        self._station.requests.release(registration.request_id)
        registration.request_id = 0
        registration.retry_s = FIRST_RETRY_S
        registration.lost = 0
        if registration.state is not NhsState.UP:
            self._enter(registration, NhsState.REGISTERING)
        self._send(registration, now)

    def end(self, registration: Registration, state: NhsState, reason: str, now: float) -> None:
        """Leaves an NHS that is not wanted any more, and takes the registration back; `state` is DOWN or STANDBY."""
        if registration.state is NhsState.UP:
            if self._servers.other_way(registration) is None:  # else it would forget that one too
                self.deregister(registration)
            self._notify_down(registration, reason)
        self._ways.unbind(registration, reason, now)
        self.release(registration)
        self._enter(registration, state)

    def stand_by(self, registration: Registration) -> None:
        """Leaves an idle NHS alone; its binding stays, where the tunnel was closed under it: traffic may need it."""
        self._enter(registration, NhsState.STANDBY)

    def release(self, registration: Registration) -> None:
        """Stops registering with an NHS without a message; its binding stays."""
        self._station.circuits.release(registration.nbma, registration)
        self._wait(registration)
        registration.lost = 0
        self._enter(registration, NhsState.DOWN)

    def renew_sooner(self, registration: Registration, now: float) -> None:
        """Moves the next renewal forward where the present holding time requires it."""
        if registration.state is not NhsState.UP or registration.request_id:
            return
        at = now + self._renewal_s(registration)
        if registration.next_at is not None and at < registration.next_at:
            self._arm(registration, at)

    def deregister(self, registration: Registration) -> None:
        """Takes our registration back at an NHS (§5.2.5), without waiting for its reply."""
        if self._station.ready:
            self._station.send(registration.nbma, deregistration(self._station, registration))

    # Changes of the circuit.

    def circuit_down(self, registration: Registration, reason: str, now: float) -> None:
        """Counts an NHS as lost whose SA is gone, until it accepts a request over a new one."""
        if registration.state is NhsState.UP:
            registration.last_error = reason
            self._enter(registration, NhsState.PROBE)
            self._notify_down(registration, reason)
            self._ways.unbind(registration, reason, now)
            self._listener.server_lost(registration.server, now)
        if not registration.is_idle:
            self._wait(registration)

    def circuit_failed(self, registration: Registration, reason: str, now: float) -> None:
        """Counts an NHS as lost with which no SA can be made; the SA is attempted again by the VICI supervisor."""
        registration.last_error = reason
        if registration.state in (NhsState.REGISTERING, NhsState.REFUSED):
            self._enter(registration, NhsState.PROBE)
            self._listener.server_lost(registration.server, now)

    def undelivered(self, registration: Registration, reason: str, now: float) -> None:
        """Notes what the network tells of packets to an NHS. One that is up is asked at once: anybody may say so."""
        if registration.is_idle:
            return
        if registration.state is NhsState.REFUSED:
            return  # what the server itself said counts for more
        if registration.state is not NhsState.UP:
            registration.last_error = registration.hint = reason
        elif not registration.request_id and now - registration.asked_at >= HINT_INTERVAL_S:
            self._send(registration, now)

    # Timers and replies.

    def send_due(self, registration: Registration, now: float) -> None:
        """Sends the next request: the renewal is due, or the reply is overdue."""
        if registration.is_idle:
            return
        if registration.request_id:
            self._not_accepted(registration, now)
        if not registration.is_idle:  # it may have been left for that
            self._send(registration, now)

    def came_rightly(self, subject: Registration, message: Message, nbma_source: Address) -> bool:
        """Returns whether a reply is from the NBMA address with which we register; complains about another.

        A server whose kernel sends from another address than the one that we were given shows so.
        """
        if nbma_source == subject.nbma:
            return True
        source = format_address(nbma_source)
        self._complain(subject, f"the answer came from {source}, which is not its NBMA address")
        return False

    def reply_received(
        self, subject: Registration, message: Message, nbma_source: Address, now: float
    ) -> None:
        """Handles the reply to our outstanding request: accepted or refused (§5.2.4)."""
        station = self._station
        if (
            message.type is not PacketType.REGISTRATION_REPLY
            or message.source_protocol != station.address  # about our former address
        ):
            station.drop(DropReason.UNSOLICITED_REPLY, nbma_source)
            return
        subject.replies_received += 1
        bad = next((each.code for each in message.entries if each.code != CieCode.SUCCESS), None)
        if bad is not None:
            self._refused(subject, bad, now)
            return
        protocol = server_address(station, message)
        claimed = protocol or subject.server.config.protocol
        denial = claimed and station.circuits.address_denial(subject.nbma, claimed)
        if denial:
            self._complain(subject, f"this is not our server: {denial}")
            return
        self._accepted(subject, protocol, message, now)

    def error_received(self, subject: Registration, code: int, now: float) -> None:
        """Notes an Error Indication about our request, which is sent again when it is due."""
        error = f"error indication: {describe_error(code)}"
        if code == ErrorCode.AUTHENTICATION_FAILURE:
            has_none = self._station.config.authentication is None
            what = "a pass phrase, and we have none" if has_none else "another pass phrase than we"
            error += f"; the server has {what}"
        self._turned_down(subject, error)

    def unauthenticated(self, registration: Registration, *, signed: bool) -> None:
        """Notes an answer to our outstanding request that is not believed: it lacks our pass phrase."""
        if registration.is_idle:
            return
        what = "another pass phrase than we" if signed else "no pass phrase, and we have one"
        self._turned_down(registration, f"authentication failed: the server has {what}")

    def _accepted(
        self, registration: Registration, protocol: Address, message: Message, now: float
    ) -> None:
        station = self._station
        station.requests.release(registration.request_id)
        registration.request_id = 0
        checks = station.config.path_check_s is not None
        registration.retry_s = CHECK_RETRY_S if checks else FIRST_RETRY_S
        registration.lost = 0
        registration.last_error = None
        station.interface.undelivered.refute(registration.nbma)
        is_current = station.learn_nat_nbma(message, now)
        refusal = protocol and self._claims.server_refusal(protocol)
        if refusal:
            told = format_address(protocol)
            registration.last_error = f"the reply tells the overlay address {told}: {refusal}"
        elif protocol:
            self._ways.bind(registration, protocol, server_mtu(message), now)
        else:
            registration.last_error = "the reply does not tell the server's overlay address"
        if registration.state is not NhsState.UP:
            self._enter(registration, NhsState.UP)
            registration.up_since = now
            station.outbox.emit(
                NhsUp(
                    interface=station.interface.name,
                    protocol=registration.protocol,
                    nbma=registration.nbma,
                    name=registration.server.config.nbma,
                )
            )
            self._listener.server_up(now)
        granted = [each.holding_time_s for each in message.entries if each.holding_time_s]
        registration.granted_s = min(granted, default=0)
        renewal = now + self._renewal_s(registration)
        self._arm(registration, renewal if is_current else min(renewal, station.settles_at(now)))

    def _turned_down(self, registration: Registration, error: str) -> None:
        """Notes that the server answers, and does not accept us."""
        registration.refused = True
        if registration.state is not NhsState.UP:
            self._enter(registration, NhsState.REFUSED)
        self._complain(registration, error)

    def _refused(self, registration: Registration, code: int, now: float) -> None:
        error = f"registration refused: {describe_cie(code)}"
        if code != CieCode.UNIQUE_ADDRESS_REGISTERED:
            self._turned_down(registration, error)
        elif now - registration.taken_back_at < TAKE_BACK_INTERVAL_S:
            self._turned_down(registration, f"{error}; another station has our address")
        else:
            # Most likely it is our own registration, from before our NBMA address changed.
            registration.taken_back_at = now
            self._turned_down(registration, f"{error}; taking it back")
            self.deregister(registration)
            self._station.requests.release(registration.request_id)
            registration.request_id = 0
            self._arm(registration, now + TAKE_BACK_S)

    def _not_accepted(self, registration: Registration, now: float) -> None:
        """Counts a request that was not accepted in time: unanswered, or refused."""
        registration.lost += 1
        registration.retry_s = min(registration.retry_s * 2, MAX_RETRY_S)
        if registration.lost < LOST_AFTER:
            return
        was_lost = registration.lost > LOST_AFTER
        is_silent = registration.state is NhsState.REFUSED and not registration.refused
        if (was_lost and is_silent) or registration.last_error in (None, registration.hint):
            registration.hint = silence(self._station, registration, now)
            registration.last_error = registration.hint
        state = NhsState.REFUSED if registration.refused else NhsState.PROBE
        if was_lost:
            self._enter(registration, state)
            return
        reason = registration.last_error or ""
        if registration.state is NhsState.UP and not registration.refused:
            # In other states this SA never carried an answer, and a new one would not either; a
            # refusal came through it.
            self._station.circuits.renew(registration.nbma)
        self._enter(registration, state)
        self._notify_down(registration, reason)
        if not self._ways.hand_over(registration, now) and state is NhsState.PROBE:
            self._ways.leave(registration, reason)
        self._listener.server_lost(registration.server, now)

    def _enter(self, registration: Registration, state: NhsState) -> None:
        registration.state = state

    def _complain(self, registration: Registration, error: str) -> None:
        is_new = registration.last_error != error
        registration.last_error = error
        if is_new:
            self._station.outbox.emit(
                ErrorReceived(
                    interface=self._station.interface.name,
                    protocol=registration.protocol,
                    nbma=registration.nbma,
                    error=error,
                )
            )

    def _notify_down(self, registration: Registration, reason: str) -> None:
        self._station.outbox.emit(
            NhsDown(
                interface=self._station.interface.name,
                protocol=registration.protocol,
                nbma=registration.nbma,
                name=registration.server.config.nbma,
                reason=reason,
            )
        )

    def _wait(self, registration: Registration) -> None:
        """Stops the timer and forgets the request, until a `restart` or `begin`."""
        self._station.timers.stop(self._send_key(registration))
        self._station.requests.release(registration.request_id)
        registration.request_id = 0
        registration.next_at = None

    def _send(self, registration: Registration, now: float) -> None:
        station = self._station
        if not station.circuits.is_up(registration.nbma):
            self._wait(registration)  # until `circuit_up` restarts it
            return
        destination = request_destination(station, registration)
        if destination != registration.destination:  # then it is another request
            station.requests.release(registration.request_id)
            registration.request_id = 0
            registration.destination = destination
        if not registration.request_id:
            registration.request_id = station.requests.new(self, registration)
        registration.requests_sent += 1
        registration.asked_at = now
        registration.refused = False
        self._arm(registration, now + station.jitter(registration.retry_s))
        station.send(registration.nbma, registration_request(station, registration))

    def _renewal_s(self, registration: Registration) -> float:
        """Returns when to register again: in time for what was granted, and often enough to notice a dead server."""
        station = self._station
        seconds = float(station.config.holding_time_s)
        if registration.granted_s:
            seconds = min(seconds, max(registration.granted_s, MIN_HOLDING_TIME_S))
        seconds /= RENEWAL_SHARE
        if station.config.path_check_s is not None:
            seconds = min(seconds, CHECK_PROTECTED_S if station.circuits.protected else CHECK_S)
        return station.jitter(seconds)

    def _arm(self, registration: Registration, at: float) -> None:
        registration.next_at = at
        self._station.timers.set(self._send_key(registration), at)

    def _send_key(self, registration: Registration) -> TimerKey:
        subject = (self._station.afi, registration.server.index, registration.nbma)
        return TimerKey(TimerKind.NHS_SEND, self._station.interface.name, subject)
