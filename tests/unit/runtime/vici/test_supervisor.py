"""What the engine asks of the supervisor, and what people see of it."""

from __future__ import annotations

from pathlib import Path

import trio
import trio.testing

from nhrpd_py.core.config import ViciConfig
from nhrpd_py.core.effects import DropSa, EndSa
from nhrpd_py.core.events import IpsecLost, SaFailed, SaGone, SaInstalled
from nhrpd_py.runtime.vici.housekeeping import ROUND_S
from nhrpd_py.runtime.vici.session import FIRST_LIST_S
from tests.unit.runtime.vici.fake_charon import FakeCharon
from tests.unit.runtime.vici.supervised import PAIR, PEER, Supervised


async def test_a_lost_sa_is_made_anew_at_once(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    await it.bring_up()
    await trio.sleep(100)
    await charon.lose(next(iter(charon.ikes)))
    await it.reported(SaInstalled, 2)
    assert it.times(SaInstalled)[1] - it.times(SaGone)[0] < 1.0
    assert it.of(SaGone)[0].reason == "the IKE_SA was deleted"


async def test_an_sa_that_nobody_wants_is_left_alone_and_its_connection_goes_in_time(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    await it.bring_up()
    it.supervisor.drop(DropSa("dmvpn", *PAIR))
    await charon.lose(next(iter(charon.ikes)))
    await trio.sleep(200)
    assert f"nhrp-{PEER}" in charon.conns
    await trio.sleep(150)
    assert f"nhrp-{PEER}" not in charon.conns
    assert len(charon.asked("initiate")) == 1


async def test_two_tunnels_between_the_same_addresses_want_an_sa_each(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    it.want(interface="gre1")
    it.want(interface="gre2", server=False)
    await it.reported(SaInstalled)
    it.supervisor.drop(DropSa("dmvpn", *PAIR, "gre1"))
    await charon.lose(next(iter(charon.ikes)))
    await it.reported(SaInstalled, 2)


async def test_ending_makes_it_anew(autojump_clock, it: Supervised, charon: FakeCharon) -> None:
    await it.bring_up()
    await trio.sleep(100)
    it.supervisor.end(EndSa(*PAIR))
    await it.reported(SaInstalled, 2)
    assert it.kinds[-2:] == ["SaGone", "SaInstalled"]
    assert charon.asked("terminate")[0]["force"] == b"yes"
    assert it.of(SaGone)[0].reason == "ended: nothing came through it"


async def test_ending_what_only_the_kernel_has(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    await it.bring_up()
    it.kernel = {PAIR}
    await charon.stop()
    await it.reported(IpsecLost, 2)
    it.supervisor.end(EndSa(*PAIR))
    gone = (await it.reported(SaGone, within_s=0.1))[0]
    assert gone.reason == "ended: nothing came through it"


async def test_a_reload_while_charon_is_away_reports_why_again(
    autojump_clock, it: Supervised, tmp_path: Path
) -> None:
    await it.reported(IpsecLost)
    vici = ViciConfig(socket=str(tmp_path / "other.vici"))
    it.configure(vici=vici)
    with trio.fail_after(5):
        await it.supervisor.heard()
    await it.reported(IpsecLost, 2)
    assert "other.vici" in it.of(IpsecLost)[1].reason


async def test_rows_for_people(autojump_clock, it: Supervised, charon: FakeCharon) -> None:
    await charon.incoming(PEER)
    charon.behaviour["192.0.2.3"] = "refuse"
    it.want("192.0.2.3")
    await it.reported(SaFailed)
    up, failed = await it.supervisor.snapshot()
    assert (up.state, up.nbma, up.initiator) == ("INSTALLED", PEER, False)
    assert (failed.state, failed.nbma, failed.attempts) == ("failed", "192.0.2.3", 1)
    assert failed.next_attempt_in_s is not None
    assert "AUTHENTICATION_FAILED" in str(failed.last_error)


async def test_who_asks_and_goes_away_disturbs_nobody(
    autojump_clock, it: Supervised, charon: FakeCharon
) -> None:
    await it.bring_up()
    await trio.sleep(2 * FIRST_LIST_S)  # the session has listed them twice
    before = it.supervisor.counters["connects"]
    charon.silent.add("list-sas")
    with trio.move_on_after(2 * ROUND_S) as scope:  # others want to ask meanwhile
        await it.supervisor.snapshot()
    assert scope.cancelled_caught
    await trio.sleep(60)
    assert it.supervisor.counters["connects"] == before
