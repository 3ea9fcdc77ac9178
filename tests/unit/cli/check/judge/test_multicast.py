"""The rules that give multicast to the daemon and drop the original, and who listens."""

from pathlib import Path

import pytest

from nhrpd_py.cli.check.facts import BaseChain, FirewallFacts, Listener
from nhrpd_py.cli.check.findings import Finding, State, Unread
from nhrpd_py.cli.check.parse.firewall import sampling_rules
from nhrpd_py.cli.check.parse.iptables import iptables_chains
from nhrpd_py.cli.check.parse.nft import nft_chains
from nhrpd_py.cli.check.report import findings
from nhrpd_py.core.config import InterfaceConfig
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

SAMPLES = Path(__file__).parents[5] / "etc"
TALKER = InterfaceConfig(name="gre1", network_id=1, multicast=("dynamic",))
OURS = {2: Listener(7, "nhrpd")}
GIVEN = "-o gre1 -d 224.0.0.0/4 -j NFLOG --nflog-group 2"
DROPPED = "-o gre1 -d 224.0.0.0/4 -j DROP"
OUTPUT = [f"-A OUTPUT {GIVEN}", f"-A OUTPUT {DROPPED}"]
FORWARD = [f"-A FORWARD {GIVEN}", f"-A FORWARD {DROPPED}"]


def iptables(*lines: str, family: str = "ip") -> list[BaseChain]:
    head = "*filter\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:mine - [0:0]\n"
    text = head + "".join(f"[3:9] {line}\n" for line in lines) + "COMMIT\n"
    tool = "iptables" if family == "ip" else "ip6tables"
    return iptables_chains(text, tool=tool, family=family)


def a_node(chains: list[BaseChain], *, tools=("iptables", "ip6tables"), listeners=OURS, **changes):
    firewall = FirewallFacts(
        rules=sampling_rules(chains), chains=chains, tools=frozenset(tools), listeners=listeners
    )
    return a_machine(TALKER, firewall=firewall, **changes)


def told(facts) -> list[Finding]:
    return [each for each in complaints(facts) if each.area == "multicast"]


def test_the_sample_for_iptables_is_right() -> None:
    text = (SAMPLES / "iptables-multicast.rules").read_text()
    lines = [line.split(maxsplit=3) for line in text.splitlines() if line.startswith("-I")]
    chains = iptables(*(f"-A {chain} {rest}" for _, chain, _, rest in lines))
    assert complaints(a_node(chains)) == []
    assert "IPv4 multicast goes to group 2 alone" in [
        each.finding for each in findings(a_node(chains))
    ]


def test_ipv6_inside_needs_rules_of_its_own() -> None:
    inside = (*gre1().addresses, ("fd00:ff::1", 128, "global"))
    kernel = a_kernel(
        ETH0,
        gre1(addresses=inside),
        sysctls={"net/ipv6/conf/all/forwarding": "1", "net/ipv6/neigh/gre1/app_solicit": "1"},
    )
    chains = iptables(*OUTPUT, *FORWARD)
    own, forwarded = told(a_node(chains, kernel=kernel))
    assert own.finding == (
        "no rule gives IPv6 multicast (this machine's own) to group 2: nobody gets it"
    )
    assert own.remedy == (
        "ip6tables -I OUTPUT 1 -o gre1 -d ff00::/8 -j NFLOG --nflog-group 2 && "
        "ip6tables -I OUTPUT 2 -o gre1 -d ff00::/8 -j DROP"
    )
    assert (own.state, forwarded.state) == (State.PROBLEM, State.WARNING)
    text = (SAMPLES / "ip6tables-multicast.rules").read_text()
    lines = [line.split(maxsplit=3) for line in text.splitlines() if line.startswith("-I")]
    chains += iptables(*(f"-A {chain} {rest}" for _, chain, _, rest in lines), family="ip6")
    assert complaints(a_node(chains, kernel=kernel)) == []


@pytest.mark.parametrize(
    ("lines", "state", "words"),
    [
        (FORWARD, State.PROBLEM, "no rule gives IPv4 multicast (this machine's own) to group 2"),
        (OUTPUT, State.WARNING, "no rule gives IPv4 multicast (what it forwards) to group 2"),
        ([OUTPUT[1], OUTPUT[0], *FORWARD], State.PROBLEM, "a rule before the one for group 2"),
        (
            ["-A OUTPUT -o gre1 -j ACCEPT", *OUTPUT, *FORWARD],
            State.PROBLEM,
            "decides on IPv4 multicast (this machine's own) (-A OUTPUT -o gre1 -j ACCEPT)",
        ),
        ([OUTPUT[0], *FORWARD], State.PROBLEM, "is not dropped behind the rule"),
        (
            [f"{OUTPUT[0]} --nflog-size 128", OUTPUT[1], *FORWARD],
            State.PROBLEM,
            "cuts packets to 128 octets",
        ),
        (
            [
                f"-A OUTPUT -m limit --limit 9/sec {GIVEN}",
                f"-A OUTPUT {DROPPED}",
                *FORWARD,
            ],
            State.PROBLEM,
            "has a limit",
        ),
        (
            ["-A OUTPUT -o gre1 -d 224.0.0.5/32 -j ACCEPT", *OUTPUT, *FORWARD],
            State.PROBLEM,
            "a rule before the one for group 2",
        ),
        (
            [OUTPUT[0].replace("224.0.0.0/4", "239.0.0.0/8"), OUTPUT[1], *FORWARD],
            State.PROBLEM,
            "no rule gives",
        ),
        ([OUTPUT[0].replace("group 2", "group 3"), OUTPUT[1], *FORWARD], State.PROBLEM, "no rule"),
    ],
)
def test_what_is_wrong_with_the_rules_is_told(lines, state, words) -> None:
    (found,) = told(a_node(iptables(*lines)))
    assert found.state is state
    assert words in found.finding
    hook = "FORWARD" if state is State.WARNING else "OUTPUT"
    assert found.remedy == f"iptables -I {hook} 1 {GIVEN} && iptables -I {hook} 2 {DROPPED}"


@pytest.mark.parametrize(
    "lines",
    [
        ["-A OUTPUT -j mine", f"-A mine {GIVEN}", f"-A mine {DROPPED}"],
        ["-A OUTPUT -d 10.0.0.0/8 -j ACCEPT", "-A OUTPUT ! -d 224.0.0.0/4 -j ACCEPT", *OUTPUT],
        [OUTPUT[0], "-A OUTPUT -o gre1 -m pkttype --pkt-type multicast -j DROP"],
        ["-A OUTPUT -d neighbours.example -j ACCEPT", *OUTPUT],
        ["-A OUTPUT -o eth0 -j ACCEPT", *OUTPUT],
    ],
)
def test_what_may_well_be_right_is_no_complaint(lines) -> None:
    assert told(a_node(iptables(*lines, *FORWARD))) == []


def test_rules_for_multicast_do_not_disturb_the_judges_of_the_rest() -> None:
    """The DROP is about groups alone: what is relayed passes."""
    facts = a_node(iptables(*OUTPUT, *FORWARD))
    assert [each for each in complaints(facts) if each.area in ("firewall", "redirect")] == []


# nft


def chain(hook: str) -> dict:
    names = {"family": "inet", "table": "t", "name": hook}
    return {"chain": {**names, "hook": hook, "type": "filter", "prio": -150}}


def rule(hook: str, *expressions: dict) -> dict:
    return {"rule": {"family": "inet", "table": "t", "chain": hook, "expr": list(expressions)}}


def to(right: object, op: str = "==", protocol: str = "ip") -> dict:
    left = {"payload": {"protocol": protocol, "field": "daddr"}}
    return {"match": {"op": op, "left": left, "right": right}}


OUT = {"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": "gre1"}}
GROUPS = {"prefix": {"addr": "224.0.0.0", "len": 4}}
LOG = {"log": {"group": 2, "queue-threshold": 1}}
DROP = {"drop": None}


def nft(*rules: dict) -> list[BaseChain]:
    whole = rule("forward", OUT, to(GROUPS), LOG, DROP)
    return nft_chains({"nftables": [chain("output"), chain("forward"), *rules, whole]})


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ([rule("output", OUT, to(GROUPS), LOG, DROP)], None),
        ([rule("output", OUT, to(GROUPS), LOG), rule("output", OUT, to(GROUPS), DROP)], None),
        ([rule("output", OUT, to({"set": ["10.0.0.1", GROUPS]}), LOG, DROP)], None),
        ([rule("output", OUT, to(GROUPS), LOG)], "is not dropped"),
        ([rule("output", OUT, to(GROUPS), {"limit": {"rate": 9}}, LOG, DROP)], "has a limit"),
        ([rule("output", OUT, to(GROUPS), {"log": {"group": 2, "snaplen": 64}}, DROP)], "cuts"),
        ([rule("output", OUT, {"accept": None}), rule("output", LOG, DROP)], "before the one"),
        ([rule("output", OUT, to("224.0.0.9"), LOG, DROP)], "no rule gives"),
        ([rule("output", OUT, to(GROUPS, "!="), LOG, DROP)], "no rule gives"),
        ([rule("output", OUT, to("ff02::5", protocol="ip6"), LOG, DROP)], "no rule gives"),
    ],
)
def test_nft(rules, words) -> None:
    found = told(a_node(nft(*rules), tools=("nft",)))
    assert [words in each.finding for each in found] == [True] * (words is not None)
    assert all("nft 'add table inet nhrpd_multicast' && nft 'add" in str(f.remedy) for f in found)


# Who listens


def test_another_program_listens() -> None:
    found = the_complaint(
        a_node(iptables(*OUTPUT, *FORWARD), listeners={2: Listener(99, "ulogd -d")})
    )
    assert "ulogd -d (process 99) has bound it" in found.finding
    assert (found.remedy or "").startswith("multicast-group = 3   # under [nflog] in /etc/nhrpd/")


def test_nobody_listens() -> None:
    found = the_complaint(a_node(iptables(*OUTPUT, *FORWARD), listeners={}))
    assert "nobody listens" in found.finding


def test_what_was_lost_on_the_way_to_the_daemon_is_told() -> None:
    counters = {"nflog-multicast": {"packets": 9, "overruns": 1, "overload": 2}}
    daemon = a_daemon(a_config(TALKER), {"counters": counters})
    found = the_complaint(a_node(iptables(*OUTPUT, *FORWARD), daemon=daemon))
    assert (found.state, "lost multicast 3 times" in found.finding) == (State.WARNING, True)


def test_unprivileged_it_is_unknown() -> None:
    hidden = Unread("firewall rules: for root alone", "sudo nhrpctl check")
    facts = a_machine(TALKER, firewall=FirewallFacts(rules=hidden, listeners=hidden))
    assert [each.state for each in told(facts)] == [State.UNKNOWN]


def test_a_node_without_multicast_needs_none_of_it() -> None:
    assert not [each for each in findings(a_machine(SPOKE)) if each.area == "multicast"]
