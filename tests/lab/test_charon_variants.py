"""Stock charons that refuse what they should, and the other ways to authenticate; proved without NHRP."""

from __future__ import annotations

import pytest

from tests.lab.introduced import cloud, connect, introduce, refused
from tools.lab.charon import Ipsec
from tools.lab.namespace import wait_until
from tools.lab.pki import Authority, Key, authority
from tools.lab.topology import Lab


def test_a_revoked_certificate_is_refused() -> None:
    own = Authority("revoking CA")
    ipsec = Ipsec(authority=own)
    with Lab(private_run=True, static=False) as lab:
        hub, spoke = cloud(lab, {"ipsec": ipsec, "bgp": False}, {"ipsec": ipsec, "bgp": False})
        connect(spoke, hub)
        spoke.charon.request("terminate", {"ike": f"nhrp-{hub.nbma}"})
        assert spoke.charon.credential is not None
        own.revoke(spoke.charon.credential)
        hub.charon.install_crl()
        hub.charon.load_all()
        assert "AUTHENTICATION_FAILED" in refused(spoke, hub)
        assert hub.charon.said("certificate was revoked")


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (Ipsec(expired=True), "subject certificate invalid"),
        (Ipsec(authority=authority("another CA")), "AUTHENTICATION_FAILED"),
        (
            Ipsec(
                changes=(
                    (
                        "    proposals = aes256-sha512-ecp384",
                        "    proposals = aes128-sha256-ecp256",
                    ),
                )
            ),
            "NO_PROPOSAL_CHOSEN",
        ),
        (Ipsec(remote_id="elsewhere.vpn.example"), "AUTHENTICATION_FAILED"),
    ],
    ids=["expired", "other authority", "other proposals", "other identity demanded"],
)
def test_what_does_not_fit_is_refused(theirs: Ipsec, words: str) -> None:
    with Lab(private_run=True, static=False) as lab:
        hub, spoke = cloud(lab, {"ipsec": theirs, "bgp": False}, {"bgp": False})
        refused(spoke, hub)
        assert spoke.charon.said(words) or hub.charon.said(words)


def test_pre_shared_keys() -> None:
    ipsec = Ipsec(psk="a secret of all")
    with Lab(private_run=True, static=False) as lab:
        hub, spoke = cloud(lab, {"ipsec": ipsec, "bgp": False}, {"ipsec": ipsec, "bgp": False})
        connect(spoke, hub)
        assert len(hub.charon.children(spoke.nbma)) == 1


def test_rsa_made_with_the_commands_of_the_strongswan_manual() -> None:
    ipsec = Ipsec(authority=authority(kind=Key.RSA))
    with Lab(private_run=True, static=False) as lab:
        hub, spoke = cloud(lab, {"ipsec": ipsec, "bgp": False}, {"ipsec": ipsec, "bgp": False})
        connect(spoke, hub)
        assert len(hub.charon.children(spoke.nbma)) == 1


def test_a_peer_in_tunnel_mode_is_taken_as_it_is() -> None:
    changed = Ipsec(changes=(("mode = transport", "mode = tunnel"),))
    with Lab(private_run=True, static=False) as lab:
        hub, spoke = cloud(lab, {"ipsec": changed, "bgp": False}, {"bgp": False})
        connect(spoke, hub)
        assert [child.mode for child in spoke.charon.children()] == ["TUNNEL"]


def test_a_killed_charon_leaves_its_sas_in_the_kernel() -> None:
    with Lab(private_run=True, static=False) as lab:
        hub, spoke = cloud(lab, {"bgp": False}, {"bgp": False})
        introduce(hub, spoke)
        connect(spoke, hub)
        spoke.charon.kill()
        assert spoke.namespace.ping(hub.tunnel, source=spoke.tunnel).lost == 0
        spoke.charon.start()
        assert spoke.charon.children() == []
        connect(spoke, hub)
        assert spoke.charon.stop() == 0
        # The one that the killed charon left is replaced 10 s after its successor came (unique = replace).
        wait_until(lambda: hub.charon.children() == [], 30.0, "the hub was told")
