"""The connection to charon: what is listed at its begin, and what its loss means."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from nhrpd_py.core.effects import EndSa
from nhrpd_py.core.events import IpsecLost, IpsecReady, SaFailed, SaGone, SaInstalled
from nhrpd_py.runtime.vici.session import FIRST_LIST_S
from tests.unit.runtime.vici.fake_charon import FakeCharon
from tests.unit.runtime.vici.supervised import PAIR, PEER, Supervised


async def test_a_broken_connection_to_the_same_charon_changes_nothing(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    await charon.incoming(PEER)
    await it.reported(SaInstalled)
    it.kernel = {PAIR}
    await charon.stop()
    await it.nursery.start(charon.serve)
    await it.reported(IpsecReady, 2)
    await trio.sleep(100)
    assert len(it.of(SaInstalled)) == 1
    assert not it.of(SaGone)


@pytest.mark.parametrize("command", ["get-conns", "load-conn"])
async def test_a_charon_that_hangs_counts_as_lost(
    autojump_clock, it: Supervised, charon: FakeCharon, command: str
) -> None:
    await it.reported(IpsecReady)
    charon.silent = {command}
    it.want()
    await it.until(lambda: f"did not answer {command}" in it.of(IpsecLost)[-1].reason)
    charon.silent = set()
    await it.reported(SaInstalled)
    assert not it.of(SaFailed)  # it is not the peer's fault


async def test_an_sa_that_charon_is_busy_with_is_no_lost_one(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    ike_id = await charon.incoming(PEER)
    await it.reported(SaInstalled)
    it.kernel = {PAIR}
    charon.busy = {ike_id}
    await charon.stop()
    await it.nursery.start(charon.serve)
    await it.reported(IpsecReady, 2)
    await trio.sleep(100)
    assert not it.of(SaGone)


async def test_the_socket_is_named_with_what_mends_it(autojump_clock, it: Supervised) -> None:
    reason = (await it.reported(IpsecLost))[0].reason
    assert str(it.path) in reason
    assert "systemctl start strongswan" in reason
    await trio.sleep(60)
    assert len(it.of(IpsecLost)) == 1


async def test_an_sa_that_a_list_left_out_is_in_a_later_one(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    ike_id = await charon.incoming(PEER)
    await it.reported(SaInstalled)
    it.kernel = {PAIR}
    charon.busy = {ike_id}
    await charon.stop()
    await it.nursery.start(charon.serve)
    await it.reported(IpsecReady, 2)
    (row,) = await it.supervisor.snapshot()
    assert row.state == "orphaned"
    charon.busy.clear()
    await trio.sleep(2)
    await charon.lose(ike_id)
    gone = (await it.reported(SaGone, within_s=1.0))[0]
    assert gone.reason == "the IKE_SA was deleted"
    assert len(it.of(SaInstalled)) == 1
    assert charon.asked("list-sas") == 4 * [{"noblock": b"yes"}]  # two connects, a view, once more


async def test_no_list_waits_for_an_ike_sa_that_charon_is_busy_with(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    await it.reported(IpsecReady)
    await trio.sleep(2 * FIRST_LIST_S)
    assert charon.asked("list-sas") == 2 * [{"noblock": b"yes"}]  # at the connect, and once more
    await charon.incoming(PEER)
    await it.reported(SaInstalled)
    it.supervisor.end(EndSa(*PAIR))
    await it.reported(SaGone)
    await trio.sleep(1)
    assert charon.asked("list-sas") == 3 * [{"noblock": b"yes"}]
    charon.behaviour[PEER] = "dead"
    it.want()
    await it.reported(SaFailed)
    assert charon.asked("list-sas") == 4 * [{"noblock": b"yes"}]  # what is half-open
    await it.supervisor.snapshot()
    assert charon.asked("list-sas") == 5 * [{"noblock": b"yes"}]


async def test_a_new_sa_that_the_first_list_left_out_is_in_the_second(
    autojump_clock, it: Supervised
) -> None:
    charon = FakeCharon(it.path)
    await it.nursery.start(charon.serve)
    charon.busy = {await charon.incoming(PEER)}
    await it.reported(IpsecReady)
    assert not it.of(SaInstalled)
    charon.busy.clear()
    await it.reported(SaInstalled, within_s=2 * FIRST_LIST_S)


async def test_an_sa_that_no_event_announced_is_found_and_nothing_counts_as_lost(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    charon.behaviour[PEER] = "unannounced"
    await it.reported(IpsecReady)
    await trio.sleep(2 * FIRST_LIST_S)  # the second list would find it, too
    it.want()
    await it.reported(SaInstalled)
    await it.reported(IpsecReady, 2)
    assert len(it.of(IpsecLost)) == 1  # before charon was there
    await trio.sleep(30)
    assert not it.of(SaFailed)
    assert len(charon.asked("initiate")) == 1
