"""What the kernel's notifications change, and what is done where some were lost."""

import errno

import pytest
import trio
import trio.testing

from nhrpd_py.core.address import parse_prefix
from nhrpd_py.core.effects import (
    DropNeighbor,
    SetRoute,
)
from nhrpd_py.core.events import (
    KernelRefused,
    LinkChanged,
    LinkGone,
    NeighborSolicited,
    RouteAdded,
    RouteRemoved,
)
from nhrpd_py.runtime.kernel.store import ADOPTION_S
from nhrpd_py.runtime.netlink import neighbor, rtnl
from nhrpd_py.runtime.netlink.socket import message
from tests.unit.runtime.kernel.kernel_world import (
    GRE,
    LAN,
    NBMA,
    OTHER,
    PEER,
    a_link,
    a_neighbor,
    a_route,
)
from tests.unit.runtime.netlink_peer import a_done, an_error


async def test_tables_are_told_before_it_reports_its_start(world, autojump_clock):
    assert any(isinstance(event, LinkChanged) for event in world.events)


async def test_the_echo_of_our_own_delete_is_no_drift(world, autojump_clock):
    await world.open()
    await trio.sleep(ADOPTION_S + 1)
    audits = world.kernel.counters["audits"]
    world.kernel.drop_neighbor(DropNeighbor(GRE, PEER))
    await world.kernel.settle(1)
    world.set(PEER)
    world.tell(neighbor.RTM_DELNEIGH, a_neighbor(PEER))
    await trio.sleep(1)
    assert world.kernel.counters["audits"] == audits


async def test_a_link_that_comes_back_gets_everything_again(world, autojump_clock):
    await world.open()
    world.set()
    await world.kernel.settle(1)
    world.changes()
    world.tell(rtnl.RTM_NEWLINK, a_link(up=False))
    await trio.testing.wait_all_tasks_blocked()
    world.set(OTHER)
    await trio.testing.wait_all_tasks_blocked()
    assert world.changes() == []
    world.tell(rtnl.RTM_NEWLINK, a_link())
    await trio.testing.wait_all_tasks_blocked()
    assert [kind for kind, _payload in world.changes()] == [neighbor.RTM_NEWNEIGH] * 2


async def test_noarp_set_by_somebody_else_is_cleared_again(world, autojump_clock):
    await world.open()
    asked = world.peer.requests.count(rtnl.RTM_SETLINK)
    world.tell(rtnl.RTM_NEWLINK, a_link(noarp=True))
    await trio.testing.wait_all_tasks_blocked()
    assert world.peer.requests.count(rtnl.RTM_SETLINK) > asked
    assert world.kernel.drift["noarp"] == 1


async def test_routes_of_others_are_respected_until_they_go(world, autojump_clock):
    theirs = a_route(LAN, ifindex=3, protocol=4)
    world.tell(rtnl.RTM_NEWROUTE, theirs)
    await world.open()
    world.kernel.set_route(SetRoute(LAN, GRE, PEER))
    await trio.testing.wait_all_tasks_blocked()
    assert world.changes() == []
    error = "protocol 4 has a route of metric 10 there"
    assert KernelRefused(GRE, f"route {LAN}", error) in world.events
    world.tell(rtnl.RTM_DELROUTE, theirs)
    await trio.testing.wait_all_tasks_blocked()
    assert world.changes() == [(rtnl.RTM_NEWROUTE, a_route(LAN, gateway=PEER))]


async def test_solicitations_are_told(world, autojump_clock):
    world.tell(neighbor.RTM_GETNEIGH, a_neighbor(PEER, b"", protocol=0))
    world.tell(neighbor.RTM_GETNEIGH, a_neighbor(PEER, NBMA))
    await trio.testing.wait_all_tasks_blocked()
    assert world.events[-2:] == [
        NeighborSolicited(GRE, PEER, b""),
        NeighborSolicited(GRE, PEER, NBMA),
    ]


@pytest.mark.parametrize("fault", ["overrun", "half a frame"])
async def test_after_a_loss_only_differences_are_told(world, autojump_clock, fault):
    kept, lost = parse_prefix("10.1.0.0/16"), parse_prefix("10.2.0.0/16")
    for prefix in (kept, lost):
        world.tell(rtnl.RTM_NEWROUTE, a_route(prefix, protocol=3))
    await trio.testing.wait_all_tasks_blocked()
    assert len([event for event in world.events if isinstance(event, RouteAdded)]) == 2
    world.events.clear()
    new = parse_prefix("10.3.0.0/16")
    world.peer.tables[rtnl.RTM_GETROUTE] = [
        a_route(kept, protocol=3),
        a_route(new, protocol=3),
    ]
    world.peer.tables[rtnl.RTM_GETLINK] = [a_link(), a_link(ifindex=6)]
    if fault == "overrun":
        world.notifications.faults.append(OSError(errno.ENOBUFS, "overrun"))
        world.speak.send(message(99, 0, b""))
    else:
        world.speak.send(message(rtnl.RTM_NEWLINK, 0, a_link())[:-9])
    await trio.sleep(1)
    kinds = [type(event) for event in world.events]
    assert kinds == [LinkChanged, RouteRemoved, RouteAdded]
    assert world.events[1].route.prefix == lost
    assert world.events[2].route.prefix == new
    counted = "overruns" if fault == "overrun" else "malformed"
    assert world.kernel.counters[counted] == 1
    assert world.kernel.counters["audits"] == 1


async def test_a_resync_that_fails_is_tried_again(world, autojump_clock):
    answers = iter([False, True])

    def script(sequence):
        good = next(answers)
        request = message(rtnl.RTM_GETLINK, 0, b"", sequence)
        return [a_done(sequence)] if good else [an_error(errno.EIO, request, sequence)]

    world.peer.scripts[rtnl.RTM_GETLINK] = script
    world.notifications.faults.append(OSError(errno.ENOBUFS, "overrun"))
    world.speak.send(message(99, 0, b""))
    await trio.sleep(5)
    assert world.kernel.counters["resyncs_failed"] == 1
    assert LinkGone(GRE) in world.events


async def test_each_loss_on_the_request_socket_is_made_up_for(world, autojump_clock):
    await world.open()
    await trio.sleep(ADOPTION_S + 1)
    for _ in range(2):
        audits = world.kernel.counters["audits"]
        world.requests.faults.append(OSError(errno.ENOBUFS, "overrun"))
        world.set()  # what is answered wakes the reader
        world.peer.refuse[neighbor.RTM_NEWNEIGH] = errno.EINVAL
        await trio.sleep(1)
        assert world.kernel.counters["audits"] == audits + 1
