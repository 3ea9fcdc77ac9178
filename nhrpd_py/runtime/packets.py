"""NHRP packets in and out of the tunnels: one AF_PACKET socket per open interface.

`SOCK_DGRAM` with the tunnel's own link-layer header parser yields the outer source address of each
packet (`sll_addr`), and takes the outer destination the same way. The system calls are made through
ctypes: `recvmmsg` empties a burst in one call and needs no interface name, while Python's
`recvfrom` looks the name up in the kernel for each packet (and `sendto` wants one, which a renamed
link no longer has).
"""

import ctypes
import errno
import os
import socket
import struct
from collections import Counter, defaultdict
from typing import NamedTuple

import trio

from nhrpd_py.core.address import IPV4_SIZE, IPV6_SIZE, Address
from nhrpd_py.core.events import PacketReceived
from nhrpd_py.packet.iana import ETHERTYPE_NHRP
from nhrpd_py.runtime.buffers import set_receive_buffer
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.mmsg import IoVector, Message
from nhrpd_py.runtime.sources import SourceLimiter, cost_of

BATCH = 64
"""Packets read in one go; then other tasks run."""
SLOT_SIZE = 16384
"""Octets for one packet; pages that no packet touches cost nothing."""
RECEIVE_BUFFER = 8 << 20
"""Octets of socket buffer: room for the registrations of some thousand spokes after a restart of
the hub.
"""
ERROR_PAUSE_S = 0.05

OVERSIZED = "oversized"
NO_NBMA_SOURCE = "no-nbma-source"
SOURCE_LIMITED = "source-limited"
RECEIVE_BUFFER_FULL = "receive-buffer-full"
OVERLOAD = "overload"
SEND_FAILED = "send-failed"
"""Reasons of drops that the engine never sees; the values are metric labels, as those of its own
`DropReason`. `source-limited`: its sender sent too much (see `sources`); `overload`: the inbox was
full; `send-failed`: the errno is in `counters` (EMSGSIZE where the MTU is too small).
"""

SOL_PACKET = 263
PACKET_STATISTICS, PACKET_IGNORE_OUTGOING = 6, 23
PACKET_OUTGOING = 4
MSG_TRUNC = 0x20
# struct sockaddr_ll: family u16, protocol be16, ifindex s32, hatype u16, pkttype u8, halen u8,
# address
SOCKADDR_LL = struct.Struct("=H2siHBB")
SOCKADDR_SIZE = 32
"""12 octets and an address of up to 20: struct sockaddr_ll names 8, IPv6 tunnels have 16."""
PROTOCOL = ETHERTYPE_NHRP.to_bytes(2)


_libc = ctypes.CDLL(None, use_errno=True)
_recvmmsg = _libc.recvmmsg
_sendto = _libc.sendto
_sendto.restype = ctypes.c_ssize_t
_sendto.argtypes = (
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_uint32,
)


class _Batch:
    """Holds the buffers of `recvmmsg`, which all sockets share: packets are copied out before the
    next read."""

    def __init__(self) -> None:
        self._limiter = SourceLimiter()
        self._data = bytearray(BATCH * SLOT_SIZE)
        self._names = bytearray(BATCH * SOCKADDR_SIZE)
        data = ctypes.addressof(ctypes.c_char.from_buffer(self._data))
        names = ctypes.addressof(ctypes.c_char.from_buffer(self._names))
        self._vectors = (IoVector * BATCH)()
        self._messages = (Message * BATCH)()
        for slot in range(BATCH):
            self._vectors[slot].base = data + slot * SLOT_SIZE
            self._vectors[slot].length = SLOT_SIZE
            header = self._messages[slot].header
            header.name = names + slot * SOCKADDR_SIZE
            header.name_length = SOCKADDR_SIZE
            header.vector = ctypes.pointer(self._vectors[slot])
            header.vector_length = 1

    def read(
        self, sock: socket.socket, ifindex: int, drops: Counter[str], now: float
    ) -> tuple[list[PacketReceived], int]:
        """Reads the waiting packets, and counts by reason those that are unusable or too many. Returns
        the packets, and how many slots were filled. Raises OSError.
        """
        admits = self._limiter.admits
        filled = _recvmmsg(sock.fileno(), self._messages, BATCH, socket.MSG_DONTWAIT, None)
        if filled < 0:
            code = ctypes.get_errno()
            if code in (errno.EAGAIN, errno.EINTR):
                return [], 0
            raise OSError(code, os.strerror(code))
        packets = []
        for slot in range(filled):
            message = self._messages[slot]
            at = slot * SOCKADDR_SIZE
            _family, _protocol, _index, _hatype, kind, size = SOCKADDR_LL.unpack_from(
                self._names, at
            )
            message.header.name_length = SOCKADDR_SIZE
            if kind == PACKET_OUTGOING:
                continue
            if message.header.flags & MSG_TRUNC:
                drops[OVERSIZED] += 1
            elif size not in (IPV4_SIZE, IPV6_SIZE):
                drops[NO_NBMA_SOURCE] += 1
            else:
                at += SOCKADDR_LL.size
                start, length = slot * SLOT_SIZE, message.length
                source = bytes(self._names[at : at + size])
                if admits(source, cost_of(self._data, start, length), now):
                    data = bytes(self._data[start : start + length])
                    packets.append(PacketReceived(ifindex, source, data))
                else:
                    drops[SOURCE_LIMITED] += 1
        return packets, filled


class _Tunnel(NamedTuple):
    """The socket of an open interface, with the name that the interface had when it was opened."""

    name: str
    socket: socket.socket


class PacketSockets:
    """Sends and receives NHRP packets on all open interfaces, by ifindex.

    Counters: received, sent, and `receive_`/`send_` with an errno name. `drops` counts packets that
    were lost on their way to the engine or from it, by interface and reason.
    """

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._tunnels: dict[int, _Tunnel] = {}
        self._batch = _Batch()
        self._nursery: trio.Nursery | None = None
        self.counters: Counter[str] = Counter()
        self.drops: defaultdict[str, Counter[str]] = defaultdict(Counter)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Receives on all open interfaces until cancelled; they may be opened and closed
        meanwhile."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for ifindex, tunnel in self._tunnels.items():
                    nursery.start_soon(self._receive, ifindex, tunnel)
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None
            for ifindex in list(self._tunnels):
                self.close(ifindex)

    def open(self, ifindex: int) -> None:
        """Starts to receive from an interface, anew if it was open. Raises OSError."""
        self.close(ifindex)
        name = socket.if_indextoname(ifindex)
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
        try:
            set_receive_buffer(sock, RECEIVE_BUFFER)
            try:
                sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            except OSError:  # Linux before 4.20: the reader skips them
                self.counters["outgoing_not_ignored"] += 1
            sock.bind((name, ETHERTYPE_NHRP))
        except BaseException:
            sock.close()
            raise
        tunnel = self._tunnels[ifindex] = _Tunnel(name, sock)
        if self._nursery is not None:
            self._nursery.start_soon(self._receive, ifindex, tunnel)

    def close(self, ifindex: int) -> None:
        tunnel = self._tunnels.pop(ifindex, None)
        if tunnel is not None:
            self._count_kernel_drops(tunnel)
            trio.lowlevel.notify_closing(tunnel.socket)  # ends its task
            tunnel.socket.close()

    def send(self, ifindex: int, nbma: Address, data: bytes) -> None:
        """Sends a packet to an outer destination, or counts the failure; never waits."""
        tunnel = self._tunnels.get(ifindex)
        if tunnel is None:
            self.counters["send_closed"] += 1
            return
        address = SOCKADDR_LL.pack(socket.AF_PACKET, PROTOCOL, ifindex, 0, 0, len(nbma)) + nbma
        address = address.ljust(20, b"\0")  # the kernel requires a whole struct sockaddr_ll
        descriptor = tunnel.socket.fileno()
        sent = _sendto(descriptor, data, len(data), socket.MSG_DONTWAIT, address, len(address))
        if sent < 0:
            code = ctypes.get_errno()
            self.counters[f"send_{errno.errorcode.get(code, code)}"] += 1
            self.drops[tunnel.name][SEND_FAILED] += 1
            return
        self.counters["sent"] += 1

    async def _receive(self, ifindex: int, tunnel: _Tunnel) -> None:
        drops = self.drops[tunnel.name]
        while self._tunnels.get(ifindex) is tunnel:
            try:
                await trio.lowlevel.wait_readable(tunnel.socket)
                now, limited = trio.current_time(), drops[SOURCE_LIMITED]
                packets, filled = self._batch.read(tunnel.socket, ifindex, drops, now)
            except trio.ClosedResourceError:
                return
            except OSError as error:
                # ENETDOWN when the link goes down: the socket works again when it is back
                self.counters[f"receive_{errno.errorcode.get(error.errno or 0, error.errno)}"] += 1
                await trio.sleep(ERROR_PAUSE_S)
                continue
            self.counters["received"] += len(packets) + drops[SOURCE_LIMITED] - limited
            if not self._inbox.offer(packets):
                drops[OVERLOAD] += len(packets)
            if filled == BATCH:
                self._count_kernel_drops(tunnel)
            await trio.lowlevel.checkpoint()

    def _count_kernel_drops(self, tunnel: _Tunnel) -> None:
        """Adds the kernel's drops since the last call (struct tpacket_stats: packets, drops)."""
        try:
            raw = tunnel.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        except OSError:
            return
        dropped = struct.unpack("=II", raw)[1]
        if dropped:
            self.drops[tunnel.name][RECEIVE_BUFFER_FULL] += dropped
