"""Who may have an SA: servers that are none, and peers that share an address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio
import trio.testing

from nhrpd_py.core.config import IpsecConfig, NflogConfig
from nhrpd_py.core.events import IpsecReady, SaFailed, SaGone, SaInstalled
from tests.unit.runtime.vici.fake_charon import LOCAL, FakeCharon
from tests.unit.runtime.vici.supervised import HUB, PEER, PROFILE, Supervised, supervised

THIEF = "spoke9.spokes.example"


def hub(identity: bytes) -> dict[str, Any]:
    return {**PROFILE, "remote": {"auth": b"psk", "id": identity}}


async def test_whoever_has_the_servers_address_is_not_yet_the_server(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    """A peer that begins an SA comes in by the connection for spokes, which takes any good certificate."""
    it.connections["dmvpn"] = HUB
    charon.behaviour[PEER] = "dead"
    it.want()
    await it.until(lambda: charon.asked("initiate"))
    thief = await charon.incoming(PEER, "spoke9.vpn.example")
    failed = (await it.reported(SaFailed))[0]
    assert failed.reason == "spoke9.vpn.example is not the server hub1.vpn.example"
    await it.until(lambda: thief not in charon.ikes)
    assert not it.of(SaInstalled)
    await charon.incoming(PEER, "HUB1.vpn.example")
    await it.reported(SaInstalled)
    await charon.incoming("192.0.2.77", "spoke9.vpn.example")
    await it.reported(SaInstalled, 2)


async def test_nor_if_it_was_there_before_we_wanted_the_server(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    it.connections["dmvpn"] = HUB
    await it.reported(IpsecReady)
    thief = await charon.incoming(PEER, "spoke9.vpn.example")
    await it.reported(SaInstalled)
    charon.behaviour[PEER] = "dead"
    it.want()
    await it.reported(SaGone)
    assert it.of(SaGone)[0].reason == "spoke9.vpn.example is not the server hub1.vpn.example"
    await it.until(lambda: thief not in charon.ikes)
    del charon.behaviour[PEER]
    await it.reported(SaInstalled, 2, within_s=60)


async def test_a_server_may_be_whom_charon_compared_itself(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    """The fake's peers are never called hub1: what we began is charon's to judge."""
    it.connections["dmvpn"] = HUB
    await it.bring_up()
    await trio.sleep(30)
    assert not it.of(SaGone)


async def test_a_second_peer_at_one_address_waits_for_the_first_to_go(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    """Both behind one NAT: what is for the one would be encrypted for the other."""
    first = await charon.incoming(PEER, "spoke4")
    await it.reported(SaInstalled)
    second = await charon.incoming(PEER, "spoke5")
    failed = (await it.reported(SaFailed))[0]
    assert failed.reason == (
        "spoke5 comes from 192.0.2.2, where spoke4 is: two peers behind one address cannot be"
        " told apart"
    )
    assert failed.was_up
    await it.until(lambda: second not in charon.ikes)
    again = await charon.incoming(PEER, "spoke4")  # as when it authenticates anew
    await it.reported(SaInstalled, 2)
    for ike_id in (first, again):
        await charon.lose(ike_id)
    await charon.incoming(PEER, "spoke5")
    await it.reported(SaInstalled, 3)


async def test_two_peers_at_one_address_that_are_there_when_we_start(
    autojump_clock, it: Supervised
) -> None:
    charon = FakeCharon(it.path)
    for ike_id, identity in ((9, "spoke5"), (8, "spoke4")):
        charon.next_id = ike_id * 10
        charon.ikes[ike_id] = (
            "dmvpn",
            charon.ike(ike_id, PEER, "ESTABLISHED", identity=identity)
            | {"child-sas": charon.child("TRANSPORT")},
        )
    await it.nursery.start(charon.serve)
    await it.reported(IpsecReady)
    await it.until(lambda: set(charon.ikes) == {8})
    assert [each.association.identity for each in it.of(SaInstalled)] == ["spoke4"]


async def test_a_tunnel_that_a_peer_begins_is_ended(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    await it.reported(IpsecReady)
    ike_id = await charon.incoming(PEER, mode="TUNNEL")
    failed = (await it.reported(SaFailed))[0]
    assert "is in tunnel mode" in failed.reason
    await it.until(lambda: ike_id not in charon.ikes)
    assert not it.of(SaInstalled)


async def test_a_server_must_fit_the_pattern_that_its_profile_demands(
    autojump_clock, tmp_path: Path
) -> None:
    """Peers come in by a connection of their own, with another pattern."""
    ipsec = IpsecConfig(profile="dmvpn", peer_identity="*.spokes.example")
    async with supervised(tmp_path, ipsec) as it:
        it.connections["dmvpn"] = hub(b"*.hubs.example")
        charon = await it.start_charon()
        charon.behaviour[PEER] = "dead"
        it.want()
        await it.until(lambda: "nhrp-peers-dmvpn" in charon.conns)
        thief = await charon.incoming(PEER, THIEF)
        failed = (await it.reported(SaFailed))[0]
        assert failed.reason == f"{THIEF} is not the server *.hubs.example"
        await it.until(lambda: thief not in charon.ikes)
        await charon.incoming(PEER, "hub1.hubs.example")
        await it.reported(SaInstalled)


async def test_who_came_before_the_profile_could_be_read_is_looked_at_when_it_can(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    it.connections = {}
    charon.behaviour[PEER] = "dead"
    it.want()
    await it.reported(SaFailed)
    thief = await charon.incoming(PEER, THIEF)
    await it.reported(SaInstalled)
    it.connections = {"dmvpn": HUB}
    gone = (await it.reported(SaGone))[0]
    assert gone.reason == f"{THIEF} is not the server hub1.vpn.example"
    await it.until(lambda: thief not in charon.ikes)


async def test_so_are_all_when_the_file_demands_somebody_else(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    it.connections["dmvpn"] = hub(b"hub2.vpn.example")
    await it.bring_up()
    it.connections["dmvpn"] = HUB
    gone = (await it.reported(SaGone))[0]
    assert gone.reason == f"{PEER}.vpn.example is not the server hub1.vpn.example"


async def test_a_reload_with_a_broken_file_forgets_nobody(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    it.connections["dmvpn"] = HUB
    charon.behaviour[PEER] = "dead"
    it.want()
    await it.until(lambda: charon.asked("initiate"))
    it.connections = {}
    it.configure(nflog=NflogConfig(redirect_group=9))
    await it.reported(IpsecReady, 2)
    thief = await charon.incoming(PEER, THIEF)
    await it.until(lambda: thief not in charon.ikes)
    assert not it.of(SaInstalled)


async def test_a_peer_that_becomes_a_server_is_looked_at(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    """With a peer we begin whoever it is: charon compared nothing."""
    it.connections["dmvpn"] = HUB
    it.want(server=False)
    await it.reported(SaInstalled)
    it.want()
    await it.reported(SaGone)
    await it.reported(SaInstalled, 2)  # begun with the server
    assert charon.conns[f"nhrp-{PEER}"]["remote"]["id"] == b"hub1.vpn.example"


async def test_also_when_it_does_so_while_we_begin(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    it.connections["dmvpn"] = HUB
    it.want(server=False)
    await it.until(lambda: charon.asked("initiate"))
    it.want()
    failed = (await it.reported(SaFailed))[0]
    assert failed.reason == f"{PEER}.vpn.example is not the server hub1.vpn.example"
    assert not it.of(SaInstalled)
    await it.reported(SaInstalled)


async def two_that_met(it: Supervised, charon: FakeCharon) -> int:
    """A peer moves to the address of another, whom we served there; returns the other's IKE_SA."""
    served = await charon.incoming(PEER, "spoke4")
    mover = await charon.incoming("192.0.2.9", "spoke5")
    await it.reported(SaInstalled, 2)
    await rekey(charon, served)  # it has the higher number by now
    await it.reported(SaInstalled, 3)
    it.reports.clear()
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
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    await it.reported(IpsecReady)
    served = await two_that_met(it, charon)
    assert "where spoke4 is" in (await it.reported(SaGone))[0].reason
    assert not it.of(SaInstalled)
    await rekey(charon, served)
    await it.reported(SaInstalled)
    assert set(charon.ikes) == {served}


async def test_of_two_peers_the_one_that_was_served_stays_after_a_reconnect(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    """Though it has the higher number: it has rekeyed since."""
    served = await charon.incoming(PEER, "spoke4")
    await it.reported(IpsecReady)
    charon.silent = {"terminate"}
    other = await charon.incoming(PEER, "spoke5")
    await it.reported(SaFailed)
    await rekey(charon, served)
    await it.reported(SaInstalled, 2)
    charon.silent = set()
    it.supervisor.restart()
    await it.until(lambda: other not in charon.ikes)
    assert served in charon.ikes
    assert not [each for each in it.of(SaGone) if each.reason != "rekeyed"]


async def test_a_server_that_rekeys_what_we_began_stays(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    """Who rekeyed an IKE_SA last passes for the one that began it."""
    it.connections["dmvpn"] = HUB
    await it.bring_up()
    (ike_id,) = charon.ikes
    _, ike = charon.ikes[ike_id]
    del ike["initiator"]
    await rekey(charon, ike_id)
    await it.reported(SaInstalled, 2)
    assert [each.reason for each in it.of(SaGone)] == ["rekeyed"]
    assert set(charon.ikes) == {ike_id}
