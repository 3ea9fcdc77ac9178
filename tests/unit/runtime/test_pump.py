"""The pump: turns, deadlines, and what it does about bugs."""

from collections.abc import Callable, Sequence

import pytest
import structlog
import trio

from nhrpd_py.core.effects import Effect, Halt, ResolveName
from nhrpd_py.core.events import Event, LinkGone, PacketReceived, ShutdownRequested, TrafficSeen
from nhrpd_py.packet.extension import cisco_authentication
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.pump import Pump
from tests.support.messages import a_registration_request, received

PACKET = PacketReceived(5, bytes([192, 0, 2, 1]), b"\xca\xfe")


class ScriptedEngine:
    """Notes what it is told and answers as scripted."""

    def __init__(self) -> None:
        self.deadline: float | None = None
        self.waiting: list[PacketReceived] = []
        self.seen: list[tuple[str, object, float]] = []
        self.on_advance: Callable[[float], list[Effect]] = lambda _now: []
        self.on_event: Callable[[Event], list[Effect]] = lambda event: (
            [Halt()] if isinstance(event, ShutdownRequested) else []
        )

    def handle(self, event: Event, now: float) -> list[Effect]:
        self.seen.append(("handle", event, now))
        return self.on_event(event)

    def released(self) -> list[PacketReceived]:
        packets, self.waiting = self.waiting, []
        return packets

    def advance(self, now: float) -> list[Effect]:
        self.seen.append(("advance", None, now))
        return self.on_advance(now)

    def next_deadline(self) -> float | None:
        return self.deadline


class Recorder:
    """Executes nothing and remembers each turn's effects."""

    def __init__(self) -> None:
        self.turns: list[list[Effect]] = []

    def __call__(self, effects: Sequence[Effect]) -> bool:
        self.turns.append(list(effects))
        return any(isinstance(effect, Halt) for effect in effects)


def a_pump() -> tuple[Pump, ScriptedEngine, Inbox, Recorder]:
    engine, inbox, recorder = ScriptedEngine(), Inbox(), Recorder()
    return Pump(engine, inbox, recorder), engine, inbox, recorder


async def test_a_batch_is_handled_at_one_instant_and_its_effects_are_executed_together(
    autojump_clock,
) -> None:
    pump, engine, inbox, recorder = a_pump()
    engine.on_event = lambda event: (
        [Halt()] if isinstance(event, ShutdownRequested) else [ResolveName(str(event.ifindex))]  # type: ignore[union-attr]
    )
    inbox.offer([LinkGone(1), LinkGone(2), ShutdownRequested()])
    await pump.run()
    assert recorder.turns == [[], [ResolveName("1"), ResolveName("2"), Halt()]]
    assert len({now for what, _, now in engine.seen if what == "handle"}) == 1


async def test_the_engine_is_woken_at_its_deadline(autojump_clock) -> None:
    pump, engine, _, _ = a_pump()
    start = trio.current_time()
    engine.deadline = start + 600.0
    woken: list[float] = []

    def on_advance(now: float) -> list[Effect]:
        if now < start + 600.0:
            return []
        woken.append(now - start)
        engine.deadline = None
        return [Halt()]

    engine.on_advance = on_advance
    await pump.run()
    assert woken == [pytest.approx(600.0, abs=0.01)]


async def test_the_deadline_is_read_anew_after_each_turn(autojump_clock) -> None:
    pump, engine, inbox, _ = a_pump()
    start = trio.current_time()
    engine.deadline = start + 600.0

    def on_event(event: Event) -> list[Effect]:
        engine.deadline = start + 20.0
        return []

    def on_advance(now: float) -> list[Effect]:
        return [Halt()] if now >= start + 20.0 else []

    engine.on_event, engine.on_advance = on_event, on_advance
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump.run)
        await trio.sleep(10)
        await inbox.put([LinkGone(1)])
    assert trio.current_time() - start == pytest.approx(20.0, abs=0.01)


@pytest.mark.parametrize("packet", [PACKET, TrafficSeen(5, 5, b"\xca\xfe")])
async def test_a_bug_in_a_packet_is_logged_with_the_packet_and_costs_only_that_packet(
    autojump_clock, packet
) -> None:
    pump, engine, inbox, recorder = a_pump()

    def on_event(event: Event) -> list[Effect]:
        if event is packet:
            raise ZeroDivisionError
        return [Halt()] if isinstance(event, ShutdownRequested) else [ResolveName("next")]

    engine.on_event = on_event
    inbox.offer([LinkGone(1), packet, LinkGone(2), ShutdownRequested()])
    with structlog.testing.capture_logs() as lines:
        await pump.run()
    assert recorder.turns[-1] == [ResolveName("next"), ResolveName("next"), Halt()]
    assert pump.counters["internal-error"] == 1
    assert [(line["event"], line["data"], line["ifindex"]) for line in lines] == [
        ("packet.failed", "cafe", 5)
    ]


async def test_a_bug_in_a_packet_logs_no_pass_phrase(autojump_clock) -> None:
    pump, engine, inbox, _ = a_pump()
    signed = (cisco_authentication(b"open sesame"),)
    packet = received(a_registration_request(2, extensions=signed), b"\xc0\0\x02\x02")

    def on_event(event: Event) -> list[Effect]:
        if event is packet:
            raise ZeroDivisionError
        return [Halt()]

    engine.on_event = on_event
    inbox.offer([packet, ShutdownRequested()])
    with structlog.testing.capture_logs() as lines:
        await pump.run()
    (shown,) = (bytes.fromhex(line["data"]) for line in lines)
    assert b"open sesame" in packet.data
    assert b"sesame" not in shown
    assert shown[:20] == packet.data[:20]


async def test_a_packet_that_an_event_released_may_trip_a_bug_too(autojump_clock) -> None:
    pump, engine, inbox, recorder = a_pump()
    good = PacketReceived(5, b"\xc0\0\x02\x01", b"\xfe")

    def on_event(event: Event) -> list[Effect]:
        if event is PACKET:
            raise ZeroDivisionError
        if event is good:
            return [ResolveName("released")]
        if isinstance(event, LinkGone):
            engine.waiting = [PACKET, good]
        return [Halt()] if isinstance(event, ShutdownRequested) else []

    engine.on_event = on_event
    inbox.offer([LinkGone(1), ShutdownRequested()])
    await pump.run()
    assert recorder.turns[-1] == [ResolveName("released"), Halt()]
    assert pump.counters["internal-error"] == 1


async def test_a_flood_of_packets_that_trip_a_bug_does_not_flood_the_log(autojump_clock) -> None:
    pump, engine, inbox, _ = a_pump()

    def on_event(event: Event) -> list[Effect]:
        if isinstance(event, PacketReceived):
            raise ZeroDivisionError
        return [Halt()]

    engine.on_event = on_event
    inbox.offer([PACKET] * 1000)
    inbox.offer([ShutdownRequested()])
    with structlog.testing.capture_logs() as lines:
        await pump.run()
    assert len(lines) == 5
    assert pump.counters["internal-error"] == 1000


async def test_a_bug_in_any_other_event_ends_the_daemon(autojump_clock) -> None:
    pump, engine, inbox, _ = a_pump()

    def on_event(event: Event) -> list[Effect]:
        raise ZeroDivisionError

    engine.on_event = on_event
    inbox.offer([LinkGone(1)])
    with pytest.raises(ZeroDivisionError):
        await pump.run()


async def test_a_bug_in_a_timer_ends_the_daemon_even_when_a_packet_came_with_it(
    autojump_clock,
) -> None:
    pump, engine, inbox, _ = a_pump()
    inbox.offer([PACKET])
    calls = []

    def on_advance(now: float) -> list[Effect]:
        calls.append(now)
        if len(calls) == 2:
            raise ZeroDivisionError
        return []

    engine.on_advance = on_advance
    with pytest.raises(ZeroDivisionError):
        await pump.run()


async def test_a_watched_pump_turns_and_beats_though_nothing_happens(autojump_clock) -> None:
    engine, inbox, recorder = ScriptedEngine(), Inbox(), Recorder()
    beats: list[float] = []
    start = trio.current_time()
    pump = Pump(
        engine,
        inbox,
        recorder,
        beat=lambda now: beats.append(now - start),
        beat_interval_s=10.0,
    )
    with trio.move_on_after(35):
        await pump.run()
    assert beats == pytest.approx([0, 10, 20, 30])


async def test_a_turn_that_fails_is_no_beat(autojump_clock) -> None:
    engine, inbox = ScriptedEngine(), Inbox()
    beats: list[float] = []

    def fail(_effects: Sequence[Effect]) -> bool:
        raise ZeroDivisionError

    pump = Pump(engine, inbox, fail, beat=beats.append, beat_interval_s=10.0)
    with pytest.raises(ZeroDivisionError):
        await pump.run()
    assert beats == []
