"""The verbs of the clear-text guard against a scripted kernel: what stands when they return."""

import errno

import pytest

from nhrpd_py.core.effects import ProtectedGre
from nhrpd_py.core.notices import GuardRemoved
from nhrpd_py.runtime.guard.gre_block import block_policies, is_guard
from nhrpd_py.runtime.guard.guard import Guard
from nhrpd_py.runtime.guard.policies import GuardError
from nhrpd_py.runtime.netlink import xfrm
from nhrpd_py.runtime.netlink.xfrm import Action, Direction, Policy, gre_selector
from tests.unit.runtime import xfrm_peer as peer
from tests.unit.runtime.guard.guard_world import GRE_42, GRE_43, V4, an_allowing, pair


def test_a_pair_stands_when_protect_returns(world):
    world.guard.protect("gre1", 7, GRE_42)
    assert world.kernel.texts() == pair(42)
    assert [str(policy) for policy in sorted(world.guard.policies(), key=str)] == pair(42)


def test_protecting_again_asks_for_nothing_new(world):
    world.guard.protect("gre1", 7, GRE_42)
    deeds = list(world.kernel.deeds)
    world.guard.protect("gre1", 7, GRE_42)
    assert world.kernel.deeds == deeds


def test_an_ipv6_underlay_has_policies_of_its_family(world):
    world.guard.protect("gre1", 7, ProtectedGre(ipv6=True, input_key=42, output_key=42))
    assert all(
        text.startswith("src ::/0 dst ::/0 proto gre key 42") for text in world.kernel.texts()
    )


def test_each_direction_has_its_own_key(world):
    world.guard.protect("gre1", 7, ProtectedGre(input_key=1, output_key=2))
    assert world.kernel.texts() == [pair(1)[0], pair(2)[1]]


def test_a_tunnel_without_key_leaves_the_others_alone(world):
    world.guard.protect("gre1", 7, ProtectedGre())
    assert world.kernel.texts() == pair(0)


def test_a_key_that_two_tunnels_share_is_let_go_by_the_last(world):
    world.guard.protect("gre1", 7, GRE_42)
    world.guard.protect("gre2", 7, GRE_42)
    world.guard.unprotect("gre1")
    assert world.kernel.texts() == pair(42)
    world.guard.unprotect("gre2")
    assert world.kernel.texts() == []
    assert len(world.of(GuardRemoved)) == 2


def test_the_policies_of_a_new_key_come_before_those_of_the_old_go(world):
    world.guard.protect("gre1", 7, GRE_42)
    world.kernel.deeds.clear()
    world.guard.protect("gre1", 7, GRE_43)
    kinds = [kind for kind, *_ in world.kernel.deeds]
    assert kinds == [xfrm.XFRM_MSG_NEWPOLICY] * 2 + [xfrm.XFRM_MSG_DELPOLICY] * 2
    assert world.kernel.texts() == pair(43)


def test_a_new_key_that_is_refused_leaves_the_old_one_guarded(world):
    world.guard.protect("gre1", 7, GRE_42)
    world.kernel.refuse[xfrm.XFRM_MSG_NEWPOLICY] = errno.ENOMEM
    with pytest.raises(GuardError, match="Cannot allocate memory"):
        world.guard.protect("gre1", 7, GRE_43)
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
        world.guard.protect("gre1", 7, GRE_42)
    assert world.kernel.texts() == []


def test_a_kernel_without_xfrm(world):
    def absent():
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    guard = Guard(
        world.notices.append,
        lambda *_: None,
        lambda *_: None,
        open_requests=absent,
        open_notifications=absent,
    )
    with pytest.raises(GuardError, match="the kernel has no xfrm_user"):
        guard.protect("gre1", 7, GRE_42)


def test_what_another_put_there_is_not_overwritten(world):
    world.kernel.put(xfrm.XFRM_MSG_NEWPOLICY, xfrm.set_policy(an_allowing()))
    with pytest.raises(GuardError) as caught:
        world.guard.protect("gre1", 7, GRE_42)
    assert str(caught.value) == (
        f"the place of the clear-text guard is taken by: {V4} key 42 dir out action allow "
        f"priority 5; remove it: ip xfrm policy delete {V4} key 42 dir out"
    )
    assert world.kernel.texts() == [f"{V4} key 42 dir out action allow priority 5"]


# A daemon that starts again.


def test_policies_outlive_the_daemon_and_are_taken_over(world):
    world.guard.protect("gre1", 7, GRE_42)
    deeds = list(world.kernel.deeds)
    second = world.another()
    second.configure({"gre1"})
    second.protect("gre1", 7, GRE_42)
    assert world.kernel.deeds == deeds
    assert not world.notices


def test_a_configuration_that_protects_nothing_sweeps_ours_and_nothing_else(world):
    world.guard.protect("gre1", 7, GRE_42)
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
    world.guard.protect("gre1", 7, GRE_42)
    world.guard.protect("gre2", 7, GRE_43)
    world.guard.protect("gre3", 7, ProtectedGre(input_key=44, output_key=44))
    second = world.another()
    second.configure({"gre1", "gre2"})
    second.protect("gre1", 7, GRE_42)
    assert len(world.kernel.table) == 6
    second.protect("gre2", 7, GRE_43)
    assert world.kernel.texts() == sorted(pair(42) + pair(43))


def test_a_reload_that_protects_no_more(world):
    world.guard.configure({"gre1", "gre2"})
    world.guard.protect("gre1", 7, GRE_42)
    world.guard.protect("gre2", 7, GRE_43)
    world.guard.configure({"gre2"})
    assert world.kernel.texts() == pair(43)
    assert {notice.interface for notice in world.of(GuardRemoved)} == {"gre1"}


def test_is_guard():
    ours = block_policies(GRE_42)[0]
    assert is_guard(ours)
    assert not is_guard(an_allowing())
    selector = xfrm.Selector(ipv6=False, protocol=xfrm.IPPROTO_GRE)
    assert not is_guard(Policy(selector, Direction.OUT, Action.BLOCK, 1_000_000))
    assert not is_guard(Policy(ours.selector, Direction.FWD, Action.BLOCK, 1_000_000))
