"""The ordered list of effects of the event being handled, and the counters of dropped packets."""

from collections.abc import Hashable

from nhrpd_py.core.base.limits import IntervalLimiter
from nhrpd_py.core.effects import Effect
from nhrpd_py.core.notices import Notice
from nhrpd_py.packet.wire import DropReason

REMINDER_INTERVAL_S = 60.0
"""A notice about a lasting state, such as a full table, is given once in this time."""
MAX_REMINDERS = 4096


class Outbox:
    """Collects effects in the order of the calls. Owned by the engine, shared by all parts of the core."""

    __slots__ = ("_reminders", "drops", "effects", "now")

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        """Those of the event that is being handled."""
        self.now = 0.0
        """When it is handled."""
        self.drops: dict[tuple[str | None, DropReason], int] = {}
        """Packets dropped so far, by interface name (None: of no interface of ours) and reason."""
        self._reminders = IntervalLimiter(interval_s=REMINDER_INTERVAL_S, limit=MAX_REMINDERS)

    def begin(self, now: float = 0.0) -> list[Effect]:
        """Starts a new list of effects and returns it; it fills until the next call."""
        self.effects = []
        self.now = now
        return self.effects

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)

    def remind(self, key: Hashable, notice: Notice, now: float) -> None:
        """Emits a notice unless one of the same key was emitted within the last minute."""
        if self._reminders.allows(key, now):
            self.effects.append(notice)

    def count_drop(self, interface: str | None, reason: DropReason) -> None:
        key = (interface, reason)
        self.drops[key] = self.drops.get(key, 0) + 1
