"""SAs of a charon that is gone."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from nhrpd_py.core.address import parse_address
from nhrpd_py.core.events import IpsecLost, IpsecReady, SaGone, SaInstalled
from tests.unit.runtime.vici.fake_charon import FakeCharon
from tests.unit.runtime.vici.supervised import PAIR, PEER, Supervised


@pytest.mark.parametrize("at", [0.0, 10.0, 10.5, 11.0, 11.5])
async def test_a_stopped_charon_takes_its_sas_along(
    autojump_clock, it: Supervised, charon: FakeCharon, at: float
) -> None:
    await charon.incoming(PEER)
    await it.reported(SaInstalled)
    await trio.sleep(at)
    it.reports.clear()
    it.kernel = set()
    await charon.stop()
    await it.reported(SaGone, within_s=1.0)
    assert it.kinds == ["IpsecLost", "SaGone"]


async def test_a_killed_charon_does_not_and_its_successor_makes_a_new_one_first(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    await it.bring_up()
    it.kernel = {PAIR}
    await charon.stop()
    await trio.sleep(60)
    assert not it.of(SaGone)
    assert len(it.of(IpsecLost)) <= 3
    successor = await it.start_charon()
    await it.reported(SaGone)
    assert it.kinds[-3:] == ["IpsecReady", "SaInstalled", "SaGone"]
    one, two = (each.association for each in it.of(SaInstalled))
    assert one.id != two.id  # though the successor counts from 1 again
    assert it.of(SaGone)[0].id == one.id
    assert successor.requests


async def test_a_hub_keeps_an_orphan_until_its_peer_renews_it_or_the_kernel_ends_it(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    """It carries traffic, and while it does the peer's dead peer detection is content."""
    other = "192.0.2.3"
    for each in (PEER, other):
        await charon.incoming(each)
    await it.reported(SaInstalled, 2)
    it.kernel = {PAIR, (PAIR[0], parse_address(other))}
    await charon.stop()
    await trio.sleep(5)
    successor = await it.start_charon()
    await trio.sleep(600)
    assert not it.of(SaGone)
    await successor.incoming(PEER)
    await it.reported(SaGone)
    assert it.kinds[-2:] == ["SaInstalled", "SaGone"]
    it.kernel = {PAIR}
    await it.reported(SaGone, 2, within_s=3)
    assert it.of(SaGone)[1].remote == parse_address(other)


async def test_an_orphan_that_is_wanted_and_cannot_be_had_again_is_given_up(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    await it.bring_up()
    it.kernel = {PAIR}
    await charon.stop()
    charon.ikes.clear()
    charon.behaviour[PEER] = "dead"
    await it.nursery.start(charon.serve)
    await it.reported(SaGone, within_s=60)
    assert 30 <= it.times(SaGone)[0] - it.times(IpsecReady)[1] < 33


async def test_a_charon_that_is_away_for_long_costs_few_looks_at_the_kernel(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    """Each reads all states that there are."""
    await charon.incoming(PEER)
    await it.reported(SaInstalled)
    it.kernel = {PAIR}
    await trio.sleep(9)  # somewhere between two looks
    await charon.stop()
    await trio.sleep(100)
    assert it.looks < 60
    it.kernel = set()
    await it.reported(SaGone, within_s=3)
