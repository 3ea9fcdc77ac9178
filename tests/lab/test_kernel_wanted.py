"""What the kernel store wants is in the kernel, and stays there."""

import json
import time

import pytest
import trio

from nhrpd_py.core.address import host_prefix, parse_address, parse_prefix
from nhrpd_py.core.effects import (
    DropNeighbor,
    DropRoute,
    SetNeighbor,
    SetRoute,
)
from nhrpd_py.core.events import (
    BindingFound,
    InterfaceRefused,
    KernelRefused,
    RouteAdded,
    RouteRemoved,
)
from nhrpd_py.runtime.kernel import store as kernel_module
from tests.lab.kernel_store import NBMA, PEER, Store, neighbors, read, routes, run

pytestmark = pytest.mark.lab


async def test_open_prepares_the_link_and_wants_are_applied(gre):
    async with Store().running() as store:
        await store.open(gre)
        assert "NOARP" not in json.loads(run("ip -j link show gre1"))[0]["flags"]
        link = json.loads(run("ip -j -d link show gre1"))[0]["linkinfo"]["info_data"]
        assert link["ikey"] == "0.0.0.42"
        for family in ("ipv4", "ipv6"):
            for name, value in (("app_solicit", 1), ("mcast_solicit", 0), ("ucast_solicit", 0)):
                path = f"/proc/sys/net/{family}/neigh/gre1/{name}"
                assert read(path) == str(value), path
        assert read("/proc/sys/net/ipv4/conf/gre1/send_redirects") == "0"
        assert read("/proc/sys/net/ipv4/conf/all/send_redirects") == "0"
        lan, peer6 = parse_prefix("192.168.2.0/24"), parse_address("2001:db8::2")
        store.kernel.set_neighbor(SetNeighbor(gre, PEER, NBMA))
        store.kernel.set_neighbor(SetNeighbor(gre, peer6, NBMA))
        store.kernel.set_route(SetRoute(host_prefix(PEER), gre))
        store.kernel.set_route(SetRoute(host_prefix(peer6), gre))
        store.kernel.set_route(SetRoute(lan, gre, PEER))
        store.kernel.set_route(SetRoute(parse_prefix("2001:db8:2::/48"), gre, peer6))
        assert await store.kernel.settle(2)
        found = neighbors()
        assert found["10.255.0.2"]["lladdr"] == "192.0.2.2"
        assert found["10.255.0.2"]["state"] == ["PERMANENT"]
        assert found["2001:db8::2"]["lladdr"] == "192.0.2.2"
        assert "proto nhrpd" in run("ip neigh show dev gre1") or "proto 208" in run(
            "ip neigh show dev gre1"
        )
        by = {row["dst"]: row for row in routes() + routes("-6")}
        assert by["192.168.2.0/24"]["gateway"] == "10.255.0.2"
        assert by["192.168.2.0/24"]["flags"] == ["onlink"]
        assert (by["10.255.0.2"]["scope"], by["10.255.0.2"]["metric"]) == ("link", 10)
        assert by["2001:db8:2::/48"]["gateway"] == "2001:db8::2"
        # gateway and MTU change in place, and a set that is followed by a drop is gone
        store.kernel.set_route(SetRoute(lan, gre, mtu=1400))
        store.kernel.set_route(SetRoute(parse_prefix("2001:db8:2::/48"), gre, mtu=1300))
        store.kernel.set_neighbor(SetNeighbor(gre, parse_address("10.255.0.3"), NBMA))
        store.kernel.drop_neighbor(DropNeighbor(gre, parse_address("10.255.0.3")))
        store.kernel.drop_neighbor(DropNeighbor(gre, PEER))
        store.kernel.drop_route(DropRoute(host_prefix(PEER), gre))
        store.kernel.drop_route(DropRoute(parse_prefix("10.99.0.0/16"), gre))
        assert await store.kernel.settle(2)
        assert set(neighbors()) - {"10.255.0.2"} == {"2001:db8::2"}
        by = {row["dst"]: row for row in routes()}
        assert "gateway" not in by["192.168.2.0/24"]
        assert by["192.168.2.0/24"]["metrics"] == [{"mtu": 1400}]
        assert "10.255.0.2" not in by
        six = [row for row in routes("-6") if row["dst"] == "2001:db8:2::/48"]
        assert len(six) == 1
        assert "gateway" not in six[0]
        assert six[0]["metrics"] == [{"mtu": 1300}]
        assert not store.of(KernelRefused)
        assert not store.of(InterfaceRefused)
        ours = [event for event in store.of(RouteAdded) if event.route.protocol == 208]
        assert not ours


async def test_own_writes_do_not_echo(gre):
    async with Store().running() as store:
        await store.open(gre)
        await trio.sleep(0.3)
        reads: list[tuple[int, ...]] = []
        follower = store.kernel._follower
        follower._take = reads.append
        for number in range(200):
            address = parse_address(f"10.254.1.{number}")
            store.kernel.set_neighbor(SetNeighbor(gre, address, NBMA))
            store.kernel.set_route(SetRoute(host_prefix(address), gre))
        assert await store.kernel.settle(2)
        for number in range(200):
            address = parse_address(f"10.254.1.{number}")
            store.kernel.drop_neighbor(DropNeighbor(gre, address))
            store.kernel.drop_route(DropRoute(host_prefix(address), gre))
        assert await store.kernel.settle(2)
        await trio.sleep(0.3)
        # RTM_NEWNEIGH and routes; RTM_DELNEIGH names nobody, RTM_NEWADDR may come of DAD
        assert not {item[0] for item in reads} & {24, 25, 28}


async def test_ten_thousand_spokes(gre, monkeypatch):
    monkeypatch.setattr(kernel_module, "RESTORE_DELAY_S", 0.05)
    async with Store().running() as store:
        await store.open(gre)
        begun = time.monotonic()
        addresses = [bytes((10, 200, n >> 8, n & 255)) for n in range(10_000)]
        for address in addresses:
            store.kernel.set_neighbor(SetNeighbor(gre, address, NBMA))
            store.kernel.set_route(SetRoute(host_prefix(address), gre))
        verbs = time.monotonic() - begun
        assert await store.kernel.settle(30)
        applied = time.monotonic() - begun
        assert len(neighbors()) == 10_000
        begun = time.monotonic()
        store.kernel._audit_asked.set()
        await store.until(lambda: store.kernel.counters["audits"], "audit", 20)
        audit = time.monotonic() - begun
        assert verbs < 2  # 5 µs each on an idle machine; a busy one must not fail here
        assert applied < 5
        assert audit < 5
        assert not +store.kernel.drift
        assert not store.of(KernelRefused)


async def test_what_others_delete_or_change_is_put_back(gre):
    async with Store().running() as store:
        await store.open(gre)
        store.kernel.set_neighbor(SetNeighbor(gre, PEER, NBMA))
        store.kernel.set_route(SetRoute(host_prefix(PEER), gre))
        assert await store.kernel.settle(2)
        run("ip neigh del 10.255.0.2 dev gre1")
        await store.until(lambda: "10.255.0.2" in neighbors(), "the neighbour")
        run("ip route del 10.255.0.2/32 dev gre1")
        await store.until(lambda: any(r["dst"] == "10.255.0.2" for r in routes()), "the route")
        await store.until(lambda: store.kernel.drift["routes"], "the count")
        assert store.kernel.drift == {"neighbors": 1, "routes": 1}
        run("ip neigh replace 10.255.0.2 dev gre1 lladdr 192.0.2.77 nud permanent")
        store.kernel._audit_asked.set()
        await store.until(lambda: neighbors()["10.255.0.2"]["lladdr"] == "192.0.2.2", "the repair")


async def test_routes_of_others_are_not_replaced(gre):
    run("ip route add 192.168.2.0/24 dev eth0 metric 10")
    async with Store().running() as store:
        await store.open(gre)
        store.kernel.set_route(SetRoute(parse_prefix("192.168.2.0/24"), gre, PEER))
        await store.until(lambda: store.of(KernelRefused), "a refusal")
        assert routes()[-1]["dev"] == "eth0" or any(row["dev"] == "eth0" for row in routes())
        run("ip route del 192.168.2.0/24 dev eth0 metric 10")
        await store.until(
            lambda: any(row.get("gateway") == "10.255.0.2" for row in routes()), "our route"
        )


async def test_leftovers_are_adopted_or_swept(gre, monkeypatch):
    monkeypatch.setattr(kernel_module, "ADOPTION_S", 0.5)
    other = parse_address("10.255.0.3")
    async with Store().running() as store:
        await store.open(gre)
        for address in (PEER, other):
            store.kernel.set_neighbor(SetNeighbor(gre, address, NBMA))
            store.kernel.set_route(SetRoute(host_prefix(address), gre))
        assert await store.kernel.settle(2)
    run("ip route add 10.77.0.0/16 dev gre1 proto 77")
    run("ip route add 10.78.0.0/16 dev gre1 proto 208 metric 33")
    run("ip neigh add 10.255.0.9 dev gre1 lladdr 192.0.2.9 nud permanent")
    async with Store().running() as store:
        await store.open(gre)
        await store.until(lambda: len(store.of(BindingFound)) == 2, "bindings")
        assert set(store.of(BindingFound)) == {BindingFound(gre, a, NBMA) for a in (PEER, other)}
        store.kernel.set_neighbor(SetNeighbor(gre, PEER, NBMA))
        store.kernel.set_route(SetRoute(host_prefix(PEER), gre))
        await store.until(lambda: "10.255.0.3" not in neighbors(), "the sweep")
        await store.until(
            lambda: len([r for r in routes() if r["dev"] == "gre1"]) == 2, "the routes"
        )
        assert set(neighbors()) == {"10.255.0.2", "10.255.0.9"}
        assert {row["dst"] for row in routes() if row["dev"] == "gre1"} == {
            "10.255.0.2",
            "10.77.0.0/16",
        }


async def test_a_link_that_goes_down_and_up_gets_everything_again(gre):
    run("ip route add 198.51.100.0/24 dev gre1")
    async with Store().running() as store:
        await store.open(gre)
        store.kernel.set_neighbor(SetNeighbor(gre, PEER, NBMA))
        store.kernel.set_route(SetRoute(host_prefix(PEER), gre))
        assert await store.kernel.settle(2)
        run("ip link set gre1 down")
        await store.until(lambda: store.of(RouteRemoved), "the silent loss of a route")
        assert not neighbors()
        await trio.sleep(0.5)
        assert not store.of(KernelRefused)
        run("ip link set gre1 up")
        await store.until(lambda: "10.255.0.2" in neighbors(), "the neighbour")
        await store.until(lambda: any(r["dst"] == "10.255.0.2" for r in routes()), "the route")


async def test_a_refusal_names_its_object(gre):
    async with Store().running() as store:
        await store.open(gre)
        store.kernel.set_neighbor(SetNeighbor(gre, PEER, b"\x01"))
        await store.until(lambda: store.of(KernelRefused), "a refusal")
        assert store.of(KernelRefused)[0].what == "neighbour 10.255.0.2"
        error = "Invalid argument: Invalid link address"
        assert store.of(KernelRefused)[0].error == error
