"""Whatever octets come: what is read is read, or malformed, and nothing else happens."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhrpd_py.runtime.netlink import neighbor, rtnl
from nhrpd_py.runtime.netlink.socket import HEADER, MalformedError, attribute, nested

V4, V6 = bytes((10, 0, 0, 1)), bytes(range(16))
GATEWAY, VIA = attribute(5, V4), attribute(18, struct.pack("=H", 10) + V6)
ENCAPSULATION = nested(22, attribute(1, b"\0\0\1\1"), attribute(2, b"\x40"))
MPLS = ENCAPSULATION + attribute(21, struct.pack("=H", 1))


def a_hop(ifindex, *attributes):
    body = b"".join(attributes)
    return struct.pack("=HBBi", 8 + len(body), 0, 0, ifindex) + body


def a_route(*attributes, family=2):
    head = struct.pack("=8BI", family, 24, 0, 0, 254, 3, 0, 1, 0)
    return head + attribute(1, V4 if family == 2 else V6) + b"".join(attributes)


def a_link(kind, address):
    gre = attribute(6, address) + attribute(2, b"\x20\0") + attribute(4, bytes((0, 0, 0, 42)))
    spec = nested(26, nested(2, attribute(1, bytes(128))))
    name = attribute(3, b"gre1\0") + attribute(12, b"abcd") + spec
    head = rtnl.IFINFOMSG.pack(0, 778, 5, 0x81, 0)
    return head + name + nested(18, attribute(1, kind + b"\0"), nested(2, gre))


SAMPLES = [
    (
        rtnl.read_route,
        a_route(GATEWAY, attribute(4, struct.pack("=I", 3)), attribute(15, struct.pack("=I", 254))),
    ),
    (rtnl.read_route, a_route(attribute(9, a_hop(5, GATEWAY, MPLS) + a_hop(6, VIA, MPLS)))),
    (rtnl.read_route, a_route(MPLS, VIA, attribute(99, b"abc"))),
    (rtnl.read_route, a_route(attribute(9, a_hop(5, attribute(5, V6)) + a_hop(6)), family=10)),
    (rtnl.read_link, a_link(b"gre", V4)),
    (rtnl.read_link, a_link(b"ip6gre", V6)),
    (rtnl.read_link, a_link(b"bridge", V4)),
    (rtnl.link_index, a_link(b"gre", V4)),
    (
        rtnl.read_address,
        struct.pack("=BBBBI", 2, 24, 0, 0, 5) + attribute(1, V4) + attribute(2, V4),
    ),
    (rtnl.read_address, struct.pack("=BBBBI", 10, 64, 0, 0, 5) + attribute(1, V6)),
    (neighbor.read_neighbor, neighbor.set_neighbor(7, V4, V6, 0x80, 208)[HEADER.size :]),
]


@pytest.mark.parametrize(("read", "good"), SAMPLES)
def test_undamaged_messages_are_read(read, good):
    assert read(memoryview(good)) is not None


@given(st.data(), st.sampled_from(SAMPLES))
def test_damaged_messages_are_read_or_malformed(data, sample):
    read, good = sample
    octets = bytearray(good)
    places = st.integers(0, len(octets) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        octets[place] = value
    del octets[data.draw(st.integers(0, len(octets))) :]
    octets += data.draw(st.binary(max_size=9))
    with contextlib.suppress(MalformedError):
        read(memoryview(bytes(octets)))


@pytest.mark.parametrize(
    "read", [rtnl.read_link, rtnl.link_index, rtnl.read_address, rtnl.read_route]
)
@given(octets=st.binary(max_size=200))
def test_noise_is_read_or_malformed(read, octets):
    with contextlib.suppress(MalformedError):
        read(memoryview(octets))
