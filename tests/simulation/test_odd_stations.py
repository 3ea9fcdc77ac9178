"""A spoke that proves paths, and one of another make: it answers probes never, at times or with rubbish, or floods.

The direct path works all the time: what is odd is only what is said about it.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from nhrpd_py.core.base.hold_down import FIRST_HOLD_DOWN_S
from nhrpd_py.core.effects import Effect, SetNeighbor
from nhrpd_py.core.events import PacketReceived
from nhrpd_py.core.notices import PathFailed
from nhrpd_py.packet.iana import PacketType
from nhrpd_py.packet.message import Message, encode
from tests.support import inspect
from tests.support.clouds import add_hub, add_spoke
from tests.support.messages import a_resolution_request
from tests.support.network import Network
from tests.support.sites import GRE, SPOKE_1, SPOKE_2
from tests.support.station import Station

STEP_S = 0.25
MINUTE_S = 60.0
LEAST_HOLD_DOWN_S = FIRST_HOLD_DOWN_S * 0.9
"""With jitter."""
OURS, ODD = "ours", "odd"


class Scene(Network):
    """A hub, our spoke and the odd one; keeps when our path failed, and when traffic was sent straight again."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed)
        self.failed_at: list[float] = []
        self.direct_at: list[float] = []
        add_hub(self, SPOKE_1, SPOKE_2, holding_time_s=120)
        self.ours = add_spoke(self, OURS, SPOKE_1, holding_time_s=120, path_check_s=3)
        add_spoke(self, ODD, SPOKE_2, holding_time_s=120)
        self.run(2.0)

    def was_asked(self, station: Station, effect: Effect) -> None:
        if station.name != OURS:
            return
        if isinstance(effect, PathFailed):
            self.failed_at.append(self.now)
        if isinstance(effect, SetNeighbor) and effect.nbma == SPOKE_2.nbma:
            self.direct_at.append(self.now)

    def spoil(self, change: Callable[[Message], Message | None]) -> None:
        """Changes the odd one's answers to probes on the way; None: they get lost."""

        def lost(sender: str, to: str, message: Message) -> bool:
            is_answer = (sender, to, message.type) == (ODD, OURS, PacketType.RESOLUTION_REPLY)
            if not is_answer or message.destination_protocol != SPOKE_2.tunnel:
                return False
            spoilt = change(message)
            if spoilt is not message and spoilt is not None:
                packet = PacketReceived(GRE, SPOKE_2.nbma, encode(spoilt))
                self.later(0.01, self.ours, packet)
            return spoilt is not message

        self.losses.append(lost)

    def talk_for(self, seconds: float) -> None:
        """Has the two LANs talk, and nothing may get lost."""
        until = self.now + seconds
        while self.now < until:
            assert self.talk(OURS, ODD)[-1] == ODD
            assert self.talk(ODD, OURS)[-1] == OURS
            self.run(STEP_S)

    def check_flaps(self) -> None:
        """After a failure the hub serves for the hold-down at least."""
        for failed in self.failed_at:
            later = [at - failed for at in (*self.failed_at, *self.direct_at) if at > failed]
            assert not later or min(later) >= LEAST_HOLD_DOWN_S, (failed, later)


@pytest.mark.parametrize("seed", range(2))
def test_station_that_never_answers_is_served_by_what_arrives_from_it(seed: int) -> None:
    scene = Scene(seed)
    scene.spoil(lambda _: None)
    scene.talk_for(5 * MINUTE_S)
    scene.check_flaps()
    assert 1 <= len(scene.failed_at) <= 4
    assert scene.talk(OURS, ODD) == [OURS, ODD]
    assert scene.ours.sent[PacketType.RESOLUTION_REQUEST] < 5 * 60


@pytest.mark.parametrize("seed", range(3))
def test_station_that_answers_at_times_is_no_faster_in_and_out_than_the_hold_down(
    seed: int,
) -> None:
    scene = Scene(seed)
    scene.spoil(lambda answer: answer if scene.rng.random() < 0.25 else None)
    scene.talk_for(20 * MINUTE_S)
    scene.check_flaps()
    assert scene.ours.sent[PacketType.RESOLUTION_REQUEST] < 20 * 60


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: replace(answer, request_id=answer.request_id + 1),
        lambda answer: replace(answer, source_protocol=SPOKE_2.tunnel),
        lambda answer: replace(answer, entries=()),
        lambda answer: replace(answer, type=PacketType.PURGE_REPLY),
    ],
    ids=["another's id", "another's address", "no entries", "another type"],
)
def test_rubbish_is_no_answer(change: Callable[[Message], Message]) -> None:
    scene = Scene(1)
    scene.spoil(lambda answer: change(answer) if answer.entries else None)
    scene.talk_for(3 * MINUTE_S)
    scene.check_flaps()
    assert scene.failed_at
    dropped = inspect.drops(scene.ours.engine)
    assert sum(dropped.values()) > 0


def test_flood_of_probes_is_answered_one_for_one_and_changes_nothing() -> None:
    scene = Scene(1)
    scene.talk_for(5.0)
    before = scene.ours.sent.copy()
    probe = a_resolution_request(SPOKE_2, SPOKE_1.tunnel, extensions=())
    for number in range(60):
        for each in range(50):
            data = encode(replace(probe, request_id=1000 + 50 * number + each))
            scene.give(OURS, PacketReceived(GRE, SPOKE_2.nbma, data))
        scene.talk_for(STEP_S)
    sent = scene.ours.sent - before
    assert sum(sent.values()) <= 60 * 50 + 60
    assert scene.failed_at == []
    assert scene.talk(OURS, ODD) == [OURS, ODD]
