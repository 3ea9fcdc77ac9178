"""Packet filters as ufw, Docker and people write them: whatever lets the tunnel pass is not complained about."""

from dataclasses import replace

import pytest

from nhrpd_py.cli.check.facts import BaseChain, Link
from nhrpd_py.cli.check.findings import State
from nhrpd_py.cli.check.parse.iptables import iptables_chains
from nhrpd_py.cli.check.parse.nft import nft_chains
from tests.unit.cli.check.judge.test_firewall import (
    ACCEPT,
    DPORT,
    DROP,
    IKE,
    LAN,
    PROTO,
    STATE,
    STATES,
    chain,
    filtered,
    match,
    rule,
)
from tests.unit.cli.check.machines import (
    CLEAR,
    ETH0,
    GRE1,
    PROTECTED,
    a_kernel,
    a_machine,
    complaints,
    gre1,
)

UFW = (
    *("-P INPUT", "-N ufw-before-input", "-N ufw-not-local", "-N ufw-user-input"),
    *("-A INPUT -j ufw-before-input", "-A INPUT -j ufw-user-input"),
    "-A ufw-before-input -i lo -j ACCEPT",
    "-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "-A ufw-before-input -m conntrack --ctstate INVALID -j DROP",
    "-A ufw-before-input -j ufw-not-local",
    "-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN",
    "-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN",
    "-A ufw-not-local -j DROP",
)
GRE = "-A ufw-user-input -p gre -j ACCEPT"


def words(chains, kernel=None, interface=CLEAR) -> list[str]:
    facts = a_machine(interface, kernel=kernel or a_kernel(ETH0, GRE1))
    facts = replace(facts, firewall=replace(facts.firewall, chains=chains))
    return [each.finding for each in complaints(facts) if each.area == "firewall"]


def test_ufw_drops_what_is_not_for_this_machine_and_lets_in_what_it_was_told_to() -> None:
    assert filtered(*UFW, GRE, interface=CLEAR) == []
    (found,) = filtered(*UFW, interface=CLEAR)
    assert "INPUT of iptables drops (its policy) GRE (protocol 47) but for answers" in found.finding


def test_comments_that_look_like_options() -> None:
    rules = ['-A INPUT -m comment --comment "-j" -j ACCEPT', "-A INPUT -j DROP"]
    assert filtered(*rules, interface=CLEAR) == []
    rules = ['-A INPUT -m comment --comment "-g" -j ours', "-A INPUT -j DROP"]
    assert filtered("-N ours", *rules, interface=CLEAR)


@pytest.mark.parametrize(
    ("lines", "drops"),
    [
        (["-A INPUT -s 10.0.0.0/8 -g ours", "-A INPUT -j DROP", "-A ours -j ACCEPT"], False),
        # what the chain does not decide is the policy's matter, and the rule behind is not met
        (["-A INPUT -s 10.0.0.0/8 -g ours", "-A INPUT -j DROP"], False),
        (["-P INPUT", "-A INPUT -s 10.0.0.0/8 -g ours"], True),
        (["-A INPUT -g ours", "-A INPUT -j ACCEPT", "-A ours -j DROP"], True),
        (["-A INPUT -j ours", "-A ours -m mark --mark 1 -j RETURN", "-A ours -j DROP"], False),
        (["-A INPUT -j ours", "-A ours -j RETURN", "-A ours -j DROP"], False),
        (
            ["-A INPUT -j ours", "-A INPUT -j DROP", "-A ours -m mark --mark 1 -j RETURN"],
            True,
        ),
        (
            [
                *("-N deep", "-A INPUT -j ours", "-A ours -m mark --mark 1 -j RETURN"),
                *("-A ours -j deep", "-A deep -j DROP"),
            ],
            False,
        ),
    ],
)
def test_rules_behind_one_that_may_lead_out_of_the_chain(lines, drops) -> None:
    assert bool(filtered("-N ours", *lines, interface=CLEAR)) == drops


ALL = rule("input", DROP)
FAMILY = {"meta": {"key": "nfproto"}}
IIF = {"meta": {"key": "iifname"}}
SOURCE = {"payload": {"protocol": "ip", "field": "saddr"}}
SOURCE6 = {"payload": {"protocol": "ip6", "field": "nexthdr"}}
METER = {"set": {"op": "add", "elem": SOURCE, "set": "@seen", "stmt": [{"limit": {"rate": 9}}]}}
PORTS = {"set": {"family": "inet", "table": "fw", "name": "ports", "type": "inet_service"}}


def counted(value: object) -> dict:
    return {"elem": {"val": value, "counter": {"packets": 1, "bytes": 60}}}


@pytest.mark.parametrize(
    "rules",
    [
        [rule("input", match(FAMILY, "ipv6"), DROP)],
        [rule("input", match(FAMILY, "ipv4", "!="), DROP)],
        [rule("input", match(SOURCE6, "gre"), DROP)],
        [rule("input", METER, DROP)],
        [rule("input", {"meter": {"name": "flood"}}, DROP)],
        [rule("input", match(PROTO, "udp"), match(PROTO, "gre"), DROP)],
        [rule("input", match(PROTO, {"set": [counted("gre")]}), ACCEPT), ALL],
        [rule("input", match(PROTO, {"range": [40, 60]}), ACCEPT), ALL],
        [rule("input", match(STATE, {"|": ["established", "new"]}), ACCEPT), ALL],
        [rule("input", match(IIF, {"set": [counted("eth0")]}), ACCEPT), ALL],
        [rule("input", match(IIF, 7, "!="), ACCEPT), ALL],
        [rule("input", match(IIF, {"prefix": {"addr": "e", "len": 1}}), ACCEPT), ALL],
        [rule("input", {"vmap": {"key": STATE, "data": {"set": [["*", ACCEPT]]}}}), ALL],
        [rule("input", {"vmap": {"key": STATE, "data": {"set": ["odd"]}}}), ALL],
        [{"table": {"family": "inet", "name": "fw", "flags": ["dormant"]}}, ALL],
        [{"table": {"family": "inet", "name": "fw", "flags": "dormant"}}, ALL],
    ],
)
def test_what_nft_may_let_pass(rules) -> None:
    assert words(nft_chains({"nftables": [chain("input"), *rules]})) == []


@pytest.mark.parametrize(
    "rules",
    [
        [rule("input", match(FAMILY, "ipv4"), DROP)],
        [rule("input", match(FAMILY, "ipv6"), ACCEPT), ALL],
        [rule("input", {"counter": None}, {"log": {"prefix": "x"}}, DROP)],
        [rule("input", {"counter": "ours"}, DROP)],
        [rule("input", match(IIF, 7), ACCEPT), ALL],
        [{"table": {"family": "inet", "name": "fw"}}, ALL],
    ],
)
def test_what_nft_surely_drops(rules) -> None:
    assert words(nft_chains({"nftables": [chain("input"), *rules]}))


@pytest.mark.parametrize("port", [4500, {"range": [4000, 5000]}])
def test_ports_that_are_counted_in_a_named_set(port) -> None:
    held = {"set": {**PORTS["set"], "elem": [counted(500), counted(port)]}}
    others = [rule("input", match(PROTO, {"set": ["esp", "gre"]}), ACCEPT)]
    rules = [held, chain("input", "drop"), rule("input", STATES), *others]
    into = rule("input", match(DPORT, "@ports"), ACCEPT)
    assert filtered_nft([*rules, into]) == []
    assert filtered_nft([*rules, rule("input", IKE, ACCEPT)]) == []
    assert len(filtered_nft(rules)) == 2


def filtered_nft(rules) -> list[str]:
    return words(nft_chains({"nftables": rules}), interface=PROTECTED)


DUMMY = Link(name="wan", up=True, mtu=1500, kind="dummy", addresses=ETH0.addresses)
LOOPBACK = replace(DUMMY, kind="", flags=frozenset({"LOOPBACK"}))
BARE = replace(ETH0, addresses=())
IN_VRF = replace(ETH0, master="red")
VRF = Link(name="red", up=True, mtu=65575, kind="vrf")


@pytest.mark.parametrize(
    ("links", "link", "rule_for"),
    [
        ([BARE, DUMMY], gre1(local="192.0.2.1", link=None), "eth0"),
        ([BARE, LOOPBACK], gre1(local="192.0.2.1", link=None), "eth0"),
        ([IN_VRF, VRF], gre1(), "red"),
    ],
)
def test_an_outer_address_at_a_link_by_which_nothing_comes(links, link, rule_for) -> None:
    text = f"*filter\n:INPUT DROP [0:0]\n-A INPUT -i {rule_for} -p gre -j ACCEPT\nCOMMIT\n"
    chains = iptables_chains(text, tool="iptables", family="ip")
    assert words(chains, kernel=a_kernel(*links, link)) == []


def firewalld(*zone: dict) -> list[BaseChain]:
    """A machine with firewalld, whose zone has some rules of its own."""
    jump, reject = {"jump": {"target": "zone"}}, {"reject": {"type": "icmpx", "expr": "admin"}}
    status = {"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}}
    items = [{"chain": {"family": "inet", "table": "firewalld", "name": "zone"}}]
    answers = match(STATE, {"set": ["established", "related"]})
    for name in ("input", "forward"):
        rules = ((answers, ACCEPT), (status, ACCEPT), (jump,), (reject,))
        items += [chain(name), *(rule(name, *each) for each in rules)]
    items += [rule("zone", *each["expr"]) for each in zone]
    for each in items:
        next(iter(each.values()))["table"] = "firewalld"
    return nft_chains({"nftables": items})


def test_firewalld_and_what_it_must_be_told() -> None:
    facts = a_machine(CLEAR, kernel=a_kernel(ETH0, GRE1, LAN))
    facts = replace(facts, firewall=replace(facts.firewall, chains=firewalld()))
    within, between, outer = [each for each in complaints(facts) if each.area == "firewall"]
    assert "from one spoke to another" in within.finding
    assert within.remedy == (
        "firewall-cmd --permanent --zone=trusted --change-interface=gre1 && firewall-cmd --reload"
    )
    assert "cut off" in between.finding
    assert "--change-interface=gre1 --change-interface=lan0 &&" in (between.remedy or "")
    assert "drops (inet firewalld input" in outer.finding
    assert outer.remedy == "firewall-cmd --permanent --add-protocol=gre && firewall-cmd --reload"
    told = firewalld({"expr": [match(PROTO, "gre"), ACCEPT]})
    facts = replace(facts, firewall=replace(facts.firewall, chains=told))
    assert not [each for each in complaints(facts) if "GRE" in each.finding]
    facts = a_machine(PROTECTED, kernel=a_kernel(ETH0, GRE1))
    facts = replace(facts, firewall=replace(facts.firewall, chains=firewalld()))
    remedies = [each.remedy or "" for each in complaints(facts) if each.area == "firewall"]
    assert [each.split()[2] for each in remedies[1:]] == [
        *("--add-protocol=esp", "--add-port=500/udp", "--add-port=4500/udp", "--add-protocol=gre"),
    ]


@pytest.mark.parametrize(
    ("other", "via"),
    [
        (replace(LAN, kind="wireguard"), {}),
        (replace(LAN, kind="tun"), {}),
        (LAN, {"dev": "lan0"}),  # a second uplink
        (LAN, {"nexthops": [{"dev": "eth0"}, {"dev": "lan0"}]}),
    ],
)
def test_a_hub_keeps_other_vpns_and_uplinks_out_of_the_cloud(other, via) -> None:
    rules = [chain("forward", "drop"), rule("forward", match(IIF, "gre1"), ACCEPT)]
    rules.insert(1, rule("forward", match(IIF, "lan0"), DROP))
    routes = [{"dst": "default", **via}] if via else []
    kernel = a_kernel(ETH0, GRE1, other, routes=routes)
    assert words(nft_chains({"nftables": rules}), kernel=kernel) == []


def test_who_is_behind_a_nat_need_not_let_esp_in() -> None:
    """As machines of the big clouds are: their outer address is private, and only UDP arrives."""
    rules = [chain("input", "drop"), rule("input", STATES), rule("input", IKE, ACCEPT)]
    chains = nft_chains({"nftables": [*rules, rule("input", match(PROTO, "gre"), ACCEPT)]})
    behind = replace(ETH0, addresses=(("10.0.0.5", 24, "global"),))
    facts = a_machine(PROTECTED, kernel=a_kernel(behind, GRE1))
    facts = replace(facts, firewall=replace(facts.firewall, chains=chains))
    (found,) = [each for each in complaints(facts) if each.area == "firewall"]
    assert (found.state, "unless a NAT is between" in found.finding) == (State.WARNING, True)
    (found,) = [
        each
        for each in complaints(replace(facts, kernel=a_kernel(ETH0, GRE1)))
        if each.area == "firewall"
    ]
    assert (found.state, "unless" in found.finding) == (State.PROBLEM, False)


def test_a_tunnel_over_ipv6_is_carried_by_ipv6() -> None:
    text = "*filter\n:INPUT DROP [0:0]\nCOMMIT\n"
    kernel = a_kernel(ETH0, replace(GRE1, kind="ip6gre"))
    assert words(iptables_chains(text, tool="iptables", family="ip"), kernel=kernel) == []
    (found,) = words(iptables_chains(text, tool="ip6tables", family="ip6"), kernel=kernel)
    assert "INPUT of ip6tables drops (its policy) GRE" in found
