import errno
import struct

import pytest
import trio

from nhrpd_py.core.events import Event, MulticastSeen, TrafficSeen
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.netlink.nflog import (
    NFULNL_MSG_CONFIG,
    NFULNL_MSG_PACKET,
    Nflog,
    NflogError,
    configuration,
)
from nhrpd_py.runtime.netlink.socket import attribute, message
from tests.unit.runtime.netlink_peer import ScriptedKernel, a_pair


def a_sample(data=b"E...", ethertype=0x0800, in_ifindex=3, out_ifindex=4):
    return message(
        NFULNL_MSG_PACKET,
        0,
        b"\x02\x00\x00\x01"
        + attribute(1, struct.pack(">HBx", ethertype, 2))
        + (attribute(4, struct.pack(">I", in_ifindex)) if in_ifindex else b"")
        + attribute(5, struct.pack(">I", out_ifindex))
        + attribute(9, data),
    )


class World:
    def __init__(self):
        self.inbox = Inbox()
        self.socket, self.theirs = a_pair()
        self.peer = ScriptedKernel(self.theirs)
        self.nflog = Nflog(self.inbox)

    def close(self):
        self.theirs.close()


@pytest.fixture
async def world():
    world = World()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.peer.run)
        yield world
        nursery.cancel_scope.cancel()
    world.socket.close()
    world.close()


def test_the_group_is_bound_before_it_is_configured():
    bind, rest = configuration(7)
    assert bind == bytes.fromhex("000000070500010001000000")
    assert rest == bytes.fromhex("000000070a000200000000800200000008000400000000010800050000000001")


def test_of_multicast_the_whole_packet_is_copied():
    assert configuration(2, 0xFFFF)[1].startswith(bytes.fromhex("000000020a0002000000ffff02000000"))


def a_multicast(hardware, data=b"E" * 1400, in_ifindex=4):
    return message(
        NFULNL_MSG_PACKET,
        0,
        b"\x02\x00\x00\x02"
        + attribute(1, struct.pack(">HBx", 0x0800, 2))
        + (attribute(4, struct.pack(">I", in_ifindex)) if in_ifindex else b"")
        + attribute(5, struct.pack(">I", 4))
        + (attribute(8, hardware) if hardware is not None else b"")
        + attribute(9, data),
    )


async def test_multicast_comes_whole_with_the_outer_address_that_it_came_from(world, nursery):
    nflog = Nflog(world.inbox, whole=True)
    await nursery.start(nflog.run_over, world.socket, 2)
    world.theirs.send(a_multicast(b"\0\4\0\0\xc0\0\2\7\0\0\0\0"))
    world.theirs.send(a_multicast(b"\0\6\0\0\2\0\0\0\0\1\0\0"))  # it came by Ethernet
    world.theirs.send(a_multicast(b"\0\4\0\0\xc0"))
    world.theirs.send(a_multicast(None, in_ifindex=0))
    batch: list[Event] = []
    with trio.fail_after(1):
        while len(batch) < 4:
            batch += await world.inbox.take()
    assert batch == [
        MulticastSeen(4, 4, bytes([192, 0, 2, 7]), b"E" * 1400),
        MulticastSeen(4, 4, b"", b"E" * 1400),
        MulticastSeen(4, 4, b"", b"E" * 1400),
        MulticastSeen(0, 4, b"", b"E" * 1400),
    ]
    nursery.cancel_scope.cancel()


async def test_a_stream_of_multicast_is_read_many_at_a_time(world, nursery):
    """The first of it does not wait; those that come meanwhile are one batch."""
    nflog = Nflog(world.inbox, whole=True)
    await nursery.start(nflog.run_over, world.socket, 2)
    world.theirs.send(a_multicast(None))
    with trio.fail_after(5):
        assert len(await world.inbox.take()) == 1
        for _ in range(10):
            world.theirs.send(a_multicast(None))  # within the pause, for nothing here waits
        assert len(await world.inbox.take()) == 10
    nursery.cancel_scope.cancel()


async def test_packets_that_find_the_inbox_full_are_counted(world, nursery):
    full = Inbox(limit=1)
    full.offer([TrafficSeen(0, 0, b"")])
    nflog = Nflog(full, whole=True)
    await nursery.start(nflog.run_over, world.socket, 2)
    world.theirs.send(a_multicast(None))
    with trio.fail_after(1):
        while not nflog.counters["overload"]:  # noqa: ASYNC110 (it signals nothing)
            await trio.sleep(0.001)
    assert nflog.counters == {"packets": 1, "overload": 1}
    nursery.cancel_scope.cancel()


async def test_overruns_are_counted(world, nursery):
    await nursery.start(world.nflog.run_over, world.socket, 1)
    world.socket.faults.append(OSError(errno.ENOBUFS, "overrun"))
    world.theirs.send(a_sample())
    with trio.fail_after(1):
        assert await world.inbox.take() == [TrafficSeen(3, 4, b"E...")]
    assert world.nflog.counters["overruns"] == 1
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.EPERM, "another program has bound it, or CAP_NET_ADMIN is missing"),
        (errno.EBUSY, "it is bound already"),
        (errno.EINVAL, "the kernel has no nfnetlink_log"),
    ],
)
async def test_a_refusal_names_the_group(world, code, reason):
    world.peer.refuse[NFULNL_MSG_CONFIG] = code
    with pytest.raises(NflogError) as caught:
        await world.nflog.run_over(world.socket, 1)
    assert caught.value.strerror == f"NFLOG group 1 cannot be bound: {reason}"


async def test_silence_is_a_refusal(world, autojump_clock):
    world.peer.scripts[NFULNL_MSG_CONFIG] = lambda _sequence: []
    with pytest.raises(NflogError, match="NFLOG group 1"):
        await world.nflog.run_over(world.socket, 1)
