"""Our connections in charon."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from nhrpd_py.core.config import NflogConfig
from nhrpd_py.core.events import IpsecReady
from nhrpd_py.runtime.vici.housekeeping import ROUND_S
from tests.unit.runtime.vici.fake_charon import FakeCharon
from tests.unit.runtime.vici.supervised import HUB, PROFILE, Supervised


@pytest.mark.parametrize("broken", [{}, {"office": PROFILE}])
async def test_the_answer_to_peers_stays_while_the_file_is_broken(
    autojump_clock, it: Supervised, charon: FakeCharon, broken: dict[str, Any]
) -> None:
    it.connections["dmvpn"] = HUB
    await it.until(lambda: "nhrp-peers-dmvpn" in charon.conns)
    it.connections = broken
    it.configure(nflog=NflogConfig(redirect_group=9))
    await it.reported(IpsecReady, 2)
    await trio.sleep(20)
    assert "nhrp-peers-dmvpn" in charon.conns
    it.connections = {"dmvpn": PROFILE}  # takes any peer itself
    await it.until(lambda: "nhrp-peers-dmvpn" not in charon.conns)


async def test_the_answer_to_peers_is_loaded_again_when_swanctl_took_it(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    it.connections["dmvpn"] = {**PROFILE, "remote": {"auth": b"psk", "id": b"hub"}}
    await it.until(lambda: "nhrp-peers-dmvpn" in charon.conns)
    charon.conns.clear()
    await it.until(lambda: "nhrp-peers-dmvpn" in charon.conns, 6)
    assert charon.conns["nhrp-peers-dmvpn"]["remote_addrs"] == [b"%any"]


async def test_the_answer_to_peers_that_charon_refused_is_offered_again(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    it.connections["dmvpn"] = HUB
    await it.until(lambda: "nhrp-peers-dmvpn" in charon.conns)
    charon.refused = {"nhrp-peers-dmvpn"}
    it.connections["dmvpn"] = {**HUB, "version": b"0"}
    await trio.sleep(3 * ROUND_S)
    assert charon.conns["nhrp-peers-dmvpn"]["version"] == b"2"
    charon.refused.clear()
    await it.until(lambda: charon.conns["nhrp-peers-dmvpn"]["version"] == b"0", 2 * ROUND_S)
