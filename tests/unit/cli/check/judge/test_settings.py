"""Settings of the kernel: one spoilt value, one finding, one remedy."""

from dataclasses import replace

import pytest

from nhrpd_py.cli.check.findings import State
from tests.unit.cli.check.machines import (
    CLEAR,
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

SIX = (("10.255.255.1", 32, "global"), ("fd00::1", 128, "global"), ("fe80::1", 64, "link"))


SETTINGS = [
    ({"net/ipv4/ip_forward": "0"}, "problem", "spokes do not reach each other"),
    ({"net/ipv4/ip_forward_use_pmtu": "0"}, "warning", "path's MTU"),
    ({"net/ipv4/conf/all/send_redirects": "1"}, "warning", "ICMP redirects"),
    ({"net/ipv4/conf/gre1/send_redirects": "1"}, "warning", "ICMP redirects"),
    (
        {"net/ipv4/conf/gre1/rp_filter": "1", "net/ipv4/conf/all/rp_filter": "0"},
        "warning",
        "strict",
    ),
    ({"net/ipv4/neigh/gre1/app_solicit": "0"}, "problem", "does not ask nhrpd for ipv4"),
    ({"net/ipv4/neigh/gre1/ucast_solicit": "3"}, "warning", "looks for ipv4 neighbours"),
    ({"net/ipv4/conf/all/disable_xfrm": "1"}, "problem", "skips all IPsec policies"),
    ({"net/ipv4/conf/eth0/disable_policy": "1"}, "problem", "skips all IPsec policies"),
]


@pytest.mark.parametrize(("sysctls", "state", "words"), SETTINGS)
def test_settings(sysctls, state, words) -> None:
    found = the_complaint(a_machine(kernel=a_kernel(sysctls=sysctls)))
    assert (found.state, words in found.finding) == (state, True)
    assert (found.remedy or "").startswith("sysctl -w net/")


def test_a_strict_link_is_loose_where_all_is() -> None:
    assert (
        complaints(a_machine(kernel=a_kernel(sysctls={"net/ipv4/conf/gre1/rp_filter": "1"}))) == []
    )


def test_a_spoke_without_forwarding_may_mean_it() -> None:
    facts = a_machine(SPOKE, kernel=a_kernel(sysctls={"net/ipv4/ip_forward": "0"}))
    assert [f.state for f in complaints(facts) if "forwarded" in f.finding] == [State.WARNING]


def test_a_hub_with_an_ipv6_link_local_address_sends_redirects() -> None:
    sysctls = {
        "net/ipv6/conf/all/forwarding": "1",
        "net/ipv6/neigh/gre1/app_solicit": "1",
    }
    kernel = a_kernel(ETH0, gre1(addresses=SIX), sysctls=sysctls)
    facts = a_machine(CLEAR, kernel=kernel)
    found = [each for each in complaints(facts) if each.area == "kernel"]
    assert ["ICMPv6" in each.finding for each in found] == [True]
    assert "addrgenmode none" in (found[0].remedy or "")
    needs_it = a_machine(replace(CLEAR, multicast=("dynamic",)), kernel=kernel)
    assert [each for each in complaints(needs_it) if each.area == "kernel"] == []


def test_many_clients_need_a_large_neighbour_table() -> None:
    cache = [{"type": "dynamic"}] * 900
    facts = a_machine(daemon=a_daemon(a_config(), cache=cache))
    found = the_complaint(facts)
    assert "900 clients" in found.finding
    assert "gc_thresh3=8192" in (found.remedy or "")
