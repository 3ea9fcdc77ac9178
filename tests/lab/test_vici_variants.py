"""Our supervisor and stock charons that do not fit each other, each pair in a cloud of its own."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from nhrpd_py.core.address import Prefix, parse_address
from nhrpd_py.core.events import SaFailed, SaInstalled
from tests.lab.driver import driving
from tests.lab.introduced import cloud
from tools.lab.charon import Ipsec
from tools.lab.pki import Authority, authority
from tools.lab.topology import Lab

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
