"""What the kernel store tells of links, addresses, routes and neighbours."""

import socket

import pytest
import trio

from nhrpd_py.core.address import Prefix, parse_address, parse_prefix
from nhrpd_py.core.effects import (
    NeighborState,
    SetNeighbor,
)
from nhrpd_py.core.events import (
    AddressAdded,
    AddressRemoved,
    LinkChanged,
    LinkGone,
    NeighborSolicited,
    RouteAdded,
    RouteRemoved,
)
from tests.lab.kernel_store import NBMA, PEER, Store, neighbors, run

pytestmark = pytest.mark.lab


async def test_initial_dump_comes_before_started(gre):
    run("ip route add 198.51.100.0/24 via 192.0.2.9")
    run("ip route add blackhole 203.0.113.0/24")
    async with Store().running() as store:
        await store.until(lambda: store.of(RouteAdded), "routes")
        link = next(event for event in store.of(LinkChanged) if event.name == "gre1")
        assert link.up
        assert link.noarp
        assert link.gre is not None
        assert (link.gre.key, link.gre.ttl, link.gre.remote) == (42, 64, b"")
        assert link.gre.local == parse_address("192.0.2.1")
        told = {event.route.prefix: event.route for event in store.of(RouteAdded)}
        assert told[parse_prefix("198.51.100.0/24")].gateway == parse_address("192.0.2.9")
        assert told[parse_prefix("203.0.113.0/24")].ifindex == 0
        assert Prefix(parse_address("10.255.0.1"), 32) not in told
        assert parse_address("10.255.0.1") in {event.address for event in store.of(AddressAdded)}


async def test_unknown_addresses_and_stale_ones_in_use_are_solicited(gre):
    run("ip route add 10.255.0.0/24 dev gre1")
    async with Store().running() as store:
        await store.open(gre)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.sendto(b"x", ("10.255.0.7", 9))
            await store.until(lambda: store.of(NeighborSolicited), "a solicitation")
            assert store.of(NeighborSolicited)[0] == NeighborSolicited(
                gre, parse_address("10.255.0.7"), b""
            )
            store.events.clear()
            store.kernel.set_neighbor(SetNeighbor(gre, PEER, NBMA, NeighborState.STALE))
            assert await store.kernel.settle(2)
            probe.sendto(b"x", ("10.255.0.2", 9))
            wanted = NeighborSolicited(gre, PEER, NBMA)
            await store.until(lambda: wanted in store.events, "the probe", 8)
            store.kernel.set_neighbor(SetNeighbor(gre, PEER, NBMA))
            await trio.sleep(2)
            assert neighbors()["10.255.0.2"]["state"] == ["PERMANENT"]


async def test_routes_of_a_deleted_nexthop_object_vanish_in_silence(gre):
    """zebra routes by nexthop objects; the kernel announces the end of the object alone."""
    for command in (
        "ip nexthop add id 1 via 192.0.2.7 dev eth0",
        "ip nexthop add id 2 via 192.0.2.8 dev eth0",
        "ip nexthop add id 10 group 1/2",
        "ip route add 10.9.0.0/16 nhid 1",
        "ip route add 10.10.0.0/16 nhid 10",
    ):
        run(command)
    async with Store().running() as store:
        first = {e.route.prefix: e.route for e in store.of(RouteAdded)}
        both = [first[parse_prefix(text)] for text in ("10.9.0.0/16", "10.10.0.0/16")]
        assert [route.gateway for route in both] == [parse_address("192.0.2.7")] * 2
        run("ip nexthop del id 1")
        await store.until(lambda: len(store.of(RouteRemoved)) == 2, "both routes' end")
        assert [event.route for event in store.of(RouteRemoved)] == both
        assert store.of(RouteAdded)[-1].route.gateway == parse_address("192.0.2.8")


async def test_addresses_and_links_come_and_go(gre):
    async with Store().running() as store:
        run("ip addr add 10.9.0.1/24 dev eth0")
        address = parse_address("10.9.0.1")
        await store.until(lambda: address in {e.address for e in store.of(AddressAdded)}, "add")
        run("ip addr del 10.9.0.1/24 dev eth0")
        await store.until(lambda: store.of(AddressRemoved), "removal")
        run("ip link del gre1")
        await store.until(lambda: LinkGone(gre) in store.events, "the end of the link")
        at = store.events.index(LinkGone(gre))
        gone = [e for e in store.events[:at] if isinstance(e, AddressRemoved) and e.ifindex == gre]
        assert gone


async def test_an_overrun_is_repaired(gre):
    async with Store().running() as store:
        follower = store.kernel._follower
        follower._notifications._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        batch = "\n".join(f"route add 10.{n >> 8}.{n & 255}.0/24 dev eth0" for n in range(400))
        await trio.run_process(["ip", "-batch", "-"], stdin=batch.encode())
        await store.until(lambda: store.kernel.counters["overruns"], "an overrun")
        await store.until(lambda: len(store.of(RouteAdded)) >= 400, "all routes")
        told = [event.route for event in store.of(RouteAdded)]
        assert len(told) == len(set(told))
