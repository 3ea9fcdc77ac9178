"""Links, addresses and routes (linux/rtnetlink.h, if_link.h, if_tunnel.h): kernel messages and events.

Links and addresses are read, and requests for the most part written, with pyroute2's message classes
(see `netlink.decoded`); unknown attributes are skipped, missing ones have a neutral value. `struct`
is used for routes: a hub writes as many as neighbours and reads its routing daemon's (pyroute2 takes
20 times as long), and for the one request that pyroute2 cannot express (`stop_redirects`).
"""

import functools
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from pyroute2.netlink import NLA_F_NESTED
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ndtmsg import ndtmsg

from nhrpd_py.core.address import IPV4_SIZE, IPV6_SIZE, Address, Prefix, cut, format_address
from nhrpd_py.core.events import AddressAdded, GreParameters, LinkChanged, Route
from nhrpd_py.runtime.netlink.decoded import (
    Decoded,
    LinkMessage,
    attribute_of,
    decode,
    family_in,
    number,
    octets,
    payload_of,
    reader,
    set_address,
    text,
)
from nhrpd_py.runtime.netlink.neighbor import (
    GONE_ERRORS,
    RTM_DELNEIGH,
    RTM_NEWNEIGH,
    family_of,
    read_neighbor,
)
from nhrpd_py.runtime.netlink.next_hops import RTA_GATEWAY, gateway_of, next_hops
from nhrpd_py.runtime.netlink.socket import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    U32,
    MalformedError,
    attribute,
    attributes,
    nested,
)

RTNLGRP_LINK, RTNLGRP_NEIGH = 1, 3
RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE = 5, 7, 9, 11
GROUPS = (
    RTNLGRP_LINK,
    RTNLGRP_NEIGH,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV6_ROUTE,
)

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_SETNEIGHTBL = 67
RTM_NEWNEXTHOP, RTM_DELNEXTHOP = 104, 105
RTNLGRP_NEXTHOP = 32
"""Joined where the kernel has it (5.3); `GROUPS` are those that every kernel has."""

IFF_UP, IFF_NOARP = 0x01, 0x80
GRE_KEY = 0x2000
GRE_KINDS = frozenset({"gre", "ip6gre"})
"""Netdevs that carry network packets; gretap and erspan carry Ethernet and no NHRP."""
IFLA_AF_SPEC, IFLA_INET_CONF, IPV4_DEVCONF_SEND_REDIRECTS = 26, 1, 6
IFA_F_SECONDARY = 0x01

NHA_ID = 1
NHMSG_SIZE = 8  # struct nhmsg: family, scope, protocol, reserved: u8 each; flags u32

RTA_DST, RTA_OIF, RTA_PRIORITY = 1, 4, 6
RTA_METRICS, RTAX_MTU = 8, 2
RTA_MULTIPATH, RTA_TABLE, RTA_NH_ID = 9, 15, 30
RT_TABLE_MAIN = 254
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_NOWHERE = 0, 253, 255
RTN_UNICAST = 1
RTN_DROPPING = frozenset({6, 7, 8})  # blackhole, unreachable, prohibit
RTNH_F_ONLINK, RTM_F_CLONED = 0x04, 0x200

NEIGHBOR_TABLES = {socket.AF_INET: "arp_cache", socket.AF_INET6: "ndisc_cache"}

# struct ifinfomsg: family u8, pad, type u16, ifindex s32, flags u32, change mask u32
IFINFOMSG = struct.Struct("=BxHiII")
# struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type: u8 each; flags u32
RTMSG = struct.Struct("=8BI")


# --- links ----------------------------------------------------------------------------------------


@reader
def link_index(payload: memoryview) -> int | None:
    """Returns the ifindex of an RTM_DELLINK; None when a bridge reports about its port."""
    if family_in(payload) != socket.AF_UNSPEC:
        return None
    return int(decode(LinkMessage, payload)["index"])


@reader
def read_link(payload: memoryview) -> LinkChanged | None:
    """Reads an RTM_NEWLINK; None for bridge ports and partial messages (wireless events have no
    name).
    """
    if family_in(payload) != socket.AF_UNSPEC:
        return None
    link = decode(LinkMessage, payload)
    name = text(link, "IFLA_IFNAME")
    if name is None:
        return None
    info = attribute_of(link, "IFLA_LINKINFO")
    return LinkChanged(
        ifindex=link["index"],
        name=name,
        up=bool(link["flags"] & IFF_UP),
        mtu=number(link, "IFLA_MTU"),
        noarp=bool(link["flags"] & IFF_NOARP),
        vrf=info is not None and text(info, "IFLA_INFO_SLAVE_KIND") == "vrf",
        gre=_read_gre(info, foreign=attribute_of(link, "IFLA_LINK_NETNSID") is not None),
    )


def _read_gre(info: Decoded | None, *, foreign: bool) -> GreParameters | None:
    kind = text(info, "IFLA_INFO_KIND") if info is not None else None
    if kind not in GRE_KINDS:
        return None
    gre = attribute_of(info, "IFLA_INFO_DATA")
    if gre is None:
        return None
    prefix = f"IFLA_{kind.upper()}_"
    # the raw octets, for pyroute2 reads the flags of an ip6gre as a number in host order
    keyed = int.from_bytes(octets(gre, prefix + "IFLAGS")) & GRE_KEY
    keyed_out = int.from_bytes(octets(gre, prefix + "OFLAGS")) & GRE_KEY
    return GreParameters(
        local=set_address(gre, prefix + "LOCAL"),
        remote=set_address(gre, prefix + "REMOTE"),
        key=number(gre, prefix + "IKEY") if keyed else None,
        output_key=number(gre, prefix + "OKEY") if keyed_out else None,
        ttl=number(gre, prefix + "TTL"),
        ipv6=kind == "ip6gre",
        link=number(gre, prefix + "LINK"),
        foreign=foreign,
        defect=_defect(kind, gre),
    )


def _defect(kind: str, gre: Decoded) -> str | None:
    if attribute_of(gre, "IFLA_GRE_COLLECT_METADATA") is not None:
        return "the tunnel was made with `external`: it does not look at neighbours"
    if kind == "ip6gre":
        # It compares the tunnel's own addresses with the machine's, not the packet's, and drops all
        # (tests/lab/test_sockets.py fails on a kernel that does not).
        return "Linux sends nothing through a multipoint ip6gre: use type gre, over IPv4"
    return None


# --- addresses ------------------------------------------------------------------------------------


@reader
def read_address(payload: memoryview) -> AddressAdded | None:
    """Reads an RTM_NEWADDR or RTM_DELADDR; None for other families, and without an address."""
    if family_in(payload) not in (socket.AF_INET, socket.AF_INET6):
        return None
    found = decode(ifaddrmsg, payload)
    address = octets(found, "IFA_LOCAL") or octets(found, "IFA_ADDRESS")
    if len(address) not in (IPV4_SIZE, IPV6_SIZE):
        return None
    return AddressAdded(
        ifindex=found["index"],
        address=address,
        prefix_length=found["prefixlen"],
        secondary=bool(found["flags"] & IFA_F_SECONDARY),
    )


# --- routes ---------------------------------------------------------------------------------------


class RouteRead(NamedTuple):
    """A route of the main table; `multipath`: it has more next hops than the one shown;
    `nexthop`: the id of the nexthop object that it uses, or 0; `mtu`: its own, or 0.
    """

    route: Route
    multipath: bool
    nexthop: int = 0
    mtu: int = 0


def read_route(payload: memoryview) -> RouteRead | None:
    """Reads a route; None when it is not in the main table, or of a type or service that takes no
    ordinary traffic.
    """
    if len(payload) < RTMSG.size:
        raise MalformedError("a short route message")
    family, length, _src, tos, table, protocol, _scope, kind, flags = RTMSG.unpack_from(payload)
    if family not in (socket.AF_INET, socket.AF_INET6) or tos or flags & RTM_F_CLONED:
        return None
    if table != RT_TABLE_MAIN or (kind != RTN_UNICAST and kind not in RTN_DROPPING):
        return None
    found = attributes(payload, RTMSG.size)
    if _number(found, RTA_TABLE) not in (0, RT_TABLE_MAIN):
        return None
    size = IPV4_SIZE if family == socket.AF_INET else IPV6_SIZE
    destination = bytes(found.get(RTA_DST, bytes(size)))
    if len(destination) != size or length > size * 8:
        raise MalformedError("a route of another family than it says")
    prefix = Prefix(cut(destination, length), length)
    metric = _number(found, RTA_PRIORITY)
    if kind in RTN_DROPPING:
        return RouteRead(
            Route(prefix=prefix, ifindex=0, metric=metric, protocol=protocol), multipath=False
        )
    hops = list(next_hops(found[RTA_MULTIPATH])) if RTA_MULTIPATH in found else []
    ifindex, gateway = hops[0] if hops else (_number(found, RTA_OIF), gateway_of(found))
    others = tuple(hops[1:])
    route = Route(
        prefix=prefix,
        ifindex=ifindex,
        gateway=gateway,
        metric=metric,
        protocol=protocol,
        others=others,
    )
    metrics = attributes(found[RTA_METRICS], 0) if RTA_METRICS in found else {}
    return RouteRead(
        route,
        multipath=bool(others),
        nexthop=_number(found, RTA_NH_ID),
        mtu=_number(metrics, RTAX_MTU),
    )


def _number(found: Mapping[int, memoryview], kind: int) -> int:
    value = found.get(kind)
    if value is None:
        return 0
    if len(value) != U32.size:
        raise MalformedError(f"a number of {len(value)} octets")
    return int(U32.unpack(value)[0])


def nexthop_id(payload: memoryview) -> int:
    """Returns the id of an RTM_NEWNEXTHOP or RTM_DELNEXTHOP; 0 without one."""
    return _number(attributes(payload, NHMSG_SIZE), NHA_ID)


def read_own_route(protocol: int, payload: memoryview) -> RouteRead | None:
    """Reads a route; None unless it has this protocol number."""
    read = read_route(payload)
    return read if read is not None and read.route.protocol == protocol else None


@functools.cache
def _route_layout(address_size: int, gateway_size: int, *, metrics: bool = False) -> struct.Struct:
    # nlmsghdr, rtmsg, RTA_DST, RTA_OIF, RTA_PRIORITY, RTA_GATEWAY, RTA_METRICS with RTAX_MTU
    gateway = f"HH{gateway_size}s" if gateway_size else ""
    return struct.Struct(f"=IHHII8BIHH{address_size}sHHIHHI{gateway}{'HHHHI' if metrics else ''}")


def set_route(
    prefix: Prefix, ifindex: int, gateway: Address, metric: int, protocol: int, mtu: int = 0
) -> bytes:
    """Returns a request for `prefix dev IFINDEX`, with a gateway (of the same family) `via GATEWAY
    dev IFINDEX onlink`, with an MTU `mtu MTU`, which path MTU discovery may lower."""
    address, length = prefix
    layout = _route_layout(len(address), len(gateway), metrics=bool(mtu))
    scope, flags = (RT_SCOPE_UNIVERSE, RTNH_F_ONLINK) if gateway else (RT_SCOPE_LINK, 0)
    return layout.pack(
        *(layout.size, RTM_NEWROUTE, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE, 0, 0),
        *(family_of(address), length, 0, 0, RT_TABLE_MAIN, protocol, scope, RTN_UNICAST, flags),
        *(len(address) + 4, RTA_DST, address, 8, RTA_OIF, ifindex, 8, RTA_PRIORITY, metric),
        *((len(gateway) + 4, RTA_GATEWAY, gateway) if gateway else ()),
        *((12, RTA_METRICS, 8, RTAX_MTU, mtu) if mtu else ()),
    )


def drop_route(prefix: Prefix, ifindex: int, metric: int, protocol: int) -> bytes:
    """Returns a request that deletes the route of our protocol, with any gateway, and no other."""
    address, length = prefix
    layout = _route_layout(len(address), 0)
    return layout.pack(
        *(layout.size, RTM_DELROUTE, NLM_F_REQUEST, 0, 0),
        *(
            family_of(address),
            length,
            0,
            0,
            RT_TABLE_MAIN,
            protocol,
            RT_SCOPE_NOWHERE,
            RTN_UNICAST,
            0,
        ),
        *(len(address) + 4, RTA_DST, address, 8, RTA_OIF, ifindex, 8, RTA_PRIORITY, metric),
    )


def name_refusal(kind: int, payload: bytes, error: int) -> tuple[int, str] | None:
    """Returns the ifindex and, for people, the object of a refused change; None where a delete
    found nothing to delete."""
    if kind in (RTM_DELNEIGH, RTM_DELROUTE) and error in GONE_ERRORS:
        return None
    view = memoryview(payload)
    with suppress(MalformedError):  # a malformed request has no name
        if kind in (RTM_NEWNEIGH, RTM_DELNEIGH):
            entry = read_neighbor(view)
            if entry is not None:
                return entry.ifindex, f"neighbour {format_address(entry.address)}"
        elif kind in (RTM_NEWROUTE, RTM_DELROUTE):
            read = read_route(view)
            if read is not None:
                return read.route.ifindex, f"route {read.route.prefix}"
    return 0, f"request {kind}"


# --- dumps and the preparation of a tunnel --------------------------------------------------------


DUMP_LINKS = payload_of(LinkMessage, {})
DUMP_ADDRESSES = payload_of(ifaddrmsg, {})
DUMP_ROUTES = RTMSG.pack(socket.AF_UNSPEC, *(0,) * 8)


def clear_noarp(ifindex: int) -> bytes:
    """Returns the payload of an RTM_SETLINK that changes only NOARP and no attribute of the
    tunnel."""
    return payload_of(LinkMessage, {"index": ifindex, "change": IFF_NOARP})


def set_noarp(ifindex: int) -> bytes:
    """Returns the payload of an RTM_SETLINK that sets NOARP, as tunnels have it from the start."""
    return payload_of(LinkMessage, {"index": ifindex, "flags": IFF_NOARP, "change": IFF_NOARP})


def stop_redirects(ifindex: int) -> bytes:
    """Returns the payload of an RTM_SETLINK after which the kernel sends no ICMP redirects on
    account of this link."""
    return send_redirects(ifindex, 0)


def send_redirects(ifindex: int, value: int) -> bytes:
    """Returns the payload of an RTM_SETLINK that sets a link's `send_redirects`.

    By `struct`: pyroute2 knows the settings as the array that the kernel sends, not as the nested
    attributes that the kernel accepts. Settings without an attribute do not change.
    """
    setting = nested(IFLA_INET_CONF, attribute(IPV4_DEVCONF_SEND_REDIRECTS, U32.pack(value)))
    head = IFINFOMSG.pack(socket.AF_UNSPEC, 0, ifindex, 0, 0)
    return head + nested(IFLA_AF_SPEC, nested(socket.AF_INET, setting))


def solicit_to_us(family: int, ifindex: int) -> bytes:
    """Returns the payload of an RTM_SETNEIGHTBL after which the kernel solicits unknown
    neighbours of the link from us, and not on the link."""
    return probes(family, ifindex, 1, 0, 0)


def probes(family: int, ifindex: int, to_us: int, unicast: int, multicast: int) -> bytes:
    """Returns the payload of an RTM_SETNEIGHTBL that sets how often the kernel solicits a neighbour
    of a link: from programs (`app_solicit`), of the neighbour, of all."""
    parameters = [
        ("NDTPA_IFINDEX", ifindex),
        ("NDTPA_APP_PROBES", to_us),
        ("NDTPA_UCAST_PROBES", unicast),
        ("NDTPA_MCAST_PROBES", multicast),
    ]
    return payload_of(
        ndtmsg,
        {"family": family},
        ("NDTA_NAME", NEIGHBOR_TABLES[socket.AddressFamily(family)]),
        ("NDTA_PARMS", {"attrs": parameters}, NLA_F_NESTED),
    )
