"""The supervisor against a charon played by a script, with a clock that jumps."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from nhrpd_py.core.address import Address, parse_address
from nhrpd_py.core.config import (
    AuthorizeConfig,
    Config,
    InterfaceConfig,
    IpsecConfig,
    NflogConfig,
    ViciConfig,
)
from nhrpd_py.core.effects import DropSa, EndSa, WantSa
from nhrpd_py.core.events import Event, IpsecLost, IpsecReady, SaFailed, SaGone, SaInstalled
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.vici.housekeeping import ROUND_S
from nhrpd_py.runtime.vici.profiles.swanctl import Template
from nhrpd_py.runtime.vici.supervisor import Supervisor
from tests.unit.runtime.vici.certificates import certificate, needs_pki, prefix
from tests.unit.runtime.vici.fake_charon import LOCAL, FakeCharon

PROFILE: dict[str, Any] = {
    "version": b"2",
    "local": {"auth": b"psk"},
    "remote": {"auth": b"psk"},
    "children": {
        "dmvpn": {
            "mode": b"transport",
            "local_ts": [b"dynamic[gre]"],
            "remote_ts": [b"dynamic[gre]"],
            "reqid": b"7",
            "start_action": b"trap",
        }
    },
}
PEER = "192.0.2.2"
PAIR = (parse_address(LOCAL), parse_address(PEER))


class Bench:
    def __init__(
        self, nursery: trio.Nursery, path: Path, ipsec: IpsecConfig, authorize: AuthorizeConfig
    ) -> None:
        self.nursery = nursery
        self.path = path
        self.ipsec = ipsec
        self.inbox = Inbox()
        self.told: list[tuple[float, Event]] = []
        self.kernel: set[tuple[Address, Address]] = set()
        self.looks = 0
        config = Config(
            vici=ViciConfig(socket=str(path)),
            interfaces={
                "gre1": InterfaceConfig(name="gre1", network_id=1, ipsec=ipsec, authorize=authorize)
            },
        )
        self.supervisor = Supervisor(self.inbox, config, self.kernel_pairs, rng=random.Random(1))
        self.connections: dict[str, Any] = {"dmvpn": PROFILE}
        self.supervisor.profiles._templates.get = self.template  # type: ignore[method-assign]

    def configure(self, **changes: Any) -> None:
        self.supervisor.configure(replace(self.supervisor._config, **changes))
        self.supervisor.profiles._templates.get = self.template  # type: ignore[method-assign]

    async def template(self) -> Template:
        return Template(self.connections)

    async def kernel_pairs(self) -> set[tuple[Address, Address]]:
        self.looks += 1
        return self.kernel

    async def take(self) -> None:
        while True:
            now = trio.current_time()
            self.told.extend((trio.current_time(), each) for each in await self.inbox.take())
            assert now <= trio.current_time()

    async def charon(self, **options: bool) -> FakeCharon:
        charon = FakeCharon(self.path, **options)
        await self.nursery.start(charon.serve)
        return charon

    def want(self, peer: str = PEER, **options: Any) -> None:
        options = {"server": True, **options}
        self.supervisor.want(
            WantSa(
                ipsec=self.ipsec,
                local=parse_address(LOCAL),
                remote=parse_address(peer),
                **options,
            )
        )

    def of(self, kind: type[Any]) -> list[Any]:
        return [each for _, each in self.told if isinstance(each, kind)]

    def times(self, kind: type[Any]) -> list[float]:
        return [at for at, each in self.told if isinstance(each, kind)]

    @property
    def kinds(self) -> list[str]:
        return [type(each).__name__ for _, each in self.told]

    async def until(self, condition: Callable[[], Any], limit_s: float = 30.0) -> Any:
        deadline = trio.current_time() + limit_s
        while not (result := condition()):
            assert trio.current_time() < deadline, self.told
            await trio.sleep(0.05)
        return result


@asynccontextmanager
async def bench(
    tmp_path: Path, ipsec: IpsecConfig | None = None, *, by_certificate: bool = False
) -> AsyncIterator[Bench]:
    async with trio.open_nursery() as nursery:
        made = Bench(
            nursery,
            tmp_path / "charon.vici",
            ipsec or IpsecConfig(profile="dmvpn"),
            AuthorizeConfig(certificate=by_certificate),
        )
        nursery.start_soon(made.take)
        await nursery.start(made.supervisor.run)
        yield made
        nursery.cancel_scope.cancel()


async def test_a_wish_comes_true(autojump_clock, tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        it.want()
        await it.until(lambda: it.of(SaInstalled))
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


async def test_a_patched_charon_gets_both_hosts_and_the_template(
    autojump_clock, tmp_path: Path
) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon(patched=True)
        it.want()
        await it.until(lambda: it.of(SaInstalled))
        assert it.of(IpsecReady)[0].patched
        (asked,) = charon.asked("initiate")
        assert (asked["ike"], asked["my-host"], asked["other-host"]) == (
            b"dmvpn",
            LOCAL.encode(),
            PEER.encode(),
        )
        assert charon.asked("load-conn") == []


async def test_a_patched_charon_gets_a_clone_for_a_peer_that_the_template_would_refuse(
    autojump_clock,
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as it:
        it.connections["dmvpn"] = {**PROFILE, "remote": {"auth": b"psk", "id": b"hub"}}
        charon = await it.charon(patched=True)
        it.want(server=False)
        await it.until(lambda: it.of(SaInstalled))
        clone = next(each for each in charon.asked("load-conn") if f"nhrp-{PEER}" in each)
        assert clone[f"nhrp-{PEER}"]["remote"]["id"] == b"%any"
        assert "nhrp-peers-dmvpn" in charon.conns


async def test_an_sa_with_somebody_else_is_not_taken_for_the_wanted_one(
    autojump_clock, tmp_path: Path
) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        charon.behaviour[PEER] = "dead"
        it.want()
        await it.until(lambda: charon.asked("initiate"))
        await charon.incoming("192.0.2.77")
        failed = (await it.until(lambda: it.of(SaFailed)))[0]
        assert failed.remote == PAIR[1]
        assert [each.association.remote for each in it.of(SaInstalled)] == [
            parse_address("192.0.2.77")
        ]


async def test_a_dead_peer_costs_ten_seconds_and_only_its_own_ike_sa(
    autojump_clock, tmp_path: Path
) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        charon.behaviour[PEER] = "dead"
        other = await charon.incoming("192.0.2.77")
        await it.until(lambda: it.of(IpsecReady))
        begun = trio.current_time()
        it.want()
        await it.until(lambda: it.of(SaFailed))
        assert it.times(SaFailed)[0] - begun == pytest.approx(10.1, abs=0.5)
        assert it.of(SaFailed)[0].reason == "the peer does not answer"
        assert set(charon.ikes) == {other}


async def test_back_off_grows_to_a_minute_and_is_forgotten_when_said_again(
    autojump_clock, tmp_path: Path
) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        charon.behaviour[PEER] = "refuse"
        it.want()
        await it.until(lambda: len(it.of(SaFailed)) == 8, 600)
        reasons = {each.reason for each in it.of(SaFailed)}
        assert len(reasons) == 1
        assert "AUTHENTICATION_FAILED" in reasons.pop()
        waits = [each.retry_in_s for each in it.of(SaFailed)]
        for wait, nominal in zip(waits, (2, 4, 8, 16, 32, 60, 60, 60), strict=True):
            assert 0.8 * nominal <= wait <= 1.2 * nominal
        charon.behaviour[PEER] = "up"
        before = trio.current_time()
        it.want()
        await it.until(lambda: it.of(SaInstalled))
        assert trio.current_time() - before < 2


@pytest.mark.parametrize(
    ("behaviour", "words", "limit_s"),
    [("childless", "TS_UNACCEPTABLE", 3.5), ("tunnel", "mode = transport", 1.5)],
)
async def test_half_a_success_is_none(
    autojump_clock, tmp_path: Path, behaviour: str, words: str, limit_s: float
) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        charon.behaviour[PEER] = behaviour
        await it.until(lambda: it.of(IpsecReady))
        begun = trio.current_time()
        it.want()
        await it.until(lambda: it.of(SaFailed))
        assert it.times(SaFailed)[0] - begun < limit_s
        assert words in it.of(SaFailed)[0].reason
        assert not it.of(SaInstalled)
        assert charon.ikes == {}


async def test_eight_at_a_time_and_everybody_has_a_turn(autojump_clock, tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        peers = [f"198.51.100.{number}" for number in range(1, 61)]
        charon.behaviour.update(dict.fromkeys(peers[:20], "dead"))
        for peer in peers:
            it.want(peer)
        await it.until(lambda: len(it.of(SaInstalled)) == 40, 60)
        assert 8 <= charon.most_in_flight <= 8 + 8  # dead ones linger 2 s in the script


async def test_a_lost_sa_is_made_anew_at_once(autojump_clock, tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        it.want()
        await it.until(lambda: it.of(SaInstalled))
        await trio.sleep(100)
        await charon.lose(next(iter(charon.ikes)))
        await it.until(lambda: len(it.of(SaInstalled)) == 2)
        assert it.times(SaInstalled)[1] - it.times(SaGone)[0] < 1.0
        assert it.of(SaGone)[0].reason == "the IKE_SA was deleted"


async def test_a_dropped_wish_is_left_alone_and_its_connection_goes_in_time(
    autojump_clock,
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        it.want()
        await it.until(lambda: it.of(SaInstalled))
        it.supervisor.drop(DropSa("dmvpn", *PAIR))
        await charon.lose(next(iter(charon.ikes)))
        await trio.sleep(200)
        assert f"nhrp-{PEER}" in charon.conns
        await trio.sleep(150)
        assert f"nhrp-{PEER}" not in charon.conns
        assert len(charon.asked("initiate")) == 1


async def test_two_tunnels_between_the_same_addresses_wish_for_themselves(
    autojump_clock, tmp_path: Path
) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        it.want(interface="gre1")
        it.want(interface="gre2", server=False)
        await it.until(lambda: it.of(SaInstalled))
        it.supervisor.drop(DropSa("dmvpn", *PAIR, "gre1"))
        await charon.lose(next(iter(charon.ikes)))
        await it.until(lambda: len(it.of(SaInstalled)) == 2)


async def test_what_is_up_already_is_not_initiated(autojump_clock, tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        await charon.incoming(PEER)
        await it.until(lambda: it.of(IpsecReady))
        it.want()
        await trio.sleep(30)
        assert charon.asked("initiate") == []


async def test_the_other_end_has_the_first_go(autojump_clock, tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        await it.until(lambda: it.of(IpsecReady))
        it.want(delay_s=0.5)
        await trio.sleep(0.3)
        await charon.incoming(PEER)
        await trio.sleep(30)
        assert charon.asked("initiate") == []


async def test_ending_makes_it_anew(autojump_clock, tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        it.want()
        await it.until(lambda: it.of(SaInstalled))
        await trio.sleep(100)
        it.supervisor.end(EndSa(*PAIR))
        await it.until(lambda: len(it.of(SaInstalled)) == 2)
        assert it.kinds[-2:] == ["SaGone", "SaInstalled"]
        assert charon.asked("terminate")[0]["force"] == b"yes"
        assert it.of(SaGone)[0].reason == "ended: nothing came through it"


async def test_the_fallback_is_tried_every_other_time(autojump_clock, tmp_path: Path) -> None:
    ipsec = IpsecConfig(profile="dmvpn", fallback_profile="nat")
    async with bench(tmp_path, ipsec) as it:
        it.connections["nat"] = {
            **PROFILE,
            "children": {"nat": PROFILE["children"]["dmvpn"]},
        }
        charon = await it.charon()
        charon.behaviour[PEER] = "refuse"
        it.want()
        await it.until(lambda: len(charon.asked("initiate")) == 4, 60)
        children = [each["child"] for each in charon.asked("initiate")]
        assert children == [b"dmvpn", b"nat", b"dmvpn", b"nat"]


async def test_an_unknown_profile_is_told_with_those_that_there_are(
    autojump_clock, tmp_path: Path
) -> None:
    async with bench(tmp_path) as it:
        await it.charon()
        it.connections = {"home": PROFILE, "office": PROFILE}
        it.want()
        failed = (await it.until(lambda: it.of(SaFailed)))[0]
        assert failed.reason == (
            "profile dmvpn: no such connection in /etc/swanctl/swanctl.conf (it has: home, office)"
        )
        await trio.sleep(200)  # the back-off is a minute by now
        it.connections = {"dmvpn": PROFILE}
        await it.until(lambda: it.of(SaInstalled), 8)


@pytest.mark.parametrize("at", [0.0, 10.0, 10.5, 11.0, 11.5])
async def test_a_stopped_charon_takes_its_sas_along(
    autojump_clock, tmp_path: Path, at: float
) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        await charon.incoming(PEER)
        await it.until(lambda: it.of(SaInstalled))
        await trio.sleep(at)
        it.told.clear()
        it.kernel = set()
        await charon.stop()
        await it.until(lambda: it.of(SaGone), 1.0)
        assert it.kinds == ["IpsecLost", "SaGone"]


async def test_a_killed_charon_does_not_and_its_successor_makes_a_new_one_first(
    autojump_clock,
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        it.want()
        await it.until(lambda: it.of(SaInstalled))
        it.kernel = {PAIR}
        await charon.stop()
        await trio.sleep(60)
        assert not it.of(SaGone)
        assert len(it.of(IpsecLost)) <= 3
        successor = await it.charon()
        await it.until(lambda: it.of(SaGone))
        assert it.kinds[-3:] == ["IpsecReady", "SaInstalled", "SaGone"]
        one, two = (each.association for each in it.of(SaInstalled))
        assert one.id != two.id  # though the successor counts from 1 again
        assert it.of(SaGone)[0].id == one.id
        assert successor.requests


async def test_a_hub_keeps_an_orphan_until_its_peer_renews_it_or_the_kernel_ends_it(
    autojump_clock, tmp_path: Path
) -> None:
    """It carries traffic, and while it does the peer's dead peer detection is content."""
    other = "192.0.2.3"
    async with bench(tmp_path) as it:
        charon = await it.charon()
        for each in (PEER, other):
            await charon.incoming(each)
        await it.until(lambda: len(it.of(SaInstalled)) == 2)
        it.kernel = {PAIR, (PAIR[0], parse_address(other))}
        await charon.stop()
        await trio.sleep(5)
        successor = await it.charon()
        await trio.sleep(600)
        assert not it.of(SaGone)
        await successor.incoming(PEER)
        await it.until(lambda: it.of(SaGone))
        assert it.kinds[-2:] == ["SaInstalled", "SaGone"]
        it.kernel = {PAIR}
        await it.until(lambda: len(it.of(SaGone)) == 2, 3)
        assert it.of(SaGone)[1].remote == parse_address(other)


async def test_an_orphan_that_is_wished_for_and_cannot_be_had_again_is_given_up(
    autojump_clock, tmp_path: Path
) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        it.want()
        await it.until(lambda: it.of(SaInstalled))
        it.kernel = {PAIR}
        await charon.stop()
        charon.ikes.clear()
        charon.behaviour[PEER] = "dead"
        await it.nursery.start(charon.serve)
        await it.until(lambda: it.of(SaGone), 60)
        assert 30 <= it.times(SaGone)[0] - it.times(IpsecReady)[1] < 33


async def test_a_broken_connection_to_the_same_charon_changes_nothing(
    autojump_clock, tmp_path: Path
) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        await charon.incoming(PEER)
        await it.until(lambda: it.of(SaInstalled))
        it.kernel = {PAIR}
        await charon.stop()
        await it.nursery.start(charon.serve)
        await it.until(lambda: len(it.of(IpsecReady)) == 2)
        await trio.sleep(100)
        assert len(it.of(SaInstalled)) == 1
        assert not it.of(SaGone)


@pytest.mark.parametrize("command", ["get-conns", "load-conn"])
async def test_a_charon_that_hangs_counts_as_lost(
    autojump_clock, tmp_path: Path, command: str
) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        await it.until(lambda: it.of(IpsecReady))
        charon.silent = {command}
        it.want()
        await it.until(lambda: f"did not answer {command}" in it.of(IpsecLost)[-1].reason)
        charon.silent = set()
        await it.until(lambda: it.of(SaInstalled))
        assert not it.of(SaFailed)  # it is not the peer's fault


async def test_a_charon_that_dies_in_an_attempt_tells_nothing_of_the_peer(
    autojump_clock, tmp_path: Path
) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        charon.behaviour[PEER] = "dead"
        it.want()
        await it.until(lambda: charon.asked("initiate"))
        await trio.sleep(1)
        await charon.stop()
        charon.behaviour.clear()
        await it.nursery.start(charon.serve)
        await it.until(lambda: it.of(SaInstalled))
        assert not it.of(SaFailed)


async def test_a_new_charon_knows_no_back_off_of_earlier_days(
    autojump_clock, tmp_path: Path
) -> None:
    """Its secrets may be loaded a moment after it listens; the peer's SA lives on in the kernel."""
    async with bench(tmp_path) as it:
        charon = await it.charon()
        charon.behaviour[PEER] = "refuse"
        it.want()
        await it.until(lambda: len(it.of(SaFailed)) == 6, 300)
        charon.behaviour.clear()
        await it.until(lambda: it.of(SaInstalled), 100)
        it.kernel = {PAIR}
        await charon.stop()
        it.told.clear()
        charon.ikes.clear()
        charon.behaviour[PEER] = "refuse"
        await it.nursery.start(charon.serve)
        failed = (await it.until(lambda: it.of(SaFailed)))[0]
        assert failed.retry_in_s < 3


async def test_a_charon_that_is_away_for_long_costs_few_looks_at_the_kernel(
    autojump_clock, tmp_path: Path
) -> None:
    """Each reads all states that there are."""
    async with bench(tmp_path) as it:
        charon = await it.charon()
        await charon.incoming(PEER)
        await it.until(lambda: it.of(SaInstalled))
        it.kernel = {PAIR}
        await trio.sleep(9)  # somewhere between two looks
        await charon.stop()
        await trio.sleep(100)
        assert it.looks < 60
        it.kernel = set()
        await it.until(lambda: it.of(SaGone), 3)


async def test_an_sa_that_charon_is_busy_with_is_no_lost_one(
    autojump_clock, tmp_path: Path
) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        ike_id = await charon.incoming(PEER)
        await it.until(lambda: it.of(SaInstalled))
        it.kernel = {PAIR}
        charon.busy = {ike_id}
        await charon.stop()
        await it.nursery.start(charon.serve)
        await it.until(lambda: len(it.of(IpsecReady)) == 2)
        await trio.sleep(100)
        assert not it.of(SaGone)


async def test_the_socket_is_named_with_what_mends_it(autojump_clock, tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        reason = (await it.until(lambda: it.of(IpsecLost)))[0].reason
        assert str(it.path) in reason
        assert "systemctl start strongswan" in reason
        await trio.sleep(60)
        assert len(it.of(IpsecLost)) == 1


HUB = {**PROFILE, "remote": {"auth": b"psk", "id": b"hub1.vpn.example"}}


async def test_whoever_has_the_servers_address_is_not_yet_the_server(
    autojump_clock, tmp_path: Path
) -> None:
    """A peer that begins an SA comes in by the connection for spokes, which takes any good certificate."""
    async with bench(tmp_path) as it:
        it.connections["dmvpn"] = HUB
        charon = await it.charon()
        charon.behaviour[PEER] = "dead"
        it.want()
        await it.until(lambda: charon.asked("initiate"))
        thief = await charon.incoming(PEER, "spoke9.vpn.example")
        failed = (await it.until(lambda: it.of(SaFailed)))[0]
        assert failed.reason == "spoke9.vpn.example is not the server hub1.vpn.example"
        await it.until(lambda: thief not in charon.ikes)
        assert not it.of(SaInstalled)
        await charon.incoming(PEER, "HUB1.vpn.example")
        await it.until(lambda: it.of(SaInstalled))
        await charon.incoming("192.0.2.77", "spoke9.vpn.example")
        await it.until(lambda: len(it.of(SaInstalled)) == 2)


async def test_nor_if_it_was_there_before_we_wanted_the_server(
    autojump_clock, tmp_path: Path
) -> None:
    async with bench(tmp_path) as it:
        it.connections["dmvpn"] = HUB
        charon = await it.charon()
        await it.until(lambda: it.of(IpsecReady))
        thief = await charon.incoming(PEER, "spoke9.vpn.example")
        await it.until(lambda: it.of(SaInstalled))
        charon.behaviour[PEER] = "dead"
        it.want()
        await it.until(lambda: it.of(SaGone))
        assert it.of(SaGone)[0].reason == "spoke9.vpn.example is not the server hub1.vpn.example"
        await it.until(lambda: thief not in charon.ikes)
        del charon.behaviour[PEER]
        await it.until(lambda: len(it.of(SaInstalled)) == 2, 60)


async def test_a_server_may_be_whom_charon_compared_itself(autojump_clock, tmp_path: Path) -> None:
    """The fake's peers are never called hub1: what we began is charon's to judge."""
    async with bench(tmp_path) as it:
        it.connections["dmvpn"] = HUB
        await it.charon()
        it.want()
        await it.until(lambda: it.of(SaInstalled))
        await trio.sleep(30)
        assert not it.of(SaGone)


async def test_a_second_peer_at_one_address_waits_for_the_first_to_go(
    autojump_clock, tmp_path: Path
) -> None:
    """Both behind one NAT: what is for the one would be encrypted for the other."""
    async with bench(tmp_path) as it:
        charon = await it.charon()
        first = await charon.incoming(PEER, "spoke4")
        await it.until(lambda: it.of(SaInstalled))
        second = await charon.incoming(PEER, "spoke5")
        failed = (await it.until(lambda: it.of(SaFailed)))[0]
        assert failed.reason == (
            "spoke5 comes from 192.0.2.2, where spoke4 is: two peers behind one address cannot be"
            " told apart"
        )
        await it.until(lambda: second not in charon.ikes)
        again = await charon.incoming(PEER, "spoke4")  # as when it authenticates anew
        await it.until(lambda: len(it.of(SaInstalled)) == 2)
        for ike_id in (first, again):
            await charon.lose(ike_id)
        await charon.incoming(PEER, "spoke5")
        await it.until(lambda: len(it.of(SaInstalled)) == 3)


async def test_two_peers_at_one_address_that_are_there_when_we_start(
    autojump_clock, tmp_path: Path
) -> None:
    async with bench(tmp_path) as it:
        charon = FakeCharon(it.path)
        for ike_id, identity in ((9, "spoke5"), (8, "spoke4")):
            charon.next_id = ike_id * 10
            charon.ikes[ike_id] = (
                "dmvpn",
                charon.ike(ike_id, PEER, "ESTABLISHED", identity=identity)
                | {"child-sas": charon.child("TRANSPORT")},
            )
        await it.nursery.start(charon.serve)
        await it.until(lambda: it.of(IpsecReady))
        await it.until(lambda: set(charon.ikes) == {8})
        assert [each.association.identity for each in it.of(SaInstalled)] == ["spoke4"]


async def test_a_tunnel_that_a_peer_begins_is_ended(autojump_clock, tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        await it.until(lambda: it.of(IpsecReady))
        ike_id = await charon.incoming(PEER, mode="TUNNEL")
        failed = (await it.until(lambda: it.of(SaFailed)))[0]
        assert "is in tunnel mode" in failed.reason
        await it.until(lambda: ike_id not in charon.ikes)
        assert not it.of(SaInstalled)


async def test_an_sa_that_comes_and_goes_is_tried_less_and_less(
    autojump_clock, tmp_path: Path
) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        charon.behaviour[PEER] = "flap"
        it.want()
        await trio.sleep(60)
        assert 4 <= len(charon.asked("initiate")) <= 9
        assert len(it.of(SaGone)) == len(it.of(SaInstalled)) == len(charon.asked("initiate"))
        del charon.behaviour[PEER]
        await it.until(lambda: len(it.of(SaInstalled)) > len(it.of(SaGone)), 90)


@pytest.mark.parametrize("broken", [{}, {"office": PROFILE}])
async def test_the_answer_to_peers_stays_while_the_file_is_broken(
    autojump_clock, tmp_path: Path, broken: dict[str, Any]
) -> None:
    async with bench(tmp_path) as it:
        it.connections["dmvpn"] = HUB
        charon = await it.charon()
        await it.until(lambda: "nhrp-peers-dmvpn" in charon.conns)
        it.connections = broken
        it.configure(nflog=NflogConfig(redirect_group=9))
        await it.until(lambda: len(it.of(IpsecReady)) == 2)
        await trio.sleep(20)
        assert "nhrp-peers-dmvpn" in charon.conns
        it.connections = {"dmvpn": PROFILE}  # takes any peer itself
        await it.until(lambda: "nhrp-peers-dmvpn" not in charon.conns)


async def test_a_reload_while_charon_is_away_tells_why_again(
    autojump_clock, tmp_path: Path
) -> None:
    async with bench(tmp_path) as it:
        await it.until(lambda: it.of(IpsecLost))
        vici = ViciConfig(socket=str(tmp_path / "other.vici"))
        it.configure(vici=vici)
        with trio.fail_after(5):
            await it.supervisor.heard()
        await it.until(lambda: len(it.of(IpsecLost)) == 2)
        assert "other.vici" in it.of(IpsecLost)[1].reason


async def test_the_answer_to_peers_is_loaded_again_when_swanctl_took_it(
    autojump_clock, tmp_path: Path
) -> None:
    async with bench(tmp_path) as it:
        it.connections["dmvpn"] = {**PROFILE, "remote": {"auth": b"psk", "id": b"hub"}}
        charon = await it.charon()
        await it.until(lambda: "nhrp-peers-dmvpn" in charon.conns)
        charon.conns.clear()
        await it.until(lambda: "nhrp-peers-dmvpn" in charon.conns, 6)
        assert charon.conns["nhrp-peers-dmvpn"]["remote_addrs"] == [b"%any"]


async def test_rows_for_people(autojump_clock, tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        await charon.incoming(PEER)
        charon.behaviour["192.0.2.3"] = "refuse"
        it.want("192.0.2.3")
        await it.until(lambda: it.of(SaFailed))
        up, failed = await it.supervisor.snapshot()
        assert (up.state, up.nbma, up.initiator) == ("INSTALLED", PEER, False)
        assert (failed.state, failed.nbma, failed.attempts) == ("failed", "192.0.2.3", 1)
        assert failed.next_attempt_in_s is not None
        assert "AUTHENTICATION_FAILED" in str(failed.last_error)


async def test_who_asks_and_goes_away_disturbs_nobody(autojump_clock, tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        it.want()
        await it.until(lambda: it.of(SaInstalled))
        before = it.supervisor.counters["connects"]
        charon.silent.add("list-sas")
        with trio.move_on_after(2 * ROUND_S) as scope:  # others want to ask meanwhile
            await it.supervisor.snapshot()
        assert scope.cancelled_caught
        await trio.sleep(60)
        assert it.supervisor.counters["connects"] == before


@needs_pki
async def test_a_stock_charon_lists_the_certificates_that_peers_sent(
    autojump_clock, tmp_path: Path
) -> None:
    async with bench(tmp_path, by_certificate=True) as it:
        charon = await it.charon()
        charon.certificates = [certificate(tmp_path, "10.1.0.0/16", "10.2.0.0/16")]
        await it.until(lambda: it.of(IpsecReady))
        await charon.incoming(PEER)
        await it.until(lambda: it.of(SaInstalled))
        asked = charon.asked("list-certs")[0]
        assert asked["subject"] == f"{PEER}.vpn.example".encode()
        blocks = it.of(SaInstalled)[0].association.address_blocks
        assert blocks == (prefix("10.1.0.0/16"), prefix("10.2.0.0/16")) or blocks == (
            prefix("10.1.0.0/15"),
        )
        # a predecessor of it may be the one that the next peer shows
        charon.certificates.append(certificate(tmp_path, "10.1.7.0/24"))
        await charon.incoming("192.0.2.3", f"{PEER}.vpn.example")
        await it.until(lambda: len(it.of(SaInstalled)) == 2)
        assert it.of(SaInstalled)[1].association.address_blocks == (prefix("10.1.7.0/24"),)


@needs_pki
async def test_certificates_are_known_before_a_reload_goes_on(
    autojump_clock, tmp_path: Path
) -> None:
    async with bench(tmp_path) as it:
        charon = await it.charon()
        charon.certificates = [certificate(tmp_path, "10.1.0.0/16")]
        await it.until(lambda: it.of(IpsecReady))
        await charon.incoming(PEER)
        await it.until(lambda: it.of(SaInstalled))
        assert it.of(SaInstalled)[0].association.address_blocks is None
        interface = replace(
            it.supervisor._config.interfaces["gre1"], authorize=AuthorizeConfig(certificate=True)
        )
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
    async with bench(tmp_path, by_certificate=True) as it:
        charon = FakeCharon(it.path)
        ike_id = charon.next_id
        charon.ikes[ike_id] = (
            "dmvpn",
            charon.ike(ike_id, PEER, "ESTABLISHED") | {"child-sas": charon.child("TRANSPORT")},
        )
        await it.nursery.start(charon.serve)
        await it.until(lambda: it.of(IpsecReady))
        assert not charon.ikes
        assert not it.of(SaInstalled)
        await charon.incoming(PEER)
        await it.until(lambda: it.of(SaInstalled))
        it.supervisor.restart()
        await it.until(lambda: len(it.of(IpsecReady)) == 2)
        assert len(charon.ikes) == 1
