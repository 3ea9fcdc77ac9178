"""charon, profiles and certificates."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from nhrpd_py.cli.check.facts import Certificate
from nhrpd_py.cli.check.findings import State, Unread
from nhrpd_py.cli.check.report import findings
from nhrpd_py.core.config import AuthorizeConfig
from tests.unit.cli.check.certificates import a_certificate
from tests.unit.cli.check.machines import (
    CHILD,
    CONNECTION,
    NOW,
    PROTECTED,
    a_charon,
    a_kernel,
    a_machine,
    complaints,
    the_complaint,
)

TODAY = datetime.fromtimestamp(NOW, UTC)
CA = Certificate(name="CA", not_before=NOW - 9, not_after=NOW + 90 * 86400)


def complaint_about(**changes):
    return the_complaint(a_machine(charon=a_charon(**changes)))


def with_child(**changes):
    return {"dmvpn": CONNECTION | {"children": {"dmvpn": CHILD | changes}}}


def certified(certificate: bytes):
    local = {"auth": b"pubkey", "certs": [certificate]}
    return {"dmvpn": CONNECTION | {"local-1": local, "remote-1": {"auth": b"pubkey"}}}


@pytest.mark.parametrize(
    ("changes", "words", "remedy"),
    [
        ({"loaded": frozenset()}, "does not have it loaded", "swanctl --load-all"),
        ({"template": {"vpn": CONNECTION}}, "it has: vpn", 'profile = "vpn"'),
        ({"template": {}}, "it has: none", 'profile = "NAME"'),
        ({"template": with_child(mode=b"tunnel")}, "the mode tunnel", "mode = transport"),
        (
            {"template": with_child(local_ts=[b"dynamic"])},
            "not GRE alone",
            "local_ts = dynamic[gre]",
        ),
        (
            {"closed_to_daemon": "it is nhrpd, and the socket is root:root 770"},
            "770",
            "chown nhrpd",
        ),
        ({"template": Unread("syntax error", "mend it")}, "syntax error", "mend it"),
    ],
)
def test_problems(changes, words, remedy) -> None:
    found = complaint_about(**changes)
    assert (found.area, found.state, words in found.finding) == ("ipsec", State.PROBLEM, True)
    assert (found.remedy or "").startswith(remedy)


@pytest.mark.parametrize("selector", [b"0.0.0.0/0[gre]", b"192.0.2.0/24[47]"])
def test_wide_selectors_of_gre_are_worth_a_word_and_no_alarm(selector) -> None:
    found = complaint_about(template=with_child(remote_ts=[selector]))
    assert (found.state, "only transport mode" in found.finding) == (State.WARNING, True)


def test_a_profile_for_the_hubs_address_alone() -> None:
    narrow = {"dmvpn": CONNECTION | {"remote_addrs": [b"192.0.2.1"]}}
    found = complaint_about(template=narrow)
    assert found.state is State.PROBLEM
    assert found.finding == "its remote_addrs is 192.0.2.1, and nothing answers other peers"
    both = frozenset({"dmvpn", "nhrp-peers-dmvpn"})
    assert complaints(a_machine(charon=a_charon(template=narrow, loaded=both))) == []
    wide = {"dmvpn": CONNECTION | {"remote_addrs": [b"%any"]}}
    assert complaints(a_machine(charon=a_charon(template=wide))) == []


def test_two_children_of_other_names() -> None:
    children = {"children": {"one": CHILD, "two": CHILD}}
    assert "it has: one, two" in complaint_about(template={"dmvpn": CONNECTION | children}).finding
    alone = {"dmvpn": CONNECTION | {"children": {"one": CHILD}}}
    assert complaints(a_machine(charon=a_charon(template=alone))) == []


def test_complaints_of_swanctl_weigh_by_what_they_cost() -> None:
    bad = ["loading connection 'vpn' failed"]
    assert complaint_about(template_problems=bad).state is State.WARNING
    facts = a_machine(charon=a_charon(template_problems=bad, template={}))
    assert [each.state for each in complaints(facts)] == [State.PROBLEM] * 2


@pytest.mark.parametrize(("remedy", "state"), [("restart", State.PROBLEM), (None, State.UNKNOWN)])
def test_a_charon_that_does_not_answer(remedy, state) -> None:
    assert complaint_about(version=Unread("nobody listens", remedy)).state is state


def test_ports_that_nobody_has_bound() -> None:
    found = the_complaint(a_machine(kernel=a_kernel(udp_ports=frozenset({500}))))
    assert "nobody has bound UDP 4500" in found.finding


@pytest.mark.parametrize(
    ("begins", "ends", "state", "words"),
    [
        (-9, 90, None, ""),
        (-9, 29, State.WARNING, "it expires on"),
        (-9, -1, State.PROBLEM, "it expired on"),
        (1, 90, State.PROBLEM, "it is not valid before"),
    ],
)
def test_our_certificate(begins, ends, state, words) -> None:
    data = a_certificate(TODAY + timedelta(days=begins), TODAY + timedelta(days=ends))
    charon = a_charon(
        template=certified(data),
        authorities=[CA],
        own_with_key=frozenset({data}),
        files={data: "/etc/swanctl/x509/hub1.pem"},
    )
    found = complaints(a_machine(charon=charon))
    assert [each.state for each in found] == ([state] if state else [])
    if state:
        assert found[0].finding.startswith(words)
        assert found[0].subject == "hub1.pem"


@pytest.mark.parametrize(
    ("local", "with_keys", "is_fine"),
    [
        ({"auth": b"pubkey", "id": b"spoke1"}, True, True),
        ({"auth": b"pubkey", "id": b"spoke1"}, False, False),
        ({"auth": b"pubkey", "pubkeys": [b"raw"]}, False, True),
        ({"auth": b"eap-mschapv2", "id": b"spoke1"}, False, True),
    ],
)
def test_charon_may_know_itself_what_we_show(local, with_keys, is_fine) -> None:
    keys = frozenset({a_certificate(TODAY, TODAY + timedelta(days=90))} if with_keys else ())
    template = {"dmvpn": CONNECTION | {"local-1": local}}
    charon = a_charon(template=template, own_with_key=keys)
    found = [each.finding for each in complaints(a_machine(charon=charon))]
    assert found == ([] if is_fine else ["it has no certificate of ours"])


def test_a_certificate_without_its_key() -> None:
    data = a_certificate(TODAY, TODAY + timedelta(days=90))
    charon = a_charon(template=certified(data), authorities=[CA], private_keys=0)
    found = the_complaint(a_machine(charon=charon))
    assert "does not have its private key" in found.finding
    assert "swanctl --load-creds" in (found.remedy or "")


def test_octets_that_are_no_certificate() -> None:
    charon = a_charon(template=certified(b"nonsense"), authorities=[CA])
    assert "cannot be read" in the_complaint(a_machine(charon=charon)).finding


def test_a_protected_tunnel_without_rules_is_named() -> None:
    open_to_all = replace(PROTECTED, authorize=AuthorizeConfig())
    finding = the_complaint(a_machine(open_to_all))
    assert (finding.state, finding.subject) == ("warning", "gre1")
    assert "every peer that IKE lets in" in finding.finding
    certified = replace(PROTECTED, authorize=AuthorizeConfig(certificate=True))
    assert complaints(a_machine(certified)) == []


def test_no_authority() -> None:
    data = a_certificate(TODAY, TODAY + timedelta(days=90))
    charon = a_charon(template=certified(data), own_with_key=frozenset({data}))
    assert "believe no peer" in the_complaint(a_machine(charon=charon)).finding


def test_an_authority_that_expires_and_a_list_that_is_late() -> None:
    late = Certificate(name="CA", not_before=0, not_after=NOW - 1)
    endless = Certificate(name="Other", not_before=0, not_after=None)
    assert complaint_about(authorities=[late]).state is State.PROBLEM
    assert complaint_about(revocations=[late, endless]).state is State.WARNING


def test_a_profile_of_our_own_file() -> None:
    own = a_charon(template={}, loaded=frozenset(), own={"dmvpn": CONNECTION})
    assert complaints(a_machine(charon=own)) == []
    broken = a_charon(template={}, own={"dmvpn": Unread("profile.dmvpn.certs: no such file")})
    assert the_complaint(a_machine(charon=broken)).remedy == (
        "mend [profile.dmvpn] in /etc/nhrpd/nhrpd.toml"
    )


@pytest.mark.parametrize("identity", [b"hub1.vpn.example", b"*.vpn.example", b"%any"])
def test_whom_it_accepts_is_told(identity) -> None:
    connection = CONNECTION | {"remote-1": {"auth": b"psk", "id": identity}}
    facts = a_machine(charon=a_charon(template={"dmvpn": connection}))
    assert complaints(facts) == []
    assert any("it accepts" in each.finding for each in findings(facts))
