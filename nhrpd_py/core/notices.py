"""What operators may want to know, one immutable value an occurrence.

A notice is the one source of a log line, a row of `nhrpctl monitor` and a hook. `Notice` is the only base class in
the core; the fields of its subclasses are the stable keys of the log. Addresses are bytes here and become text at
the edge (`fields`).
"""

from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from nhrpd_py.core.address import Prefix, format_address

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    event: ClassVar[str]
    """`noun.participle`: the name of the log event."""
    level: ClassVar[Level] = "info"
    interface: str

    def as_dict(self) -> dict[str, str | int | float | bool | None]:
        """Returns the fields as JSON has them: addresses and prefixes as text."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}


def _plain(value: object) -> str | int | float | bool | None:
    match value:
        case Prefix():
            return str(value)
        case bytes():
            return format_address(value) or None
        case str() | bool() | int() | float() | None:
            return value
        case _:
            return str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceReady(Notice):
    event = "interface.ready"
    nbma: bytes
    addresses: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceLost(Notice):
    event = "interface.lost"
    level = "warning"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerNotice(Notice):
    """About one binding of the cache."""

    protocol: bytes
    nbma: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationAccepted(PeerNotice):
    """A client registered with us for the first time, or from a new NBMA address."""

    event = "registration.accepted"
    holding_time_s: int
    previous_nbma: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationRefused(PeerNotice):
    event = "registration.refused"
    level = "warning"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingAdopted(PeerNotice):
    event = "binding.adopted"


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingRemoved(PeerNotice):
    """`type` is the cache type it had, `reason` why it went."""

    event = "binding.removed"
    type: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NhsUp(PeerNotice):
    event = "nhs.up"
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NhsDown(PeerNotice):
    event = "nhs.down"
    level = "warning"
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationReady(Notice):
    """A peer has an SA, or another peer has one with the same address."""

    event = "sa.installed"
    nbma: bytes
    identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationLost(Notice):
    """The last SA with a peer is gone."""

    event = "sa.lost"
    level = "warning"
    nbma: bytes
    identity: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationFailed(Notice):
    event = "sa.failed"
    level = "warning"
    nbma: bytes
    reason: str
    retry_in_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationSilent(Notice):
    """Packets leave through the SA of a peer, and none come."""

    event = "sa.silent"
    level = "warning"
    nbma: bytes
    identity: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PathProven(PeerNotice):
    """Packets go both ways between us and a peer; traffic may leave the hub."""

    event = "path.proven"
    rtt_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PathFailed(PeerNotice):
    """The direct path to a peer does not carry; traffic stays on the hub, or is there again."""

    event = "path.failed"
    level = "warning"
    reason: str
    retry_in_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFailed(PeerNotice):
    """The network tells that a packet to a peer did not arrive: a hint, for anybody may say so."""

    event = "delivery.failed"
    level = "warning"
    reporter: bytes
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelLosing(Notice):
    """The kernel loses packets in a tunnel; `counter` is the word for it in `show traffic`."""

    event = "tunnel.losing"
    level = "warning"
    counter: str
    packets: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelMended(Notice):
    """The kernel has lost nothing in a tunnel for a while, where it did before."""

    event = "tunnel.mended"
    counter: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NbmaShared(Notice):
    """Two peers behind one NAT address: in transport mode the kernel sends to one of them only."""

    event = "nbma.shared"
    level = "error"
    nbma: bytes
    identities: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimContested(Notice):
    """Two peers use one identity, or one tunnel address, in turn."""

    event = "claim.contested"
    level = "error"
    subject: str
    """The identity, or the tunnel address."""
    nbma: bytes
    previous_nbma: bytes
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRefused(PeerNotice):
    """A peer claims what its authenticated identity may not have."""

    event = "claim.refused"
    level = "warning"
    prefix: Prefix
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimDoubted(PeerNotice):
    """A client is believed, though the routes of this machine lead its address elsewhere."""

    event = "claim.doubted"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyOpen(Notice):
    """A protected interface has no rules: what every peer that IKE lets in may do; or `overlay` has to be set."""

    event = "policy.open"
    setting: str
    """The setting that is missing."""
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NameUnresolved(Notice):
    event = "name.unresolved"
    level = "warning"
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RedirectSent(PeerNotice):
    event = "redirect.sent"
    level = "debug"
    source: bytes
    destination: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolutionStarted(Notice):
    event = "resolution.started"
    target: bytes
    trigger: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolutionFailed(Notice):
    event = "resolution.failed"
    level = "warning"
    target: bytes
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolutionAnswered(PeerNotice):
    """We answered the Resolution Request of a peer (`protocol`, `nbma`), or refused it."""

    event = "resolution.answered"
    target: bytes
    prefix: Prefix | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortcutInstalled(PeerNotice):
    """The route of a shortcut is on its way into the kernel."""

    event = "shortcut.installed"
    prefix: Prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortcutWaiting(PeerNotice):
    """The next hop of a prefix is known and not used: it has no SA, or none any more, or its path is not proven."""

    event = "shortcut.waiting"
    prefix: Prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortcutRemoved(Notice):
    event = "shortcut.removed"
    prefix: Prefix
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeReceived(PeerNotice):
    event = "purge.received"
    prefix: Prefix
    removed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReceived(PeerNotice):
    event = "error.received"
    level = "warning"
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketDropped(Notice):
    event = "packet.dropped"
    level = "debug"
    reason: str
    nbma: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFull(Notice):
    event = "table.full"
    level = "warning"
    table: str
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRefusal(Notice):
    event = "kernel.refused"
    level = "error"
    what: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingLacking(Notice):
    """A kernel setting that we may not change breaks something; `problem` ends with the command for it."""

    event = "setting.lacking"
    level = "warning"
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardRestored(Notice):
    """The clear-text guard of a tunnel was removed or replaced by another program, and is restored."""

    event = "guard.restored"
    level = "error"
    policy: str
    found: str
    """What stood in its place, empty for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardFailed(Notice):
    """The clear-text guard of a tunnel is not in force; empty `interface`: the kernel's notifications are missing."""

    event = "guard.failed"
    level = "error"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardRemoved(Notice):
    """A guard policy that is no longer configured was removed; `interface` is empty for one of an earlier run."""

    event = "guard.removed"
    policy: str
