"""What is given beside a configuration: how the netdev is made, the rule that samples; and VyOS's BGP."""

import pytest

from tests.unit.cli.importing.imports import Result, imported, of_text

FRR = "interface gre1\n ip nhrp network-id 1\n ip nhrp redirect\n ip nhrp registration no-unique\n"


@pytest.fixture
def beside(tmp_path):
    """Imports a configuration of FRR with another file beside it."""

    def call(text: str, *, tunnel: str = "ip") -> Result:
        frr, other = tmp_path / "frr.conf", tmp_path / "other"
        frr.write_text(FRR)
        other.write_text(text)
        return imported(frr, other, tunnel=tunnel)

    return call


@pytest.mark.parametrize(
    "text",
    [
        (
            "ip tunnel add gre1 mode gre key 42 ttl 64 dev eth0\nip addr add 10.0.0.1/24 dev gre1\n"
            "ip link set gre1 mtu 1400 up\n"
        ),
        (
            "ip link add name gre1 type gre key 0.0.0.42 ttl 64 dev eth0\n"
            "ip address add 10.0.0.1/24 dev gre1\nip link set dev gre1 mtu 1400 up\n"
        ),
        (
            "auto gre1\niface gre1 inet static\n  tunnel-mode gre\n  tunnel-key 42\n  tunnel-ttl 64\n"
            "  tunnel-dev eth0\n  address 10.0.0.1\n  netmask 24\n  mtu 1400\n"
        ),
    ],
    ids=["ip tunnel", "ip link", "ifupdown-ng"],
)
def test_how_the_netdev_was_made_is_kept(beside, text) -> None:
    script = beside(text).files["tunnel-gre1.sh"]
    assert script.splitlines()[2:] == [
        "ip tunnel add gre1 mode gre key 42 ttl 64 dev eth0",
        "ip address add 10.0.0.1/24 dev gre1",
        "ip link set gre1 mtu 1400 up",
    ]


def test_a_netdev_with_a_remote_end_becomes_multipoint(beside) -> None:
    result = beside("ip tunnel add gre1 mode gre local 192.0.2.1 remote 192.0.2.2 ttl inherit\n")
    assert "mode gre ttl 64 local 192.0.2.1\n" in result.files["tunnel-gre1.sh"]
    assert "the netdev is multipoint" in result.report


def test_values_that_do_not_fit_are_told(beside) -> None:
    result = beside(
        "ip tunnel add gre1 mode gre key 99999999999\nip addr add nothing dev gre1\n"
        "iptables -A FORWARD -j NFLOG --nflog-group 70000\nip tunnel add 'a b' mode gre\necho 'unended\n"
    )
    assert result.report.count("The value does not fit") == 2
    assert "no address with a prefix length" in result.report
    assert "redirect-group" not in result.files["nhrpd.toml"]


def test_the_limits_of_the_rule_that_samples_are_kept(beside) -> None:
    result = beside(
        "iptables -A FORWARD -i gre1 -o gre1 -m hashlimit --hashlimit-upto 10/minute \\\n"
        "  --hashlimit-burst 2 --hashlimit-mode srcip,dstip --hashlimit-srcmask 24 \\\n"
        "  --hashlimit-dstmask 24 --hashlimit-name mine -j NFLOG --nflog-group 9 --nflog-range 128\n"
    )
    rules = result.files["iptables.rules"]
    assert "--hashlimit-upto 10/minute --hashlimit-burst 2" in rules
    assert "--hashlimit-srcmask 24" in rules
    assert "--nflog-group 9 --nflog-size 128" in rules
    assert result.config().nflog.redirect_group == 9


def test_addresses_of_both_families_and_none(beside) -> None:
    made = "ip tunnel add gre1 mode gre ttl 64 dev eth0\n"
    both = f"{made}ip addr add 10.0.0.1/24 dev gre1\nip addr add 2001:db8::1/64 dev gre1\n"
    text = beside(both, tunnel="ifupdown").files["ifupdown-gre1"]
    assert "    up ip address add 2001:db8::1/64 dev $IFACE\n" in text
    bare = beside(made, tunnel="ifupdown").files["ifupdown-gre1"]
    assert "iface gre1 inet manual\n" in bare
    assert "    up ip link set $IFACE up\n" in bare
    netdev = beside(both, tunnel="networkd").files["systemd-networkd-gre1.netdev"]
    assert "Local=any\n" in netdev
    assert "# Local=any leaves the outer address to the kernel" in netdev


def test_bgp_of_an_old_vyos() -> None:
    """The AS number in each command, timers, neighbours with and without a group."""
    text = "set protocols nhrp tunnel tun0 network-id 1\n" + "".join(
        f"set protocols bgp 65001 {words}\n"
        for words in (
            "parameters router-id 10.0.0.9",
            "parameters log-neighbor-changes",
            "parameters deterministic-med",
            "parameters default no-ipv4-unicast",
            "timers keepalive 10",
            "timers holdtime 30",
            "neighbor 10.0.0.1 remote-as 65000",
            "neighbor 10.0.0.1 ebgp-multihop 2",
            "neighbor 10.0.0.1 timers holdtime 15",
            "neighbor 10.0.0.1 description hub",
            "neighbor 10.0.0.1 address-family ipv4-unicast soft-reconfiguration inbound",
            "neighbor 10.0.0.1 address-family ipv4-unicast colour blue",
            "neighbor 10.0.0.2 peer-group G",
            "peer-group G remote-as 65001",
            "address-family ipv4-unicast redistribute connected",
            "address-family ipv4-unicast aggregate-address 10.1.0.0/16",
            "address-family ipv4-unicast redistribute static metric 5",
            "address-family ipv6-unicast network 2001:db8::/48",
            "address-family l2vpn-evpn advertise-all-vni",
        )
    )
    result = of_text(text)
    lines = result.files["frr.conf"].splitlines()
    assert lines[lines.index("router bgp 65001") :] == [
        "router bgp 65001",
        " bgp router-id 10.0.0.9",
        " bgp log-neighbor-changes",
        " bgp deterministic-med",
        " no bgp default ipv4-unicast",
        " timers bgp 10 30",
        " neighbor G peer-group",
        " neighbor 10.0.0.1 remote-as 65000",
        " neighbor G remote-as 65001",
        " neighbor 10.0.0.2 peer-group G",
        " neighbor 10.0.0.1 ebgp-multihop 2",
        " neighbor 10.0.0.1 timers 60 15",
        " !",
        " address-family ipv4 unicast",
        "  neighbor 10.0.0.1 soft-reconfiguration inbound",
        "  redistribute connected",
        "  aggregate-address 10.1.0.0/16",
        " exit-address-family",
        " !",
        " address-family ipv6 unicast",
        "  network 2001:db8::/48",
        " exit-address-family",
        "exit",
    ]
    for line in (13, 18, 20):
        assert "add them to frr.conf by hand" in result.reason(line)
