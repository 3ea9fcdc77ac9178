"""What is wanted of an interface, from its opening to its end, against a scripted kernel."""

import errno

import trio
import trio.testing

from nhrpd_py.core.address import host_prefix, parse_address
from nhrpd_py.core.effects import (
    CloseInterface,
    DropNeighbor,
    DropRoute,
    OpenInterface,
    SetRoute,
)
from nhrpd_py.core.events import (
    BindingFound,
    InterfaceRefused,
)
from nhrpd_py.runtime.kernel import store as kernel_module
from nhrpd_py.runtime.kernel.store import ADOPTION_S, AUDIT_S
from nhrpd_py.runtime.netlink import neighbor, rtnl
from tests.unit.runtime.kernel.kernel_world import (
    GRE,
    LAN,
    METRIC,
    NBMA,
    NBMA_2,
    OTHER,
    OURS,
    PEER,
    a_neighbor,
    a_route,
    body,
)


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


async def test_route_with_another_mtu_than_wanted_is_written_again(world, autojump_clock):
    await world.open()
    world.kernel.set_route(SetRoute(LAN, GRE, PEER, mtu=1400))
    world.peer.tables[rtnl.RTM_GETROUTE] = [a_route(LAN, gateway=PEER, mtu=1400)]
    await trio.sleep(ADOPTION_S + 1)
    assert world.changes() == [(rtnl.RTM_NEWROUTE, a_route(LAN, gateway=PEER, mtu=1400))]
    world.kernel.drift.clear()
    for found in (a_route(LAN, gateway=PEER), a_route(LAN, gateway=PEER, mtu=1400)):
        world.peer.tables[rtnl.RTM_GETROUTE] = [found]
        await trio.sleep(AUDIT_S + 1)
    assert world.kernel.drift == {"neighbors": 0, "routes": 1}
    assert world.changes() == [(rtnl.RTM_NEWROUTE, a_route(LAN, gateway=PEER, mtu=1400))]
    world.kernel.set_route(SetRoute(LAN, GRE, PEER))  # the peer's is not smaller any more
    await trio.sleep(1)
    assert world.changes() == [(rtnl.RTM_NEWROUTE, a_route(LAN, gateway=PEER))]
    world.kernel.set_route(SetRoute(LAN, GRE, PEER, mtu=1400))
    world.kernel.drop_route(DropRoute(LAN, GRE))
    world.kernel.set_route(SetRoute(LAN, GRE, PEER))
    await trio.sleep(1)
    assert world.changes() == [(rtnl.RTM_NEWROUTE, a_route(LAN, gateway=PEER))]
