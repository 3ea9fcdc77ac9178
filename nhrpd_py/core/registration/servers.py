"""Next hop servers and our registrations with them: the entities of `client` and `exchange`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from nhrpd_py.core.address import Address
from nhrpd_py.core.config import NhsConfig

FIRST_RETRY_S = 1.0
"""Until a registration request is sent again for the first time; doubles from there."""
NAME_RETRY_S = 5.0
"""Until a name that did not resolve is looked up again for the first time; doubles from there."""
LOST_AFTER = 3
"""Requests that were not accepted in a row until an NHS counts as lost."""


class NhsState(StrEnum):
    """The state of a registration, as `show nhs` has it; `exchange` has the transitions."""

    DOWN = "down"
    """We do not register: there is no NBMA address to register with, or the tunnel does not work."""
    STANDBY = "standby"
    """We do not register: a better server of the cluster is up or on its first tries."""
    REGISTERING = "registering"
    """Its first requests are sent, without an answer yet; or registering was started again."""
    REFUSED = "refused"
    """The last answer was a refusal; requests go on, at most every 64 s."""
    PROBE = "probe"
    """Lost, or cannot be reached; requests go on, at most every 64 s."""
    UP = "up"
    """Registered."""


@dataclass(slots=True, eq=False)
class Registration:
    """Our registration with one NBMA address of an NHS."""

    server: "Server"
    nbma: Address
    state: NhsState = NhsState.DOWN
    protocol: Address = b""
    """The NHS's overlay address, from its last reply."""
    destination: Address = b""
    """The overlay address that the last request was for."""
    request_id: int = 0
    """The id of the unanswered request, or 0."""
    retry_s: float = FIRST_RETRY_S
    lost: int = 0
    """Requests that were not accepted in a row."""
    granted_s: int = 0
    """The holding time of the last reply, which may be less than we asked for; 0: it told none."""
    refused: bool = False
    """The last request was answered, and not accepted: refused, or not believed."""
    up_since: float = 0.0
    taken_back_at: float = float("-inf")
    """When we last purged our address there, for it was registered from elsewhere."""
    asked_at: float = float("-inf")
    """When the last request was sent."""
    next_at: float | None = None
    """When the next request is due; None: not before an event."""
    last_error: str | None = None
    hint: str | None = None
    """The last error where it is a guess at the reason of a silence: it lasts until the next request is lost."""
    requests_sent: int = 0
    replies_received: int = 0

    @property
    def is_idle(self) -> bool:
        """Whether we do not register there."""
        return self.state in (NhsState.DOWN, NhsState.STANDBY)

    @property
    def is_hopeful(self) -> bool:
        """Whether servers of worse priority wait for it: it is up, or on its first tries."""
        first_tries = self.state in (NhsState.REGISTERING, NhsState.REFUSED)
        return self.state is NhsState.UP or (first_tries and self.lost < LOST_AFTER)


@dataclass(slots=True, eq=False)
class Server:
    """One configured NHS."""

    index: int
    """Its key in timers; no two servers of an instance ever have the same."""
    config: NhsConfig
    literal: Address
    """The address when `nbma` is one, else empty."""
    addresses: tuple[Address, ...] = ()
    """The NBMA addresses that it has; we may still be registered at a former one."""
    registrations: dict[Address, Registration] = field(default_factory=dict)
    """By NBMA address."""
    resolving: bool = False
    name_error: str | None = None
    name_retry_s: float = NAME_RETRY_S

    @property
    def is_up(self) -> bool:
        """Whether we are registered at one of its NBMA addresses."""
        return any(each.state is NhsState.UP for each in self.registrations.values())

    @property
    def is_hopeful(self) -> bool:
        """Whether servers of worse priority wait for it: its name may resolve, or a registration is hopeful."""
        if not self.registrations:
            return self.name_error is None
        return any(each.is_hopeful for each in self.registrations.values())


class Servers:
    """The configured servers of one station, in the order of the configuration. Changed by `client` alone."""

    __slots__ = ("_servers",)

    def __init__(self) -> None:
        self._servers: list[Server] = []

    def __iter__(self) -> Iterator[Server]:
        return iter(self._servers)

    def replace(self, servers: list[Server]) -> None:
        self._servers = servers

    def registrations(self) -> Iterator[Registration]:
        for server in self._servers:
            yield from server.registrations.values()

    def at(self, nbma: Address) -> list[Registration]:
        """Returns the registrations with an NBMA address; several servers may have it."""
        return [each for each in self.registrations() if each.nbma == nbma]

    def best(self) -> Registration | None:
        """Returns the NHS to send requests to: of those that are up, by priority, then the longest up."""
        up = [each for each in self.registrations() if each.state is NhsState.UP]
        return min(up, key=lambda each: (each.server.config.priority, each.up_since), default=None)

    def best_nbma(self) -> Address:
        """Returns the NBMA address of the NHS to ask; empty where none is up."""
        best = self.best()
        return best.nbma if best is not None else b""

    def is_server(self, nbma: Address) -> bool:
        """Returns whether an NBMA address is one of our NHSs."""
        return any(nbma in server.registrations for server in self._servers)

    def owes_an_answer(self, nbma: Address) -> bool:
        """Returns whether an NHS at an NBMA address owes us an answer."""
        return any(
            not each.is_idle and (each.lost > 0 or each.state is NhsState.PROBE)
            for each in self.at(nbma)
        )

    def has_nbma(self, nbma: Address) -> bool:
        """Returns whether an NBMA address is that of a configured NHS, whether we register there or not."""
        return any(nbma == each.literal or nbma in each.registrations for each in self._servers)

    def has_protocol(self, protocol: Address) -> bool:
        """Returns whether an overlay address is that of an NHS, configured or learnt."""
        return any(
            protocol == each.config.protocol
            or any(one.protocol == protocol for one in each.registrations.values())
            for each in self._servers
        )

    def is_silent(self, protocol: Address) -> bool:
        """Returns whether an overlay address is that of an NHS that was up and does not answer any more."""
        states = {each.state for each in self.registrations() if each.protocol == protocol}
        return NhsState.PROBE in states and NhsState.UP not in states

    def other_way(self, registration: Registration) -> Registration | None:
        """Returns another registration that is up, with the same server: it has several NBMA addresses."""
        return next(
            (
                each
                for each in self.registrations()
                if each is not registration
                and each.state is NhsState.UP
                and each.protocol == registration.protocol != b""
            ),
            None,
        )
