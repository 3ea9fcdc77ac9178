"""NFLOG: packets that the firewall gives us, of two kinds, each in a group of its own.

Samples of what is relayed are signs that two peers talk through us: only their headers are needed,
so that a copy range of 128 octets keeps them short, and one that is lost only makes a shortcut
come later. Multicast that would leave by a tunnel comes whole, for we send it.

A netfilter netlink socket bound to one group (linux/netfilter/nfnetlink_log.h). The kernel's
default is to gather packets for up to a second; a queue threshold of 1 has each sent at once.
"""

import errno
import socket
import struct
from collections import Counter

import trio

from nhrpd_py.core.address import IPV4_SIZE, Address
from nhrpd_py.core.events import MulticastSeen, TrafficSeen
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.netlink.socket import (
    NETLINK_NETFILTER,
    NLM_F_ACK,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    READS_PER_WAKE,
    MalformedError,
    NetlinkError,
    NetlinkSocket,
    attribute,
    attributes,
    error_of,
    is_overrun,
    message,
    messages,
    open_netlink,
)

NFNL_SUBSYS_ULOG = 4
NFULNL_MSG_PACKET, NFULNL_MSG_CONFIG = NFNL_SUBSYS_ULOG << 8, NFNL_SUBSYS_ULOG << 8 | 1
NFULA_PACKET_HDR, NFULA_IFINDEX_INDEV, NFULA_IFINDEX_OUTDEV = 1, 4, 5
NFULA_HWADDR, NFULA_PAYLOAD = 8, 9
NFULA_CFG_CMD, NFULA_CFG_MODE, NFULA_CFG_TIMEOUT, NFULA_CFG_QTHRESH = 1, 2, 4, 5
NFULNL_CFG_CMD_BIND = 1
NFULNL_COPY_PACKET = 2

# struct nfgenmsg: family u8, version u8, resource id be16 (the group)
NFGENMSG = struct.Struct(">BBH")
# struct nfulnl_msg_config_mode: copy range be32, copy mode u8, pad u8
CONFIG_MODE = struct.Struct(">IBx")
BE32 = struct.Struct(">I")
HW_ADDRESS_AT = 4

SAMPLE_RANGE = 128
"""Octets of a sample."""
WHOLE_RANGE = 0xFFFF
"""As many octets of a packet as an attribute can hold."""
TIMEOUT_TICKS = 1
"""Hundredths of a second after which the kernel sends what it gathered; with a threshold of 1 it
gathers nothing.
"""
GATHER_S = 0.002
"""How long multicast gathers after some came: a stream is read many packets at a time, and the first
one of it, or a hello, does not wait.
"""
BUFFER_SIZE = 4 << 20
ANSWER_TIMEOUT_S = 5.0
ETHERTYPES = frozenset({0x0800, 0x86DD})


class NflogError(OSError):
    """The group cannot be read; the text names it."""


class Nflog:
    """Reads the packets of one group. Counters: packets, overruns, malformed, other_protocol, and
    overload for those that found the inbox full."""

    def __init__(self, inbox: Inbox, *, whole: bool = False) -> None:
        """`whole`: the group's packets are multicast to replicate; else they are samples."""
        self._inbox = inbox
        self._whole = whole
        self.counters: Counter[str] = Counter()

    async def run(
        self, group: int, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Binds the group, reports that it started, and offers samples until cancelled.

        Raises NflogError.
        """
        try:
            sock = open_netlink(NETLINK_NETFILTER, receive_size=BUFFER_SIZE)
        except OSError as error:
            raise _refusal(group, error) from error
        try:
            await self.run_over(sock, group, task_status)
        except NflogError:
            raise
        except (OSError, RuntimeError) as error:
            raise NflogError(
                getattr(error, "errno", None), f"NFLOG group {group}: {error}"
            ) from error

    async def run_over(
        self,
        sock: NetlinkSocket,
        group: int,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Does what `run` does over a socket that is given, and closes it."""
        try:
            copied = WHOLE_RANGE if self._whole else SAMPLE_RANGE
            for sequence, payload in enumerate(configuration(group, copied), start=1):
                await self._configure(sock, group, sequence, payload)
            task_status.started()
            while True:
                await sock.wait()
                packets = self._read(sock)
                if not self._inbox.offer(packets):
                    self.counters["overload"] += len(packets)
                if self._whole and packets:
                    await trio.sleep(GATHER_S)
                else:
                    await trio.lowlevel.checkpoint()
        finally:
            sock.close()

    async def _configure(
        self, sock: NetlinkSocket, group: int, sequence: int, payload: bytes
    ) -> None:
        try:
            with trio.fail_after(ANSWER_TIMEOUT_S):
                flags = NLM_F_REQUEST | NLM_F_ACK
                await sock.send(message(NFULNL_MSG_CONFIG, flags, payload, sequence))
                code, detail = await self._answer(sock, sequence)
        except trio.TooSlowError:
            code, detail = errno.ETIMEDOUT, ""
        except OSError as error:
            raise _refusal(group, error) from error
        if code:
            raise _refusal(group, NetlinkError(code, "the kernel says", detail))

    async def _answer(self, sock: NetlinkSocket, sequence: int) -> tuple[int, str]:
        while True:
            await sock.wait()
            datagram = sock.read()
            for kind, flags, answered, _port, payload in messages(datagram or memoryview(b"")):
                if kind == NLMSG_ERROR and answered == sequence:
                    code, _request, detail = error_of(flags, payload)
                    return code, detail

    def _read(self, sock: NetlinkSocket) -> list[TrafficSeen | MulticastSeen]:
        seen: list[TrafficSeen | MulticastSeen] = []
        for _ in range(READS_PER_WAKE):
            try:
                datagram = sock.read()
                if datagram is None:
                    break
                for kind, _flags, _sequence, _port, payload in messages(datagram):
                    sample = self._sample(payload) if kind == NFULNL_MSG_PACKET else None
                    if sample is not None:
                        seen.append(sample)
            except MalformedError:
                self.counters["malformed"] += 1
            except OSError as error:
                if not is_overrun(error):
                    raise
                self.counters["overruns"] += 1
        self.counters["packets"] += len(seen)
        return seen

    def _sample(self, payload: memoryview) -> TrafficSeen | MulticastSeen | None:
        found = attributes(payload, NFGENMSG.size)
        head = found.get(NFULA_PACKET_HDR)
        data = found.get(NFULA_PAYLOAD)
        # struct nfulnl_msg_packet_hdr: protocol be16, hook u8, pad. A bridge's group carries ARP
        # too.
        if head is None or len(head) < 2 or data is None:  # noqa: PLR2004
            raise MalformedError("a sample without packet")
        if int.from_bytes(head[:2]) not in ETHERTYPES:
            self.counters["other_protocol"] += 1
            return None
        entered = _ifindex(found.get(NFULA_IFINDEX_INDEV))
        leaves = _ifindex(found.get(NFULA_IFINDEX_OUTDEV))
        if self._whole:
            nbma_source = _outer_source(found.get(NFULA_HWADDR))
            return MulticastSeen(entered, leaves, nbma_source, bytes(data))
        return TrafficSeen(entered, leaves, bytes(data))


def configuration(group: int, copied: int = SAMPLE_RANGE) -> tuple[bytes, ...]:
    """Returns the payloads of the configuration messages, in order: bind, then how many octets of
    each packet to copy, and when."""
    head = NFGENMSG.pack(socket.AF_UNSPEC, 0, group)
    return (
        head + attribute(NFULA_CFG_CMD, bytes((NFULNL_CFG_CMD_BIND,))),
        head
        + attribute(NFULA_CFG_MODE, CONFIG_MODE.pack(copied, NFULNL_COPY_PACKET))
        + attribute(NFULA_CFG_TIMEOUT, BE32.pack(TIMEOUT_TICKS))
        + attribute(NFULA_CFG_QTHRESH, BE32.pack(1)),
    )


def _refusal(group: int, error: OSError) -> NflogError:
    reasons = {
        errno.EBUSY: "it is bound already",
        errno.EPERM: "another program has bound it, or CAP_NET_ADMIN is missing",
        errno.EPROTONOSUPPORT: "the kernel has no nfnetlink",
        errno.EINVAL: "the kernel has no nfnetlink_log",
        errno.EOPNOTSUPP: "the kernel has no nfnetlink_log",
    }
    reason = reasons.get(error.errno or 0, error.strerror or str(error))
    return NflogError(error.errno, f"NFLOG group {group} cannot be bound: {reason}")


def _ifindex(value: memoryview | None) -> int:
    return BE32.unpack(value)[0] if value is not None and len(value) == BE32.size else 0


def _outer_source(value: memoryview | None) -> Address:
    """Returns the outer source of a packet that came out of a tunnel; empty of any other one.

    struct nfulnl_msg_packet_hw: length be16, pad u16, address[8]. Of a GRE netdev the link-layer
    address is the outer one; that of IPv6 has no room in it.
    """
    if value is None or len(value) < HW_ADDRESS_AT + IPV4_SIZE:
        return b""
    if int.from_bytes(value[:2]) != IPV4_SIZE:
        return b""
    return bytes(value[HW_ADDRESS_AT : HW_ADDRESS_AT + IPV4_SIZE])
