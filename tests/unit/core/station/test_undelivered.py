"""The table of hints about peers that packets do not reach."""

from nhrpd_py.core.events import Obstacle, OuterProtocol, PacketUndelivered
from nhrpd_py.core.station.undelivered import MAX_HINTS, Undelivered


def test_the_table_is_bounded_and_the_oldest_makes_room() -> None:
    undelivered = Undelivered()
    remotes = [number.to_bytes(4) for number in range(MAX_HINTS + 10)]
    for remote in remotes:
        undelivered.note(
            PacketUndelivered(
                local=b"\1" * 4,
                remote=remote,
                protocol=OuterProtocol.GRE,
                obstacle=Obstacle.NO_PORT,
                reporter=remote,
            ),
            0.0,
        )
    assert len(undelivered) == MAX_HINTS
    assert undelivered.reason(remotes[0], 1.0) is None
    assert undelivered.reason(remotes[-1], 1.0) == (
        "0.0.4.9 has no tunnel without a key that takes packets from 1.1.1.1, or its own packet filter rejects them"
    )
    assert undelivered.counts[Obstacle.NO_PORT] == MAX_HINTS + 10
    undelivered.refute(remotes[-1])
    undelivered.refute(remotes[0])
    assert undelivered.reason(remotes[-1], 1.0) is None
