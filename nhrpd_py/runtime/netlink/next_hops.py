"""The next hops of a route, as linux/rtnetlink.h has them."""

import struct
from collections.abc import Iterator, Mapping

from nhrpd_py.core.address import IPV4_SIZE, IPV6_SIZE, Address
from nhrpd_py.runtime.netlink.socket import MalformedError, attributes

RTA_GATEWAY, RTA_VIA = 5, 18
# struct rtnexthop: length u16, flags u8, hops u8, ifindex s32
RTNEXTHOP = struct.Struct("=Hxxi")


def next_hops(paths: memoryview) -> Iterator[tuple[int, Address]]:
    """Yields the ifindex and gateway of each next hop of a multipath route."""
    while paths:
        if len(paths) < RTNEXTHOP.size:
            raise MalformedError("half a next hop")
        length, ifindex = RTNEXTHOP.unpack_from(paths)
        if not RTNEXTHOP.size <= length <= len(paths):
            raise MalformedError(f"a next hop of {length} octets in {len(paths)}")
        yield ifindex, gateway_of(attributes(paths[:length], RTNEXTHOP.size))
        paths = paths[(length + 3) & ~3 :]


def gateway_of(found: Mapping[int, memoryview]) -> Address:
    """Returns RTA_GATEWAY, or the address of RTA_VIA (struct rtvia: family u16, address): an IPv4
    route by way of an IPv6 neighbour."""
    gateway = bytes(found[RTA_VIA][2:] if RTA_VIA in found else found.get(RTA_GATEWAY, b""))
    if len(gateway) not in (0, IPV4_SIZE, IPV6_SIZE) or (not gateway and RTA_VIA in found):
        raise MalformedError(f"a gateway of {len(gateway)} octets")
    return gateway
