"""The paths of one interface and address family: whether packets are known to go both ways between us and a peer.

A shortcut is a promise about a path that nobody has tried: a filter or a NAT may drop GRE or ESP between two spokes
that the hub reaches well. A binding learnt by resolution therefore goes into the kernel when its path is proven:

    UNKNOWN ──(a binding wants it)──► TRYING ──(an answer straight from the peer)──► PROVEN, and checked from then on
                                      │ ▲ │                                            │
                                      │ │ └──(silence again, but it is heard)───► BELIEVED
                       (no answer)    ▼ │ (wanted, the hold-down is over)              │
                                     FAILED ◄──────────(three checks unanswered)───────┘

A path over which nothing leads any more is forgotten. That it failed, and that its peer probes us, is remembered as
long as there is room. `resolution.prober` moves them. With `path-check = false` every path carries.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from nhrpd_py.core.address import Address
from nhrpd_py.core.base.hold_down import MAX_HOLD_DOWN_S, hold_down_s
from nhrpd_py.core.base.jitter import Jitter

MAX_PATHS = 16384
RTT_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class PathState(StrEnum):
    UNKNOWN = "unknown"
    TRYING = "trying"
    PROVEN = "proven"
    BELIEVED = "believed"
    FAILED = "failed"


@dataclass(slots=True, eq=False)
class Path:
    """The path to the NBMA address of a peer."""

    nbma: Address
    protocol: Address
    """The tunnel address that probes ask for: that of a peer which is at `nbma`, or is said to be."""
    state: PathState = PathState.UNKNOWN
    began_at: float = 0.0
    """When the present series of probes began."""
    probes: int = 0
    """Sent in the present series."""
    request_ids: list[int] = field(default_factory=list)
    """Of the present and the last series: a late answer is no stranger's."""
    proven_at: float = 0.0
    """When TRYING last ended in PROVEN."""
    rtt_s: float | None = None
    """Round trip time of the last answer."""
    answers: int = 0
    """Straight answers to our probes, since the last time that an operator asked to try again."""
    arrived: bool = False
    """Our packets arrive: an answer to the present series came, but by way of another station."""
    heard_at: float | None = None
    """When a resolution message last came straight from the peer."""
    probes_us: bool = False
    """The peer probes its path to us: it answers probes too, and silence means a broken path."""
    carried: bool = False
    """It carried until it failed: whoever is there cannot be reached."""
    failures: int = 0
    """Hold-downs in a row."""
    held_until: float = 0.0
    reason: str = ""
    """Why it does not carry, for people."""

    @property
    def carries(self) -> bool:
        """Whether traffic may take it."""
        return self.state in (PathState.PROVEN, PathState.BELIEVED)


class ProbeCounters:
    """What the probes of a station found, since the start."""

    __slots__ = ("answered", "failed", "proven", "rtt_counts", "rtt_sum_s", "sent")

    def __init__(self) -> None:
        self.sent = self.answered = self.proven = self.failed = 0
        self.rtt_sum_s = 0.0
        self.rtt_counts = [0] * (len(RTT_BOUNDS_S) + 1)

    def answer(self, rtt_s: float) -> None:
        """Counts an answer that took so long."""
        self.answered += 1
        self.rtt_sum_s += rtt_s
        self.rtt_counts[bisect_left(RTT_BOUNDS_S, rtt_s)] += 1


class Paths:
    """The records of paths by NBMA address. Owned by the station, changed by `resolution.prober`."""

    __slots__ = ("_jitter", "_of_station", "_paths", "_release", "counters", "enabled")

    def __init__(self, jitter: Jitter, release: Callable[[int], None], *, enabled: bool) -> None:
        """`release` is given the request ids of paths that make room."""
        self._jitter = jitter
        self._release = release
        self._paths: dict[Address, Path] = {}
        self._of_station: dict[Address, Path] = {}
        """By the tunnel address that probes ask for: the path that was tried for it last."""
        self.enabled = enabled
        """Whether paths are proven at all."""
        self.counters = ProbeCounters()

    def __iter__(self) -> Iterator[Path]:
        return iter(self._paths.values())

    def get(self, nbma: Address) -> Path | None:
        return self._paths.get(nbma)

    def to_station(self, protocol: Address) -> Path | None:
        """Returns the path that is tried for a tunnel address, or was last."""
        return self._of_station.get(protocol)

    def is_for(self, path: Path, protocol: Address) -> None:
        """Notes for which tunnel address a path is tried from now on."""
        self._unlist(path)
        path.protocol = protocol
        self._of_station[protocol] = path

    def carries(self, nbma: Address) -> bool:
        """Returns whether new traffic may take the path to an NBMA address."""
        path = self._paths.get(nbma)
        return not self.enabled or (path is not None and path.carries)

    def is_tried(self, nbma: Address) -> bool:
        """Returns whether probes are about to show whether a path carries."""
        path = self._paths.get(nbma)
        return path is not None and path.state is PathState.TRYING

    def has_failed(self, nbma: Address) -> bool:
        path = self._paths.get(nbma)
        return path is not None and path.state is PathState.FAILED

    def held_down(self, nbma: Address, protocol: Address, now: float) -> tuple[str, float] | None:
        """Returns the reason and the seconds left while a path to a station is left alone, else None.

        That a station never answered at an NBMA address says nothing of others: it may not be there.
        """
        path = self._paths.get(nbma)
        if path is None or path.state is not PathState.FAILED or path.held_until <= now:
            return None
        is_about_it = path.carried or path.protocol == protocol
        return (path.reason, path.held_until - now) if is_about_it else None

    def make(self, nbma: Address, protocol: Address) -> Path | None:
        """Returns the record of a path, made if need be; None when the table is full of paths in use."""
        path = self._paths.get(nbma)
        if path is None:
            if len(self._paths) >= MAX_PATHS and not self._make_room():
                return None
            path = self._paths[nbma] = Path(nbma, protocol)
            self._of_station[protocol] = path
        return path

    def fail(self, path: Path, reason: str, now: float) -> float:
        """Enters FAILED and holds the path down; returns for how many seconds."""
        if path.state is PathState.PROVEN and now - path.proven_at > MAX_HOLD_DOWN_S:
            path.failures = 0  # it carried for long: this is a new story
        seconds = self._jitter(hold_down_s(path.failures))
        path.failures += 1
        self.counters.failed += 1
        path.carried = path.carries
        path.state = PathState.FAILED
        path.reason = reason
        path.held_until = now + seconds
        return seconds

    def heard(self, nbma: Address, now: float) -> None:
        """Notes a resolution message that came straight from an NBMA address."""
        path = self._paths.get(nbma)
        if path is not None:
            path.heard_at = now

    def forgive(self, nbma: Address) -> None:
        """Ends a hold-down: an operator asked to try again. Who is there may be another station by now."""
        path = self._paths.get(nbma)
        if path is not None and path.state is PathState.FAILED:
            path.held_until = 0.0
            path.failures = path.answers = 0
            path.probes_us = False

    def forgive_all(self) -> None:
        """Ends all hold-downs."""
        for nbma in self._paths:
            self.forgive(nbma)

    def forget(self, nbma: Address) -> None:
        path = self._paths.pop(nbma, None)
        if path is not None:
            self._unlist(path)

    def _make_room(self) -> bool:
        """Forgets the failed or unknown path that was made first; returns whether there was one."""
        for path in self._paths.values():
            if path.state in (PathState.FAILED, PathState.UNKNOWN):
                for request_id in path.request_ids:
                    self._release(request_id)
                self.forget(path.nbma)
                return True
        return False

    def _unlist(self, path: Path) -> None:
        if self._of_station.get(path.protocol) is path:
            del self._of_station[path.protocol]
