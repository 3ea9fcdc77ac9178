"""The server's side of registration: what a next hop server does with a Registration Request.

Every instance serves. The binding's NBMA address is the outer source of a packet that came straight from the client,
whatever it claims; the reply gives a client behind NAT the address that we see. RFC 2332 §5.2.3, §5.2.4; Cisco NAT
extension.
"""

from dataclasses import replace

from nhrpd_py.core.address import Address, format_address
from nhrpd_py.core.notices import (
    ClaimContested,
    ClaimDoubted,
    RegistrationAccepted,
    RegistrationRefused,
)
from nhrpd_py.core.registration.claims import Claims, was_handed_on
from nhrpd_py.core.station.binding import Binding, BindingType, Origin
from nhrpd_py.core.station.station import Station, entries_in
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension
from nhrpd_py.packet.iana import (
    NAT,
    REGISTRATION_UNIQUE,
    CieCode,
    ExtensionType,
    PacketType,
    describe_cie,
)
from nhrpd_py.packet.message import Message

_HOST_LENGTHS = (0, 255)
"""Prefix lengths that mean one host, beside the host length itself; Cisco and FRR use all three."""


class RegistrationServer:
    """Answers Registration Requests. Owned by the instance."""

    __slots__ = ("_claims", "_station")

    def __init__(self, station: Station, claims: Claims) -> None:
        self._station = station
        self._claims = claims

    def request_received(self, message: Message, nbma_source: Address, now: float) -> None:
        """Handles a Registration Request for us, and answers it."""
        # Behind a transit NHS the outer source is not the client's; then only the claimed address is known.
        nbma = message.source_nbma if was_handed_on(message) else nbma_source
        reply = self._reply(message, nbma_source)
        if not self._station.fits(reply):
            # What cannot be confirmed is not bound: the client would take us for dead.
            self._station.refuse_size(message, nbma_source, now)
            return
        entries = tuple(
            self._register(message, entry, nbma, nbma_source, now) for entry in message.entries
        )
        believed = any(each.code == CieCode.SUCCESS for each in entries)
        if believed and nbma != nbma_source:
            nbma_source, reply = nbma, self._reply(message, nbma)
        if entries != reply.entries:
            reply = replace(reply, entries=entries)
        self._station.send(nbma_source, reply)

    def _register(
        self,
        message: Message,
        entry: ClientInformation,
        nbma: Address,
        nbma_source: Address,
        now: float,
    ) -> ClientInformation:
        """Registers one entry; returns it with its code, as the reply lists it.

        The identity at `nbma_source`, of the client or of its transit NHS, decides which address it may register.
        """
        protocol = entry.protocol or message.source_protocol
        unique = bool(message.flags & REGISTRATION_UNIQUE)
        holding_time_s = self._station.granted_s(entry.holding_time_s)
        before = self._station.cache.get(protocol)
        previous_nbma = before.nbma if before is not None else b""
        was_known = (
            before is not None
            and before.type is BindingType.DYNAMIC
            and before.origin is not Origin.KERNEL
        )
        is_new = previous_nbma != nbma
        if unique and len(message.entries) > 1:
            code, reason = (
                CieCode.ADMINISTRATIVELY_PROHIBITED,
                "a unique address is registered alone",
            )
        else:
            code, reason = self._verdict(entry, protocol, before, nbma, nbma_source, now)
        # A stronger binding (a server of ours, a static map) is confirmed, not overwritten.
        if code is CieCode.SUCCESS and not (before and before.type > BindingType.DYNAMIC):
            binding = self._station.cache.update(
                protocol,
                BindingType.DYNAMIC,
                nbma,
                now,
                claimed_nbma=entry.nbma or message.source_nbma,
                holding_time_s=holding_time_s,
                mtu=entry.mtu,
                unique=unique,
                sender=nbma_source,
            )
            if is_new:
                self._claims.uncover(nbma, "a client of ours is within it, by its NBMA address")
            self._station.circuits.release(nbma, protocol)  # from now on the client keeps the SA up
            if binding is None:
                code, reason = CieCode.INSUFFICIENT_RESOURCES, ""
        if code is not CieCode.SUCCESS:
            self._notify_refused(protocol, nbma, reason or describe_cie(code), now)
            return replace(entry, code=code, holding_time_s=0)
        if not was_known or is_new:
            self._station.outbox.emit(
                RegistrationAccepted(
                    interface=self._station.interface.name,
                    protocol=protocol,
                    nbma=nbma,
                    holding_time_s=holding_time_s,
                    previous_nbma=previous_nbma if is_new else b"",
                )
            )
            self._notify_doubt(protocol, nbma)
            if was_known and is_new:
                self._note_move(protocol, previous_nbma, nbma, holding_time_s, now)
        granted_s = min(entry.holding_time_s, holding_time_s)
        if entry.code == CieCode.SUCCESS and granted_s == entry.holding_time_s:
            return entry
        return replace(entry, code=CieCode.SUCCESS, holding_time_s=granted_s)

    def _note_move(
        self, protocol: Address, former: Address, nbma: Address, holding_time_s: int, now: float
    ) -> None:
        """Tells where a tunnel address is claimed from two places in turn."""
        station = self._station
        contest = station.contests.moved(protocol, former, nbma, holding_time_s, now)
        if contest is not None:
            name = station.interface.name
            station.outbox.remind(
                (name, protocol, "contested"),
                ClaimContested(
                    interface=name,
                    subject=format_address(protocol),
                    nbma=nbma,
                    previous_nbma=former,
                    reason=contest.reason,
                ),
                now,
            )

    def _verdict(
        self,
        entry: ClientInformation,
        protocol: Address,
        before: Binding | None,
        nbma: Address,
        nbma_source: Address,
        now: float,
    ) -> tuple[CieCode, str]:
        """Returns the code for an entry, with the reason where the code does not say it."""
        station = self._station
        prohibited = CieCode.ADMINISTRATIVELY_PROHIBITED
        length = entry.prefix_length
        if length not in _HOST_LENGTHS and length < station.host_length:
            return prohibited, "a client registers its own address, not a network"
        if nbma != nbma_source and not self._claims.may_hand_on(nbma_source, protocol):
            return prohibited, "no server of ours, map or rule makes its transit record count"
        # What it has already was judged then, and is whenever this machine's networks change.
        is_new = before is None or before.nbma != nbma
        objection = (
            (is_new and (self._claims.refusal(protocol, nbma) or self._claims.nbma_refusal(nbma)))
            or (is_new and self._claims.intrusion(nbma_source, now))
            or station.circuits.address_denial(nbma_source, protocol)
            or self._claims.stray(protocol)
            or self._claims.taken(protocol, nbma)
        )
        if objection:
            return prohibited, objection
        if before is None or before.nbma == nbma:
            return CieCode.SUCCESS, ""
        if before.type > BindingType.DYNAMIC:
            return prohibited, "the operator or a server says that it is elsewhere"
        if before.type is BindingType.DYNAMIC and before.unique:
            # §5.2.3: the first client keeps it, whether the second one sets the unique bit or not.
            return CieCode.UNIQUE_ADDRESS_REGISTERED, ""
        return CieCode.SUCCESS, ""

    def _reply(self, message: Message, nbma: Address) -> Message:
        """Makes the reply, with the entries as they came."""
        station = self._station
        asked = message.extension(ExtensionType.NAT_ADDRESS)
        return station.reply(
            PacketType.REGISTRATION_REPLY,
            message,
            # Our address, not the request's destination: an anonymous client learns it from here.
            station.address,
            flags=message.flags & (REGISTRATION_UNIQUE | NAT),
            entries=message.entries,
            nat=self._nat_reply(message, asked, nbma) if asked is not None else None,
        )

    def _nat_reply(self, message: Message, asked: Extension, nbma: Address) -> Extension:
        """Makes the client's NAT extension, with the address that we see added if it is not the claimed one."""
        if message.source_nbma == nbma:
            return asked
        seen = self._station.nat_extension((message.source_protocol, nbma))
        listed = entries_in(asked, message)
        return Extension(
            asked.type, (asked.value if listed else b"") + seen.value, asked.compulsory
        )

    def unauthenticated(self, message: Message, nbma: Address, now: float) -> None:
        """Tells of a client whose Registration Request does not carry our pass phrase."""
        signed = message.extension(ExtensionType.AUTHENTICATION) is not None
        reason = f"the client has {'another' if signed else 'no'} pass phrase"
        self._notify_refused(message.source_protocol, nbma, reason, now)

    def _notify_refused(self, protocol: Address, nbma: Address, reason: str, now: float) -> None:
        name = self._station.interface.name
        self._station.outbox.remind(
            (name, protocol, nbma, reason),
            RegistrationRefused(interface=name, protocol=protocol, nbma=nbma, reason=reason),
            now,
        )

    def _notify_doubt(self, protocol: Address, nbma: Address) -> None:
        doubt = self._claims.doubt(protocol)
        if doubt is not None:
            name = self._station.interface.name
            self._station.outbox.emit(
                ClaimDoubted(interface=name, protocol=protocol, nbma=nbma, reason=doubt)
            )
