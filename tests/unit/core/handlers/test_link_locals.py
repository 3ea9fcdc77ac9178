"""Link-local addresses, by which routing protocols for IPv6 speak: the kernel asks, and nobody registered them."""

from dataclasses import replace

import pytest

from nhrpd_py.core.effects import DropNeighbor, Effect, SetNeighbor
from nhrpd_py.core.events import BindingFound, NeighborSolicited, ShutdownRequested
from tests.support.engine import a_hub, a_spoke, of
from tests.support.ipsec import a_protected_hub, gone, installed
from tests.support.messages import a_purge_request, a_registration_request
from tests.support.sites import (
    GRE,
    HUB,
    LAN,
    a_map,
    a_site,
    a_tunnel_link,
    an_address,
    ip,
    nbma,
    tunnel,
)

OF_2 = ip("fe80::5efe:192.168.100.2")
OF_HUB = ip("fe80::5efe:192.168.100.1")


def solicited(address: bytes, ifindex: int = GRE) -> NeighborSolicited:
    return NeighborSolicited(ifindex, address, b"")


def entries(effects: list[Effect]) -> list[tuple[bytes, bytes]]:
    return [(each.address, each.nbma) for each in of(effects, SetNeighbor)]


@pytest.mark.parametrize("text", ["fe80::5efe:192.168.100.2", "fe80::200:5efe:192.168.100.2"])
def test_the_address_that_the_kernel_makes_of_the_outer_one_leads_there(text: str) -> None:
    hub = a_hub(2, 3)
    assert entries(hub.give(solicited(ip(text)))) == [(ip(text), nbma(2))]


def test_behind_nat_the_peer_made_it_of_the_address_that_it_has_itself() -> None:
    hub = a_hub()
    hub.receive(a_registration_request(2), nbma(77))
    assert entries(hub.give(solicited(OF_2))) == [(OF_2, nbma(77))]
    hub.receive(a_registration_request(replace(a_site(3), nbma=nbma(2))), nbma(2))
    assert entries(hub.give(solicited(OF_2))) == [(OF_2, nbma(2))]  # whoever is there comes first


def test_one_that_ends_as_a_tunnel_address_does_leads_to_that_station() -> None:
    hub = a_hub()
    hub.give(an_address(GRE, ip("fd00:ff::1"), 64))
    peer = a_site(2, ipv6_overlay=True)
    hub.receive(a_registration_request(peer), peer.nbma)
    assert entries(hub.give(solicited(ip("fe80::2")))) == [(ip("fe80::2"), peer.nbma)]


def test_nobody_s_address_leads_nowhere_at_a_hub_and_to_the_server_at_a_spoke() -> None:
    """The routes of a spoke go by way of other spokes' addresses; packets take the hub."""
    for address in (ip("fe80::9"), OF_2, ip("fe80::5efe:192.168.100.9")):
        assert a_hub(3).give(solicited(address)) == []
        assert entries(a_spoke(4).give(solicited(address))) == [(address, HUB.nbma)]
    assert entries(a_spoke(2).give(solicited(OF_HUB))) == [(OF_HUB, HUB.nbma)]


def test_those_of_ipv4_are_no_matter_of_this() -> None:
    assert of(a_hub(2).give(solicited(ip("169.254.1.1"))), SetNeighbor) == []


def test_the_entry_goes_with_the_peer() -> None:
    hub = a_hub(2, 3)
    hub.give(solicited(OF_2))
    effects = hub.receive(a_purge_request(2, "10.255.255.2", HUB.tunnel), nbma(2), now=1.0)
    assert DropNeighbor(GRE, OF_2) in effects
    assert hub.give(solicited(OF_2), now=1.0) == []


def test_the_entry_stays_while_the_peer_has_another_binding() -> None:
    hub = a_hub(2)
    hub.receive(a_registration_request(replace(a_site(9), nbma=nbma(2))), nbma(2))
    hub.give(solicited(OF_2))
    effects = hub.receive(a_purge_request(2, "10.255.255.2", HUB.tunnel), nbma(2), now=1.0)
    assert DropNeighbor(GRE, OF_2) not in effects


def test_without_an_sa_there_is_no_entry() -> None:
    hub = a_protected_hub(2)
    assert entries(hub.give(solicited(OF_2))) == [(OF_2, nbma(2))]
    assert DropNeighbor(GRE, OF_2) in hub.give(gone(2, local=1), now=1.0)
    assert hub.give(solicited(OF_2), now=1.0) == []


def test_without_its_sa_a_configured_peer_has_no_entry_either() -> None:
    hub = a_protected_hub(maps=(a_map(tunnel(9), nbma(9)),))
    of_9 = ip("fe80::5efe:192.168.100.9")
    hub.give(installed(9, local=1), solicited(of_9))
    assert DropNeighbor(GRE, of_9) in hub.give(gone(9, local=1), now=1.0)


def test_nothing_is_left_after_the_end_and_nothing_asked_on_other_links() -> None:
    hub = a_hub(2)
    assert hub.give(solicited(OF_2, LAN)) == []
    hub.give(solicited(OF_2))
    assert DropNeighbor(GRE, OF_2) in hub.give(ShutdownRequested())


def test_a_tunnel_that_was_down_has_no_entries_to_delete() -> None:
    hub = a_hub(2)
    hub.give(solicited(OF_2))
    hub.give(a_tunnel_link(up=False), a_tunnel_link(), now=1.0)
    effects = hub.receive(a_purge_request(2, "10.255.255.2", HUB.tunnel), nbma(2), now=2.0)
    assert DropNeighbor(GRE, OF_2) not in effects


def test_an_entry_of_an_earlier_run_is_deleted_for_the_kernel_asks_anew() -> None:
    hub = a_hub(2)
    effects = hub.give(BindingFound(GRE, OF_2, nbma(2), None))
    assert of(effects, DropNeighbor) == [DropNeighbor(GRE, OF_2)]
    assert list(hub.cache()) == ["10.255.255.2"]
