"""Routes, and what a routing daemon sees of ours."""

import time

import pytest

from nhrpd_py.cli.check.facts import RoutingFacts
from nhrpd_py.cli.check.findings import State, Unread
from tests.unit.cli.check.machines import (
    SPOKE,
    a_config,
    a_daemon,
    a_kernel,
    a_machine,
    complaints,
    the_complaint,
)

HOST = {"prefix": "10.255.255.2/32", "kind": "host", "afi": "ipv4"}
OURS = {"dst": "10.255.255.2", "dev": "gre1", "protocol": "nhrpd"}


def hub(*routes, **changes):
    daemon = a_daemon(a_config(), routes=[HOST])
    return a_machine(kernel=a_kernel(routes=list(routes)), daemon=daemon, **changes)


@pytest.mark.parametrize("protocol", ["nhrpd", "208"])
def test_our_own_routes_are_no_strangers(protocol) -> None:
    assert complaints(hub(OURS | {"protocol": protocol})) == []


@pytest.mark.parametrize("change", [{"dev": "eth0"}, {"dst": "10.9.9.0/24"}])
def test_somebody_else_has_our_number(change) -> None:
    found = the_complaint(hub(OURS, OURS | change))
    assert found.finding.startswith("1 routes have our protocol number and are not ours")
    assert (found.remedy or "").startswith("protocol = 200 ")


def test_a_number_without_a_name_and_one_of_another_name() -> None:
    nameless = the_complaint(a_machine(kernel=a_kernel(protocols={})))
    assert "rt_protos.d/nhrpd.conf" in (nameless.remedy or "")
    other = the_complaint(a_machine(kernel=a_kernel(protocols={208: "acme"})))
    assert "iproute2 calls it acme" in other.finding


@pytest.mark.parametrize(
    ("route", "leads"),
    [
        ({"dst": "172.16.0.0/16", "dev": "gre1", "protocol": "bgp"}, True),
        ({"dst": "172.16.0.0/16", "dev": "gre1"}, True),
        ({"dst": "172.16.0.0/16", "nexthops": [{"dev": "gre1"}], "protocol": "bgp"}, True),
        ({"dst": "172.16.0.0/16", "dev": "eth0", "protocol": "bgp"}, False),
        ({"dst": "10.255.255.0/24", "dev": "gre1", "protocol": "kernel"}, False),
        (OURS, False),
    ],
)
def test_a_spoke_needs_a_way_to_the_other_sites(route, leads) -> None:
    daemon = a_daemon(a_config(SPOKE), routes=[HOST])
    found = complaints(a_machine(SPOKE, kernel=a_kernel(routes=[route]), daemon=daemon))
    assert [each.state for each in found] == ([] if leads else [State.WARNING])


SITES = {"dst": "172.16.0.0/16", "dev": "gre1", "protocol": "bgp"}


@pytest.mark.parametrize(
    ("routes", "said"),
    [
        ([SITES | {"table": "100"}], True),
        ([SITES | {"table": "100"}, SITES | {"dst": "172.16.9.0/24"}], True),
        ([SITES | {"table": "100"}, SITES], False),
        ([SITES | {"table": "100", "dst": "172.16.3.0/24"}, SITES], False),
        ([SITES | {"table": "100"}, SITES | {"dst": "default"}], False),
        ([SITES | {"table": "main"}], False),
        ([SITES | {"table": "local"}, SITES], False),
    ],
)
def test_routes_in_a_table_that_nhrpd_does_not_read(routes, said) -> None:
    daemon = a_daemon(a_config(SPOKE), routes=[HOST])
    found = complaints(a_machine(SPOKE, kernel=a_kernel(routes=routes), daemon=daemon))
    assert [each.state for each in found] == [State.WARNING] * said
    for each in found:
        assert each.finding.startswith("1 routes in table 100 lead into it (172.16.0.0/16…)")
        assert (each.remedy or "").startswith("ip route add 172.16.0.0/16 via HUB dev gre1")


def test_the_remedy_names_the_hub_where_it_is_known() -> None:
    nhs = {"interface": "gre1", "nbma": "192.0.2.1", "name": "hub", "protocol": "10.255.255.1"}
    row = nhs | {"afi": "ipv4", "state": "up", "last_error": None}
    found = the_complaint(a_machine(SPOKE, daemon=a_daemon(a_config(SPOKE), nhs=[row])))
    assert (found.remedy or "").startswith("ip route add SITES via 10.255.255.1 dev gre1 onlink")


@pytest.mark.parametrize(
    ("routing", "state", "words"),
    [
        (RoutingFacts(frr_kernel=frozenset({"10.255.255.2/32"})), None, ""),
        (RoutingFacts(frr_kernel=frozenset()), State.PROBLEM, "zebra does not have"),
        (RoutingFacts(frr_kernel=Unread("FRR: for root")), State.UNKNOWN, "FRR: for root"),
        (
            RoutingFacts(frr_kernel=frozenset({"10.255.255.2/32"}), frr_bgp=frozenset(), asn=65000),
            State.WARNING,
            "BGP does not announce",
        ),
        *(
            (
                RoutingFacts(frr_kernel=frozenset({"10.255.255.2/32"}), frr_bgp=frozenset({bgp})),
                state,
                "BGP does not announce",
            )
            for bgp, state in (
                ("10.255.255.2/32", None),
                ("10.255.255.0/24", None),  # an aggregate
                ("0.0.0.0/0", None),
                ("10.255.255.3/32", State.WARNING),
                ("172.16.0.0/16", State.WARNING),
            )
        ),
        (RoutingFacts(bird_kernel=frozenset()), State.WARNING, "BIRD does not have"),
    ],
)
def test_routing_daemons(routing, state, words) -> None:
    found = complaints(hub(OURS, routing=routing))
    assert [each.state for each in found] == ([state] if state else [])
    assert all(words in each.finding for each in found)


def test_the_remedy_announces_nothing_but_hosts_behind_the_tunnel() -> None:
    routing = RoutingFacts(
        frr_kernel=frozenset({"10.255.255.2/32"}),
        frr_bgp=frozenset(),
        asn=65000,
        vtysh="vtysh -N a",
    )
    remedy = the_complaint(hub(OURS, routing=routing)).remedy or ""
    assert remedy.startswith("vtysh -N a -c 'configure terminal' -c 'ip prefix-list from-nhrpd ")
    assert "-c 'match interface gre1' -c 'match ip address prefix-list from-nhrpd'" in remedy
    assert "-c 'redistribute kernel route-map from-nhrpd'" in remedy


def test_thousands_of_routes_cost_no_patience() -> None:
    """What one table has is not compared with all of another one."""
    routes = [
        {"dst": f"10.{n >> 8}.{n & 255}.0/24", "dev": "gre1", "protocol": "bgp", **table}
        for n in range(4000)
        for table in ({}, {"table": "100"})
    ]
    began = time.process_time()
    assert complaints(a_machine(SPOKE, kernel=a_kernel(routes=routes))) == []
    assert time.process_time() - began < 20
