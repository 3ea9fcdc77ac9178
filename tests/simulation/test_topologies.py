"""Networks that are no plain star: several hubs, NAT, IPv6 in either layer, phase 2, hubs behind hubs, secrets.

Every one is played in good weather and with every fifth packet lost; then it must still come to the same end once the
weather clears. `Station.check` looks at every step of all stations.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from nhrpd_py.core.address import Prefix, prefix_of
from nhrpd_py.core.config import Secret
from nhrpd_py.core.events import Route
from nhrpd_py.packet import PacketType
from tests.support.clouds import (
    OVERLAY,
    TUNNELS,
    goes_direct,
    registered,
    spokes_of,
    wait_until_registered,
)
from tests.support.network import Weather
from tests.support.sites import (
    HUB,
    HUB_2,
    SPOKE_1,
    SPOKE_2,
    SPOKE_3,
    Site,
    a_config,
    a_route,
    a_site,
    an_nhs,
)
from tests.support.transcript import Dialogue

HOLDING_TIME_S = 60
MAX_RETRY_S = 64.0
RTT_S = 0.1

Topology = Callable[[Dialogue], None]


def star(
    dialogue: Dialogue,
    hub: Site,
    *spokes: Site,
    overlay: str = OVERLAY,
    tunnels: str = TUNNELS,
    secret: Secret | None = None,
    unique: bool = False,
) -> None:
    dialogue.add(
        "hub",
        hub,
        a_config(redirect=True, holding_time_s=HOLDING_TIME_S, authentication=secret),
        routes=[a_route(each.lan, via=each.tunnel) for each in spokes],
    )
    for number, site in enumerate(spokes, 1):
        dialogue.add(
            f"spoke-{number}",
            site,
            a_config(
                nhs=(an_nhs(hub),),
                holding_time_s=HOLDING_TIME_S,
                authentication=secret,
                unique=unique,
            ),
            routes=[a_route(each, via=hub.tunnel) for each in (overlay, tunnels)],
        )


def one_hub(dialogue: Dialogue) -> None:
    star(dialogue, HUB, SPOKE_1, SPOKE_2, SPOKE_3)


def with_a_secret(dialogue: Dialogue) -> None:
    star(dialogue, HUB, SPOKE_1, SPOKE_2, SPOKE_3, secret=Secret(b"cisco123"), unique=True)


def ipv6_overlay(dialogue: Dialogue) -> None:
    sites = [a_site(number, ipv6_overlay=True) for number in (1, 11, 12, 13)]
    star(dialogue, *sites, overlay="fd00::/16", tunnels="fd00:ff::/64")


def ipv6_underlay(dialogue: Dialogue) -> None:
    star(dialogue, *[a_site(number, ipv6_underlay=True) for number in (1, 11, 12, 13)])


def ipv6_in_ipv6(dialogue: Dialogue) -> None:
    sites = [a_site(number, ipv6_overlay=True, ipv6_underlay=True) for number in (1, 11, 12, 13)]
    star(dialogue, *sites, overlay="fd00::/16", tunnels="fd00:ff::/64")


def phase_2(dialogue: Dialogue) -> None:
    """The tunnel is a /24, routes keep their next hop, and the kernel asks for unknown neighbours."""
    spokes = (SPOKE_1, SPOKE_2, SPOKE_3)
    dialogue.add(
        "hub",
        HUB,
        a_config(holding_time_s=HOLDING_TIME_S),
        routes=[a_route(each.lan, via=each.tunnel) for each in spokes],
        tunnel_length=24,
    )
    for number, site in enumerate(spokes, 1):
        dialogue.add(
            f"spoke-{number}",
            site,
            a_config(nhs=(an_nhs(),), holding_time_s=HOLDING_TIME_S),
            routes=[a_route(each.lan, via=each.tunnel) for each in spokes if each is not site],
            tunnel_length=24,
        )


def natted_spokes(dialogue: Dialogue) -> None:
    """Two spokes behind NAT boxes of their own, with the same private address; one with a public one."""
    star(dialogue, HUB)
    inside = bytes([192, 168, 1, 2])
    for number, site in enumerate((SPOKE_1, SPOKE_2, SPOKE_3), 1):
        dialogue.route("hub", a_route(site.lan, via=site.tunnel))
        own = site.nbma if number == 3 else inside
        dialogue.add(
            f"spoke-{number}",
            replace(site, nbma=own),
            a_config(nhs=(an_nhs(),), holding_time_s=HOLDING_TIME_S),
            routes=[a_route(each, via=HUB.tunnel) for each in (OVERLAY, TUNNELS)],
            outside=site.nbma,
        )


def hub_behind_a_hub(dialogue: Dialogue) -> None:
    """Two regions, each with a hub that is a client of the hub of all."""
    first, second = a_site(2), a_site(3)
    regions = {"hub-a": (first, (SPOKE_1, SPOKE_3)), "hub-b": (second, (SPOKE_2,))}
    routes = []
    for site, spokes in regions.values():
        routes += [a_route(each.lan, via=site.tunnel) for each in spokes]
        routes += [a_route(host(each), via=site.tunnel) for each in spokes]
    config = a_config(redirect=True, holding_time_s=HOLDING_TIME_S)
    dialogue.add("hub", HUB, config, routes=routes)
    names = {SPOKE_1: "spoke-1", SPOKE_2: "spoke-2", SPOKE_3: "spoke-3"}
    for name, (site, spokes) in regions.items():
        dialogue.add(
            name,
            site,
            a_config(nhs=(an_nhs(),), redirect=True, holding_time_s=HOLDING_TIME_S),
            routes=[
                *(a_route(each, via=HUB.tunnel) for each in (OVERLAY, TUNNELS)),
                *(a_route(each.lan, via=each.tunnel) for each in spokes),
            ],
        )
        for spoke in spokes:
            dialogue.add(
                names[spoke],
                spoke,
                a_config(nhs=(an_nhs(site),), holding_time_s=HOLDING_TIME_S),
                routes=[a_route(each, via=site.tunnel) for each in (OVERLAY, TUNNELS)],
            )


def two_hubs_of_one_cluster(dialogue: Dialogue) -> None:
    """Both are used at once; traffic follows the routing, which prefers the first."""
    spokes = (SPOKE_1, SPOKE_2, SPOKE_3)
    for name, site in (("hub", HUB), ("hub-2", HUB_2)):
        routes = [a_route(each.lan, via=each.tunnel) for each in spokes]
        config = a_config(redirect=True, holding_time_s=HOLDING_TIME_S)
        dialogue.add(name, site, config, routes=routes)
    for number, site in enumerate(spokes, 1):
        config = a_config(nhs=(an_nhs(HUB), an_nhs(HUB_2)), holding_time_s=HOLDING_TIME_S)
        dialogue.add(f"spoke-{number}", site, config, routes=_by_both())


def two_hubs_with_priorities(dialogue: Dialogue) -> None:
    """The second is only asked when the first is gone."""
    spokes = (SPOKE_1, SPOKE_2, SPOKE_3)
    for name, site in (("hub", HUB), ("hub-2", HUB_2)):
        routes = [a_route(each.lan, via=each.tunnel) for each in spokes]
        config = a_config(redirect=True, holding_time_s=HOLDING_TIME_S)
        dialogue.add(name, site, config, routes=routes)
    for number, site in enumerate(spokes, 1):
        nhs = (an_nhs(HUB, priority=10), an_nhs(HUB_2, priority=20))
        config = a_config(nhs=nhs, holding_time_s=HOLDING_TIME_S)
        dialogue.add(f"spoke-{number}", site, config, routes=_by_both())


TOPOLOGIES: tuple[Topology, ...] = (
    one_hub,
    with_a_secret,
    ipv6_overlay,
    ipv6_underlay,
    ipv6_in_ipv6,
    phase_2,
    natted_spokes,
    hub_behind_a_hub,
    two_hubs_of_one_cluster,
    two_hubs_with_priorities,
)


def _by_both() -> list[Route]:
    return [
        a_route(each, via=hub.tunnel, metric=metric)
        for each in (OVERLAY, TUNNELS)
        for hub, metric in ((HUB, 0), (HUB_2, 20))
    ]


def host(site: Site) -> Prefix:
    return prefix_of(site.tunnel, len(site.tunnel) * 8)


def all_pairs_go_direct(dialogue: Dialogue) -> None:
    names = spokes_of(dialogue)
    for one in names:
        for other in names:
            if one != other:
                goes_direct(dialogue, one, other)


@pytest.mark.parametrize("build", TOPOLOGIES, ids=lambda build: build.__name__)
def test_all_pairs_of_lans_find_the_direct_path(build: Topology) -> None:
    dialogue = Dialogue()
    build(dialogue)
    assert wait_until_registered(dialogue, bound_s=1.0) <= 1.0
    for name in spokes_of(dialogue)[1:]:
        first = dialogue.talk("spoke-1", name)
        assert first[-1] == name, f"the first packet was lost: {first}"
    all_pairs_go_direct(dialogue)


@pytest.mark.parametrize("build", TOPOLOGIES, ids=lambda build: build.__name__)
@pytest.mark.parametrize("seed", range(3))
def test_a_storm_leaves_nothing_behind(build: Topology, seed: int) -> None:
    dialogue = Dialogue(seed=seed)
    dialogue.weather = Weather(loss=0.2)
    build(dialogue)
    names = spokes_of(dialogue)
    for _ in range(60):
        for one, other in zip(names, names[1:] + names[:1], strict=True):
            dialogue.talk(one, other)
        dialogue.run(3.0)
    dialogue.weather = Weather()
    wait_until_registered(dialogue, bound_s=MAX_RETRY_S + RTT_S)
    # What was asked in vain is left alone for a minute; a refusal, for three.
    dialogue.run(185.0)
    all_pairs_go_direct(dialogue)


@pytest.mark.parametrize("build", TOPOLOGIES, ids=lambda build: build.__name__)
def test_everything_works_again_after_the_hub_rebooted(build: Topology) -> None:
    dialogue = Dialogue()
    build(dialogue)
    wait_until_registered(dialogue, bound_s=1.0)
    all_pairs_go_direct(dialogue)
    dialogue.kill("hub")
    dialogue.run(10.0)
    dialogue.reboot("hub")
    # A renewal is a third of the holding time away at most, and its first retries are quick.
    dialogue.run(HOLDING_TIME_S / 3 + MAX_RETRY_S + RTT_S)
    assert registered(dialogue) == spokes_of(dialogue)
    all_pairs_go_direct(dialogue)


@pytest.mark.parametrize("build", TOPOLOGIES, ids=lambda build: build.__name__)
def test_a_killed_hub_forwards_on_and_is_adopted_at_once(build: Topology) -> None:
    dialogue = Dialogue()
    build(dialogue)
    wait_until_registered(dialogue, bound_s=1.0)
    dialogue.kill("hub")
    assert dialogue.talk("spoke-1", "spoke-2")[-1] == "spoke-2"
    dialogue.boot("hub")
    dialogue.run(2.0)
    assert registered(dialogue) == spokes_of(dialogue)
    assert dialogue.talk("spoke-1", "spoke-2")[-1] == "spoke-2"


@pytest.mark.parametrize("build", TOPOLOGIES, ids=lambda build: build.__name__)
def test_a_spoke_survives_what_happens_to_its_tunnel(build: Topology) -> None:
    dialogue = Dialogue()
    build(dialogue)
    wait_until_registered(dialogue, bound_s=1.0)
    all_pairs_go_direct(dialogue)
    dialogue.tunnel_down("spoke-1")
    dialogue.run(5.0)
    dialogue.tunnel_up("spoke-1")
    wait_until_registered(dialogue, bound_s=1.0)
    dialogue.run(1.0)
    goes_direct(dialogue, "spoke-1", "spoke-2")
    dialogue.replace_tunnel("spoke-1")
    dialogue.run(1.0)
    assert dialogue.stations["spoke-1"].servers_up
    goes_direct(dialogue, "spoke-1", "spoke-2")


@pytest.mark.parametrize("build", TOPOLOGIES, ids=lambda build: build.__name__)
def test_idle_stations_only_renew_their_registrations(build: Topology) -> None:
    dialogue = Dialogue()
    build(dialogue)
    wait_until_registered(dialogue, bound_s=1.0)
    dialogue.run(2 * HOLDING_TIME_S)
    before = {name: each.sent.copy() for name, each in dialogue.stations.items()}
    dialogue.run(3600.0)
    for name in spokes_of(dialogue):
        station = dialogue.stations[name]
        told = station.sent - before[name]
        assert set(told) == {PacketType.REGISTRATION_REQUEST}
        # A third of the holding time, up to a tenth less, for each server it is registered with.
        servers = len(station.servers_up)
        least = 3600 * 3 / HOLDING_TIME_S * servers
        assert least - 1 <= told.total() <= least / 0.9 + servers


def test_the_second_hub_takes_over_and_gives_back() -> None:
    dialogue = Dialogue()
    two_hubs_with_priorities(dialogue)
    wait_until_registered(dialogue, bound_s=1.0)
    spoke = dialogue.stations["spoke-1"]
    assert spoke.servers_up == [HUB.nbma]
    dialogue.kill("hub")
    dialogue.run(HOLDING_TIME_S / 3 + 1 + 2 + 4 + RTT_S)
    assert spoke.servers_up == [HUB_2.nbma]
    for name in spokes_of(dialogue):  # a routing protocol would have seen it as well
        station = dialogue.stations[name]
        for route in [r for r in station.kernel.other_routes() if r.gateway == HUB.tunnel]:
            dialogue.route(name, route, remove=True)
    dialogue.run(1.0)
    goes_direct(dialogue, "spoke-1", "spoke-2")
    dialogue.reboot("hub")
    dialogue.run(MAX_RETRY_S + RTT_S)
    assert spoke.servers_up == [HUB.nbma]


def test_both_hubs_of_a_cluster_are_registered_with() -> None:
    dialogue = Dialogue()
    two_hubs_of_one_cluster(dialogue)
    wait_until_registered(dialogue, bound_s=1.0)
    dialogue.run(1.0)
    for name in spokes_of(dialogue):
        assert sorted(dialogue.stations[name].servers_up) == [HUB.nbma, HUB_2.nbma]


def test_a_request_goes_up_the_hierarchy_and_down_again() -> None:
    dialogue = Dialogue()
    hub_behind_a_hub(dialogue)
    wait_until_registered(dialogue, bound_s=1.0)
    dialogue.run(1.0)
    assert dialogue.talk("spoke-1", "spoke-2") == ["spoke-1", "hub-a", "hub", "hub-b", "spoke-2"]
    assert dialogue.talk("spoke-1", "spoke-3") == ["spoke-1", "hub-a", "spoke-3"]
    dialogue.run(1.0)
    assert dialogue.talk("spoke-1", "spoke-2") == ["spoke-1", "spoke-2"]
    assert dialogue.talk("spoke-1", "spoke-3") == ["spoke-1", "spoke-3"]


def test_the_same_seed_gives_the_same_dialogue() -> None:
    def text(seed: int) -> str:
        dialogue = Dialogue(seed=seed)
        dialogue.weather = Weather(loss=0.2)
        one_hub(dialogue)
        for _ in range(20):
            dialogue.talk("spoke-1", "spoke-2")
            dialogue.run(5.0)
        return dialogue.text

    assert text(7) == text(7)
    assert text(7) != text(8)
