"""Our supervisor and stock charons: it drives one spoke's; the hub's only answers."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio

from nhrpd_py.core.address import Address, Prefix, parse_address
from nhrpd_py.core.config import AuthorizeConfig, Config, InterfaceConfig, IpsecConfig, ViciConfig
from nhrpd_py.core.effects import EndSa, WantSa
from nhrpd_py.core.events import Event, IpsecLost, IpsecReady, SaFailed, SaGone, SaInstalled
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.vici.supervisor import Supervisor
from tests.lab.test_charon_baseline import cloud
from tools.lab.charon import Ipsec
from tools.lab.classic import ClassicNode
from tools.lab.pki import Authority, authority
from tools.lab.topology import Lab


class Driver:
    """A supervisor and what it told."""

    def __init__(self, node: ClassicNode, authorize: AuthorizeConfig) -> None:
        self.node = node
        self.inbox = Inbox()
        self.told: list[Event] = []
        ipsec = IpsecConfig(profile="dmvpn")
        config = Config(
            vici=ViciConfig(
                socket=str(node.charon.socket_path),
                swanctl_config=str(node.charon.swanctl_conf),
            ),
            interfaces={
                "gre1": InterfaceConfig(name="gre1", network_id=1, ipsec=ipsec, authorize=authorize)
            },
        )
        self.supervisor = Supervisor(self.inbox, config, self.kernel_pairs, rng=random.Random(1))
        self.ipsec = ipsec

    async def kernel_pairs(self) -> set[tuple[Address, Address]]:
        text = await trio.to_thread.run_sync(lambda: self.node.namespace.run("ip", "xfrm", "state"))
        lines = [line.split() for line in text.splitlines() if line.startswith("src ")]
        return {(parse_address(words[1]), parse_address(words[3])) for words in lines}

    async def take(self) -> None:
        while True:
            self.told.extend(await self.inbox.take())

    def want(self, peer: str) -> None:
        self.supervisor.want(
            WantSa(
                ipsec=self.ipsec,
                local=parse_address(self.node.nbma),
                remote=parse_address(peer),
                server=True,
            )
        )

    def of(self, kind: type[Any]) -> list[Any]:
        return [each for each in self.told if isinstance(each, kind)]

    async def until(self, condition: Callable[[], Any], limit_s: float = 20.0) -> Any:
        with trio.move_on_after(limit_s):
            while not condition():  # noqa: ASYNC110 (what it looks at tells nobody)
                await trio.sleep(0.02)
        result = condition()
        assert result, (self.told, self.node.charon.log_path.read_text()[-3000:])
        return result


@asynccontextmanager
async def driving(node: ClassicNode, *, by_certificate: bool = False) -> AsyncIterator[Driver]:
    driver = Driver(node, AuthorizeConfig(certificate=by_certificate))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.take)
        await nursery.start(driver.supervisor.run)
        yield driver
        nursery.cancel_scope.cancel()


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[ClassicNode]]:
    with Lab(private_run=True, static=False) as lab:
        yield cloud(lab, {"bgp": False}, {"bgp": False}, {"bgp": False})


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
        ike = spoke.charon.ike_sas()[0]
        await trio.to_thread.run_sync(
            lambda: spoke.charon.request("rekey", {"ike-id": ike["uniqueid"]})
        )
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
        assert len(driver.of(IpsecLost)) == 1
        print(driver.of(IpsecLost), driver.of(SaGone))
        await trio.to_thread.run_sync(spoke.charon.start)
        await driver.until(lambda: len(driver.of(SaInstalled)) == 2)


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
        await trio.sleep(3.0)
        assert not one.of(SaFailed)
        assert not two.of(SaFailed)
        assert len(spoke.charon.children()) == len(hub.charon.children())


async def test_a_spoilt_and_mended_swanctl_conf(pair: list[ClassicNode]) -> None:
    hub, spoke = pair
    good = spoke.charon.swanctl_conf.read_text()
    async with driving(spoke) as driver:
        try:
            spoke.charon.swanctl_conf.write_text(good + "\n}")
            driver.want(hub.nbma)
            failed = (await driver.until(lambda: driver.of(SaFailed)))[0]
            print(failed.reason)
            assert "syntax error" in failed.reason
        finally:
            spoke.charon.swanctl_conf.write_text(good)
        await driver.until(lambda: driver.of(SaInstalled))


OTHER_PROPOSALS = (
    ("    proposals = aes256-sha512-ecp384", "    proposals = aes128-sha256-ecp256"),
)
OTHER_ESP = (("esp_proposals = aes256-sha512-ecp384", "esp_proposals = aes128gcm16"),)


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (Ipsec(expired=True), "out of date"),
        (Ipsec(authority=authority("another CA")), "AUTHENTICATION_FAILED|no trusted"),
        (Ipsec(changes=OTHER_PROPOSALS), "NO_PROPOSAL_CHOSEN"),
        (Ipsec(changes=OTHER_ESP), "NO_PROPOSAL_CHOSEN"),
        (Ipsec(changes=(("mode = transport", "mode = tunnel"),)), "tunnel mode"),
        (Ipsec(remote_id="elsewhere.vpn.example"), "AUTHENTICATION_FAILED"),
    ],
    ids=["expired", "ca", "proposals", "esp", "tunnel", "identity"],
)
async def test_what_does_not_fit_is_told_in_words(theirs: Ipsec, words: str) -> None:
    with Lab(private_run=True, static=False) as lab:
        hub, spoke = cloud(lab, {"ipsec": theirs, "bgp": False}, {"bgp": False})
        async with driving(spoke) as driver:
            started = trio.current_time()
            driver.want(hub.nbma)
            failed = (await driver.until(lambda: driver.of(SaFailed)))[0]
            print(failed.reason, trio.current_time() - started)
            assert any(each in failed.reason for each in words.split("|")), failed.reason
            assert not driver.of(SaInstalled)
            assert trio.current_time() - started < 8
            assert spoke.charon.ike_sas() == [] or "tunnel" in words


async def test_the_address_blocks_of_a_peers_certificate() -> None:
    own = Authority("CA with blocks", address_blocks=("192.0.2.0/24", "10.0.0.0/8"))
    # charon itself refuses a traffic selector that the certificate has no block for.
    ipsec = Ipsec(authority=own, address_blocks=("192.0.2.0/24", "10.7.0.0/16"))
    with Lab(private_run=True, static=False) as lab:
        hub, spoke = cloud(lab, {"ipsec": ipsec, "bgp": False}, {"ipsec": ipsec, "bgp": False})
        async with (
            driving(hub, by_certificate=True) as answers,
            driving(spoke, by_certificate=True) as asks,
        ):
            asks.want(hub.nbma)
            for driver in (asks, answers):
                await driver.until(partial(driver.of, SaInstalled))
                (event,) = driver.of(SaInstalled)
                assert set(event.association.address_blocks or ()) == {
                    Prefix(parse_address("192.0.2.0"), 24),
                    Prefix(parse_address("10.7.0.0"), 16),
                }
                assert driver.supervisor.certificates_available
