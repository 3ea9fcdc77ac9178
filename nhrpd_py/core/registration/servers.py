"""Next hop servers and our registrations with them: the entities of `client` and `exchange`."""

from dataclasses import dataclass, field
from enum import StrEnum

from nhrpd_py.core.address import Address
from nhrpd_py.core.config import NhsConfig

FIRST_RETRY_S = 1.0
"""Until a registration request is sent again for the first time; doubles from there."""
NAME_RETRY_S = 5.0
"""Until a name that did not resolve is looked up again for the first time; doubles from there."""


class NhsState(StrEnum):
    DOWN = "down"
    PROBE = "probe"
    REGISTERING = "registering"
    UP = "up"


@dataclass(slots=True, eq=False)
class Registration:
    """Our registration with one NBMA address of an NHS."""

    server: "Server"
    nbma: Address
    state: NhsState = NhsState.DOWN
    protocol: Address = b""
    """The NHS's overlay address, as its last reply told."""
    request_id: int = 0
    """Of the request that is unanswered, or 0."""
    retry_s: float = FIRST_RETRY_S
    lost: int = 0
    """Requests unanswered in a row."""
    up_since: float = 0.0
    taken_back_at: float = float("-inf")
    """When we last had our address taken back there, for it was registered from elsewhere."""
    next_at: float | None = None
    last_error: str | None = None
    requests_sent: int = 0
    replies_received: int = 0


@dataclass(slots=True, eq=False)
class Server:
    """One configured NHS."""

    index: int
    """Its name in timers; no other server of the instance ever had it."""
    config: NhsConfig
    literal: Address
    """The address when `nbma` is one, else empty."""
    registrations: dict[Address, Registration] = field(default_factory=dict)
    resolving: bool = False
    name_error: str | None = None
    name_retry_s: float = NAME_RETRY_S

    @property
    def is_hopeful(self) -> bool:
        """Tells whether worse priorities should wait: up, or on the first tries."""
        if not self.registrations:
            return self.name_error is None
        return any(
            each.state in (NhsState.UP, NhsState.REGISTERING)
            for each in self.registrations.values()
        )
