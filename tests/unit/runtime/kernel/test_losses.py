"""The kernel's counters of lost packets, on their way to the engine."""

import errno
import struct

import trio

from nhrpd_py.core.effects import CloseInterface
from nhrpd_py.core.events import TunnelCounted
from nhrpd_py.runtime.kernel.losses import INTERVAL_S
from nhrpd_py.runtime.netlink.socket import attribute, message
from nhrpd_py.runtime.netlink.statistics import NAMES, RTM_GETSTATS
from tests.unit.runtime.kernel.kernel_world import GRE
from tests.unit.runtime.netlink_peer import an_error

RTM_NEWSTATS = 92


def counters(**values):
    """The payload of an RTM_NEWSTATS; the kernel has more counters than we read."""
    numbers = [values.get(name, 0) for name in NAMES] + [0] * 6
    return struct.pack("=B3xII", 0, GRE, 1) + attribute(1, struct.pack("=25Q", *numbers))


def answers(*payloads):
    """Answers each request with one payload, then acknowledges it."""
    waiting = list(payloads)

    def answer(sequence):
        found = [waiting.pop(0)] if waiting else []
        request = message(RTM_GETSTATS, 0, b"", sequence)
        return [message(RTM_NEWSTATS, 0, each, sequence) for each in found] + [
            an_error(0, request, sequence)
        ]

    return answer


def counted(world):
    return [each for each in world.events if isinstance(each, TunnelCounted)]


async def test_counters_of_an_open_tunnel_are_reported_every_ten_seconds(world, autojump_clock):
    world.peer.scripts[RTM_GETSTATS] = answers(
        counters(collisions=7, tx_carrier_errors=3, rx_fifo_errors=2, rx_bytes=1 << 40),
        counters()[:12] + attribute(1, b"short"),
        struct.pack("=B3xII", 0, GRE, 1),
    )
    await world.open()
    await trio.sleep(INTERVAL_S * 3.5)
    (event,) = counted(world)
    assert event.ifindex == GRE
    assert {name: value for name, value in event.lost if value} == {
        "tx_carrier_errors": 3,
        "collisions": 7,
        "rx_fifo_errors": 2,
    }
    assert world.kernel.counters["malformed"] == 1
    world.kernel.close_interface(CloseInterface(GRE))
    asked = world.peer.requests.count(RTM_GETSTATS)
    await trio.sleep(INTERVAL_S * 3)
    assert world.peer.requests.count(RTM_GETSTATS) == asked


async def test_a_kernel_that_does_not_tell_is_asked_on(world, autojump_clock):
    world.peer.refuse[RTM_GETSTATS] = errno.EOPNOTSUPP
    await world.open()
    await trio.sleep(INTERVAL_S * 2.5)
    assert world.kernel.counters["statistics_failed"] == 2
    assert counted(world) == []
