"""The rows of the views: the JSON contract of `nhrpctl`. A field is a key; unknown is None, absent never.

Times are seconds, addresses text without a prefix length unless the key says prefix.
"""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRow:
    interface: str
    afi: str
    type: str
    """local | static | nhs | dynamic | cached | incomplete | negative"""
    protocol: str
    prefix_length: int
    nbma: str | None
    claimed_nbma: str | None
    nat: bool
    unique: bool
    used: bool
    up: bool
    authorized: bool
    holding_time_s: int | None
    expires_in_s: float | None
    age_s: float
    mtu: int | None
    identity: str | None
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NhsRow:
    interface: str
    afi: str | None
    name: str
    nbma: str | None
    protocol: str | None
    priority: int
    cluster: int
    state: str
    """down | standby | probe | registering | refused | up"""
    registered_for_s: float | None
    next_attempt_in_s: float | None
    last_error: str | None
    requests_sent: int
    replies_received: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortcutRow:
    interface: str
    afi: str
    prefix: str
    via: str | None
    nbma: str | None
    state: str
    """incomplete | waiting | active | negative"""
    used: bool
    expires_in_s: float | None
    holding_time_s: int | None
    identity: str | None
    path: str | None
    """trying | proven | believed | failed"""
    rtt_s: float | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceRow:
    interface: str
    ifindex: int | None
    up: bool
    nbma: str | None
    underlay: str | None
    key: int | None
    mtu: int | None
    network_id: int
    addresses: tuple[str, ...]
    redirect: bool
    shortcut: bool
    holding_time_s: int
    source_filter: str | None
    """count | drop | off; None where IPsec does not protect the tunnel"""
    wrong_sources: int
    """Packets that came out of a peer's SA from a source that is not the peer's."""
    multicast: tuple[str, ...]
    """Who is to get copies of multicast: dynamic, nhs, addresses."""
    multicast_targets: int
    """How many outer addresses get a copy now."""
    multicast_packets: int
    multicast_copies: int
    problem: str | None
    losing: str | None
    sa_bytes_in: int
    sa_bytes_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRow:
    interface: str
    nbma: str
    local_nbma: str | None
    protocol: tuple[str, ...]
    ipsec: str
    """none | wanted | up | failed"""
    identity: str | None
    up_for_s: float | None
    path: str | None
    """trying | proven | believed | failed"""
    rtt_s: float | None
    bytes_in: int | None
    bytes_out: int | None
    wrong_sources: int
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficRow:
    """Packets by direction and type. Of `dropped`, `undelivered` and `lost` ones the type is the reason."""

    interface: str | None
    afi: str | None
    direction: str
    """sent | received | forwarded | dropped | undelivered | lost"""
    type: str
    packets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRow:
    """What the probes of direct paths found, since the start."""

    interface: str
    afi: str
    sent: int
    answered: int
    proven: int
    failed: int
    rtt_sum_s: float
    rtt_bounds_s: tuple[float, ...]
    rtt_counts: tuple[int, ...]
    """Answers by round trip time: one count for each upper bound, and one for what took longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemRow:
    """Something that is wrong at present."""

    interface: str
    afi: str | None
    kind: str
    """A word for programs, see `docs/json.md`."""
    nbma: str | None
    subject: str | None
    """What it is about besides: an identity, a tunnel address, the name of a server."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRow:
    """A route that the engine wants in the kernel."""

    interface: str
    afi: str
    prefix: str
    via: str | None
    kind: str
    """host | shortcut"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigRow:
    """One setting as it is in force; secrets are shown as `***`."""

    path: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SaRow:
    """One CHILD_SA of charon's, or a wanted SA that has none."""

    nbma: str
    local_nbma: str
    identity: str | None = None
    child_id: int | None = None
    ike_id: int | None = None
    mode: str | None = None
    encap: bool = False
    initiator: bool | None = None
    state: str
    """charon's (INSTALLED, REKEYING …); orphaned where only the kernel has it; else wanted | trying | failed"""
    spi_in: str | None = None
    spi_out: str | None = None
    mark: int | None = None
    """What comes out of it has this mark, by which the source filter knows the peer."""
    bytes_in: int = 0
    bytes_out: int = 0
    packets_in: int = 0
    packets_out: int = 0
    established_s: int | None = None
    """Age of the CHILD_SA."""
    rekey_in_s: int | None = None
    profile: str
    connection: str | None = None
    last_error: str | None = None
    attempts: int = 0
    next_attempt_in_s: float | None = None


Row: TypeAlias = (
    CacheRow
    | NhsRow
    | ShortcutRow
    | InterfaceRow
    | PeerRow
    | TrafficRow
    | ProbeRow
    | ProblemRow
    | RouteRow
    | ConfigRow
)
