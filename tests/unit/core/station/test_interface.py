"""What the kernel says of a tunnel, and whether that can work."""

import pytest

from nhrpd_py.core.address import Afi
from nhrpd_py.core.events import AddressAdded, GreParameters
from nhrpd_py.core.kernel.links import Links
from nhrpd_py.core.station.interface import Interface, OpenRefusal
from tests.support.bench import a_bare_interface
from tests.support.sites import (
    GRE,
    LAN,
    UNDERLAY,
    a_link,
    a_tunnel_link,
    an_address,
    an_interface,
    ip,
    nbma,
    tunnel,
)


def follow(*addresses: AddressAdded, gre: GreParameters | None = None, **settings) -> Interface:
    """An interface above eth0, which has the addresses given for it."""
    links = Links()
    links.change(a_link())
    links.change(a_link(LAN, "lan0"))
    links.change(a_tunnel_link(gre=gre))
    for each in addresses:
        links.by_ifindex[each.ifindex].addresses[(each.address, each.prefix_length)] = each
    interface = a_bare_interface(an_interface(**settings))
    interface.follow(links)
    return interface


def secondary(address: bytes, length: int, ifindex: int = UNDERLAY) -> AddressAdded:
    return AddressAdded(ifindex=ifindex, address=address, prefix_length=length, secondary=True)


def test_interface_without_a_netdev_waits_for_it() -> None:
    interface = a_bare_interface(an_interface())
    interface.follow(Links())
    assert interface.problem == "no such netdev; waiting for it"
    assert not interface.can_open


def test_interface_that_lost_its_netdev_forgets_all_about_it() -> None:
    links = Links()
    links.change(a_link())
    links.change(a_tunnel_link())
    interface = a_bare_interface(an_interface())
    interface.follow(links)
    assert interface.ifindex == GRE
    assert links.remove(GRE) is not None
    assert links.remove(GRE) is None
    interface.follow(links)
    assert (interface.ifindex, interface.mtu) == (0, 0)
    assert (interface.ifindex, interface.nbma, interface.gre, interface.addresses) == (
        0,
        b"",
        None,
        (),
    )


def test_whole_interface_has_no_problem() -> None:
    interface = follow(an_address(UNDERLAY, nbma(2), 24), an_address(GRE, tunnel(2), 32))
    assert interface.problem is None
    assert (interface.nbma, interface.underlay, interface.mtu) == (nbma(2), "eth0", 1472)
    assert interface.own_address(Afi.IPV4) == tunnel(2)
    assert interface.own_address(Afi.IPV6) == b""
    assert interface.address_texts() == ("10.255.255.2/32",)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"gre": None}, "not a GRE netdev"),
        ({"up": False}, "the netdev is down"),
        (
            {"gre": GreParameters(remote=nbma(1), link=UNDERLAY)},
            "the tunnel has a remote address: it is not multipoint",
        ),
        (
            {"gre": GreParameters(link=UNDERLAY, defect="it has one end only")},
            "it has one end only",
        ),
        ({"vrf": True}, "the tunnel is in a VRF: only the main routing table is supported"),
    ],
)
def test_netdev_that_cannot_work_is_not_opened_and_says_why(change, problem) -> None:
    links = Links()
    links.change(a_link())
    link = a_tunnel_link()
    links.change(type(link)(**({f: getattr(link, f) for f in link.__slots__} | change)))
    interface = a_bare_interface(an_interface())
    interface.follow(links)
    assert interface.problem == problem
    assert not interface.can_open


def test_remote_address_of_zeros_is_multipoint() -> None:
    gre = GreParameters(remote=bytes(4), local=bytes(4), link=UNDERLAY)
    interface = follow(an_address(UNDERLAY, nbma(2), 24), an_address(GRE, tunnel(2), 32), gre=gre)
    assert interface.problem is None
    assert interface.nbma == nbma(2)


def test_local_address_of_the_tunnel_beats_everything() -> None:
    gre = GreParameters(local=nbma(77), link=UNDERLAY)
    interface = follow(an_address(UNDERLAY, nbma(2), 24), gre=gre, tunnel_source="lan0")
    assert (interface.nbma, interface.underlay) == (nbma(77), "lan0")


def test_configured_source_beats_the_link_of_the_tunnel() -> None:
    interface = follow(
        an_address(UNDERLAY, nbma(2), 24), an_address(LAN, nbma(3), 24), tunnel_source="lan0"
    )
    assert (interface.nbma, interface.underlay) == (nbma(3), "lan0")


@pytest.mark.parametrize(
    ("gre", "settings", "problem"),
    [
        (GreParameters(), {}, "give the tunnel `dev` or `local`, or set tunnel-source"),
        (
            GreParameters(link=99),
            {},
            (
                "the netdev that the tunnel is bound to (ifindex 99) is gone, and nothing leaves: "
                "ip tunnel change gre1 dev UNDERLAY"
            ),
        ),
        (GreParameters(link=99), {"tunnel_source": "eth0"}, "ip tunnel change gre1 dev eth0"),
        (GreParameters(link=99, local=nbma(2)), {}, "(ifindex 99) is gone"),
        (None, {"tunnel_source": "wan0"}, "there is no netdev wan0"),
        (None, {}, "eth0 has no ipv4 address"),
        (GreParameters(ipv6=True, link=UNDERLAY), {}, "eth0 has no ipv6 address"),
    ],
)
def test_missing_nbma_address_is_explained(gre, settings, problem) -> None:
    interface = follow(an_address(GRE, tunnel(2), 32), gre=gre, **settings)
    assert interface.nbma == b""
    assert interface.problem is not None
    assert problem in interface.problem
    assert interface.can_open  # packets could come all the same


def test_local_address_that_is_not_ours_is_a_problem() -> None:
    gre = GreParameters(local=nbma(77), link=UNDERLAY)
    interface = follow(an_address(UNDERLAY, nbma(2), 24), an_address(GRE, tunnel(2), 32), gre=gre)
    assert interface.problem == (
        "the tunnel's local address 192.168.100.77 is not an address of this machine: "
        "ip tunnel change gre1 local ADDRESS"
    )
    assert interface.nbma == nbma(77)


def test_a_tunnel_that_leaves_in_another_namespace_is_judged_by_nothing_here() -> None:
    gre = GreParameters(local=nbma(77), link=99, foreign=True)
    interface = follow(an_address(GRE, tunnel(2), 32), gre=gre)
    assert (interface.problem, interface.nbma) == (None, nbma(77))


def test_primary_address_of_the_underlay_is_ours() -> None:
    interface = follow(
        secondary(nbma(3), 24), an_address(UNDERLAY, nbma(2), 24), an_address(UNDERLAY, nbma(4), 24)
    )
    assert interface.nbma == nbma(2)


def test_ipv6_tunnel_takes_a_global_address_of_its_family() -> None:
    interface = follow(
        an_address(UNDERLAY, nbma(2), 24),
        an_address(UNDERLAY, ip("fe80::2"), 64),
        an_address(UNDERLAY, ip("2001:db8::2"), 64),
        gre=GreParameters(ipv6=True, link=UNDERLAY),
    )
    assert interface.nbma == ip("2001:db8::2")


def test_tunnel_speaks_for_its_primary_address_with_the_widest_prefix() -> None:
    interface = follow(
        secondary(tunnel(9), 8, GRE),
        an_address(GRE, tunnel(2), 32),
        an_address(GRE, tunnel(3), 24),
        an_address(GRE, ip("fe80::2"), 64),
        an_address(GRE, ip("fd00::2"), 128),
    )
    assert interface.own_address(Afi.IPV4) == tunnel(3)
    assert interface.own_address(Afi.IPV6) == ip("fd00::2")
    assert len(interface.addresses) == 4


def test_tunnel_without_a_usable_address_says_so() -> None:
    interface = follow(an_address(UNDERLAY, nbma(2), 24), an_address(GRE, ip("fe80::2"), 64))
    assert interface.problem == "the tunnel has no address"


def test_on_link_is_what_a_connected_prefix_covers() -> None:
    subnet = follow(an_address(GRE, tunnel(2), 24))
    assert subnet.on_link(tunnel(9))
    assert not subnet.on_link(ip("10.255.254.9"))
    assert not subnet.on_link(ip("fd00::9"))
    assert not follow(an_address(GRE, tunnel(2), 32)).on_link(tunnel(2))


@pytest.mark.parametrize(
    ("length", "address", "broadcast"),
    [
        (24, tunnel(255), True),
        (24, tunnel(9), False),
        (30, tunnel(3), True),
        (31, tunnel(3), False),
        (32, tunnel(2), False),
        (24, ip("10.1.1.255"), False),
    ],
)
def test_broadcast_address_is_that_of_a_connected_subnet(length, address, broadcast) -> None:
    assert (address in follow(an_address(GRE, tunnel(2), length)).broadcasts) is broadcast


def test_link_may_change_its_name() -> None:
    links = Links()
    links.change(a_link(UNDERLAY, "eth0"))
    links.change(a_link(UNDERLAY, "wan0"))
    assert links.named("eth0") is None
    assert links.named("wan0") is links.by_ifindex[UNDERLAY]


def test_name_may_pass_to_another_link() -> None:
    links = Links()
    links.change(a_tunnel_link(GRE))
    links.change(a_tunnel_link(9))
    links.change(a_link(GRE, "old0"))  # the one whose name was taken away
    assert links.named("gre1") is links.by_ifindex[9]
    links.change(a_tunnel_link(GRE))
    links.remove(9)
    assert links.named("gre1") is links.by_ifindex[GRE]


def test_refusal_of_the_kernel_is_forgotten_with_the_netdev() -> None:
    links = Links()
    links.change(a_link())
    links.change(a_tunnel_link())
    interface = a_bare_interface(an_interface())
    interface.follow(links)
    interface.refusal = OpenRefusal("no")
    interface.follow(links)
    assert interface.problem == "no"
    links.change(a_tunnel_link(9))
    interface.follow(links)
    assert interface.link_problem is None
