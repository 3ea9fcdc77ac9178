"""Framing, neighbours, links, addresses and routes as bytes."""

import struct

import pytest

from nhrpd_py.core.address import host_prefix, parse_address, parse_prefix
from nhrpd_py.core.events import AddressAdded, GreParameters, LinkChanged, Route
from nhrpd_py.runtime.netlink import neighbor, rtnl
from nhrpd_py.runtime.netlink.rtnl import RouteRead
from nhrpd_py.runtime.netlink.socket import (
    HEADER,
    NLM_F_ACK_TLVS,
    MalformedError,
    attribute,
    attributes,
    error_of,
    message,
    messages,
    nested,
)

V4, NBMA = parse_address("10.255.0.2"), parse_address("192.0.2.2")
V6, NBMA6 = parse_address("2001:db8::2"), parse_address("2001:db8:ffff::2")
RTA_DST, RTA_GATEWAY, RTA_MULTIPATH, RTA_TABLE, RTA_VIA, RTA_ENCAP = 1, 5, 9, 15, 18, 22
IFLA_IFNAME, IFLA_MTU, IFLA_PROTINFO, IFLA_LINKINFO = 3, 4, 12, 18
IFLA_LINK_NETNSID = 37
IFLA_GRE_LINK, IFLA_GRE_IFLAGS, IFLA_GRE_IKEY = 1, 2, 4
IFLA_GRE_LOCAL, IFLA_GRE_REMOTE, IFLA_GRE_TTL = 6, 7, 8
MULTIPOINT_IP6GRE = "Linux sends nothing through a multipoint ip6gre: use type gre, over IPv4"
IFLA_GRE_COLLECT_METADATA, IFLA_INFO_SLAVE_KIND = 18, 4
IFA_ADDRESS, IFA_LOCAL = 1, 2
IFADDRMSG = struct.Struct("=BBBBI")


def parsed(data):
    return [(kind, flags, bytes(body)) for kind, flags, _s, _p, body in messages(memoryview(data))]


def view_of(data):
    [(_kind, _flags, body)] = parsed(data)
    return memoryview(body)


def test_messages_are_walked_with_their_padding():
    data = message(16, 0, b"abcd") + message(17, 2, b"")
    assert parsed(data) == [(16, 0, b"abcd"), (17, 2, b"")]


@pytest.mark.parametrize(
    "data",
    [
        b"\x01",
        message(16, 0, b"abcd")[:-1],
        HEADER.pack(3, 1, 0, 0, 0),
        HEADER.pack(99, 1, 0, 0, 0),
    ],
)
def test_half_frames_are_malformed(data):
    with pytest.raises(MalformedError):
        parsed(data)


@pytest.mark.parametrize("data", [struct.pack("=HH", 3, 1), struct.pack("=HH", 9, 1)])
def test_half_attributes_are_malformed(data):
    with pytest.raises(MalformedError):
        attributes(memoryview(data))


def test_errors_carry_the_request_and_the_words_of_the_kernel():
    request = message(28, 0, b"wxyz")
    body = struct.pack("=i", -22) + request + attribute(1, b"no way\0")
    code, echoed, words = error_of(NLM_F_ACK_TLVS, memoryview(body))
    assert (code, bytes(echoed), words) == (22, request, "no way")
    with pytest.raises(MalformedError):
        error_of(0, memoryview(b"\0\0"))


@pytest.mark.parametrize("address", [V4, V6])
@pytest.mark.parametrize("nbma", [NBMA, NBMA6, b"\1"])
def test_neighbours_survive_the_round_trip(address, nbma):
    data = neighbor.set_neighbor(7, address, nbma, neighbor.NUD_PERMANENT, 208)
    assert len(data) % 4 == 0
    assert neighbor.read_neighbor(view_of(data)) == (7, address, nbma, 0x80, 208)


def test_neighbours_of_other_tables_are_skipped():
    assert neighbor.read_neighbor(memoryview(neighbor.NDMSG.pack(7, 3, 0, 0, 0))) is None
    assert neighbor.read_neighbor(memoryview(neighbor.NDMSG.pack(2, 3, 0, 0, 0))) is None
    with pytest.raises(MalformedError):
        neighbor.read_neighbor(memoryview(b"\2"))
    own = view_of(neighbor.set_neighbor(7, V4, NBMA, 0x80, 208))
    assert neighbor.read_own_neighbor(208, 8, own) is None
    assert neighbor.read_own_neighbor(200, 7, own) is None
    assert neighbor.read_own_neighbor(208, 7, own) is not None


@pytest.mark.parametrize("prefix", ["10.1.0.0/16", "2001:db8:1::/48", "0.0.0.0/0"])
@pytest.mark.parametrize("by_gateway", [True, False])
def test_routes_survive_the_round_trip(prefix, by_gateway):
    network = parse_prefix(prefix)
    gateway = (V4 if len(network.address) == 4 else V6) if by_gateway else b""
    route = Route(prefix=network, ifindex=7, gateway=gateway, metric=10, protocol=208)
    read = rtnl.read_route(view_of(rtnl.set_route(network, 7, gateway, 10, 208)))
    assert read == RouteRead(route, multipath=False)
    read = rtnl.read_route(view_of(rtnl.set_route(network, 7, gateway, 10, 208, 1400)))
    assert read == RouteRead(route, multipath=False, mtu=1400)


def a_route(*attributes_, kind=1, table=254, tos=0, flags=0, length=24):
    head = rtnl.RTMSG.pack(2, length, 0, tos, table, 3, 0, kind, flags)
    return memoryview(head + b"".join(attributes_))


DESTINATION = attribute(RTA_DST, bytes((10, 1, 2, 0)))


def test_routes_that_take_no_ordinary_traffic_are_skipped():
    for payload in (
        a_route(DESTINATION, kind=2),  # local
        a_route(DESTINATION, kind=3),  # broadcast
        a_route(DESTINATION, table=255),
        a_route(DESTINATION, attribute(RTA_TABLE, struct.pack("=I", 1000))),
        a_route(DESTINATION, tos=16),
        a_route(DESTINATION, flags=rtnl.RTM_F_CLONED),
    ):
        assert rtnl.read_route(payload) is None


def test_dropping_and_multipath_routes():
    read = rtnl.read_route(a_route(DESTINATION, attribute(4, struct.pack("=I", 1)), kind=7))
    assert read is not None
    assert read.route.ifindex == 0
    hops = b"".join(
        struct.pack("=HBBi", 16, 0, 0, ifindex) + attribute(RTA_GATEWAY, V4) for ifindex in (5, 6)
    )
    read = rtnl.read_route(a_route(DESTINATION, attribute(RTA_MULTIPATH, hops)))
    assert read is not None
    assert (read.route.ifindex, read.route.gateway, read.multipath) == (5, V4, True)
    assert read.route.others == ((6, V4),)
    via = attribute(RTA_VIA, struct.pack("=H", 10) + V6)
    read = rtnl.read_route(a_route(DESTINATION, via))
    assert read is not None
    assert read.route.gateway == V6
    with pytest.raises(MalformedError):
        rtnl.read_route(a_route(attribute(RTA_DST, b"\1"), length=8))
    with pytest.raises(MalformedError):
        rtnl.read_route(memoryview(b"\2"))


def a_link(kind=b"gre", address=NBMA, *more):
    """A link message; of a tunnel it has a key (42) and a parent (2)."""
    gre = b"".join(
        (
            attribute(IFLA_GRE_LOCAL, address),
            attribute(IFLA_GRE_REMOTE, bytes(len(address))),
            attribute(IFLA_GRE_IFLAGS, b"\x20\x00"),
            attribute(IFLA_GRE_IKEY, bytes((0, 0, 0, 42))),
            attribute(IFLA_GRE_TTL, b"\x40"),
            attribute(IFLA_GRE_LINK, struct.pack("=I", 2)),
        )
    )
    name = attribute(IFLA_IFNAME, b"gre1\0") + attribute(IFLA_MTU, struct.pack("=I", 1472))
    info = nested(IFLA_LINKINFO, attribute(1, kind + b"\0"), nested(2, gre))
    return memoryview(rtnl.IFINFOMSG.pack(0, 778, 5, 0x81, 0) + name + b"".join(more) + info)


@pytest.mark.parametrize(("kind", "address"), [(b"gre", NBMA), (b"ip6gre", NBMA6)])
def test_tunnels(kind, address):
    assert rtnl.read_link(a_link(kind, address)) == LinkChanged(
        ifindex=5,
        name="gre1",
        up=True,
        mtu=1472,
        noarp=True,
        gre=GreParameters(
            local=address,
            key=42,
            ttl=64,
            link=2,
            ipv6=kind == b"ip6gre",
            defect=None if kind == b"gre" else MULTIPOINT_IP6GRE,
        ),
    )


def test_a_tunnel_whose_packets_leave_in_another_namespace_is_told_apart():
    link = rtnl.read_link(a_link(b"gre", NBMA, attribute(IFLA_LINK_NETNSID, bytes(4))))
    assert link is not None
    assert link.gre is not None
    assert link.gre.foreign
    plain = rtnl.read_link(a_link())
    assert plain is not None
    assert plain.gre is not None
    assert not plain.gre.foreign


def test_tunnels_of_other_ways_are_told_apart():
    gre = nested(2, attribute(IFLA_GRE_COLLECT_METADATA, b""))
    slave = attribute(IFLA_INFO_SLAVE_KIND, b"vrf\0")
    name = attribute(IFLA_IFNAME, b"gre1\0")
    head = rtnl.IFINFOMSG.pack(0, 778, 5, 1, 0) + name
    info = nested(IFLA_LINKINFO, attribute(1, b"gre\0"), gre, slave)
    defect = "the tunnel was made with `external`: it does not look at neighbours"
    assert rtnl.read_link(memoryview(head + info)) == LinkChanged(
        ifindex=5, name="gre1", up=True, mtu=0, vrf=True, gre=GreParameters(defect=defect)
    )


@pytest.mark.parametrize("kind", [b"gretap", b"erspan", b"vlan", b"of tomorrow"])
def test_other_links_have_no_tunnel_parameters(kind):
    link = rtnl.read_link(a_link(kind))
    assert link is not None
    assert link.gre is None


def test_links_that_are_not_whole():
    head, name = rtnl.IFINFOMSG.pack(0, 778, 5, 0x81, 0), attribute(IFLA_IFNAME, b"gre1\0")
    assert rtnl.read_link(memoryview(head)) is None
    plain = LinkChanged(ifindex=5, name="gre1", up=True, mtu=0, noarp=True)
    assert rtnl.read_link(memoryview(head + name)) == plain
    assert rtnl.read_link(memoryview(rtnl.IFINFOMSG.pack(7, 0, 5, 1, 0) + name)) is None
    assert rtnl.link_index(memoryview(rtnl.IFINFOMSG.pack(7, 0, 5, 1, 0))) is None
    assert rtnl.link_index(memoryview(head)) == 5
    no_data = nested(IFLA_LINKINFO, attribute(1, b"gre\0"))
    link = rtnl.read_link(memoryview(head + name + no_data))
    assert link is not None
    assert link.gre is None


def test_names_of_links_need_not_be_text():
    head = rtnl.IFINFOMSG.pack(0, 778, 5, 0, 0)
    link = rtnl.read_link(memoryview(head + attribute(IFLA_IFNAME, b"gr\xff\0")))
    assert link is not None
    assert link.name == "gr\N{REPLACEMENT CHARACTER}"


def test_attributes_that_do_not_matter_may_be_anything():
    odd = attribute(IFLA_PROTINFO, b"abcd") + attribute(999, b"abc") + attribute(7, b"\1")
    assert rtnl.read_link(a_link(b"gre", NBMA, odd)) == rtnl.read_link(a_link())
    plain = a_route(DESTINATION, attribute(RTA_GATEWAY, V4))
    for odd in (attribute(RTA_ENCAP, b"\0\0\0\0\0"), attribute(999, b"a"), attribute(8, b"a")):
        payload = a_route(DESTINATION, odd, attribute(RTA_GATEWAY, V4))
        assert rtnl.read_route(payload) == rtnl.read_route(plain)


@pytest.mark.parametrize(
    "payload",
    [
        a_route(attribute(RTA_DST, V6)),
        a_route(attribute(RTA_DST, b"")),
        a_route(DESTINATION, attribute(RTA_TABLE, b"\1")),
        a_route(DESTINATION, attribute(RTA_GATEWAY, b"\1")),
        a_route(DESTINATION, attribute(RTA_VIA, b"\1")),
        a_route(DESTINATION, struct.pack("=HH", 99, RTA_GATEWAY)),
        a_route(DESTINATION, struct.pack("=HH", 0, RTA_GATEWAY)),
        a_route(DESTINATION, attribute(RTA_MULTIPATH, b"\1\2")),
        a_route(DESTINATION, attribute(RTA_MULTIPATH, struct.pack("=HBBi", 40, 0, 0, 5))),
    ],
)
def test_routes_of_broken_attributes_are_malformed(payload):
    with pytest.raises(MalformedError):
        rtnl.read_route(payload)


def test_links_of_broken_attributes_are_malformed():
    with pytest.raises(MalformedError):
        rtnl.read_link(a_link(b"ip6gre", NBMA))
    with pytest.raises(MalformedError):
        rtnl.read_link(a_link()[:-2])
    with pytest.raises(MalformedError):
        rtnl.link_index(memoryview(b""))


def test_addresses():
    head = IFADDRMSG.pack(2, 24, 1, 0, 5)
    both = attribute(IFA_ADDRESS, NBMA) + attribute(IFA_LOCAL, V4)
    assert rtnl.read_address(memoryview(head + both)) == AddressAdded(
        ifindex=5, address=V4, prefix_length=24, secondary=True
    )
    six = IFADDRMSG.pack(10, 64, 0, 0, 5) + attribute(IFA_ADDRESS, V6)
    read = rtnl.read_address(memoryview(six))
    assert read is not None
    assert read.address == V6
    assert rtnl.read_address(memoryview(head)) is None
    assert rtnl.read_address(memoryview(IFADDRMSG.pack(1, 0, 0, 0, 5))) is None


def test_refusals_are_named():
    def named(data, error=22):
        [(kind, _flags, body)] = parsed(data)
        return rtnl.name_refusal(kind, body, error)

    assert named(neighbor.set_neighbor(7, V4, NBMA, 4, 208)) == (7, "neighbour 10.255.0.2")
    assert named(rtnl.set_route(host_prefix(V4), 7, b"", 10, 208)) == (7, "route 10.255.0.2/32")
    assert named(neighbor.drop_neighbor(7, V4), error=2) is None
    assert named(rtnl.drop_route(host_prefix(V4), 7, 10, 208), error=3) is None
    assert named(message(19, 0, b"")) == (0, "request 19")
    assert named(message(28, 0, b"")) == (0, "request 28")


def test_nexthop_objects():
    found = rtnl.read_route(a_route(DESTINATION, attribute(30, struct.pack("=I", 7))))
    assert found is not None
    assert found.nexthop == 7
    head = bytes(rtnl.NHMSG_SIZE)
    assert rtnl.nexthop_id(memoryview(head + attribute(1, struct.pack("=I", 7)))) == 7
    assert rtnl.nexthop_id(memoryview(head)) == 0
