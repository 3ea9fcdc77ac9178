"""FRR and Quagga: what vtysh prints."""

import pytest

from nhrpd_py.cli.importing.source import InputError
from nhrpd_py.core.address import format_address
from tests.unit.cli.importing.imports import SAMPLES, imported, of_text, sample, servers


def test_a_hub_with_bgp() -> None:
    result = sample("frr/hub-bgp.conf")
    hub = result.interface("gre1")
    assert (hub.network_id, hub.holding_time_s) == (77, 7200)
    assert (hub.shortcut, hub.redirect, hub.unique) == (True, True, False)
    assert hub.tunnel_source == "eth0"
    assert hub.ipsec is not None
    assert (hub.ipsec.profile, hub.ipsec.fallback_profile) == ("dmvpn", "dmvpn-old")
    assert result.config().nflog.redirect_group == 5
    assert result.waits(20, "multicast")
    assert result.waits(9, "multicast")


def test_bgp_goes_on_beside_nhrpd() -> None:
    """What FRR's nhrpd announced is filtered: tunnel addresses alone, of the tunnel alone."""
    lines = sample("frr/hub-bgp.conf").files["frr.conf"].splitlines()
    assert "  redistribute kernel route-map from-nhrpd" in lines
    assert "ip prefix-list tunnel-addresses permit 10.90.0.0/24 ge 32" in lines
    assert " match interface gre1" in lines
    assert " neighbor BRANCHES password between-branches" in lines
    assert not any("nhrp" in line.split() for line in lines if not line.startswith("!"))


def test_a_spoke_with_two_hubs() -> None:
    spoke = sample("frr/spoke-two-hubs.conf").interface("gre1")
    assert servers(spoke) == [
        ("10.90.0.1", "198.51.100.10"),
        ("dynamic", "hub-b.corp.example"),
    ]
    assert [each.priority for each in spoke.nhs] == [0, 10]
    assert spoke.unique  # FRR's default
    assert spoke.authentication is not None
    assert spoke.holding_time_s == 300


def test_both_families_share_an_interface() -> None:
    result = sample("frr/dual-stack.conf")
    spoke = result.interface("gre6")
    assert [protocol for protocol, _ in servers(spoke)] == ["10.91.0.1", "2001:db8:91::1"]
    assert [format_address(each.protocol) for each in spoke.maps] == [
        "2001:db8:91::33",
        "10.91.0.33",
    ]
    assert "add it to the netdev" in result.reason(15)


def test_a_second_network_id_is_refused() -> None:
    result = of_text(
        "interface gre1\n ip nhrp network-id 1\n ipv6 nhrp network-id 2\n ip nhrp registration no-unique\n"
    )
    assert result.interface("gre1").network_id == 1
    assert "one network-id for IPv4 and IPv6, and it is 1" in result.reason(3)


def test_what_nhrpd_cannot_do_yet_is_said() -> None:
    result = sample("frr/ospf-vrf.conf")
    assert result.waits(4, "event-socket")
    assert "nhrpctl monitor" in result.reason(5)
    assert result.waits(7, "vrf")
    assert result.waits(13, "multicast")
    assert result.waits(16, "multicast")
    hub = result.interface("gre9")
    assert (hub.holding_time_s, hub.max_holding_time_s) == (10000, 10000)


def test_a_configuration_pasted_without_its_indentation() -> None:
    result = sample("frr/pasted-from-a-terminal.conf")
    spoke = result.interface("gre1")
    assert servers(spoke) == [("dynamic", "vpn.example.org")]
    assert (spoke.network_id, spoke.shortcut, spoke.unique) == (3, True, False)
    assert "  network 192.168.3.0/24\n exit-address-family\n" in result.files["frr.conf"]
    assert "Not carried over" not in result.report


def test_quaggas_bgp_becomes_frrs() -> None:
    result = sample("quagga/alpine-hub.conf")
    lines = result.files["frr.conf"].splitlines()
    family = lines.index(" address-family ipv4 unicast")
    assert lines.index("  neighbor spokes-ibgp next-hop-self force") > family
    assert lines.index("  network 172.16.0.0/16") > family
    assert lines.index(" no bgp network import-check") < family
    assert "no effect within one AS" in result.reason(27)
    outside = sample("quagga/ebgp-hub.conf").files["frr.conf"].splitlines()
    assert " neighbor 10.20.0.2 ebgp-multihop 1" in outside
    assert " no bgp ebgp-requires-policy" in outside
    assert "ip prefix-list NO-HOSTS seq 5 deny 0.0.0.0/0 ge 32" in outside


def test_a_mask_becomes_a_prefix_length() -> None:
    assert "  network 172.16.5.0/24\n" in sample("quagga/spoke.conf").files["frr.conf"]


def test_servers_that_are_there_already_or_of_another_underlay_are_told() -> None:
    result = sample("quagga/two-clouds.conf")
    assert result.reason(5) == "It is the same server as in line 4."
    assert "a tunnel has one underlay" in result.reason(10)


def test_values_that_do_not_fit_are_told_in_the_words_of_the_check() -> None:
    result = sample("quagga/short.conf")
    assert result.reason(5) == "The value does not fit: must be 3..65535, not 2."
    assert result.interface("gre1").holding_time_s == 7200


def test_companions_are_read_beside_it(tmp_path) -> None:
    """swanctl.conf and /etc/network/interfaces: the netdev is known then, and the connection adapted."""
    swanctl = tmp_path / "swanctl.conf"
    swanctl.write_text(
        'connections {\n  dmvpn {\n    version = 2\n    local {\n      auth = psk # a "word"\n    }\n'
        "    remote { auth = psk\n    }\n    children {\n      dmvpn {\n        mode = transport\n"
        "        reqid = 1\n        local_ts = dynamic[gre]\n      }\n    }\n  }\n  other {\n  }\n}\n"
        'secrets {\n  ike-all {\n    secret = "nobody-knows"\n    id-1 = hub\n  }\n}\n'
    )
    interfaces = tmp_path / "interfaces"
    interfaces.write_text(
        "auto lo\niface lo inet loopback\n\nauto gre1\niface gre1 inet static\n"
        "    pre-up ip tunnel add $IFACE mode gre key 7 ttl 64 dev eth0 || true\n"
        "    address 10.90.0.1\n    netmask 255.255.255.255\n"
    )
    result = imported(SAMPLES / "frr/hub-bgp.conf", swanctl, interfaces)
    text = result.files["swanctl.conf"]
    assert "mark_in = %unique" in text
    assert "reqid" not in text
    assert 'secret = "nobody-knows"\n        id-1 = hub\n' in text
    assert "swanctl.conf" in result.secret
    assert "nobody-knows" not in result.remarks()
    assert f"{swanctl} line 12: reqid = 1" in result.report
    assert "ip tunnel add $IFACE mode gre key 7 ttl 64 dev eth0" in result.files["ifupdown-gre1"]
    assert "hub-bgp.conf line 21" in result.files["nhrpd.toml"]


def test_a_file_for_each_daemon(tmp_path) -> None:
    """As Quagga has them, and FRR without vtysh: each says its part, and zebra.conf nothing that is NHRP's."""
    parts = {
        "zebra.conf": "hostname z\ninterface gre1\n ip address 10.0.0.1/24\n!\n",
        "nhrpd.conf": "! Quagga\ninterface gre1\n ip nhrp network-id 1\n ip nhrp redirect\n",
        "bgpd.conf": "router bgp 65000\n network 10.9.0.0/16\n redistribute nhrp\n",
    }
    for name, text in parts.items():
        (tmp_path / name).write_text(text)
    result = imported(*(tmp_path / name for name in parts))
    assert result.interface("gre1").redirect
    lines = result.files["frr.conf"].splitlines()
    assert "ip prefix-list tunnel-addresses permit 10.0.0.0/24 ge 32" in lines
    assert " no bgp network import-check" in lines
    assert f"{tmp_path}/nhrpd.conf line 3" in result.files["nhrpd.toml"]


def test_a_file_that_nobody_knows_is_told(tmp_path) -> None:
    (tmp_path / "notes").write_text("call the provider\n")
    with pytest.raises(InputError, match="notes: line 1: nothing in it says whose"):
        imported(SAMPLES / "ios/ipv6-overlay.conf", tmp_path / "notes")


BGP = (
    "router bgp 65000\n neighbor 10.0.0.2 remote-as 65000\n !\n address-family ipv4 unicast\n"
    "  redistribute nhrp\n exit-address-family\n !\n address-family l2vpn evpn\n"
    "  neighbor 10.0.0.2 activate\n  advertise-all-vni\n exit-address-family\n !\n"
    " address-family ipv6 unicast\n  redistribute nhrp\n  network 2001:db8::/48\n exit-address-family\nexit\n"
)


def test_each_family_has_its_filter_and_others_are_told() -> None:
    result = of_text(
        "interface gre1\n ip nhrp network-id 1\n ipv6 address 2001:db8:1::1/128\n!\n"
        "interface gre2\n ip nhrp network-id 2\n!\n" + BGP
    )
    lines = result.files["frr.conf"].splitlines()
    assert "  redistribute kernel route-map from-nhrpd" in lines
    assert "  redistribute kernel route-map from-nhrpd-ipv6" in lines
    assert "ip prefix-list tunnel-addresses permit 0.0.0.0/0 ge 32" in lines
    assert "ipv6 prefix-list tunnel-addresses-ipv6 permit 2001:db8:1::/64 ge 128" in lines
    start = lines.index("route-map from-nhrpd-ipv6 permit 10")
    assert lines[start : start + 8] == [
        "route-map from-nhrpd-ipv6 permit 10",
        " match ipv6 address prefix-list tunnel-addresses-ipv6",
        " match interface gre1",
        "exit",
        "route-map from-nhrpd-ipv6 permit 20",
        " match ipv6 address prefix-list tunnel-addresses-ipv6",
        " match interface gre2",
        "exit",
    ]
    assert not any("evpn" in line or "vni" in line or "activate" in line for line in lines)
    assert "unicast of the main VRF alone" in result.reason(15)


def test_multicast_of_both_families_is_one_target() -> None:
    result = of_text(
        "frr version 8.4\nnhrp multicast-nflog-group 6\ninterface gre1\n ip nhrp network-id 1\n"
        " ip nhrp map multicast dynamic\n ipv6 nhrp map multicast dynamic\nexit\n"
    )
    assert result.interface("gre1").multicast == ("dynamic",)
    assert result.config().nflog.multicast_group == 6
