"""The machine of a wanted SA, and which of several is due."""

import random
from dataclasses import replace

import pytest

from nhrpd_py.core.address import parse_address
from nhrpd_py.core.config import IpsecConfig
from nhrpd_py.core.effects import WantSa
from nhrpd_py.runtime.vici.attempts.wanted import (
    JITTER,
    STEADY_S,
    WantedSa,
    WantedSas,
    WantedState,
    hold_down_s,
)

HERE, THERE = parse_address("192.0.2.1"), parse_address("192.0.2.2")
PAIR = (HERE, THERE)


def request(interface: str = "gre1", fallback: str | None = None, **options: float) -> WantSa:
    ipsec = IpsecConfig(profile="dmvpn", fallback_profile=fallback)
    return WantSa(
        ipsec=ipsec, local=HERE, remote=THERE, server=True, interface=interface, **options
    )


def rng() -> random.Random:
    return random.Random(1)


def sas(*requests: WantSa) -> WantedSas:
    made = WantedSas(rng())
    for each in requests:
        made.request(each, 0.0, is_up=False)
    return made


def tried(now: float = 0.0) -> WantedSa:
    wanted = WantedSa(request())
    wanted.request(request(), now, is_up=False)
    wanted.begin()
    return wanted


def test_a_request_waits_as_long_as_it_says() -> None:
    it = sas(request(delay_s=0.5))
    assert it.next_due(0.0) == (None, 0.5)
    due, _ = it.next_due(0.5)
    assert due is not None
    assert due.state is WantedState.WAITING


def test_one_that_is_up_is_not_due() -> None:
    it = WantedSas(rng())
    it.request(request(), 0.0, is_up=True)
    assert it.next_due(1000.0) == (None, None)
    assert [each.state for each in it] == [WantedState.UP]


def test_each_failure_in_a_row_holds_it_down_for_longer() -> None:
    wanted = tried()
    now = 0.0
    for nominal in (2, 4, 8, 16, 32, 60, 60):
        wait_s = wanted.failed("no answer", now, rng())
        assert nominal * (1 - JITTER) <= wait_s <= nominal * (1 + JITTER)
        assert (wanted.state, wanted.next_attempt_at) == (WantedState.HELD_DOWN, now + wait_s)
        now += wait_s
        wanted.begin()
    assert (wanted.attempts, wanted.failures, wanted.last_error) == (8, 7, "no answer")


def test_another_request_ends_the_hold_down() -> None:
    wanted = tried()
    wanted.failed("no answer", 0.0, rng())
    wanted.request(request(), 1.0, is_up=False)
    assert (wanted.state, wanted.next_attempt_at) == (WantedState.WAITING, 1.0)
    assert wanted.failures == 0


def test_what_an_earlier_charon_leaves_at_last_ends_no_hold_down() -> None:
    """An orphan may be given up because the attempts to get another one fail."""
    wanted = tried()
    for _ in range(3):
        wanted.failed("no answer", 0.0, rng())
    due = wanted.next_attempt_at
    wanted.went_down(1.0, rng())
    assert (wanted.state, wanted.next_attempt_at) == (WantedState.HELD_DOWN, due)
    assert wanted.failures == 3
    wanted.begin()
    wanted.went_down(2.0, rng())
    assert (wanted.state, wanted.failures) == (WantedState.TRYING, 3)


def test_another_request_leaves_an_attempt_alone() -> None:
    wanted = tried()
    wanted.request(request(delay_s=3.0), 1.0, is_up=False)
    assert (wanted.state, wanted.next_attempt_at) == (WantedState.TRYING, None)


def with_fallback() -> WantedSa:
    """One that was tried by its first profile, and failed."""
    wanted = WantedSa(request(fallback="nat"))
    wanted.begin()
    assert wanted.profile == "dmvpn"
    wanted.failed("NO_PROPOSAL_CHOSEN", 0.0, rng())
    wanted.begin()
    assert wanted.profile == "nat"
    return wanted


@pytest.mark.parametrize("is_up", [False, True])
@pytest.mark.parametrize("lasted_s", [STEADY_S - 1, STEADY_S])
def test_after_an_sa_by_the_fallback_the_first_profile_is_next(
    is_up: bool, lasted_s: float
) -> None:
    """However often somebody asked for the SA meanwhile, which clears its failures."""
    wanted = with_fallback()
    wanted.request(request(fallback="nat"), 1.0, is_up=False)
    assert wanted.profile == "nat"
    wanted.came_up(2.0)
    if is_up:
        wanted.request(request(fallback="nat"), 3.0, is_up=True)
        assert wanted.profile == "nat"
    wanted.went_down(2.0 + lasted_s, rng())
    assert wanted.profile == "dmvpn"


def test_an_sa_by_the_first_profile_that_does_not_last_lets_the_fallback_try() -> None:
    wanted = WantedSa(request(fallback="nat"))
    wanted.begin()
    wanted.came_up(1.0)
    wanted.went_down(2.0, rng())
    assert wanted.profile == "nat"


def test_requests_between_attempts_do_not_keep_the_fallback_from_its_turn() -> None:
    wanted = WantedSa(request(fallback="nat"))
    used = []
    for now in range(4):
        wanted.begin()
        used.append(wanted.profile)
        wanted.failed("no answer", now, rng())
        wanted.request(request(fallback="nat"), now, is_up=False)
    assert used == ["dmvpn", "nat", "dmvpn", "nat"]


def test_another_charon_is_tried_by_the_first_profile() -> None:
    wanted = with_fallback()
    wanted.start_anew(5.0)
    assert wanted.profile == "dmvpn"


def test_what_is_mended_ends_the_hold_down_of_those_that_failed() -> None:
    it = sas(request("gre1"), request("gre2", fallback="nat"), request("gre3", delay_s=9.0))
    first, second, third = it
    for each in (first, second):
        each.begin()
        each.failed("no such connection", 0.0, rng())
    it.clear_failures("nat", 1.0)
    assert [each.state for each in it] == [
        WantedState.HELD_DOWN,
        WantedState.WAITING,
        WantedState.WAITING,
    ]
    it.clear_failures("dmvpn", 1.0)
    assert (first.next_attempt_at, second.next_attempt_at) == (1.0, 1.0)
    assert third.next_attempt_at == 9.0  # it has not failed: the peer has the first go still


@pytest.mark.parametrize(
    ("lasted_s", "state", "failures"),
    [(STEADY_S, WantedState.WAITING, 0), (STEADY_S - 1, WantedState.HELD_DOWN, 1)],
)
def test_an_sa_that_does_not_last_is_a_failure(
    lasted_s: float, state: WantedState, failures: int
) -> None:
    wanted = tried()
    wanted.came_up(5.0)
    assert (wanted.state, wanted.next_attempt_at) == (WantedState.UP, None)
    wanted.went_down(5.0 + lasted_s, rng())
    assert (wanted.state, wanted.failures) == (state, failures)
    assert wanted.next_attempt_at == 5.0 + lasted_s  # the first time at once in either case


def test_an_attempt_that_taught_nothing_is_made_again_at_once() -> None:
    wanted = tried()
    wanted.interrupted(7.0)
    assert (wanted.state, wanted.next_attempt_at) == (WantedState.WAITING, 7.0)


def test_after_a_connect_only_what_is_not_listed_is_due() -> None:
    it = sas(request())
    (wanted,) = it
    wanted.begin()
    wanted.failed("no answer", 0.0, rng())
    it.connected(lambda _pair: False, 1.0)
    assert (wanted.state, wanted.next_attempt_at, wanted.failures) == (WantedState.WAITING, 1.0, 0)
    it.connected(lambda pair: pair == PAIR, 2.0)
    assert (wanted.state, wanted.up_since) == (WantedState.UP, 2.0)


def test_a_key_has_the_interface_as_well() -> None:
    it = sas(request("gre1"), request("gre2"))
    it.withdraw(("gre1", "dmvpn", HERE, THERE))
    assert [each.effect.interface for each in it.of_pair(PAIR)] == ["gre2"]
    it.withdraw(("gre2", "dmvpn", HERE, THERE))
    assert it.of_pair(PAIR) == []
    assert it.remotes() == set()


def test_the_longest_wait_is_over_first() -> None:
    it = sas(request("gre1", delay_s=2.0), request("gre2", delay_s=1.0))
    due, _ = it.next_due(5.0)
    assert due is not None
    assert due.effect.interface == "gre2"


def test_servers_come_before_peers_that_have_waited_longer() -> None:
    peer = replace(request("gre1"), server=False)
    it = sas(peer, replace(peer, interface="gre2"), request("gre3", delay_s=4.0))
    due, _ = it.next_due(3.0)
    assert due is not None
    assert due.effect.interface == "gre1"
    due, _ = it.next_due(5.0)
    assert due is not None
    assert due.effect.interface == "gre3"
    assert it.next_due(3.0, servers_only=True) == (None, 4.0)


def test_no_failure_no_wait() -> None:
    assert hold_down_s(0, rng()) == 0.0
