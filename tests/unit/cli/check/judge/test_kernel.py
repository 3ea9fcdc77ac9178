"""Modules, tunnel and settings: one spoilt fact, one finding, one remedy."""

from dataclasses import replace

import pytest

from nhrpd_py.cli.check.findings import State, Unread
from nhrpd_py.core.config import InterfaceConfig
from tests.unit.cli.check.machines import (
    ETH0,
    MODULES,
    SPOKE,
    a_config,
    a_daemon,
    a_kernel,
    a_machine,
    complaints,
    gre1,
    the_complaint,
)

CLEAR = InterfaceConfig(name="gre1", network_id=1, redirect=True)
SIX = (("10.255.255.1", 32, "global"), ("fd00::1", 128, "global"), ("fe80::1", 64, "link"))
REMADE = (
    "ip tunnel del gre1 && ip tunnel add gre1 mode gre key 42 ttl 64 dev eth0 && "
    "ip address add 10.255.255.1/32 dev gre1 && ip link set gre1 up"
)
LINKS = [
    (gre1(up=False), "problem", "it is down", "ip link set gre1 up"),
    (gre1(ttl=0), "warning", "inherit the TTL", "ip tunnel change gre1 ttl 64"),
    (gre1(addresses=()), "problem", "no address", "ip address add ADDRESS/32 dev gre1"),
    (
        gre1(remote="192.0.2.9"),
        "problem",
        "not multipoint",
        REMADE,
    ),
    (gre1(flags=frozenset({"NOARP"})), "problem", "NOARP", "ip link set gre1 arp on"),
    (gre1(local="192.0.2.8"), "problem", "not have its outer", "change gre1 local any dev eth0"),
    (gre1(mtu=1472), "warning", "more than 1414", "ip link set gre1 mtu 1398"),
    (gre1(kind="dummy"), "problem", "kind dummy", "ip link delete gre1; ip tunnel add gre1"),
]


def test_a_good_machine_gives_no_complaint() -> None:
    assert complaints(a_machine()) == []


@pytest.mark.parametrize(("link", "state", "words", "remedy"), LINKS)
def test_the_tunnel(link, state, words, remedy) -> None:
    found = the_complaint(a_machine(kernel=a_kernel(ETH0, link)))
    assert (found.area, found.subject, found.state) == ("kernel", "gre1", state)
    assert words in found.finding
    assert remedy in (found.remedy or "")


def test_nobody_is_told_to_delete_hardware() -> None:
    named = replace(CLEAR, name="eth0")
    kernel = a_kernel(ETH0, gre1(), gre1(name="gre0"))
    (found,) = (
        each for each in complaints(a_machine(named, kernel=kernel)) if each.area == "kernel"
    )
    assert (found.subject, found.finding) == ("eth0", "it is hardware, or loopback: not a tunnel")
    assert found.remedy == (
        "[interface.TUNNEL] in place of [interface.eth0] in /etc/nhrpd/nhrpd.toml   "
        "# the tunnels here: gre1"
    )


def test_without_esp_more_fits() -> None:
    links = ETH0, gre1(mtu=1472)
    assert complaints(a_machine(CLEAR, kernel=a_kernel(*links))) == []
    found = the_complaint(a_machine(CLEAR, kernel=a_kernel(ETH0, gre1(mtu=1473))))
    assert found.remedy == "ip link set gre1 mtu 1472"


def test_a_tunnel_that_is_missing_is_made_on_the_link_of_the_default_route() -> None:
    route = {"dst": "default", "dev": "wan0"}
    found = the_complaint(a_machine(CLEAR, kernel=a_kernel(ETH0, routes=[route])))
    assert found.finding == "there is no such link"
    assert (found.remedy or "").startswith("ip tunnel add gre1 mode gre key KEY ttl 64 dev wan0 ")


def test_a_tunnel_without_key_is_worth_a_word() -> None:
    found = the_complaint(a_machine(CLEAR, kernel=a_kernel(ETH0, gre1(ikey=None, okey=None))))
    assert (found.state, "no key" in found.finding) == (State.WARNING, True)


def test_keys_that_differ() -> None:
    found = the_complaint(a_machine(CLEAR, kernel=a_kernel(ETH0, gre1(ikey="0.0.0.41"))))
    assert "differ (41 in, 42 out)" in found.finding
    assert found.remedy == "ip tunnel change gre1 key 42"


@pytest.mark.parametrize(
    ("changes", "words", "remedy"),
    [
        ({"link": "wan0"}, "its underlay wan0 is not there", "ip tunnel change gre1 dev eth0"),
        ({"link": None}, "nothing tells its outer address", "ip tunnel change gre1 dev eth0"),
        ({"link": None, "local": "192.0.2.7"}, "no link has its outer", "local any dev eth0"),
    ],
)
def test_the_underlay(changes, words, remedy) -> None:
    found = the_complaint(a_machine(CLEAR, kernel=a_kernel(ETH0, gre1(**changes))))
    assert words in found.finding
    assert remedy in (found.remedy or "")


def test_the_underlay_is_the_link_with_the_local_address() -> None:
    links = ETH0, gre1(link=None, local="192.0.2.1")
    assert complaints(a_machine(kernel=a_kernel(*links))) == []


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
    facts = a_machine(CLEAR, kernel=a_kernel(ETH0, gre1(addresses=SIX), sysctls=sysctls))
    found = [each for each in complaints(facts) if each.area == "kernel"]
    assert ["ICMPv6" in each.finding for each in found] == [True]
    assert "addrgenmode none" in (found[0].remedy or "")


def test_many_clients_need_a_large_neighbour_table() -> None:
    cache = [{"type": "dynamic"}] * 900
    facts = a_machine(daemon=a_daemon(a_config(), cache=cache))
    found = the_complaint(facts)
    assert "900 clients" in found.finding
    assert "gc_thresh3=8192" in (found.remedy or "")


def test_a_missing_module() -> None:
    found = the_complaint(a_machine(kernel=a_kernel(modules=MODULES | {"esp4": False})))
    assert (found.subject, found.state) == ("esp4", State.PROBLEM)


def test_what_cannot_be_read_is_unknown_and_says_why() -> None:
    kernel = a_kernel(links=Unread("ip is not installed", "apt install iproute2"))
    assert {(each.state, each.finding) for each in complaints(a_machine(CLEAR, kernel=kernel))} == {
        (State.UNKNOWN, "ip is not installed")
    }


def test_before_the_daemon_runs_nothing_is_expected_of_it() -> None:
    link = gre1(flags=frozenset({"NOARP"}))
    sysctls = {"net/ipv4/neigh/gre1/app_solicit": "0", "net/ipv4/conf/gre1/send_redirects": "1"}
    kernel = a_kernel(ETH0, link, sysctls=sysctls)
    facts = a_machine(kernel=kernel, daemon=Unread("no daemon answers", "systemctl start nhrpd"))
    assert the_complaint(facts).finding == "no daemon answers"
