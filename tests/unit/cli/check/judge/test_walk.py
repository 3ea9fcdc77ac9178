"""The way of a packet through chains that many rules lead to."""

from nhrpd_py.cli.check.facts import BaseChain, Conditions, FilterRule, Verdict
from nhrpd_py.cli.check.judge.walk import Packet, way_of

DROP = [FilterRule(text="drop", verdict=Verdict.DROP)]
PACKET = Packet(family="ip", input="eth0", protocol="udp", port=500)


def jump(chain: str, *, surely: bool = True) -> FilterRule:
    conditions = Conditions(more=not surely)
    return FilterRule(
        text=f"jump {chain}", conditions=conditions, verdict=Verdict.JUMP, target=chain
    )


def a_chain(**chains: list[FilterRule]) -> BaseChain:
    return BaseChain(
        tool="nft", family="inet", table="filter", name="input", hook="input", chains=chains
    )


def test_chains_that_many_rules_lead_to_are_gone_through_once() -> None:
    """Machines that run containers have such: each chain jumps to the next one several times."""
    levels = {f"c{number}": [jump(f"c{number + 1}")] * 9 for number in range(15)}
    way = way_of(a_chain(input=[jump("c0")], **levels, c15=[]), PACKET)
    assert way.verdict is Verdict.ACCEPT
    way = way_of(a_chain(input=[jump("c0")], **levels, c15=DROP), PACKET)
    assert (way.dropped, way.by) == (True, "drop")


def test_what_a_chain_may_drop_it_drops_where_a_rule_leads_there_for_sure() -> None:
    way = way_of(a_chain(input=[jump("bad", surely=False), jump("bad")], bad=DROP), PACKET)
    assert way.dropped


def test_circle_of_chains_decides_nothing() -> None:
    way = way_of(a_chain(input=[jump("one")], one=[jump("other")], other=[jump("one")]), PACKET)
    assert way.verdict is Verdict.ACCEPT
