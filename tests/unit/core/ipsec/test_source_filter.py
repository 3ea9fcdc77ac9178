"""What peers may send from: told by the mark of their SAs, as changes that nothing overlaps in."""

from dataclasses import replace

import pytest

from nhrpd_py.core.address import parse_prefix
from nhrpd_py.core.config import Config, InterfaceConfig
from nhrpd_py.core.effects import (
    AllowSources,
    Effect,
    FilterSources,
    ForgetMark,
    Halt,
    UnfilterSources,
)
from nhrpd_py.core.events import (
    AddressRemoved,
    ConfigChanged,
    LinkGone,
    RouteAdded,
    RouteRemoved,
    SaInstalled,
    ShutdownRequested,
)
from nhrpd_py.core.queries import View
from nhrpd_py.packet.iana import PacketType
from tests.support.engine import Node, of, sent, the
from tests.support.ipsec import (
    a_policy,
    a_protected_hub,
    a_rule,
    an_association,
    gone,
    installed,
    redirected,
)
from tests.support.messages import (
    a_registration_request,
    a_resolution_reply,
    a_traffic_indication,
)
from tests.support.sites import (
    GRE,
    HUB,
    UNDERLAY,
    a_route,
    an_address,
    host,
    links_of,
    nbma,
    tunnel,
)
from tests.support.source_filter import (
    EVERYTHING,
    LAN,
    MARK_OF_HUB,
    Filter,
    a_filtering_hub,
    a_filtering_spoke,
)


def test_a_hub_allows_its_clients_their_tunnel_address_and_what_is_routed_over_them() -> None:
    _, found = a_filtering_hub()
    assert found.drops is False
    assert found.of(2) == ["10.255.255.2/32", LAN.format(2)]
    assert found.of(3) == ["10.255.255.3/32", LAN.format(3)]


@pytest.mark.parametrize(
    ("setting", "drops", "shown"),
    [(None, False, "count"), (True, True, "drop"), (False, None, "off")],
)
def test_the_setting_says_whether_wrong_sources_are_dropped(
    setting: bool | None, drops: bool | None, shown: str
) -> None:
    hub, found = a_filtering_hub(source_filter=setting)
    assert found.drops is drops
    assert bool(found.sources) is (drops is not None)
    assert hub.table(View.INTERFACES, "source_filter") == [(shown,)]


def test_a_tunnel_without_ipsec_has_no_filter() -> None:
    hub = a_protected_hub(ipsec=None)
    assert of(hub.started, FilterSources) == []
    assert hub.table(View.INTERFACES, "source_filter") == [(None,)]


def test_everything_may_come_from_a_server() -> None:
    spoke, found = a_filtering_spoke()
    assert found.of(MARK_OF_HUB) == EVERYTHING
    found.apply(spoke.give(gone(1)))
    assert MARK_OF_HUB not in found.sources


def test_a_route_over_a_peer_allows_its_prefix_until_a_minute_after_it_is_gone() -> None:
    hub, found = a_filtering_hub()
    route = a_route("10.9.0.0/16", via=tunnel(2))
    found.apply(hub.give(RouteAdded(route), now=10.0))
    assert found.of(2) == ["10.255.255.2/32", "10.9.0.0/16", LAN.format(2)]
    assert of(hub.give(RouteRemoved(route), now=20.0), AllowSources) == []
    assert of(hub.give(RouteAdded(route), now=30.0), AllowSources) == []
    assert of(hub.give(RouteRemoved(route), now=40.0), AllowSources) == []
    assert of(hub.run(99.0), AllowSources) == []
    found.apply(hub.run(100.0))
    assert found.of(2) == ["10.255.255.2/32", LAN.format(2)]


def test_all_next_hops_of_a_route_count_and_so_do_routes_that_are_not_the_best() -> None:
    hub, found = a_filtering_hub()
    shared = replace(
        a_route("10.8.0.0/16", via=tunnel(2)), others=((GRE, tunnel(3)), (99, tunnel(4)))
    )
    found.apply(
        hub.give(RouteAdded(shared), RouteAdded(a_route("172.16.2.0/24", via=tunnel(3), metric=9)))
    )
    assert found.of(2) == ["10.255.255.2/32", "10.8.0.0/16", LAN.format(2)]
    assert found.of(3) == ["10.255.255.3/32", "10.8.0.0/16", LAN.format(2), LAN.format(3)]


def test_a_wider_prefix_takes_the_place_of_those_within_it() -> None:
    hub, found = a_filtering_hub()
    wide = a_route("172.16.0.0/16", via=tunnel(2))
    effects = hub.give(RouteAdded(wide))
    change = the(of(effects, AllowSources))
    assert (list(map(str, change.added)), list(map(str, change.removed))) == (
        ["172.16.0.0/16"],
        [LAN.format(2)],
    )
    found.apply(effects)
    found.apply(hub.give(RouteRemoved(wide)))
    found.apply(hub.run(60.0))
    assert found.of(2) == ["10.255.255.2/32", LAN.format(2)]


def test_an_ordinary_route_changes_nothing() -> None:
    hub, _ = a_filtering_hub()
    for route in (a_route("10.0.0.0/8", UNDERLAY, via=nbma(9)), a_route("10.1.0.0/16")):
        assert of(hub.give(RouteAdded(route)), AllowSources) == []


def test_an_address_that_another_peer_registers_is_no_longer_the_first_ones() -> None:
    hub, found = a_filtering_hub()
    found.apply(hub.give(gone(2, local=1)))
    found.apply(hub.give(installed(4, local=1, mark=4, identity="spoke2.example")))
    assert found.sources.keys() == {3, 4}
    request = a_registration_request(2)
    entry = replace(request, source_nbma=nbma(4))
    found.apply(hub.receive(entry, nbma(4), now=1.0))
    assert found.of(4) == ["10.255.255.2/32", LAN.format(2)]


def test_a_new_sa_of_a_peer_allows_what_the_former_one_did_before_it_registers() -> None:
    hub, found = a_filtering_hub()
    found.apply(hub.give(gone(2, local=1), now=5.0))
    assert hub.cache().keys() == {"10.255.255.3"}
    found.apply(hub.give(installed(2, local=1, id=7, mark=7), now=6.0))
    assert found.of(7) == ["10.255.255.2/32", LAN.format(2)]
    found.apply(hub.run(66.0))
    assert found.of(7) == []


def test_a_rekeying_keeps_the_mark_and_changes_nothing() -> None:
    hub, _ = a_filtering_hub()
    effects = hub.give(installed(2, local=1, id=22, mark=2), gone(2, local=1))
    assert not of(effects, AllowSources)
    assert not of(effects, ForgetMark)


def test_a_peer_that_moves_takes_its_mark_along() -> None:
    hub, found = a_filtering_hub()
    moved = SaInstalled(an_association(4, local=1, id=2, identity="spoke2.example", mark=2))
    found.apply(hub.give(moved, gone(2, local=1)))
    assert found.of(2) == []
    found.apply(hub.receive(replace(a_registration_request(2), source_nbma=nbma(4)), nbma(4)))
    assert found.of(2) == ["10.255.255.2/32", LAN.format(2)]


def test_a_mark_of_two_peers_after_charon_was_restarted_allows_both() -> None:
    hub, found = a_filtering_hub()
    found.apply(hub.give(installed(3, local=1, id=99, mark=2)))
    assert found.of(2) == ["10.255.255.2/32", "10.255.255.3/32", LAN.format(2), LAN.format(3)]
    found.apply(hub.give(gone(2, local=1)))
    assert found.of(2) == ["10.255.255.3/32", LAN.format(3)]


def test_a_mark_of_two_peers_is_a_problem_while_it_is() -> None:
    for setting in (True, None):
        hub, _ = a_filtering_hub(source_filter=setting)
        hub.give(installed(3, local=1, id=99, mark=2))
        ((problem,),) = hub.table(View.INTERFACES, "problem")
        assert bool(problem) is bool(setting)
        assert not setting or "1 marks are those of SAs with several peers" in problem
        hub.give(gone(2, local=1))
        assert hub.table(View.INTERFACES, "problem") == [(None,)]


def test_rules_and_certificates_allow_what_they_name() -> None:
    rules = a_policy(
        a_rule("spoke2.example", ("10.255.255.2/32",), ("10.2.0.0/16",)), a_rule("spoke3.example")
    )
    hub, found = a_filtering_hub(authorize=rules)
    assert found.of(2) == ["10.2.0.0/16", "10.255.255.2/32", LAN.format(2)]
    assert found.of(3) == EVERYTHING
    narrower = replace(hub.config.interfaces["gre1"], authorize=a_policy(rules.rules[0]))
    found.apply(reload(hub, narrower))
    assert found.of(3) == ["10.255.255.3/32", LAN.format(3)]


def test_a_certificate_allows_its_address_blocks() -> None:
    hub = a_protected_hub(authorize=a_policy(certificate=True))
    found = Filter(hub.started)
    sa = an_association(2, local=1, mark=2, blocks=("10.2.0.0/16",))
    found.apply(hub.give(SaInstalled(sa)))
    assert found.of(2) == ["10.2.0.0/16"]
    found.apply(hub.give(SaInstalled(replace(sa, address_blocks=()))))
    assert found.of(2) == []


def reload(node: Node, interface: InterfaceConfig, now: float = 0.0) -> list[Effect]:
    return node.give(ConfigChanged(Config(interfaces={"gre1": interface})), now=now)


def test_what_was_resolved_to_a_peer_may_come_from_it() -> None:
    spoke, found = a_filtering_spoke()
    found.apply(spoke.give(installed(3, mark=3)))
    assert found.of(3) == []
    effects = spoke.receive(a_traffic_indication(1, host(2), host(3)), HUB.nbma, now=1.0)
    assert found.apply(effects).of(0) == ["172.16.3.10/32"]
    request = the(sent(effects, PacketType.RESOLUTION_REQUEST))
    found.apply(spoke.receive(a_resolution_reply(request), HUB.nbma, now=1.1))
    assert found.of(0) == []
    assert found.of(3) == ["10.255.255.3/32", LAN.format(3)]


def test_while_an_address_is_asked_for_it_may_come_from_any_peer() -> None:
    spoke, found = a_filtering_spoke()
    effects = spoke.receive(a_traffic_indication(1, host(2), host(3)), HUB.nbma, now=1.0)
    assert found.apply(effects).of(0) == ["172.16.3.10/32"]
    assert found.apply(spoke.run(40.0)).of(0) == []  # nobody answers


@pytest.mark.parametrize("to", [True, None])
def test_a_filter_that_is_switched_on_knows_all_that_is_there(to: bool | None) -> None:
    hub, found = a_filtering_hub(source_filter=False)
    interface = hub.config.interfaces["gre1"]
    found.apply(reload(hub, replace(interface, source_filter=to)))
    assert found.drops is bool(to)
    assert found.of(2) == ["10.255.255.2/32", LAN.format(2)]
    effects = reload(hub, replace(interface, source_filter=not to))
    assert of(effects, AllowSources) == []
    found.apply(effects)
    assert found.drops is (True if not to else None)


def test_a_spoke_that_switches_it_on_knows_servers_and_what_is_resolved_and_asked() -> None:
    spoke, _ = a_filtering_spoke(source_filter=False)
    spoke.give(installed(3, mark=3))
    spoke.receive(a_resolution_reply(redirected(spoke, 1.0)), HUB.nbma, now=1.1)
    redirected(spoke, 2.0, host(4))
    found = Filter(reload(spoke, replace(spoke.config.interfaces["gre1"], source_filter=True), 3.0))
    assert found.sources == {
        0: {"172.16.4.10/32"},
        1: set(EVERYTHING),
        3: {"10.255.255.3/32", LAN.format(3)},
    }


def test_reload_from_true_to_the_default_is_one_change_of_the_mode() -> None:
    hub, _ = a_filtering_hub(source_filter=True)
    effects = reload(hub, replace(hub.config.interfaces["gre1"], source_filter=None))
    assert of(effects, FilterSources) == [FilterSources("gre1", drop=False, underlay="eth0")]
    assert not of(effects, AllowSources)
    assert not of(effects, UnfilterSources)


def test_a_clean_stop_removes_the_filter_before_it_halts() -> None:
    hub, _ = a_filtering_hub()
    effects = hub.give(ShutdownRequested())
    assert effects[-2:] == [UnfilterSources("gre1"), Halt()]


def test_a_tunnel_that_is_no_longer_configured_has_no_filter() -> None:
    hub, _ = a_filtering_hub()
    effects = hub.give(ConfigChanged(Config(interfaces={})))
    assert of(effects, UnfilterSources) == [UnfilterSources("gre1")]


def test_a_netdev_that_is_made_anew_finds_its_filter_as_it_was() -> None:
    hub, found = a_filtering_hub()
    effects = hub.give(LinkGone(GRE), now=5.0)
    assert of(effects, UnfilterSources) == []
    found.apply(effects)
    assert found.drops is False
    found.apply(hub.give(*links_of(HUB, ifindex=9), now=6.0))
    assert found.of(2) == ["10.255.255.2/32", LAN.format(2)]
    found.apply(hub.give(RouteAdded(a_route("10.9.0.0/16", 9, via=tunnel(2))), now=7.0))
    assert found.of(2) == ["10.255.255.2/32", "10.9.0.0/16", LAN.format(2)]
    found.apply(hub.run(65.0))  # the routes of the former netdev
    assert found.of(3) == ["10.255.255.3/32"]


def test_our_new_nbma_address_has_other_sas() -> None:
    hub, found = a_filtering_hub()
    effects = hub.give(
        an_address(UNDERLAY, nbma(9), 24), AddressRemoved(UNDERLAY, nbma(1), 24), now=5.0
    )
    found.apply(effects)
    assert found.sources == {}
    found.apply(hub.give(installed(2, local=9, mark=8), now=6.0))
    assert found.of(8) == ["10.255.255.2/32", LAN.format(2)]


def test_a_thousand_peers_and_a_burst_of_routes_are_one_small_change_each() -> None:
    hub, found = a_filtering_hub()
    effects: list[Effect] = []
    for number in range(5000):
        prefix = f"10.{number >> 8}.{number & 255}.0/24"
        effects = hub.give(RouteAdded(a_route(prefix, via=tunnel(2))))
        assert effects == [AllowSources("gre1", 2, (parse_prefix(prefix),))]
        found.sources[2].add(prefix)
    wide = hub.give(RouteAdded(a_route("10.0.0.0/8", via=tunnel(2))))
    assert len(the(of(wide, AllowSources)).removed) == 5001  # and the tunnel address
