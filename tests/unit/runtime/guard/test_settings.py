"""Settings of the kernel that have it skip all IPsec policies."""

import pytest
import trio

from nhrpd_py.core.effects import ProtectedGre
from nhrpd_py.core.notices import GuardFailed
from nhrpd_py.runtime.guard import guard as guard_module
from nhrpd_py.runtime.guard.gre_block import bypasses
from nhrpd_py.runtime.guard.policies import GuardError
from nhrpd_py.runtime.netlink import xfrm
from tests.unit.runtime.guard.guard_world import GRE_42, a_setting, an_allowing, pair


def test_settings_that_skip_policies_keep_the_tunnel_closed(world):
    a_setting(world.settings, "net/ipv4/conf/eth0.5/disable_xfrm")
    tunnel = ProtectedGre(input_key=42, output_key=42, underlay="eth0.5")
    with pytest.raises(GuardError) as caught:
        world.guard.protect("gre1", 7, tunnel)
    assert str(caught.value) == (
        "the kernel skips all IPsec policies; mend it: sysctl -w net/ipv4/conf/eth0.5/disable_xfrm=0"
    )
    world.guard.protect("gre2", 7, GRE_42)


async def test_such_a_setting_made_later_is_a_problem(world, monkeypatch):
    monkeypatch.setattr(guard_module, "RETRY_S", 0.02)
    monkeypatch.setattr(guard_module, "SETTINGS_S", 0.02)
    world.guard.protect("gre1", 7, GRE_42)
    async with world.running():
        a_setting(world.settings, "net/ipv4/conf/all/disable_policy")
        await world.until(lambda: world.refusals, "the refusal")
        assert world.refusals == [(7, world.guard.problems["gre1"])]
        (world.settings / "net/ipv4/conf/all/disable_policy").write_text("0\n")
        await world.until(lambda: not world.guard.problems, "its end")
        assert world.mended == [7]
    assert len(world.of(GuardFailed)) == 1


async def test_a_tunnel_that_was_closed_from_the_start_is_told_when_that_is_mended(
    world, monkeypatch
):
    monkeypatch.setattr(guard_module, "RETRY_S", 0.02)
    monkeypatch.setattr(guard_module, "SETTINGS_S", 0.02)
    a_setting(world.settings, "net/ipv4/conf/all/disable_policy")
    async with world.running():
        with pytest.raises(GuardError) as caught:
            world.guard.protect("gre1", 7, GRE_42)
        assert world.kernel.texts() == pair(42)
        with pytest.raises(GuardError):  # the netdev was made anew meanwhile
            world.guard.protect("gre1", 9, GRE_42)
        await world.until(lambda: world.guard.counters["failures"] > 2, "some looks")
        assert world.guard.problems == {"gre1": str(caught.value)}
        assert not world.mended
        (world.settings / "net/ipv4/conf/all/disable_policy").write_text("0\n")
        await world.until(lambda: world.mended, "the end of it")
        assert world.mended == [9]
    assert not world.refusals  # the caller knew
    assert not world.of(GuardFailed)


async def test_settings_are_not_read_with_each_policy_of_each_sa(world, monkeypatch):
    """A negotiation makes and changes many; it cost an eighth of the daemon's time on the way to a direct path."""
    reads = []

    def looks(*_: object) -> list[str]:
        reads.append(1)
        return []

    monkeypatch.setattr(guard_module, "bypasses", looks)
    world.guard.protect("gre1", 7, GRE_42)
    async with world.running():
        await world.until(lambda: len(reads) > 2, "the first looks")
        before = len(reads)
        for number in range(20):
            policy = an_allowing(key=100 + number)
            world.kernel.put(xfrm.XFRM_MSG_UPDPOLICY, xfrm.set_policy(policy))
            await trio.sleep(0.002)
        assert len(reads) - before <= 2


def test_each_family_has_its_settings(tmp_path):
    a_setting(tmp_path, "net/ipv6/conf/all/disable_policy")
    assert bypasses(GRE_42, tmp_path) == []
    assert bypasses(ProtectedGre(ipv6=True), tmp_path) == ["net/ipv6/conf/all/disable_policy"]


def test_lo_skips_policies_and_no_packet_leaves_by_it(tmp_path):
    a_setting(tmp_path, "net/ipv4/conf/lo/disable_policy")
    assert bypasses(ProtectedGre(underlay="lo"), tmp_path) == []
