"""A changed file under a running engine: what each setting does, and that nothing else happens."""

from dataclasses import replace

import pytest

from nhrpd_py.core.config import AuthorizeConfig, Config, InterfaceConfig, NhsConfig
from nhrpd_py.core.effects import (
    AnswerCommand,
    CloseInterface,
    DropNeighbor,
    DropRoute,
    DropSa,
    Effect,
    OpenInterface,
    SetNeighbor,
    WantSa,
)
from nhrpd_py.core.events import ConfigChanged, IpsecLost, LinkGone, NameResolved, SaInstalled
from nhrpd_py.core.notices import ClaimRefused, NhsDown, ShortcutRemoved
from nhrpd_py.core.queries import View
from nhrpd_py.packet.extension import authentication_matches
from nhrpd_py.packet.iana import REGISTRATION_UNIQUE, ExtensionType, PacketType
from tests.support.engine import Node, a_hub, a_node, a_spoke, kinds, of, sent, the, the_packet
from tests.support.ipsec import IPSEC, READY, a_rule, an_association, installed
from tests.support.messages import (
    a_purge_request,
    a_registration_reply,
    a_registration_request,
)
from tests.support.resolution import a_shortcut_spoke
from tests.support.sites import (
    GRE,
    HUB,
    SECRET,
    a_map,
    a_site,
    a_tunnel_link,
    an_interface,
    an_nhs,
    links_of,
    nbma,
    tunnel,
)

SPOKE = an_interface(shortcut=True, nhs=(an_nhs(),))


def reload(node: Node, *interfaces: InterfaceConfig, now: float = 10.0) -> list[Effect]:
    config = Config(interfaces={each.name: each for each in interfaces})
    return node.give(ConfigChanged(config), now=now)


def test_the_same_file_does_nothing() -> None:
    assert reload(a_spoke(), SPOKE) == []
    hub = an_interface(redirect=True, maps=(a_map(tunnel(9), nbma(9)),))
    assert reload(a_hub(2, 3, maps=hub.maps), hub) == []


def test_who_waits_is_told_when_all_is_applied() -> None:
    config = Config(interfaces={"gre1": SPOKE})
    assert a_spoke().give(ConfigChanged(config, 7), now=10.0) == [AnswerCommand(7, 0)]


@pytest.mark.parametrize(
    "settings",
    [
        {"redirect": True},
        {"unique": True},
        {"authentication": SECRET},
        {"holding_time_s": 600},
        {"tunnel_source": "eth0"},
        {"network_id": 2},
        {"authorize": AuthorizeConfig(rules=(a_rule("nobody"),))},
    ],
)
def test_settings_for_what_comes_next_touch_nothing_now(settings) -> None:
    spoke = a_spoke()
    assert reload(spoke, replace(SPOKE, **settings)) == []
    assert spoke.table(View.NHS, "state") == [("up",)]


def test_the_next_registration_obeys_the_new_settings() -> None:
    spoke = a_spoke()
    reload(spoke, replace(SPOKE, authentication=SECRET, unique=True, holding_time_s=90))
    request = the(sent(spoke.run(20.0), PacketType.REGISTRATION_REQUEST))
    assert request.flags & REGISTRATION_UNIQUE
    assert request.entries[0].holding_time_s == 90
    extension = request.extension(ExtensionType.AUTHENTICATION)
    assert extension is not None
    assert authentication_matches(extension, SECRET.value)


def test_a_shorter_holding_time_renews_sooner() -> None:
    spoke = a_spoke()
    reload(spoke, replace(SPOKE, holding_time_s=15), now=1.0)
    assert spoke.engine.next_deadline() == 6.0


def test_a_server_under_way_is_not_asked_sooner_for_a_shorter_holding_time() -> None:
    spoke = a_spoke(registered=False)
    due = spoke.engine.next_deadline()
    reload(spoke, replace(SPOKE, holding_time_s=15), now=0.5)
    assert spoke.engine.next_deadline() == due


def test_a_new_server_is_asked_and_the_old_one_left_in_peace() -> None:
    spoke = a_spoke()
    effects = reload(spoke, replace(SPOKE, nhs=(an_nhs(), an_nhs("192.168.100.9"))))
    assert kinds(effects) == [(nbma(9), PacketType.REGISTRATION_REQUEST)]
    assert (of(effects, DropNeighbor), of(effects, SetNeighbor)) == ([], [])
    assert spoke.table(View.NHS, "nbma", "state") == [
        ("192.168.100.1", "up"),
        ("192.168.100.9", "registering"),
    ]


@pytest.mark.parametrize(
    "before", [an_nhs(), an_nhs("hub.example.net")], ids=["without its overlay address", "by name"]
)
def test_a_server_that_is_written_in_another_way_is_not_left(before: NhsConfig) -> None:
    """It was told that we leave, and all was lost until it had registered us anew, with IPsec over a new SA."""
    spoke = a_node(2, nhs=(before,))
    effects = [*spoke.started, *spoke.give(NameResolved("hub.example.net", (HUB.nbma,), None))]
    request = the(sent(effects, PacketType.REGISTRATION_REQUEST))
    spoke.receive(a_registration_reply(request), HUB.nbma)
    config = replace(SPOKE, nhs=(an_nhs(protocol=HUB.tunnel),), shortcut=False)
    assert reload(spoke, config) == []
    assert spoke.table(View.NHS, "nbma", "state") == [("192.168.100.1", "up")]
    assert sent(spoke.run(20.0), PacketType.REGISTRATION_REQUEST)
    assert spoke.engine.next_deadline() is not None


def test_another_server_at_the_same_outer_address_is_another_one() -> None:
    spoke = a_spoke()
    effects = reload(spoke, replace(SPOKE, nhs=(an_nhs(protocol=tunnel(9)),)))
    assert of(effects, DropNeighbor) == [DropNeighbor(GRE, HUB.tunnel)]
    assert (HUB.nbma, PacketType.REGISTRATION_REQUEST) in kinds(effects)


def test_the_order_of_the_servers_means_nothing_to_them() -> None:
    two = (an_nhs(), an_nhs("192.168.100.9"))
    spoke = a_spoke()
    reload(spoke, replace(SPOKE, nhs=two))
    assert reload(spoke, replace(SPOKE, nhs=two[::-1])) == []
    assert [row[0] for row in spoke.table(View.NHS, "nbma")] == ["192.168.100.9", "192.168.100.1"]


def test_a_removed_server_is_told_and_its_binding_goes() -> None:
    spoke = a_spoke()
    effects = reload(spoke, replace(SPOKE, nhs=()))
    assert kinds(effects) == [(HUB.nbma, PacketType.PURGE_REQUEST)]
    assert of(effects, DropNeighbor) == [DropNeighbor(GRE, HUB.tunnel)]
    assert the(of(effects, NhsDown)).reason == "it is no longer configured"
    assert spoke.engine.next_deadline() is None


def test_a_server_that_became_the_worse_one_is_left() -> None:
    spoke = a_spoke()
    better = an_nhs("192.168.100.9", priority=0)
    effects = reload(spoke, replace(SPOKE, nhs=(an_nhs(priority=5), better)))
    to, request = the_packet(effects)
    assert (to, request.type) == (nbma(9), PacketType.REGISTRATION_REQUEST)
    assert of(effects, DropNeighbor) == []  # the other serves until then, or for ever
    effects = spoke.receive(a_registration_reply(request, server=tunnel(9)), nbma(9))
    assert (HUB.nbma, PacketType.PURGE_REQUEST) in kinds(effects)


def test_maps_come_move_and_go() -> None:
    spoke = a_spoke()
    mapped = replace(SPOKE, maps=(a_map(tunnel(9), nbma(9)),))
    assert SetNeighbor(GRE, tunnel(9), nbma(9)) in reload(spoke, mapped)
    moved = replace(SPOKE, maps=(a_map(tunnel(9), nbma(8)),))
    assert SetNeighbor(GRE, tunnel(9), nbma(8)) in reload(spoke, moved)
    assert DropNeighbor(GRE, tunnel(9)) in reload(spoke, SPOKE)
    assert "10.255.255.9" not in spoke.cache(10.0)


def test_an_interface_that_is_no_more_takes_everything_back() -> None:
    hub = a_hub(2, 3)
    effects = reload(hub)
    assert {each.address for each in of(effects, DropNeighbor)} == {tunnel(2), tunnel(3)}
    assert len(of(effects, DropRoute)) == 2
    assert the(of(effects, CloseInterface)) == CloseInterface(GRE, withdrawn=True, final=True)
    assert effects.index(CloseInterface(GRE, withdrawn=True, final=True)) > max(
        at for at, each in enumerate(effects) if isinstance(each, DropNeighbor)
    )
    assert hub.rows(View.INTERFACES) == hub.rows(View.CACHE) == []
    assert hub.engine.next_deadline() is None
    hub.receive(a_registration_request(2), nbma(2), now=11.0)


def test_one_that_is_down_is_given_back_as_it_was_found_too() -> None:
    hub = a_hub(2)
    hub.give(replace(a_tunnel_link(), up=False), now=1.0)
    effects = reload(hub)
    assert the(of(effects, CloseInterface)) == CloseInterface(GRE, withdrawn=True, final=True)
    hub = a_hub(2)
    hub.give(LinkGone(GRE), now=1.0)
    assert of(reload(hub), CloseInterface) == []


def test_an_interface_that_comes_back_starts_as_at_the_start() -> None:
    spoke = a_spoke()
    reload(spoke)
    effects = reload(spoke, SPOKE, now=20.0)
    assert the(of(effects, OpenInterface)).ifindex == GRE
    request = the(sent(effects, PacketType.REGISTRATION_REQUEST))
    spoke.receive(a_registration_reply(request), HUB.nbma, now=20.0)
    assert spoke.table(View.NHS, "state") == [("up",)]


def a_protected_spoke() -> Node:
    spoke = a_spoke(registered=False, ipsec=IPSEC)
    effects = spoke.give(READY, installed(1))
    request = the(sent(effects, PacketType.REGISTRATION_REQUEST))
    spoke.receive(a_registration_reply(request), HUB.nbma)
    assert spoke.table(View.NHS, "state") == [("up",)]
    return spoke


def test_another_profile_says_the_wishes_anew_and_nothing_goes_down() -> None:
    spoke = a_protected_spoke()
    other = replace(IPSEC, profile="other")
    effects = reload(spoke, replace(SPOKE, ipsec=other))
    assert effects == [
        DropSa("dmvpn", nbma(2), HUB.nbma, "gre1"),
        WantSa(ipsec=other, local=nbma(2), remote=HUB.nbma, server=True, interface="gre1"),
    ]
    named = replace(other, peer_identity="*.example")
    assert reload(spoke, replace(SPOKE, ipsec=named)) == [
        WantSa(ipsec=named, local=nbma(2), remote=HUB.nbma, server=True, interface="gre1")
    ]
    assert spoke.table(View.NHS, "state") == [("up",)]


def test_protection_that_is_switched_on_or_off_opens_the_interface_anew() -> None:
    spoke = a_spoke()
    effects = reload(spoke, replace(SPOKE, ipsec=IPSEC))
    assert the(of(effects, CloseInterface)).withdrawn is False
    assert the(of(effects, OpenInterface)).guard is not None
    assert sent(effects) == []  # nothing leaves in clear
    assert the(of(effects, WantSa)).remote == HUB.nbma
    effects = reload(spoke, SPOKE)
    assert the(of(effects, OpenInterface)).guard is None
    assert the(of(effects, DropSa)).remote == HUB.nbma
    assert kinds(effects) == [(HUB.nbma, PacketType.REGISTRATION_REQUEST)]


def test_protection_that_is_switched_on_while_charon_is_away_says_so() -> None:
    protected = an_interface(shortcut=True, nhs=(an_nhs(),), ipsec=IPSEC)
    spoke = a_spoke()
    spoke.give(READY, IpsecLost("nobody listens"))
    reload(spoke, protected)
    assert spoke.table(View.INTERFACES, "problem") == [("IPsec: nobody listens",)]
    spoke.give(READY, now=11.0)
    assert spoke.table(View.INTERFACES, "problem") == [(None,)]


def test_who_may_no_longer_claim_is_dropped_at_once() -> None:
    hub = a_hub(ipsec=IPSEC)
    hub.give(READY, installed(2, local=1), installed(3, local=1))
    for number in (2, 3):
        hub.receive(a_registration_request(number), nbma(number))
    config = an_interface(redirect=True, ipsec=IPSEC)
    rule = a_rule("spoke3.example", protocol=("10.255.255.9/32",))
    effects = reload(hub, replace(config, authorize=AuthorizeConfig(rules=(rule,))))
    assert the(of(effects, ClaimRefused)).protocol == tunnel(3)
    assert of(effects, DropNeighbor) == [DropNeighbor(GRE, tunnel(3))]
    assert set(hub.cache(10.0)) == {"10.255.255.2"}


def test_a_server_that_may_no_longer_be_ours_is_asked_anew_over_its_sa() -> None:
    spoke = a_protected_spoke()
    rule = a_rule("spoke1.example", protocol=("10.255.255.9/32",))
    config = replace(SPOKE, ipsec=IPSEC)
    effects = reload(spoke, replace(config, authorize=AuthorizeConfig(rules=(rule,))))
    assert spoke.cache(10.0) == {}
    request = the(sent(effects, PacketType.REGISTRATION_REQUEST))
    spoke.receive(a_registration_reply(request), HUB.nbma, now=10.0)
    assert spoke.cache(10.0) == {}
    reload(spoke, config, now=10.5)
    request = the(sent(spoke.advance(11.0), PacketType.REGISTRATION_REQUEST))
    spoke.receive(a_registration_reply(request), HUB.nbma, now=11.0)
    assert spoke.cache(11.0) == {"10.255.255.1": ("nhs", "192.168.100.1")}


@pytest.mark.parametrize("state", ["refused", "registering"])
def test_a_server_that_does_not_accept_us_and_may_no_longer_be_ours_is_asked_anew_too(
    state: str,
) -> None:
    spoke = a_protected_spoke()
    at = 0.0
    for _ in range(4):  # the renewal, and three more that are in vain: the binding stays
        at = spoke.engine.next_deadline() or at
        request = the(sent(spoke.advance(at), PacketType.REGISTRATION_REQUEST))
        if state == "refused":
            spoke.receive(a_registration_reply(request, code=4), HUB.nbma, now=at)
    if state == "registering":
        spoke.receive(a_purge_request(1, "10.255.255.2/32", tunnel(2)), HUB.nbma, now=at)
    assert spoke.table(View.NHS, "state", now=at) == [(state,)]
    assert spoke.cache(at) == {"10.255.255.1": ("nhs", "192.168.100.1")}
    rule = a_rule("spoke1.example", protocol=("10.255.255.9/32",))
    config = replace(SPOKE, ipsec=IPSEC)
    effects = reload(spoke, replace(config, authorize=AuthorizeConfig(rules=(rule,))), now=at)
    assert spoke.cache(at) == {}
    assert kinds(effects) == [(HUB.nbma, PacketType.REGISTRATION_REQUEST)]


def test_a_server_that_may_no_longer_be_ours_is_asked_once_it_can_hear_us() -> None:
    spoke = a_spoke(registered=False, ipsec=IPSEC)
    association = replace(an_association(1), answered=True)
    spoke.give(READY, SaInstalled(association), now=10.0)
    rule = a_rule("spoke9.example", protocol=("10.255.255.9/32",))
    config = replace(SPOKE, ipsec=IPSEC, authorize=AuthorizeConfig(rules=(rule,)))
    assert sent(reload(spoke, config, now=10.1)) == []
    assert kinds(spoke.advance(10.5)) == [(HUB.nbma, PacketType.REGISTRATION_REQUEST)]


def test_a_map_without_an_sa_waits_for_it_whoever_may_claim() -> None:
    maps = (a_map(tunnel(9), nbma(9)),)
    hub = a_hub(ipsec=IPSEC, maps=maps)
    hub.give(READY)
    rule = a_rule("spoke9.example", protocol=("10.255.255.9/32",))
    config = an_interface(redirect=True, ipsec=IPSEC, maps=maps)
    effects = reload(hub, replace(config, authorize=AuthorizeConfig(rules=(rule,))))
    assert of(effects, SetNeighbor) == []
    effects = hub.give(installed(9, local=1), now=11.0)
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(9), nbma(9))]


def test_a_binding_of_a_map_that_a_server_has_comes_from_the_server_afterwards() -> None:
    mapped = replace(SPOKE, maps=(a_map(HUB.tunnel, HUB.nbma),))
    spoke = a_spoke(maps=mapped.maps)
    assert spoke.cache()["10.255.255.1"] == ("static", "192.168.100.1")
    effects = reload(spoke, SPOKE)
    request = the(sent(effects, PacketType.REGISTRATION_REQUEST))
    spoke.receive(a_registration_reply(request), HUB.nbma, now=10.0)
    assert spoke.cache(10.0)["10.255.255.1"] == ("nhs", "192.168.100.1")


def test_a_map_that_stays_is_not_made_anew() -> None:
    maps = (a_map(tunnel(9), nbma(9)), a_map(tunnel(8), nbma(8)))
    hub = a_hub(maps=maps[:1])
    effects = reload(hub, an_interface(redirect=True, maps=maps))
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(8), nbma(8))]


def test_maps_that_come_before_the_tunnel_opens_are_there_when_it_does() -> None:
    hub = Node(an_interface())
    reload(hub, an_interface(maps=(a_map(tunnel(9), nbma(9)),)), now=1.0)
    assert hub.cache() == {}
    hub.give(*links_of(a_site(1), tunnel_length=32), now=2.0)
    assert hub.cache() == {"10.255.255.9": ("static", "192.168.100.9")}


def test_a_new_engine_and_a_reloaded_one_show_the_same_configuration() -> None:
    after = [
        replace(SPOKE, name="gre0", network_id=5),
        replace(SPOKE, authentication=SECRET, maps=(a_map(tunnel(9), nbma(9)),)),
    ]
    node = a_spoke()
    reload(node, *after)
    fresh = Node(*after)
    assert node.rows(View.CONFIG) == fresh.rows(View.CONFIG)
    assert node.table(View.INTERFACES, "interface") == fresh.table(View.INTERFACES, "interface")


def test_shortcuts_that_are_switched_off_go_at_once() -> None:
    spoke = a_shortcut_spoke()
    assert spoke.shortcuts(5.0)
    effects = reload(spoke, replace(SPOKE, shortcut=False))
    removed = the(of(effects, ShortcutRemoved))
    assert removed.reason == "shortcuts are switched off"
    assert DropRoute(removed.prefix, GRE) in effects
    assert spoke.shortcuts(10.0) == []
    assert spoke.table(View.NHS, "state") == [("up",)]
    # So does the direct path to the peer's tunnel address, which was renewed for ever while it was in use.
    assert DropNeighbor(GRE, tunnel(3)) in effects
    assert "10.255.255.3" not in spoke.cache(10.0)
