"""How changes are written: batches, refusals, withdrawals."""

import errno
import tracemalloc

import pytest
import trio
import trio.testing

from nhrpd_py.core.address import host_prefix, parse_address
from nhrpd_py.core.config import RoutesConfig
from nhrpd_py.core.effects import (
    CloseInterface,
    DropNeighbor,
    DropRoute,
    NeighborState,
    OpenInterface,
    SetNeighbor,
    SetRoute,
)
from nhrpd_py.core.events import (
    KernelRefused,
)
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.kernel.found import FoundSettings
from nhrpd_py.runtime.kernel.store import KernelStore
from nhrpd_py.runtime.netlink import neighbor, rtnl
from nhrpd_py.runtime.netlink.requests import DUMP_READS_PER_WAKE
from nhrpd_py.runtime.netlink.socket import message
from tests.unit.runtime.kernel.kernel_world import (
    GRE,
    LAN,
    METRIC,
    NBMA,
    NBMA_2,
    OTHER,
    OURS,
    PEER,
    World,
    a_neighbor,
    a_route,
    body,
)
from tests.unit.runtime.netlink_peer import an_error


async def test_changes_of_one_moment_are_one_datagram_and_one_message_per_object(
    world, autojump_clock
):
    await world.open()
    writes = world.kernel.counters["writes"]
    world.set(PEER, NBMA)
    world.set(PEER, NBMA_2)
    world.set(OTHER, NBMA, NeighborState.STALE)
    world.kernel.set_route(SetRoute(LAN, GRE, PEER))
    world.kernel.set_route(SetRoute(host_prefix(PEER), GRE))
    world.kernel.drop_route(DropRoute(host_prefix(PEER), GRE))
    assert await world.kernel.settle(1)
    assert world.kernel.counters["writes"] == writes + 1
    assert world.changes() == sorted(
        [
            (neighbor.RTM_NEWNEIGH, a_neighbor(PEER, NBMA_2)),
            (neighbor.RTM_NEWNEIGH, a_neighbor(OTHER, NBMA, neighbor.NUD_STALE)),
            (rtnl.RTM_NEWROUTE, a_route(LAN, gateway=PEER)),
            (rtnl.RTM_DELROUTE, body(rtnl.drop_route(host_prefix(PEER), GRE, METRIC, OURS))),
        ]
    )


async def test_nothing_of_ours_stays_after_a_withdrawal(world, autojump_clock):
    theirs = parse_address("10.255.0.9")
    elsewhere = host_prefix(theirs)
    await world.open()
    world.set()
    await world.kernel.settle(1)
    tables = world.peer.tables
    tables[neighbor.RTM_GETNEIGH] = [a_neighbor(), a_neighbor(theirs, protocol=4)]
    tables[rtnl.RTM_GETROUTE] = [a_route(LAN, metric=77), a_route(elsewhere, ifindex=6)]
    world.changes()
    world.kernel.close_interface(CloseInterface(GRE, withdrawn=True))
    await world.kernel.settle(1)
    assert world.changes() == sorted(
        [
            (rtnl.RTM_DELROUTE, body(rtnl.drop_route(LAN, GRE, 77, OURS))),
            (neighbor.RTM_DELNEIGH, body(neighbor.drop_neighbor(GRE, PEER))),
        ]
    )


async def test_a_withdrawal_that_cannot_be_is_tried_again(world, autojump_clock):
    await world.open()
    world.peer.tables[neighbor.RTM_GETNEIGH] = [a_neighbor()]
    refusal = message(neighbor.RTM_GETNEIGH, 0, b"")
    world.peer.scripts[neighbor.RTM_GETNEIGH] = lambda sequence: [
        an_error(errno.ENOMEM, refusal, sequence)
    ]
    world.kernel.close_interface(CloseInterface(GRE, withdrawn=True))
    assert not await world.kernel.settle(0.5)
    assert world.kernel.counters["clears_failed"] == 1
    assert world.changes() == []
    world.peer.scripts.clear()
    assert await world.kernel.settle(5)
    deletion = body(neighbor.drop_neighbor(GRE, PEER))
    assert world.changes() == [(neighbor.RTM_DELNEIGH, deletion)]


async def test_what_was_opened_again_is_not_cleared(world, autojump_clock):
    await world.open()
    world.peer.tables[neighbor.RTM_GETNEIGH] = [a_neighbor()]
    world.kernel.close_interface(CloseInterface(GRE, withdrawn=True))
    await world.open()
    await world.kernel.settle(1)
    assert world.changes() == []


async def test_refused_changes_name_their_object_but_lost_deletes_do_not_count(
    world, autojump_clock
):
    await world.open()
    world.peer.refuse[neighbor.RTM_NEWNEIGH] = errno.EINVAL
    world.peer.refuse[neighbor.RTM_DELNEIGH] = errno.ENOENT
    world.set()
    world.kernel.drop_neighbor(DropNeighbor(GRE, OTHER))
    await world.kernel.settle(1)
    await trio.testing.wait_all_tasks_blocked()
    refused = [event for event in world.events if isinstance(event, KernelRefused)]
    assert refused == [KernelRefused(GRE, "neighbour 10.255.0.2", "Invalid argument")]
    assert world.kernel.counters["refused_EINVAL"] == 1


@pytest.mark.parametrize(("faults", "count"), [("faults", DUMP_READS_PER_WAKE), ("send_faults", 2)])
async def test_lost_buffers_cost_a_clean_stop_nothing_but_time(
    world, autojump_clock, faults, count
):
    await world.open()
    world.set()
    assert await world.kernel.settle(1)
    world.changes()
    lost = OSError(errno.ENOBUFS, "No buffer space available")
    getattr(world.requests, faults)[:] = [lost] * count
    world.set(OTHER)
    assert await world.kernel.settle(5)
    await trio.sleep(5)
    assert (neighbor.RTM_NEWNEIGH, a_neighbor(OTHER)) in world.changes()


async def test_settle_gives_up_in_time():
    world = World()
    world.kernel.open_interface(OpenInterface(GRE, "gre1"))
    world.set()
    assert not await world.kernel.settle(0.01)
    world.requests.close()
    world.notifications.close()
    world.close()


def test_ten_thousand_spokes_are_lean():
    found = FoundSettings({}, trio.lowlevel.checkpoint)
    kernel = KernelStore(Inbox(), RoutesConfig(), lambda _notice: None, found)
    kernel.open_interface(OpenInterface(GRE, "gre1"))
    wanted = kernel._wanted[GRE]
    addresses = [bytes((10, 1, n >> 8, n & 255)) for n in range(10_000)]
    prefixes = [host_prefix(address) for address in addresses]  # the engine has these anyway
    tracemalloc.start()
    for address, prefix in zip(addresses, prefixes, strict=True):
        kernel.set_neighbor(SetNeighbor(GRE, address, NBMA))
        kernel.set_route(SetRoute(prefix, GRE))
    wanted.ready = True
    while wanted.dirty:
        wanted.pack_neighbors(32768, OURS)
        wanted.pack_routes(32768, METRIC, OURS)
    size, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / 10_000 < 400
