"""What the packet filter drops of a tunnel and of what carries it."""

from dataclasses import replace

import pytest

from nhrpd_py.cli.check.facts import FirewallFacts, Link
from nhrpd_py.cli.check.findings import Finding, State
from nhrpd_py.cli.check.parse.firewall import sampling_rules
from nhrpd_py.cli.check.parse.iptables import iptables_chains
from nhrpd_py.cli.check.parse.nft import nft_chains
from tests.unit.cli.check.machines import (
    CLEAR,
    CONNECTION,
    ETH0,
    GRE1,
    PROTECTED,
    SPOKE,
    a_charon,
    a_kernel,
    a_machine,
    complaints,
)

HEAD = ":INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
SAMPLE = (
    "-A FORWARD -i gre1 -o gre1 -m hashlimit --hashlimit-upto 4/minute -j NFLOG --nflog-group 1"
)
LAN = Link(name="lan0", up=True, mtu=1500, addresses=(("172.16.1.1", 24, "global"),))
GUESTS = replace(LAN, name="lan1")
DOCKER = replace(LAN, name="docker0", kind="bridge")
ESTABLISHED = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
ANSWERS = f"-A INPUT {ESTABLISHED}"


def filtered(*lines: str, interface=PROTECTED, lans=(), charon=None, table="filter"):
    """The complaints about a machine with these rules of iptables; `-P CHAIN` sets a policy."""
    head = HEAD
    for line in lines:
        if line.startswith("-P "):
            head = head.replace(f":{line[3:]} ACCEPT", f":{line[3:]} DROP")
        if line.startswith("-N "):
            head += f":{line[3:]} - [0:0]\n"
    kept = "".join(f"[3:9] {line}\n" for line in (SAMPLE, *lines) if line.startswith("-A "))
    text = f"*{table}\n{head}{kept}COMMIT\n"
    return with_chains(iptables_chains(text, tool="iptables", family="ip"), interface, lans, charon)


def with_chains(chains, interface=PROTECTED, lans=(), charon=None) -> list[Finding]:
    facts = a_machine(interface, kernel=a_kernel(ETH0, GRE1, *lans))
    firewall = replace(facts.firewall, rules=sampling_rules(chains), chains=chains)
    facts = replace(facts, firewall=firewall, charon=charon or facts.charon)
    return [each for each in complaints(facts) if each.area == "firewall"]


def the_only(found: list[Finding]) -> Finding:
    (finding,) = found
    return finding


@pytest.mark.parametrize(
    ("lines", "drops"),
    [
        (["-P FORWARD"], True),
        (["-A FORWARD -j DROP"], True),
        (["-A FORWARD -i gre+ -j REJECT --reject-with icmp-port-unreachable"], True),
        (["-P FORWARD", "-A FORWARD -i gre1 -o gre1 -j ACCEPT"], False),
        (["-P FORWARD", "-A FORWARD -i gre1 -s 172.16.0.0/12 -j ACCEPT"], False),
        (["-P FORWARD", f"-A FORWARD {ESTABLISHED}"], True),
        (["-A FORWARD -i gre1 -s 172.16.9.0/24 -j DROP"], False),
        (["-A FORWARD ! -i gre1 -j DROP"], False),
        (["-A FORWARD ! -i eth0 -j DROP"], True),
        (["-A FORWARD -o eth0 -j DROP"], False),
        (["-A FORWARD -m conntrack --ctstate INVALID -j DROP"], False),
        (["-N ours", "-A FORWARD -i gre1 -j ours", "-A ours -j DROP"], True),
        (["-N ours", "-A FORWARD -s 10.0.0.0/8 -j ours", "-A ours -j DROP"], False),
        (["-N ours", "-A FORWARD -j ours", "-A ours -i gre1 -j RETURN", "-A ours -j DROP"], False),
        (["-N ours", "-A FORWARD -g ours", "-A FORWARD -j DROP"], False),
        (["-P FORWARD", "-N ours", "-A FORWARD -s 10.0.0.0/8 -j ours", "-A ours -j ACCEPT"], False),
        (['-A FORWARD -m comment --comment "let it be" -j DROP'], True),
    ],
)
def test_what_goes_from_spoke_to_spoke(lines, drops) -> None:
    found = filtered(*lines)
    assert bool(found) == drops
    if drops:
        finding = the_only(found)
        assert finding.state is State.PROBLEM
        assert "what goes from one spoke to another: nothing is relayed" in finding.finding


def test_the_remedy_leaves_the_samples_in_front() -> None:
    found = the_only(filtered("-P FORWARD"))
    assert "FORWARD of iptables drops (its policy)" in found.finding
    assert found.remedy == "iptables -I FORWARD 2 -i gre1 -o gre1 -j ACCEPT"
    of_docker = the_only(filtered("-P FORWARD", "-N DOCKER-USER"))
    assert of_docker.remedy == "iptables -I DOCKER-USER 1 -i gre1 -o gre1 -j ACCEPT"
    forward = [chain("forward", "drop"), rule("forward", {"log": {"group": 1}})]
    of_nft = the_only(with_chains(nft_chains({"nftables": forward})))
    assert of_nft.remedy == "nft add rule inet fw forward handle 7 iifname gre1 oifname gre1 accept"
    of_mangle = the_only(filtered("-A FORWARD -j DROP", table="mangle"))
    assert (of_mangle.remedy or "").startswith("iptables -t mangle -I FORWARD")


@pytest.mark.parametrize(
    ("lines", "lans", "cut_off"),
    [
        (["-P FORWARD"], [LAN], True),
        (["-P FORWARD"], [], False),
        (["-P FORWARD", f"-A FORWARD {ESTABLISHED}"], [LAN], True),
        (["-P FORWARD", f"-A FORWARD {ESTABLISHED}", "-A FORWARD -i lan0 -j ACCEPT"], [LAN], False),
        (["-P FORWARD", "-A FORWARD -i lan0 -j ACCEPT"], [LAN], True),
        (["-P FORWARD", "-A FORWARD -i docker0 -j ACCEPT"], [LAN, DOCKER], True),
        (["-A FORWARD -i lan1 -j DROP"], [LAN, GUESTS], False),
        (["-A FORWARD -i eth0 -j DROP"], [LAN], False),
    ],
)
def test_a_spoke_whose_networks_are_cut_off(lines, lans, cut_off) -> None:
    found = filtered(*lines, interface=SPOKE, lans=lans)
    assert [each.state for each in found] == [State.PROBLEM] * cut_off
    for each in found:
        assert "lan0" in each.finding
        assert each.remedy is not None
        assert "-i gre1 -j ACCEPT && iptables -I FORWARD 2 -o gre1 -j ACCEPT" in each.remedy


@pytest.mark.parametrize(
    ("lines", "interface", "words", "remedy"),
    [
        (["-A INPUT -p esp -j DROP"], PROTECTED, "ESP (protocol 50): nothing arrives", "-p esp"),
        (["-A INPUT -p 50 -j REJECT"], PROTECTED, "ESP (protocol 50): nothing arrives", "-p esp"),
        (
            ["-A INPUT -p udp -m udp --dport 500 -j DROP"],
            PROTECTED,
            "IKE (UDP 500): nothing arrives",
            "-p udp --dport 500",
        ),
        (
            ["-A INPUT -p udp -m multiport --dports 4000:4600 -j DROP"],
            PROTECTED,
            "IKE behind NAT (UDP 4500)",
            "-p udp --dport 4500",
        ),
        (["-A INPUT -i eth0 -p gre -j DROP"], CLEAR, "GRE (protocol 47): nothing", "-p gre"),
        (["-A INPUT -p gre -j DROP"], PROTECTED, "GRE (protocol 47): nothing", "-p gre"),
        (["-A OUTPUT -p gre -j DROP"], CLEAR, "GRE (protocol 47): nothing leaves", "-o eth0"),
        (["-A INPUT -p esp -j DROP"], CLEAR, None, None),
        (["-A INPUT -i eth1 -p gre -j DROP"], CLEAR, None, None),
        (["-A INPUT -s 203.0.113.3 -p gre -j DROP"], CLEAR, None, None),
        (["-A INPUT -p tcp --dport 500 -j DROP"], PROTECTED, None, None),
        (["-P INPUT", "-A INPUT -p gre -j ACCEPT"], CLEAR, None, None),
        (["-P INPUT", "-A INPUT -p gre -s 203.0.113.0/24 -j ACCEPT"], CLEAR, None, None),
    ],
)
def test_what_carries_the_tunnel(lines, interface, words, remedy) -> None:
    found = filtered(*lines, interface=interface)
    if words is None:
        assert found == []
        return
    finding = the_only(found)
    assert (finding.state, words in finding.finding) == (State.PROBLEM, True)
    assert remedy in (finding.remedy or "")


def test_only_answers_are_let_in() -> None:
    """A hub is called by its spokes; a spoke begins with the hub, and other spokes may not."""
    hub = the_only(filtered("-P INPUT", ANSWERS, interface=CLEAR))
    assert hub.state is State.PROBLEM
    assert "GRE (protocol 47) but for answers: spokes cannot register" in hub.finding
    spoke = the_only(filtered("-P INPUT", ANSWERS, interface=SPOKE))
    assert (spoke.state, "cannot begin" in spoke.finding) == (State.WARNING, True)
    assert spoke.remedy == "iptables -I INPUT 1 -i eth0 -p gre -j ACCEPT"


def test_esp_that_goes_in_udp_need_not_come_by_itself() -> None:
    in_udp = a_charon(template={"dmvpn": CONNECTION | {"encap": b"yes"}})
    assert filtered("-A INPUT -p esp -j DROP", charon=in_udp) == []


def chain(hook: str, policy: str = "accept") -> dict:
    more = {"hook": hook, "type": "filter", "prio": 0, "policy": policy}
    return {"chain": {"family": "inet", "table": "fw", "name": hook, **more}}


def rule(where: str, *expressions: dict) -> dict:
    inside = {"family": "inet", "table": "fw", "chain": where, "handle": 7}
    return {"rule": {**inside, "expr": list(expressions)}}


def match(left: dict, right: object, op: str = "==") -> dict:
    return {"match": {"op": op, "left": left, "right": right}}


PROTO, STATE = {"meta": {"key": "l4proto"}}, {"ct": {"key": "state"}}
DPORT = {"payload": {"protocol": "udp", "field": "dport"}}
ACCEPT, DROP = {"accept": None}, {"drop": None}
STATES = {
    "vmap": {
        "key": STATE,
        "data": {"set": [["established", ACCEPT], ["related", ACCEPT], ["invalid", DROP]]},
    }
}
IKE = match(DPORT, {"set": [500, 4500]})


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ([chain("input", "drop")], "nothing arrives"),
        ([chain("input", "drop"), rule("input", STATES)], "but for answers"),
        ([chain("input"), rule("input", match(PROTO, "esp"), DROP)], "ESP (protocol 50): nothing"),
        ([chain("input"), rule("input", match(PROTO, {"set": ["esp", "ah"]}), DROP)], "ESP"),
        ([chain("input"), rule("input", match(PROTO, "esp", "!="), DROP)], None),
        ([chain("input"), rule("input", {"limit": {"rate": 1}}, DROP)], None),
        ([chain("input"), rule("input", match(DPORT, {"range": [1, 1000]}), DROP)], "UDP 500"),
        (
            [
                chain("input", "drop"),
                rule("input", STATES),
                rule("input", match(PROTO, {"set": ["esp", "gre"]}), ACCEPT),
                rule("input", IKE, ACCEPT),
            ],
            None,
        ),
        ([chain("forward", "drop")], "nothing is relayed"),
        ([chain("forward", "drop"), rule("forward", {"xt": None}, ACCEPT)], None),
        ([chain("output"), rule("output", match(PROTO, "esp"), {"reject": None})], "leaves"),
    ],
)
def test_nft(rules, words) -> None:
    found = with_chains(nft_chains({"nftables": rules}))
    assert bool(found) == (words is not None)
    if words is not None:
        assert words in found[0].finding
        assert (found[0].remedy or "").startswith("nft insert rule inet fw ")


def test_rules_that_cannot_be_read_are_the_matter_of_another_check() -> None:
    facts = a_machine(firewall=FirewallFacts())
    assert not [each for each in complaints(facts) if each.area == "firewall"]
