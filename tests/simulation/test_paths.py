"""Links that drop everything in one direction: no traffic stays on a path that carries nothing."""

import itertools

import pytest

from nhrpd_py.core.base.hold_down import MAX_HOLD_DOWN_S
from nhrpd_py.packet.iana import PacketType
from tests.simulation.test_world import MAX_RETRY_S, RTT_S, chaos
from tests.support.clouds import (
    FAIR,
    STORM,
    a_star,
    clear_up,
    goes_direct,
    spokes_of,
    to_lans_of,
)
from tests.support.network import Network
from tests.support.sites import HUB, SPOKE_1, SPOKE_2, a_config, an_nhs

DETECTION_S = 5.0
STEP_S = 0.25


def test_traffic_goes_direct_once_the_path_is_proven() -> None:
    network = a_star(2, seed=1, path_check_s=3)
    one, two = spokes_of(network)
    network.run(2.0)
    goes_direct(network, one, two, bound_s=1.0)
    goes_direct(network, two, one, bound_s=1.0)


@pytest.mark.parametrize("directions", [1, 2])
def test_a_path_that_is_blocked_from_the_start_costs_no_packet(directions: int) -> None:
    network = a_star(2, seed=2, path_check_s=3)
    one, two = spokes_of(network)
    network.blocked = {(one, two), (two, one)} if directions == 2 else {(one, two)}
    network.run(2.0)
    for _ in range(400):
        assert network.talk(one, two)[-1] == two
        assert network.talk(two, one)[-1] == one
        network.run(STEP_S)
    assert network.talk(one, two) == [one, "hub", two]
    network.blocked.clear()
    for _ in range(int(240 / STEP_S)):
        assert network.talk(one, two)[-1] == two
        network.run(STEP_S)
    assert network.talk(one, two) == [one, two]


def a_phase_2_network(
    seed: int, *, holding_time_s: int = 120, check_of_two_s: int | None = 3
) -> tuple[Network, str, str]:
    """Returns two spokes whose kernels ask for each other's tunnel address, and their names."""
    network = Network(seed=seed)
    network.weather = FAIR
    config = a_config(holding_time_s=holding_time_s, path_check_s=3, redirect=True)
    lans = to_lans_of(SPOKE_1, SPOKE_2)
    network.add("hub", HUB, config, routes=lans, tunnel_length=24)
    for name, site, other, check_s in (
        ("one", SPOKE_1, SPOKE_2, 3),
        ("two", SPOKE_2, SPOKE_1, check_of_two_s),
    ):
        config = a_config(nhs=(an_nhs(),), holding_time_s=holding_time_s, path_check_s=check_s)
        network.add(name, site, config, routes=to_lans_of(other), tunnel_length=24)
    return network, "one", "two"


@pytest.mark.parametrize("blocked", [False, True])
def test_no_packet_is_lost_to_the_proof_where_the_kernel_asks_for_the_peer(blocked: bool) -> None:
    network, one, two = a_phase_2_network(seed=3)
    network.run(2.0)
    if blocked:
        network.blocked = {(one, two), (two, one)}
    for _ in range(2000):
        assert network.talk(one, two)[-1] == two
        network.run(0.01)
    assert network.talk(one, two) == ([one, "hub", two] if blocked else [one, two])
    asked = network.stations[one].sent[PacketType.RESOLUTION_REQUEST]
    assert asked < 12  # and nobody asks again and again while it is tried


def test_station_that_proves_nothing_is_on_the_hub_again_after_a_minute() -> None:
    """Each request of ours put its traffic on the dead path again, for our whole holding time."""
    network, one, two = a_phase_2_network(seed=4, holding_time_s=600, check_of_two_s=None)
    network.run(2.0)
    for _ in range(40):
        network.talk(one, two)
        network.talk(two, one)
        network.run(STEP_S)
    assert network.talk(two, one) == [two, one]
    network.blocked = {(two, one)}
    lost = []
    for _ in range(int(600 / STEP_S)):
        network.talk(one, two)
        lost.append(network.talk(two, one)[-1] != one)
        network.run(STEP_S)
    minute = int(66 / STEP_S)
    assert not all(lost[:minute])
    # Afterwards a few seconds are lost when the path is tried anew, after 30, 60, 120 … s.
    assert sum(lost[minute:]) * STEP_S < 4 * 10


class Losses:
    """How long each pair has lost everything, up to now."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.since: dict[tuple[str, str], float] = {}
        self.longest_s = 0.0

    def look(self, one: str, two: str) -> None:
        now = self.network.now
        if self.network.talk(one, two)[-1] == two:
            self.since.pop((one, two), None)
        else:
            began = self.since.setdefault((one, two), now)
            self.longest_s = max(self.longest_s, now - began)


@pytest.mark.parametrize("protected", [False, True], ids=["plain", "ipsec"])
@pytest.mark.parametrize("seed", range(2))
def test_no_traffic_is_held_on_a_dead_path_for_longer_than_the_detection(
    seed: int, protected: bool
) -> None:
    network = a_star(5, seed=seed, holding_time_s=120, ipsec=protected, path_check_s=3)
    spokes = spokes_of(network)
    network.run(5.0)
    pairs = list(itertools.permutations(spokes, 2))
    losses = Losses(network)
    for _ in range(12):
        network.blocked = set(network.rng.sample(pairs, network.rng.randrange(8)))
        for _ in range(int(network.rng.uniform(5.0, 60.0) / STEP_S)):
            for one, two in pairs[:: network.rng.randrange(1, 4)]:
                losses.look(one, two)
            network.run(STEP_S)
    assert losses.longest_s <= DETECTION_S
    network.blocked.clear()
    network.run(MAX_HOLD_DOWN_S)
    goes_direct(network, spokes[0], spokes[1], bound_s=10.0)


@pytest.mark.parametrize("seed", range(2))
def test_whatever_happens_everything_works_again_afterwards(seed: int) -> None:
    network = a_star(8, seed=seed, holding_time_s=120, path_check_s=3)
    network.weather = STORM
    chaos(network, 30)
    clear_up(network, bound_s=120 / 3 + MAX_RETRY_S + RTT_S + 2.0)
    network.run(MAX_HOLD_DOWN_S)
    one, two = spokes_of(network)[:2]
    goes_direct(network, one, two, bound_s=10.0)
