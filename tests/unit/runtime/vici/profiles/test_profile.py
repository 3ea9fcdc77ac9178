"""From profiles to connections."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nhrpd_py.core.address import parse_address
from nhrpd_py.runtime.vici.profiles.profile import (
    Profile,
    ProfileError,
    find_profile,
    identity_fits,
    peer_connection,
    responder_connection,
    without_marks,
)
from nhrpd_py.runtime.vici.profiles.swanctl import SwanctlConf

HERE, THERE = parse_address("192.0.2.1"), parse_address("2001:db8::2")
CHILD: dict[str, Any] = {
    "mode": b"transport",
    "local_ts": [b"dynamic[gre]"],
    "remote_ts": [b"dynamic[gre]"],
}


def template(*, child: dict[str, Any] | None = None, **fields: Any) -> SwanctlConf:
    message = {"version": b"2", "remote": {"auth": b"pubkey"}, **fields}
    message["children"] = message.get("children", {"dmvpn": {**CHILD, **(child or {})}})
    return SwanctlConf({"dmvpn": message})


def found(of: SwanctlConf) -> Profile:
    return find_profile("dmvpn", of, "/etc/swanctl/swanctl.conf", {})


def identity(profile: Profile, *, server: bool, peer_identity: str | None = None) -> Any:
    _, message = peer_connection(profile, HERE, THERE, server=server, peer_identity=peer_identity)
    return message["remote"].get("id")


def test_a_clone_has_one_peer_one_child_and_no_actions() -> None:
    profile = found(
        template(
            local_addrs=[b"%any"],
            child={"reqid": b"9", "start_action": b"trap", "inactivity": b"90m"},
        )
    )
    name, message = peer_connection(profile, HERE, THERE, server=True, peer_identity=None)
    assert name == "nhrp-2001:db8::2"
    assert message["local_addrs"] == ["192.0.2.1"]
    assert message["remote_addrs"] == ["2001:db8::2"]
    assert message["keyingtries"] == "1"
    assert message["children"]["dmvpn"] == {
        **CHILD,
        "inactivity": b"90m",
        "start_action": "none",
        "close_action": "none",
        "dpd_action": "none",
    }


def test_who_the_peer_must_be() -> None:
    exact = found(template(remote={"auth": b"pubkey", "id": b"hub1.vpn.example"}))
    assert identity(exact, server=True) == b"hub1.vpn.example"
    assert identity(exact, server=False) == "%any"
    assert identity(exact, server=False, peer_identity="*.vpn.example") == "*.vpn.example"
    wild = found(template(remote={"auth": b"pubkey", "id": b"*.vpn.example"}))
    assert identity(wild, server=False) == b"*.vpn.example"
    assert identity(found(template()), server=False) is None


def test_who_peers_must_be_holds_also_where_the_profile_is_silent() -> None:
    silent = found(template())
    _, message = peer_connection(
        Profile(
            "dmvpn", {k: v for k, v in silent.message.items() if k != "remote"}, "dmvpn", False
        ),
        HERE,
        THERE,
        server=False,
        peer_identity="*.vpn.example",
    )
    assert message["remote"] == {"id": "*.vpn.example"}


def test_a_certificate_pinned_for_the_hub_is_no_other_peers() -> None:
    pinned = found(
        template(remote={"id": b"hub1.vpn.example", "certs": [b"x"], "cacerts": [b"ca"]})
    )
    for server, remote in (
        (True, {"id": b"hub1.vpn.example", "certs": [b"x"], "cacerts": [b"ca"]}),
        (False, {"id": "%any", "cacerts": [b"ca"]}),
    ):
        _, message = peer_connection(pinned, HERE, THERE, server=server, peer_identity=None)
        assert message["remote"] == remote


def test_a_patched_charon_may_use_the_profile_for_whom_it_fits() -> None:
    wild = found(template(remote={"id": b"*.vpn.example"}))
    assert identity_fits(wild, server=False, peer_identity="*.vpn.example")
    assert not identity_fits(wild, server=False, peer_identity="*.other.example")
    assert responder_connection(wild, "*.vpn.example") is None
    assert responder_connection(wild, "*.other.example") is not None


def test_peers_that_the_profile_would_refuse_have_a_connection_of_their_own() -> None:
    assert responder_connection(found(template()), None) is None
    exact = found(template(remote={"auth": b"pubkey", "id": b"hub1.vpn.example"}))
    made = responder_connection(exact, None)
    assert made is not None
    assert made[0] == "nhrp-peers-dmvpn"
    assert made[1]["remote_addrs"] == ["%any"]
    assert made[1]["remote"]["id"] == "%any"


@pytest.mark.parametrize(
    ("addresses", "is_needed"),
    [
        ([b"192.0.2.1"], True),
        ([b"192.0.2.1", b"hub2.example.net"], True),
        ([b"%any"], False),
        ([b"192.0.2.1", b"0.0.0.0/0"], False),
    ],
)
def test_a_profile_with_the_hubs_address_refuses_other_spokes(addresses, is_needed: bool) -> None:
    """Seen: the first IKE between two spokes ended with NO_PROPOSAL_CHOSEN, the shortcut came 30 s late."""
    made = responder_connection(found(template(remote_addrs=addresses)), None)
    assert (made is not None) == is_needed
    if made is not None:
        assert made[1]["remote_addrs"] == ["%any"]
        assert made[1]["remote"] == {"auth": b"pubkey"}


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (SwanctlConf({"a": {}, "b": {}}), r"no such connection in /etc/swanctl/.*it has: a, b"),
        (SwanctlConf(problem="swanctl.conf:3: syntax error"), "syntax error"),
        (SwanctlConf({"a": {}}, "certificate 'me.pem' failed"), r"it has: a\).*says.*me.pem"),
        (template(child={"mode": b"tunnel"}), "needs mode = transport, not tunnel"),
        (template(children={"dmvpn": {}}), "needs mode = transport"),
        (template(children={"a": CHILD, "b": CHILD}), r"a child named dmvpn.*it has: a, b"),
        (template(children=b"dmvpn"), r"a child named dmvpn.*it has: none"),
        (template(children={"dmvpn": b"transport"}), r"a child named dmvpn.*it has: none"),
        (template(version=b"3"), "version must be 1 or 2"),
    ],
)
def test_what_charon_would_take_silently_is_refused(of: SwanctlConf, words: str) -> None:
    with pytest.raises(ProfileError, match=words):
        found(of)


def test_a_selector_that_covers_more_than_gre_is_doubtful() -> None:
    profile = found(template(child={"local_ts": [b"dynamic"]}))
    assert any("local_ts = dynamic[gre]" in each for each in profile.warnings)


@pytest.mark.parametrize("address", [b"", b"\0\0\0\0", b"\xe0\0\0\1", b"123"])
def test_addresses_that_are_none(address: bytes) -> None:
    with pytest.raises(ProfileError):
        peer_connection(found(template()), HERE, address, server=True, peer_identity=None)


def test_a_profile_of_our_own_file(tmp_path: Path) -> None:
    (tmp_path / "x509").mkdir()
    (tmp_path / "x509" / "me.pem").write_bytes(b"certificate")
    own: dict[str, Any] = {
        "dmvpn": {
            "proposals": "aes256-sha512-ecp384, aes128-sha256-x25519",
            "local": {"certs": "me.pem"},
            "remote": {"auth": "pubkey"},
            "children": {"dmvpn": {"mode": "transport", "local_ts": ("dynamic[47]",)}},
        }
    }
    config = str(tmp_path / "swanctl.conf")
    profile = find_profile("dmvpn", SwanctlConf(), config, own)
    assert profile.message["proposals"] == ["aes256-sha512-ecp384", "aes128-sha256-x25519"]
    assert profile.message["local"]["certs"] == [b"certificate"]
    made = responder_connection(profile, None)
    assert made is not None  # nobody else loads it
    own["dmvpn"]["local"] = {"certs": ("you.pem",)}
    with pytest.raises(ProfileError, match=r"profile.dmvpn.local.certs: .*you.pem: No such file"):
        find_profile("dmvpn", SwanctlConf(), config, own)
    own["dmvpn"]["local"] = {"id": ("a", "b")}
    with pytest.raises(ProfileError, match="takes one value"):
        find_profile("dmvpn", SwanctlConf(), config, own)


@pytest.mark.parametrize(
    ("child", "marks"),
    [
        ({}, {"mark_in": "%unique", "set_mark_in": "%same"}),
        ({"mark_in": b"42"}, {"mark_in": b"42"}),
        ({"set_mark_in": b"7"}, {"set_mark_in": b"7"}),
    ],
)
def test_clones_have_marks_unless_the_operator_gives_them(
    child: dict[str, Any], marks: dict[str, Any]
) -> None:
    profile = replace(found(template(child=child, remote={"id": b"hub"})), marks=True)
    assert profile.lacks_marks is not bool(child)
    made = responder_connection(profile, None)
    assert made is not None
    for message in (
        peer_connection(profile, HERE, THERE, server=True, peer_identity=None)[1],
        made[1],
    ):
        found_marks = {
            key: value for key, value in message["children"]["dmvpn"].items() if "mark" in key
        }
        assert found_marks == marks


def test_a_charon_that_knows_no_marks_gets_the_rest() -> None:
    profile = replace(found(template()), marks=True)
    _, message = peer_connection(profile, HERE, THERE, server=True, peer_identity=None)
    plain = without_marks(message)
    assert plain is not None
    assert not [key for key in plain["children"]["dmvpn"] if "mark" in key]
    assert {**plain, "children": 0} == {**message, "children": 0}
    assert without_marks(plain) is None
