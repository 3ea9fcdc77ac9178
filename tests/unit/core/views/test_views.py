"""The views: the JSON contract of the control program."""

from dataclasses import asdict

import pytest

from nhrpd_py.core.events import AddressRemoved, NeighborSolicited
from nhrpd_py.core.queries import Query, View
from nhrpd_py.packet.cie import ClientInformation
from tests.support.engine import Node, a_hub, a_spoke, sent, the
from tests.support.ipsec import a_protected_spoke, failed
from tests.support.messages import (
    a_registration_reply,
    a_registration_request,
    a_resolution_reply,
    a_traffic_indication,
)
from tests.support.sites import (
    GRE,
    HUB,
    SECRET,
    a_map,
    an_address,
    an_interface,
    an_nhs,
    host,
    ip,
    nbma,
    tunnel,
)


def a_shortcut_spoke() -> Node:
    spoke = a_spoke(2)
    request = the(sent(spoke.receive(a_traffic_indication(1, host(2), host(3)), HUB.nbma)))
    spoke.receive(a_resolution_reply(request), HUB.nbma)
    return spoke


def row(node: Node, view: View, now: float = 0.0, **match: object) -> dict[str, object]:
    rows = [asdict(each) for each in node.rows(view, now)]
    return the(each for each in rows if match.items() <= each.items())


def test_cache_shows_a_client_with_all_that_is_known_of_it() -> None:
    hub = a_hub()
    entry = ClientInformation(prefix_length=255, holding_time_s=60, mtu=1400)
    hub.receive(a_registration_request(2, flags=0x8002, entries=(entry,)), nbma(50), now=1.0)
    assert row(hub, View.CACHE, 11.5, type="dynamic") == {
        "interface": "gre1",
        "afi": "ipv4",
        "type": "dynamic",
        "protocol": "10.255.255.2",
        "prefix_length": 32,
        "nbma": "192.168.100.50",
        "claimed_nbma": "192.168.100.2",
        "nat": True,
        "unique": True,
        "used": False,
        "up": True,
        "authorized": True,
        "holding_time_s": 60,
        "expires_in_s": 49.5,
        "age_s": 10.5,
        "mtu": 1400,
        "identity": None,
        "problem": None,
    }


def test_cache_shows_ourselves_and_what_is_configured() -> None:
    hub = a_hub(maps=(a_map(tunnel(9), nbma(9)),))
    local = row(hub, View.CACHE, type="local")
    assert (local["protocol"], local["nbma"]) == ("10.255.255.1", "192.168.100.1")
    static = row(hub, View.CACHE, type="static")
    assert (static["holding_time_s"], static["expires_in_s"]) == (None, None)


def test_cache_shows_what_the_kernel_waits_for_and_what_was_refused() -> None:
    spoke = a_spoke(2, prefix_length=24)
    effects = spoke.give(NeighborSolicited(GRE, tunnel(3), b""), now=1.0)
    pending = row(spoke, View.CACHE, 1.5, type="incomplete")
    assert (pending["protocol"], pending["nbma"], pending["expires_in_s"]) == (
        "10.255.255.3",
        "192.168.100.1",
        0.5,
    )
    nak = a_resolution_reply(the(sent(effects)), entries=(ClientInformation(code=12),))
    spoke.receive(nak, HUB.nbma, now=2.0)
    assert row(spoke, View.CACHE, 3.0, type="negative")["expires_in_s"] == 4.0
    assert spoke.shortcuts() == []


def test_nhs_shows_each_registration() -> None:
    spoke = a_spoke(2)
    assert row(spoke, View.NHS, 5.0) == {
        "interface": "gre1",
        "afi": "ipv4",
        "name": "192.168.100.1",
        "nbma": "192.168.100.1",
        "protocol": "10.255.255.1",
        "priority": 0,
        "cluster": 0,
        "state": "up",
        "registered_for_s": 5.0,
        "next_attempt_in_s": 15.0,
        "last_error": None,
        "requests_sent": 1,
        "replies_received": 1,
    }


def test_nhs_shows_configured_addresses_before_they_are_learnt() -> None:
    spoke = a_spoke(2, registered=False, nhs=(an_nhs(protocol=tunnel(1)),))
    found = row(spoke, View.NHS)
    assert (found["protocol"], found["state"], found["registered_for_s"]) == (
        "10.255.255.1",
        "registering",
        None,
    )


def test_nhs_shows_a_server_that_is_not_wanted_without_a_next_attempt() -> None:
    spoke = a_spoke(2, registered=False, nhs=(an_nhs(), an_nhs("192.168.100.11", priority=9)))
    assert row(spoke, View.NHS, state="standby")["next_attempt_in_s"] is None


def test_nhs_shows_one_row_for_a_name_without_an_answer() -> None:
    spoke = a_spoke(2, registered=False, nhs=(an_nhs("hub.example.net"),))
    found = row(spoke, View.NHS)
    assert (found["nbma"], found["state"], found["last_error"]) == (None, "down", None)


def test_nhs_shows_servers_of_a_tunnel_that_cannot_work_with_the_reason() -> None:
    node = Node(an_interface(nhs=(an_nhs(),)))
    rows = node.rows(View.NHS)
    assert rows
    assert {each.last_error for each in rows} == {"no such netdev; waiting for it"}  # type: ignore[union-attr]


def test_nhs_shows_no_rows_for_a_family_that_the_tunnel_lost() -> None:
    spoke = a_spoke(2)
    spoke.give(an_address(GRE, ip("fd00::2"), 128))
    assert len(spoke.rows(View.NHS)) == 2
    spoke.give(AddressRemoved(GRE, ip("fd00::2"), 128))
    assert len(spoke.rows(View.NHS)) == 1


def test_shortcuts_show_what_is_active_asked_for_and_refused() -> None:
    spoke = a_shortcut_spoke()
    assert row(spoke, View.SHORTCUTS, 10.0) == {
        "interface": "gre1",
        "afi": "ipv4",
        "prefix": "172.16.3.0/24",
        "via": "10.255.255.3",
        "nbma": "192.168.100.3",
        "state": "active",
        "used": True,
        "expires_in_s": 50.0,
        "holding_time_s": 60,
        "identity": None,
        "path": None,
        "rtt_s": None,
        "reason": None,
    }
    request = the(sent(spoke.receive(a_traffic_indication(1, host(2), host(4)), HUB.nbma, now=1.0)))
    assert row(spoke, View.SHORTCUTS, 1.5, state="incomplete")["expires_in_s"] == 0.5
    nak = a_resolution_reply(request, entries=(ClientInformation(code=4),))
    spoke.receive(nak, HUB.nbma, now=2.0)
    assert row(spoke, View.SHORTCUTS, 2.0, state="negative")["expires_in_s"] == 5.0


def test_interfaces_show_what_is_there_and_what_is_wrong() -> None:
    assert row(a_hub(), View.INTERFACES) == {
        "interface": "gre1",
        "ifindex": GRE,
        "up": True,
        "nbma": "192.168.100.1",
        "underlay": "eth0",
        "key": 42,
        "mtu": 1472,
        "network_id": 1,
        "addresses": ("10.255.255.1/32",),
        "redirect": True,
        "shortcut": False,
        "holding_time_s": 60,
        "source_filter": None,
        "wrong_sources": 0,
        "multicast": (),
        "multicast_targets": 0,
        "multicast_packets": 0,
        "multicast_copies": 0,
        "problem": None,
        "losing": None,
        "sa_bytes_in": 0,
        "sa_bytes_out": 0,
    }
    missing = row(Node(an_interface()), View.INTERFACES)
    assert (missing["ifindex"], missing["key"], missing["mtu"], missing["nbma"]) == (None,) * 4
    assert missing["problem"] == "no such netdev; waiting for it"


def test_peers_show_one_row_for_each_nbma_address() -> None:
    spoke = a_shortcut_spoke()
    entries = tuple(
        ClientInformation(prefix_length=32, holding_time_s=60, protocol=tunnel(n)) for n in (30, 31)
    )
    spoke.receive(a_registration_request(5, entries=entries), nbma(5), now=2.0)
    assert spoke.table(View.PEERS, "nbma", "protocol", "up_for_s", now=5.0) == [
        ("192.168.100.1", ("10.255.255.1",), 5.0),
        ("192.168.100.3", ("10.255.255.3",), 5.0),
        ("192.168.100.5", ("10.255.255.30", "10.255.255.31"), 3.0),
    ]


def test_peers_show_a_server_that_refuses_with_its_error() -> None:
    spoke = a_spoke(2, registered=False)
    spoke.receive(a_registration_reply(the(sent(spoke.started)), code=4), HUB.nbma)
    found = row(spoke, View.PEERS)
    assert (found["protocol"], found["up_for_s"]) == ((), None)
    assert found["last_error"] == "registration refused: ADMINISTRATIVELY_PROHIBITED"


def test_traffic_shows_packets_and_drops() -> None:
    hub = a_hub(2)
    hub.receive(b"", nbma(2))
    hub.receive(a_registration_request(2), nbma(2), ifindex=99)
    columns = ("interface", "afi", "direction", "type", "packets")
    assert hub.table(View.TRAFFIC, *columns) == [
        ("gre1", "ipv4", "sent", "registration-reply", 1),
        ("gre1", "ipv4", "received", "registration-request", 1),
        (None, None, "dropped", "unknown-interface", 1),
        ("gre1", None, "dropped", "truncated", 1),
    ]
    only = hub.engine.view(Query(view=View.TRAFFIC, interface="gre1"), 0.0)
    assert len(only) == 3


def test_routes_show_what_we_want_in_the_kernel() -> None:
    assert a_shortcut_spoke().table(View.ROUTES, "prefix", "via", "kind") == [
        ("10.255.255.1/32", None, "host"),
        ("10.255.255.3/32", None, "host"),
        ("172.16.3.0/24", "10.255.255.3", "shortcut"),
    ]
    assert a_hub(2, prefix_length=24).rows(View.ROUTES) == []


@pytest.mark.parametrize("view", list(View))
def test_views_can_be_narrowed_to_an_interface_and_change_nothing(view) -> None:
    spoke = a_shortcut_spoke()
    before = repr([spoke.rows(each) for each in View])
    assert spoke.engine.view(Query(view=view, interface="gre9"), 0.0) == []
    mine = spoke.engine.view(Query(view=view, interface="gre1"), 0.0)
    if view is not View.CONFIG:
        assert mine == spoke.rows(view)
    assert repr([spoke.rows(each) for each in View]) == before


def test_no_view_shows_the_pass_phrase() -> None:
    hub = a_hub(authentication=SECRET)
    assert "secret" not in repr([hub.rows(each) for each in View])


def test_expired_time_is_never_negative() -> None:
    spoke = a_shortcut_spoke()
    assert row(spoke, View.SHORTCUTS, 100.0)["expires_in_s"] == 0.0


def test_peers_show_what_is_known_of_their_sa() -> None:
    spoke = a_protected_spoke(nhs=(an_nhs(), an_nhs("192.168.100.11"), an_nhs("192.168.100.12")))
    spoke.give(failed(11))
    assert spoke.table(View.PEERS, "nbma", "ipsec") == [
        ("192.168.100.1", "up"),
        ("192.168.100.11", "failed"),
        ("192.168.100.12", "wanted"),
    ]
    assert a_spoke(2).table(View.PEERS, "nbma", "ipsec") == [("192.168.100.1", "none")]


def test_nhs_shows_that_a_server_waits_for_its_sa() -> None:
    spoke = a_protected_spoke(registered=False)
    assert row(spoke, View.NHS)["last_error"] == "waiting for the security association"


def test_routes_show_host_routes_and_shortcuts() -> None:
    spoke = a_shortcut_spoke()
    assert spoke.table(View.ROUTES, "prefix", "via", "kind") == [
        ("10.255.255.1/32", None, "host"),
        ("10.255.255.3/32", None, "host"),
        ("172.16.3.0/24", "10.255.255.3", "shortcut"),
    ]
