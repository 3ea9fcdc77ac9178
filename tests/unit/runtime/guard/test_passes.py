"""Policies of other programs that win over IPsec's, and let GRE pass in clear text."""

from dataclasses import replace

import pytest

from nhrpd_py.core.address import parse_address
from nhrpd_py.core.effects import ProtectedGre
from nhrpd_py.core.notices import GuardFailed
from nhrpd_py.runtime.guard import guard as guard_module
from nhrpd_py.runtime.guard.passes import holds, is_pass, mending
from nhrpd_py.runtime.guard.policies import GuardError
from nhrpd_py.runtime.netlink import xfrm
from nhrpd_py.runtime.netlink.xfrm import (
    IPPROTO_GRE,
    Action,
    Direction,
    Policy,
    PolicyTemplate,
    Selector,
    gre_selector,
)
from tests.unit.runtime import xfrm_peer as peer
from tests.unit.runtime.guard.guard_world import GRE_42, GRE_43, pair

SPOKE, HUB, ELSEWHERE = (parse_address(text) for text in ("192.0.2.1", "192.0.2.2", "198.51.100.2"))
WAN = Selector(
    ipv6=False,
    source=parse_address("192.0.2.0"),
    source_length=24,
    destination=parse_address("192.0.2.0"),
    destination_length=24,
)
BYPASS = Policy(WAN, Direction.OUT, Action.ALLOW, 175_423)
"""What charon's bypass-lan makes of a subnet."""
LAN = replace(WAN, source=parse_address("172.16.1.0"), destination=parse_address("172.16.1.0"))
WHY = (
    "a policy of another program lets GRE between 192.0.2.1 and 192.0.2.2 pass in clear text: "
    "src 192.0.2.0/24 dst 192.0.2.0/24 dir out action allow priority 175423; mend it: charon has it "
    "from its plugin bypass-lan, or from a child with mode = pass: charon.plugins.bypass-lan "
    "{ load = no } in strongswan.conf, or interfaces_ignore there"
)


def put(world, policy: Policy) -> tuple[bytes, int]:
    payload = xfrm.set_policy(policy)
    world.kernel.put(xfrm.XFRM_MSG_NEWPOLICY, payload)
    return payload[:56], policy.direction


async def test_a_hole_between_addresses_in_use_closes_the_tunnel_until_it_is_gone(
    world, monkeypatch
):
    monkeypatch.setattr(guard_module, "RETRY_S", 0.02)
    world.guard.protect("gre1", 7, GRE_42)
    async with world.running():
        world.guard.uses("gre1", SPOKE, HUB)
        slot = put(world, BYPASS)
        await world.until(lambda: world.refusals, "the refusal")
        assert world.refusals == [(7, WHY)]
        assert world.guard.problems == {"gre1": WHY}
        world.guard.leaves("gre1", SPOKE, HUB)  # as the engine closes the tunnel
        with pytest.raises(GuardError, match="bypass-lan"):  # and tries it again
            world.guard.protect("gre1", 7, GRE_42)
        assert set(pair(42)) < set(world.kernel.texts())
        assert not world.mended
        world.kernel.delete(slot)
        await world.until(lambda: world.mended, "the end of it")
        assert world.mended == [7]
        world.guard.protect("gre1", 7, GRE_42)
    assert [notice.reason for notice in world.of(GuardFailed)] == [WHY]


def test_a_hole_that_is_there_already_closes_it_before_the_first_packet(world):
    put(world, BYPASS)
    world.guard.protect("gre1", 7, GRE_42)
    assert world.refusals == []
    world.guard.uses("gre1", SPOKE, ELSEWHERE)
    assert world.refusals == []
    world.guard.uses("gre1", SPOKE, HUB)
    assert world.refusals == [(7, WHY)]


async def test_between_other_addresses_it_is_no_matter_of_ours(world):
    world.guard.protect("gre1", 7, GRE_42)
    async with world.running():
        world.guard.uses("gre1", SPOKE, HUB)
        world.guard.uses("gre1", SPOKE, ELSEWHERE)
        world.guard.leaves("gre1", SPOKE, HUB)
        put(world, replace(BYPASS, selector=LAN))
        put(world, BYPASS)
        await world.until(lambda: len(world.guard._passes._passing) == 2, "both")
        assert world.guard.audit()
    assert world.refusals == []


async def test_a_peer_that_came_by_itself_counts_by_the_policies_of_its_sa(world):
    world.guard.protect("gre1", 7, GRE_42)
    async with world.running():
        put(world, BYPASS)
        sa = peer.TOLD_PEER
        world.kernel.put(xfrm.XFRM_MSG_NEWPOLICY, sa)
        await world.until(lambda: world.refusals, "the refusal")
        assert world.refusals == [(7, WHY)]
        world.kernel.delete((sa[:56], Direction.OUT))  # the SA ends, the hole stays
        await world.until(lambda: not world.guard._passes._pairs, "its end")
        assert not world.guard.audit()
    assert not world.mended


async def test_the_sa_of_another_tunnel_closes_that_tunnel_alone(world):
    put(world, BYPASS)
    world.guard.protect("gre1", 7, GRE_42)
    world.guard.protect("gre2", 8, GRE_43)
    world.guard.uses("gre2", ELSEWHERE, HUB)
    world.guard.uses("gre1", SPOKE, HUB)
    world.kernel.put(xfrm.XFRM_MSG_NEWPOLICY, peer.TOLD_PEER)
    world.guard.audit()
    assert world.refusals == [(7, WHY)]


async def test_a_flush_takes_the_hole_along(world, monkeypatch):
    monkeypatch.setattr(guard_module, "RETRY_S", 0.02)
    put(world, BYPASS)
    world.guard.protect("gre1", 7, GRE_42)
    async with world.running():
        world.guard.uses("gre1", SPOKE, HUB)
        world.kernel.flush()
        await world.until(lambda: world.mended, "the end of it")
        assert world.kernel.texts() == pair(42)


ESP = PolicyTemplate(SPOKE, HUB, 50, 0, 1)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (BYPASS, True),
        (replace(BYPASS, direction=Direction.IN), True),
        (replace(BYPASS, mark=(5, 0xFF)), True),
        (replace(BYPASS, priority=1_000_000), True),
        (replace(BYPASS, selector=replace(WAN, protocol=IPPROTO_GRE)), True),
        (replace(BYPASS, selector=gre_selector(42, ipv6=False)), True),
        (replace(BYPASS, selector=gre_selector(43, ipv6=False)), False),
        (replace(BYPASS, selector=Selector(ipv6=False)), True),
        (replace(BYPASS, selector=Selector(ipv6=True)), False),
        (replace(BYPASS, selector=LAN), False),
        (replace(BYPASS, selector=replace(WAN, protocol=17)), False),
        (replace(BYPASS, selector=replace(WAN, destination_length=32)), False),
        (replace(BYPASS, priority=1_000_001), False),
        (replace(BYPASS, action=Action.BLOCK), False),
        (replace(BYPASS, templates=(ESP,)), False),
        (replace(BYPASS, direction=Direction.FWD), False),
        (replace(BYPASS, if_id=9), False),
    ],
)
def test_which_policies_are_holes(policy: Policy, expected: bool) -> None:
    assert (is_pass(policy) and holds(policy, GRE_42, SPOKE, HUB)) is expected


def test_each_direction_has_its_key_and_its_addresses() -> None:
    gre = ProtectedGre(input_key=1, output_key=2)
    coming = Policy(gre_selector(1, ipv6=False), Direction.IN, Action.ALLOW, 0)
    coming = replace(coming, selector=replace(coming.selector, source=HUB, source_length=32))
    assert holds(coming, gre, SPOKE, HUB)
    assert not holds(coming, gre, HUB, SPOKE)
    assert not holds(replace(coming, direction=Direction.OUT), gre, HUB, SPOKE)


def test_what_charon_does_not_own_is_deleted() -> None:
    by_hand = replace(BYPASS, priority=5, mark=(5, 0xFF))
    assert mending(by_hand) == (
        "ip xfrm policy delete src 192.0.2.0/24 dst 192.0.2.0/24 dir out mark 0x5 mask 0xff"
    )
