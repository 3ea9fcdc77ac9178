"""Turns a capture of the whole Internet (it is one bridge) into steps: sender, receiver, message,
time."""

from __future__ import annotations

import ipaddress
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nhrpd_py.packet import BadPacket, Message, PacketType, data_addresses, decode
from tools.lab.capture import Packet
from tools.lab.topology import Node

ECHO_REQUEST, ECHO_REPLY = 8, 0
ICMP = 1
IKE_NAMES = {34: "IKE_SA_INIT", 35: "IKE_AUTH", 36: "CREATE_CHILD_SA", 37: "INFORMATIONAL"}
NAMES = {kind: kind.name.replace("_", " ").title() for kind in PacketType}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One packet on the Internet."""

    time: float
    """Seconds since 1970, when it entered the Internet."""
    source: int
    destination: int
    """Source and destination: the numbers of the nodes with the outer addresses."""
    what: str
    about: str = ""
    """The subject of an NHRP message: an address or prefix, and the statement about it."""
    kind: int | None = None
    """NHRP packet type, None for data."""
    asker: str | None = None
    """Source protocol address of an NHRP message: in a reply still that of the request."""
    echo: tuple[int, int] | None = None
    """(ICMP type, sequence number) of a ping's packet."""

    is_ike: bool = False
    is_protected: bool = False
    """It was sent in ESP."""

    @property
    def is_nhrp(self) -> bool:
        """Whether this is an NHRP message."""
        return self.kind is not None


@dataclass(frozen=True, slots=True)
class Echo:
    """One ping: its packets there and back, and its round-trip time."""

    sequence: int
    rtt_ms: float
    there: tuple[Step, ...]
    back: tuple[Step, ...]

    @property
    def is_direct(self) -> bool:
        """Whether the hub saw neither half."""
        return len(self.there) == len(self.back) == 1

    @property
    def is_relayed(self) -> bool:
        """Whether the hub relayed both halves."""
        return len(self.there) == len(self.back) == 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The content of the text and of the drawing."""

    steps: Sequence[Step]
    """From the first data packet on."""
    echoes: Sequence[Echo]
    """In the order of their sequence numbers."""
    sender: Node
    delays_ms: Mapping[int, float]
    """One-way delay towards each node, by its number."""

    @property
    def relayed(self) -> list[Echo]:
        """Returns the pings that went over the hub both ways."""
        return [echo for echo in self.echoes if echo.is_relayed]

    @property
    def direct(self) -> list[Echo]:
        """Returns the pings that went straight both ways."""
        return [echo for echo in self.echoes if echo.is_direct]

    @property
    def before_ms(self) -> float:
        """Returns the median round trip over the hub."""
        return statistics.median(echo.rtt_ms for echo in self.relayed)

    @property
    def after_ms(self) -> float:
        """Returns the median round trip of the direct path."""
        return statistics.median(echo.rtt_ms for echo in self.direct)

    @property
    def interval_ms(self) -> float:
        """Returns the mean time between two pings, as they were sent."""
        began, ended = self.echoes[0].there[0], self.echoes[-1].there[0]
        return self.at_ms(ended) / (len(self.echoes) - 1) if began is not ended else 0.0

    @property
    def first_direct(self) -> Step:
        """Returns the first ping packet of the sender that went straight."""
        return next(echo.there[0] for echo in self.echoes if len(echo.there) == 1)

    @property
    def first_direct_answer(self) -> Step:
        """Returns the first ping packet that went straight the other way."""
        straight = (echo.back[0] for echo in self.echoes if len(echo.back) == 1)
        return min(straight, key=lambda step: step.time)

    @property
    def switch_ms(self) -> float:
        """Returns the time from the first data packet to the first direct one of the sender."""
        return self.at_ms(self.first_direct)

    @property
    def on_the_way_ms(self) -> float:
        """Returns the part of `switch_ms` that is due to the links' delays.

        The first data packet to the hub, the indication back, every leg of the request and the reply
        that the sender got, and the IKE messages between the spokes: each takes the delay towards
        its receiver.
        """
        chain = [self.echoes[0].there[0], *self.handshake]
        for kind in (
            PacketType.TRAFFIC_INDICATION,
            PacketType.RESOLUTION_REQUEST,
            PacketType.RESOLUTION_REPLY,
        ):
            chain += self._legs(kind)
        return sum(self.delays_ms[step.destination] for step in chain)

    @property
    def handshake(self) -> list[Step]:
        """Returns the IKE messages between the spokes, up to the first direct packet."""
        end = self.first_direct.time
        return [step for step in self.steps if step.is_ike and step.time < end]

    @property
    def highlights(self) -> list[Step]:
        """Returns the first ping, all NHRP but registrations, IKE, and the first direct packets."""
        registrations = (PacketType.REGISTRATION_REQUEST, PacketType.REGISTRATION_REPLY)
        first = self.echoes[0]
        data = (*first.there, *first.back, self.first_direct, self.first_direct_answer)
        nhrp = (step for step in self.steps if step.is_nhrp and step.kind not in registrations)
        return sorted((*data, *nhrp, *self.handshake), key=lambda step: step.time)

    def at_ms(self, step: Step) -> float:
        """Returns the time of a step since the first data packet."""
        return (step.time - self.echoes[0].there[0].time) * 1000

    def _legs(self, kind: PacketType) -> list[Step]:
        found = [step for step in self.steps if step.kind == kind]
        if kind is PacketType.TRAFFIC_INDICATION:
            return [step for step in found if step.destination == self.sender.number][:1]
        # Requests that are sent again, and later renewals, do not lead to the first answer.
        legs: list[Step] = []
        for step in found:
            if step.asker == self.sender.tunnel and step.destination not in [
                leg.destination for leg in legs
            ]:
                legs.append(step)
        return legs


def steps(packets: Sequence[Packet], nodes: Sequence[Node]) -> list[Step]:
    """Returns the pings, NHRP and IKE messages between the nodes in the order of time."""
    numbers = {node.nbma: node.number for node in nodes}
    found = []
    for packet in packets:
        source = numbers.get(packet.outer_source)
        destination = numbers.get(packet.outer_destination)
        if source is None or destination is None:
            continue
        echo = _echo(packet)
        if packet.nhrp_type is not None:
            what, about, asker = _told(packet)
        elif packet.ike_exchange is not None:
            name = IKE_NAMES.get(packet.ike_exchange, f"exchange {packet.ike_exchange}")
            word = "response" if packet.is_ike_response else "request"
            what, about, asker = name, word, None
        elif echo is not None:
            word = "ping" if echo[0] == ECHO_REQUEST else "answer"
            what, about, asker = f"{word} {echo[1]}", "", None
        else:
            continue
        found.append(
            Step(
                time=packet.time,
                source=source,
                destination=destination,
                what=what,
                about=about,
                kind=packet.nhrp_type,
                asker=asker,
                echo=echo,
                is_ike=packet.ike_exchange is not None,
                is_protected=packet.is_esp,
            )
        )
    return sorted(found, key=lambda step: step.time)


def echoes(taken: Sequence[Step], rtts: Mapping[int, float]) -> list[Echo]:
    """Returns each answered ping with its path; `rtts` are the sender's measurements by sequence
    number."""
    result = []
    for sequence, rtt_ms in sorted(rtts.items()):
        there = tuple(step for step in taken if step.echo == (ECHO_REQUEST, sequence))
        back = tuple(step for step in taken if step.echo == (ECHO_REPLY, sequence))
        if there and back:
            result.append(Echo(sequence, rtt_ms, there, back))
    return result


def _told(packet: Packet) -> tuple[str, str, str | None]:
    """Returns name, subject and source protocol address of an NHRP message."""
    try:
        message = decode(packet.payload)
        return NAMES[message.type], _about(message), _address(message.source_protocol)
    except BadPacket as error:
        return f"NHRP type {packet.nhrp_type}", f"not understood: {error.reason.name}", None


def _about(message: Message) -> str:
    wanted = _address(message.destination_protocol)
    match message.type:
        case PacketType.TRAFFIC_INDICATION:
            source, destination = data_addresses(message.payload, message.protocol_type)
            return f"{_address(source)} → {_address(destination)}"
        case PacketType.RESOLUTION_REQUEST:
            return wanted
        case PacketType.RESOLUTION_REPLY if message.entries:
            entry = message.entries[0]
            if entry.code:
                return f"{wanted}: refused, code {entry.code}"
            prefix = ipaddress.ip_network(f"{wanted}/{entry.prefix_length}", strict=False)
            return f"{prefix} at {_address(entry.nbma or message.source_nbma)}"
        case _:
            return ""


def _address(octets: bytes) -> str:
    return str(ipaddress.ip_address(octets)) if octets else "-"


def _echo(packet: Packet) -> tuple[int, int] | None:
    """Returns type and sequence number of an ICMP echo in a tunnelled IPv4 packet."""
    data = packet.payload
    if packet.inner_source is None or packet.is_nhrp or len(data) < 20 or data[9] != ICMP:
        return None
    icmp = data[(data[0] & 0x0F) * 4 :]
    if len(icmp) < 8 or icmp[0] not in (ECHO_REQUEST, ECHO_REPLY):
        return None
    return icmp[0], int.from_bytes(icmp[6:8], "big")
