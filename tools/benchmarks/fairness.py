"""An honest spoke at a hub that another one floods: how many of its registrations are answered, and how soon.

It registers every 0.2 s, while 500 packets a second come from another outer address, of one kind at a time. Both share
the guest's one processor with the hub.
"""

from __future__ import annotations

import itertools
import random
import select
import socket
import statistics
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension
from nhrpd_py.packet.iana import PacketType
from nhrpd_py.packet.message import Message, encode
from nhrpd_py.packet.wire import internet_checksum
from tools.benchmarks.contenders import (
    GENERATOR_MAC,
    HUB_MAC,
    HUB_NBMA,
    HUB_PROTOCOL,
    Ours,
    started,
)
from tools.lab import netns
from tools.lab.wiring import GRE_KEY, UNDERLAY

INTERVAL_S = 0.2
HOSTILE_PER_S = 500.0
WINDOW_S = 6.0
ANSWER_LIMIT_S = 3.0
PAUSE_S = 2.0
"""Until what a source may send at once is there again, mostly."""
HOLDING_TIME_S = 600
HONEST = "10.64.0.10"
HOSTILE = ("10.64.9.1", "10.64.9.2")
ENTRIES = 80
ADDRESSES = 960
REQUEST_ID_AT = 14 + 20 + 8 + 24
TYPE_AT = 14 + 20 + 8 + 17
OUTER_AT = 14 + 16
FRAMES = 1000
"""Of a kind that is made at random; they are sent again and again."""

Say = Callable[[str], None]
Frames = Iterable[bytes]


@dataclass(slots=True)
class Outcome:
    """What became of the honest spoke's registrations while one kind of packets came."""

    kind: str
    sent: int = 0
    hostile: int = 0
    round_trips_s: list[float] = field(default_factory=list)

    def text(self) -> str:
        """Returns the answered ones, and how soon."""
        times = sorted(self.round_trips_s)
        if not times:
            return f"0 of {self.sent}"
        middle, last = statistics.median(times) * 1e3, times[-1] * 1e3
        return f"{len(times)} of {self.sent}, median {middle:.1f} ms, at most {last:.1f} ms"


def measure(directory: Path, say: Say) -> list[dict[str, Any]]:
    """Measures all kinds, one after the other, at one hub."""
    outcomes = []
    with (
        started(Ours(directory=directory / "fairness")) as load,
        netns.of_process(load.pid),
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as wire,
    ):
        wire.bind((UNDERLAY, 0x0800))
        wire.setblocking(False)
        ids = itertools.count(1)
        for kind, frames in kinds().items():
            outcome = Outcome(kind)
            _drive(wire, outcome, itertools.cycle(frames) if frames else iter(()), ids)
            say(f"  {kind}: {outcome.text()}")
            outcomes.append(asdict(outcome))
            time.sleep(PAUSE_S)
    return outcomes


def table(outcomes: list[dict[str, Any]]) -> list[str]:
    """Returns the lines of the table."""
    head = f"registrations each {INTERVAL_S} s while {HOSTILE_PER_S:.0f} packets a second come from another"
    rows = [Outcome(**each) for each in outcomes]
    width = max(len(each.kind) for each in rows)
    return [
        "",
        head,
        "-" * len(head),
        *(f"{each.kind.ljust(width)}  {each.text()}" for each in rows),
    ]


def _drive(
    wire: socket.socket, outcome: Outcome, hostile: Iterator[bytes], ids: Iterator[int]
) -> None:
    began = now = time.monotonic()
    next_honest, next_hostile = began, began
    waiting: dict[int, float] = {}
    while now < began + WINDOW_S or (waiting and now < began + WINDOW_S + ANSWER_LIMIT_S):
        if next_honest <= now < began + WINDOW_S:
            number = next(ids)
            waiting[number] = now
            wire.send(frame(HONEST, _registration(HONEST, "10.192.0.10", request_id=number)))
            outcome.sent += 1
            next_honest += INTERVAL_S
        while next_hostile <= now < began + WINDOW_S:
            next_hostile += 1 / HOSTILE_PER_S
            data = next(hostile, None)
            if data is not None:
                wire.send(data)
                outcome.hostile += 1
        select.select([wire], [], [], max(0.0, min(next_honest, next_hostile) - time.monotonic()))
        _collect(wire, outcome, waiting)
        now = time.monotonic()


def _collect(wire: socket.socket, outcome: Outcome, waiting: dict[int, float]) -> None:
    """Reads what came, and notes the replies for the honest spoke."""
    honest = IPv4Address(HONEST).packed
    while True:
        try:
            data = wire.recv(2048)
        except BlockingIOError:
            return
        if len(data) < REQUEST_ID_AT + 4 or data[TYPE_AT] != PacketType.REGISTRATION_REPLY:
            continue
        sent_at = waiting.pop(int.from_bytes(data[REQUEST_ID_AT : REQUEST_ID_AT + 4]), None)
        if sent_at is not None and data[OUTER_AT : OUTER_AT + 4] == honest:
            took_s = time.monotonic() - sent_at
            if took_s <= ANSWER_LIMIT_S:
                outcome.round_trips_s.append(took_s)


# What comes from the other one.


def kinds() -> dict[str, list[bytes]]:
    """Returns the frames of each kind of packets, to be sent in turn."""
    one, other = HOSTILE
    many = list(_batches(one))
    rng = random.Random(1)
    request = encode(_registration(one, "10.192.9.1"))
    in_turn = [
        each
        for number in range(ADDRESSES)
        for each in (
            _registration(one, _address(number)),
            _purge(one, _address(number), 32, source=_address(number)),
        )
    ]
    moves = [each for batch in zip(many, _batches(other), strict=True) for each in batch]
    return {
        "nothing": [],
        "one registration": [frame(one, request)],
        f"registrations of {ENTRIES} of {ADDRESSES} addresses": _frames(one, many),
        "the same from two outer addresses in turn": [
            frame(outer, each) for outer, each in zip(itertools.cycle(HOSTILE), moves)
        ],
        "addresses registered and purged in turn": _frames(one, in_turn),
        "purges of a /8": [frame(one, _purge(one, "10.0.0.0", 8))],
        f"purges of {ENTRIES} × /31": [frame(one, _purge(one, "10.200.0.0", 31, ENTRIES))],
        "resolution requests to forward": _frames(
            one, (_asking(one, "10.192.0.10", number) for number in range(FRAMES))
        ),
        "resolution requests for the hub itself": _frames(
            one, (_asking(one, HUB_PROTOCOL, number) for number in range(FRAMES))
        ),
        "indications about any address": _frames(
            one, (_indication(one, rng.randbytes(4)) for _ in range(FRAMES))
        ),
        "replies to no request": _frames(
            one, (_reply(one, rng.getrandbits(32)) for _ in range(FRAMES))
        ),
        "malformed": [
            frame(one, bytes([*request[:at], request[at] ^ 0x55, *request[at + 1 :]]))
            for at in range(len(request))
        ],
    }


def _frames(outer: str, messages: Iterable[Message]) -> list[bytes]:
    return [frame(outer, each) for each in messages]


def _address(number: int) -> str:
    return str(IPv4Address("10.200.0.0") + number)


def _batches(outer: str) -> Iterator[Message]:
    for start in range(0, ADDRESSES, ENTRIES):
        entries = tuple(
            ClientInformation(
                prefix_length=32,
                holding_time_s=HOLDING_TIME_S,
                protocol=IPv4Address(_address(number)).packed,
            )
            for number in range(start, start + ENTRIES)
        )
        yield _registration(outer, "10.192.9.1", entries=entries)


def _message(kind: PacketType, outer: str, source: str, target: str, **fields: Any) -> Message:
    values: dict[str, Any] = {
        "source_nbma": IPv4Address(outer).packed,
        "source_protocol": IPv4Address(source).packed,
        "destination_protocol": IPv4Address(target).packed,
        **fields,
    }
    return Message(type=kind, afn=1, protocol_type=0x0800, hop_count=64, **values)


def _registration(outer: str, source: str, **fields: Any) -> Message:
    entry = ClientInformation(prefix_length=32, holding_time_s=HOLDING_TIME_S)
    fields = {"entries": (entry,), "request_id": 1, **fields}
    return _message(PacketType.REGISTRATION_REQUEST, outer, source, HUB_PROTOCOL, **fields)


def _purge(
    outer: str, address: str, length: int, count: int = 1, source: str = "10.192.9.1"
) -> Message:
    step = 1 << (32 - length)
    entries = tuple(
        ClientInformation(
            prefix_length=length, protocol=(IPv4Address(address) + number * step).packed
        )
        for number in range(count)
    )
    return _message(
        PacketType.PURGE_REQUEST, outer, source, HUB_PROTOCOL, entries=entries, request_id=1
    )


def _asking(outer: str, target: str, number: int) -> Message:
    entry = ClientInformation(prefix_length=32, holding_time_s=HOLDING_TIME_S)
    extensions = (Extension(4), Extension(5), Extension(3))
    return _message(
        PacketType.RESOLUTION_REQUEST,
        outer,
        "10.192.9.1",
        target,
        entries=(entry,),
        request_id=number + 1,
        extensions=extensions,
        flags=0xC802,
    )


def _indication(outer: str, target: bytes) -> Message:
    inner = bytes.fromhex("450000540000400040010000") + IPv4Address("10.192.0.10").packed + target
    return _message(
        PacketType.TRAFFIC_INDICATION, outer, "10.192.9.1", HUB_PROTOCOL, payload=inner + bytes(64)
    )


def _reply(outer: str, request_id: int) -> Message:
    entry = ClientInformation(
        prefix_length=24, holding_time_s=HOLDING_TIME_S, nbma=IPv4Address(outer).packed
    )
    return _message(
        PacketType.RESOLUTION_REPLY,
        outer,
        HUB_PROTOCOL,
        "10.192.9.1",
        entries=(entry,),
        request_id=request_id,
    )


def frame(outer: str, packet: Message | bytes) -> bytes:
    """Returns the Ethernet frame with an NHRP packet in GRE, from an outer address to the hub."""
    data = packet if isinstance(packet, bytes) else encode(packet)
    gre = struct.pack("!HHI", 0x2000, 0x2001, GRE_KEY) + data
    header = struct.pack("!BBHHHBBH", 0x45, 0xC0, 20 + len(gre), 0, 0, 64, socket.IPPROTO_GRE, 0)
    addresses = IPv4Address(outer).packed + IPv4Address(HUB_NBMA).packed
    checksum = internet_checksum(header + addresses).to_bytes(2, "big")
    macs = b"".join(bytes.fromhex(each.replace(":", "")) for each in (HUB_MAC, GENERATOR_MAC))
    return macs + b"\x08\x00" + header[:10] + checksum + addresses + gre
