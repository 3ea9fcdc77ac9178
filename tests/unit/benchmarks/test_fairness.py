"""What the fairness part of the benchmark sends, and what it makes of the answers."""

from nhrpd_py.packet.message import decode
from nhrpd_py.packet.wire import BadPacket
from tools.benchmarks.fairness import HOSTILE, OUTER_AT, Outcome, kinds, table

NHRP_AT = 14 + 20 + 8


def test_every_kind_is_what_it_is_called() -> None:
    for kind, frames in kinds().items():
        for each in frames:
            try:
                decode(each[NHRP_AT:])
            except BadPacket:
                assert kind == "malformed"


def test_moves_come_from_both_outer_addresses_in_turn() -> None:
    frames = kinds()["the same from two outer addresses in turn"]
    sources = [".".join(map(str, each[OUTER_AT - 4 : OUTER_AT])) for each in frames[:4]]
    assert sources == [*HOSTILE, *HOSTILE]


def test_table_has_how_many_were_answered_and_how_soon() -> None:
    good = {"kind": "nothing", "sent": 3, "hostile": 0, "round_trips_s": [0.001, 0.002, 0.009]}
    bad = {"kind": "a flood", "sent": 3, "hostile": 900, "round_trips_s": []}
    assert table([good, bad])[-2:] == [
        "nothing  3 of 3, median 2.0 ms, at most 9.0 ms",
        "a flood  0 of 3",
    ]
    assert Outcome("x", sent=1).text() == "0 of 1"
