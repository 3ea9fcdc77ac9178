"""The exchange with one next hop server: Registration Requests, their renewal and their answers.

Each NBMA address of an NHS has a `Registration`, a small state machine:

    DOWN ──(begin)──► REGISTERING ──(reply)──► UP ──(a third of the holding time)──► asks again, stays UP
      ▲                   │ three requests lost   │ three requests lost
      └──(end)───────── PROBE ◄───────────────────┘     PROBE goes on asking, at most every 64 s

A request that stays unanswered is sent again with the same request id after 1, 2, 4 … 64 s. Which servers are wanted
is decided in `nhs`. RFC 2332 §5.2.3, §5.2.4.
"""

from typing import Protocol

from nhrpd_py.core.address import Address
from nhrpd_py.core.base.timers import TimerKey, TimerKind
from nhrpd_py.core.notices import ErrorReceived, NhsDown, NhsUp
from nhrpd_py.core.registration.servers import FIRST_RETRY_S, NhsState, Registration, Server
from nhrpd_py.core.station.binding import Binding, BindingType
from nhrpd_py.core.station.shortcuts import ShortcutTable
from nhrpd_py.core.station.station import Station, entries_in
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension
from nhrpd_py.packet.iana import (
    NAT,
    PURGE_NO_REPLY,
    REGISTRATION_UNIQUE,
    CieCode,
    ExtensionType,
    PacketType,
    describe_cie,
    describe_error,
)
from nhrpd_py.packet.message import Message
from nhrpd_py.packet.wire import DropReason

MAX_RETRY_S = 64.0
LOST_AFTER = 3
"""Unanswered requests until an NHS counts as lost."""
RENEWAL_SHARE = 3
"""A registration is renewed after this part of its holding time (RFC 2332 §5.2.3)."""
TAKE_BACK_S = 2.0
"""After our address was taken back at an NHS that has it from elsewhere, until we register again; as OpenNHRP does."""
TAKE_BACK_INTERVAL_S = 600.0
"""Two stations with one address must not take it from each other all the time."""
UNIQUE_PREFIX_LENGTH = 0xFF
"""§5.2.3: with the unique bit the prefix length must be 255."""


class Overseer(Protocol):
    """Whoever decides which servers are wanted."""

    def server_answers(self, now: float) -> None:
        """A server is up that was not."""

    def server_lost(self, server: Server, now: float) -> None:
        """A server does not answer any more, or never did."""

    def twin(self, registration: Registration) -> Registration | None:
        """Another registration that is up, with the same server: it has several NBMA addresses."""


class RegistrationExchange:
    """See the module. Owned by `NhsClient`, whose registrations it moves from state to state."""

    __slots__ = ("_overseer", "_shortcuts", "_station")

    def __init__(self, station: Station, shortcuts: ShortcutTable, overseer: Overseer) -> None:
        self._station = station
        self._shortcuts = shortcuts
        self._overseer = overseer

    def begin(self, registration: Registration, now: float) -> None:
        """Starts to register with an NHS that was DOWN."""
        if registration.nbma == self._station.interface.nbma:
            registration.last_error = "this is our own NBMA address"
            return
        registration.state = NhsState.REGISTERING
        registration.lost = 0
        registration.retry_s = FIRST_RETRY_S
        self._station.circuits.want(registration.nbma, registration, server=True)
        self._send(registration, now)

    def circuit_down(self, registration: Registration, reason: str, now: float) -> None:
        """The SA with an NHS is gone: it counts as lost until it answers over a new one."""
        if registration.state is NhsState.UP:
            registration.last_error = reason
            registration.state = NhsState.PROBE
            self._tell_down(registration, reason)
            self._unbind(registration, reason, now)
            self._overseer.server_lost(registration.server, now)
        if registration.state is not NhsState.DOWN:
            self._wait_for_circuit(registration)

    def circuit_failed(self, registration: Registration, reason: str, now: float) -> None:
        """No SA with an NHS can be had now; it is tried again without us."""
        registration.last_error = reason
        if registration.state is NhsState.REGISTERING:
            registration.state = NhsState.PROBE
            self._overseer.server_lost(registration.server, now)

    def end(self, registration: Registration, reason: str, now: float) -> None:
        """Leaves an NHS that we do not want any more, and says so to it."""
        if registration.state is NhsState.UP:
            if self._overseer.twin(registration) is None:  # else it would forget that one too
                self.deregister(registration)
            self._tell_down(registration, reason)
        self._unbind(registration, reason, now)
        self.release(registration)

    def restart(self, registration: Registration, now: float) -> None:
        """Asks at once, as if nothing had been asked yet; an NHS that is up stays up meanwhile."""
        self._station.requests.release(registration.request_id)
        registration.request_id = 0
        registration.retry_s = FIRST_RETRY_S
        registration.lost = 0
        if registration.state is NhsState.PROBE:
            registration.state = NhsState.REGISTERING
        self._send(registration, now)

    def release(self, registration: Registration) -> None:
        """Lets go of an NHS without a word; its binding stays."""
        self._station.circuits.release(registration.nbma, registration)
        self._wait_for_circuit(registration)
        registration.lost = 0
        registration.state = NhsState.DOWN

    def send_due(self, registration: Registration, now: float) -> None:
        """The renewal is due, or the reply is overdue."""
        if registration.state is NhsState.DOWN:
            return
        if registration.request_id:
            self._request_lost(registration, now)
        self._send(registration, now)

    def renew_sooner(self, registration: Registration, now: float) -> None:
        """Moves the next renewal ahead where the holding time of now asks for that."""
        if registration.state is not NhsState.UP or registration.request_id:
            return
        at = now + self._station.jitter(self._station.config.holding_time_s / RENEWAL_SHARE)
        if registration.next_at is not None and at < registration.next_at:
            self._arm(registration, at)

    def deregister(self, registration: Registration) -> None:
        """Takes our registration back at an NHS (§5.2.5), without waiting for its word."""
        station = self._station
        if not station.ready:
            return
        purge = station.message(
            PacketType.PURGE_REQUEST,
            registration.protocol or station.address,
            flags=PURGE_NO_REPLY,
            request_id=station.requests.next_id(),
            entries=(
                ClientInformation(prefix_length=station.host_length, protocol=station.address),
            ),
            extensions=station.signed(()),
        )
        station.send(registration.nbma, purge)

    def reply_received(
        self, subject: Registration, message: Message, nbma_source: Address, now: float
    ) -> None:
        """A reply to our outstanding request: accepted or refused (§5.2.4)."""
        registration = subject
        station = self._station
        if (
            message.type is not PacketType.REGISTRATION_REPLY
            or message.source_protocol != station.address  # about one that we had before
        ):
            station.drop(DropReason.UNSOLICITED_REPLY, nbma_source)
            return
        registration.replies_received += 1
        bad = next((each.code for each in message.entries if each.code != CieCode.SUCCESS), None)
        if bad is not None:
            self._refused(registration, bad, now)
            return
        protocol = self._server_address(message)
        claimed = protocol or registration.server.config.protocol
        denial = claimed and station.circuits.address_denial(registration.nbma, claimed)
        if denial:
            self._complain(registration, f"this is not our server: {denial}")
            return
        station.requests.release(registration.request_id)
        registration.request_id = 0
        registration.retry_s = FIRST_RETRY_S
        registration.lost = 0
        registration.last_error = None
        self._learn_nat(message)
        self._bind(registration, protocol, message, now)
        if registration.state is not NhsState.UP:
            registration.state = NhsState.UP
            registration.up_since = now
            station.outbox.emit(
                NhsUp(
                    interface=station.interface.name,
                    protocol=registration.protocol,
                    nbma=registration.nbma,
                    name=registration.server.config.nbma,
                )
            )
            self._overseer.server_answers(now)
        renewal_s = station.config.holding_time_s / RENEWAL_SHARE
        self._arm(registration, now + station.jitter(renewal_s))

    def _refused(self, registration: Registration, code: int, now: float) -> None:
        """Any refusal is one; the retry goes on at its pace, for policy may change."""
        error = f"registration refused: {describe_cie(code)}"
        if code != CieCode.UNIQUE_ADDRESS_REGISTERED:
            self._complain(registration, error)
        elif now - registration.taken_back_at < TAKE_BACK_INTERVAL_S:
            self._complain(registration, f"{error}; another station has our address")
        else:
            # Most likely it was us, before our NBMA address changed.
            registration.taken_back_at = now
            self._complain(registration, f"{error}; taking it back")
            self.deregister(registration)
            self._station.requests.release(registration.request_id)
            registration.request_id = 0
            self._arm(registration, now + TAKE_BACK_S)

    def error_received(self, subject: Registration, code: int, now: float) -> None:
        """Somebody on the path complains about our request; it is sent again at its pace."""
        self._complain(subject, f"error indication: {describe_error(code)}")

    def _complain(self, registration: Registration, error: str) -> None:
        news = registration.last_error != error
        registration.last_error = error
        if news:
            self._station.outbox.emit(
                ErrorReceived(
                    interface=self._station.interface.name,
                    protocol=registration.protocol,
                    nbma=registration.nbma,
                    error=error,
                )
            )

    def _wait_for_circuit(self, registration: Registration) -> None:
        """Nothing is sent, and nothing is due."""
        station = self._station
        station.timers.stop(self._send_key(registration))
        station.requests.release(registration.request_id)
        registration.request_id = 0
        registration.next_at = None

    def _send(self, registration: Registration, now: float) -> None:
        station = self._station
        if not station.circuits.is_up(registration.nbma):
            self._wait_for_circuit(registration)
            return
        if registration.request_id not in station.requests.outstanding:  # none, or displaced
            registration.request_id = station.requests.new(self, registration)
        registration.requests_sent += 1
        self._arm(registration, now + station.jitter(registration.retry_s))
        station.send(registration.nbma, self._request(registration))

    def _request(self, registration: Registration) -> Message:
        station = self._station
        unique = station.config.unique
        known = registration.protocol or registration.server.config.protocol
        extensions = (
            Extension(ExtensionType.FORWARD_TRANSIT_NHS),
            Extension(ExtensionType.REVERSE_TRANSIT_NHS),
            Extension(ExtensionType.RESPONDER_ADDRESS),
            # The NHS as we see it: so it can find out that it is behind NAT itself.
            station.nat_extension((known or bytes(station.host_length // 8), registration.nbma)),
        )
        return station.message(
            PacketType.REGISTRATION_REQUEST,
            # "Anonymous" registration, to our own address, while the NHS's is to be learnt (§5.2.3).
            registration.server.config.protocol or station.address,
            flags=NAT | (REGISTRATION_UNIQUE if unique else 0),
            request_id=registration.request_id,
            entries=(
                ClientInformation(
                    prefix_length=UNIQUE_PREFIX_LENGTH if unique else station.host_length,
                    holding_time_s=station.config.holding_time_s,
                ),
            ),
            extensions=station.signed(extensions),
        )

    def _request_lost(self, registration: Registration, now: float) -> None:
        registration.lost += 1
        registration.retry_s = min(registration.retry_s * 2, MAX_RETRY_S)
        if registration.lost != LOST_AFTER:
            return
        if registration.last_error is None:
            registration.last_error = f"no answer to {LOST_AFTER} registration requests"
        if (
            registration.state is NhsState.UP
        ):  # else this very SA never carried an answer, as the next will not
            self._station.circuits.renew(registration.nbma)
        registration.state = NhsState.PROBE
        self._tell_down(registration, registration.last_error)
        self._hand_over(registration, now)
        self._overseer.server_lost(registration.server, now)

    def _server_address(self, message: Message) -> Address:
        """The server's overlay address, as its reply tells; empty where it does not."""
        station = self._station
        protocol = message.destination_protocol
        if protocol in (b"", station.address):
            # An NHS that copies the destination of an anonymous registration; the responder entry tells.
            responder = message.extension(ExtensionType.RESPONDER_ADDRESS)
            listed = entries_in(responder, message) if responder else ()
            protocol = listed[0].protocol if listed and listed[0].protocol else b""
        usable = len(protocol) * 8 == station.host_length and protocol != station.address
        return protocol if usable else b""

    def _bind(
        self, registration: Registration, protocol: Address, message: Message, now: float
    ) -> None:
        """Keeps the NHS's binding: permanent as far as we know, so it lives as long as our registration."""
        station = self._station
        if not protocol:
            registration.last_error = "the reply does not tell the server's overlay address"
            return
        if registration.protocol not in (b"", protocol):
            self._unbind(registration, "the server has another overlay address now", now)
        registration.protocol = protocol
        twin = self._overseer.twin(registration)
        # One way to a server is enough, as long as it works: traffic must not change over with each renewal.
        way = twin if twin is not None and self._leads_to(twin) else registration
        station.cache.update(
            protocol,
            BindingType.NHS,
            way.nbma,
            now,
            holding_time_s=station.config.holding_time_s,
            mtu=message.entries[-1].mtu if message.entries else 0,
        )

    def _learn_nat(self, message: Message) -> None:
        """The NHS lists us once more, with the address that it sees, when that is not the one we claim."""
        station = self._station
        seen = station.nat_address_in(message, station.address)
        station.nat_nbma = seen if seen != station.interface.nbma else b""

    def _tell_down(self, registration: Registration, reason: str) -> None:
        self._station.outbox.emit(
            NhsDown(
                interface=self._station.interface.name,
                protocol=registration.protocol,
                nbma=registration.nbma,
                name=registration.server.config.nbma,
                reason=reason,
            )
        )

    def _unbind(self, registration: Registration, reason: str, now: float) -> None:
        if self._hand_over(registration, now):
            return
        binding = self._leads_to(registration)
        if binding is not None:
            self._shortcuts.forget_binding(binding, reason)

    def _hand_over(self, registration: Registration, now: float) -> bool:
        """Has traffic take another way to the same server; tells whether there is one."""
        twin = self._overseer.twin(registration)
        if twin is None:
            return False
        binding = self._leads_to(registration)
        if binding is not None:
            self._station.cache.update(
                binding.protocol,
                BindingType.NHS,
                twin.nbma,
                now,
                holding_time_s=binding.holding_time_s,
                mtu=binding.mtu,
            )
        return True

    def _leads_to(self, registration: Registration) -> Binding | None:
        """The binding of a server, if it is this registration's address that it leads to."""
        binding = self._station.cache.get(registration.protocol)
        if binding is None or binding.type is not BindingType.NHS:
            return None
        return binding if binding.nbma == registration.nbma else None

    def _arm(self, registration: Registration, at: float) -> None:
        registration.next_at = at
        self._station.timers.set(self._send_key(registration), at)

    def _send_key(self, registration: Registration) -> TimerKey:
        subject = (self._station.afi, registration.server.index, registration.nbma)
        return TimerKey(TimerKind.NHS_SEND, self._station.interface.name, subject)
