"""ICMP errors as they come from a raw socket, and which of them the kernel lets through."""

import contextlib
import random
import socket
import struct
from collections.abc import Iterator, Sequence

import pytest

from nhrpd_py.core.address import parse_address
from nhrpd_py.core.events import Obstacle, OuterProtocol, PacketUndelivered
from nhrpd_py.runtime import bpf
from nhrpd_py.runtime.icmp.listener import IPV4_PROGRAM, IPV6_PROGRAM
from nhrpd_py.runtime.icmp.quoted import undelivered_ipv4, undelivered_ipv6

OURS, THEIRS, ROUTER = map(parse_address, ("192.0.2.2", "192.0.2.1", "203.0.113.9"))
OURS_6, THEIRS_6, ROUTER_6 = map(parse_address, ("2001:db8::2", "2001:db8::1", "2001:db8::9"))
GRE, ESP, UDP = 47, 50, 17
KEYED = bytes.fromhex("20002001 0000002b")
"""GRE with key 43, of NHRP: the 8 octets that every ICMP error quotes."""
NATT = struct.pack("!HHHH", 4500, 4500, 100, 0)


def ipv4(protocol: int, data: bytes, options: bytes = b"", fragment: int = 0) -> bytes:
    words = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH", 4 << 4 | words, 0, 100, 1, fragment, 64, protocol, 0)
    return head + OURS + THEIRS + options + data


def error(kind: int, code: int, quoted: bytes, mtu: int = 0, options: bytes = b"") -> bytes:
    """An ICMP error with the IP header that a raw socket has before it."""
    icmp = struct.pack("!BBHHH", kind, code, 0, 0, mtu)
    outer = bytes((4 << 4 | 5 + len(options) // 4,)) + bytes(8) + b"\1" + bytes(2)
    return outer + ROUTER + OURS + options + icmp + quoted


def ipv6(protocol: int, data: bytes) -> bytes:
    return bytes((0x60, 0, 0, 0, 0, 100, protocol, 64)) + OURS_6 + THEIRS_6 + data


def error_6(kind: int, code: int, quoted: bytes, number: int = 0) -> bytes:
    return struct.pack("!BBHI", kind, code, 0, number) + quoted


def read(packet: bytes) -> PacketUndelivered | None:
    return undelivered_ipv4(memoryview(packet), ROUTER)


def read_6(packet: bytes) -> PacketUndelivered | None:
    return undelivered_ipv6(memoryview(packet), ROUTER_6)


def test_gre_with_a_key_that_nobody_has() -> None:
    assert read(error(3, 3, ipv4(GRE, KEYED))) == PacketUndelivered(
        local=OURS,
        remote=THEIRS,
        protocol=OuterProtocol.GRE,
        key=43,
        obstacle=Obstacle.NO_PORT,
        reporter=ROUTER,
    )


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (bytes.fromhex("00002001 00000000"), None),
        (bytes.fromhex("a0002001 12340000 0000002b"), 43),  # behind a checksum
        (KEYED + bytes(50), 43),
    ],
)
def test_key_of_gre(data: bytes, key: int | None) -> None:
    event = read(error(3, 3, ipv4(GRE, data, options=bytes(4)), options=bytes(8)))
    assert event is not None
    assert event.key == key


@pytest.mark.parametrize(
    ("protocol", "data", "found"),
    [
        (ESP, bytes(8), OuterProtocol.ESP),
        (UDP, NATT, OuterProtocol.ESP_IN_UDP),
        (UDP, struct.pack("!HHHH", 1024, 4500, 100, 0), OuterProtocol.ESP_IN_UDP),
    ],
)
def test_other_protocols(protocol: int, data: bytes, found: OuterProtocol) -> None:
    event = read(error(3, 13, ipv4(protocol, data)))
    assert event is not None
    assert (event.protocol, event.obstacle) == (found, Obstacle.PROHIBITED)


@pytest.mark.parametrize(
    ("kind", "code", "obstacle"),
    [
        (3, 0, Obstacle.NO_ROUTE),
        (3, 1, Obstacle.NO_ROUTE),
        (3, 2, Obstacle.NO_PROTOCOL),
        (3, 4, Obstacle.TOO_BIG),
        (3, 9, Obstacle.PROHIBITED),
        (3, 10, Obstacle.PROHIBITED),
        (3, 12, Obstacle.NO_ROUTE),
        (11, 0, Obstacle.EXPIRED),
        (11, 1, None),  # fragments that were not gathered in time
        (0, 0, None),
    ],
)
def test_what_an_error_says(kind: int, code: int, obstacle: Obstacle | None) -> None:
    event = read(error(kind, code, ipv4(GRE, KEYED), mtu=1400))
    assert (event and event.obstacle) == obstacle
    assert event is None or event.mtu == (1400 if obstacle is Obstacle.TOO_BIG else 0)


@pytest.mark.parametrize(
    ("kind", "code", "obstacle"),
    [
        (1, 0, Obstacle.NO_ROUTE),
        (1, 1, Obstacle.PROHIBITED),
        (1, 3, Obstacle.NO_ROUTE),
        (1, 4, Obstacle.NO_PORT),
        (1, 5, Obstacle.PROHIBITED),
        (2, 0, Obstacle.TOO_BIG),
        (3, 0, Obstacle.EXPIRED),
        (3, 1, None),
        (4, 1, Obstacle.NO_PROTOCOL),
        (4, 0, None),
        (128, 0, None),
    ],
)
def test_what_an_icmpv6_error_says(kind: int, code: int, obstacle: Obstacle | None) -> None:
    event = read_6(error_6(kind, code, ipv6(GRE, KEYED), number=1280))
    assert (event and event.obstacle) == obstacle
    assert event is None or (event.local, event.remote, event.key) == (OURS_6, THEIRS_6, 43)
    assert event is None or event.mtu == (1280 if obstacle is Obstacle.TOO_BIG else 0)


LIMIT = bytes((GRE, 0, 4, 1, 4, 1, 0, 0))
"""Destination options: the encapsulation limit that ip6gre adds."""
FIRST, LATER = bytes((GRE, 0, 0, 1)) + bytes(4), bytes((GRE, 0, 1, 1)) + bytes(4)


@pytest.mark.parametrize(
    ("packet", "is_found"),
    [
        (ipv6(60, LIMIT + KEYED), True),
        (ipv6(44, FIRST + KEYED), True),
        (ipv6(44, LATER + KEYED), False),  # no first fragment: it has no GRE header
        (ipv6(60, LIMIT[:4]), False),
        (ipv6(60, bytes((60, 0, 4, 1, 4, 1, 0, 0)) * 9), False),
        (ipv6(6, KEYED), False),
        (b"\x40" + ipv6(GRE, KEYED)[1:], False),
    ],
)
def test_ipv6_has_headers_between(packet: bytes, is_found: bool) -> None:
    assert (read_6(error_6(1, 4, packet)) is not None) is is_found


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        error(3, 3, ipv4(GRE, KEYED))[:40],
        error(3, 3, ipv4(GRE, KEYED[:3])),
        error(3, 3, ipv4(GRE, KEYED[:6])),  # too short for its key
        error(3, 3, ipv4(GRE, KEYED, fragment=100)),
        error(3, 3, ipv4(UDP, struct.pack("!HHHH", 53, 53, 100, 0))),
        error(3, 3, ipv4(6, KEYED)),
        error(3, 3, b"\x60" + ipv4(GRE, KEYED)[1:]),
    ],
)
def test_what_tells_nothing(packet: bytes) -> None:
    assert read(packet) is None
    assert read_6(packet[:30]) is None


def test_no_octets_raise() -> None:
    rng = random.Random(1)
    for _ in range(3000):
        packet = bytearray(
            rng.choice((error(3, 3, ipv4(GRE, KEYED)), error_6(1, 4, ipv6(60, LIMIT + KEYED))))
        )
        for _ in range(rng.randrange(4)):
            packet[rng.randrange(len(packet))] = rng.randrange(256)
        cut = bytes(packet[: rng.randrange(len(packet) + 1)])
        read(cut)
        read_6(cut)


@contextlib.contextmanager
def filtered(
    program: Sequence[bpf.BpfInstruction],
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A pair of sockets of which the second has the program, as the raw socket has it."""
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, two:
        bpf.attach(two, program)
        two.setblocking(False)
        yield one, two


def passes(packet: bytes, program: Sequence[bpf.BpfInstruction]) -> bool:
    with filtered(program) as (one, two):
        with contextlib.suppress(OSError):  # what the program drops is refused here
            one.send(packet)
        try:
            return two.recv(1000) == packet
        except BlockingIOError:
            return False


@pytest.mark.parametrize(
    ("packet", "is_wanted"),
    [
        (error(3, 3, ipv4(GRE, KEYED)), True),
        (error(3, 3, ipv4(ESP, bytes(8)), options=bytes(8)), True),
        (error(3, 3, ipv4(UDP, NATT, options=bytes(12)), options=bytes(4)), True),
        (error(3, 3, ipv4(UDP, struct.pack("!HH", 1024, 4500))), True),
        (error(3, 3, ipv4(UDP, struct.pack("!HH", 4500, 1024))), True),
        (error(3, 3, ipv4(UDP, struct.pack("!HHHH", 1024, 53, 8, 0))), False),
        (error(3, 3, ipv4(6, NATT)), False),
        (error(3, 3, b""), False),
        (b"\x45", False),
    ],
)
def test_kernel_lets_through_what_quotes_a_tunnels_packet(packet: bytes, is_wanted: bool) -> None:
    assert passes(packet, IPV4_PROGRAM) is is_wanted


@pytest.mark.parametrize(
    ("packet", "is_wanted"),
    [
        (error_6(1, 4, ipv6(GRE, KEYED)), True),
        (error_6(1, 4, ipv6(ESP, KEYED)), True),
        (error_6(1, 4, ipv6(60, LIMIT + KEYED)), True),
        (error_6(1, 4, ipv6(44, FIRST + KEYED)), True),
        (error_6(1, 4, ipv6(UDP, NATT)), True),
        (error_6(1, 4, ipv6(UDP, struct.pack("!HHHH", 1024, 4500, 8, 0))), True),
        (error_6(1, 4, ipv6(UDP, struct.pack("!HHHH", 1024, 53, 8, 0))), False),
        (error_6(1, 4, ipv6(6, NATT)), False),
        (error_6(1, 4, b""), False),
    ],
)
def test_kernel_lets_through_of_icmpv6(packet: bytes, is_wanted: bool) -> None:
    assert passes(packet, IPV6_PROGRAM) is is_wanted
