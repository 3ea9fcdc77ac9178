"""What a capture of the whole Internet (there is one bridge) says: who sent what to whom, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tools.lab.capture import Packet
from tools.lab.topology import Node

NHRP_NAMES = {
    1: "Resolution Request",
    2: "Resolution Reply",
    3: "Registration Request",
    4: "Registration Reply",
    5: "Purge Request",
    6: "Purge Reply",
    7: "Error Indication",
    8: "Traffic Indication",
}
ECHO_REQUEST, ECHO_REPLY = 8, 0


@dataclass(frozen=True, slots=True)
class Step:
    """One packet on the Internet."""

    at_ms: float
    """Since the first data packet, when it entered the Internet."""
    source: int
    destination: int
    """Numbers of nodes."""
    what: str
    is_nhrp: bool
    echo: tuple[int, int] | None = None
    """(ICMP type, sequence number) of a ping's packet."""


@dataclass(frozen=True, slots=True)
class Echo:
    """One ping: the way it took there and back, and its round-trip time."""

    sequence: int
    rtt_ms: float
    there: tuple[int, ...]
    back: tuple[int, ...]
    started_ms: float

    @property
    def is_direct(self) -> bool:
        """Whether neither half saw the hub."""
        return len(self.there) == 2 and len(self.back) == 2


def steps(packets: Sequence[Packet], nodes: Sequence[Node]) -> list[Step]:
    """Returns the packets between the nodes, as steps from the first data packet on."""
    numbers = {node.nbma: node.number for node in nodes}
    first = min((packet.time for packet in packets if _echo(packet)), default=None)
    if first is None:
        return []
    found = []
    for packet in packets:
        source = numbers.get(packet.outer_source)
        destination = numbers.get(packet.outer_destination)
        if source is None or destination is None:
            continue
        echo = _echo(packet)
        if packet.nhrp_type is not None:
            what = NHRP_NAMES.get(packet.nhrp_type, f"NHRP type {packet.nhrp_type}")
        elif echo:
            what = f"ping {echo[1]}" if echo[0] == ECHO_REQUEST else f"reply {echo[1]}"
        else:
            continue
        at_ms = (packet.time - first) * 1000
        found.append(Step(at_ms, source, destination, what, packet.is_nhrp, echo))
    return sorted(found, key=lambda step: step.at_ms)


def echoes(taken: Sequence[Step], rtts: dict[int, float]) -> list[Echo]:
    """Returns each answered ping with its way; `rtts` is what the sender measured, by sequence."""
    result = []
    for sequence, rtt_ms in sorted(rtts.items()):
        there = [step for step in taken if step.echo == (ECHO_REQUEST, sequence)]
        back = [step for step in taken if step.echo == (ECHO_REPLY, sequence)]
        if there and back:
            result.append(Echo(sequence, rtt_ms, _way(there), _way(back), there[0].at_ms))
    return result


def _way(taken: Sequence[Step]) -> tuple[int, ...]:
    return (taken[0].source, *(step.destination for step in taken))


def _echo(packet: Packet) -> tuple[int, int] | None:
    """Type and sequence number of an ICMP echo in a tunnelled IPv4 packet."""
    data = packet.payload
    if packet.inner_source is None or packet.is_nhrp or len(data) < 20 or data[9] != 1:
        return None
    icmp = data[(data[0] & 0x0F) * 4 :]
    if len(icmp) < 8 or icmp[0] not in (ECHO_REQUEST, ECHO_REPLY):
        return None
    return icmp[0], int.from_bytes(icmp[6:8], "big")
