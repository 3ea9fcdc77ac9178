"""Listens for ICMP errors that quote GRE or ESP: a raw socket for IPv4, and one for IPv6.

The kernel drops all other ICMP ahead of the socket, by type and by a filter program. What remains of
a flood fills a small buffer and is lost there; a few are read ten times a second, and of equal ones one
is reported. Losing them costs nothing but a reason.
"""

import errno
import socket
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import trio

from nhrpd_py.core.address import Address
from nhrpd_py.core.events import PacketUndelivered
from nhrpd_py.runtime.bpf import BpfInstruction, attach
from nhrpd_py.runtime.icmp.quoted import undelivered_ipv4, undelivered_ipv6
from nhrpd_py.runtime.inbox import Inbox

BATCH = 32
"""Errors that are read in one go."""
PAUSE_S = 0.1
"""From one read to the next."""
RECEIVE_BUFFER = 65536
RECEIVE_SIZE = 512
"""Octets of an error that are read: Linux sends 576 at most, and headers are what matters."""

SOL_RAW, ICMP_FILTER = 255, 1
ICMPV6_FILTER = 1
SO_MEMINFO = 55
MEMINFO = struct.Struct("=9I")
"""Of SO_MEMINFO; the last number counts what did not fit into the socket's buffer."""
IPV4_TYPES = (3, 11)
"""Destination unreachable, time exceeded."""
IPV6_TYPES = (1, 2, 3, 4)
"""Destination unreachable, packet too big, time exceeded, parameter problem."""

LOAD_HEADER_SIZE, LOAD_BYTE_AT_X, LOAD_HALF_AT_X = 0xB1, 0x50, 0x48
LOAD_BYTE, LOAD_HALF = 0x30, 0x28
AND, SHIFT_LEFT, ADD_X, TO_X = 0x54, 0x64, 0x0C, 0x07
JUMP_IF_EQUAL, RETURN = 0x15, 0x06
WHOLE = 0xFFFF

IPV4_PROGRAM: Sequence[BpfInstruction] = (
    (LOAD_HEADER_SIZE, 0, 0, 0),  # x: where ICMP begins; the quoted header is 8 octets on
    (LOAD_BYTE_AT_X, 0, 0, 8 + 9),  # its protocol
    (JUMP_IF_EQUAL, 11, 0, 47),
    (JUMP_IF_EQUAL, 10, 0, 50),
    (JUMP_IF_EQUAL, 0, 10, 17),
    (LOAD_BYTE_AT_X, 0, 0, 8),  # UDP: its ports, behind a header of that many words
    (AND, 0, 0, 0x0F),
    (SHIFT_LEFT, 0, 0, 2),
    (ADD_X, 0, 0, 0),
    (TO_X, 0, 0, 0),
    (LOAD_HALF_AT_X, 0, 0, 8),
    (JUMP_IF_EQUAL, 2, 0, 4500),
    (LOAD_HALF_AT_X, 0, 0, 8 + 2),
    (JUMP_IF_EQUAL, 0, 1, 4500),
    (RETURN, 0, 0, WHOLE),
    (RETURN, 0, 0, 0),
)
IPV6_PROGRAM: Sequence[BpfInstruction] = (
    (LOAD_BYTE, 0, 0, 8 + 6),  # the next header of the quoted packet
    (JUMP_IF_EQUAL, 8, 0, 47),
    (JUMP_IF_EQUAL, 7, 0, 50),
    (JUMP_IF_EQUAL, 6, 0, 60),  # destination options: ip6gre has them ahead of GRE
    (JUMP_IF_EQUAL, 5, 0, 44),  # a fragment
    (JUMP_IF_EQUAL, 0, 5, 17),
    (LOAD_HALF, 0, 0, 8 + 40),
    (JUMP_IF_EQUAL, 2, 0, 4500),
    (LOAD_HALF, 0, 0, 8 + 42),
    (JUMP_IF_EQUAL, 0, 1, 4500),
    (RETURN, 0, 0, WHOLE),
    (RETURN, 0, 0, 0),
)


class IcmpError(OSError):
    """ICMP cannot be listened to."""


class _Family(NamedTuple):
    socket: socket.socket
    decode: Callable[[memoryview, Address], PacketUndelivered | None]
    family: int


class IcmpListener:
    """Reports ICMP errors about outer packets. Counters: errors, repeated, malformed, overflows."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._buffer = bytearray(RECEIVE_SIZE)
        self.counters: Counter[str] = Counter()

    async def run(
        self, _settings: object, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Listens until cancelled. Raises IcmpError."""
        families = open_sockets()
        try:
            async with trio.open_nursery() as nursery:
                for each in families:
                    nursery.start_soon(self.listen, each)
                task_status.started()
        finally:
            for each in families:
                each.socket.close()

    async def listen(self, family: _Family) -> None:
        """Reports what comes by one socket until cancelled."""
        overflows = 0
        while True:
            await trio.lowlevel.wait_readable(family.socket)
            self._inbox.offer(self._read(family))
            seen = _overflows(family.socket)
            self.counters["overflows"] += max(0, seen - overflows)
            overflows = seen
            await trio.sleep(PAUSE_S)

    def _read(self, family: _Family) -> list[PacketUndelivered]:
        """Returns the errors that wait, each once."""
        found: dict[PacketUndelivered, None] = {}
        for _ in range(BATCH):
            try:
                size, source = family.socket.recvfrom_into(self._buffer)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self.counters[f"receive_{errno.errorcode.get(error.errno or 0, error.errno)}"] += 1
                break
            reporter = socket.inet_pton(family.family, str(source[0]).partition("%")[0])
            event = family.decode(memoryview(self._buffer)[:size], reporter)
            if event is None:
                self.counters["malformed"] += 1
                continue
            self.counters["errors"] += 1
            self.counters["repeated"] += event in found
            found[event] = None
        return list(found)


def open_sockets() -> list[_Family]:
    """Opens the sockets, the one for IPv6 where the machine has it. Raises IcmpError."""
    try:
        ipv4 = _open(
            socket.AF_INET, socket.IPPROTO_ICMP, (SOL_RAW, ICMP_FILTER, _blocked(IPV4_TYPES, 1))
        )
    except OSError as error:
        reason = "CAP_NET_RAW is missing" if error.errno == errno.EPERM else error.strerror
        raise IcmpError(error.errno, f"ICMP cannot be listened to: {reason}") from error
    families = [_Family(ipv4, undelivered_ipv4, socket.AF_INET)]
    protocol = socket.IPPROTO_ICMPV6
    try:
        ipv6 = _open(socket.AF_INET6, protocol, (protocol, ICMPV6_FILTER, _blocked(IPV6_TYPES, 8)))
    except OSError:  # a machine without IPv6
        return families
    return [*families, _Family(ipv6, undelivered_ipv6, socket.AF_INET6)]


def _open(family: int, protocol: int, types: tuple[int, int, bytes]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
    try:
        attach(sock, IPV4_PROGRAM if family == socket.AF_INET else IPV6_PROGRAM)
        sock.setsockopt(*types)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        while True:  # what came before the filters were there
            sock.recv(RECEIVE_SIZE)
    except BlockingIOError:
        return sock
    except BaseException:
        sock.close()
        raise


def _blocked(types: Sequence[int], words: int) -> bytes:
    """Returns the mask of all types of ICMP but some, for ICMP_FILTER and ICMPV6_FILTER."""
    mask = [0xFFFFFFFF] * words
    for kind in types:
        mask[kind // 32] &= ~(1 << kind % 32)
    return struct.pack(f"={words}I", *mask)


def _overflows(sock: socket.socket) -> int:
    try:
        return int(MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, MEMINFO.size))[-1])
    except (OSError, struct.error):  # Linux before 4.12
        return 0
