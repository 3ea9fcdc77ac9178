"""Netlink sockets under trio, and the framing that all netlink families share.

A netlink datagram holds whole messages (`struct nlmsghdr`), a message holds attributes (`struct
nlattr`), both padded to 4 octets. `NetlinkSocket` reads datagrams until it would block; `messages`
and `attributes` iterate over them. Nothing here depends on the meaning of a message; malformed ones
raise `MalformedError` and nothing else.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress

import trio

from nhrpd_py.runtime.bpf import BpfInstruction, attach
from nhrpd_py.runtime.buffers import set_receive_buffer

NETLINK_ROUTE = 0
NETLINK_XFRM = 6
NETLINK_NETFILTER = 12

NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 1, 2, 3, 4
NLM_F_REQUEST, NLM_F_MULTI, NLM_F_ACK, NLM_F_DUMP_INTR = 0x01, 0x02, 0x04, 0x10
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_DUMP = 0x100, 0x200, 0x400, 0x300
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200

SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP, NETLINK_EXT_ACK = 1, 11

# struct nlmsghdr: length u32, type u16, flags u16, sequence u32, port id u32
HEADER = struct.Struct("=IHHII")
# struct nlattr: length u16, type u16
ATTRIBUTE = struct.Struct("=HH")
U32 = struct.Struct("=I")
ERROR_CODE = struct.Struct("=i")
TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
NLA_F_NESTED = 0x8000
ATTR_ERROR_MESSAGE = 1  # NLMSGERR_ATTR_MSG

RECEIVE_SIZE = 65536
"""Octets of the receive buffer: the kernel makes dump datagrams of up to 32 KiB if they fit."""
READS_PER_WAKE = 64
"""Datagrams read in one go; then others may run."""


class NetlinkError(OSError):
    """The kernel refused a request; `strerror` names the request and has the kernel's own text."""

    def __init__(self, code: int, what: str, detail: str = "") -> None:
        super().__init__(code, f"{what}: {error_text(code, detail)}")


def error_text(code: int, detail: str) -> str:
    """Returns the text of an errno, with the kernel's own text where it gave one."""
    return f"{os.strerror(code)}: {detail}" if detail else os.strerror(code)


class MalformedError(ValueError):
    """A datagram that is not made of whole messages or attributes."""


Message = tuple[int, int, int, int, memoryview]
"""Type, flags, sequence, port id, payload."""


def messages(datagram: memoryview) -> Iterator[Message]:
    """Yields the messages of a datagram; the payloads are views into it, good until the next read."""
    offset, end = 0, len(datagram)
    while offset < end:
        if end - offset < HEADER.size:
            raise MalformedError(f"{end - offset} octets are no netlink header")
        length, kind, flags, sequence, port = HEADER.unpack_from(datagram, offset)
        if not HEADER.size <= length <= end - offset:
            raise MalformedError(f"a message of {length} octets in {end - offset}")
        yield kind, flags, sequence, port, datagram[offset + HEADER.size : offset + length]
        offset += (length + 3) & ~3


def attributes(data: memoryview, offset: int = 0) -> dict[int, memoryview]:
    """Returns the attributes behind a fixed part of `offset` octets, by type; of several of
    one type the last counts."""
    found: dict[int, memoryview] = {}
    end = len(data)
    while end - offset >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        if not ATTRIBUTE.size <= length <= end - offset:
            raise MalformedError(f"an attribute of {length} octets in {end - offset}")
        found[kind & TYPE_MASK] = data[offset + ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """Packs one attribute with its padding."""
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def nested(kind: int, *members: bytes) -> bytes:
    return attribute(kind | NLA_F_NESTED, b"".join(members))


def message(kind: int, flags: int, payload: bytes, sequence: int = 0) -> bytes:
    """Packs one message; the payload must be padded already."""
    return HEADER.pack(HEADER.size + len(payload), kind, flags, sequence, 0) + payload


def error_of(flags: int, payload: memoryview) -> tuple[int, memoryview, str]:
    """Reads an NLMSG_ERROR: errno (0: an acknowledgement), the request that it answers, the
    kernel's own text."""
    if len(payload) < ERROR_CODE.size + HEADER.size:
        raise MalformedError("a short error message")
    code = -ERROR_CODE.unpack_from(payload)[0]
    request = payload[ERROR_CODE.size :]
    length = (
        HEADER.size if flags & NLM_F_CAPPED else min(HEADER.unpack_from(request)[0], len(request))
    )
    detail = ""
    if flags & NLM_F_ACK_TLVS:
        words = attributes(request, (length + 3) & ~3).get(ATTR_ERROR_MESSAGE)
        detail = bytes(words).rstrip(b"\0").decode(errors="replace") if words is not None else ""
    return code, request[:length], detail


class NetlinkSocket:
    """A datagram socket of whole netlink messages; one reader, any number of writers."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._buffer = bytearray(RECEIVE_SIZE)
        self._view = memoryview(self._buffer)

    @property
    def port(self) -> int:
        """Returns our port id, by which the kernel marks notifications of our own changes."""
        name = self._socket.getsockname()
        return name[0] if isinstance(name, tuple) else 0

    async def send(self, data: bytes) -> None:
        """Sends one datagram. The kernel has carried it out when this returns: rtnetlink is
        synchronous.
        """
        while True:
            await trio.lowlevel.checkpoint_if_cancelled()
            try:
                self._socket.send(data)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)
                continue
            except InterruptedError:
                continue
            await trio.lowlevel.cancel_shielded_checkpoint()
            return

    def send_now(self, data: bytes) -> None:
        """Sends one datagram without waiting; raises OSError.

        Where the kernel answers within the system call, as it does in most families, the answer can
        be read at once.
        """
        while True:
            try:
                self._socket.send(data)
            except InterruptedError:
                continue
            return

    async def wait(self) -> None:
        """Waits until there is something to read."""
        await trio.lowlevel.wait_readable(self._socket)

    def read(self) -> memoryview | None:
        """Returns the next datagram of the kernel, a view that is good until the next read, or
        None.

        Raises EOFError when the peer is gone (only a scripted one can be) and OSError, above all
        ENOBUFS: the socket buffer was full, and some notifications are lost.
        """
        while True:
            try:
                size, source = self._socket.recvfrom_into(self._buffer)
            except (BlockingIOError, InterruptedError):
                return None
            if not size:
                raise EOFError
            if isinstance(source, tuple) and source[0] != 0:
                continue  # sent by another process that knows our port id, not by the kernel
            return self._view[:size]

    def join(self, group: int) -> None:
        """Joins a multicast group. Raises OSError, above all when the kernel does not have it."""
        self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def close(self) -> None:
        with suppress(OSError):
            trio.lowlevel.notify_closing(self._socket)
        self._socket.close()


def open_netlink(
    family: int, groups: Sequence[int] = (), receive_size: int = 1 << 20
) -> NetlinkSocket:
    """Opens a netlink socket that has joined the multicast groups. Raises OSError."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
    try:
        set_receive_buffer(sock, receive_size)
        with suppress(OSError):  # older kernels add no text of their own
            sock.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        sock.bind((0, 0))
        for group in groups:
            sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
    except BaseException:
        sock.close()
        raise
    return NetlinkSocket(sock)


def attach_filter(sock: NetlinkSocket, program: Sequence[BpfInstruction]) -> None:
    """Makes the kernel drop messages before it queues them."""
    attach(sock._socket, program)  # noqa: SLF001


def is_overrun(error: OSError) -> bool:
    return error.errno == errno.ENOBUFS
