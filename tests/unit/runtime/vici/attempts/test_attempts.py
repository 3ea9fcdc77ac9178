"""Attempts to get wanted SAs, and when the next one is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from nhrpd_py.core.address import parse_address
from nhrpd_py.core.config import IpsecConfig
from nhrpd_py.core.events import IpsecReady, SaFailed, SaGone, SaInstalled
from tests.unit.runtime.vici.fake_charon import LOCAL, FakeCharon
from tests.unit.runtime.vici.supervised import PAIR, PEER, PROFILE, Supervised, supervised


async def test_a_wanted_sa_comes_up(autojump_clock, it: Supervised, charon: FakeCharon) -> None:
    await it.bring_up()
    assert it.kinds[0:3] == ["IpsecLost", "IpsecReady", "SaInstalled"]
    (association,) = (each.association for each in it.of(SaInstalled))
    assert (association.local, association.remote) == PAIR
    assert association.identity == f"{PEER}.vpn.example"
    loaded = charon.asked("load-conn")[0][f"nhrp-{PEER}"]
    assert loaded["local_addrs"] == [LOCAL.encode()]
    child = loaded["children"]["dmvpn"]
    assert "reqid" not in child
    assert child["start_action"] == b"none"
    assert charon.asked("initiate") == [
        {"child": b"dmvpn", "timeout": b"-1", "ike": f"nhrp-{PEER}".encode()}
    ]


async def test_charons_log_is_opened_while_the_profile_is_read(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    """Each wait between the answer of a spoke and the first packet of IKE keeps traffic on the hub."""
    await it.reported(IpsecReady)
    it.reading_s = 0.5
    it.want()
    await trio.sleep(0.25)
    assert charon.has_listener("log")
    assert charon.asked("initiate") == []
    await it.reported(SaInstalled)


async def test_a_patched_charon_gets_both_hosts_and_the_profile(
    autojump_clock, it: Supervised
) -> None:
    child = {**PROFILE["children"]["dmvpn"], "mark_in": b"%unique", "set_mark_in": b"%same"}
    it.connections["dmvpn"] = {**PROFILE, "children": {"dmvpn": child}}
    charon = await it.start_charon(patched=True)
    await it.bring_up()
    assert it.of(IpsecReady)[0].patched
    (asked,) = charon.asked("initiate")
    assert (asked["ike"], asked["my-host"], asked["other-host"]) == (
        b"dmvpn",
        LOCAL.encode(),
        PEER.encode(),
    )
    assert charon.asked("load-conn") == []


async def test_a_patched_charon_gets_a_clone_for_a_peer_that_the_profile_would_refuse(
    autojump_clock,
    it: Supervised,
) -> None:
    it.connections["dmvpn"] = {**PROFILE, "remote": {"auth": b"psk", "id": b"hub"}}
    charon = await it.start_charon(patched=True)
    it.want(server=False)
    await it.reported(SaInstalled)
    clone = next(each for each in charon.asked("load-conn") if f"nhrp-{PEER}" in each)
    assert clone[f"nhrp-{PEER}"]["remote"]["id"] == b"%any"
    assert "nhrp-peers-dmvpn" in charon.conns


async def test_an_sa_with_somebody_else_is_not_taken_for_the_wanted_one(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    charon.behaviour[PEER] = "dead"
    it.want()
    await it.until(lambda: charon.asked("initiate"))
    await charon.incoming("192.0.2.77")
    failed = (await it.reported(SaFailed))[0]
    assert failed.remote == PAIR[1]
    assert [each.association.remote for each in it.of(SaInstalled)] == [parse_address("192.0.2.77")]


async def test_a_dead_peer_costs_ten_seconds_and_only_its_own_ike_sa(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    charon.behaviour[PEER] = "dead"
    other = await charon.incoming("192.0.2.77")
    await it.reported(IpsecReady)
    begun = trio.current_time()
    it.want()
    await it.reported(SaFailed)
    assert it.times(SaFailed)[0] - begun == pytest.approx(10.1, abs=0.5)
    assert it.of(SaFailed)[0].reason == "the peer does not answer"
    assert set(charon.ikes) == {other}


async def test_hold_down_grows_to_a_minute_and_ends_with_another_request(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    charon.behaviour[PEER] = "refuse"
    it.want()
    await it.reported(SaFailed, 8, within_s=600)
    reasons = {each.reason for each in it.of(SaFailed)}
    assert len(reasons) == 1
    assert "AUTHENTICATION_FAILED" in reasons.pop()
    waits = [each.retry_in_s for each in it.of(SaFailed)]
    for wait, nominal in zip(waits, (2, 4, 8, 16, 32, 60, 60, 60), strict=True):
        assert 0.8 * nominal <= wait <= 1.2 * nominal
    charon.behaviour[PEER] = "up"
    before = trio.current_time()
    await it.bring_up()
    assert trio.current_time() - before < 2


@pytest.mark.parametrize(
    ("behaviour", "words", "limit_s"),
    [("childless", "TS_UNACCEPTABLE", 3.5), ("tunnel", "mode = transport", 1.5)],
)
async def test_half_a_success_is_none(
    autojump_clock, it: Supervised, charon: FakeCharon, behaviour: str, words: str, limit_s: float
) -> None:
    charon.behaviour[PEER] = behaviour
    await it.reported(IpsecReady)
    begun = trio.current_time()
    it.want()
    await it.reported(SaFailed)
    assert it.times(SaFailed)[0] - begun < limit_s
    assert words in it.of(SaFailed)[0].reason
    assert not it.of(SaInstalled)
    assert charon.ikes == {}


async def test_eight_at_a_time_and_everybody_has_a_turn(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    peers = [f"198.51.100.{number}" for number in range(1, 61)]
    charon.behaviour.update(dict.fromkeys(peers[:20], "dead"))
    for peer in peers:
        it.want(peer, server=False)
    await it.reported(SaInstalled, 40, within_s=60)
    assert 8 <= charon.most_in_flight <= 8 + 8  # dead ones linger 2 s in the script


async def test_a_server_never_waits_for_peers_that_do_not_answer(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    dead = [f"198.51.100.{number}" for number in range(1, 61)]
    charon.behaviour.update(dict.fromkeys(dead, "dead"))
    for peer in dead:
        it.want(peer, server=False)
    await trio.sleep(3)
    assert charon.most_in_flight == 8
    begun = trio.current_time()
    it.want("203.0.113.1", server=True)
    await it.reported(SaInstalled)
    assert trio.current_time() - begun < 1.0
    # Dead servers take no more than twelve places, and leave peers theirs.
    servers = [f"203.0.113.{number}" for number in range(2, 30)]
    charon.behaviour.update(dict.fromkeys(servers, "dead"))
    for server in servers:
        it.want(server, server=True)
    await trio.sleep(9)
    assert charon.most_in_flight <= 8 + 4 + 8  # dead ones linger 2 s in the script


async def test_what_is_up_already_is_not_initiated(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    await charon.incoming(PEER)
    await it.reported(IpsecReady)
    it.want()
    await trio.sleep(30)
    assert charon.asked("initiate") == []


async def test_the_other_end_has_the_first_go(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    await it.reported(IpsecReady)
    it.want(delay_s=0.5)
    await trio.sleep(0.3)
    await charon.incoming(PEER)
    await trio.sleep(30)
    assert charon.asked("initiate") == []


async def test_the_fallback_is_tried_every_other_time(autojump_clock, tmp_path: Path) -> None:
    ipsec = IpsecConfig(profile="dmvpn", fallback_profile="nat")
    async with supervised(tmp_path, ipsec) as it:
        it.connections["nat"] = {
            **PROFILE,
            "children": {"nat": PROFILE["children"]["dmvpn"]},
        }
        charon = await it.start_charon()
        charon.behaviour[PEER] = "refuse"
        it.want()
        await it.until(lambda: len(charon.asked("initiate")) == 4, 60)
        children = [each["child"] for each in charon.asked("initiate")]
        assert children == [b"dmvpn", b"nat", b"dmvpn", b"nat"]


async def test_an_unknown_profile_is_named_with_those_that_there_are(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    it.connections = {"home": PROFILE, "office": PROFILE}
    it.want()
    failed = (await it.reported(SaFailed))[0]
    assert failed.reason == (
        "profile dmvpn: no such connection in /etc/swanctl/swanctl.conf (it has: home, office)"
    )
    await trio.sleep(200)  # the hold-down is a minute by now
    it.connections = {"dmvpn": PROFILE}
    await it.reported(SaInstalled, within_s=8)


async def test_a_charon_that_dies_in_an_attempt_says_nothing_of_the_peer(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    charon.behaviour[PEER] = "dead"
    it.want()
    await it.until(lambda: charon.asked("initiate"))
    await trio.sleep(1)
    await charon.stop()
    charon.behaviour.clear()
    await it.nursery.start(charon.serve)
    await it.reported(SaInstalled)
    assert not it.of(SaFailed)


async def test_a_new_charon_ends_the_hold_down_of_earlier_days(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    """Its secrets may be loaded a moment after it listens; the peer's SA lives on in the kernel."""
    charon.behaviour[PEER] = "refuse"
    it.want()
    await it.reported(SaFailed, 6, within_s=300)
    charon.behaviour.clear()
    await it.reported(SaInstalled, within_s=100)
    it.kernel = {PAIR}
    await charon.stop()
    it.reports.clear()
    charon.ikes.clear()
    charon.behaviour[PEER] = "refuse"
    await it.nursery.start(charon.serve)
    failed = (await it.reported(SaFailed))[0]
    assert failed.retry_in_s < 3


async def test_an_sa_that_comes_and_goes_is_tried_less_and_less(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    charon.behaviour[PEER] = "flap"
    it.want()
    await trio.sleep(60)
    assert 4 <= len(charon.asked("initiate")) <= 9
    assert len(it.of(SaGone)) == len(it.of(SaInstalled)) == len(charon.asked("initiate"))
    del charon.behaviour[PEER]
    await it.until(lambda: len(it.of(SaInstalled)) > len(it.of(SaGone)), 90)


async def test_a_charon_that_knows_no_marks_is_asked_without_them(
    autojump_clock, it: Supervised
) -> None:
    charon = await it.start_charon()
    charon.knows_marks = False
    await it.bring_up()
    first, second, *_ = [
        each[f"nhrp-{PEER}"] for each in charon.asked("load-conn") if f"nhrp-{PEER}" in each
    ]
    assert first["children"]["dmvpn"]["set_mark_in"] == b"%same"
    assert "set_mark_in" not in second["children"]["dmvpn"]


async def test_without_a_source_filter_clones_have_no_marks(autojump_clock, it: Supervised) -> None:
    interface = replace(it.config.interfaces["gre1"], source_filter=False)
    it.configure(interfaces={"gre1": interface})
    charon = await it.start_charon()
    await it.bring_up()
    (loaded,) = [
        each[f"nhrp-{PEER}"] for each in charon.asked("load-conn") if f"nhrp-{PEER}" in each
    ]
    assert not [key for key in loaded["children"]["dmvpn"] if "mark" in key]
