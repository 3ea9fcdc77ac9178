"""Several servers: which of them are registered with, and how one takes over from another."""

from nhrpd_py.core.effects import DropNeighbor, DropRoute, Effect, SetNeighbor, SetRoute
from nhrpd_py.core.events import AddressRemoved
from nhrpd_py.core.notices import NhsDown
from nhrpd_py.packet.iana import (
    PURGE_NO_REPLY,
    PacketType,
)
from tests.support.engine import Node, kinds, of, packets, sent, the, the_packet
from tests.support.messages import (
    a_registration_reply,
    a_resolution_reply,
)
from tests.support.registration import (
    HUB2,
    HUB2_NBMA,
    HUB2_NHS,
    a_fresh_spoke,
    run_while,
    states,
    times,
)
from tests.support.resolution import redirect
from tests.support.sites import (
    GRE,
    HUB,
    UNDERLAY,
    a_map,
    a_site,
    a_tunnel_of,
    an_address,
    an_nhs,
    host,
    ip,
    nbma,
    tunnel,
)


def test_servers_of_equal_priority_are_all_used() -> None:
    spoke = a_fresh_spoke(nhs=(an_nhs(), HUB2_NHS))
    assert [to for to, _ in kinds(spoke.started)] == [HUB.nbma, HUB2_NBMA]


def test_worse_server_waits_until_the_better_one_is_lost_and_goes_when_it_is_back() -> None:
    spoke = a_fresh_spoke(nhs=(an_nhs(), an_nhs("192.168.100.11", priority=10)))
    first = the_packet(spoke.started)[1]
    spoke.advance(1.0)
    spoke.advance(3.0)
    assert states(spoke) == ["registering", "standby"]
    effects = spoke.advance(7.0)
    second = the(message for to, message in packets(effects) if to == HUB2_NBMA)
    spoke.receive(a_registration_reply(second, server=HUB2), HUB2_NBMA, now=7.1)
    assert states(spoke) == ["probe", "up"]
    effects = spoke.receive(a_registration_reply(first), HUB.nbma, now=8.0)
    assert states(spoke) == ["up", "standby"]
    # The worse one is told, at once and without waiting for its word.
    to, purge = the_packet(effects)
    assert (to, purge.type, purge.flags) == (HUB2_NBMA, PacketType.PURGE_REQUEST, PURGE_NO_REPLY)
    entry = the(purge.entries)
    assert (entry.protocol, entry.prefix_length) == (tunnel(2), 32)
    assert (entry.code, entry.mtu, entry.holding_time_s, entry.preference) == (0, 0, 0, 0)
    assert purge.destination_protocol == HUB2
    assert the(of(effects, NhsDown)).reason == "a better next hop server is up"
    assert spoke.cache() == {"10.255.255.1": ("nhs", "192.168.100.1")}


def test_worse_server_that_is_up_serves_on_while_the_better_one_is_only_asked_again() -> None:
    """A spoke that changed its uplink left the server that worked, for one that was known to be dead."""
    spoke = a_fresh_spoke(nhs=(an_nhs(), an_nhs("192.168.100.11", priority=10)))
    effects = [effect for at in (1.0, 3.0, 7.0) for effect in spoke.advance(at)]
    request = the(message for to, message in packets(effects) if to == HUB2_NBMA)
    spoke.receive(a_registration_reply(request, server=HUB2), HUB2_NBMA, now=7.1)
    spoke.give(an_address(UNDERLAY, nbma(50), 24), now=8.0)
    effects = spoke.give(AddressRemoved(UNDERLAY, nbma(2), 24), now=8.0)
    requests = dict(packets(effects))
    assert {each.type for each in requests.values()} == {PacketType.REGISTRATION_REQUEST}
    reply = a_registration_reply(requests[HUB2_NBMA], server=HUB2)
    effects += spoke.receive(reply, HUB2_NBMA, now=8.1)
    effects += [effect for at in (9.0, 11.0, 15.0) for effect in spoke.advance(at)]
    assert of(effects, DropNeighbor) == []
    assert sent(effects, PacketType.PURGE_REQUEST) == []
    assert states(spoke) == ["probe", "up"]


def test_binding_of_a_worse_server_outlives_a_closed_tunnel_until_the_better_one_answers() -> None:
    spoke = a_fresh_spoke(nhs=(an_nhs(), an_nhs("192.168.100.11", priority=10)))
    effects = [effect for at in (1.0, 3.0, 7.0) for effect in spoke.advance(at)]
    request = the(message for to, message in packets(effects) if to == HUB2_NBMA)
    spoke.receive(a_registration_reply(request, server=HUB2), HUB2_NBMA, now=7.1)
    spoke.give(a_tunnel_of(a_site(2), up=False), now=8.0)
    effects = spoke.give(a_tunnel_of(a_site(2)), now=9.0)
    assert states(spoke) == ["registering", "standby"]
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, HUB2, HUB2_NBMA)]
    assert of(effects, DropNeighbor) == []
    assert spoke.cache(9.0) == {"10.255.255.11": ("nhs", "192.168.100.11")}


def a_spoke_of_a_hub_with_two_addresses(*priorities: int) -> Node:
    """The hub is at both NBMA addresses; the registrations with it are up since 1 s, the first one first."""
    addresses = ("192.168.100.1", "192.168.100.11")
    servers = (an_nhs(each, priority=p) for each, p in zip(addresses, priorities, strict=True))
    spoke = a_fresh_spoke(nhs=tuple(servers))
    for to, request in packets(spoke.started):
        spoke.receive(a_registration_reply(request), to, now=1.0)
    return spoke


def test_traffic_to_a_hub_with_two_addresses_does_not_change_over_with_each_renewal() -> None:
    spoke = a_spoke_of_a_hub_with_two_addresses(0, 0)
    effects = run_while(spoke, 200.0, HUB.nbma, HUB2_NBMA)
    assert of(effects, SetNeighbor) == []
    assert spoke.cache() == {"10.255.255.1": ("nhs", "192.168.100.1")}


def test_other_address_of_the_hub_takes_over_when_one_is_lost() -> None:
    """It was waited for its next renewal, up to a third of the holding time, while all traffic was lost."""
    spoke = a_spoke_of_a_hub_with_two_addresses(0, 0)
    effects = run_while(spoke, 28.0, HUB2_NBMA)
    assert states(spoke) == ["probe", "up"]
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, HUB.tunnel, HUB2_NBMA)]
    effects = run_while(spoke, 200.0, HUB.nbma, HUB2_NBMA)
    assert states(spoke) == ["up", "up"]
    assert of(effects, SetNeighbor) == []


def test_fail_back_to_the_better_address_of_the_hub_does_not_take_our_registration_along() -> None:
    """The Purge at the worse address made the hub forget what we had just registered at the better one."""
    spoke = a_spoke_of_a_hub_with_two_addresses(0, 1)
    run_while(spoke, 40.0, HUB2_NBMA)
    assert states(spoke) == ["probe", "up"]
    effects = run_while(spoke, 120.0, HUB.nbma, HUB2_NBMA)
    assert states(spoke) == ["up", "standby"]
    assert sent(effects, PacketType.PURGE_REQUEST) == []
    assert of(effects, DropNeighbor) == []
    assert of(effects, SetNeighbor)[-1] == SetNeighbor(GRE, HUB.tunnel, HUB.nbma)


def test_worse_server_that_is_still_asked_is_just_left() -> None:
    spoke = a_fresh_spoke(nhs=(an_nhs(), an_nhs("192.168.100.11", priority=10)))
    first = the_packet(spoke.started)[1]
    times(spoke, 8.0)
    assert states(spoke) == ["probe", "registering"]
    effects = spoke.receive(a_registration_reply(first), HUB.nbma, now=8.0)
    assert sent(effects) == []
    assert states(spoke) == ["up", "standby"]


def test_priorities_count_within_a_cluster_only() -> None:
    spoke = a_fresh_spoke(nhs=(an_nhs(), an_nhs("192.168.100.11", priority=10, cluster=1)))
    assert [to for to, _ in kinds(spoke.started)] == [HUB.nbma, HUB2_NBMA]


def test_server_that_is_ourselves_does_not_hold_back_a_worse_one() -> None:
    spoke = a_fresh_spoke(nhs=(an_nhs("192.168.100.2"), an_nhs("192.168.100.11", priority=10)))
    assert [to for to, _ in kinds(spoke.started)] == [HUB2_NBMA]


def test_server_of_the_other_address_family_is_not_asked() -> None:
    spoke = a_fresh_spoke(nhs=(an_nhs(protocol=ip("fd00::1")),))
    assert sent(spoke.started) == []


def test_other_address_of_a_hub_that_has_a_map_changes_nothing_when_one_is_lost() -> None:
    spoke = a_fresh_spoke(
        nhs=(an_nhs(), an_nhs("192.168.100.11")), maps=(a_map(HUB.tunnel, HUB.nbma),)
    )
    for to, request in packets(spoke.started):
        spoke.receive(a_registration_reply(request), to, now=1.0)
    effects = run_while(spoke, 28.0, HUB2_NBMA)
    assert states(spoke) == ["probe", "up"]
    assert of(effects, SetNeighbor) == []
    assert spoke.cache() == {"10.255.255.1": ("static", "192.168.100.1")}


def a_spoke_with_a_shortcut_over_the_second_hub() -> Node:
    spoke = a_fresh_spoke(nhs=(an_nhs(), HUB2_NHS), path_check_s=3, holding_time_s=600)
    for to, request in packets(spoke.started):
        spoke.receive(a_registration_reply(request, server=tunnel(to[-1]), granted_s=600), to)
    assert of(answered_by_the_second_hub(spoke, 0.0), SetRoute)
    return spoke


def answered_by_the_second_hub(spoke: Node, now: float) -> list[Effect]:
    request = the(sent(redirect(spoke, host(11), now=now), PacketType.RESOLUTION_REQUEST))
    return spoke.receive(a_resolution_reply(request, 11), HUB.nbma, now=now)


def test_shortcut_over_a_server_that_falls_silent_goes_and_is_not_made_again() -> None:
    """The other one may relay for it; before, its traffic was lost for the rest of the holding time."""
    spoke = a_spoke_with_a_shortcut_over_the_second_hub()
    effects = spoke.run(15.0)  # the first hub answers
    assert states(spoke) == ["up", "probe"]
    assert [str(each.prefix) for each in of(effects, DropRoute)] == ["172.16.11.0/24"]
    assert of(effects, DropNeighbor) == []
    assert of(answered_by_the_second_hub(spoke, 16.0), SetRoute) == []
    assert spoke.shortcuts(16.0) == [("172.16.11.10/32", None, "negative")]


def test_shortcut_over_a_server_that_is_back_is_made_again() -> None:
    spoke = a_spoke_with_a_shortcut_over_the_second_hub()
    effects = spoke.run(15.0)
    request = [each for to, each in packets(effects) if to == HUB2_NBMA][-1]
    spoke.receive(a_registration_reply(request, server=HUB2, granted_s=600), HUB2_NBMA, now=15.0)
    assert of(answered_by_the_second_hub(spoke, 16.0), SetRoute)
