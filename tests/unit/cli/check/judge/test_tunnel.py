"""A tunnel of the configuration: one spoilt fact, one finding, one remedy."""

from dataclasses import replace

import pytest

from nhrpd_py.cli.check.findings import State
from tests.unit.cli.check.machines import (
    CLEAR,
    ETH0,
    a_kernel,
    a_machine,
    complaints,
    gre1,
    the_complaint,
)

REMADE = (
    "ip tunnel del gre1 && ip tunnel add gre1 mode gre key 42 ttl 64 dev eth0 && "
    "ip address add 10.255.255.1/32 dev gre1 && ip link set gre1 up"
)
LINKS = [
    (gre1(up=False), "problem", "it is down", "ip link set gre1 up"),
    (gre1(ttl=0), "warning", "inherit the TTL", "ip tunnel change gre1 ttl 64"),
    (gre1(addresses=()), "problem", "no address", "ip address add ADDRESS/32 dev gre1"),
    (
        gre1(remote="192.0.2.9"),
        "problem",
        "not multipoint",
        REMADE,
    ),
    (gre1(flags=frozenset({"NOARP"})), "problem", "NOARP", "ip link set gre1 arp on"),
    (gre1(local="192.0.2.8"), "problem", "not have its outer", "change gre1 local any dev eth0"),
    (gre1(mtu=1472), "warning", "more than 1414", "ip link set gre1 mtu 1398"),
    (gre1(kind="dummy"), "problem", "kind dummy", "ip tunnel add gre2 mode gre key KEY ttl 64"),
]


@pytest.mark.parametrize(("link", "state", "words", "remedy"), LINKS)
def test_the_tunnel(link, state, words, remedy) -> None:
    found = the_complaint(a_machine(kernel=a_kernel(ETH0, link)))
    assert (found.area, found.subject, found.state) == ("kernel", "gre1", state)
    assert words in found.finding
    assert remedy in (found.remedy or "")


def test_nobody_is_told_to_delete_hardware() -> None:
    named = replace(CLEAR, name="eth0")
    kernel = a_kernel(ETH0, gre1(), gre1(name="gre0"))
    (found,) = (
        each for each in complaints(a_machine(named, kernel=kernel)) if each.area == "kernel"
    )
    assert (found.subject, found.finding) == ("eth0", "it is hardware, or loopback: not a tunnel")
    assert found.remedy == (
        "[interface.TUNNEL] in place of [interface.eth0] in /etc/nhrpd/nhrpd.toml   "
        "# the tunnels here: gre1"
    )


ETHERNET_GRE = ("erspan", "gretap", "ip6erspan", "ip6gretap")
OTHER_KINDS = (
    *("bond", "bridge", "dummy", "geneve", "ifb", "ipvlan", "macvlan", "team", "tun", "veth"),
    *("vlan", "vrf", "vxlan", "wireguard"),
    *ETHERNET_GRE,
    *("ip6tnl", "ipip", "sit", "vti", "vti6", "xfrm"),
)


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_a_link_of_another_kind_is_left_alone_whatever_it_serves(kind) -> None:
    """The mistake is the name in the file: the remedy makes a tunnel beside the link, or names one."""
    named = replace(CLEAR, name="x1")
    wrong = gre1(name="x1", kind=kind)
    found = next(iter(complaints(a_machine(named, kernel=a_kernel(ETH0, wrong)))))
    assert found.finding.startswith(f"it is a link of kind {kind}, not of gre")
    assert ("Ethernet" in found.finding) == (kind in ETHERNET_GRE)
    assert found.remedy == (
        "ip tunnel add gre1 mode gre key KEY ttl 64 dev eth0 && ip address add ADDRESS/32 dev gre1 "
        "&& ip link set gre1 up   # then [interface.gre1] in place of [interface.x1] in "
        "/etc/nhrpd/nhrpd.toml"
    )
    found = next(iter(complaints(a_machine(named, kernel=a_kernel(ETH0, wrong, gre1())))))
    assert (found.remedy or "").endswith("# the tunnels here: gre1")


@pytest.mark.parametrize(
    ("link", "words"),
    [
        (gre1(kind="ip6gre", remote="::"), "Linux sends nothing through a multipoint ip6gre"),
        (gre1(kind="ip6gre", remote="2001:db8::9"), "one remote end, 2001:db8::9"),
        (replace(gre1(), data={"external": True, "ttl": 64}), "it was made with `external`"),
    ],
)
def test_a_tunnel_that_cannot_serve_is_not_remade(link, words) -> None:
    (found,) = (
        each
        for each in complaints(a_machine(CLEAR, kernel=a_kernel(ETH0, link)))
        if words in each.finding
    )
    assert (found.remedy or "").startswith("ip tunnel add gre2 ")


def test_a_tunnel_is_made_over_the_link_that_was_named_for_one() -> None:
    named = replace(CLEAR, name="eth0")
    found = next(iter(complaints(a_machine(named, kernel=a_kernel(ETH0)))))
    assert (found.remedy or "").startswith("ip tunnel add gre1 mode gre key KEY ttl 64 dev eth0 &&")
    assert (found.remedy or "").endswith(
        "# then [interface.gre1] in place of [interface.eth0] in /etc/nhrpd/nhrpd.toml"
    )


ETH6 = replace(ETH0, addresses=(("2001:db8::1", 64, "global"),))
CHANGED = [
    ({"ttl": 0}, "inherit the TTL", "ttl 64"),
    ({"ikey": "0.0.0.41"}, "differ", "key 42"),
    ({"ikey": None, "okey": None}, "no key", "key 42   # the same on all nodes"),
    ({"link": "wan0"}, "its underlay wan0 is not there", "dev eth0"),
    ({"link": None}, "nothing tells its outer address", "dev eth0"),
    ({"link": None, "local": "2001:db8::7"}, "no link has its outer", "local any dev eth0"),
    ({"local": "2001:db8::7"}, "does not have its outer", "local any dev eth0"),
]


@pytest.mark.parametrize(("changes", "words", "options"), CHANGED)
def test_an_ip6gre_is_changed_by_the_command_of_its_family(changes, words, options) -> None:
    link = gre1(kind="ip6gre", **({"remote": "::", "local": "::"} | changes))
    found = [
        each.remedy
        for each in complaints(a_machine(CLEAR, kernel=a_kernel(ETH6, link)))
        if words in each.finding
    ]
    assert found == [f"ip link set gre1 type ip6gre {options}"]


def test_the_link_of_the_module_is_no_tunnel_to_configure() -> None:
    named = replace(CLEAR, name="gre0")
    facts = a_machine(named, kernel=a_kernel(ETH0, gre1(name="gre0"), gre1()))
    (found,) = (each for each in complaints(facts) if each.area == "kernel")
    assert found.finding.startswith("the module made it")
    assert (found.remedy or "").endswith("# the tunnels here: gre1")


def test_a_tunnel_that_is_made_anew_keeps_its_own_outer_address() -> None:
    link = gre1(remote="192.0.2.9", local="192.0.2.1")
    found = the_complaint(a_machine(CLEAR, kernel=a_kernel(ETH0, link)))
    assert "key 42 ttl 64 local 192.0.2.1 dev eth0 &&" in (found.remedy or "")
    assert "if nothing else needs it as it is" in (found.remedy or "")


def test_a_tunnel_source_that_does_not_exist_is_mended_in_the_file() -> None:
    config = replace(CLEAR, tunnel_source="wan9")
    found = the_complaint(a_machine(config, kernel=a_kernel(ETH0, gre1(link=None))))
    assert found.remedy == (
        'tunnel-source = "eth0"   # under [interface.gre1] in /etc/nhrpd/nhrpd.toml'
    )
    missing = the_complaint(a_machine(config, kernel=a_kernel(ETH0)))
    assert "ttl 64 dev eth0 &&" in (missing.remedy or "")


def test_a_tunnel_is_not_bound_to_itself_by_a_default_route_through_it() -> None:
    route = {"dst": "default", "dev": "gre1"}
    kernel = a_kernel(ETH0, gre1(link=None), routes=[route])
    found = next(iter(complaints(a_machine(CLEAR, kernel=kernel))))
    assert found.remedy == "ip tunnel change gre1 dev eth0"


def test_without_esp_more_fits() -> None:
    links = ETH0, gre1(mtu=1472)
    assert complaints(a_machine(CLEAR, kernel=a_kernel(*links))) == []
    found = the_complaint(a_machine(CLEAR, kernel=a_kernel(ETH0, gre1(mtu=1473))))
    assert found.remedy == "ip link set gre1 mtu 1472"


def test_a_tunnel_that_is_missing_is_made_on_the_link_of_the_default_route() -> None:
    route = {"dst": "default", "dev": "wan0"}
    found = the_complaint(a_machine(CLEAR, kernel=a_kernel(ETH0, routes=[route])))
    assert found.finding == "there is no such link"
    assert (found.remedy or "").startswith("ip tunnel add gre1 mode gre key KEY ttl 64 dev wan0 ")


def test_a_tunnel_without_key_is_worth_a_word() -> None:
    found = the_complaint(a_machine(CLEAR, kernel=a_kernel(ETH0, gre1(ikey=None, okey=None))))
    assert (found.state, "no key" in found.finding) == (State.WARNING, True)


def test_keys_that_differ() -> None:
    found = the_complaint(a_machine(CLEAR, kernel=a_kernel(ETH0, gre1(ikey="0.0.0.41"))))
    assert "differ (41 in, 42 out)" in found.finding
    assert found.remedy == "ip tunnel change gre1 key 42"


@pytest.mark.parametrize(
    ("changes", "words", "remedy"),
    [
        ({"link": "wan0"}, "its underlay wan0 is not there", "ip tunnel change gre1 dev eth0"),
        ({"link": None}, "nothing tells its outer address", "ip tunnel change gre1 dev eth0"),
        ({"link": None, "local": "192.0.2.7"}, "no link has its outer", "local any dev eth0"),
    ],
)
def test_the_underlay(changes, words, remedy) -> None:
    found = the_complaint(a_machine(CLEAR, kernel=a_kernel(ETH0, gre1(**changes))))
    assert words in found.finding
    assert remedy in (found.remedy or "")


def test_the_underlay_is_the_link_with_the_local_address() -> None:
    links = ETH0, gre1(link=None, local="192.0.2.1")
    assert complaints(a_machine(kernel=a_kernel(*links))) == []
