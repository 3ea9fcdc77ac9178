"""Stock charons that do not fit each other, and the other ways to authenticate: by hand, and driven by our supervisor.

One spoke asks hubs of every kind, in one cloud without nhrpd; what wants credentials of its own at
both ends has a pair of its own there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import trio

from nhrpd_py.core.address import Prefix, parse_address
from nhrpd_py.core.events import SaFailed, SaInstalled
from tests.lab.by_hand import connect, introduce, refused
from tests.lab.clouds import cloud
from tests.lab.driver import driving
from tools.lab.charon import Ipsec
from tools.lab.classic import ClassicNode
from tools.lab.machine import Role
from tools.lab.namespace import wait_until
from tools.lab.pki import Authority, Key, authority

pytestmark = pytest.mark.timeout(400)

REVOKING = Authority("revoking CA")
PREFIXES = ("192.0.2.0/24", "10.7.0.0/16")
# charon itself refuses a traffic selector that the certificate has no block for.
WITH_BLOCKS = Ipsec(
    authority=Authority("CA with blocks", address_blocks=("192.0.2.0/24", "10.0.0.0/8")),
    address_blocks=PREFIXES,
)
PROPOSALS = "    proposals = aes256-sha512-ecp384"
HUBS = {
    "fitting": Ipsec(),
    "expired": Ipsec(expired=True),
    "another CA": Ipsec(authority=authority("another CA")),
    "other proposals": Ipsec(changes=((PROPOSALS, "    proposals = aes128-sha256-ecp256"),)),
    "other ESP": Ipsec(
        changes=(("esp_proposals = aes256-sha512-ecp384", "esp_proposals = aes128gcm16"),)
    ),
    "tunnel mode": Ipsec(changes=(("mode = transport", "mode = tunnel"),)),
    "another identity": Ipsec(remote_id="elsewhere.vpn.example"),
}
PAIRS = {
    "revoked": Ipsec(authority=REVOKING),
    "pre-shared key": Ipsec(psk="a secret of all"),
    "RSA": Ipsec(authority=authority(kind=Key.RSA)),
    "address blocks": WITH_BLOCKS,
}

Pair = tuple[ClassicNode, ClassicNode]


@pytest.fixture(scope="module")
def pairs() -> Iterator[dict[str, Pair]]:
    """Hub and spoke by what is special about them."""

    def spoke_of(ipsec: Ipsec) -> dict[str, Any]:
        """The sample's spoke demands hub1."""
        return {"role": Role.SPOKE, "ipsec": replace(ipsec, remote_id="*.vpn.example")}

    options = [spoke_of(Ipsec())]
    options += [{"role": Role.HUB, "ipsec": ipsec} for ipsec in HUBS.values()]
    for ipsec in PAIRS.values():
        options += [{"role": Role.HUB, "ipsec": ipsec}, spoke_of(ipsec)]
    with cloud(*options, nhrpd=False, bgp=False) as (_, (spoke, *others)):
        made = {name: (others.pop(0), spoke) for name in HUBS}
        yield made | {name: (others.pop(0), others.pop(0)) for name in PAIRS}


@pytest.fixture(autouse=True)
def _without_sas(pairs: dict[str, Pair]) -> Iterator[None]:
    """Leaves the spoke that all tests share without SAs."""
    yield
    charon = pairs["fitting"][1].charon
    for row in charon.ike_sas():
        charon.request("terminate", {"ike-id": row["uniqueid"], "force": "yes"})


def test_a_revoked_certificate_is_refused(pairs: dict[str, Pair]) -> None:
    hub, spoke = pairs["revoked"]
    connect(spoke, hub)
    spoke.charon.request("terminate", {"ike": f"nhrp-{hub.nbma}"})
    assert spoke.charon.credential is not None
    REVOKING.revoke(spoke.charon.credential)
    hub.charon.install_crl()
    hub.charon.load_all()
    assert "AUTHENTICATION_FAILED" in refused(spoke, hub)
    assert hub.charon.said("certificate was revoked")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("expired", "subject certificate invalid"),
        ("another CA", "AUTHENTICATION_FAILED"),
        ("other proposals", "NO_PROPOSAL_CHOSEN"),
        ("another identity", "AUTHENTICATION_FAILED"),
    ],
)
def test_what_does_not_fit_is_refused(pairs: dict[str, Pair], kind: str, words: str) -> None:
    hub, spoke = pairs[kind]
    assert words in refused(spoke, hub)


@pytest.mark.parametrize("kind", ["pre-shared key", "RSA"])
def test_other_ways_to_authenticate(pairs: dict[str, Pair], kind: str) -> None:
    """RSA as made with the commands of the strongSwan manual."""
    hub, spoke = pairs[kind]
    connect(spoke, hub)
    assert len(hub.charon.children(spoke.nbma)) == 1


def test_a_peer_in_tunnel_mode_is_taken_as_it_is(pairs: dict[str, Pair]) -> None:
    hub, spoke = pairs["tunnel mode"]
    connect(spoke, hub)
    assert [child.mode for child in spoke.charon.children()] == ["TUNNEL"]


def test_a_killed_charon_leaves_its_sas_in_the_kernel(pairs: dict[str, Pair]) -> None:
    hub, spoke = pairs["fitting"]
    introduce(hub, spoke)
    connect(spoke, hub)
    spoke.charon.kill()
    try:
        assert spoke.namespace.ping(hub.tunnel, source=spoke.tunnel).lost == 0
        spoke.charon.start()
        assert spoke.charon.children() == []
        connect(spoke, hub)
        assert spoke.charon.stop() == 0
        # The one that the killed charon left is replaced 10 s after its successor came (unique = replace).
        wait_until(lambda: hub.charon.children() == [], 30.0, "the hub was told")
    finally:
        if not spoke.charon.running:
            spoke.charon.start()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("expired", "out of date"),
        ("another CA", "AUTHENTICATION_FAILED|no trusted"),
        ("other proposals", "NO_PROPOSAL_CHOSEN"),
        ("other ESP", "NO_PROPOSAL_CHOSEN"),
        ("tunnel mode", "tunnel mode"),
        ("another identity", "AUTHENTICATION_FAILED"),
    ],
)
async def test_what_does_not_fit_is_told_in_words(
    pairs: dict[str, Pair], kind: str, words: str
) -> None:
    hub, spoke = pairs[kind]
    async with driving(spoke) as driver:
        started = trio.current_time()
        driver.want(hub.nbma)
        failed = (await driver.until(lambda: driver.of(SaFailed)))[0]
        print(failed.reason, trio.current_time() - started)
        assert failed.remote == parse_address(hub.nbma)
        assert any(each in failed.reason for each in words.split("|")), failed.reason
        assert not driver.of(SaInstalled)
        assert trio.current_time() - started < 8
        assert spoke.charon.ike_sas() == [] or "tunnel" in words


async def test_the_address_blocks_of_a_peers_certificate(pairs: dict[str, Pair]) -> None:
    hub, spoke = pairs["address blocks"]
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
