import errno
import struct

import pytest
import trio

from nhrpd_py.core.events import Event, TrafficSeen
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


async def test_samples_of_one_wake_are_one_batch(world, nursery):
    await nursery.start(world.nflog.run_over, world.socket, 1)
    world.theirs.send(a_sample() + a_sample(b"`...", 0x86DD, in_ifindex=0))
    world.theirs.send(a_sample(b"arp", 0x0806))
    world.theirs.send(message(NFULNL_MSG_PACKET, 0, b"\0\0\0\0"))
    world.theirs.send(a_sample(b"last"))
    batch: list[Event] = []
    with trio.fail_after(1):
        while len(batch) < 3:
            batch += await world.inbox.take()
    assert batch == [
        TrafficSeen(3, 4, b"E..."),
        TrafficSeen(0, 4, b"`..."),
        TrafficSeen(3, 4, b"last"),
    ]
    assert world.nflog.counters == {"packets": 3, "other_protocol": 1, "malformed": 1}
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
