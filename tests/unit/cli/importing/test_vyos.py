"""VyOS: `set` commands and config.boot, with OpenNHRP and with FRR below."""

from nhrpd_py.core.address import format_address
from tests.unit.cli.importing.imports import of_text, refusal, sample, servers


def test_an_old_hub() -> None:
    result = sample("vyos/old-hub.set")
    hub = result.interface("tun100")
    assert (hub.holding_time_s, hub.redirect, hub.shortcut, hub.nhs) == (300, True, True, ())
    assert hub.ipsec is not None
    assert hub.ipsec.profile == "NHRPVPN"
    assert result.waits(9, "multicast")
    assert "network-id = 100 " in result.files["nhrpd.toml"]


def test_a_profile_becomes_a_connection() -> None:
    text = sample("vyos/old-hub.set").files["swanctl.conf"]
    assert "version = 1\n" in text
    assert "proposals = aes256-sha256-modp2048\n" in text
    assert "esp_proposals = aes256-sha256-modp2048,3des-md5-modp2048\n" in text
    assert "rekey_time = 3600s\n" in text
    assert "rekey_time = 1800s\n" in text
    assert "mode = transport\n" in text
    assert "Weak by today's measure" in text
    assert r'secret = "open \"this\" \\door"' in text


def test_an_old_spoke() -> None:
    result = sample("vyos/old-spoke.set")
    assert servers(result.interface("tun0")) == [("10.60.0.1", "203.0.113.5")]
    assert "dev eth0" in result.files["tunnel-tun0.sh"]
    assert "# eth0: a guess" in result.files["tunnel-tun0.sh"]
    assert result.files["frr.conf"].endswith("!\nip route 192.168.0.0/16 10.60.0.1\n")


def test_a_new_hub() -> None:
    result = sample("vyos/new-hub.set")
    hub = result.interface("tun100")
    assert (hub.network_id, hub.holding_time_s, hub.unique) == (1, 300, False)
    assert (hub.redirect, hub.shortcut) == (True, False)
    swanctl = result.files["swanctl.conf"]
    assert "version = 2\n" in swanctl
    assert "proposals = aes256gcm128-prfsha512-ecp521\n" in swanctl
    assert "esp_proposals = aes256gcm128-ecp521\n" in swanctl
    assert "dpd_delay = 10 " in swanctl
    assert "--set-mss 1360" in result.files["iptables.rules"]
    assert "ip link set tun100 mtu 1436 up" in result.files["tunnel-tun100.sh"]


def test_bgp_becomes_frrs() -> None:
    result = sample("vyos/new-hub.set")
    lines = result.files["frr.conf"].splitlines()
    start = lines.index("router bgp 65010")
    assert lines[start : start + 9] == [
        "router bgp 65010",
        " neighbor spokes peer-group",
        " neighbor spokes remote-as 65010",
        " bgp listen range 172.31.253.0/24 peer-group spokes",
        " neighbor spokes password bgp-between-us",
        " !",
        " address-family ipv4 unicast",
        "  redistribute kernel route-map from-nhrpd",
        "  neighbor spokes route-reflector-client",
    ]
    assert "by hand" in result.reason(15)


def test_a_tree_is_the_same_as_its_commands() -> None:
    result = sample("vyos/new-spoke.boot")
    spoke = result.interface("tun100")
    assert servers(spoke) == [("dynamic", "192.0.2.1"), ("172.31.253.135", "hub2.example.net")]
    assert (spoke.network_id, spoke.shortcut, spoke.unique) == (1, True, True)
    assert "key 42 ttl 64 dev eth0" in result.files["tunnel-tun100.sh"]
    assert "  network 192.168.20.0/24\n" in result.files["frr.conf"]


def test_an_old_tree() -> None:
    result = sample("vyos/old.boot")
    node = result.interface("tun7")
    assert servers(node) == [("dynamic", "hubs.corp.example")]
    assert [format_address(each.protocol) for each in node.maps] == ["10.67.0.9"]
    assert "ttl 32 local 198.51.100.67" in result.files["tunnel-tun7.sh"]
    assert 'secret = "seventh heaven"' in result.files["swanctl.conf"]
    assert result.waits(28, "shortcut-target")


def test_braces_and_quotes_that_do_not_match_have_their_line() -> None:
    tree = "protocols {\n    nhrp {\n        tunnel tun0 {\n            network-id 1\n        }\n"
    assert refusal(tree) == (
        "standard input: line 2: the brace that opens here is never closed: the file is not whole"
    )
    assert "line 3: a brace closes" in refusal("protocols {\n}\n}\n")
    cut = "set protocols nhrp tunnel tun0 network-id '1'\nset protocols nhrp tunnel tun0 authentication 'se"
    assert refusal(cut) == (
        "standard input: line 2: a quotation mark has no end: the line is cut off"
    )


def test_edit_is_not_followed() -> None:
    assert "show configuration commands" in refusal(
        "set protocols nhrp tunnel tun0 network-id 1\nedit protocols nhrp\n"
    )


def test_unknown_words_of_nhrp_are_told() -> None:
    result = of_text(
        "set protocols nhrp tunnel tun0 network-id 1\nset protocols nhrp tunnel tun0 colour blue\n"
        "set protocols nhrp tunnel tun0 holdtime\nset system host-name x\n"
    )
    assert "no counterpart" in result.reason(2)
    assert "not complete" in result.reason(3)
    assert "  line 4" in result.report


def test_a_map_of_the_server_itself_is_the_server() -> None:
    result = of_text(
        "set protocols nhrp tunnel tun0 network-id 1\n"
        "set protocols nhrp tunnel tun0 map tunnel-ip 10.0.0.1 nbma 192.0.2.1\n"
        "set protocols nhrp tunnel tun0 nhs tunnel-ip 10.0.0.1 nbma 192.0.2.1\n"
        "set protocols nhrp tunnel tun0 map tunnel-ip 10.0.0.9 nbma 192.0.2.9\n"
        "set vpn ipsec profile P\nset vpn ipsec esp-group E proposal 1\n"
    )
    node = result.interface("tun0")
    assert servers(node) == [("10.0.0.1", "192.0.2.1")]
    assert [format_address(each.protocol) for each in node.maps] == ["10.0.0.9"]
    assert "# line 3; the map in line 2 says the same" in result.files["nhrpd.toml"]
    assert "Not carried over" not in result.report
