"""The rule that samples, and who listens."""

from dataclasses import replace

import pytest

from nhrpd_py.cli.check.facts import FirewallFacts, Listener
from nhrpd_py.cli.check.findings import State, Unread
from nhrpd_py.cli.check.parse.firewall import sampling_rules
from nhrpd_py.cli.check.parse.iptables import iptables_chains
from nhrpd_py.cli.check.report import findings
from tests.unit.cli.check.machines import (
    CLEAR,
    PROTECTED,
    RULE,
    SPOKE,
    a_config,
    a_daemon,
    a_machine,
    complaints,
    the_complaint,
)

OURS = {1: Listener(7, "nhrpd")}


def with_rules(*rules, tools=("iptables",), listeners=OURS):
    firewall = FirewallFacts(rules=list(rules), tools=frozenset(tools), listeners=listeners)
    return a_machine(firewall=firewall)


@pytest.mark.parametrize(
    ("tools", "remedy"),
    [
        ((), "iptables -I FORWARD 1 -i gre1 -o gre1 -m hashlimit"),
        (("iptables", "nft"), "iptables -I FORWARD 1 -i gre1 -o gre1 -m hashlimit"),
        (("iptables-legacy", "nft"), "iptables-legacy -I FORWARD 1 -i gre1 -o gre1 -m hashlimit"),
        (("nft",), "nft 'add table ip nhrpd' && nft 'add set ip nhrpd sampled"),
    ],
)
def test_without_a_rule_there_are_no_redirects(tools, remedy) -> None:
    found = complaints(with_rules(tools=tools))[0]
    assert (found.state, "no rule samples ipv4" in found.finding) == (State.PROBLEM, True)
    assert (found.remedy or "").startswith(remedy)


SAMPLE = "FORWARD -i gre1 -o gre1 -m hashlimit --hashlimit-upto 4/minute -j NFLOG --nflog-group 1"
ANSWERS = "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
INVALID = "-A FORWARD -m state --state INVALID -j DROP"


def in_order(*lines: str):
    """A machine with these rules of iptables."""
    head = "*filter\n:FORWARD ACCEPT [0:0]\n:dmvpn - [0:0]\n"
    text = head + "".join(f"[3:9] {line}\n" for line in lines) + "COMMIT\n"
    chains = iptables_chains(text, tool="iptables", family="ip")
    facts = with_rules(*sampling_rules(chains))
    return replace(facts, firewall=replace(facts.firewall, chains=chains))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([f"-A {SAMPLE}", ANSWERS, INVALID], None),
        ([INVALID, ANSWERS, f"-A {SAMPLE}"], "established connections"),
        (["-A FORWARD -i gre1 -o gre1 -j ACCEPT", f"-A {SAMPLE}"], "all of them"),
        (["-A FORWARD -i eth0 -j ACCEPT", f"-A {SAMPLE}"], None),
        (["-A FORWARD -s 172.16.0.0/12 -j ACCEPT", f"-A {SAMPLE}"], None),
        ([ANSWERS, "-A FORWARD -i gre1 -j dmvpn", f"-A dmvpn {SAMPLE[8:]}"], "established"),
        (["-A FORWARD -i gre1 -j dmvpn", f"-A dmvpn {SAMPLE[8:]}", ANSWERS], None),
    ],
)
def test_a_rule_that_decides_before_the_sample_is_taken(lines, words) -> None:
    found = complaints(in_order(*lines))
    assert [each.state for each in found] == [State.PROBLEM] * (words is not None)
    assert all(str(words) in each.finding for each in found)


def test_the_remedy_puts_the_rule_in_front() -> None:
    found = the_complaint(in_order(ANSWERS, f"-A {SAMPLE}"))
    place = SAMPLE.removeprefix("FORWARD ")
    assert found.remedy == f"iptables -D FORWARD {place} && iptables -I FORWARD 1 {place}"
    elsewhere = the_complaint(
        in_order(ANSWERS, "-A FORWARD -i gre1 -j dmvpn", f"-A dmvpn {SAMPLE[8:]}")
    )
    assert (elsewhere.remedy or "").startswith("iptables -I FORWARD 1 -i gre1 -o gre1")


def test_a_rule_for_another_group_is_named() -> None:
    found = the_complaint(with_rules(replace(RULE, group=5)))
    assert "for group 1 (but for 5)" in found.finding


def test_a_rule_for_multicast_is_no_rule_for_another_group() -> None:
    multicast = replace(RULE, group=2, inputs=None)
    assert "(but for" not in the_complaint(with_rules(multicast)).finding
    assert complaints(with_rules(multicast, RULE)) == []


def test_a_rule_of_the_other_family_does_not_count() -> None:
    assert "no rule" in the_complaint(with_rules(replace(RULE, family="ip6"))).finding
    assert complaints(with_rules(replace(RULE, family="inet"))) == []


def test_the_option_that_never_worked_is_noted() -> None:
    said = [each.finding for each in findings(with_rules(replace(RULE, range_only=True)))]
    assert any("--nflog-range never had an effect" in text for text in said)


def test_another_program_listens() -> None:
    found = the_complaint(with_rules(RULE, listeners={1: Listener(99, "ulogd -d")}))
    assert "ulogd -d (process 99) has bound it" in found.finding
    assert (found.remedy or "").startswith("redirect-group = 3   # under [nflog] in /etc/nhrpd/")
    assert (found.remedy or "").endswith("kill 99")


def test_nobody_listens() -> None:
    assert "nobody listens" in the_complaint(with_rules(RULE, listeners={})).finding


def test_a_rule_that_counts_and_samples_that_do_not_come() -> None:
    daemon = a_daemon(a_config(), {"counters": {"nflog": {}}})
    found = the_complaint(a_machine(daemon=daemon))
    assert found.state is State.WARNING
    assert "counted 3 packets, and nhrpd got none" in found.finding


def test_unprivileged_it_is_unknown() -> None:
    hidden = Unread("firewall rules: for root alone", "sudo nhrpctl check")
    tools = frozenset({"nft"})
    firewall = FirewallFacts(rules=hidden, listeners=hidden, tools=tools)
    for interface, places in (
        (PROTECTED, ["redirect gre1", "redirect group 1", "sources gre1"]),
        (CLEAR, ["redirect gre1", "redirect group 1"]),
        (replace(CLEAR, redirect=False), ["firewall rules"]),
    ):
        found = complaints(a_machine(interface, firewall=firewall))
        assert {each.state for each in found} == {State.UNKNOWN}
        assert [f"{each.area} {each.subject}" for each in found] == places


def test_a_spoke_needs_none_of_it() -> None:
    assert not [each for each in findings(a_machine(SPOKE)) if each.area == "redirect"]
