"""IPsec policies and states: octet by octet as `ip xfrm` and the kernel exchange them."""

import errno
import sys

import pytest

from nhrpd_py.core.address import parse_address
from nhrpd_py.runtime.netlink import xfrm, xfrm_socket
from nhrpd_py.runtime.netlink.socket import NLM_F_DUMP_INTR, MalformedError, NetlinkError, message
from nhrpd_py.runtime.netlink.xfrm import (
    Action,
    Direction,
    Mode,
    Policy,
    PolicyTemplate,
    gre_selector,
)
from nhrpd_py.runtime.netlink.xfrm_socket import Xfrm, read_statistics
from tests.unit.runtime import xfrm_peer as peer
from tests.unit.runtime.xfrm_peer import ScriptedXfrm

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="written down on such a machine")

OUT_42 = Policy(gre_selector(42, ipv6=False), Direction.OUT, Action.BLOCK, 1_000_000)
IN_70000 = Policy(gre_selector(70000, ipv6=True), Direction.IN, Action.BLOCK, 1_000_000)


@pytest.fixture
def kernel():
    scripted = ScriptedXfrm()
    yield scripted
    scripted.close()


@pytest.mark.parametrize(
    ("policy", "octets"), [(OUT_42, peer.ADD_OUT_42), (IN_70000, peer.ADD_IN_70000)]
)
def test_a_policy_is_written_as_ip_writes_it(policy, octets):
    assert xfrm.set_policy(policy) == octets


def test_a_deletion_is_written_as_ip_writes_it():
    assert xfrm.drop_policy(OUT_42) == peer.DELETE_OUT_42


@pytest.mark.parametrize("policy", [OUT_42, IN_70000])
def test_what_was_written_is_read(policy):
    assert xfrm.read_policy(memoryview(xfrm.set_policy(policy))) == policy


def test_what_the_kernel_tells_is_read():
    assert xfrm.read_policy(memoryview(peer.TOLD_OUT_42)) == OUT_42
    found = xfrm.read_policy(memoryview(peer.TOLD_PEER))
    assert found is not None
    assert str(found) == (
        "src 192.0.2.1/32 dst 192.0.2.2/32 proto gre dir out action allow priority 366975"
    )
    ours, theirs = parse_address("192.0.2.1"), parse_address("192.0.2.2")
    assert found.templates == (PolicyTemplate(ours, theirs, xfrm.IPPROTO_ESP, Mode.TRANSPORT, 1),)
    assert found.selector.gre_key is None


def test_a_deletion_tells_what_was_deleted():
    found = xfrm.read_deleted_policy(memoryview(peer.TOLD_DELETE))
    assert found is not None
    assert (found.selector, found.action) == (OUT_42.selector, Action.ALLOW)


def test_a_state_is_read():
    assert xfrm.read_state(memoryview(peer.TOLD_STATE)) == xfrm.State(
        source=parse_address("192.0.2.1"),
        destination=parse_address("192.0.2.2"),
        spi=0x1234,
        protocol=xfrm.IPPROTO_ESP,
        mode=Mode.TRANSPORT,
        reqid=1,
        octets=0,
        packets=0,
        added_at=0x6B06478F,
        used_at=0,
    )


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (OUT_42, "src 0.0.0.0/0 dst 0.0.0.0/0 proto gre key 42 dir out action block"),
        (IN_70000, "src ::/0 dst ::/0 proto gre key 70000 dir in action block"),
    ],
)
def test_a_policy_reads_as_ip_shows_it(policy, text):
    assert str(policy) == text + " priority 1000000"


def test_no_key_is_key_0_and_not_any_key():
    assert gre_selector(None, ipv6=False) == gre_selector(0, ipv6=False)
    assert gre_selector(None, ipv6=False).gre_key == 0


def test_policies_of_the_other_database_are_none_of_ours():
    sub = peer.TOLD_OUT_42[: -len(peer.MAIN)] + bytes.fromhex("0a00 1000 010000000000 0000")
    assert xfrm.read_policy(memoryview(sub)) is None


def test_mark_and_if_id_tell_policies_apart():
    marked = peer.TOLD_OUT_42 + bytes.fromhex("0c00 1500 07000000 ffffffff 0800 1f00 05000000")
    found = xfrm.read_policy(memoryview(marked))
    assert found is not None
    assert (found.mark, found.if_id) == ((7, 0xFFFFFFFF), 5)
    assert found != OUT_42


@pytest.mark.parametrize(
    "read", [xfrm.read_policy, xfrm.read_deleted_policy, xfrm.read_state], ids=lambda f: f.__name__
)
def test_short_messages_are_malformed(read):
    for octets in (peer.TOLD_PEER, peer.TOLD_DELETE, peer.TOLD_STATE):
        for size in range(0, len(octets), 3):
            try:
                read(memoryview(octets[:size]))
            except MalformedError:
                continue


def test_odd_attributes_are_malformed():
    head = peer.TOLD_OUT_42
    for attribute in ("0800 0500 00000000", "0800 1500 00000000", "0600 1f00 0000 0000"):
        with pytest.raises(MalformedError):
            xfrm.read_policy(memoryview(head + bytes.fromhex(attribute)))


def test_a_policy_stands_when_the_request_returns(kernel):
    link = Xfrm(kernel)
    link.ask(xfrm.XFRM_MSG_NEWPOLICY, xfrm.set_policy(OUT_42), "add")
    assert link.policies() == [OUT_42]
    with pytest.raises(NetlinkError, match="add: File exists"):
        link.ask(xfrm.XFRM_MSG_NEWPOLICY, xfrm.set_policy(OUT_42), "add")


def test_dumps_skip_what_cannot_be_read(kernel):
    kernel.states = [peer.TOLD_STATE[:100], peer.TOLD_STATE]
    link = Xfrm(kernel)
    assert [state.spi for state in link.states()] == [0x1234]
    assert link.counters["malformed"] == 1


async def test_the_pairs_with_esp_are_told(kernel, monkeypatch):
    monkeypatch.setattr(xfrm_socket, "open_xfrm", lambda: Xfrm(kernel))
    kernel.states = [peer.TOLD_STATE]
    pair = parse_address("192.0.2.1"), parse_address("192.0.2.2")
    assert await xfrm_socket.esp_pairs() == {pair}


async def test_octets_and_packets_are_added_up_by_pair(kernel, monkeypatch):
    monkeypatch.setattr(xfrm_socket, "open_xfrm", lambda: Xfrm(kernel))
    at = xfrm.SELECTOR.size + xfrm.STATE_ID.size + xfrm.LIFETIME.size
    counted = bytearray(peer.TOLD_STATE)
    xfrm.CURRENT.pack_into(counted, at, 800, 8, 0, 0)
    kernel.states = [bytes(counted), bytes(counted)]  # as during a rekeying
    pair = parse_address("192.0.2.1"), parse_address("192.0.2.2")
    assert await xfrm_socket.esp_counts() == {pair: (1600, 16)}


def test_an_inconsistent_dump_is_read_again(kernel):
    kernel.table = {1: peer.TOLD_OUT_42}
    link = Xfrm(kernel)
    kernel.answers.append(message(xfrm.XFRM_MSG_NEWPOLICY, NLM_F_DUMP_INTR, peer.TOLD_ALLOW, 1))
    assert link.policies() == [OUT_42]
    assert link.counters["dump_retries"] == 1


def test_a_kernel_that_does_not_answer_is_an_error(kernel):
    kernel.silent = True
    with pytest.raises(
        NetlinkError, match="policies: No data available: the kernel gave no answer"
    ):
        Xfrm(kernel).policies()


def test_faults_of_the_socket_are_errors(kernel):
    link = Xfrm(kernel)
    kernel.faults = [OSError(errno.ENOBUFS, "overrun")]
    with pytest.raises(NetlinkError):
        link.policies()
    kernel.answers.clear()
    kernel.answers.append(bytes(5))
    with pytest.raises(NetlinkError, match="states: Bad message"):
        link.states()
    kernel.answers.clear()
    assert link.policies() == []
    assert (link.counters["overruns"], link.counters["malformed"]) == (1, 1)


def test_counters_of_the_kernel(tmp_path):
    path = tmp_path / "xfrm_stat"
    assert read_statistics(path) == {}
    path.write_text("XfrmInPolBlock          \t3\nXfrmOutPolBlock         \t14\nodd line\n")
    assert read_statistics(path) == {"XfrmInPolBlock": 3, "XfrmOutPolBlock": 14}
