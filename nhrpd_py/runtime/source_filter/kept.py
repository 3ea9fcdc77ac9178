"""The state of one tunnel's filter as the keeper has it. No IO."""

from dataclasses import dataclass, field

from nhrpd_py.core.address import Address
from nhrpd_py.core.events import Event, WrongSources
from nhrpd_py.runtime.source_filter.table import Reading, WantedTable

RETRY_S = 5.0
LONGEST_RETRY_S = 60.0
TELL_S = 60.0
"""How long it is not told again of a filter that it fails, or that others change it."""
TOLD_APART = 8
"""Wrong sources of one mark that are reported each for itself at a time."""


def retry_s(failures: int) -> float:
    """Returns how long to wait after so many failures in a row."""
    return min(RETRY_S * 2.0 ** min(failures - 1, 10), LONGEST_RETRY_S)


@dataclass(slots=True, eq=False)
class Filter:
    """The filter of one tunnel."""

    wanted: WantedTable
    is_open: bool = False
    """The engine wants it in the kernel."""
    stale: bool = True
    was_written: bool = False
    underlay: str = ""
    rules: str | None = None
    """What the program printed of it after it was written; None: it is to be asked."""
    counted: dict[tuple[int, Address], int] = field(default_factory=dict)
    inherited_until: float | None = None
    problem: str | None = None
    failures: int = 0
    """How often in a row it could not be written."""
    retry_at: float = 0.0
    checked_at: float = 0.0
    """When all rules were read."""
    alert_until: float = 0.0
    told_at: dict[str, float] = field(default_factory=dict)
    """When each kind of notice was published."""

    def may_tell(self, what: str, now: float) -> bool:
        """Returns whether a notice may be published now, and notes that it is."""
        if self.was_told(what, now):
            return False
        self.told_at[what] = now
        return True

    def was_told(self, what: str, now: float) -> bool:
        """Returns whether a notice was published a moment ago."""
        return now < self.told_at.get(what, -TELL_S) + TELL_S

    def news(self, reading: Reading) -> list[Event]:
        """Returns what was counted since the last reading."""
        news: dict[int, list[tuple[int, Address]]] = {}
        for key, packets in reading.wrong.items():
            before = self.counted.get(key, 0)
            new = packets - before if packets >= before else packets
            self.counted[key] = packets
            if new:
                news.setdefault(key[0], []).append((new, key[1]))
        for gone in self.counted.keys() - reading.wrong.keys() if reading.wrong else ():
            del self.counted[gone]
        name = self.wanted.name
        events: list[Event] = []
        for mark, found in news.items():
            found.sort(reverse=True)
            events += [
                WrongSources(name, mark, source, packets) for packets, source in found[:TOLD_APART]
            ]
            rest = sum(packets for packets, _ in found[TOLD_APART:])
            if rest:
                events.append(WrongSources(name, mark, b"", rest))
        return events
