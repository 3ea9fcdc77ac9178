"""What SAs are wanted, and when each is tried next. No IO."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from nhrpd_py.core.address import Address
from nhrpd_py.core.effects import WantSa
from nhrpd_py.runtime.vici.sas.children import Pair

FIRST_RETRY_S = 2.0
LAST_RETRY_S = 60.0
JITTER = 0.2
STEADY_S = 30.0
"""An SA that lived for so long was a success: the next attempt after it is a first one."""
WISH_LIMIT = 65536

Key: TypeAlias = tuple[str, str, Address, Address]
"""Profile, our address, the peer's."""


@dataclass(slots=True)
class Wish:
    """One SA that shall be up."""

    effect: WantSa
    due: float | None
    """When to try next; None while it is up or being tried."""
    attempts: int = 0
    """In all."""
    failures: int = 0
    """In a row."""
    up_at: float | None = None
    trying: bool = False
    reason: str | None = None

    @property
    def pair(self) -> Pair:
        return self.effect.local, self.effect.remote

    @property
    def profile(self) -> str:
        """Of the next attempt: the fallback is tried every other time."""
        fallback = self.effect.ipsec.fallback_profile
        if fallback is not None and self.failures % 2:
            return fallback
        return self.effect.ipsec.profile


@dataclass(slots=True)
class Wishes:
    """All of them, by key."""

    rng: random.Random
    _wishes: dict[Key, Wish] = field(default_factory=dict)
    _by_pair: dict[Pair, dict[Key, Wish]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Wish]:
        return iter(list(self._wishes.values()))

    def __len__(self) -> int:
        return len(self._wishes)

    def get(self, key: Key) -> Wish | None:
        return self._wishes.get(key)

    def want(self, effect: WantSa, now: float, *, up: bool) -> None:
        """A wish said again replaces what it was, and is due anew."""
        key = key_of(effect)
        wish = self._wishes.get(key)
        due = None if up else now + max(0.0, effect.delay_s)
        if wish is None:
            if len(self._wishes) >= WISH_LIMIT:
                return  # the engine's own tables are smaller
            wish = self._wishes[key] = Wish(effect, due, up_at=now if up else None)
            self._by_pair.setdefault(wish.pair, {})[key] = wish
            return
        wish.effect = effect
        wish.failures = 0
        if not wish.trying:
            wish.due = due

    def drop(self, key: Key) -> None:
        wish = self._wishes.pop(key, None)
        if wish is not None:
            of_pair = self._by_pair[wish.pair]
            del of_pair[key]
            if not of_pair:
                del self._by_pair[wish.pair]

    def of_pair(self, pair: Pair) -> list[Wish]:
        return list(self._by_pair.get(pair, {}).values())

    def remotes(self) -> set[Address]:
        return {each.effect.remote for each in self._wishes.values()}

    def next_due(self, now: float) -> tuple[Wish | None, float | None]:
        """The wish that has waited longest, if one is due; else when the next will be."""
        waiting = [each for each in self._wishes.values() if each.due is not None]
        if not waiting:
            return None, None
        first = min(waiting, key=lambda each: each.due or 0.0)
        if first.due is not None and first.due <= now:
            return first, None
        return None, first.due

    def hurry(self, profile: str, now: float) -> None:
        """Tries those of a profile that wait after a failure at once."""
        for wish in self._wishes.values():
            ipsec = wish.effect.ipsec
            if wish.failures and profile in (ipsec.profile, ipsec.fallback_profile):
                wish.failures = 0
                if wish.due is not None:
                    wish.due = min(wish.due, now)

    def came_up(self, pair: Pair, now: float) -> None:
        for wish in self.of_pair(pair):
            wish.due = None
            if wish.up_at is None:
                wish.up_at = now

    def went_down(self, pair: Pair, now: float) -> None:
        """Tried again at once, unless SAs of this peer do not last."""
        for wish in self.of_pair(pair):
            if wish.up_at is None or now - wish.up_at >= STEADY_S:
                wish.failures = 0
                wait_s = 0.0
            else:
                wish.failures += 1
                wait_s = self._wait_s(wish.failures - 1)
            wish.up_at = None
            wish.due = now + wait_s

    def failed(self, wish: Wish, reason: str, now: float) -> float:
        """Returns the seconds until the next attempt."""
        wish.failures += 1
        wish.reason = reason
        wait_s = self._wait_s(wish.failures)
        wish.due = now + wait_s
        return wait_s

    def _wait_s(self, failures: int) -> float:
        if failures <= 0:
            return 0.0
        wait_s = min(FIRST_RETRY_S * 2.0 ** min(failures - 1, 16), LAST_RETRY_S)
        return wait_s * self.rng.uniform(1.0 - JITTER, 1.0 + JITTER)


def key_of(effect: WantSa) -> Key:
    return effect.interface, effect.ipsec.profile, effect.local, effect.remote
