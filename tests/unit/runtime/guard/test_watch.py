"""The clear-text guard while somebody meddles with its policies in a scripted kernel."""

import errno

import pytest
import trio
import trio.testing

from nhrpd_py.core.notices import GuardFailed, GuardRestored
from nhrpd_py.runtime.guard import guard as guard_module
from nhrpd_py.runtime.guard.policies import GuardError
from nhrpd_py.runtime.netlink import xfrm
from nhrpd_py.runtime.netlink.xfrm import Direction
from tests.unit.runtime import xfrm_peer as peer
from tests.unit.runtime.guard.guard_world import GRE_42, GRE_43, V4, a_setting, an_allowing, pair


class Once(dict):
    """Refusals, each of which is given once."""

    def __getitem__(self, key):
        return self.pop(key)


async def test_a_flush_is_mended_at_once_and_told(world):
    world.guard.protect("gre1", 7, GRE_42)
    async with world.running():
        world.kernel.flush()
        await world.until(lambda: world.kernel.texts() == pair(42), "the guard")
        await world.until(lambda: len(world.of(GuardRestored)) == 2, "the notice")
    assert {notice.interface for notice in world.of(GuardRestored)} == {"gre1"}
    assert {notice.found for notice in world.of(GuardRestored)} == {""}
    assert world.guard.counters["restored"] == 2
    assert world.guard.counters["audits"] == 1


async def test_one_deleted_policy_is_put_back(world):
    world.guard.protect("gre1", 7, GRE_42)
    async with world.running():
        world.kernel.delete((peer.SELECT_42, Direction.OUT))
        await world.until(lambda: world.kernel.texts() == pair(42), "the guard")
        await world.until(lambda: world.of(GuardRestored), "the notice")
    assert [notice.policy for notice in world.of(GuardRestored)] == [pair(42)[1]]


async def test_a_changed_policy_is_set_right_and_told(world):
    world.guard.protect("gre1", 7, GRE_42)
    async with world.running():
        world.kernel.put(xfrm.XFRM_MSG_UPDPOLICY, xfrm.set_policy(an_allowing()))
        await world.until(lambda: world.of(GuardRestored), "the notice")
        assert world.kernel.texts() == pair(42)
    assert world.of(GuardRestored)[0].found == f"{V4} key 42 dir out action allow priority 5"


async def test_what_the_guard_itself_does_is_no_drift(world):
    async with world.running():
        world.guard.configure({"gre1"})
        world.guard.protect("gre1", 7, GRE_42)
        world.guard.protect("gre1", 7, GRE_43)
        world.guard.configure(())
        await trio.testing.wait_all_tasks_blocked(0.05)
    assert not world.of(GuardRestored)
    assert world.kernel.texts() == []


async def test_policies_of_others_come_and_go_unnoticed(world):
    world.guard.protect("gre1", 7, GRE_42)
    async with world.running():
        world.kernel.deeds.clear()
        for key in range(100, 200):
            policy = an_allowing(key=key)
            world.kernel.put(xfrm.XFRM_MSG_NEWPOLICY, xfrm.set_policy(policy))
            world.kernel.delete((xfrm.set_policy(policy)[:56], Direction.OUT))
            await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked(0.05)
    assert world.kernel.deeds == []


async def test_lost_news_are_made_up_for(world):
    world.guard.protect("gre1", 7, GRE_42)
    async with world.running():
        world.kernel.table.clear()
        world.notifications.faults.append(OSError(errno.ENOBUFS, "overrun"))
        world.kernel.tell(bytes(3))
        await world.until(lambda: world.kernel.texts() == pair(42), "the guard")
    assert world.guard.counters["overruns"] == 1


async def test_an_audit_finds_what_nobody_told(world, monkeypatch):
    monkeypatch.setattr(guard_module, "AUDIT_S", 0.02)
    world.guard.protect("gre1", 7, GRE_42)
    async with world.running():
        world.kernel.table.clear()
        await world.until(lambda: world.kernel.texts() == pair(42), "the guard")


async def test_a_guard_that_cannot_be_put_back_is_a_problem_until_it_is(world, monkeypatch):
    monkeypatch.setattr(guard_module, "RETRY_S", 0.02)
    world.guard.protect("gre1", 7, GRE_42)
    async with world.running():
        world.kernel.refuse[xfrm.XFRM_MSG_NEWPOLICY] = errno.EPERM
        world.kernel.flush()
        await world.until(lambda: world.guard.counters["audits"] > 3, "some tries")
        assert world.guard.problems == {"gre1": "no clear-text guard: CAP_NET_ADMIN is missing"}
        assert len(world.of(GuardFailed)) == 1
        assert world.refusals == [(7, "no clear-text guard: CAP_NET_ADMIN is missing")]
        world.kernel.refuse.clear()
        await world.until(lambda: not world.guard.problems, "the end of the problem")
        assert world.kernel.texts() == pair(42)


async def test_one_failure_to_put_it_back_is_forgiven(world, monkeypatch):
    monkeypatch.setattr(guard_module, "RETRY_S", 0.02)
    world.guard.protect("gre1", 7, GRE_42)
    async with world.running():
        world.kernel.refuse[xfrm.XFRM_MSG_NEWPOLICY] = errno.ENOMEM
        monkeypatch.setattr(world.kernel, "refuse", Once(world.kernel.refuse))
        world.kernel.flush()
        await world.until(lambda: world.kernel.texts() == pair(42), "the guard")
    assert world.guard.counters["failures"]
    assert world.refusals == []


async def test_tunnels_that_share_a_key_share_its_fate(world, monkeypatch):
    monkeypatch.setattr(guard_module, "RETRY_S", 0.02)
    world.guard.protect("gre1", 7, GRE_42)
    world.guard.protect("gre2", 8, GRE_42)
    async with world.running():
        world.kernel.flush()
        await world.until(lambda: len(world.of(GuardRestored)) == 4, "the guard")
        assert {notice.interface for notice in world.of(GuardRestored)} == {"gre1", "gre2"}
        world.kernel.refuse[xfrm.XFRM_MSG_NEWPOLICY] = errno.EPERM
        world.kernel.delete((peer.SELECT_42, Direction.OUT))
        await world.until(lambda: world.refusals, "the refusal")
        assert sorted(ifindex for ifindex, _ in world.refusals) == [7, 8]
        world.kernel.refuse.clear()
        await world.until(lambda: len(world.mended) == 2, "the end of it")
        assert sorted(world.mended) == [7, 8]


async def test_policies_that_cannot_be_read_are_a_problem_and_close_nothing(world, monkeypatch):
    monkeypatch.setattr(guard_module, "RETRY_S", 0.02)
    world.guard.protect("gre1", 7, GRE_42)

    def unreadable():
        raise GuardError("no clear-text guard: Too many open files")

    async with world.running():
        monkeypatch.setattr(world.guard._policies, "read", unreadable)
        world.notifications.faults.append(OSError(errno.ENOBUFS, "overrun"))
        world.kernel.tell(bytes(3))
        await world.until(lambda: world.guard.counters["audits"] > 5, "some looks")
        assert "gre1" in world.guard.problems
        assert world.refusals == []


async def test_a_refused_tunnel_that_is_protected_anew_can_be_refused_again(world, monkeypatch):
    monkeypatch.setattr(guard_module, "SETTINGS_S", 0.02)
    setting = world.settings / "net/ipv4/conf/all/disable_policy"
    world.guard.protect("gre1", 7, GRE_42)
    async with world.running():
        for count in (1, 2):
            a_setting(world.settings, "net/ipv4/conf/all/disable_policy")
            await world.until(lambda count=count: len(world.refusals) == count, "the refusal")
            with pytest.raises(GuardError):
                world.guard.protect("gre1", 7, GRE_42)
            setting.write_text("0\n")
            world.guard.protect("gre1", 7, GRE_42)


async def test_without_news_of_the_kernel_it_compares_again_and_again(world, monkeypatch):
    monkeypatch.setattr(guard_module, "RETRY_S", 0.02)
    world.deaf = True
    world.guard.protect("gre1", 7, GRE_42)
    async with world.running():
        for _ in range(2):
            world.kernel.table.clear()
            await world.until(lambda: world.kernel.texts() == pair(42), "the guard")
        assert [notice.interface for notice in world.of(GuardFailed)] == [""]
        world.deaf = False
        await world.until(lambda: world.notifications is not None, "the notice")
        world.kernel.flush()
        await world.until(lambda: world.kernel.texts() == pair(42), "the guard")


def test_a_place_that_is_taken_by_what_nobody_can_see_is_no_protection(world, monkeypatch):
    world.guard.protect("gre1", 7, GRE_42)
    monkeypatch.setattr(world.guard._policies, "standing", dict)
    with pytest.raises(GuardError, match="says it has, and does not show"):
        world.guard.protect("gre2", 7, GRE_42)
