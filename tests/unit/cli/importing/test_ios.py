"""Cisco IOS: tunnel interfaces, with their crypto profiles."""

from nhrpd_py.core.address import format_address
from tests.unit.cli.importing.imports import of_text, refusal, sample, servers

TUNNEL = (
    "interface Tunnel0\n ip address 10.0.0.2 255.255.255.0\n ip nhrp network-id 1\n"
    " tunnel source 192.0.2.2\n tunnel mode gre multipoint\n"
)


def test_a_spoke_of_phase_3() -> None:
    result = sample("ios/phase3-spoke-ikev1.conf")
    spoke = result.interface("tunnel0")
    assert servers(spoke) == [("10.70.0.1", "198.51.100.70")]
    assert spoke.maps == ()  # the map was the server's
    assert (spoke.network_id, spoke.holding_time_s, spoke.shortcut, spoke.unique) == (
        *(70, 600, True, True),
    )
    script = result.files["tunnel-tunnel0.sh"]
    assert "ip tunnel add tunnel0 mode gre key 70 ttl 64 local 203.0.113.21\n" in script
    assert "mtu 1400" in script
    assert "--set-mss 1360" in result.files["iptables.rules"]
    assert result.waits(42, "registration-interval")
    assert "The lines of the block go with it." in result.reason(59)
    assert result.files["frr.conf"].endswith("!\nip route 192.168.0.0/16 10.70.0.1\n")


def test_ikev1_becomes_a_connection() -> None:
    result = sample("ios/phase3-spoke-ikev1.conf")
    text = result.files["swanctl.conf"]
    assert "version = 1\n" in text
    assert "proposals = aes256-sha256-modp2048\n" in text
    assert "esp_proposals = aes256-sha256\n" in text
    assert "dpd_delay = 30 " in text
    assert "inactivity = 720s\n" in text
    assert 'secret = "K3yOfAllBranches"\n' in text
    spoke = result.interface("tunnel0")
    assert spoke.ipsec is not None
    assert spoke.ipsec.profile == "DMVPN-PROFILE"  # swanctl.conf takes no dot in a name


def test_ikev2_becomes_a_connection() -> None:
    result = sample("ios/phase3-hub-ikev2.conf")
    text = result.files["swanctl.conf"]
    assert (
        "proposals = aes256-sha512-ecp256,aes256-sha512-modp2048,aes128-sha512-ecp256,"
        "aes128-sha512-modp2048\n"
    ) in text
    assert "esp_proposals = aes256gcm16-ecp256\n" in text
    assert text.count("secret = ") == 2  # the same key for both directions is one
    assert 'secret = "only-77"\n        id-1 = 198.51.100.77\n' in text


def test_a_hub_answers_for_what_is_behind_it() -> None:
    result = sample("ios/phase3-hub-ikev2.conf")
    hub = result.interface("tunnel100")
    assert (hub.redirect, hub.shortcut) == (True, True)
    assert result.waits(48, "redirect-interval")
    assert result.waits(49, "summary-map")
    lines = result.files["frr.conf"].splitlines()
    assert "  aggregate-address 192.168.0.0/16 summary-only" in lines
    assert "  network 192.168.71.0/24" in lines
    assert "  neighbor SPOKES next-hop-self force" in lines
    assert not any("password" in line for line in lines)
    assert "encrypted" in result.reason(64)


def test_clusters_and_priorities_of_servers() -> None:
    result = sample("ios/nhs-clusters.conf")
    spoke = result.interface("tunnel9")
    assert [(each.priority, each.cluster) for each in spoke.nhs] == [(1, 1), (2, 1), (1, 2)]
    assert not spoke.shortcut
    for line, key in (
        (5, "multicast"),
        (7, "multicast"),
        (8, "cluster"),
        (9, "nhs-fallback"),
        (16, "vrf"),
    ):
        assert result.waits(line, key)
    assert "Gi0/0/0: put the name" in result.files["tunnel-tunnel9.sh"]


def test_phase_1_becomes_multipoint_and_certificates_are_named() -> None:
    result = sample("ios/phase1-certificates.conf")
    spoke = result.interface("tunnel1")
    assert servers(spoke) == [("10.73.0.1", "198.51.100.73")]
    assert "becomes one" in result.reason(26)
    text = result.files["swanctl.conf"]
    assert text.count("auth = pubkey\n") == 2
    assert "id = old.corp.example\n" in text
    assert "id = *.corp.example\n" in text
    assert "# The transform set T1 is for tunnel mode" in text
    assert "CORP-CA" in text
    assert "local 192.0.2.40\n" in result.files["tunnel-tunnel1.sh"]


def test_a_page_without_indentation() -> None:
    result = sample("ios/without-indentation.conf")
    spoke = result.interface("tunnel1")
    assert servers(spoke) == [("10.74.0.1", "100.64.0.2")]
    assert [format_address(each.protocol) for each in spoke.maps] == ["10.74.0.2"]
    assert "stored encrypted (type 6)" in result.reason(8)
    assert result.waits(21, "map-prefix")
    assert "no `ip nhrp map` for it" in result.reason(24)
    assert "secrets {" not in result.files["swanctl.conf"]


def test_ipv6_in_the_tunnel() -> None:
    result = sample("ios/ipv6-overlay.conf")
    assert servers(result.interface("tunnel6")) == [("2001:db8:75::1", "203.0.113.75")]
    assert "ip address add 2001:db8:75::6/64 dev tunnel6\n" in result.files["tunnel-tunnel6.sh"]


def test_interfaces_without_a_network_id_do_not_speak_nhrp() -> None:
    result = of_text(TUNNEL + "interface Tunnel1\n ip nhrp authentication nothere\n tunnel key 2\n")
    assert list(result.config().interfaces) == ["tunnel0"]
    assert "no network-id" in result.reason(7)
    assert "nothere" not in result.report


def test_two_routers_in_one_text_are_told_apart() -> None:
    text = f"hostname A\n{TUNNEL}hostname B\n{TUNNEL}"
    assert refusal(text) == (
        "standard input: line 7: another router begins here (after A): import one router at a time"
    )


def test_keys_that_differ_by_direction_are_told() -> None:
    result = of_text(
        f"{TUNNEL}crypto ikev2 keyring K\n peer A\n  address 0.0.0.0 0.0.0.0\n"
        "  pre-shared-key local one-way\n  pre-shared-key remote other-way\n"
    )
    assert "one for both" in result.reason(10)
    assert "other-way" not in result.report


def test_a_phrase_that_is_too_long_is_not_repeated() -> None:
    result = of_text(f"{TUNNEL} ip nhrp authentication muchTooLongAPhrase\n")
    assert "must have 1..8 octets" in result.reason(6)
    assert "muchTooLong" not in result.report
    assert result.interface("tunnel0").authentication is None


def test_commands_as_people_type_them() -> None:
    """Short names are those of one interface, and blanks within them are no matter."""
    result = sample("ios/typed-by-hand.conf")
    (name,) = result.config().interfaces
    spoke = result.interface(name)
    assert name == "tunnel5"
    assert servers(spoke) == [("10.76.0.1", "198.51.100.76")]
    assert spoke.ipsec is not None
    assert "ttl 64 local 203.0.113.76\n" in result.files["tunnel-tunnel5.sh"]
    assert "The lines of the block go with it." in result.reason(13)
    assert result.waits(18, "vrf")
    assert result.waits(19, "vrf")


def test_a_hub_for_ipv6_samples_ipv6_as_well() -> None:
    """The limit is for pairs of /64, and each family has a size of segments of its own."""
    result = of_text(
        f"{TUNNEL} ip nhrp redirect\n ipv6 nhrp network-id 1\n ipv6 nhrp redirect\n"
        " ip tcp adjust-mss 1360\n ipv6 tcp adjust-mss 1340\n"
    )
    four, six = result.files["iptables.rules"], result.files["ip6tables.rules"]
    assert "--hashlimit-srcmask 16 --hashlimit-dstmask 16 --hashlimit-name loglimit-0" in four
    assert "--hashlimit-srcmask 64 --hashlimit-dstmask 64 --hashlimit-name loglimit6-0" in six
    assert "--set-mss 1360" in four
    assert "--set-mss 1340" in six
    assert "ip6tables.rules" not in of_text(f"{TUNNEL} ip nhrp redirect\n").files
