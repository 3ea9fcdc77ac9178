"""One interface and family through everything that happens to its link."""

import pytest

from nhrpd_py.core.base.timers import TimerKind
from nhrpd_py.core.effects import (
    CloseInterface,
    DropNeighbor,
    DropRoute,
    OpenInterface,
    SetNeighbor,
    SetRoute,
)
from nhrpd_py.core.events import AddressRemoved, BindingFound, LinkGone, ShutdownRequested
from nhrpd_py.core.notices import (
    BindingAdopted,
    BindingRemoved,
    RegistrationAccepted,
    ShortcutRemoved,
)
from nhrpd_py.core.station import cache as cache_module
from nhrpd_py.packet.iana import PURGE_NO_REPLY, PacketType
from tests.support import inspect
from tests.support.engine import Node, a_hub, a_node, a_spoke, kinds, of, sent, the, the_packet
from tests.support.messages import a_registration_request, a_resolution_reply, a_traffic_indication
from tests.support.sites import (
    GRE,
    HUB,
    LAN,
    a_map,
    a_tunnel_link,
    an_address,
    host,
    ip,
    nbma,
    tunnel,
)

DOWN, UP = a_tunnel_link(up=False), a_tunnel_link()


def a_shortcut_spoke() -> Node:
    spoke = a_spoke(2)
    request = the(sent(spoke.receive(a_traffic_indication(1, host(2), host(3)), HUB.nbma)))
    spoke.receive(a_resolution_reply(request), HUB.nbma)
    return spoke


# Maps.


def test_configured_bindings_are_there_with_the_tunnel_and_for_ever() -> None:
    hub = a_hub(maps=(a_map(tunnel(9), nbma(9)), a_map(ip("fd00::9"), nbma(9))))
    assert SetNeighbor(GRE, tunnel(9), nbma(9)) in hub.started
    assert SetNeighbor(GRE, ip("fd00::9"), nbma(9)) in hub.started
    hub.run(100000.0)
    assert hub.cache() == {
        "10.255.255.9": ("static", "192.168.100.9"),
        "fd00::9": ("static", "192.168.100.9"),
    }


def test_configured_binding_outlives_link_flaps_and_address_changes() -> None:
    hub = a_hub(maps=(a_map(tunnel(9), nbma(9)),))
    hub.give(DOWN)
    effects = hub.give(UP)
    assert SetNeighbor(GRE, tunnel(9), nbma(9)) in effects
    hub.give(an_address(GRE, ip("10.255.254.1"), 24), AddressRemoved(GRE, HUB.tunnel, 32))
    assert hub.cache() == {"10.255.255.9": ("static", "192.168.100.9")}


# Down and up again.


def test_link_that_goes_down_closes_the_interface_and_leaves_the_kernel_alone() -> None:
    spoke = a_shortcut_spoke()
    effects = spoke.give(DOWN, now=1.0)
    assert effects[0] == CloseInterface(GRE)
    assert of(effects, DropRoute) == []
    assert of(effects, DropNeighbor) == []
    assert the(of(effects, ShortcutRemoved)).reason == "the netdev is down"
    # What was registered keeps; what was learnt does not.
    assert spoke.cache() == {"10.255.255.1": ("nhs", "192.168.100.1")}


def test_link_that_comes_up_gets_back_what_is_still_good() -> None:
    hub = a_hub(2)
    hub.give(DOWN, now=1.0)
    effects = hub.give(UP, now=2.0)
    assert of(effects, OpenInterface) == [OpenInterface(GRE, "gre1")]
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(2), nbma(2))]
    assert len(of(effects, SetRoute)) == 1
    assert of(effects, RegistrationAccepted) == []


def test_holding_time_goes_on_while_the_link_is_down() -> None:
    hub = a_hub(2)
    hub.give(DOWN, now=1.0)
    effects = hub.advance(60.0)
    assert [type(each) for each in effects] == [BindingRemoved]
    assert of(hub.give(UP, now=61.0), SetNeighbor) == []


def test_replaced_netdev_is_closed_and_opened() -> None:
    hub = a_hub(2)
    effects = hub.give(LinkGone(GRE), a_tunnel_link(9), an_address(9, HUB.tunnel, 32), now=1.0)
    assert [each for each in effects if isinstance(each, CloseInterface | OpenInterface)] == [
        CloseInterface(GRE),
        OpenInterface(9, "gre1"),
    ]
    assert of(effects, SetNeighbor) == [SetNeighbor(9, tunnel(2), nbma(2))]
    assert kinds(hub.receive(a_registration_request(3), nbma(3), now=2.0, ifindex=9))


def test_netdev_that_takes_the_name_over_replaces_the_old_one() -> None:
    hub = a_hub(2)
    effects = hub.give(a_tunnel_link(9), now=1.0)
    assert [each for each in effects if isinstance(each, CloseInterface | OpenInterface)] == [
        CloseInterface(GRE),
        OpenInterface(9, "gre1"),
    ]


def test_host_routes_follow_the_connected_prefix() -> None:
    hub = a_hub(2)
    effects = hub.give(an_address(GRE, HUB.tunnel, 24), now=1.0)
    assert [str(each.prefix) for each in of(effects, DropRoute)] == ["10.255.255.2/32"]
    effects = hub.give(AddressRemoved(GRE, HUB.tunnel, 24), now=2.0)
    assert [str(each.prefix) for each in of(effects, SetRoute)] == ["10.255.255.2/32"]


def test_binding_of_an_address_that_became_ours_goes() -> None:
    hub = a_hub(2)
    hub.give(AddressRemoved(GRE, HUB.tunnel, 32))
    effects = hub.give(an_address(GRE, tunnel(2), 32))
    assert the(of(effects, BindingRemoved)).reason == "it is our own address now"


def test_station_that_loses_its_address_stops_asking_and_keeps_its_bindings() -> None:
    spoke = a_spoke(2)
    assert sent(spoke.give(AddressRemoved(GRE, tunnel(2), 32), now=1.0)) == []
    assert sent(spoke.run(59.0)) == []
    effects = spoke.give(an_address(GRE, tunnel(2), 32), now=59.0)
    assert kinds(effects) == [(HUB.nbma, PacketType.REGISTRATION_REQUEST)]


# Bindings of an earlier run.


def found(number: int = 2, remaining_s: float | None = None, **more) -> BindingFound:
    return BindingFound(GRE, tunnel(number), nbma(number), remaining_s, **more)


def test_binding_of_the_state_file_is_as_good_as_it_was() -> None:
    hub = a_hub()
    effects = hub.give(found(remaining_s=25.0, unique=True, claimed_nbma=ip("10.9.9.2")), now=5.0)
    assert of(effects, BindingAdopted) == [
        BindingAdopted(interface="gre1", protocol=tunnel(2), nbma=nbma(2))
    ]
    assert SetNeighbor(GRE, tunnel(2), nbma(2)) in effects
    assert sent(hub.run(29.9)) == []
    assert hub.cache(29.9) == {"10.255.255.2": ("dynamic", "192.168.100.2")}
    hub.run(30.0)
    assert hub.cache(30.0) == {}


def test_client_known_from_the_kernel_only_is_asked_to_register() -> None:
    hub = a_hub()
    hub.give(found())
    assert hub.engine.next_deadline() == 0.2
    to, purge = the_packet(hub.advance(0.2))
    assert (to, purge.type, purge.flags) == (nbma(2), PacketType.PURGE_REQUEST, PURGE_NO_REPLY)
    assert the(purge.entries).protocol == tunnel(2)
    # As one of ours, it does so at once.
    spoke = a_spoke(2)
    effects = spoke.receive(purge, HUB.nbma, now=1.0)
    assert kinds(effects) == [(HUB.nbma, PacketType.REGISTRATION_REQUEST)]
    # And that is news, for nobody had heard of it in this run.
    assert of(hub.receive(sent(effects)[0], nbma(2), now=1.0), RegistrationAccepted)


def test_client_that_came_by_itself_is_not_asked() -> None:
    hub = a_hub()
    hub.give(found())
    hub.receive(a_registration_request(2), nbma(2), now=0.1)
    assert sent(hub.advance(0.2)) == []


def test_client_that_went_meanwhile_is_not_asked() -> None:
    hub = a_hub()
    hub.give(found())
    hub.give(DOWN)
    assert inspect.timer_due(hub.engine, TimerKind.ASK_TO_REGISTER, tunnel(9), 0.1) == []
    assert sent(hub.advance(0.2)) == []


def test_clients_are_asked_at_a_pace() -> None:
    hub = a_hub()
    for number in range(2, 102):
        hub.give(found(number))
    assert len(sent(hub.run(0.2 + 0.495))) == 50
    assert len(sent(hub.run(1.2))) == 50


def test_binding_that_is_known_already_is_left_alone() -> None:
    hub = a_hub(2)
    assert hub.give(BindingFound(GRE, tunnel(2), nbma(9), 10.0)) == []
    assert hub.cache() == {"10.255.255.2": ("dynamic", "192.168.100.2")}


@pytest.mark.parametrize(
    "event", [BindingFound(GRE, HUB.tunnel, nbma(2)), BindingFound(LAN, tunnel(2), nbma(2))]
)
def test_entry_that_there_is_no_use_for_is_swept(event) -> None:
    assert a_hub().give(event)[-1] == DropNeighbor(event.ifindex, event.protocol)


def test_entry_is_swept_when_the_table_is_full(monkeypatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_BINDINGS", 1)
    hub = a_hub(3)
    assert DropNeighbor(GRE, tunnel(2)) in hub.give(found())


# The end.


def test_shutdown_tells_servers_and_takes_everything_out_of_the_kernel() -> None:
    spoke = a_shortcut_spoke()
    effects = spoke.give(ShutdownRequested(), now=5.0)
    to, purge = the_packet(effects)
    assert (to, purge.type, purge.flags) == (HUB.nbma, PacketType.PURGE_REQUEST, PURGE_NO_REPLY)
    assert {str(each.prefix) for each in of(effects, DropRoute)} == {
        "172.16.3.0/24",
        "10.255.255.3/32",
        "10.255.255.1/32",
    }
    assert {each.address for each in of(effects, DropNeighbor)} == {HUB.tunnel, tunnel(3)}
    # Our server believes it.
    hub = a_hub(2)
    hub.receive(purge, nbma(2))
    assert hub.cache() == {}


def test_shutdown_says_nothing_to_a_server_that_is_not_up() -> None:
    assert sent(a_spoke(2, registered=False).give(ShutdownRequested())) == []


def test_node_without_anything_to_end_just_ends() -> None:
    assert len(a_node(2).give(ShutdownRequested())) == 1


@pytest.mark.parametrize("remaining_s", [0.0, -5.0])
def test_binding_of_the_state_file_whose_time_is_over_is_swept(remaining_s) -> None:
    assert a_hub().give(found(remaining_s=remaining_s)) == [DropNeighbor(GRE, tunnel(2))]


def test_kernel_is_right_where_the_state_file_says_otherwise() -> None:
    """The file is written once a minute, the kernel's entry when the client moves."""
    hub = a_hub()
    hub.give(found(remaining_s=25.0))
    hub.give(BindingFound(GRE, tunnel(2), nbma(20)))
    assert hub.cache() == {"10.255.255.2": ("dynamic", "192.168.100.20")}
    # The same word from both is no news.
    hub.give(BindingFound(GRE, tunnel(3), nbma(3), 25.0))
    assert hub.give(BindingFound(GRE, tunnel(3), nbma(3))) == []


def test_registration_that_is_not_up_is_not_taken_back() -> None:
    spoke = a_spoke(2, registered=False)
    effects = spoke.give(an_address(GRE, ip("10.255.254.2"), 24), now=0.5)
    assert kinds(effects) == [(HUB.nbma, PacketType.REGISTRATION_REQUEST)]


def test_nothing_is_taken_back_by_a_station_that_cannot_speak() -> None:
    spoke = a_spoke(2)
    registration = the(inspect.client(spoke.engine).servers.registrations())
    spoke.give(DOWN)
    assert inspect.deregister(spoke.engine, registration) == []
