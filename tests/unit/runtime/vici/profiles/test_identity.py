"""IKE identities: what charon itself says of these is what we must say."""

import pytest

from nhrpd_py.runtime.vici.profiles.identity import fits, is_exact

DN = "C=CH, O=strongSwan, CN=hub1"


@pytest.mark.parametrize(
    ("demanded", "said"),
    [
        ("hub1.vpn.example", "hub1.vpn.example"),
        ("Hub1.VPN.example", "hub1.vpn.example"),
        ("@hub1.vpn.example", "hub1.vpn.example"),
        ("fqdn:hub1.vpn.example", "hub1.vpn.example"),
        ("dns:#68756231", "hub1"),
        ("@@hub1@vpn.example", "hub1@vpn.example"),
        ("rfc822:hub1@vpn.example", "hub1@vpn.example"),
        ("keyid:hub1", "hub1"),
        ("@#68756231", "hub1"),
        ("keyid:#01ff", "01:ff"),
        ("192.0.2.1", "192.0.2.1"),
        ("ipv4:#c0000201", "192.0.2.1"),
        ("2001:0db8::0001", "2001:db8::1"),
        (DN, DN),
        ("/C=CH/ST=ZH/O=strongSwan/CN=hub1", "C=CH, ST=ZH, O=strongSwan, CN=hub1"),
        ("c=CH,O=strongSwan,emailAddress=a@b.example", "C=CH, O=strongSwan, E=a@b.example"),
        ("CN=hub1, UN=hub1.example", "CN=hub1, unstructuredName=hub1.example"),
        ("/C=CH/O=Acme, Inc./CN=hub1", "C=CH, O=Acme, Inc., CN=hub1"),
        ("asn1dn:CN=hub1", "CN=hub1"),
        # patterns
        ("*.hubs.example", "hub1.hubs.example"),
        ("*@hubs.example", "one@hubs.example"),
        ("C=CH, O=*, CN=hub1", DN),
        ("192.0.2.0/24", "192.0.2.7"),
        ("2001:db8::1-2001:db8::9", "2001:db8::7"),
        ("^hub[12]\\.example$", "hub2.example"),
        ("%any", "hub1"),
        ("0.0.0.0", "hub1"),
    ],
)
def test_whom_a_file_demands_in_the_ways_it_may_be_written(demanded: str, said: str) -> None:
    assert fits(demanded, said)


@pytest.mark.parametrize(
    ("demanded", "said"),
    [
        ("hub1.vpn.example", "hub2.vpn.example"),
        ("hub1.vpn.example", "spoke9.vpn.example"),
        ("keyid:hub1", "HUB1"),
        (DN, f"{DN}, CN=spoke9"),
        (DN, "hub1"),
        ("C=CH/O=strongSwan/CN=hub1", DN),  # one part, of an odd country
        ("C=CH, O=*, CN=hub1", "C=CH, O=strongSwan, CN=hub2"),
        ("*.hubs.example", "spoke9.spokes.example"),
        ("*.hubs.example", "hubs.example"),
        ("*.hubs.example", "spoke9@x.hubs.example"),
        ("*.hubs.example", "CN=x.hubs.example"),
        ("*@hubs.example", "spoke9.example"),
        ("192.0.2.0/24", "192.0.3.7"),
        ("192.0.2.0/24", "hub1"),
        ("192.0.2.1-192.0.2.9", "2001:db8::7"),
        ("^hub[12]\\.example$", "hub3.example"),
        ("^hub[$", "hub["),
    ],
)
def test_who_is_somebody_else(demanded: str, said: str) -> None:
    assert not fits(demanded, said)


@pytest.mark.parametrize(
    "identity",
    ["hub1", "@hub1", "192.0.2.1", "2001:db8::1", DN, "@#01ff", "C=CH, O=a/b, CN=hub-1"],
)
def test_what_only_one_peer_can_have(identity: str) -> None:
    assert is_exact(identity)


@pytest.mark.parametrize(
    "identity",
    [
        *("", "%any", "%any6", "*", "0.0.0.0", "::", "0::0"),
        *("*.example", "CN=*", "^hub1$", "192.0.2.0/24", "ipv4net:192.0.2.0/24"),
        *("192.0.2.1-192.0.2.9", "ipv4range:192.0.2.1-192.0.2.9", "2001:db8::/32"),
    ],
)
def test_what_many_can_have(identity: str) -> None:
    assert not is_exact(identity)
