"""Policies that stand, are missing, or are undone by others."""

from dataclasses import replace
from typing import Any

import pytest

from nhrpd_py.cli.check.facts import IpsecFacts
from nhrpd_py.cli.check.findings import State, Unread
from nhrpd_py.cli.check.report import findings
from nhrpd_py.core.address import parse_address
from nhrpd_py.core.effects import ProtectedGre
from nhrpd_py.runtime.guard.gre_block import block_policies
from nhrpd_py.runtime.netlink.xfrm import Action, Direction, Policy, PolicyTemplate, Selector
from tests.unit.cli.check.machines import (
    ETH0,
    a_config,
    a_daemon,
    a_kernel,
    a_machine,
    complaints,
    gre1,
    the_complaint,
)

OURS = block_policies(ProtectedGre(42, 42))
ANYTHING = Policy(Selector(ipv6=False), Direction.OUT, Action.ALLOW, 10)
ESP = PolicyTemplate(b"", b"", 50, 0, 1)


def test_a_missing_policy_is_put_back_by_the_remedy() -> None:
    found = the_complaint(a_machine(ipsec=IpsecFacts(policies=OURS[:1])))
    assert (found.area, found.state) == ("guard", State.PROBLEM)
    assert found.remedy == (
        "ip xfrm policy update src 0.0.0.0/0 dst 0.0.0.0/0 proto gre key 42 dir in "
        "action block priority 1000000"
    )


@pytest.mark.parametrize(
    ("policy", "hole"),
    [
        (ANYTHING, True),
        (replace(ANYTHING, direction=Direction.IN), True),
        (replace(ANYTHING, templates=(ESP,)), False),
        (replace(ANYTHING, action=Action.BLOCK), False),
        (replace(ANYTHING, priority=2_000_000), False),
        (replace(ANYTHING, direction=Direction.FWD), False),
        (replace(ANYTHING, direction=3), False),
        (replace(ANYTHING, selector=Selector(ipv6=False, protocol=17)), False),
        (replace(ANYTHING, selector=Selector(ipv6=True)), False),
    ],
)
def test_policies_of_others(policy, hole) -> None:
    found = complaints(a_machine(ipsec=IpsecFacts(policies=(*OURS, policy))))
    assert bool(found) == hole
    if hole:
        assert (found[0].remedy or "").startswith("ip xfrm policy delete src 0.0.0.0/0 dst")


def test_a_policy_is_deleted_by_its_mark_and_link_and_one_of_xfrm_links_is_no_hole() -> None:
    marked = replace(ANYTHING, mark=(5, 0xFF))
    found = the_complaint(a_machine(ipsec=IpsecFacts(policies=(*OURS, marked))))
    assert (found.remedy or "").endswith("dst 0.0.0.0/0 dir out mark 0x5 mask 0xff")
    selector = replace(ANYTHING.selector, ifindex=2)
    bound = replace(ANYTHING, selector=selector, mark=(0, 0))
    kernel = a_kernel(replace(ETH0, index=2), gre1())
    facts = a_machine(ipsec=IpsecFacts(policies=(*OURS, bound)), kernel=kernel)
    assert (the_complaint(facts).remedy or "").endswith("dst 0.0.0.0/0 dev eth0 dir out")
    inside = replace(ANYTHING, if_id=9)
    assert complaints(a_machine(ipsec=IpsecFacts(policies=(*OURS, inside)))) == []


def between(source: str, destination: str, length: int = 24) -> Selector:
    return Selector(
        ipv6=False,
        source=parse_address(source),
        source_length=length,
        destination=parse_address(destination),
        destination_length=length,
    )


@pytest.mark.parametrize(
    ("selector", "hole"),
    [
        (between("192.0.2.0", "192.0.2.0"), True),
        (between("192.0.2.0", "198.51.100.0"), False),
        (between("172.16.2.0", "172.16.2.0"), False),
        (between("10.255.255.1", "10.255.255.1", 32), False),
    ],
)
def test_charons_own_are_a_problem_where_they_hold_the_outer_addresses(selector, hole) -> None:
    bypass = Policy(selector, Direction.OUT, Action.ALLOW, 175_423)
    peer = Policy(
        between("192.0.2.1", "192.0.2.2", 32), Direction.OUT, Action.ALLOW, 366_975, (ESP,)
    )
    found = complaints(a_machine(ipsec=IpsecFacts(policies=(*OURS, peer, bypass))))
    assert bool(found) == hole
    if hole:
        assert "bypass-lan { load = no }" in (found[0].remedy or "")
        assert "interfaces_ignore" in (found[0].remedy or "")
        assert "xfrm policy delete" not in (found[0].remedy or "")


def test_the_daemon_tells_which_addresses_it_uses() -> None:
    bypass = Policy(between("192.0.2.0", "192.0.2.0"), Direction.OUT, Action.ALLOW, 5)

    def is_hole(own: str, server: str) -> bool:
        rows: dict[str, Any] = {
            "interfaces": [
                {"interface": "gre1", "nbma": own, "up": True, "problem": None, "losing": None}
            ],
            "nhs": [
                {"interface": "gre1", "afi": "ipv4", "name": "h", "nbma": server, "state": "up"}
            ],
        }
        facts = a_machine(
            ipsec=IpsecFacts(policies=(*OURS, bypass)), daemon=a_daemon(a_config(), **rows)
        )
        return bool(complaints(facts))

    assert is_hole("192.0.2.1", "192.0.2.9")
    assert not is_hole("192.0.2.1", "198.51.100.9")
    assert not is_hole("203.0.113.1", "192.0.2.9")


@pytest.mark.parametrize(
    ("other", "is_blocked"),
    [
        ({}, True),
        ({"kind": "gretap"}, True),
        ({"ikey": "0.0.0.7", "okey": "0.0.0.7"}, False),
        ({"up": False}, False),
        ({"name": "gre0"}, False),
        ({"kind": "ip6gre"}, False),
    ],
)
def test_a_protected_tunnel_without_key_blocks_others_without_one(other, is_blocked) -> None:
    bare = gre1(ikey=None, okey=None)
    plain = gre1(**{"name": "plain", "ikey": None, "okey": None, **other})
    kernel = a_kernel(ETH0, bare, plain)
    ipsec = IpsecFacts(policies=block_policies(ProtectedGre(None, None)))
    found = complaints(a_machine(kernel=kernel, ipsec=ipsec))
    blocked = [each for each in found if "blocks plain as well" in each.finding]
    assert [each.state for each in blocked] == [State.PROBLEM] * is_blocked
    assert all((each.remedy or "").startswith("ip tunnel change gre1 key") for each in blocked)


def test_what_was_blocked_is_told() -> None:
    ipsec = IpsecFacts(policies=OURS, statistics={"XfrmOutPolBlock": 4, "XfrmInNoPols": 1})
    said = [each.finding for each in findings(a_machine(ipsec=ipsec))]
    assert any(text.endswith("blocked: 4 sent") for text in said)


def test_unprivileged_it_is_unknown() -> None:
    facts = a_machine(ipsec=IpsecFacts(policies=Unread("IPsec policies: for root alone")))
    assert the_complaint(facts).state is State.UNKNOWN
