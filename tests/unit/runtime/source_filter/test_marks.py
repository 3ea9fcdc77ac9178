"""Which rules of others use the marks of what comes out of SAs."""

import pytest

from nhrpd_py.runtime.source_filter.marks import of_iptables, of_nft, of_routing

LINKS = ("eth0", "gre1")


@pytest.mark.parametrize(
    ("row", "concerns"),
    [
        ({"priority": 100, "fwmark": "0x2", "table": "wan2"}, True),
        ({"priority": 100, "fwmark": "0x2", "fwmask": "0xff", "table": "wan2"}, True),
        ({"priority": 100, "fwmark": "0x4000", "fwmask": "0x4000", "table": "k8s"}, True),
        ({"priority": 100, "fwmark": "0xca6c0000", "table": "51820"}, False),
        ({"priority": 100, "fwmark": "0x20000", "fwmask": "0xff0000", "table": "x"}, False),
        ({"priority": 100, "not": None, "fwmark": "0x2", "table": "51820"}, False),
        ({"priority": 0, "table": "local"}, False),
        ({"priority": 0, "fwmark": "odd"}, False),
    ],
)
def test_routing_rules_that_small_marks_fit(row: dict[str, object], concerns: bool) -> None:
    assert bool(list(of_routing([row]))) is concerns


def test_a_routing_rule_is_named_as_people_write_it() -> None:
    row = {"priority": 100, "src": "all", "fwmark": "0x2", "table": "wan2"}
    assert list(of_routing([row])) == ["ip rule 100: fwmark 0x2 lookup wan2"]


def saved(*rules: str, table: str = "mangle") -> str:
    return "\n".join([f"*{table}", ":PREROUTING ACCEPT [0:0]", *rules, "COMMIT", ""])


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        (["-A PREROUTING -j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff"], 1),
        (["-A PREROUTING -j CONNMARK --save-mark"], 0),
        (["-A PREROUTING -i eth0 -j MARK --set-xmark 0x1/0xff"], 1),
        (["-A PREROUTING -i eth+ -j MARK --set-xmark 0x1/0xff"], 1),
        (["-A PREROUTING -i eth1 -j MARK --set-xmark 0x1/0xff"], 0),
        (["-A PREROUTING ! -i eth1 -j MARK --set-xmark 0x1/0xff"], 1),
        (["-A PREROUTING -j MARK --set-xmark 0x0/0xf0000"], 0),  # as Calico has it
        (["-A PREROUTING -j MARK --set-xmark 0x40000/0x40000"], 1),
        (["-A PREROUTING -j MARK --set-xmark 0x0/0xffffffff"], 1),
        (["-A PREROUTING -j MARK --set-xmark odd"], 1),
        (["-A PREROUTING -p tcp -j MARK --set-xmark 0x1/0xff"], 0),
        (["-A PREROUTING ! -p tcp -j MARK --set-xmark 0x1/0xff"], 1),
        (["-A PREROUTING -m mark --mark 0x3 -j DROP"], 1),
        (["-A PREROUTING -m mark ! --mark 0x3 -j DROP"], 0),
        (["-A PREROUTING -m mark --mark 0x0 -j DROP"], 0),
        (["-A PREROUTING -m mark --mark 0x30000/0xff0000 -j DROP"], 0),
        (["-A OUTPUT -j MARK --set-xmark 0x1/0xff"], 0),
        (["-A PREROUTING -j more", "-A more -j MARK --set-xmark 0x1/0xff"], 1),
        (["-A PREROUTING -i eth1 -j more", "-A more -j MARK --set-xmark 0x1/0xff"], 0),
        (["-A PREROUTING -j loop", "-A loop -j loop", "-A loop -j MARK --set-mark 1"], 1),
        (['-A PREROUTING -m comment --comment "odd --mark of -j MARK'], 1),
        (['-A PREROUTING -m comment --comment "odd --mark of'], 0),
        (["-A PREROUTING -p gre -j RETURN", "-A PREROUTING -j MARK --set-mark 1"], 0),
        (["-A PREROUTING -p gre -i eth1 -j RETURN", "-A PREROUTING -j MARK --set-mark 1"], 1),
        (["-A PREROUTING -i gre1 -j nh-gre1", "-A nh-gre1 -j MARK --set-mark 0"], 0),
        (['-A PREROUTING -m comment --comment "odd -j MARK --set-mark 1'], 1),
        (["-A PREROUTING -j ACCEPT"], 0),
    ],
)
def test_rules_of_iptables(rules: list[str], found: int) -> None:
    uses = list(of_iptables(saved(*rules), "iptables", LINKS))
    assert len(uses) == found


def test_many_ways_to_a_chain_are_one() -> None:
    ways = [f"-A c{at} -j c{at + 1}" for at in range(15) for _ in range(9)]
    text = saved("-A PREROUTING -j c0", *ways, "-A c15 -j MARK --set-mark 1")
    assert len(list(of_iptables(text, "iptables", LINKS))) == 1
    jumps: list[list[object]] = [[{"jump": {"target": "pre"}}]] * 9
    assert len(list(of_nft(a_ruleset(*jumps, [SET]), LINKS))) == 1


def test_a_rule_of_iptables_is_named_with_its_table() -> None:
    text = saved("-A PREROUTING -j MARK --set-mark 1")
    assert list(of_iptables(text, "iptables-legacy", LINKS)) == [
        "iptables-legacy -t mangle -A PREROUTING -j MARK --set-mark 1"
    ]


SET = {"mangle": {"key": {"meta": {"key": "mark"}}, "value": 1}}
META = {"meta": {"key": "mark"}}


def a_match(left: object, right: object, op: str = "==") -> dict[str, object]:
    return {"match": {"op": op, "left": left, "right": right}}


def iif(right: object, op: str = "==") -> dict[str, object]:
    return a_match({"meta": {"key": "iifname"}}, right, op)


def proto(right: object, op: str = "==") -> dict[str, object]:
    return a_match({"meta": {"key": "l4proto"}}, right, op)


def a_ruleset(
    *rules: list[object], hook: str = "prerouting", table: str = "t"
) -> dict[str, object]:
    place = {"family": "inet", "table": table}
    return {
        "nftables": [
            {"metainfo": {}},
            {"chain": {**place, "name": "pre", "hook": hook}},
            {"chain": {**place, "name": "more"}},
            *({"rule": {**place, "chain": "pre", "expr": each}} for each in rules),
            {"rule": {**place, "chain": "more", "expr": [SET]}},
        ]
    }


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ([[SET]], 1),
        ([[iif("eth0"), SET]], 1),
        ([[iif("eth1"), SET]], 0),
        ([[iif("eth1", "!="), SET]], 1),
        ([[iif({"set": ["eth1", "gre1"]}), SET]], 1),
        ([[proto("gre"), SET]], 1),
        ([[proto("tcp"), SET]], 0),
        ([[proto("tcp", "!="), SET]], 1),
        ([[a_match({"payload": {"protocol": "tcp", "field": "dport"}}, 80), SET]], 0),
        ([[a_match({"payload": {"protocol": "ip", "field": "saddr"}}, "10.0.0.1"), SET]], 1),
        ([[a_match({"payload": {"protocol": "ip", "field": "protocol"}}, "udp"), SET]], 0),
        ([[a_match(META, 3), {"drop": None}]], 1),
        ([[a_match(META, 3, "!="), {"drop": None}]], 0),
        ([[a_match(META, 0x30000), {"drop": None}]], 0),
        ([[a_match({"&": [META, 0xFF]}, 3), {"drop": None}]], 1),
        ([[a_match({"&": [META, 0xFF0000]}, 0x30000), {"drop": None}]], 0),
        ([[{"jump": {"target": "more"}}]], 1),
        ([[iif("eth1"), {"goto": {"target": "more"}}]], 0),
        ([[{"jump": {"target": "pre"}}]], 0),
        ([[proto("gre"), {"accept": None}], [SET]], 0),
        ([[proto("gre"), iif("eth1"), {"accept": None}], [SET]], 1),
        ([[{"counter": {"packets": 0}}]], 0),
    ],
)
def test_rules_of_nft(rules: list[list[object]], found: int) -> None:
    assert len(list(of_nft(a_ruleset(*rules), LINKS))) == found


def test_chains_of_other_hooks_and_our_own_tables_do_not_count() -> None:
    assert not list(of_nft(a_ruleset([SET], hook="output"), LINKS))
    assert not list(of_nft(a_ruleset([SET], table="nhrpd-gre1"), LINKS))
    assert list(of_nft(a_ruleset([SET], hook="input"), LINKS)) == [
        "meta mark set in nft list chain inet t pre"
    ]
