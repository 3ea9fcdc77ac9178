"""Links, addresses and routes (linux/rtnetlink.h, if_link.h, if_tunnel.h): kernel messages to
events, and requests.

All is read with `struct` over the attribute walker of `netlink.socket`. pyroute2's message classes
were measured for this and left out: importing them costs 24 MB of resident memory, more than ten
thousand bindings do, and the attributes that matter are a dozen. Attributes that are unknown are
skipped, missing ones have a neutral value.
"""

import socket
import struct
from contextlib import suppress
from functools import cache
from typing import NamedTuple

from nhrpd_py.core.address import IPV4_SIZE, IPV6_SIZE, Address, Prefix, cut, format_address
from nhrpd_py.core.events import AddressAdded, GreParameters, LinkChanged, Route
from nhrpd_py.runtime.netlink.neighbor import (
    GONE_ERRORS,
    RTM_DELNEIGH,
    RTM_NEWNEIGH,
    family_of,
    read_neighbor,
)
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

# struct ifinfomsg: family u8, pad, type u16, ifindex s32, flags u32, change mask u32
IFINFOMSG = struct.Struct("=BxHiII")
# struct ifaddrmsg: family u8, prefix length u8, flags u8, scope u8, ifindex u32
IFADDRMSG = struct.Struct("=BBBBI")
# struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type: u8 each; flags u32
RTMSG = struct.Struct("=8BI")
# struct rtnexthop: length u16, flags u8, hops u8, ifindex s32
RTNEXTHOP = struct.Struct("=HBBi")
# struct ndtmsg: family u8, 3 pad
NDTMSG = struct.Struct("=Bxxx")
U16 = struct.Struct("=H")
BE16 = struct.Struct(">H")
BE32 = struct.Struct(">I")

IFF_UP, IFF_NOARP = 0x01, 0x80
IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_AF_SPEC = 3, 4, 18, 26
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
IFLA_GRE_LINK, IFLA_GRE_IFLAGS, IFLA_GRE_IKEY = 1, 2, 4
IFLA_GRE_LOCAL, IFLA_GRE_REMOTE, IFLA_GRE_TTL = 6, 7, 8
GRE_KEY = 0x2000
GRE_KINDS = frozenset({"gre", "ip6gre"})
"""Netdevs that carry network packets; gretap and erspan carry Ethernet and no NHRP."""
IFLA_INET_CONF, IPV4_DEVCONF_SEND_REDIRECTS = 1, 6
IFA_ADDRESS, IFA_LOCAL, IFA_F_SECONDARY = 1, 2, 0x01

RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY = 1, 4, 5, 6
RTA_MULTIPATH, RTA_TABLE, RTA_VIA = 9, 15, 18
RT_TABLE_MAIN = 254
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_NOWHERE = 0, 253, 255
RTN_UNICAST = 1
RTN_DROPPING = frozenset({6, 7, 8})  # blackhole, unreachable, prohibit
RTNH_F_ONLINK, RTM_F_CLONED = 0x04, 0x200

NDTA_NAME, NDTA_PARMS = 1, 6
NDTPA_IFINDEX, NDTPA_APP_PROBES, NDTPA_UCAST_PROBES, NDTPA_MCAST_PROBES = 1, 9, 10, 11
NEIGHBOR_TABLES: dict[int, bytes] = {
    socket.AF_INET: b"arp_cache\0",
    socket.AF_INET6: b"ndisc_cache\0",
}


def _fixed(layout: struct.Struct, payload: memoryview) -> tuple[int, ...]:
    if len(payload) < layout.size:
        raise MalformedError(f"{len(payload)} octets where {layout.size} must be")
    return layout.unpack_from(payload)


def _number(found: dict[int, memoryview], kind: int, layout: struct.Struct = U32) -> int:
    value = found.get(kind)
    if value is None or len(value) < layout.size:
        return 0
    return int(layout.unpack_from(value)[0])


def _text(value: memoryview | None) -> str:
    return bytes(value).rstrip(b"\0").decode(errors="replace") if value is not None else ""


def _set_address(value: memoryview | None) -> Address:
    """An address, or none for an absent or unspecified one."""
    return bytes(value) if value is not None and any(value) else b""


# --- links ----------------------------------------------------------------------------------------
# -----------------


def link_index(payload: memoryview) -> int | None:
    """The ifindex of an RTM_DELLINK; None when it is a bridge that tells about its port."""
    family, _type, ifindex, _flags, _change = _fixed(IFINFOMSG, payload)
    return ifindex if family == socket.AF_UNSPEC else None


def read_link(payload: memoryview) -> LinkChanged | None:
    """Reads an RTM_NEWLINK; None for bridge ports and partial messages (wireless events have no
    name).
    """
    family, _type, ifindex, flags, _change = _fixed(IFINFOMSG, payload)
    found = attributes(payload, IFINFOMSG.size)
    if family != socket.AF_UNSPEC or IFLA_IFNAME not in found:
        return None
    return LinkChanged(
        ifindex=ifindex,
        name=_text(found[IFLA_IFNAME]),
        up=bool(flags & IFF_UP),
        mtu=_number(found, IFLA_MTU),
        noarp=bool(flags & IFF_NOARP),
        gre=_read_gre(found.get(IFLA_LINKINFO)),
    )


def _read_gre(linkinfo: memoryview | None) -> GreParameters | None:
    if linkinfo is None:
        return None
    info = attributes(linkinfo)
    if _text(info.get(IFLA_INFO_KIND)) not in GRE_KINDS or IFLA_INFO_DATA not in info:
        return None
    gre = attributes(info[IFLA_INFO_DATA])
    keyed = _number(gre, IFLA_GRE_IFLAGS, BE16) & GRE_KEY
    ttl = gre.get(IFLA_GRE_TTL)
    return GreParameters(
        local=_set_address(gre.get(IFLA_GRE_LOCAL)),
        remote=_set_address(gre.get(IFLA_GRE_REMOTE)),
        key=_number(gre, IFLA_GRE_IKEY, BE32) if keyed else None,
        ttl=ttl[0] if ttl else 0,
        link=_number(gre, IFLA_GRE_LINK),
    )


# --- addresses ------------------------------------------------------------------------------------
# -----------------


def read_address(payload: memoryview) -> AddressAdded | None:
    family, length, flags, _scope, ifindex = _fixed(IFADDRMSG, payload)
    if family not in (socket.AF_INET, socket.AF_INET6):
        return None
    found = attributes(payload, IFADDRMSG.size)
    address = found.get(IFA_LOCAL, found.get(IFA_ADDRESS))
    if address is None or len(address) not in (IPV4_SIZE, IPV6_SIZE):
        return None
    return AddressAdded(
        ifindex=ifindex,
        address=bytes(address),
        prefix_length=length,
        secondary=bool(flags & IFA_F_SECONDARY),
    )


# --- routes ---------------------------------------------------------------------------------------
# -----------------


class RouteRead(NamedTuple):
    """A route of the main table; `multipath` tells that it has more next hops than the one
    shown.
    """

    route: Route
    multipath: bool


def read_route(payload: memoryview) -> RouteRead | None:
    """Reads a route; None when it is not in the main table, or of a type or service that takes no
    ordinary traffic.
    """
    family, length, _src, tos, table, protocol, _scope, kind, flags = _fixed(RTMSG, payload)
    if family not in (socket.AF_INET, socket.AF_INET6) or tos or flags & RTM_F_CLONED:
        return None
    if kind != RTN_UNICAST and kind not in RTN_DROPPING:
        return None
    found = attributes(payload, RTMSG.size)
    if (_number(found, RTA_TABLE) or table) != RT_TABLE_MAIN:
        return None
    size = IPV4_SIZE if family == socket.AF_INET else IPV6_SIZE
    destination = bytes(found.get(RTA_DST, b"")) or bytes(size)
    if len(destination) != size or length > size * 8:
        raise MalformedError("a route of another family than it says")
    metric = _number(found, RTA_PRIORITY)
    prefix = Prefix(cut(destination, length), length)
    if kind in RTN_DROPPING:
        return RouteRead(
            Route(prefix=prefix, ifindex=0, metric=metric, protocol=protocol), multipath=False
        )
    ifindex, hop, multipath = _number(found, RTA_OIF), found, False
    paths = found.get(RTA_MULTIPATH)
    if paths is not None and len(paths) >= RTNEXTHOP.size:
        size_of_hop, _flags, _hops, ifindex = RTNEXTHOP.unpack_from(paths)
        hop = attributes(paths[:size_of_hop], RTNEXTHOP.size)
        multipath = len(paths) > size_of_hop
    route = Route(
        prefix=prefix, ifindex=ifindex, gateway=_gateway(hop), metric=metric, protocol=protocol
    )
    return RouteRead(route, multipath)


def read_own_route(protocol: int, payload: memoryview) -> Route | None:
    """A route of one protocol number only."""
    read = read_route(payload)
    return read.route if read is not None and read.route.protocol == protocol else None


def _gateway(hop: dict[int, memoryview]) -> Address:
    if RTA_GATEWAY in hop:
        return bytes(hop[RTA_GATEWAY])
    via = hop.get(
        RTA_VIA
    )  # struct rtvia: family u16, address: an IPv4 route by way of an IPv6 neighbour
    return bytes(via[U16.size :]) if via is not None else b""


@cache
def _route_layout(address_size: int, gateway_size: int) -> struct.Struct:
    # nlmsghdr, rtmsg, RTA_DST, RTA_OIF, RTA_PRIORITY, RTA_GATEWAY
    gateway = f"HH{gateway_size}s" if gateway_size else ""
    return struct.Struct(f"=IHHII8BIHH{address_size}sHHIHHI{gateway}")


def set_route(prefix: Prefix, ifindex: int, gateway: Address, metric: int, protocol: int) -> bytes:
    """A request for `prefix dev IFINDEX`, with a gateway (of the same family) `via GATEWAY dev
    IFINDEX onlink`.
    """
    address, length = prefix
    layout = _route_layout(len(address), len(gateway))
    scope, flags = (RT_SCOPE_UNIVERSE, RTNH_F_ONLINK) if gateway else (RT_SCOPE_LINK, 0)
    return layout.pack(
        *(layout.size, RTM_NEWROUTE, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE, 0, 0),
        *(family_of(address), length, 0, 0, RT_TABLE_MAIN, protocol, scope, RTN_UNICAST, flags),
        *(len(address) + 4, RTA_DST, address, 8, RTA_OIF, ifindex, 8, RTA_PRIORITY, metric),
        *((len(gateway) + 4, RTA_GATEWAY, gateway) if gateway else ()),
    )


def drop_route(prefix: Prefix, ifindex: int, metric: int, protocol: int) -> bytes:
    """A request that deletes the route of our protocol, by whatever gateway, and no other."""
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
    """The ifindex and, for people, the object of a refused change.

    None where a delete found nothing to delete.
    """
    if kind in (RTM_DELNEIGH, RTM_DELROUTE) and error in GONE_ERRORS:
        return None
    view = memoryview(payload)
    with suppress(MalformedError):  # then it is no wonder that it was refused
        if kind in (RTM_NEWNEIGH, RTM_DELNEIGH):
            entry = read_neighbor(view)
            if entry is not None:
                return entry.ifindex, f"neighbour {format_address(entry.address)}"
        elif kind in (RTM_NEWROUTE, RTM_DELROUTE):
            read = read_route(view)
            if read is not None:
                return read.route.ifindex, f"route {read.route.prefix}"
    return 0, f"request {kind}"


# --- dumps and the preparation of a tunnel
# -------------------------------------------------------------------------

DUMP_LINKS = IFINFOMSG.pack(0, 0, 0, 0, 0)
DUMP_ADDRESSES = IFADDRMSG.pack(0, 0, 0, 0, 0)
DUMP_ROUTES = RTMSG.pack(*(0,) * 9)


def clear_noarp(ifindex: int) -> bytes:
    """Payload of an RTM_SETLINK that touches this one flag, no attribute of the tunnel."""
    return IFINFOMSG.pack(socket.AF_UNSPEC, 0, ifindex, 0, IFF_NOARP)


def stop_redirects(ifindex: int) -> bytes:
    """Payload of an RTM_SETLINK that has the kernel send no ICMP redirects on account of this
    link.
    """
    setting = nested(IFLA_INET_CONF, attribute(IPV4_DEVCONF_SEND_REDIRECTS, U32.pack(0)))
    head = IFINFOMSG.pack(socket.AF_UNSPEC, 0, ifindex, 0, 0)
    return head + nested(IFLA_AF_SPEC, nested(socket.AF_INET, setting))


def solicit_to_us(family: int, ifindex: int) -> bytes:
    """Payload of an RTM_SETNEIGHTBL: unknown neighbours of the link are asked of us, and of nobody
    on the link.
    """
    return NDTMSG.pack(family) + b"".join(
        (
            attribute(NDTA_NAME, NEIGHBOR_TABLES[family]),
            nested(
                NDTA_PARMS,
                attribute(NDTPA_IFINDEX, U32.pack(ifindex)),
                attribute(NDTPA_APP_PROBES, U32.pack(1)),
                attribute(NDTPA_UCAST_PROBES, U32.pack(0)),
                attribute(NDTPA_MCAST_PROBES, U32.pack(0)),
            ),
        )
    )
