"""What an operator is told about the settings of IPsec, and what becomes of good ones."""

import pytest

from nhrpd_py.config.load import parse
from nhrpd_py.core.address import parse_prefix
from nhrpd_py.core.config import AuthorizeConfig, AuthorizeRule, IpsecConfig, Unlisted
from nhrpd_py.core.config_rows import config_rows
from tests.unit.config.files import GRE, complaints

IPSEC = f"""{GRE}
[interface.gre1.ipsec]
profile = "dmvpn"
"""


def test_a_protected_interface() -> None:
    config = parse(
        f"""{GRE}
        [interface.gre1.ipsec]
        profile = "dmvpn"
        fallback-profile = "dmvpn-nat"
        peer-identity = "*.vpn.example"
        [[interface.gre1.authorize]]
        identity = "spoke1.vpn.example"
        protocol = ["10.255.255.2", "fd00::2/128"]
        prefixes = ["172.16.2.0/24"]
        [[interface.gre1.authorize]]
        identity = "hub?.vpn.example"
        [vici]
        socket = "/run/other.vici"
        swanctl-config = "/etc/swanctl/dmvpn.conf"
        [profile.dmvpn]
        version = 2
        mobike = false
        proposals = ["aes256-sha512-ecp384"]
        [profile.dmvpn.local]
        auth = "pubkey"
        """,
        "f",
    )
    gre = config.interfaces["gre1"]
    assert gre.ipsec == IpsecConfig(
        profile="dmvpn", fallback_profile="dmvpn-nat", peer_identity="*.vpn.example"
    )
    assert gre.authorize == AuthorizeConfig(
        rules=(
            AuthorizeRule(
                identity="spoke1.vpn.example",
                protocol=(parse_prefix("10.255.255.2"), parse_prefix("fd00::2/128")),
                prefixes=(parse_prefix("172.16.2.0/24"),),
            ),
            AuthorizeRule(identity="hub?.vpn.example"),
        ),
        unlisted=Unlisted.DENY,
    )
    assert config.vici.socket == "/run/other.vici"
    assert config.vici.swanctl_config == "/etc/swanctl/dmvpn.conf"
    assert config.profiles == {
        "dmvpn": {
            "version": "2",
            "mobike": "no",
            "proposals": ("aes256-sha512-ecp384",),
            "local": {"auth": "pubkey"},
        }
    }
    shown = {row.path: row.value for row in config_rows(config, None)}
    assert shown["interface.gre1.ipsec.profile"] == "dmvpn"
    assert shown["interface.gre1.ipsec.unlisted"] == "deny"
    assert shown["interface.gre1.authorize[0].protocol"] == "10.255.255.2/32, fd00::2/128"
    assert shown["profile.dmvpn.local.auth"] == "pubkey"


@pytest.mark.parametrize(
    ("settings", "unlisted"),
    [
        ("", Unlisted.ALLOW),
        ('unlisted = "deny"', Unlisted.DENY),
        ('[[interface.gre1.authorize]]\nidentity = "a"', Unlisted.DENY),
        ('unlisted = "allow"\n[[interface.gre1.authorize]]\nidentity = "a"', Unlisted.ALLOW),
    ],
)
def test_where_somebody_is_named_nobody_else_is_let_in_unless_that_is_said(
    settings, unlisted
) -> None:
    assert parse(IPSEC + settings, "f").interfaces["gre1"].authorize.unlisted is unlisted


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"{GRE}[interface.gre1.ipsec]\n", "interface.gre1.ipsec.profile: is missing"),
        (
            f'{IPSEC}fallback-profile = "dmvpn"\n',
            "interface.gre1.ipsec.fallback-profile: is the profile itself",
        ),
        (
            f'{GRE}[interface.gre1.ipsec]\nprofile = "a b"\n',
            "interface.gre1.ipsec.profile: 'a b' cannot name a connection of swanctl.conf",
        ),
        (
            f'{GRE}[[interface.gre1.authorize]]\nidentity = "a"\n',
            "interface.gre1.authorize: needs [interface.gre1.ipsec]: identities are IKE's",
        ),
        (
            f"{GRE}source-filter = true\n",
            (
                "interface.gre1.source-filter: needs [interface.gre1.ipsec]: without IPsec nobody"
                " knows whose a packet is"
            ),
        ),
        (
            f'{GRE}source-filter = "drop"\n[interface.gre1.ipsec]\nprofile = "dmvpn"\n',
            "interface.gre1.source-filter: must be true or false, not 'drop'",
        ),
        (
            f'{IPSEC}authorize = "certificate"\n[[interface.gre1.authorize]]\nidentity = "a"\n',
            (
                "interface.gre1.ipsec.authorize: certificate leaves no place for rules in"
                " interface.gre1.authorize"
            ),
        ),
        (
            f'{IPSEC}authorize = "certificate"\nunlisted = "deny"\n',
            "interface.gre1.ipsec.unlisted: is for rules; the certificates list everybody",
        ),
        (
            f'{IPSEC}[[interface.gre1.authorize]]\nidentity = "a"\nprefixes = ["10.1.2.3/16"]\n',
            (
                "interface.gre1.authorize[0].prefixes[0]: '10.1.2.3/16' has host bits set;"
                " the network is 10.1.0.0/16"
            ),
        ),
        (
            f'{IPSEC}[[interface.gre1.authorize]]\nidentity = "a"\nprotocol = "10.1.2.3"\n',
            (
                'interface.gre1.authorize[0].protocol: must be an array such as ["10.1.0.0/16"],'
                " not '10.1.2.3'"
            ),
        ),
        (
            f'{IPSEC}[[interface.gre1.authorize]]\nidentity = " "\nprotocol = ["x"]\n',
            (
                "interface.gre1.authorize[0].identity: must be an IKE identity, such as"
                " spoke1.example.net or CN=spoke1"
            ),
        ),
        (
            f"{GRE}[profile.dmvpn]\nrekey_time = 1979-05-27\n",
            "profile.dmvpn: rekey_time must be text, a number, true, false, a list or a table",
        ),
        (f'{GRE}[vici]\nsocket = "x"\n', "vici.socket: must be an absolute path, not 'x'"),
    ],
)
def test_complaints_about_ipsec(text, complaint) -> None:
    assert f"f: {complaint}" in complaints(text)


@pytest.mark.parametrize(
    ("line", "value"),
    [("", None), ("source-filter = true\n", True), ("source-filter = false\n", False)],
)
def test_the_source_filter(line: str, value: bool | None) -> None:
    text = f'{GRE}{line}[interface.gre1.ipsec]\nprofile = "dmvpn"\n'
    assert parse(text, "f").interfaces["gre1"].source_filter is value
    if not value:
        assert parse(GRE + line, "f").interfaces["gre1"].source_filter is value
