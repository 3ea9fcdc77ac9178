"""The protocol over IPsec: nothing to anybody without an SA, whatever goes, and everything back afterwards."""

import pytest

from nhrpd_py.core.base.hold_down import MAX_HOLD_DOWN_S
from tests.support.clouds import STORM, a_star, clear_up, goes_direct, move, spokes_of
from tests.support.fake_charon import Charons
from tests.support.network import Network, Weather
from tests.support.sites import HUB

HOUR_S = 3600.0


def a_network(spokes: int, seed: int, *, holding_time_s: int = 120) -> Network:
    return a_star(spokes, seed, holding_time_s=holding_time_s, ipsec=True)


def charons_of(network: Network) -> Charons:
    assert network.charons is not None
    return network.charons


def clear(network: Network, *, bound_s: float) -> None:
    charons_of(network).failure = 0.0
    charons_of(network).unreachable.clear()
    clear_up(network, bound_s=bound_s)


def misfortune(network: Network) -> None:
    """Something of what happens to SAs."""
    rng = network.rng
    charons = charons_of(network)
    name = rng.choice(list(network.stations))
    station = network.stations[name]
    pairs = sorted(station.ike.sas)
    match rng.randrange(9):
        case 0:
            network.kill(name)
            network.run(rng.random() * 30)
            network.boot(name)
        case 1:
            network.kill(name)
            network.run(rng.random() * 30)
            network.reboot(name)
        case 2 if name != "hub":
            move(network, name)
        case 3:
            network.tunnel_down(name)
            network.tunnel_up(name)
        case 4:
            network.replace_tunnel(name)
        case 5:
            charons.restart(station, rng.random() * 20)
        case 6 if pairs:
            charons.cut(station, rng.choice(pairs), "deleted")
        case 7 if pairs:
            charons.rekey(station, rng.choice(pairs))
        case _:
            one, two = rng.sample(spokes_of(network), 2)
            charons.unreachable.add(
                frozenset(network.stations[each].site.nbma for each in (one, two))
            )


def chat(network: Network, times: int = 4) -> None:
    one, two = network.rng.sample(spokes_of(network), 2)
    for _ in range(times):
        network.talk(one, two)
        network.run(network.rng.random())


def test_spokes_register_and_make_shortcuts_over_sas() -> None:
    network = a_network(2, 1)
    one, two = spokes_of(network)
    clear(network, bound_s=10.0)
    assert network.talk(one, two) == [one, "hub", two]
    goes_direct(network, one, two)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_nothing_goes_without_an_sa_and_all_is_well_afterwards(seed: int) -> None:
    network = a_network(12, seed)
    charons_of(network).failure = 0.2
    network.weather = STORM
    for _ in range(80):
        misfortune(network)
        chat(network)
        network.run(network.rng.random() * 20)
    network.run(1.0)
    # 120 s of holding time, 64 s of back-off of registrations and 60 s of attempts.
    clear(network, bound_s=120 / 3 + 64 + 60 + 10)
    network.run(MAX_HOLD_DOWN_S + 130.0)
    one, two = spokes_of(network)[:2]
    goes_direct(network, one, two)


def test_everything_idle_leaves_the_wishes_for_the_hub_alone() -> None:
    network = a_network(8, 5)
    clear(network, bound_s=10.0)
    for _ in range(40):
        chat(network)
    network.run(600.0)
    for name in spokes_of(network):
        spoke = network.stations[name]
        assert set(spoke.ike.wanted) == {(spoke.site.nbma, HUB.nbma)}
    assert not network.stations["hub"].ike.wanted


def test_peer_that_ike_cannot_reach_is_left_alone_and_found_again() -> None:
    network = a_network(2, 6)
    clear(network, bound_s=10.0)
    one, two = spokes_of(network)
    pair = network.stations[one].site.nbma, network.stations[two].site.nbma
    charons_of(network).unreachable.add(frozenset(pair))
    ike = network.stations[one].ike
    attempts = ike.attempts
    for _ in range(3600):
        assert network.talk(one, two) == [one, "hub", two], "the hub has to carry it"
        network.run(1.0)
    assert 3 <= ike.attempts - attempts <= 15  # 30, 60 … 900 s apart
    charons_of(network).unreachable.clear()
    network.run(MAX_HOLD_DOWN_S)
    goes_direct(network, one, two)


@pytest.mark.timeout(1800)
def test_fifty_spokes_for_hours(long: bool) -> None:
    hours = 24 if long else 1
    network = a_network(50, 42, holding_time_s=600)
    charons_of(network).failure = 0.05
    network.weather = Weather(loss=0.05, duplication=0.02, delay_s=0.03, jitter_s=0.1)
    rng = network.rng
    while network.now < hours * HOUR_S:
        chat(network, 2)
        if rng.random() < 0.02:
            misfortune(network)
        network.run(rng.expovariate(0.5))
    clear(network, bound_s=600 / 3 + 64 + 60)
