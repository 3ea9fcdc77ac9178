"""The states of a guarded tunnel, held against the table in its module."""

import re

import pytest

from nhrpd_py.core.notices import GuardFailed
from nhrpd_py.runtime.guard import tunnel as tunnel_module
from nhrpd_py.runtime.guard.tunnel import GuardedTunnel, Listeners, TunnelState
from tests.unit.runtime.guard.guard_world import GRE_42

PATHS = {
    TunnelState.STANDING: (),
    TunnelState.UNREAD: ("unread",),
    TunnelState.FAILING: ("not_put_back",),
    TunnelState.REFUSED: ("bypassed",),
}
"""TunnelState → inputs that lead there from the beginning."""


def table() -> list[tuple[TunnelState, str, TunnelState]]:
    """TunnelState, input and next state, as the module's docstring has them."""
    lines = [line.split() for line in (tunnel_module.__doc__ or "").splitlines()]
    inputs = next(words[1:] for words in lines if words[:1] == ["input:"])
    rows = [[word for word in words if word != "state"] for words in lines]
    return [
        (TunnelState[row[0]], given, TunnelState[after])
        for row in rows
        if len(row) == len(inputs) + 1 and all(re.fullmatch("[A-Z]+", word) for word in row)
        for given, after in zip(inputs, row[1:], strict=True)
    ]


class Told:
    """A tunnel, and whom it told of what."""

    def __init__(self) -> None:
        self.notices: list[object] = []
        self.refused: list[tuple[int, str]] = []
        self.mended: list[int] = []
        listeners = Listeners(
            self.notices.append,
            lambda ifindex, problem: self.refused.append((ifindex, problem)),
            self.mended.append,
        )
        self.tunnel = GuardedTunnel("gre1", 7, GRE_42, listeners)

    def give(self, given: str, problem: str) -> None:
        method = getattr(self.tunnel, given)
        method() if given == "stands" else method(problem)


def test_the_table_has_every_state_and_input() -> None:
    assert len(table()) == len(TunnelState) * 4


@pytest.mark.parametrize(("before", "given", "after"), table())
def test_each_input_leads_where_the_table_says_and_is_told_once(before, given, after) -> None:
    told = Told()
    for step in PATHS[before]:
        told.give(step, "before")
    assert told.tunnel.state is before
    for record in (told.notices, told.refused, told.mended):
        record.clear()
    told.give(given, "now")
    assert told.tunnel.state is after
    failed = given != "stands"
    assert told.tunnel.problem == ("now" if failed else None)
    assert told.notices == [GuardFailed(interface="gre1", reason="now")] * failed
    refused = after is TunnelState.REFUSED and before is not TunnelState.REFUSED
    assert told.refused == [(7, "now")] * refused
    assert told.mended == [7] * (before is TunnelState.REFUSED and after is TunnelState.STANDING)
    told.notices.clear()
    if failed:
        told.give("bypassed", "now")
        assert told.notices == []


def test_a_tunnel_that_the_caller_keeps_closed_is_told_of_its_end_alone() -> None:
    told = Told()
    told.tunnel.closed_by_caller("now")
    told.tunnel.bypassed("now")
    told.tunnel.stands()
    assert (told.notices, told.refused, told.mended) == ([], [], [7])
