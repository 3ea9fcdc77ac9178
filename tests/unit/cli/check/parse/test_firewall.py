"""What iptables and nft print, and whether it samples what a tunnel sends back into itself."""

import pytest

from nhrpd_py.cli.check.parse.firewall import sampling_rules
from nhrpd_py.cli.check.parse.iptables import iptables_chains
from nhrpd_py.cli.check.parse.nft import nft_chains

HEAD = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:dmvpn - [0:0]\n"
SAMPLE = "-j NFLOG --nflog-group 1 --nflog-size 128"


def saved(*lines: str) -> str:
    return HEAD + "".join(f"{line}\n" for line in lines) + "COMMIT\n"


def found(*lines: str):
    return sampling_rules(iptables_chains(saved(*lines), tool="iptables-legacy", family="ip"))


@pytest.mark.parametrize(
    ("lines", "samples"),
    [
        (
            [f"[5:9] -A FORWARD -i gre1 -o gre1 -m hashlimit --hashlimit-upto 4/minute {SAMPLE}"],
            True,
        ),
        ([f"[0:0] -A FORWARD {SAMPLE}"], True),
        ([f"[0:0] -A FORWARD -i gre+ -o gre+ {SAMPLE}"], True),
        ([f"[0:0] -A FORWARD -i gre1 -o gre2 {SAMPLE}"], False),
        ([f"[0:0] -A FORWARD ! -i gre1 -o gre1 {SAMPLE}"], False),
        ([f"[0:0] -A INPUT -i gre1 {SAMPLE}"], False),
        ([f"[0:0] -A dmvpn {SAMPLE}"], False),
        (["[0:0] -A FORWARD -i gre1 -o gre1 -j dmvpn", f"[0:0] -A dmvpn {SAMPLE}"], True),
        (["[0:0] -A FORWARD -i eth0 -j dmvpn", f"[0:0] -A dmvpn -i gre1 {SAMPLE}"], False),
        (["[0:0] -A FORWARD -j dmvpn", "[0:0] -A dmvpn -j dmvpn"], False),
        (['[0:0] -A FORWARD -m comment --comment "it\'s" -j ACCEPT'], False),
    ],
)
def test_iptables(lines, samples) -> None:
    assert any(rule.samples("gre1") for rule in found(*lines)) == samples


def test_counter_and_the_option_that_never_worked() -> None:
    (rule,) = found("[5:9] -A FORWARD -j NFLOG --nflog-group 3 --nflog-range 128")
    assert (rule.group, rule.packets, rule.range_only) == (3, 5, True)
    (rule,) = found(f"[5:9] -A FORWARD {SAMPLE}")
    assert not rule.range_only


def test_without_counters_and_in_another_table() -> None:
    text = f"*mangle\n:FORWARD ACCEPT [0:0]\n-A FORWARD {SAMPLE}\nCOMMIT\n" + saved()
    (rule,) = sampling_rules(iptables_chains(text, tool="iptables", family="ip"))
    assert rule.packets is None


def chain(name: str, **more: object) -> dict:
    return {"chain": {"family": "inet", "table": "t", "name": name, **more}}


def rule(name: str, *expressions: dict) -> dict:
    return {"rule": {"family": "inet", "table": "t", "chain": name, "expr": list(expressions)}}


def meta(key: str, right: object, op: str = "==") -> dict:
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": right}}


LOG = {"log": {"group": 1, "snaplen": 128}}
FORWARD = chain("f", hook="forward", type="filter", prio=0)
BOTH = meta("iifname", "gre1"), meta("oifname", "gre1")


def by_map(data: object, key: str = "iifname") -> dict:
    return {"vmap": {"key": {"meta": {"key": key}}, "data": data}}


def vmap(key: str, value: str, target: str) -> dict:
    pairs = [["lo", {"accept": None}], [value, {"jump": {"target": target}}]]
    return by_map({"set": pairs}, key)


NAMED = {"family": "inet", "table": "t", "type": "ifname"}
COUNTED = {"elem": {"val": "gre1", "counter": {"packets": 0, "bytes": 0}}}
TUNNELS = {"set": NAMED | {"name": "tunnels", "elem": ["gre0", COUNTED]}}
WAYS = {"map": NAMED | {"name": "ways", "elem": [["gre1", {"goto": {"target": "g"}}]]}}


@pytest.mark.parametrize(
    ("items", "samples"),
    [
        ([FORWARD, rule("f", *BOTH, {"counter": {"packets": 2, "bytes": 9}}, LOG)], True),
        ([FORWARD, rule("f", LOG)], True),
        ([FORWARD, rule("f", meta("iifname", {"set": ["eth0", "gre1"]}), LOG)], True),
        ([FORWARD, rule("f", meta("iifname", "gre*"), LOG)], True),
        ([FORWARD, rule("f", meta("iifname", "gre1", "!="), LOG)], False),
        ([chain("f", hook="input"), rule("f", *BOTH, LOG)], False),
        (
            [FORWARD, chain("g"), rule("f", BOTH[0], {"jump": {"target": "g"}}), rule("g", LOG)],
            True,
        ),
        ([FORWARD, chain("g"), rule("g", LOG)], False),
        ([FORWARD, rule("f", *BOTH, {"log": {"prefix": "x"}})], False),
        ([FORWARD, rule("f", {"xt": None})], False),
        ([TUNNELS, FORWARD, rule("f", meta("iifname", "@tunnels"), LOG)], True),
        ([TUNNELS, FORWARD, rule("f", meta("iifname", "@others"), LOG)], False),
        ([FORWARD, chain("g"), rule("f", vmap("iifname", "gre1", "g")), rule("g", LOG)], True),
        ([FORWARD, chain("g"), rule("f", vmap("iifname", "eth0", "g")), rule("g", LOG)], False),
        ([FORWARD, chain("g"), rule("f", vmap("nfproto", "ipv4", "g")), rule("g", LOG)], True),
        ([WAYS, FORWARD, chain("g"), rule("f", by_map("@ways")), rule("g", LOG)], True),
    ],
)
def test_nft(items, samples) -> None:
    rules = sampling_rules(nft_chains({"nftables": items}))
    assert any(each.samples("gre1") for each in rules) == samples


def test_nft_counter() -> None:
    counted = rule("f", *BOTH, {"counter": {"packets": 2, "bytes": 9}}, LOG)
    (found_rule,) = sampling_rules(nft_chains({"nftables": [{"metainfo": {}}, FORWARD, counted]}))
    assert (found_rule.packets, found_rule.family, found_rule.group) == (2, "inet", 1)
