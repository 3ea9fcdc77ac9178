"""The kernel store against a scripted kernel; tests/lab/test_kernel.py has the real one."""

import contextlib
import errno
import tracemalloc
from typing import Any

import pytest
import trio
import trio.testing

from nhrpd_py.core.address import host_prefix, parse_address, parse_prefix
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
    BindingFound,
    InterfaceRefused,
    KernelRefused,
    LinkChanged,
    LinkGone,
    NeighborSolicited,
    RouteAdded,
    RouteRemoved,
)
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.kernel import store as kernel_module
from nhrpd_py.runtime.kernel.store import ADOPTION_S, AUDIT_S, Kernel
from nhrpd_py.runtime.netlink import neighbor, rtnl
from nhrpd_py.runtime.netlink.socket import HEADER, attribute, message
from tests.unit.runtime.netlink_peer import ScriptedKernel, a_done, a_pair, an_error

GRE, OURS, METRIC = 5, 208, 10
PEER, OTHER = parse_address("10.255.0.2"), parse_address("10.255.0.3")
NBMA, NBMA_2 = parse_address("192.0.2.2"), parse_address("192.0.2.3")
LAN = parse_prefix("192.168.2.0/24")


def body(request):
    return request[HEADER.size :]


def a_neighbor(address=PEER, nbma=NBMA, state=neighbor.NUD_PERMANENT, protocol=OURS):
    return body(neighbor.set_neighbor(GRE, address, nbma, state, protocol))


def a_route(prefix, ifindex=GRE, gateway=b"", metric=METRIC, protocol=OURS):
    return body(rtnl.set_route(prefix, ifindex, gateway, metric, protocol))


def a_link(*, up=True, ifindex=GRE, noarp=False):
    flags = (rtnl.IFF_UP if up else 0) | (rtnl.IFF_NOARP if noarp else 0)
    return rtnl.IFINFOMSG.pack(0, 778, ifindex, flags, 0) + attribute(3, b"gre1\0")


class World:
    def __init__(self):
        self.inbox = Inbox()
        self.requests, theirs = a_pair()
        self.news, self.speak = a_pair()
        self.peer = ScriptedKernel(theirs)
        self.peer.tables[rtnl.RTM_GETLINK].append(a_link())
        self.notices: list[Any] = []
        routes = RoutesConfig(protocol=OURS, metric=METRIC)
        self.kernel = Kernel(self.inbox, routes, self.notices.append)
        self.events = []
        self._sockets = (self.speak, theirs)

    async def collect(self):
        while True:
            self.events += await self.inbox.take()

    def tell(self, kind, payload, flags=0):
        self.speak.send(message(kind, flags, payload))

    async def open(self):
        self.kernel.open_interface(OpenInterface(GRE, "gre1"))
        await trio.testing.wait_all_tasks_blocked()

    def set(self, address=PEER, nbma=NBMA, state=NeighborState.PERMANENT):
        self.kernel.set_neighbor(SetNeighbor(GRE, address, nbma, state))

    def changes(self):
        changes, self.peer.changes = self.peer.changes, []
        return sorted(changes)

    def close(self):
        for sock in self._sockets:
            sock.close()


@pytest.fixture
async def world(tmp_path, monkeypatch):
    setting = tmp_path / "send_redirects"
    setting.write_text("1\n")
    monkeypatch.setattr(kernel_module, "SEND_REDIRECTS_ALL", setting)
    async with running(World()) as world:
        yield world


@contextlib.asynccontextmanager
async def running(world):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.peer.run)
        nursery.start_soon(world.collect)
        await nursery.start(world.kernel.run_over, world.requests, world.news)
        yield world
        nursery.cancel_scope.cancel()
    world.close()


async def test_tables_are_told_before_it_reports_its_start(world, autojump_clock):
    assert any(isinstance(event, LinkChanged) for event in world.events)


async def test_wants_wait_for_the_interface_to_be_prepared(world, autojump_clock):
    world.set()
    assert world.kernel.counters["not_open"] == 1
    world.kernel.open_interface(OpenInterface(GRE, "gre1"))
    world.set()
    await trio.testing.wait_all_tasks_blocked()
    before = world.peer.requests.index(neighbor.RTM_NEWNEIGH)
    assert world.peer.requests[before - 1] == neighbor.RTM_GETNEIGH  # preparation is over
    assert world.changes() == [(neighbor.RTM_NEWNEIGH, a_neighbor())]
    assert kernel_module.SEND_REDIRECTS_ALL.read_text() == "0\n"


async def test_a_setting_out_of_reach_is_a_problem_until_the_operator_mends_it(
    world, autojump_clock, tmp_path, monkeypatch
):
    """A directory stands for what cannot be written: that holds for root too."""
    setting = tmp_path / "out of reach"
    setting.mkdir()
    monkeypatch.setattr(kernel_module, "SEND_REDIRECTS_ALL", setting)
    await world.open()
    assert [notice.event for notice in world.notices] == ["setting.lacking"]
    assert world.notices[0].problem.endswith(": sysctl -w net.ipv4.conf.all.send_redirects=0")
    assert list(world.kernel.problems.values()) == [world.notices[0].problem]
    world.set()  # all the rest works
    await trio.testing.wait_all_tasks_blocked()
    assert world.changes() == [(neighbor.RTM_NEWNEIGH, a_neighbor())]
    setting.rmdir()
    setting.write_text("0\n")
    await trio.sleep(kernel_module.AUDIT_S + 1)
    assert not world.kernel.problems
    assert len(world.notices) == 1


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


async def test_a_closed_interface_is_forgotten_and_left_alone(world, autojump_clock):
    await world.open()
    world.set()
    await world.kernel.settle(1)
    world.changes()
    world.kernel.close_interface(CloseInterface(GRE))
    world.kernel.drop_neighbor(DropNeighbor(GRE, PEER))
    world.kernel.drop_route(DropRoute(LAN, GRE))
    world.kernel.set_route(SetRoute(LAN, GRE))
    await trio.sleep(AUDIT_S + 10)
    assert world.changes() == []


async def test_failures_to_prepare_are_told(world, autojump_clock):
    world.peer.refuse[rtnl.RTM_SETLINK] = errno.EPERM
    await world.open()
    assert InterfaceRefused(GRE, "clear NOARP: Operation not permitted") in world.events
    del world.peer.refuse[rtnl.RTM_SETLINK]
    world.set()
    await world.open()
    assert world.changes() == [(neighbor.RTM_NEWNEIGH, a_neighbor())]


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


async def test_leftovers_are_handed_over_and_swept_when_nobody_wants_them(world, autojump_clock):
    tables = world.peer.tables
    tables[neighbor.RTM_GETNEIGH] = [
        a_neighbor(PEER),
        a_neighbor(OTHER),
        a_neighbor(parse_address("10.255.0.9"), protocol=4),
    ]
    other_metric = host_prefix(PEER)
    tables[rtnl.RTM_GETROUTE] = [a_route(LAN), a_route(other_metric, metric=77)]
    await world.open()
    found = [event for event in world.events if isinstance(event, BindingFound)]
    assert found == [BindingFound(GRE, PEER, NBMA), BindingFound(GRE, OTHER, NBMA)]
    world.set(PEER)
    await world.kernel.settle(1)
    world.changes()
    await trio.sleep(ADOPTION_S + 1)
    assert world.changes() == sorted(
        [
            (neighbor.RTM_DELNEIGH, body(neighbor.drop_neighbor(GRE, OTHER))),
            (rtnl.RTM_DELROUTE, body(rtnl.drop_route(LAN, GRE, METRIC, OURS))),
            (rtnl.RTM_DELROUTE, body(rtnl.drop_route(other_metric, GRE, 77, OURS))),
        ]
    )


async def test_what_differs_is_written_again_and_counted(world, autojump_clock):
    await world.open()
    for address in (PEER, OTHER):
        world.set(address)
    world.kernel.set_route(SetRoute(LAN, GRE, PEER))
    await trio.sleep(ADOPTION_S + 1)
    world.changes()
    world.kernel.drift.clear()
    world.peer.tables[neighbor.RTM_GETNEIGH] = [a_neighbor(PEER, NBMA_2)]
    world.peer.tables[rtnl.RTM_GETROUTE] = [a_route(LAN, gateway=OTHER)]
    world.tell(neighbor.RTM_DELNEIGH, a_neighbor(OTHER))
    await trio.sleep(1)
    assert world.kernel.drift == {"neighbors": 2, "routes": 1}
    assert world.changes() == sorted(
        [
            (neighbor.RTM_NEWNEIGH, a_neighbor(PEER)),
            (neighbor.RTM_NEWNEIGH, a_neighbor(OTHER)),
            (rtnl.RTM_NEWROUTE, a_route(LAN, gateway=PEER)),
        ]
    )


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
        world.news.faults.append(OSError(errno.ENOBUFS, "overrun"))
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
    world.news.faults.append(OSError(errno.ENOBUFS, "overrun"))
    world.speak.send(message(99, 0, b""))
    await trio.sleep(5)
    assert world.kernel.counters["resyncs_failed"] == 1
    assert LinkGone(GRE) in world.events


async def test_settle_gives_up_in_time():
    world = World()
    world.kernel.open_interface(OpenInterface(GRE, "gre1"))
    world.set()
    assert not await world.kernel.settle(0.01)
    world.requests.close()
    world.news.close()
    world.close()


def test_ten_thousand_spokes_are_lean():
    kernel = Kernel(Inbox(), RoutesConfig(), lambda _notice: None)
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
