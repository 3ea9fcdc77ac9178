"""The clear-text guard against a scripted kernel: what stands when, and what happens to it."""

import contextlib
import errno
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from nhrpd_py.core.notices import GuardFailed, GuardRemoved, GuardRestored
from nhrpd_py.runtime.guard import guard as guard_module
from nhrpd_py.runtime.guard.gre_block import Tunnel, bypasses, is_guard
from nhrpd_py.runtime.guard.guard import Guard
from nhrpd_py.runtime.guard.policies import GuardError
from nhrpd_py.runtime.netlink import xfrm
from nhrpd_py.runtime.netlink.xfrm import Action, Direction, Policy, gre_selector
from nhrpd_py.runtime.netlink.xfrm_socket import Xfrm
from tests.unit.runtime import xfrm_peer as peer
from tests.unit.runtime.xfrm_peer import ScriptedXfrm

T42 = Tunnel(input_key=42, output_key=42, ifindex=7)
T43 = Tunnel(input_key=43, output_key=43)
V4 = "src 0.0.0.0/0 dst 0.0.0.0/0 proto gre"
REST = "action block priority 1000000"


def pair(key):
    return [f"{V4} key {key} dir in {REST}", f"{V4} key {key} dir out {REST}"]


def an_allowing(direction=Direction.OUT, key=42):
    return Policy(gre_selector(key, ipv6=False), direction, Action.ALLOW, 5)


class Once(dict):
    """Refusals, each of which is given once."""

    def __getitem__(self, key):
        return self.pop(key)


class World:
    def __init__(self, settings):
        self.kernel = ScriptedXfrm()
        self.notices = []
        self.refusals = []
        self.mended = []
        self.deaf = False
        self.news = None
        self.settings = settings
        self.guard = self.another()

    def another(self):
        """The guard of a daemon that starts."""
        return Guard(
            self.notices.append,
            lambda ifindex, reason: self.refusals.append((ifindex, reason)),
            self.mended.append,
            open_requests=lambda: Xfrm(self.kernel),
            open_news=self._listen,
            settings=self.settings,
        )

    def _listen(self):
        if self.deaf:
            raise OSError(errno.EMFILE, "Too many open files")
        self.news = self.kernel.listen()
        return self.news

    @contextlib.asynccontextmanager
    async def running(self):
        async with trio.open_nursery() as nursery:
            await nursery.start(self.guard.run)
            await self.until(lambda: self.guard.counters["audits"], "the first audit")
            yield self
            nursery.cancel_scope.cancel()

    async def until(self, condition, what):
        with trio.move_on_after(3):
            while not condition():  # noqa: ASYNC110 (it may be anything)
                await trio.sleep(0.005)
            return
        pytest.fail(f"not in time: {what}")

    def of(self, kind):
        return [notice for notice in self.notices if isinstance(notice, kind)]


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.kernel.close()


def test_a_pair_stands_when_protect_returns(world):
    world.guard.protect("gre1", T42)
    assert world.kernel.texts() == pair(42)
    assert [str(policy) for policy in sorted(world.guard.policies(), key=str)] == pair(42)


def test_protecting_again_asks_for_nothing_new(world):
    world.guard.protect("gre1", T42)
    deeds = list(world.kernel.deeds)
    world.guard.protect("gre1", T42)
    assert world.kernel.deeds == deeds


def test_an_ipv6_underlay_has_policies_of_its_family(world):
    world.guard.protect("gre1", Tunnel(ipv6=True, input_key=42, output_key=42))
    assert all(
        text.startswith("src ::/0 dst ::/0 proto gre key 42") for text in world.kernel.texts()
    )


def test_each_direction_has_its_own_key(world):
    world.guard.protect("gre1", Tunnel(input_key=1, output_key=2))
    assert world.kernel.texts() == [pair(1)[0], pair(2)[1]]


def test_a_tunnel_without_key_leaves_the_others_alone(world):
    world.guard.protect("gre1", Tunnel())
    assert world.kernel.texts() == pair(0)


def test_a_key_that_two_tunnels_share_is_let_go_by_the_last(world):
    world.guard.protect("gre1", T42)
    world.guard.protect("gre2", T42)
    world.guard.unprotect("gre1")
    assert world.kernel.texts() == pair(42)
    world.guard.unprotect("gre2")
    assert world.kernel.texts() == []
    assert len(world.of(GuardRemoved)) == 2


def test_the_policies_of_a_new_key_come_before_those_of_the_old_go(world):
    world.guard.protect("gre1", T42)
    world.kernel.deeds.clear()
    world.guard.protect("gre1", T43)
    kinds = [kind for kind, *_ in world.kernel.deeds]
    assert kinds == [xfrm.XFRM_MSG_NEWPOLICY] * 2 + [xfrm.XFRM_MSG_DELPOLICY] * 2
    assert world.kernel.texts() == pair(43)


def test_a_new_key_that_is_refused_leaves_the_old_one_guarded(world):
    world.guard.protect("gre1", T42)
    world.kernel.refuse[xfrm.XFRM_MSG_NEWPOLICY] = errno.ENOMEM
    with pytest.raises(GuardError, match="Cannot allocate memory"):
        world.guard.protect("gre1", T43)
    assert world.kernel.texts() == pair(42)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.EPERM, "CAP_NET_ADMIN is missing"),
        (errno.ENOPROTOOPT, "the kernel has no XFRM policies"),
        (errno.EAFNOSUPPORT, "the kernel has no XFRM policies of this family"),
    ],
)
def test_a_refusal_is_a_sentence(world, code, reason):
    world.kernel.refuse[xfrm.XFRM_MSG_NEWPOLICY] = code
    with pytest.raises(GuardError, match=f"^no clear-text guard: {reason}$"):
        world.guard.protect("gre1", T42)
    assert world.kernel.texts() == []


def test_a_kernel_without_xfrm(world):
    def absent():
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    guard = Guard(
        world.notices.append,
        lambda *_: None,
        lambda *_: None,
        open_requests=absent,
        open_news=absent,
    )
    with pytest.raises(GuardError, match="the kernel has no xfrm_user"):
        guard.protect("gre1", T42)


def test_what_another_put_there_is_not_overwritten(world):
    world.kernel.put(xfrm.XFRM_MSG_NEWPOLICY, xfrm.set_policy(an_allowing()))
    with pytest.raises(GuardError) as caught:
        world.guard.protect("gre1", T42)
    assert str(caught.value) == (
        f"the place of the clear-text guard is taken by: {V4} key 42 dir out action allow "
        f"priority 5; remove it: ip xfrm policy delete {V4} key 42 dir out"
    )
    assert world.kernel.texts() == [f"{V4} key 42 dir out action allow priority 5"]


# A daemon that starts again.


def test_policies_outlive_the_daemon_and_are_taken_over(world):
    world.guard.protect("gre1", T42)
    deeds = list(world.kernel.deeds)
    second = world.another()
    second.configure({"gre1"})
    second.protect("gre1", T42)
    assert world.kernel.deeds == deeds
    assert not world.notices


def test_a_configuration_that_protects_nothing_sweeps_ours_and_nothing_else(world):
    world.guard.protect("gre1", T42)
    for policy in (an_allowing(key=7), an_allowing(Direction.FWD)):
        world.kernel.put(xfrm.XFRM_MSG_NEWPOLICY, xfrm.set_policy(policy))
    shunt = Policy(gre_selector(8, ipv6=False), Direction.OUT, Action.BLOCK, 599743)
    world.kernel.put(xfrm.XFRM_MSG_NEWPOLICY, xfrm.set_policy(shunt))
    world.kernel.put(xfrm.XFRM_MSG_NEWPOLICY, peer.TOLD_PEER)
    others = len(world.kernel.table) - 2
    second = world.another()
    second.configure(())
    assert len(world.kernel.table) == others
    assert second.policies() == []
    assert second.counters["swept"] == 2


def test_nothing_is_swept_before_every_protected_tunnel_has_told_its_key(world):
    world.guard.protect("gre1", T42)
    world.guard.protect("gre2", T43)
    world.guard.protect("gre3", Tunnel(input_key=44, output_key=44))
    second = world.another()
    second.configure({"gre1", "gre2"})
    second.protect("gre1", T42)
    assert len(world.kernel.table) == 6
    second.protect("gre2", T43)
    assert world.kernel.texts() == sorted(pair(42) + pair(43))


def test_a_reload_that_protects_no_more(world):
    world.guard.configure({"gre1", "gre2"})
    world.guard.protect("gre1", T42)
    world.guard.protect("gre2", T43)
    world.guard.configure({"gre2"})
    assert world.kernel.texts() == pair(43)
    assert {notice.interface for notice in world.of(GuardRemoved)} == {"gre1"}


def test_is_guard():
    ours = T42.policies[0]
    assert is_guard(ours)
    assert not is_guard(an_allowing())
    selector = xfrm.Selector(ipv6=False, protocol=xfrm.IPPROTO_GRE)
    assert not is_guard(Policy(selector, Direction.OUT, Action.BLOCK, 1_000_000))
    assert not is_guard(Policy(ours.selector, Direction.FWD, Action.BLOCK, 1_000_000))


# Somebody meddles.


async def test_a_flush_is_mended_at_once_and_told(world):
    world.guard.protect("gre1", T42)
    async with world.running():
        world.kernel.flush()
        await world.until(lambda: world.kernel.texts() == pair(42), "the guard")
        await world.until(lambda: len(world.of(GuardRestored)) == 2, "the news")
    assert {notice.interface for notice in world.of(GuardRestored)} == {"gre1"}
    assert {notice.found for notice in world.of(GuardRestored)} == {""}
    assert world.guard.counters["restored"] == 2
    assert world.guard.counters["audits"] == 1


async def test_one_deleted_policy_is_put_back(world):
    world.guard.protect("gre1", T42)
    async with world.running():
        world.kernel.delete((peer.SELECT_42, Direction.OUT))
        await world.until(lambda: world.kernel.texts() == pair(42), "the guard")
        await world.until(lambda: world.of(GuardRestored), "the news")
    assert [notice.policy for notice in world.of(GuardRestored)] == [pair(42)[1]]


async def test_a_changed_policy_is_set_right_and_told(world):
    world.guard.protect("gre1", T42)
    async with world.running():
        world.kernel.put(xfrm.XFRM_MSG_UPDPOLICY, xfrm.set_policy(an_allowing()))
        await world.until(lambda: world.of(GuardRestored), "the news")
        assert world.kernel.texts() == pair(42)
    assert world.of(GuardRestored)[0].found == f"{V4} key 42 dir out action allow priority 5"


async def test_what_the_guard_itself_does_is_no_drift(world):
    async with world.running():
        world.guard.configure({"gre1"})
        world.guard.protect("gre1", T42)
        world.guard.protect("gre1", T43)
        world.guard.configure(())
        await trio.testing.wait_all_tasks_blocked(0.05)
    assert not world.of(GuardRestored)
    assert world.kernel.texts() == []


async def test_policies_of_others_come_and_go_unnoticed(world):
    world.guard.protect("gre1", T42)
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
    world.guard.protect("gre1", T42)
    async with world.running():
        world.kernel.table.clear()
        world.news.faults.append(OSError(errno.ENOBUFS, "overrun"))
        world.kernel.tell(bytes(3))
        await world.until(lambda: world.kernel.texts() == pair(42), "the guard")
    assert world.guard.counters["overruns"] == 1


async def test_an_audit_finds_what_nobody_told(world, monkeypatch):
    monkeypatch.setattr(guard_module, "AUDIT_S", 0.02)
    world.guard.protect("gre1", T42)
    async with world.running():
        world.kernel.table.clear()
        await world.until(lambda: world.kernel.texts() == pair(42), "the guard")


async def test_a_guard_that_cannot_be_put_back_is_a_problem_until_it_is(world, monkeypatch):
    monkeypatch.setattr(guard_module, "RETRY_S", 0.02)
    world.guard.protect("gre1", T42)
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
    world.guard.protect("gre1", T42)
    async with world.running():
        world.kernel.refuse[xfrm.XFRM_MSG_NEWPOLICY] = errno.ENOMEM
        monkeypatch.setattr(world.kernel, "refuse", Once(world.kernel.refuse))
        world.kernel.flush()
        await world.until(lambda: world.kernel.texts() == pair(42), "the guard")
    assert world.guard.counters["failures"]
    assert world.refusals == []


async def test_tunnels_that_share_a_key_share_its_fate(world, monkeypatch):
    monkeypatch.setattr(guard_module, "RETRY_S", 0.02)
    world.guard.protect("gre1", T42)
    world.guard.protect("gre2", replace(T42, ifindex=8))
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
    world.guard.protect("gre1", T42)

    def unreadable():
        raise GuardError("no clear-text guard: Too many open files")

    async with world.running():
        monkeypatch.setattr(world.guard._policies, "standing", unreadable)
        world.news.faults.append(OSError(errno.ENOBUFS, "overrun"))
        world.kernel.tell(bytes(3))
        await world.until(lambda: world.guard.counters["audits"] > 5, "some looks")
        assert "gre1" in world.guard.problems
        assert world.refusals == []


async def test_a_refused_tunnel_that_is_protected_anew_can_be_refused_again(world, monkeypatch):
    monkeypatch.setattr(guard_module, "SETTINGS_S", 0.02)
    setting = world.settings / "net/ipv4/conf/all/disable_policy"
    world.guard.protect("gre1", T42)
    async with world.running():
        for count in (1, 2):
            a_setting(world.settings, "net/ipv4/conf/all/disable_policy")
            await world.until(lambda count=count: len(world.refusals) == count, "the refusal")
            with pytest.raises(GuardError):
                world.guard.protect("gre1", T42)
            setting.write_text("0\n")
            world.guard.protect("gre1", T42)


async def test_without_news_of_the_kernel_it_compares_again_and_again(world, monkeypatch):
    monkeypatch.setattr(guard_module, "RETRY_S", 0.02)
    world.deaf = True
    world.guard.protect("gre1", T42)
    async with world.running():
        for _ in range(2):
            world.kernel.table.clear()
            await world.until(lambda: world.kernel.texts() == pair(42), "the guard")
        assert [notice.interface for notice in world.of(GuardFailed)] == [""]
        world.deaf = False
        await world.until(lambda: world.news is not None, "the news")
        world.kernel.flush()
        await world.until(lambda: world.kernel.texts() == pair(42), "the guard")


def test_a_place_that_is_taken_by_what_nobody_can_see_is_no_protection(world, monkeypatch):
    world.guard.protect("gre1", T42)
    monkeypatch.setattr(world.guard._policies, "standing", dict)
    with pytest.raises(GuardError, match="says it has, and does not show"):
        world.guard.protect("gre2", T42)


# Settings that switch all policies off.


def a_setting(root: Path, name: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("1\n")


def test_settings_that_skip_policies_keep_the_tunnel_closed(world):
    a_setting(world.settings, "net/ipv4/conf/eth0.5/disable_xfrm")
    tunnel = Tunnel(input_key=42, output_key=42, underlay="eth0.5")
    with pytest.raises(GuardError) as caught:
        world.guard.protect("gre1", tunnel)
    assert str(caught.value) == (
        "the kernel skips all IPsec policies; mend it: sysctl -w net/ipv4/conf/eth0.5/disable_xfrm=0"
    )
    world.guard.protect("gre2", T42)


async def test_such_a_setting_made_later_is_a_problem(world, monkeypatch):
    monkeypatch.setattr(guard_module, "RETRY_S", 0.02)
    monkeypatch.setattr(guard_module, "SETTINGS_S", 0.02)
    world.guard.protect("gre1", T42)
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
            world.guard.protect("gre1", T42)
        assert world.kernel.texts() == pair(42)
        with pytest.raises(GuardError):  # the netdev was made anew meanwhile
            world.guard.protect("gre1", replace(T42, ifindex=9))
        await world.until(lambda: world.guard.counters["failures"] > 2, "some looks")
        assert world.guard.problems == {"gre1": str(caught.value)}
        assert not world.mended
        (world.settings / "net/ipv4/conf/all/disable_policy").write_text("0\n")
        await world.until(lambda: world.mended, "the end of it")
        assert world.mended == [9]
    assert not world.refusals  # the caller knew
    assert not world.of(GuardFailed)


def test_each_family_has_its_settings(tmp_path):
    a_setting(tmp_path, "net/ipv6/conf/all/disable_policy")
    assert bypasses(T42, tmp_path) == []
    assert bypasses(Tunnel(ipv6=True), tmp_path) == ["net/ipv6/conf/all/disable_policy"]


def test_lo_skips_policies_and_no_packet_leaves_by_it(tmp_path):
    a_setting(tmp_path, "net/ipv4/conf/lo/disable_policy")
    assert bypasses(Tunnel(underlay="lo"), tmp_path) == []
