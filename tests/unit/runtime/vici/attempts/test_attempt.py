"""The machine of one attempt."""

from typing import Any

import pytest
import trio

from nhrpd_py.core.address import parse_address
from nhrpd_py.core.config import IpsecConfig
from nhrpd_py.core.effects import WantSa
from nhrpd_py.runtime.vici.attempts.attempt import CHILDLESS_S, DEADLINE_S, Attempt, AttemptState

HERE, THERE = "192.0.2.1", "192.0.2.2"


def attempt() -> Attempt:
    return Attempt(
        WantSa(
            ipsec=IpsecConfig(profile="dmvpn"),
            local=parse_address(HERE),
            remote=parse_address(THERE),
            server=True,
        )
    )


def ike(state: str = "ESTABLISHED", **fields: str) -> dict[str, Any]:
    values = {"state": state, "local-host": HERE, "remote-host": THERE, "initiator": "yes"}
    return {key: value.encode() for key, value in (values | fields).items()}


UP = {"up": b"yes", "x": ike()}
DELETED = {"x": ike("CONNECTING")}
ALERT = {"type": b"ts-mismatch", "ike-sa": {"x": ike()}}


async def test_an_ike_sa_and_then_a_child_sa(autojump_clock) -> None:
    it = attempt()
    it.happened("ike-updown", UP)
    before = it.state
    it.came_up()
    assert (before, it.state) == (AttemptState.ESTABLISHED, AttemptState.UP)
    assert await it.wait()


async def test_an_ike_sa_without_a_child_sa(autojump_clock) -> None:
    it = attempt()
    it.happened("ike-updown", UP)
    begun = trio.current_time()
    assert await it.wait()
    assert trio.current_time() - begun == pytest.approx(CHILDLESS_S)
    assert it.failure == "the IKE_SA came up, but its CHILD_SA did not"


async def test_silence_is_no_end(autojump_clock) -> None:
    it = attempt()
    begun = trio.current_time()
    assert not await it.wait()
    assert trio.current_time() - begun == pytest.approx(DEADLINE_S)
    assert (it.state, it.failure) == (AttemptState.NEGOTIATING, None)


@pytest.mark.parametrize("before", [None, UP])
@pytest.mark.parametrize(
    ("event", "message", "failure"),
    [
        ("ike-updown", DELETED, "the negotiation failed"),
        ("alert", ALERT, "the traffic selectors do not fit: local_ts and remote_ts differ"),
    ],
)
def test_what_fails_an_attempt(
    before: dict[str, Any] | None, event: str, message: dict[str, Any], failure: str
) -> None:
    it = attempt()
    if before is not None:
        it.happened("ike-updown", before)
    it.happened(event, message)
    assert (it.state, it.failure) == (AttemptState.FAILED, failure)
    it.fail("something else")
    assert it.failure == failure


def test_a_child_sa_counts_also_after_a_failure() -> None:
    it = attempt()
    it.fail("the negotiation failed")
    it.came_up()
    assert it.state is AttemptState.UP
    it.fail("too late")
    it.happened("ike-updown", UP)
    assert it.state is AttemptState.UP


@pytest.mark.parametrize(
    "other",
    [ike("CONNECTING", initiator="no"), ike("CONNECTING", **{"remote-host": "192.0.2.3"})],
)
def test_other_ike_sas_say_nothing_of_it(other: dict[str, Any]) -> None:
    it = attempt()
    it.happened("ike-updown", {"x": other})
    it.happened("alert", {"type": b"ts-mismatch", "ike-sa": {"x": other}})
    it.happened("alert", {"type": b"cert-validation-failed", "ike-sa": {"x": ike()}})
    assert it.state is AttemptState.NEGOTIATING
