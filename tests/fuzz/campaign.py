"""Runs machines of all roles with packets and events in any order, and demands that the rules of `judge` hold.

A campaign is a series of runs. Each is one machine, from start to shutdown, and is determined by the campaign's seed
and the run's number. `tools/fuzz` is the command.
"""

import random
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from nhrpd_py.core.effects import Effect, OpenInterface, SendPacket
from nhrpd_py.core.engine import Engine, turn
from nhrpd_py.core.events import Event, PacketReceived, ShutdownRequested
from tests.fuzz.grammar import Grammar
from tests.fuzz.happenings import Happenings
from tests.fuzz.judge import Judge
from tests.fuzz.roles import ROLES, SECOND, Role, small_tables
from tests.support.sites import GRE
from tests.support.station import Station

PACKETS_PER_RUN = 4000
EVENT_SHARE = 0.07
SMALL_SHARE = 0.4
"""Of the runs, that have small tables."""
FULLY_EVERY = 256
STEPS_S = (0.0, 0.0, 0.0, 0.0, 0.001, 0.001, 0.01, 0.05, 0.3)
LEAPS_S = (1.0, 5.0, 30.0, 200.0)
LEAP_SHARE = 0.004
TIMERS_PER_STEP = 64

Step = tuple[float, Event | None]
"""When, and what; None: the timers that are due."""


class BrokenError(Exception):
    """A rule was broken, or the engine raised: its cause."""


@dataclass(slots=True)
class Figures:
    """What a run, or several, cost."""

    packets: int = 0
    events: int = 0
    cpu_s: float = 0.0
    """With the making and judging of packets."""
    handling_s: float = 0.0
    """CPU time of the engine alone, for packets."""
    worst_s: float = 0.0
    """CPU time of the worst packet."""
    effects: int = 0
    """The most of one packet."""
    sent: int = 0
    """The most packets sent for one."""

    def add(self, other: "Figures") -> None:
        """Adds those of another run."""
        self.packets += other.packets
        self.events += other.events
        self.cpu_s += other.cpu_s
        self.handling_s += other.handling_s
        self.worst_s = max(self.worst_s, other.worst_s)
        self.effects = max(self.effects, other.effects)
        self.sent = max(self.sent, other.sent)


class Machine:
    """An engine of one role, with its judge."""

    def __init__(self, role: Role, seed: int) -> None:
        world, config, ids = role.world(), role.config(), random.Random(seed)
        self.engine = Engine(
            config, rng=random.Random(seed), request_ids=lambda: ids.getrandbits(32), now=0.0
        )
        own = world.own
        station = Station("the machine", own, config, self.engine, own.nbma, 0, alive=True)
        self.judge = Judge(role, station, config)
        self.figures = Figures()

    def take(self, event: Event | None, now: float) -> list[Effect]:
        """Handles an event, or the timers that are due; raises what is wrong."""
        if isinstance(event, PacketReceived):
            effects = self._receive(event, now)
        elif event is None:
            effects = self.engine.advance(now)
        else:
            effects = turn(self.engine, event, now)
            self.figures.events += 1
        self.judge.judge(event, effects, now)
        return effects

    def end(self, now: float) -> None:
        """Stops the machine."""
        self.judge.judge_fully(now)
        self.judge.judge_end(self.take(ShutdownRequested(), now))

    def _receive(self, packet: PacketReceived, now: float) -> list[Effect]:
        figures = self.figures
        began = time.thread_time()
        effects = turn(self.engine, packet, now)
        took_s = time.thread_time() - began
        figures.packets += 1
        figures.handling_s += took_s
        figures.worst_s = max(figures.worst_s, took_s)
        figures.effects = max(figures.effects, len(effects))
        return effects


@dataclass(slots=True)
class Run:
    """One machine, from start to shutdown."""

    seed: int
    number: int
    packets: int = PACKETS_PER_RUN
    figures: Figures = field(default_factory=Figures)
    steps: list[Step] = field(default_factory=list)
    """What has happened so far."""
    _now: float = 0.0

    @property
    def role(self) -> Role:
        """Returns the machine's role: they take turns."""
        return ROLES[self.number % len(ROLES)]

    def run(self) -> None:
        """Runs it; raises `BrokenError`."""
        began = time.process_time()
        with self.tables() as rng:
            machine = Machine(self.role, self.seed)
            self.figures = machine.figures
            try:
                self._run(machine, rng)
            except Exception as fault:
                raise BrokenError from fault
            finally:
                self.figures.cpu_s = time.process_time() - began
                self.figures.sent = machine.judge.most_sent

    @contextmanager
    def tables(self) -> Iterator[random.Random]:
        """Gives the tables their sizes of this run; yields its source of randomness."""
        rng = random.Random(f"{self.seed} {self.number}")
        with small_tables(rng, wanted=rng.random() < SMALL_SHARE):
            yield rng

    def _run(self, machine: Machine, rng: random.Random) -> None:
        role, world = self.role, self.role.world()
        happenings = Happenings(role, world, rng)
        grammar = Grammar(world, rng, signed=role.is_signed)
        tunnels = (GRE, GRE, SECOND) if role.two_tunnels else (GRE,)
        waiting: deque[Event] = deque([*role.events(), *happenings.start()])
        left = self.packets
        while left or waiting:
            if waiting:
                event = waiting.popleft()
            elif rng.random() < EVENT_SHARE:
                waiting += happenings.draw()
                continue
            else:
                left -= 1
                source, data = grammar.packet()
                event = PacketReceived(rng.choice(tunnels), source, data)
                self._let_time_pass(machine, rng)
                if left % FULLY_EVERY == 0:
                    machine.judge.judge_fully(self._now)
            happenings.note(event)
            self.steps.append((self._now, event))
            for effect in machine.take(event, self._now):
                if isinstance(effect, SendPacket):
                    grammar.sent.append((effect.nbma, effect.data))
                elif isinstance(effect, OpenInterface):
                    waiting += happenings.inherited(effect.ifindex)
        machine.end(self._now)

    def _let_time_pass(self, machine: Machine, rng: random.Random) -> None:
        self._now += rng.choice(LEAPS_S if rng.random() < LEAP_SHARE else STEPS_S)
        for _ in range(TIMERS_PER_STEP):
            deadline = machine.engine.next_deadline()
            if deadline is None or deadline > self._now:
                return
            self.steps.append((deadline, None))
            machine.take(None, deadline)
        # The rest is due at once, as after a pause of the whole machine.
        self.steps.append((self._now, None))
        machine.take(None, self._now)
