"""Our supervisor and stock charons: it drives one spoke's; the hub's only answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio

from nhrpd_py.core.address import parse_address
from nhrpd_py.core.effects import EndSa
from nhrpd_py.core.events import IpsecLost, IpsecReady, SaFailed, SaGone, SaInstalled
from tests.lab.clouds import cloud
from tests.lab.driver import driving
from tools.lab.classic import ClassicNode


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[ClassicNode]]:
    with cloud({}, {}, {}, nhrpd=False, bgp=False) as (_, built):
        yield built


@pytest.fixture
def pair(nodes: list[ClassicNode]) -> list[ClassicNode]:
    """The hub and a spoke without SAs."""
    for node in nodes[:2]:
        if node.charon.running:
            node.charon.stop()
        node.namespace.run("ip", "xfrm", "state", "flush")
        node.namespace.run("ip", "xfrm", "policy", "flush")
    for node in nodes[:2]:
        node.charon.start()
    return nodes[:2]


async def test_up_and_up_again_when_the_peer_deletes(pair: list[ClassicNode]) -> None:
    hub, spoke = pair
    async with driving(spoke) as driver:
        driver.want(hub.nbma)
        installed = (await driver.until(lambda: driver.of(SaInstalled)))[0].association
        assert installed.identity == hub.identity
        assert installed.remote == parse_address(hub.nbma)
        (row,) = await driver.supervisor.snapshot()
        assert (row.state, row.mode, row.initiator) == ("INSTALLED", "TRANSPORT", True)
        child = hub.charon.children(spoke.nbma)[0]
        started = trio.current_time()
        await trio.to_thread.run_sync(
            lambda: hub.charon.request("terminate", {"ike-id": str(child.ike_id)})
        )
        await driver.until(lambda: len(driver.of(SaInstalled)) == 2)
        print("up again after", trio.current_time() - started)
        assert driver.of(SaGone)[0].id == installed.id
        # ended by our side, without asking the peer
        driver.supervisor.end(EndSa(installed.local, installed.remote))
        await driver.until(lambda: len(driver.of(SaInstalled)) == 3)


async def test_rekeying_never_leaves_the_pair_without_an_sa(pair: list[ClassicNode]) -> None:
    hub, spoke = pair
    async with driving(spoke) as driver:
        driver.want(hub.nbma)
        await driver.until(lambda: driver.of(SaInstalled))
        first = spoke.charon.ike_sas()[0]["uniqueid"]
        await trio.to_thread.run_sync(lambda: spoke.charon.request("rekey", {"ike-id": first}))

        def moved() -> bool:
            """The child belongs to the new IKE_SA, as charon answers only of it then."""
            ikes = spoke.charon.ike_sas()
            return [bool(each["child-sas"]) for each in ikes if each["uniqueid"] != first] == [True]

        await driver.until(moved)
        await trio.to_thread.run_sync(lambda: spoke.charon.request("rekey", {"child": "dmvpn"}))
        await driver.until(lambda: driver.of(SaGone))
        kinds = [type(each).__name__ for each in driver.told if not isinstance(each, IpsecReady)]
        assert kinds == ["SaInstalled", "SaInstalled", "SaGone"]


async def test_swanctl_takes_our_connections_away_and_nothing_happens(
    pair: list[ClassicNode],
) -> None:
    hub, spoke = pair
    async with driving(spoke) as driver:
        driver.want(hub.nbma)
        await driver.until(lambda: driver.of(SaInstalled))
        await trio.to_thread.run_sync(spoke.charon.load_all)
        assert not driver.of(SaGone)
        child = hub.charon.children(spoke.nbma)[0]
        await trio.to_thread.run_sync(
            lambda: hub.charon.request("terminate", {"ike-id": str(child.ike_id)})
        )
        await driver.until(lambda: len(driver.of(SaInstalled)) == 2)


async def test_a_dead_peer_is_told_and_leaves_nothing_behind(pair: list[ClassicNode]) -> None:
    hub, spoke = pair
    await trio.to_thread.run_sync(hub.charon.stop)
    async with driving(spoke) as driver:
        nobody = hub.nbma.rsplit(".", 1)[0] + ".200"
        started = trio.current_time()
        driver.want(nobody)
        failed = (await driver.until(lambda: driver.of(SaFailed)))[0]
        print(failed.reason, trio.current_time() - started)
        assert failed.reason == "the peer does not answer"
        assert 9.5 < trio.current_time() - started < 12
        assert spoke.charon.ike_sas() == []


async def test_charon_stopped_and_started(pair: list[ClassicNode]) -> None:
    hub, spoke = pair
    async with driving(spoke) as driver:
        driver.want(hub.nbma)
        await driver.until(lambda: driver.of(SaInstalled))
        await trio.to_thread.run_sync(spoke.charon.stop)
        await driver.until(lambda: driver.of(SaGone), 3.0)
        # charon tells of the end of its SAs before it closes its sockets.
        await driver.until(lambda: driver.of(IpsecLost), 3.0)
        await trio.to_thread.run_sync(spoke.charon.start)
        await driver.until(lambda: len(driver.of(SaInstalled)) == 2)
        assert len(driver.of(IpsecLost)) == 1


async def test_charon_killed_and_started_without_a_gap(pair: list[ClassicNode]) -> None:
    hub, spoke = pair
    async with driving(spoke) as driver:
        driver.want(hub.nbma)
        await driver.until(lambda: driver.of(SaInstalled))
        await trio.to_thread.run_sync(spoke.charon.kill)
        await driver.until(lambda: driver.of(IpsecLost), 3.0)
        await trio.sleep(3.0)  # the kernel was asked meanwhile
        assert not driver.of(SaGone)
        await trio.to_thread.run_sync(spoke.charon.start)
        await driver.until(lambda: driver.of(SaGone))
        kinds = [type(each).__name__ for each in driver.told]
        assert kinds.index("SaGone") > len(kinds) - 1 - kinds[::-1].index("SaInstalled")
        first, second = (each.association.id for each in driver.of(SaInstalled))
        assert first != second
        assert driver.of(SaGone)[0].id == first


async def test_both_initiate_at_once(pair: list[ClassicNode]) -> None:
    hub, spoke = pair
    async with driving(spoke) as one, driving(hub) as two:
        await one.until(lambda: one.of(IpsecReady))
        await two.until(lambda: two.of(IpsecReady))
        one.want(hub.nbma)
        two.want(spoke.nbma)
        await one.until(lambda: one.of(SaInstalled))
        await two.until(lambda: two.of(SaInstalled))
        # One of two may be replaced some seconds later, on one end before the other.
        await one.until(
            lambda: 1 <= len(spoke.charon.children()) == len(hub.charon.children()) <= 2
        )
        assert not one.of(SaFailed)
        assert not two.of(SaFailed)


async def test_a_spoilt_and_mended_swanctl_conf(pair: list[ClassicNode]) -> None:
    hub, spoke = pair
    good = spoke.charon.swanctl_conf.read_text()
    spoke.charon.swanctl_conf.write_text(good + "\n}")
    try:
        async with driving(spoke) as driver:
            driver.want(hub.nbma)
            failed = (await driver.until(lambda: driver.of(SaFailed)))[0]
            assert "syntax error" in failed.reason
            spoke.charon.swanctl_conf.write_text(good)
            await driver.until(lambda: driver.of(SaInstalled))
    finally:
        spoke.charon.swanctl_conf.write_text(good)
