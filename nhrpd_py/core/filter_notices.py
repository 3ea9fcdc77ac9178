"""What operators may want to know of the source filter; see `notices`."""

from dataclasses import dataclass

from nhrpd_py.core.notices import Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongSource(Notice):
    """A peer sends from an inner address that is not its own, as far as is known; told once a minute for each peer."""

    event = "source.doubted"
    level = "warning"
    nbma: bytes
    identity: str
    source: bytes
    """Empty where the packet filter does not tell."""
    packets: int
    """Since the last report."""
    dropped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFilterFailed(Notice):
    """The source filter of a tunnel is not in the kernel."""

    event = "filter.failed"
    level = "warning"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFilterDisturbed(Notice):
    """A rule of somebody else uses the marks by which the source filter knows the peers."""

    event = "filter.disturbed"
    level = "warning"
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFilterRestored(Notice):
    """The source filter of a tunnel was removed or changed by another program, and is restored."""

    event = "filter.restored"
    level = "warning"
