"""Decides which wanted SA is attempted next, makes the attempt, and reports its result.

At most eight attempts are under way, each for ten seconds; servers come first and have four more
places of their own, so that an SA with a server never waits for peers that do not answer. Of the
others the SA that has waited longest is next.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import trio

from nhrpd_py.core.events import Event, SaFailed, SaGone, SaInstalled
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.vici.attempts.attempt import (
    DEADLINE_S,
    Attempt,
    AttemptState,
    clean_up,
    initiate,
)
from nhrpd_py.runtime.vici.attempts.log_tail import LogTail
from nhrpd_py.runtime.vici.attempts.wanted import WantedSa, WantedSas, WantedState
from nhrpd_py.runtime.vici.profiles.profiles import Profiles
from nhrpd_py.runtime.vici.sas.children import Child, Pair
from nhrpd_py.runtime.vici.sas.table import AssociationTable
from nhrpd_py.runtime.vici.wire.connection import (
    CommandChannel,
    Section,
    ViciError,
    ViciLostError,
)

IN_FLIGHT = 8
"""Attempts at once: a responder with over 30 half-open IKE_SAs demands cookies, which takes
seconds."""
SERVER_PLACES = 4
"""Attempts with servers beyond these."""
SAME_PEER_S = 1.0
"""How long an SA waits when another attempt with the same peer is under way."""
LATE_LINES_S = 0.1
"""How late lines of charon's log may be, which come by another VICI connection."""


@dataclass(frozen=True, slots=True)
class SessionAccess:
    """The parts of the session that an attempt uses: commands, charon's log, whether charon is
    patched."""

    commands: CommandChannel
    log: LogTail
    patched: bool
    """charon takes `my-host` and `other-host` with `initiate`."""


class EventMissedError(Exception):
    """charon has an SA that no event announced: the session must list its SAs again."""


class Attempts:
    """Makes the attempts that are due, while there is a session with charon."""

    def __init__(
        self,
        inbox: Inbox,
        wanted: WantedSas,
        table: AssociationTable,
        profiles: Profiles,
        *,
        under_way: dict[Pair, Attempt],
        counters: dict[str, int],
    ) -> None:
        self._inbox = inbox
        self._wanted = wanted
        self._table = table
        self._profiles = profiles
        self._under_way = under_way
        self._counters = counters
        self._turn = trio.Lock()
        self._changed = trio.Event()

    # Events.

    def wake(self) -> None:
        """Makes `run` look again which SA is due: one is new, or due at another time."""
        self._changed.set()

    def happened(self, event: str, message: Section) -> None:
        """Passes an event of charon on to the attempts under way."""
        for each in list(self._under_way.values()):
            each.happened(event, message)

    def sas_changed(self, events: Sequence[Event]) -> None:
        """Updates wanted SAs and attempts with SAs that came up or are gone."""
        now = trio.current_time()
        for event in events:
            match event:
                case SaInstalled(association):
                    pair = association.local, association.remote
                    self._wanted.came_up(pair, now)
                    if (attempt := self._under_way.get(pair)) is not None:
                        attempt.came_up()
                case SaGone(local, remote):
                    if not self._table.is_up((local, remote)):
                        self._wanted.went_down((local, remote), now)
                case _:
                    pass
        self.wake()

    def denied(self, child: Child, reason: str) -> bool:
        """Fails the attempt that led to a denied SA; returns whether there is one."""
        attempt = None if child.answered else self._under_way.get(child.pair)
        if attempt is not None:
            attempt.fail(reason)
        return attempt is not None

    # Attempts.

    async def run(self, access: SessionAccess) -> None:
        """Makes attempts until it is cancelled. Raises ViciLostError and EventMissedError, in groups."""
        async with trio.open_nursery() as nursery:
            while True:
                self._changed = trio.Event()
                deadline = float("inf")
                while len(self._under_way) < IN_FLIGHT + SERVER_PLACES:
                    now = trio.current_time()
                    peers = sum(not each.is_server for each in self._under_way.values())
                    wanted, next_due = self._wanted.next_due(now, servers_only=peers >= IN_FLIGHT)
                    if wanted is None:
                        deadline = next_due if next_due is not None else deadline
                        break
                    if self._table.is_up(wanted.pair):
                        wanted.came_up(now)
                    elif wanted.pair in self._under_way:
                        wanted.postpone(now + SAME_PEER_S)
                    else:
                        wanted.begin()
                        self._counters["attempts"] += 1
                        attempt = self._under_way[wanted.pair] = Attempt(wanted.effect)
                        nursery.start_soon(self._try, access, wanted, attempt)
                with trio.move_on_at(deadline):
                    await self._changed.wait()

    async def _try(self, access: SessionAccess, wanted: WantedSa, attempt: Attempt) -> None:
        reason: str | None = None
        try:
            reason = await self._reason(access, wanted, attempt)
        finally:
            del self._under_way[wanted.pair]
            retry_s = self._settle(wanted, reason)
            self.wake()
        if retry_s is not None and reason is not None:
            local, remote = wanted.pair
            failed = SaFailed(local=local, remote=remote, reason=reason, retry_in_s=retry_s)
            await self._inbox.put([failed])

    def _settle(self, wanted: WantedSa, reason: str | None) -> float | None:
        """Updates a wanted SA after its attempt; returns the hold-down in seconds if it must be
        reported."""
        now = trio.current_time()
        if self._table.is_up(wanted.pair):
            wanted.came_up(now)
        elif wanted.state is not WantedState.TRYING:
            pass  # its SA came up and is gone again
        elif reason is None:
            wanted.interrupted(now)
        else:
            self._counters["failures"] += 1
            retry_s = wanted.failed(reason, now, self._wanted.rng)
            if wanted in self._wanted.of_pair(wanted.pair):  # else it was withdrawn
                return retry_s
        return None

    async def _reason(
        self, access: SessionAccess, wanted: WantedSa, attempt: Attempt
    ) -> str | None:
        """Makes the attempt; returns why there is no SA, or None. Raises ViciLostError, EventMissedError."""
        effect = wanted.effect
        try:
            async with access.log.following(effect.remote):
                profile = await self._profiles.get(wanted.profile)
                await access.log.opened()
                await initiate(access.commands, self._turn, effect, profile, patched=access.patched)
                in_time = await attempt.wait()
                if attempt.state is AttemptState.UP:
                    return None
                await trio.sleep(LATE_LINES_S)
                logged = access.log.failures.reason(effect.remote)
            is_alive = await clean_up(access.commands, wanted.pair, self._table.names)
        except ViciLostError:
            raise  # not the peer's fault
        except ViciError as error:
            return str(error)
        if is_alive and not self._table.is_up(wanted.pair):
            raise EventMissedError
        if logged is None and in_time:
            return attempt.failure
        return logged or f"no SA within {DEADLINE_S:g} s"
