"""One session with charon: from the connect to its loss.

It begins with a list of all SAs and then follows charon's events. The objects that outlive a
session (the table of SAs, the wanted SAs, the certificates) are arguments.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from enum import Enum

import trio

from nhrpd_py.core.events import Event, SaFailed
from nhrpd_py.runtime.vici.admission import Admission
from nhrpd_py.runtime.vici.attempts.log_tail import LogTail
from nhrpd_py.runtime.vici.attempts.scheduler import Attempts, EventMissedError, SessionAccess
from nhrpd_py.runtime.vici.attempts.wanted import WantedSas
from nhrpd_py.runtime.vici.housekeeping import Housekeeping
from nhrpd_py.runtime.vici.profiles.profiles import Profiles
from nhrpd_py.runtime.vici.reports import Reports
from nhrpd_py.runtime.vici.sas.certificates import Certificates
from nhrpd_py.runtime.vici.sas.children import Pair
from nhrpd_py.runtime.vici.sas.table import AssociationTable
from nhrpd_py.runtime.vici.wire.connection import (
    CommandChannel,
    Section,
    ViciConnection,
    ViciError,
    ViciLostError,
    sections,
    text,
)
from nhrpd_py.runtime.vici.wire.requests import list_sas, terminate

FIRST_LIST_S = 1.0
LAST_LIST_S = 300.0
"""Longest pause before charon is asked again after a list that lacked SAs; pauses double from FIRST_LIST_S."""
EVENTS = ("child-updown", "child-rekey", "ike-updown", "ike-rekey", "ike-update")
PATCHED_EVENT = "child-state-installing"
"""Event of a patched charon, which takes `my-host` and `other-host` (Alpine's and VyOS's
builds)."""


class SessionState(Enum):
    """The state of a session; `Session` has the transitions."""

    OPENING = "opening"
    READY = "ready"
    """All SAs are known; each change is reported by an event."""
    ENDED = "ended"


class Session:
    """One connection to charon: its events, commands, log and housekeeping.

    ::

        OPENING ── charon listed its SAs ──► READY
           │                                   │
           └── charon is lost, an event was    │
               missed, or `restart` ───────────┴──► ENDED
    """

    def __init__(
        self,
        path: str,
        *,
        wanted: WantedSas,
        table: AssociationTable,
        certificates: Certificates,
        profiles: Profiles,
        admission: Admission,
        attempts: Attempts,
        reports: Reports,
        counters: dict[str, int],
    ) -> None:
        self._path = path
        self._wanted = wanted
        self._table = table
        self._certificates = certificates
        self._profiles = profiles
        self._admission = admission
        self._attempts = attempts
        self._reports = reports
        self._counters = counters
        self._commands = CommandChannel(path)
        self._log = LogTail(path)
        self._housekeeping = Housekeeping(self._commands, profiles, wanted, table)
        self._scope = trio.CancelScope()
        self._state = SessionState.OPENING
        self._loss: str | None = None
        self._nursery: trio.Nursery | None = None
        self._turn = trio.Lock()
        """Held while an event or a list is applied, so that an event that comes after a list is
        applied later."""
        self.was_ready = False

    @property
    def is_ready(self) -> bool:
        """Whether charon is connected, as far as is known."""
        return self._state is SessionState.READY

    def _enter(self, state: SessionState, loss: str | None = None) -> None:
        if self._state is not SessionState.ENDED:
            self._state, self._loss = state, loss
        if self.is_ready:
            self.was_ready = True

    # From the connect to the loss.

    async def run(self) -> str | None:
        """Runs the session to its end; returns why charon was lost, None if the session only
        restarts."""
        with self._scope:
            try:
                async with trio.open_nursery() as self._nursery:
                    await self._converse(self._nursery)
            except* EventMissedError:
                self._enter(SessionState.ENDED)
            except* ViciError as group:
                self._enter(SessionState.ENDED, loss=str(_leaf(group)))
        return self._loss

    def restart(self) -> None:
        """Ends the session without a loss: the next one lists all SAs anew."""
        self._enter(SessionState.ENDED)
        self._scope.cancel()

    async def _converse(self, nursery: trio.Nursery) -> None:
        events = await ViciConnection.open(self._path)
        try:
            self._counters["connects"] += 1
            patched = await self._register(events)
            version = text((await self._commands.request("version")).get("version"))
            await self._profiles.usable()
            listed = self._table.listed(await self._with_certificates(await self._list()))
            self._enter(SessionState.READY)
            await self._report(listed)
            self._wanted.connected(self._table.is_up, trio.current_time())
            await self._reports.ready(version, patched=patched)
            nursery.start_soon(
                self._attempts.run, SessionAccess(self._commands, self._log, patched)
            )
            nursery.start_soon(self._log.run)
            nursery.start_soon(self._housekeeping.run)
            nursery.start_soon(self._list_again)
            while True:
                await self._happened(*await events.next_event())
        finally:
            await events.aclose()
            with trio.CancelScope(shield=True):
                await self._commands.aclose()

    async def _register(self, events: ViciConnection) -> bool:
        """Registers for all events; returns whether charon is patched. Raises ViciLostError."""
        patched = await events.register(PATCHED_EVENT)
        if patched:
            await events.unregister(PATCHED_EVENT)
        await events.register("alert")
        for name in EVENTS:
            if not await events.register(name):
                raise ViciLostError(f"charon knows no event {name}: too old")
        return patched

    async def _list(self) -> list[Section]:
        return [ike for _, ike in await list_sas(self._commands)]

    async def _with_certificates(self, ikes: list[Section]) -> list[Section]:
        """Reads the peers' certificates; ends the IKE_SAs that lack a needed one, and returns the
        others."""
        await self._certificates.learn(self._commands, ikes)
        lacking = self._certificates.lacking(ike for ike in ikes if self._table.has_ours(ike))
        for ike_id in lacking:
            await terminate(self._commands, ike_id)
        return await self._list() if lacking else ikes

    async def _list_again(self) -> None:
        """Lists SAs once more, and again while there are orphans: a list leaves out SAs with which
        charon is busy, of which nothing else tells until they are rekeyed."""
        wait_s = FIRST_LIST_S
        while True:
            await trio.sleep(wait_s)
            wait_s = min(2 * wait_s, LAST_LIST_S)
            async with self._turn:
                ikes = self._table.unknown(await self._list())
                await self._certificates.learn(self._commands, ikes)
                await self._report(self._table.found(ikes))
            if not self._table.orphans():
                return

    # Events.

    async def _happened(self, event: str, message: Section) -> None:
        async with self._turn:
            self._attempts.happened(event, message)
            if event == "child-updown" and text(message.get("up")) == "yes":
                ikes = [ike for _, ike in sections(message)]
                await self._certificates.learn(self._commands, ikes)
            await self._report(self._table.happened(event, message))

    async def _report(self, events: Sequence[Event]) -> None:
        """Reports changes of the table, and ends the SAs that it denied."""
        failures: list[Event] = []
        for child, reason in self._table.denied():
            local, remote = child.pair
            if self._nursery is not None:
                self._nursery.start_soon(self._terminate, child.ike_id)
            if not self._attempts.denied(child, reason):  # else its attempt reports the reason
                failures.append(
                    SaFailed(local=local, remote=remote, reason=reason, retry_in_s=0.0, was_up=True)
                )
        await self._reports.sas([*events, *failures])

    async def _terminate(self, ike_id: int) -> None:
        with suppress(ViciError):
            await terminate(self._commands, ike_id)

    # Requests.

    def review(self, pairs: Iterable[Pair]) -> None:
        """Checks the SAs at the addresses of servers again: the demanded identity changed."""
        if self.is_ready and self._nursery is not None:
            for pair in pairs:
                self._nursery.start_soon(self._review, pair)

    async def _review(self, pair: Pair) -> None:
        await self._report(self._table.review(pair, self._admission.server_denial))

    async def end_sas(self, pair: Pair, reason: str) -> None:
        """Ends all SAs between two addresses, and reports those that charon no longer has."""
        children = self._table.children(pair)
        try:
            for ike_id in {each.ike_id for each in children}:
                self._table.expect_end(ike_id, reason)
                await terminate(self._commands, ike_id)
            ids = {each.unique_id for each in children}
            if ids and self.is_ready:
                await self._report(self._table.missing(await self._list(), ids))
        except ViciError:
            return  # the session ends, and its SAs are reported then


def _leaf(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group
