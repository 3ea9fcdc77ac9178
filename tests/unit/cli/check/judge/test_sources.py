"""What the source filter needs: marks, a program, and that nobody else uses the marks."""

from dataclasses import replace
from typing import Any

import pytest

from nhrpd_py.cli.check.facts import Facts, FirewallFacts
from nhrpd_py.cli.check.findings import State, Unread
from nhrpd_py.core.config import IpsecConfig
from tests.unit.cli.check.machines import (
    CHILD,
    CLEAR,
    CONNECTION,
    PROTECTED,
    a_charon,
    a_kernel,
    a_machine,
    complaints,
    gre1,
    the_complaint,
)

UNMARKED = {key: value for key, value in CHILD.items() if "mark" not in key}


def with_child(child: dict[str, Any], setting: bool | None = None) -> Facts:
    template = {"dmvpn": {**CONNECTION, "children": {"dmvpn": child}}}
    interface = replace(PROTECTED, source_filter=setting)
    return a_machine(interface, charon=a_charon(template=template))


@pytest.mark.parametrize(
    ("child", "lines"),
    [
        (UNMARKED, "mark_in = %unique, set_mark_in = %same   # in the child in /etc/swanctl/"),
        (
            UNMARKED | {"mark_in": b"%unique"},
            "set_mark_in = %same   # in the child in /etc/swanctl/",
        ),
    ],
)
def test_the_lines_that_are_missing_are_named(child: dict[str, Any], lines: str) -> None:
    for setting, state in ((None, State.WARNING), (True, State.PROBLEM)):
        found = the_complaint(with_child(child, setting))
        assert (found.area, found.subject, found.state) == ("sources", "profile dmvpn", state)
        assert (found.remedy or "").startswith(lines)
    assert complaints(with_child(child, False)) == []


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({"mark_in": b"42"}, "mark_in = %unique   #"),
        ({"set_mark_in": b"0x7/0xff"}, "set_mark_in = %same   #"),
        ({"mark_in": b"%unique-dir"}, None),
    ],
)
def test_one_mark_for_all_peers_is_none(changes: dict[str, Any], lines: str | None) -> None:
    found = complaints(with_child({**CHILD, **changes}, True))
    assert len(found) == (lines is not None)
    assert all("has no mark of its own: nobody knows" in each.finding for each in found)
    assert all((each.remedy or "").startswith(lines or "") for each in found)


def test_our_own_profiles_and_those_that_cannot_be_read_need_no_lines() -> None:
    own = {"dmvpn": {**CONNECTION, "children": {"dmvpn": UNMARKED}}}
    assert complaints(a_machine(charon=a_charon(own=own))) == []
    hidden = a_charon(template=Unread("swanctl.conf: for root alone"))
    assert [each.area for each in complaints(a_machine(charon=hidden))] == ["ipsec"]
    some: list[Any] = [{}, b"dmvpn"]
    for children in some:
        childless = a_charon(template={"dmvpn": {**CONNECTION, "children": children}})
        assert {each.area for each in complaints(a_machine(charon=childless))} == {"ipsec"}
    twice = replace(PROTECTED, ipsec=IpsecConfig(profile="dmvpn", fallback_profile="none"))
    assert {each.area for each in complaints(a_machine(twice))} == {"ipsec"}


def test_without_a_program_nobody_looks() -> None:
    for setting, state in ((None, State.WARNING), (True, State.PROBLEM)):
        facts = a_machine(replace(PROTECTED, source_filter=setting))
        lonely = replace(facts, firewall=replace(facts.firewall, tools=frozenset()))
        found = the_complaint(lonely)
        assert (found.state, found.remedy) == (state, "apt install nftables")


def test_a_tunnel_in_clear_has_no_filter() -> None:
    assert not [each for each in complaints(a_machine(CLEAR)) if each.area == "sources"]


def disturbed(**firewall: Any) -> list[str]:
    facts = a_machine()
    found = complaints(replace(facts, firewall=replace(facts.firewall, **firewall)))
    assert {(each.area, each.subject, each.state) for each in found} <= {
        ("sources", "gre1", State.WARNING)
    }
    return [each.finding.partition("peers: ")[2] for each in found]


def test_who_else_uses_marks_is_named() -> None:
    text = "*mangle\n:PREROUTING ACCEPT [0:0]\n[3:9] -A PREROUTING -i eth0 -j MARK --set-mark 1\nCOMMIT\n"
    assert disturbed(saved={"iptables-legacy": text}) == [
        "iptables-legacy -t mangle -A PREROUTING -i eth0 -j MARK --set-mark 1"
    ]
    assert disturbed(saved={"iptables-legacy": text.replace("eth0", "eth7")}) == []
    assert disturbed(routing_rules=[{"priority": 7, "fwmark": "0x1", "table": "wan"}]) == [
        "ip rule 7: fwmark 0x1 lookup wan"
    ]
    place = {"family": "ip", "table": "t"}
    rule = {"mangle": {"key": {"meta": {"key": "mark"}}, "value": 1}}
    ruleset = {
        "nftables": [
            {"chain": {**place, "name": "c", "hook": "prerouting"}},
            {"rule": {**place, "chain": "c", "expr": [rule]}},
        ]
    }
    assert disturbed(ruleset=ruleset) == ["meta mark set in nft list chain ip t c"]


def test_a_tunnel_that_sends_with_a_mark_is_told() -> None:
    for value, told in (("0x3", True), ("0", False), (0x30000, False), ("odd", False)):
        tunnel = gre1()
        tunnel = replace(tunnel, data={**tunnel.data, "fwmark": value})
        found = complaints(a_machine(kernel=a_kernel(*a_kernel().links.values(), tunnel)))  # type: ignore[union-attr]
        assert [each.finding for each in found] == (
            ["the tunnel sends with the mark 0x3, which an SA may have too"] if told else []
        )


def test_links_that_cannot_be_read_are_told_elsewhere() -> None:
    facts = a_machine(
        kernel=a_kernel(links=Unread("links: no")), firewall=FirewallFacts(tools=frozenset({"nft"}))
    )
    assert not [each for each in complaints(facts) if each.area == "sources"]
