"""Circuits: wishes for SAs, what came of them, and packets that are ahead of charon's word."""

import random
from typing import Any

from nhrpd_py.core.address import parse_prefix
from nhrpd_py.core.base.hold_down import FIRST_HOLD_DOWN_S, MAX_HOLD_DOWN_S
from nhrpd_py.core.effects import DropSa, WantSa
from nhrpd_py.core.events import PacketReceived
from nhrpd_py.core.ipsec.circuit import CircuitState
from nhrpd_py.core.ipsec.circuits import (
    HELD_S,
    MAX_FAILURES,
    MAX_HELD_EACH,
    MAX_HOLDING_PEERS,
)
from tests.support import inspect
from tests.support.bench import Bench
from tests.support.engine import the
from tests.support.ipsec import IPSEC, a_policy, a_rule, an_association, wishes
from tests.support.sites import GRE, an_interface, ip, nbma, tunnel

PEER = nbma(3)


def a_bench(rng: random.Random | None = None, **settings: Any) -> Bench:
    """The circuits of spoke 2's protected interface, and what they ask for."""
    bench = Bench(an_interface(**{"ipsec": IPSEC, **settings}), rng=rng)
    bench.circuits.moved(nbma(2))
    return bench


def said(bench: Bench) -> list[str]:
    """What charon was asked for since the last look."""
    return wishes(bench.effects())


def up(bench: Bench, **fields: Any) -> None:
    """charon has an SA with the peer."""
    bench.associations.add(an_association(3, **fields), now=7.0)


def test_without_ipsec_every_circuit_is_up_and_nothing_is_asked() -> None:
    bench = a_bench(ipsec=None)
    circuits = bench.circuits
    assert circuits.is_up(PEER)
    circuits.need(PEER, "x")
    circuits.release(PEER, "x")
    circuits.renew(PEER)
    assert said(bench) == []
    assert circuits.needed() == []
    assert circuits.state(PEER) is CircuitState.UP
    assert circuits.problem(PEER) is None
    circuits.release_all()
    assert said(bench) == []


def test_a_circuit_is_up_while_its_pair_has_an_sa() -> None:
    bench = a_bench()
    circuits = bench.circuits
    assert not circuits.is_up(PEER)
    assert circuits.unsure
    assert circuits.up_since(PEER) is None
    assert circuits.identity(PEER) is None
    up(bench)
    assert circuits.is_up(PEER)
    assert circuits.state(PEER) is CircuitState.UP
    assert circuits.up_since(PEER) == 7.0
    assert circuits.identity(PEER) == "spoke3.example"
    up(bench, id=33, identity="other.example")
    assert circuits.identity(PEER) == "spoke3.example, other.example"


def test_an_sa_from_another_address_of_ours_is_none() -> None:
    bench = a_bench()
    circuits = bench.circuits
    up(bench, local=9)
    assert not circuits.is_up(PEER)


def test_wanted_twice_and_released_once_is_wanted() -> None:
    bench = a_bench()
    circuits = bench.circuits
    circuits.need(PEER, "one")
    circuits.need(PEER, "one")
    circuits.need(PEER, "two")
    assert said(bench) == ["want 192.168.100.3"]
    circuits.release(PEER, "one")
    circuits.release(PEER, "one")
    circuits.release(nbma(9), "one")
    assert said(bench) == []
    assert [remote for remote, _ in circuits.needed()] == [PEER]
    circuits.release(PEER, "two")
    assert said(bench) == ["drop 192.168.100.3"]
    assert circuits.needed() == []


def test_a_peer_that_becomes_a_server_and_ceases_to_be_one_is_asked_for_as_what_it_is() -> None:
    bench = a_bench()
    circuits = bench.circuits
    circuits.need(PEER, "binding", delay_s=0.5)
    circuits.need(PEER, "nhs", server=True)
    assert said(bench) == ["want 192.168.100.3 after 0.5", "want 192.168.100.3 server"]
    circuits.release(PEER, "nhs")
    assert said(bench) == ["want 192.168.100.3"]


def test_wishes_go_with_our_own_address() -> None:
    bench = a_bench()
    circuits = bench.circuits
    circuits.need(PEER, "x")
    bench.effects()
    circuits.moved(b"")
    assert said(bench) == ["drop 192.168.100.3"]
    circuits.need(nbma(4), "x")
    circuits.release_all()
    circuits.need(PEER, "x")
    assert said(bench) == []  # nobody to ask from
    circuits.moved(nbma(9))
    want = the(bench.effects())
    assert isinstance(want, WantSa)
    assert (want.local, want.remote, want.ipsec) == (nbma(9), PEER, IPSEC)
    circuits.release_all()
    assert bench.effects() == [DropSa("dmvpn", nbma(9), PEER, "gre1")]


def test_renewal_ends_what_is_up_only() -> None:
    bench = a_bench()
    circuits = bench.circuits
    circuits.renew(PEER)
    assert said(bench) == []
    up(bench)
    circuits.renew(PEER)
    assert said(bench) == ["end 192.168.100.3"]


def test_a_failure_is_shown_until_the_circuit_is_up() -> None:
    bench = a_bench()
    circuits = bench.circuits
    assert circuits.state(PEER) is CircuitState.IDLE
    assert circuits.problem(PEER) is None
    circuits.failed(PEER, "no answer")
    circuits.failed(PEER, "wrong CA")
    assert circuits.state(PEER) is CircuitState.FAILED
    assert circuits.problem(PEER) == "wrong CA"
    up(bench)
    assert circuits.problem(PEER) is None
    circuits.clear_failure(PEER)
    assert circuits.state(PEER) is CircuitState.UP


def test_rests_double_up_to_a_quarter_of_an_hour() -> None:
    bench = a_bench()
    circuits = bench.circuits
    assert circuits.hold_down(PEER, 0.0) == FIRST_HOLD_DOWN_S
    circuits.failed(PEER, "no answer")
    assert circuits.held_down(PEER, 0.0) is None
    now, rests = 0.0, []
    for _ in range(20):
        rests.append(circuits.hold_down(PEER, now))
        assert circuits.held_down(PEER, now) == ("no answer", rests[-1])
        now += rests[-1]
        assert circuits.held_down(PEER, now) is None
    assert rests[:6] == [30.0, 60.0, 120.0, 240.0, 480.0, 900.0]
    assert rests[-1] == MAX_HOLD_DOWN_S
    circuits.clear_failures()
    assert circuits.state(PEER) is CircuitState.IDLE


def test_two_families_that_give_up_at_once_count_as_one() -> None:
    bench = a_bench()
    circuits = bench.circuits
    circuits.failed(PEER, "no answer")
    assert circuits.hold_down(PEER, 0.0) == 30.0
    assert circuits.hold_down(PEER, 1.0) == 29.0
    assert circuits.hold_down(PEER, 30.0) == 60.0


def test_a_peer_that_comes_by_itself_does_not_rest() -> None:
    bench = a_bench()
    circuits = bench.circuits
    circuits.failed(PEER, "no answer")
    circuits.hold_down(PEER, 0.0)
    up(bench)
    assert circuits.held_down(PEER, 1.0) is None


def test_failures_are_bounded() -> None:
    bench = a_bench()
    circuits = bench.circuits
    for number in range(MAX_FAILURES + 1):
        circuits.failed(number.to_bytes(4), "no answer")
    assert inspect.failure_count(circuits) == MAX_FAILURES
    assert circuits.state(bytes(4)) is CircuitState.IDLE


def test_policy_looks_at_the_sas_of_the_peer() -> None:
    policy = a_policy(a_rule("spoke3.*", ("10.255.255.3/32",), ("172.16.3.0/24",)))
    bench = a_bench(authorize=policy)
    circuits = bench.circuits
    assert circuits.address_denial(PEER, tunnel(4)) is None  # nobody knows yet who it is
    up(bench)
    assert circuits.address_denial(PEER, tunnel(3)) is None
    assert circuits.address_denial(PEER, tunnel(4)) is not None
    assert circuits.prefix_denial(PEER, parse_prefix("172.16.4.0/24")) is not None


def a_packet(source: bytes = PEER, data: bytes = b"x") -> PacketReceived:
    return PacketReceived(GRE, source, data)


def test_parked_packets_come_out_in_order_and_once() -> None:
    bench = a_bench()
    circuits = bench.circuits
    packets = [a_packet(data=bytes([each])) for each in range(MAX_HELD_EACH + 1)]
    assert [circuits.hold(each, 1.0) for each in packets] == [True] * MAX_HELD_EACH + [False]
    assert bench.next_deadline() == 1.0 + HELD_S
    assert circuits.release_held(PEER) == packets[:-1]
    assert bench.next_deadline() is None
    assert circuits.release_held(PEER) == []


def test_parked_peers_are_bounded() -> None:
    bench = a_bench()
    circuits = bench.circuits
    for number in range(MAX_HOLDING_PEERS):
        assert circuits.hold(a_packet(number.to_bytes(4)), 1.0)
    assert not circuits.hold(a_packet(ip("203.0.113.1")), 1.0)
    assert circuits.hold(a_packet(bytes(4)), 1.0)  # one that waits already


def test_rests_are_jittered() -> None:
    circuits = a_bench(random.Random(1)).circuits
    circuits.failed(PEER, "no answer")
    assert 27.0 <= circuits.hold_down(PEER, 0.0) < 30.0
