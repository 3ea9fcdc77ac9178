"""Random spread of periods, so that many nodes do not act in step."""

import random


class Jitter:
    """Shortens periods at random, by a generator that the engine was given."""

    __slots__ = ("_rng",)

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def __call__(self, seconds: float, share: float = 0.1) -> float:
        """Returns `seconds`, less up to `share` of them."""
        return seconds * (1 - share * self._rng.random())
