"""The protocol over IPsec: nothing to anybody without an SA, whatever goes, and everything back afterwards."""

import pytest

from nhrpd_py.core.ipsec.circuits import MAX_HOLD_DOWN_S
from tests.simulation.test_world import HOUR_S, STORM, clear_up, goes_direct
from tests.support.fake_charon import Charons
from tests.support.network import Weather, World


def a_world(spokes: int, seed: int, *, holding_time_s: int = 120) -> World:
    return World(spokes=spokes, seed=seed, holding_time_s=holding_time_s, ipsec=True)


def charons_of(world: World) -> Charons:
    assert world.charons is not None
    return world.charons


def clear(world: World, *, bound_s: float) -> None:
    charons_of(world).failure = 0.0
    charons_of(world).unreachable.clear()
    clear_up(world, bound_s=bound_s)


def misfortune(world: World) -> None:
    """Something of what happens to SAs."""
    rng = world.rng
    charons = charons_of(world)
    node = rng.choice(list(world.nodes.values()))
    pairs = sorted(node.ike.sas)
    match rng.randrange(9):
        case 0:
            world.kill(node)
            world.run(world.now + rng.random() * 30)
            world.boot(node)
        case 1:
            world.kill(node)
            world.run(world.now + rng.random() * 30)
            world.reboot(node)
        case 2 if not node.is_hub:
            world.move(node)
        case 3:
            world.flap(node)
        case 4:
            world.replace_netdev(node)
        case 5:
            charons.restart(node, rng.random() * 20)
        case 6 if pairs:
            charons.cut(node, rng.choice(pairs), "deleted")
        case 7 if pairs:
            charons.rekey(node, rng.choice(pairs))
        case _:
            one, two = rng.sample(world.spokes, 2)
            charons.unreachable.add(frozenset((one.nbma, two.nbma)))


def chat(world: World, times: int = 4) -> None:
    one, two = world.rng.sample(world.spokes, 2)
    for _ in range(times):
        world.talk(one, two)
        world.run(world.now + world.rng.random())


def test_spokes_register_and_make_shortcuts_over_sas() -> None:
    world = a_world(2, 1)
    one, two = world.spokes
    clear(world, bound_s=10.0)
    assert world.talk(one, two) == [2, 1, 3]
    goes_direct(world, one, two)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_nothing_goes_without_an_sa_and_all_is_well_afterwards(seed: int) -> None:
    world = a_world(12, seed)
    charons_of(world).failure = 0.2
    world.weather = STORM
    for _ in range(80):
        misfortune(world)
        chat(world)
        world.run(world.now + world.rng.random() * 20)
    world.run(world.now + 1.0)
    # 120 s of holding time, 64 s of back-off of registrations and 60 s of attempts.
    clear(world, bound_s=120 / 3 + 64 + 60 + 10)
    world.run(world.now + MAX_HOLD_DOWN_S + 130.0)
    one, two = world.spokes[:2]
    goes_direct(world, one, two)


def test_everything_idle_leaves_the_wishes_for_the_hub_alone() -> None:
    world = a_world(8, 5)
    clear(world, bound_s=10.0)
    for _ in range(40):
        chat(world)
    world.run(world.now + 600.0)
    for spoke in world.spokes:
        assert set(spoke.ike.wanted) == {(spoke.nbma, world.hub.nbma)}
    assert not world.hub.ike.wanted


def test_peer_that_ike_cannot_reach_is_left_alone_and_found_again() -> None:
    world = a_world(2, 6)
    clear(world, bound_s=10.0)
    one, two = world.spokes
    charons_of(world).unreachable.add(frozenset((one.nbma, two.nbma)))
    attempts = one.ike.attempts
    for _ in range(3600):
        assert world.talk(one, two) == [2, 1, 3], "the hub has to carry it"
        world.run(world.now + 1.0)
    assert 3 <= one.ike.attempts - attempts <= 15  # 30, 60 … 900 s apart
    charons_of(world).unreachable.clear()
    world.run(world.now + MAX_HOLD_DOWN_S)
    goes_direct(world, one, two)


@pytest.mark.timeout(180)
def test_fifty_spokes_for_four_hours() -> None:
    world = a_world(50, 42, holding_time_s=600)
    charons_of(world).failure = 0.05
    world.weather = Weather(loss=0.05, duplication=0.02, delay_s=0.03, jitter_s=0.1)
    rng = world.rng
    while world.now < 4 * HOUR_S:
        chat(world, 2)
        if rng.random() < 0.02:
            misfortune(world)
        world.run(world.now + rng.expovariate(0.5))
    clear(world, bound_s=600 / 3 + 64 + 60)
