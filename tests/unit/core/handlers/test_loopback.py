"""Addresses that name no single station: loopback addresses, which every machine has, and groups."""

import pytest

from nhrpd_py.core.address import Address
from nhrpd_py.core.events import RouteAdded
from nhrpd_py.packet.extension import of_entries
from nhrpd_py.packet.iana import CieCode, ExtensionType, PacketType
from tests.support.engine import Node, a_hub, drops, kinds, sent, the, the_packet
from tests.support.messages import a_record, a_resolution_request
from tests.support.sites import GRE, HUB, Site, a_link, a_route, a_site, an_address, host, ip, nbma

LO = 1
ROUTER_ID = ip("10.9.9.1")
"""An address for routing protocols, on lo as is the custom."""
NOBODY = [ip(each) for each in ("127.0.0.1", "127.5.5.5", "224.0.0.5", "255.255.255.255")]
NOBODY_6 = [ip(each) for each in ("::1", "ff02::5")]


def a_hub_with_lo() -> Node:
    """Returns the hub with both families; the default routes lead into the cloud, to client 2."""
    hub = a_hub(2, 3, shortcut=True)
    hub.give(
        a_link(LO, "lo"),
        an_address(LO, ip("127.0.0.1"), 8),
        an_address(LO, ip("::1"), 128),
        an_address(LO, ROUTER_ID, 32),
        an_address(GRE, a_site(1, ipv6_overlay=True).tunnel, 128),
        RouteAdded(a_route("0.0.0.0/0", GRE, a_site(2).tunnel)),
        RouteAdded(a_route("::/0", GRE, a_site(2, ipv6_overlay=True).tunnel)),
    )
    return hub


def a_requester(target: Address) -> Site:
    return a_site(3, ipv6_overlay=len(target) == 16)


@pytest.mark.parametrize("target", NOBODY + NOBODY_6)
def test_address_that_names_no_station_has_no_binding(target) -> None:
    """127.0.0.1 was answered as if it were the hub; with a default route the others went round the cloud."""
    request = a_resolution_request(a_requester(target), target)
    to, reply = the_packet(a_hub_with_lo().receive(request, nbma(3)))
    assert (to, reply.type) == (nbma(3), PacketType.RESOLUTION_REPLY)
    assert the(reply.entries).code == CieCode.NO_BINDING


def test_other_addresses_of_lo_are_ours() -> None:
    reply = the_packet(a_hub_with_lo().receive(a_resolution_request(3, ROUTER_ID), nbma(3)))[1]
    entry = the(reply.entries)
    assert (entry.code, entry.prefix_length, entry.nbma) == (CieCode.SUCCESS, 32, HUB.nbma)


def test_transit_record_with_a_loopback_address_is_no_loop() -> None:
    record = a_record(1)
    record = type(record)(nbma=record.nbma, protocol=ip("127.0.0.1"))
    extensions = (of_entries(ExtensionType.FORWARD_TRANSIT_NHS, (record,)),)
    request = a_resolution_request(3, host(2), extensions=extensions)
    effects = a_hub_with_lo().receive(request, nbma(3))
    assert drops(effects) == []
    assert kinds(effects) == [(nbma(2), PacketType.RESOLUTION_REQUEST)]


@pytest.mark.parametrize("group", [ip("224.0.0.5"), ip("239.1.2.3")])
def test_nobody_is_told_of_a_better_path_to_a_group(group) -> None:
    assert sent(a_hub_with_lo().see(host(3), group)) == []
