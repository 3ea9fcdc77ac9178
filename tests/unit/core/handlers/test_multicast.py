"""Multicast that leaves by a tunnel: who gets a copy, and what is not replicated."""

from dataclasses import replace
from typing import Any

import pytest

from nhrpd_py.core.config import Config
from nhrpd_py.core.effects import DropSa, Effect, SendMulticast, WantSa
from nhrpd_py.core.events import ConfigChanged, MulticastSeen, ShutdownRequested
from nhrpd_py.core.queries import View
from nhrpd_py.packet.iana import PacketType
from tests.support.engine import Node, a_hub, a_node, a_spoke, drops, of, sent, the
from tests.support.ipsec import IPSEC, a_protected_hub, a_protected_spoke, gone, installed
from tests.support.messages import (
    a_data_packet,
    a_purge_request,
    a_registration_reply,
    a_registration_request,
)
from tests.support.sites import (
    GRE,
    HUB,
    LAN,
    a_map,
    a_site,
    a_tunnel_link,
    an_address,
    an_interface,
    an_nhs,
    host,
    ip,
    nbma,
    tunnel,
)

OSPF, OSPF_6 = ip("224.0.0.5"), ip("ff02::5")
HELLO = a_data_packet(HUB.tunnel, OSPF)
HELLO_6 = a_data_packet(ip("fe80::1"), OSPF_6)


def seen(
    node: Node,
    data: bytes = HELLO,
    *,
    now: float = 1.0,
    entered: int = 0,
    leaves: int = GRE,
    nbma_source: bytes = b"",
) -> list[Effect]:
    return node.give(MulticastSeen(entered, leaves, nbma_source, data), now=now)


def targets(effects: list[Effect]) -> list[bytes]:
    """Returns who gets a copy, in order; the effect says whom it leaves out."""
    copies = of(effects, SendMulticast)
    if not copies:
        return []
    (copy,) = copies
    assert len(set(copy.targets)) == len(copy.targets)
    return sorted(each for each in copy.targets if each != copy.apart_from)


def dropped(node: Node) -> dict[str, int]:
    rows: list[Any] = node.rows(View.TRAFFIC)
    return {row.type: row.packets for row in rows if row.direction == "dropped"}


def test_a_hub_sends_a_copy_to_each_client() -> None:
    hub = a_hub(2, 3, multicast=("dynamic",))
    copy = the(of(seen(hub), SendMulticast))
    assert (copy.interface, copy.ifindex, copy.protocol_type) == ("gre1", GRE, 0x0800)
    assert (copy.targets, copy.apart_from, copy.data) == ((nbma(2), nbma(3)), b"", HELLO)
    row: Any = the(hub.rows(View.INTERFACES))
    assert (row.multicast, row.multicast_targets) == (("dynamic",), 2)
    assert (row.multicast_packets, row.multicast_copies) == (1, 2)


def test_ipv6_goes_to_whoever_is_reached_by_the_tunnel() -> None:
    """A routing protocol for IPv6 works between link-local addresses, which nobody registers."""
    copy = the(of(seen(a_hub(2, multicast=("dynamic",)), HELLO_6), SendMulticast))
    assert (copy.protocol_type, copy.targets, copy.data) == (0x86DD, (nbma(2),), HELLO_6)


def test_targets_are_the_same_object_until_they_change() -> None:
    """The sender keeps what it makes of them."""
    hub = a_hub(2, 3, multicast=("dynamic",))
    first, second = (the(of(seen(hub), SendMulticast)) for _ in range(2))
    hub.receive(a_registration_request(2), nbma(2), now=1.0)  # renewed: nothing is another one
    third = the(of(seen(hub), SendMulticast))
    assert first.targets is second.targets is third.targets
    hub.receive(a_registration_request(4), nbma(4), now=1.0)
    assert targets(seen(hub)) == [nbma(2), nbma(3), nbma(4)]


def test_clients_that_come_move_and_go_are_followed() -> None:
    hub = a_hub(2, 3, multicast=("dynamic",))
    assert targets(seen(hub)) == [nbma(2), nbma(3)]
    hub.receive(a_registration_request(replace(a_site(2), nbma=nbma(22))), nbma(22), now=2.0)
    assert targets(seen(hub, now=2.0)) == [nbma(3), nbma(22)]
    hub.receive(a_purge_request(3, "10.255.255.3", HUB.tunnel), nbma(3), now=2.0)
    assert targets(seen(hub, now=2.0)) == [nbma(22)]
    hub.advance(70.0)  # the holding time is over
    assert targets(seen(hub, now=70.0)) == []
    assert dropped(hub) == {"multicast-no-target": 1}


def test_two_bindings_at_one_nbma_address_get_one_copy() -> None:
    hub = a_hub(2, multicast=("dynamic", nbma(2)))
    hub.receive(a_registration_request(replace(a_site(9), nbma=nbma(2))), nbma(2))
    assert len([row for row in hub.cache().values() if row[1] == "192.168.100.2"]) == 2
    assert targets(seen(hub)) == [nbma(2)]


def test_servers_get_copies_while_they_are_up() -> None:
    spoke = a_spoke(2, multicast=("nhs",), registered=False)
    assert targets(seen(spoke, now=0.0)) == []
    request = the(sent(spoke.started, PacketType.REGISTRATION_REQUEST))
    spoke.receive(a_registration_reply(request), HUB.nbma)
    assert targets(seen(spoke, now=0.0)) == [HUB.nbma]
    while (at := spoke.engine.next_deadline()) is not None and at < 120.0:
        spoke.advance(at)  # the hub does not answer any more
    assert targets(seen(spoke, now=120.0)) == []


def test_neither_maps_nor_what_was_resolved_are_targets_by_themselves() -> None:
    hub = a_hub(2, multicast=("dynamic", "nhs"), maps=(a_map(tunnel(9), nbma(9)),))
    assert targets(seen(hub)) == [nbma(2)]


def test_our_own_outer_address_gets_no_copy() -> None:
    hub = a_hub(2, multicast=("dynamic", HUB.nbma))
    assert targets(seen(hub)) == [nbma(2)]


def test_it_never_goes_back_to_the_peer_that_it_came_from() -> None:
    hub = a_hub(2, 3, multicast=("dynamic",))
    data = a_data_packet(host(2), ip("239.1.2.3"))
    effects = seen(hub, data, entered=GRE, nbma_source=nbma(2))
    assert targets(effects) == [nbma(3)]
    row: Any = the(hub.rows(View.INTERFACES))
    assert row.multicast_copies == 1


def test_where_the_kernel_does_not_tell_the_outer_source_the_inner_one_does() -> None:
    hub = a_hub(2, 3, multicast=("dynamic",))
    for source in (host(2), tunnel(2)):
        data = a_data_packet(source, ip("239.1.2.3"))
        assert targets(seen(hub, data, entered=GRE)) == [nbma(3)]
    stranger = a_data_packet(ip("203.0.113.1"), ip("239.1.2.3"))
    assert targets(seen(hub, stranger, entered=GRE)) == [nbma(2), nbma(3)]


def test_what_came_from_the_only_target_goes_nowhere() -> None:
    hub = a_hub(2, multicast=("dynamic",))
    data = a_data_packet(host(2), ip("239.1.2.3"))
    assert seen(hub, data, entered=GRE, nbma_source=nbma(2)) == []
    assert dropped(hub) == {"multicast-no-target": 1}


def test_what_came_from_elsewhere_goes_to_all() -> None:
    hub = a_hub(2, 3, multicast=("dynamic",))
    data = a_data_packet(host(1), ip("239.1.2.3"))
    assert targets(seen(hub, data, entered=LAN)) == [nbma(2), nbma(3)]


@pytest.mark.parametrize(("network_id", "expected"), [(1, [nbma(3)]), (2, [nbma(2), nbma(3)])])
def test_between_tunnels_of_one_cloud_the_peer_is_the_same(network_id, expected) -> None:
    other = an_interface("gre2", network_id=network_id)
    hub = a_node(1, an_interface(multicast=("dynamic",)), other)
    hub.give(a_tunnel_link(GRE + 1, "gre2"), an_address(GRE + 1, ip("10.254.0.1"), 32))
    for number in (2, 3):
        hub.receive(a_registration_request(number), nbma(number))
    data = a_data_packet(host(2), ip("239.1.2.3"))
    assert targets(seen(hub, data, entered=GRE + 1, nbma_source=nbma(2))) == expected


# Circuits.


def test_only_peers_with_an_sa_get_copies() -> None:
    hub = a_protected_hub(2, 3, multicast=("dynamic", nbma(9)))
    assert targets(seen(hub)) == [nbma(2), nbma(3)]
    hub.give(gone(2, local=1), now=1.0)
    assert targets(seen(hub)) == [nbma(3)]
    hub.give(installed(9, local=1), now=1.0)
    assert targets(seen(hub)) == [nbma(3), nbma(9)]


def test_an_sa_is_made_with_a_target_that_is_an_address() -> None:
    spoke = a_protected_spoke(multicast=(nbma(9),))
    assert [each.remote for each in of(spoke.started, WantSa)] == [nbma(9), HUB.nbma]
    config = Config(interfaces={"gre1": an_interface(ipsec=IPSEC, nhs=(an_nhs(),), shortcut=True)})
    effects = spoke.give(ConfigChanged(config), now=1.0)
    assert [each.remote for each in of(effects, DropSa)] == [nbma(9)]


def test_no_sa_is_wanted_after_the_end() -> None:
    hub = a_protected_hub(multicast=(nbma(9),))
    assert [each.remote for each in of(hub.give(ShutdownRequested()), DropSa)] == [nbma(9)]


def test_the_targets_are_another_ones_after_a_reload() -> None:
    hub = a_hub(2, multicast=("dynamic",))
    for multicast, expected in (
        ((nbma(9),), [nbma(9)]),
        (("dynamic", nbma(9)), [nbma(2), nbma(9)]),
    ):
        config = Config(interfaces={"gre1": an_interface(redirect=True, multicast=multicast)})
        hub.give(ConfigChanged(config), now=1.0)
        assert targets(seen(hub)) == expected


# What is not replicated.


def test_a_packet_beyond_the_pace_is_dropped_and_counted() -> None:
    hub = a_hub(2, multicast=("dynamic",), multicast_rate=3)
    assert sum(bool(targets(seen(hub, now=1.0))) for _ in range(5)) == 3
    assert dropped(hub) == {"multicast-pace": 2}
    assert targets(seen(hub, now=2.0)) == [nbma(2)]
    row: Any = the(hub.rows(View.INTERFACES))
    assert (row.multicast_packets, row.multicast_copies) == (6, 4)


def test_a_stream_leaves_routing_protocols_their_pace() -> None:
    hub = a_hub(2, multicast=("dynamic",), multicast_rate=3)
    stream = a_data_packet(host(1), ip("239.1.2.3"))
    assert sum(bool(targets(seen(hub, stream, entered=LAN))) for _ in range(10)) == 3
    assert targets(seen(hub)) == [nbma(2)]


def test_the_pace_is_that_of_the_configuration_in_force() -> None:
    hub = a_hub(2, multicast=("dynamic",), multicast_rate=1)
    assert [bool(targets(seen(hub))) for _ in range(2)] == [True, False]
    faster = an_interface(redirect=True, multicast=("dynamic",), multicast_rate=2)
    hub.give(ConfigChanged(Config(interfaces={"gre1": faster})), now=1.0)
    assert [bool(targets(seen(hub))) for _ in range(3)] == [True, True, False]


def test_a_packet_longer_than_the_tunnel_s_mtu_is_dropped_and_counted() -> None:
    hub = a_hub(2, multicast=("dynamic",))
    fitting = HELLO[:2] + (1472).to_bytes(2) + HELLO[4:] + bytes(1472 - len(HELLO))
    assert targets(seen(hub, fitting)) == [nbma(2)]
    too_long = HELLO[:2] + (1473).to_bytes(2) + fitting[4:] + b"\0"
    assert drops(seen(hub, too_long)) == ["multicast-too-long"]
    assert dropped(hub) == {"multicast-too-long": 1}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (HELLO[:40], "multicast-cut"),
        (a_data_packet(host(1), host(2)), "multicast-no-group"),
        (b"\x45", "inner-packet"),
    ],
)
def test_what_cannot_be_replicated_is_counted(data, reason) -> None:
    hub = a_hub(2, multicast=("dynamic",))
    assert drops(seen(hub, data)) == [reason]
    assert drops(seen(hub, data)) == []  # told once a minute, counted always
    assert dropped(hub) == {reason: 2}


def test_multicast_for_a_tunnel_without_targets_is_told_and_counted() -> None:
    hub = a_hub(2)
    assert drops(seen(hub)) == ["multicast-not-enabled"]
    assert seen(hub, leaves=LAN) == []
    assert dropped(hub) == {"multicast-not-enabled": 1, "unknown-interface": 1}


def test_a_thousand_targets_get_one_copy_each() -> None:
    hub = a_hub(multicast=("dynamic",))
    addresses = [bytes([192, 168, 101 + number // 250, number % 250]) for number in range(1000)]
    for number, address in enumerate(addresses):
        claimed = bytes([10, 255, number // 250, number % 250 + 1])
        site = replace(a_site(2), tunnel=claimed, nbma=address)
        hub.receive(a_registration_request(site), address)
    assert targets(seen(hub)) == sorted(addresses)
