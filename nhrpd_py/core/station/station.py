"""Our own end of one interface and address family: it has our addresses and bindings, and makes and sends messages.

Everything else of an instance (registration, resolution, forwarding…) builds on a station: it stamps messages with our
addresses, signs them, counts and sends them. RFC 2332 §5.2.0.1 (common header), §5.3.4 (authentication).
"""

from nhrpd_py.core.address import (
    AFN_OF_SIZE,
    PROTOCOL_OF_AFI,
    SIZE_OF_AFI,
    Address,
    Afi,
    afi_of,
)
from nhrpd_py.core.base.jitter import Jitter
from nhrpd_py.core.base.limits import Limits
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.base.requests import Requests
from nhrpd_py.core.base.timers import TimerQueue
from nhrpd_py.core.config import InterfaceConfig
from nhrpd_py.core.effects import SendPacket
from nhrpd_py.core.ipsec.circuits import Circuits
from nhrpd_py.core.kernel.tables import KernelTables
from nhrpd_py.core.notices import PacketDropped
from nhrpd_py.core.station.cache import Cache
from nhrpd_py.core.station.contests import Contests
from nhrpd_py.core.station.interface import Interface
from nhrpd_py.core.station.paths import Paths
from nhrpd_py.core.station.shortcuts import ShortcutTable
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import (
    Extension,
    authentication_matches,
    cisco_authentication,
    of_entries,
)
from nhrpd_py.packet.iana import ErrorCode, ExtensionType, PacketType
from nhrpd_py.packet.inner import OffendingHeader, peek
from nhrpd_py.packet.layout import PACKET_SIZE_AT, size_of
from nhrpd_py.packet.message import REPLIES, Message, encode
from nhrpd_py.packet.wire import BadPacket, DropReason

HOP_COUNT = 255
"""What Cisco sends; FRR's 1 would not survive a hub on the way, and some IOS refuses small ones."""
OFFENDING_BYTES = 256
"""Octets of a packet that an Error Indication returns: most packets whole, and of any the header."""
RECORD_PREFIX_LENGTH = 0
"""Entries of extensions 3, 4 and 5 say nothing about a prefix (§5.3.1)."""
MAX_MTU = 0xFFFF
"""Largest value of the MTU field of an entry."""
SETTLE_S = 0.25
"""How long after a change of our NBMA address the kernel may send from the former one, at the least."""
SETTLE_LIMIT_S = 10.0
"""An NHS that still sees the former address so long after the change is right: a NAT has taken it over."""

_PACKET_TYPES = len(PacketType) + 1


class Counters:
    """Packets by type; index 0 is unused."""

    __slots__ = ("forwarded", "received", "sent")

    def __init__(self) -> None:
        self.sent = [0] * _PACKET_TYPES
        self.received = [0] * _PACKET_TYPES
        self.forwarded = [0] * _PACKET_TYPES


class Station:
    """Our end of an interface and family. `address` is empty while the tunnel has none of this family."""

    __slots__ = (
        "address",
        "afi",
        "cache",
        "contests",
        "counters",
        "former_nbma",
        "interface",
        "jitter",
        "limits",
        "moved_at",
        "nat_nbma",
        "outbox",
        "paths",
        "protocol_type",
        "requests",
        "tables",
        "timers",
    )

    def __init__(
        self,
        interface: Interface,
        afi: Afi,
        *,
        jitter: Jitter,
        limits: Limits,
        outbox: Outbox,
        requests: Requests,
        tables: KernelTables,
        timers: TimerQueue,
    ) -> None:
        self.interface = interface
        self.afi = afi
        self.jitter = jitter
        self.limits = limits
        self.outbox = outbox
        self.requests = requests
        self.tables = tables
        self.timers = timers
        self.protocol_type = PROTOCOL_OF_AFI[afi]
        self.address: Address = b""
        self.nat_nbma: Address = b""
        """Our NBMA address as an NHS sees it, when that is another one than ours."""
        self.former_nbma: Address = b""
        """Our NBMA address before it last changed; empty before the first change."""
        self.moved_at = 0.0
        """When it changed."""
        self.paths = Paths(
            jitter, requests.release, enabled=interface.config.path_check_s is not None
        )
        self.cache = Cache(
            interface, afi, outbox=outbox, paths=self.paths, tables=tables, timers=timers
        )
        self.contests = Contests()
        self.counters = Counters()

    @property
    def shortcuts(self) -> ShortcutTable:
        return self.cache.shortcuts

    @property
    def config(self) -> InterfaceConfig:
        return self.interface.config

    @property
    def circuits(self) -> Circuits:
        return self.interface.circuits

    @property
    def ready(self) -> bool:
        """Whether we have the addresses to send messages of our own."""
        return self.interface.opened and bool(self.address) and bool(self.interface.nbma)

    @property
    def host_length(self) -> int:
        return SIZE_OF_AFI[self.afi] * 8

    @property
    def mtu(self) -> int:
        """What we tell peers in the MTU field of our entries: that of the tunnel, as far as the field goes."""
        return min(self.interface.mtu, MAX_MTU)

    def message(
        self,
        kind: PacketType,
        destination: Address,
        *,
        flags: int = 0,
        request_id: int = 0,
        entries: tuple[ClientInformation, ...] = (),
        extensions: tuple[Extension, ...] = (),
        payload: bytes = b"",
        error_code: int = 0,
        error_offset: int = 0,
    ) -> Message:
        """Makes a message whose source we are."""
        nbma = self.interface.nbma
        return Message(
            type=kind,
            afn=AFN_OF_SIZE[len(nbma)],
            protocol_type=self.protocol_type,
            hop_count=HOP_COUNT,
            flags=flags,
            request_id=request_id,
            source_nbma=nbma,
            source_protocol=self.address,
            destination_protocol=destination,
            entries=entries,
            extensions=extensions,
            payload=payload,
            error_code=error_code,
            error_offset=error_offset,
        )

    def reply(
        self,
        kind: PacketType,
        request: Message,
        destination: Address,
        *,
        flags: int,
        entries: tuple[ClientInformation, ...],
        nat: Extension | None = None,
    ) -> Message:
        """Makes our reply to a request, whose source and id stay, so that the requester recognises it (§5.2.0.1).

        Every extension of the request is returned in its place, known or not (§5.3); we fill in the responder
        address, and `nat` replaces the NAT address extension.
        """
        extensions = []
        for extension in request.extensions:
            if extension.type == ExtensionType.RESPONDER_ADDRESS:
                extensions.append(of_entries(extension.type, (self.record(),)))
            elif extension.type == ExtensionType.NAT_ADDRESS and nat is not None:
                extensions.append(nat)
            else:
                extensions.append(extension)
        return Message(
            type=kind,
            afn=request.afn,
            protocol_type=self.protocol_type,
            hop_count=HOP_COUNT,
            flags=flags,
            request_id=request.request_id,
            source_nbma=request.source_nbma,
            source_nbma_subaddress=request.source_nbma_subaddress,
            source_protocol=request.source_protocol,
            destination_protocol=destination,
            entries=entries,
            extensions=self.signed(tuple(extensions)),
        )

    def signed(self, extensions: tuple[Extension, ...]) -> tuple[Extension, ...]:
        """Replaces the authentication, which is hop by hop (§5.3.4.3), by ours, or removes it where none is configured.

        Ours stands where the former one stood, for the order of extensions may not change (§5.3); without one it is
        the last.
        """
        rest = tuple(each for each in extensions if each.type != ExtensionType.AUTHENTICATION)
        secret = self.config.authentication
        if secret is None:
            return rest
        ours = cisco_authentication(secret.value)
        if len(rest) == len(extensions):
            return (*rest, ours)
        return tuple(
            ours if each.type == ExtensionType.AUTHENTICATION else each for each in extensions
        )

    def authenticates(self, message: Message) -> bool:
        """Returns whether a received message carries our pass phrase, or needs none.

        An Error Indication without one is accepted: it only has an effect on a request of ours, and a neighbour
        that rejects our pass phrase cannot know it.
        """
        secret = self.config.authentication
        if secret is None:
            return True
        extension = message.extension(ExtensionType.AUTHENTICATION)
        if extension is None:
            return message.type is PacketType.ERROR_INDICATION
        return authentication_matches(extension, secret.value)

    def fits(self, message: Message) -> bool:
        """Returns whether a message fits into the tunnel; the kernel refuses a longer one.

        A received message may be longer than the tunnel's MTU, in fragments of the underlay.
        """
        return size_of(message) <= self.interface.mtu

    def send(self, nbma: Address, message: Message, *, forwarded: bool = False) -> None:
        """Sends a message to an outer destination; the extensions are the caller's, signature included."""
        if not self.circuits.is_up(nbma):
            self.drop(DropReason.NO_ASSOCIATION, nbma)  # the guard would not let it out
            return
        try:
            data = encode(message)
        except ValueError:  # longer than any packet can be
            data = b""
        if not 0 < len(data) <= self.interface.mtu:
            self.drop(DropReason.SDU_SIZE_EXCEEDED, nbma)
            return
        counter = self.counters.forwarded if forwarded else self.counters.sent
        counter[message.type] += 1
        self.outbox.emit(SendPacket(self.interface.ifindex, nbma, data))

    def record(self, code: int = 0) -> ClientInformation:
        """Makes our entry for a responder address, forward or reverse transit record."""
        return ClientInformation(
            code=code,
            prefix_length=RECORD_PREFIX_LENGTH,
            mtu=self.mtu,
            holding_time_s=self.config.holding_time_s,
            nbma=self.interface.nbma,
            protocol=self.address,
        )

    def nat_extension(self, *entries: tuple[Address, Address]) -> Extension:
        """Makes a NAT address extension with an entry for each (protocol, NBMA) pair, of host length as Cisco's."""
        return of_entries(
            ExtensionType.NAT_ADDRESS,
            tuple(
                ClientInformation(prefix_length=self.host_length, nbma=nbma, protocol=protocol)
                for protocol, nbma in entries
            ),
            compulsory=False,
        )

    def own_nat_extension(self) -> Extension:
        """Makes our NAT address extension: our post-NAT address behind NAT, else empty, which shows that we know it."""
        if self.nat_nbma:
            return self.nat_extension((self.address, self.nat_nbma))
        return self.nat_extension()

    def nat_address_in(self, message: Message, protocol: Address) -> Address:
        """Returns the post-NAT address that a message gives for a protocol address; empty where it gives none."""
        extension = message.extension(ExtensionType.NAT_ADDRESS)
        if extension is None:
            return b""
        for entry in entries_in(extension, message):
            if entry.protocol == protocol and entry.nbma:
                return entry.nbma
        return b""

    def moved(self, former: Address, now: float) -> None:
        """Notes that our NBMA address is another one now; no NHS has seen it yet."""
        self.former_nbma = former
        self.moved_at = now
        self.nat_nbma = b""

    def learn_nat_nbma(self, message: Message, now: float) -> bool:
        """Learns our post-NAT address from an NHS's reply, which adds it if it is not the one that we claim.

        Returns False where the NHS saw us at the address that we had until just now: our request left while the
        kernel was still changing addresses. That is no NAT, and the NHS has to be told again.
        """
        seen = self.nat_address_in(message, self.address)
        stale = bool(seen) and seen == self.former_nbma and now - self.moved_at < SETTLE_LIMIT_S
        self.nat_nbma = b"" if stale or seen == self.interface.nbma else seen
        return not stale

    def settles_at(self, now: float) -> float:
        """Returns when to register again after `learn_nat_nbma` returned False."""
        return min(now + max(SETTLE_S, now - self.moved_at), self.moved_at + SETTLE_LIMIT_S)

    def granted_s(self, asked_s: int) -> int:
        """Returns the holding time that a peer gets that asks for some time; 0 leaves it to us."""
        return min(asked_s or self.config.holding_time_s, self.config.max_holding_time_s)

    def sends_into_itself(self, nbma: Address) -> bool:
        """Returns whether the kernel routes an NBMA address into the tunnel itself, so that no packet to it leaves.

        A routing protocol does that which tells the tunnel about its own outer network. A tunnel that is bound to its
        underlay (`dev`) is safe from it.
        """
        gre = self.interface.gre
        if gre is None or gre.link or gre.foreign:
            return False
        route = self.tables.ribs[afi_of(nbma)].lookup(nbma)
        return route is not None and route.ifindex == self.interface.ifindex

    def drop(self, reason: DropReason, nbma: Address = b"") -> None:
        """Counts a dropped packet, and emits a notice."""
        name = self.interface.name
        self.outbox.count_drop(name, reason)
        self.outbox.emit(PacketDropped(interface=name, reason=reason, nbma=nbma))

    def send_error(
        self,
        nbma: Address,
        offender: OffendingHeader | None,
        data: bytes,
        code: ErrorCode,
        now: float,
        offset: int = 0,
    ) -> None:
        """Sends an Error Indication to where a packet came from (§5.2.7): rate-limited, never about another one."""
        if offender is None or offender.type == PacketType.ERROR_INDICATION or not self.ready:
            return
        # The sender of a reply is the station that the request was for.
        is_reply = offender.type in REPLIES
        to = offender.destination_protocol if is_reply else offender.source_protocol
        if not to or not self.limits.errors.take(nbma, now):
            return
        error = self.message(
            PacketType.ERROR_INDICATION,
            to,
            error_code=code,
            error_offset=offset,
            payload=data[:OFFENDING_BYTES],
        )
        self.send(nbma, error)

    def refuse_size(self, message: Message, nbma_source: Address, now: float) -> None:
        """Drops a received message whose answer, or which with our record, does not fit into the tunnel (§5.2.7)."""
        self.drop(DropReason.SDU_SIZE_EXCEEDED, nbma_source)
        data = encode(message)
        code = ErrorCode.SDU_SIZE_EXCEEDED
        self.send_error(nbma_source, peek(data), data, code, now, offset=PACKET_SIZE_AT)


def entries_in(extension: Extension, message: Message) -> tuple[ClientInformation, ...]:
    """Returns the entries of an extension; none where its value is no list of entries (type 9 has other users)."""
    try:
        return extension.entries(message.nbma_size, message.protocol_size)
    except BadPacket:
        return ()
