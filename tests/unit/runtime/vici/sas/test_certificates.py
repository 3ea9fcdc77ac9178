"""What the peers' certificates grant, as a stock charon lists them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import trio
import trio.testing

from nhrpd_py.core.config import AuthorizeConfig
from nhrpd_py.core.events import IpsecReady, SaGone, SaInstalled
from tests.unit.runtime.vici.certificates import certificate, needs_pki, prefix
from tests.unit.runtime.vici.fake_charon import FakeCharon
from tests.unit.runtime.vici.supervised import PEER, Supervised, supervised


@needs_pki
async def test_a_stock_charon_lists_the_certificates_that_peers_sent(
    autojump_clock, tmp_path: Path
) -> None:
    async with supervised(tmp_path, by_certificate=True) as it:
        charon = await it.start_charon()
        charon.certificates = [certificate(tmp_path, "10.1.0.0/16", "10.2.0.0/16")]
        await it.reported(IpsecReady)
        await charon.incoming(PEER)
        await it.reported(SaInstalled)
        asked = charon.asked("list-certs")[0]
        assert asked["subject"] == f"{PEER}.vpn.example".encode()
        blocks = it.of(SaInstalled)[0].association.address_blocks
        assert blocks == (prefix("10.1.0.0/16"), prefix("10.2.0.0/16")) or blocks == (
            prefix("10.1.0.0/15"),
        )
        # a predecessor of it may be the one that the next peer shows
        charon.certificates.append(certificate(tmp_path, "10.1.7.0/24"))
        await charon.incoming("192.0.2.3", f"{PEER}.vpn.example")
        await it.reported(SaInstalled, 2)
        assert it.of(SaInstalled)[1].association.address_blocks == (prefix("10.1.7.0/24"),)


@needs_pki
async def test_certificates_are_known_before_a_reload_goes_on(
    autojump_clock, it: Supervised, charon: FakeCharon, tmp_path: Path
) -> None:
    charon.certificates = [certificate(tmp_path, "10.1.0.0/16")]
    await it.reported(IpsecReady)
    await charon.incoming(PEER)
    await it.reported(SaInstalled)
    assert it.of(SaInstalled)[0].association.address_blocks is None
    interface = replace(it.config.interfaces["gre1"], authorize=AuthorizeConfig(certificate=True))
    it.configure(interfaces={"gre1": interface})
    with trio.fail_after(5):
        await it.supervisor.heard()
    await trio.testing.wait_all_tasks_blocked()
    assert it.of(SaInstalled)[1].association.address_blocks == (prefix("10.1.0.0/16"),)
    assert not it.of(SaGone)


async def test_who_showed_a_certificate_that_charon_forgot_shows_it_again_once(
    autojump_clock, tmp_path: Path
) -> None:
    """charon keeps 32: those of further peers cannot be had when we start anew beside it."""
    async with supervised(tmp_path, by_certificate=True) as it:
        charon = FakeCharon(it.path)
        await charon.incoming(PEER)
        await it.nursery.start(charon.serve)
        await it.reported(IpsecReady)
        assert not charon.ikes
        assert not it.of(SaInstalled)
        await charon.incoming(PEER)
        await it.reported(SaInstalled)
        it.supervisor.restart()
        await it.reported(IpsecReady, 2)
        assert len(charon.ikes) == 1
