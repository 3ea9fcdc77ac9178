"""The state of the way to one peer."""

from nhrpd_py.core.ipsec.circuit import FAILING_S, AttemptFailure, Circuit


def test_attempts_fail_while_somebody_needs_the_sa_and_a_while_after_that() -> None:
    circuit = Circuit()
    assert not circuit.is_failing(0.0)
    circuit.failure = AttemptFailure("no answer", at=100.0)
    assert circuit.is_failing(100.0)
    assert not circuit.is_failing(100.0 + FAILING_S)
    circuit.needed_by["somebody"] = False
    assert circuit.is_failing(1000.0)
    circuit.needed_by.clear()
    circuit.failure.held_down_until = 2000.0
    assert circuit.is_failing(1999.0)
    assert not circuit.is_failing(2000.0)


def test_circuit_leads_to_a_server_while_anybody_needs_it_as_one() -> None:
    circuit = Circuit({"peer": False})
    assert [circuit.to_server, circuit.is_empty] == [False, False]
    circuit.needed_by["registration"] = True
    assert [circuit.to_server, circuit.is_empty] == [True, False]
    assert Circuit().is_empty
