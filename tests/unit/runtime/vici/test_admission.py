"""Who is let in: servers that are none, and peers that share an address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nhrpd_py.core.config import IpsecConfig, NflogConfig
from nhrpd_py.core.events import IpsecReady, SaFailed, SaGone, SaInstalled
from tests.unit.runtime.vici.fake_charon import LOCAL, FakeCharon
from tests.unit.runtime.vici.test_supervisor import HUB, PEER, PROFILE, Bench, bench

THIEF = "spoke9.spokes.example"


def hub(identity: bytes) -> dict[str, Any]:
    return {**PROFILE, "remote": {"auth": b"psk", "id": identity}}


async def test_a_server_must_fit_the_pattern_that_its_profile_demands(
    autojump_clock, tmp_path: Path
) -> None:
    """Peers come in by a connection of their own, with another pattern."""
    ipsec = IpsecConfig(profile="dmvpn", peer_identity="*.spokes.example")
    async with bench(tmp_path, ipsec) as it:
        it.connections["dmvpn"] = hub(b"*.hubs.example")
        charon = await it.charon()
        charon.behaviour[PEER] = "dead"
        it.want()
        await it.until(lambda: "nhrp-peers-dmvpn" in charon.conns)
        thief = await charon.incoming(PEER, THIEF)
        failed = (await it.until(lambda: it.of(SaFailed)))[0]
        assert failed.reason == f"{THIEF} is not the server *.hubs.example"
        await it.until(lambda: thief not in charon.ikes)
        await charon.incoming(PEER, "hub1.hubs.example")
        await it.until(lambda: it.of(SaInstalled))


async def test_who_came_before_the_profile_could_be_read_is_looked_at_when_it_can(
    autojump_clock, tmp_path: Path
) -> None:
    async with bench(tmp_path) as it:
        it.connections = {}
        charon = await it.charon()
        charon.behaviour[PEER] = "dead"
        it.want()
        await it.until(lambda: it.of(SaFailed))
        thief = await charon.incoming(PEER, THIEF)
        await it.until(lambda: it.of(SaInstalled))
        it.connections = {"dmvpn": HUB}
        gone = (await it.until(lambda: it.of(SaGone)))[0]
        assert gone.reason == f"{THIEF} is not the server hub1.vpn.example"
        await it.until(lambda: thief not in charon.ikes)


async def test_so_are_all_when_the_file_demands_somebody_else(
    autojump_clock, tmp_path: Path
) -> None:
    async with bench(tmp_path) as it:
        it.connections["dmvpn"] = hub(b"hub2.vpn.example")
        await it.charon()
        it.want()
        await it.until(lambda: it.of(SaInstalled))
        it.connections["dmvpn"] = HUB
        gone = (await it.until(lambda: it.of(SaGone)))[0]
        assert gone.reason == f"{PEER}.vpn.example is not the server hub1.vpn.example"


async def test_a_reload_with_a_broken_file_forgets_nobody(autojump_clock, tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.connections["dmvpn"] = HUB
        charon = await it.charon()
        charon.behaviour[PEER] = "dead"
        it.want()
        await it.until(lambda: charon.asked("initiate"))
        it.connections = {}
        it.configure(nflog=NflogConfig(redirect_group=9))
        await it.until(lambda: len(it.of(IpsecReady)) == 2)
        thief = await charon.incoming(PEER, THIEF)
        await it.until(lambda: thief not in charon.ikes)
        assert not it.of(SaInstalled)


async def test_a_peer_that_becomes_a_server_is_looked_at(autojump_clock, tmp_path: Path) -> None:
    """With a peer we begin whoever it is: charon compared nothing."""
    async with bench(tmp_path) as it:
        it.connections["dmvpn"] = HUB
        charon = await it.charon()
        it.want(server=False)
        await it.until(lambda: it.of(SaInstalled))
        it.want()
        await it.until(lambda: it.of(SaGone))
        await it.until(lambda: len(it.of(SaInstalled)) == 2)  # begun with the server
        assert charon.conns[f"nhrp-{PEER}"]["remote"]["id"] == b"hub1.vpn.example"


async def test_also_when_it_does_so_while_we_begin(autojump_clock, tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.connections["dmvpn"] = HUB
        charon = await it.charon()
        it.want(server=False)
        await it.until(lambda: charon.asked("initiate"))
        it.want()
        failed = (await it.until(lambda: it.of(SaFailed)))[0]
        assert failed.reason == f"{PEER}.vpn.example is not the server hub1.vpn.example"
        assert not it.of(SaInstalled)
        await it.until(lambda: it.of(SaInstalled))


async def two_that_met(it: Bench, charon: FakeCharon) -> int:
    """A peer moves to the address of another, whom we served there; returns the other's IKE_SA."""
    served = await charon.incoming(PEER, "spoke4")
    mover = await charon.incoming("192.0.2.9", "spoke5")
    await it.until(lambda: len(it.of(SaInstalled)) == 2)
    await rekey(charon, served)  # it has the higher number by now
    await it.until(lambda: len(it.of(SaInstalled)) == 3)
    it.told.clear()
    _, ike = charon.ikes[mover]
    before = dict(ike)
    ike["remote-host"] = PEER
    await charon.emit("ike-update", {"local-host": LOCAL, "remote-host": PEER, "dmvpn": before})
    await it.until(lambda: mover not in charon.ikes)
    return served


async def rekey(charon: FakeCharon, ike_id: int) -> None:
    conn, ike = charon.ikes[ike_id]
    (old,) = ike["child-sas"].values()
    ike["child-sas"] = charon.child("TRANSPORT")
    (new,) = ike["child-sas"].values()
    children = {"dmvpn": {"old": old, "new": new}}
    await charon.emit("child-rekey", {conn: {**ike, "child-sas": children}})


async def test_a_peer_that_moves_to_the_address_of_another_is_refused_there(
    autojump_clock, tmp_path: Path
) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        await it.until(lambda: it.of(IpsecReady))
        served = await two_that_met(it, charon)
        assert "where spoke4 is" in (await it.until(lambda: it.of(SaGone)))[0].reason
        assert not it.of(SaInstalled)
        await rekey(charon, served)
        await it.until(lambda: it.of(SaInstalled))
        assert set(charon.ikes) == {served}


async def test_of_two_peers_the_one_that_was_served_stays_after_a_reconnect(
    autojump_clock, tmp_path: Path
) -> None:
    """Though it has the higher number: it has rekeyed since."""
    async with bench(tmp_path) as it:
        charon = await it.charon()
        served = await charon.incoming(PEER, "spoke4")
        await it.until(lambda: it.of(IpsecReady))
        charon.silent = {"terminate"}
        other = await charon.incoming(PEER, "spoke5")
        await it.until(lambda: it.of(SaFailed))
        await rekey(charon, served)
        await it.until(lambda: len(it.of(SaInstalled)) == 2)
        charon.silent = set()
        it.supervisor.restart()
        await it.until(lambda: other not in charon.ikes)
        assert served in charon.ikes
        assert not [each for each in it.of(SaGone) if each.reason != "rekeyed"]


async def test_a_server_that_rekeys_what_we_began_stays(autojump_clock, tmp_path: Path) -> None:
    """Who rekeyed an IKE_SA last passes for the one that began it."""
    async with bench(tmp_path) as it:
        it.connections["dmvpn"] = HUB
        charon = await it.charon()
        it.want()
        await it.until(lambda: it.of(SaInstalled))
        (ike_id,) = charon.ikes
        _, ike = charon.ikes[ike_id]
        del ike["initiator"]
        await rekey(charon, ike_id)
        await it.until(lambda: len(it.of(SaInstalled)) == 2)
        assert [each.reason for each in it.of(SaGone)] == ["rekeyed"]
        assert set(charon.ikes) == {ike_id}
