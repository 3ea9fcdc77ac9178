"""The SAs that are wanted, and when each is attempted next. No IO."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from nhrpd_py.core.address import Address
from nhrpd_py.core.effects import WantSa
from nhrpd_py.runtime.vici.sas.children import Pair

FIRST_HOLD_DOWN_S = 2.0
LAST_HOLD_DOWN_S = 60.0
JITTER = 0.2
"""A hold-down is longer or shorter by up to this share, so that peers do not try in step."""
STEADY_S = 30.0
"""An SA that existed for so long counts as a success: failures are counted from 0 after it."""
WANTED_LIMIT = 65536

Key: TypeAlias = tuple[str, str, Address, Address]
"""Interface, profile, our address, the peer's address."""


class WantedState(Enum):
    """The state of a wanted SA; `WantedSa` has the transitions."""

    WAITING = "waiting"
    """The next attempt is made as soon as it is due."""
    TRYING = "trying"
    HELD_DOWN = "held down"
    """The last attempt failed, or its SA did not last: the next one is made later."""
    UP = "up"


@dataclass(slots=True, eq=False)
class WantedSa:
    """One SA that must be up, and its attempts one after the other.

    ::

        WAITING   ── due ─────────────────────────────────► TRYING
        TRYING    ── SA installed ────────────────────────► UP         from any state: the peer may begin it
        TRYING    ── failed ──────────────────────────────► HELD_DOWN  2, 4, 8 … 60 s
        TRYING    ── interrupted: charon is lost ─────────► WAITING    due at once
        HELD_DOWN ── due ─────────────────────────────────► TRYING
        HELD_DOWN ── requested again, failures cleared ───► WAITING    at once, or after `delay_s`
        UP        ── gone after less than 30 s ───────────► HELD_DOWN  0, 2, 4 … 60 s
        UP        ── gone later ──────────────────────────► WAITING    due at once
        any       ── another charon has no SA ────────────► WAITING    due at once
    """

    effect: WantSa
    state: WantedState = WantedState.WAITING
    next_attempt_at: float | None = None
    """None in TRYING and UP."""
    up_since: float | None = None
    attempts: int = 0
    """Number of attempts so far."""
    failures: int = 0
    """Failures in a row."""
    is_fallback_next: bool = False
    """The next attempt, or the one under way, is by the fallback profile; where the SA is up, it was
    the last one."""
    last_error: str | None = None

    @property
    def pair(self) -> Pair:
        return self.effect.local, self.effect.remote

    @property
    def profiles(self) -> frozenset[str]:
        """The profile, and the fallback where there is one."""
        ipsec = self.effect.ipsec
        return frozenset({ipsec.profile, ipsec.fallback_profile or ipsec.profile})

    @property
    def profile(self) -> str:
        """The profile of the next attempt: after a failure the other one than before, after an SA that
        lasted the first."""
        fallback = self.effect.ipsec.fallback_profile
        if fallback is not None and self.is_fallback_next:
            return fallback
        return self.effect.ipsec.profile

    def request(self, effect: WantSa, now: float, *, is_up: bool) -> None:
        """Takes a request; a repeated one clears the failures."""
        self.effect = effect
        self.failures = 0
        if is_up:
            self.came_up(now)
        elif self.state is not WantedState.TRYING:
            self._enter(WantedState.WAITING, now + max(0.0, effect.delay_s))

    def begin(self) -> None:
        """Enters TRYING: an attempt begins."""
        self.attempts += 1
        self._enter(WantedState.TRYING)

    def postpone(self, until: float) -> None:
        """Puts the next attempt off: another one between the same two addresses is under way."""
        self._enter(self.state, until)

    def came_up(self, now: float) -> None:
        """Enters UP: a CHILD_SA between the two addresses is installed, initiated by either end."""
        if self.state is not WantedState.UP:
            self._enter(WantedState.UP)
            self.up_since = now

    def went_down(self, now: float, rng: random.Random) -> None:
        """Plans the next attempt: the last CHILD_SA between the two addresses is gone."""
        if self.state is not WantedState.UP:
            return  # it was that of an earlier charon, and the next attempt is planned
        lasted = self.up_since is None or now - self.up_since >= STEADY_S
        if not lasted:
            self.failures += 1
            self.is_fallback_next = not self.is_fallback_next
            self._enter(WantedState.HELD_DOWN, now + hold_down_s(self.failures - 1, rng))
            return
        self.failures = 0
        self.is_fallback_next = False
        self._enter(WantedState.WAITING, now)

    def failed(self, reason: str, now: float, rng: random.Random) -> float:
        """Enters HELD_DOWN: the attempt failed; returns for how many seconds."""
        self.failures += 1
        self.is_fallback_next = not self.is_fallback_next
        self.last_error = reason
        wait_s = hold_down_s(self.failures, rng)
        self._enter(WantedState.HELD_DOWN, now + wait_s)
        return wait_s

    def interrupted(self, now: float) -> None:
        """Enters WAITING: the attempt ended for a reason that is not the peer's; the next one is
        due at once."""
        self._enter(WantedState.WAITING, now)

    def clear_failures(self, now: float) -> None:
        """Ends the hold-down: the cause of the failures is removed."""
        if self.failures:
            self.failures = 0
            if self.next_attempt_at is not None:
                self.is_fallback_next = False
                self._enter(WantedState.WAITING, min(self.next_attempt_at, now))

    def start_anew(self, now: float) -> None:
        """Forgets the failures of an earlier session: this charon may be another one."""
        self.failures = 0
        self.is_fallback_next = False
        self._enter(WantedState.WAITING, now)

    def _enter(self, state: WantedState, next_attempt_at: float | None = None) -> None:
        self.state = state
        self.next_attempt_at = next_attempt_at
        if state is not WantedState.UP:
            self.up_since = None


@dataclass(slots=True)
class WantedSas:
    """All wanted SAs, by key and by their pair of addresses."""

    rng: random.Random
    _by_key: dict[Key, WantedSa] = field(default_factory=dict)
    _by_pair: dict[Pair, dict[Key, WantedSa]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[WantedSa]:
        return iter(list(self._by_key.values()))

    def request(self, effect: WantSa, now: float, *, is_up: bool) -> None:
        """Adds a wanted SA, or repeats the request for it."""
        key = effect.interface, effect.ipsec.profile, effect.local, effect.remote
        wanted = self._by_key.get(key)
        if wanted is None:
            if len(self._by_key) >= WANTED_LIMIT:
                return  # never reached: the engine's own tables are smaller
            wanted = self._by_key[key] = WantedSa(effect)
            self._by_pair.setdefault(wanted.pair, {})[key] = wanted
        wanted.request(effect, now, is_up=is_up)

    def withdraw(self, key: Key) -> None:
        """Forgets a wanted SA; an attempt under way is not interrupted."""
        wanted = self._by_key.pop(key, None)
        if wanted is not None:
            of_pair = self._by_pair[wanted.pair]
            del of_pair[key]
            if not of_pair:
                del self._by_pair[wanted.pair]

    def of_pair(self, pair: Pair) -> list[WantedSa]:
        return list(self._by_pair.get(pair, {}).values())

    def remotes(self) -> set[Address]:
        """Returns the addresses of all peers with which an SA is wanted."""
        return {each.effect.remote for each in self._by_key.values()}

    def next_due(
        self, now: float, *, servers_only: bool = False
    ) -> tuple[WantedSa | None, float | None]:
        """Returns the wanted SA to attempt now, if one is due; else when the next will be.

        Servers come first, then the one that has waited longest.
        """
        waiting = [
            (at, each)
            for each in self._by_key.values()
            if (at := each.next_attempt_at) is not None and (each.effect.server or not servers_only)
        ]
        due = [both for both in waiting if both[0] <= now]
        if due:
            return min(due, key=lambda both: (not both[1].effect.server, both[0]))[1], None
        return None, min((at for at, _ in waiting), default=None)

    def clear_failures(self, profile: str, now: float) -> None:
        """Ends the hold-down of all wanted SAs of a profile."""
        for each in self._by_key.values():
            if profile in each.profiles:
                each.clear_failures(now)

    def came_up(self, pair: Pair, now: float) -> None:
        for each in self.of_pair(pair):
            each.came_up(now)

    def went_down(self, pair: Pair, now: float) -> None:
        for each in self.of_pair(pair):
            each.went_down(now, self.rng)

    def connected(self, is_up: Callable[[Pair], bool], now: float) -> None:
        """Updates all after a connect, when charon has listed its SAs: missing ones are attempted
        at once."""
        for each in self._by_key.values():
            if is_up(each.pair):
                each.came_up(now)
            else:
                each.start_anew(now)


def hold_down_s(failures: int, rng: random.Random) -> float:
    """Returns the seconds until the next attempt, by the failures in a row: 2, 4, 8 … 60, with
    jitter."""
    if failures <= 0:
        return 0.0
    wait_s = min(FIRST_HOLD_DOWN_S * 2.0 ** min(failures - 1, 16), LAST_HOLD_DOWN_S)
    return wait_s * rng.uniform(1.0 - JITTER, 1.0 + JITTER)
