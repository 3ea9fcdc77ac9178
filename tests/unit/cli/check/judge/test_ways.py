"""The ways of a tunnel's own packets: two uplinks, strict links, routes into the tunnel."""

import time
from dataclasses import replace

import pytest

from nhrpd_py.cli.check.facts import Link
from nhrpd_py.cli.check.findings import State
from nhrpd_py.core.config import NhsConfig
from tests.unit.cli.check.machines import (
    ETH0,
    SPOKE,
    a_config,
    a_daemon,
    a_kernel,
    a_machine,
    complaints,
    gre1,
    the_complaint,
)

HUB = "198.51.100.1"
ETH1 = Link(name="eth1", up=True, mtu=1500, addresses=(("203.0.113.2", 24, "global"),))
NODE = replace(SPOKE, nhs=(NhsConfig(protocol=None, nbma=HUB),))
SITES = {"dst": "172.16.0.0/12", "dev": "gre1", "protocol": "bgp"}
CONNECTED = {"dst": "203.0.113.0/24", "dev": "eth1", "protocol": "kernel"}
ON_ETH0 = {"dst": "default", "dev": "eth0", "gateway": "192.0.2.254"}
ON_ETH1 = {"dst": "default", "dev": "eth1", "gateway": "203.0.113.254", "metric": 500}
RP = "net/ipv4/conf/eth1/rp_filter"


def a_spoke(*routes, link=None, outer=ETH1, way=None, sysctls=None):
    """A spoke whose tunnel goes over the second of two uplinks."""
    kernel = a_kernel(
        *(ETH0, outer, link or gre1(link="eth1")),
        routes=[SITES, CONNECTED, *routes],
        ways={} if way is None else {(HUB, "203.0.113.2"): {"dst": HUB, "dev": way}},
        sysctls=sysctls,
    )
    return a_machine(NODE, kernel=kernel)


@pytest.mark.parametrize(
    ("routes", "outer", "is_found"),
    [
        ([ON_ETH0], ETH1, True),
        ([ON_ETH0, ON_ETH1], ETH1, False),
        ([ON_ETH0, ON_ETH1 | {"table": "100"}], ETH1, False),
        ([{"dst": HUB, "dev": "eth1", "scope": "link"}], ETH1, False),
        ([{"dst": "198.51.100.0/24", "nexthops": [{"dev": "eth1"}]}], ETH1, False),
        ([ON_ETH0], replace(ETH1, flags=frozenset({"POINTOPOINT"})), False),
    ],
)
def test_a_tunnel_bound_to_a_link_without_a_route_to_its_hub(routes, outer, is_found) -> None:
    found = complaints(a_spoke(*routes, outer=outer))
    assert [each.state for each in found] == [State.PROBLEM] * is_found
    for each in found:
        assert each.finding.startswith(f"no route leads to {HUB} by eth1, which it is bound to")
        assert (each.remedy or "").startswith("ip route add default via GATEWAY dev eth1")


def test_many_peers_and_routes_cost_no_patience() -> None:
    routes = [
        {"dst": f"20.{n >> 8}.{n & 255}.0/24", "dev": "eth1", "protocol": "bgp"}
        for n in range(8000)
    ]
    peers = [
        {"interface": "gre1", "nbma": f"198.51.{n >> 8}.{n & 255}", "ipsec": "-"}
        for n in range(500)
    ]
    facts = a_spoke(*routes, ON_ETH1)
    facts = replace(facts, daemon=a_daemon(facts.config, peers=peers))
    began = time.process_time()
    assert complaints(facts) == []
    assert time.process_time() - began < 10


def test_a_tunnel_that_is_bound_to_nothing_follows_the_routes() -> None:
    assert complaints(a_spoke(ON_ETH0, link=gre1(link=None, local="203.0.113.2"))) == []


@pytest.mark.parametrize(
    ("way", "sysctls", "is_found"),
    [
        ("eth0", {"net/ipv4/conf/all/rp_filter": "0", RP: "1"}, True),
        ("eth0", {"net/ipv4/conf/all/rp_filter": "2", RP: "1"}, False),
        ("eth1", {"net/ipv4/conf/all/rp_filter": "0", RP: "1"}, False),
        ("eth0", {"net/ipv4/conf/all/rp_filter": "0", RP: "0"}, False),
        (None, {"net/ipv4/conf/all/rp_filter": "0", RP: "1"}, False),
    ],
)
def test_a_strict_uplink_that_is_not_the_way_back(way, sysctls, is_found) -> None:
    found = complaints(a_spoke(ON_ETH0, ON_ETH1, way=way, sysctls=sysctls))
    assert [each.state for each in found] == [State.PROBLEM] * is_found
    for each in found:
        assert "eth1 drops what 198.51.100.1 sends" in each.finding
        assert each.remedy == "sysctl -w net/ipv4/conf/eth1/rp_filter=2"


@pytest.mark.parametrize(
    "outer", [replace(ETH1, kind="dummy"), replace(ETH1, flags=frozenset({"LOOPBACK"}))]
)
def test_a_link_by_which_nothing_comes_drops_nothing(outer) -> None:
    loose = gre1(link=None, local="203.0.113.2")
    sysctls = {"net/ipv4/conf/all/rp_filter": "1", RP: "1"}  # as ufw sets it
    found = complaints(a_spoke(ON_ETH0, outer=outer, link=loose, way="eth0", sysctls=sysctls))
    assert not [each for each in found if "eth1" in each.finding]


def test_a_hubs_peers_are_looked_at_as_well() -> None:
    peer = {"interface": "gre1", "nbma": HUB, "ipsec": "up"}
    facts = a_spoke(ON_ETH0)
    config = a_config(replace(SPOKE, nhs=()))
    facts = replace(facts, config=config, daemon=a_daemon(config, peers=[peer]))
    assert "no route leads to" in the_complaint(facts).finding


def test_a_tunnel_that_is_led_into_itself() -> None:
    loose = gre1(link=None, local="203.0.113.2")
    found = the_complaint(a_spoke(ON_ETH0, link=loose, way="gre1"))
    assert found.finding == f"the way to {HUB} leads into the tunnel itself"
    assert found.remedy == "ip tunnel change gre1 dev eth1"
