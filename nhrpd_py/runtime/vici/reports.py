"""Reports to the engine whether charon can be reached, and which SAs came and went."""

from collections.abc import Sequence
from enum import Enum

import trio

from nhrpd_py.core.events import Event, IpsecLost, IpsecReady
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.vici.attempts.scheduler import Attempts


class Contact(Enum):
    """The last report about charon itself under the present configuration."""

    UNKNOWN = "unknown"
    READY = "ready"
    LOST = "lost"


class Reports:
    """Reports to the engine: each loss of charon once, and each change of its SAs.

    ::

        any         ── charon has listed its SAs ──► READY
        UNKNOWN     ── charon cannot be reached ───► LOST
        READY       ── charon is lost ─────────────► LOST
        any         ── another configuration ──────► UNKNOWN
    """

    def __init__(self, inbox: Inbox, attempts: Attempts) -> None:
        self._inbox = inbox
        self._attempts = attempts
        self._contact = Contact.UNKNOWN
        self._known = trio.Event()
        self._unsent: list[Event] = []
        self._sending = trio.Lock()
        self.ready_since: float | None = None
        """When charon listed its SAs; None while it is lost."""

    async def sas(self, events: Sequence[Event]) -> None:
        """Reports changes of SAs, to the attempts first."""
        if events:
            self._attempts.sas_changed(events)
            await self._put(events)

    async def ready(self, version: str, *, patched: bool) -> None:
        """Reports that charon is connected and all its SAs were reported."""
        self.ready_since = trio.current_time()
        await self._enter(Contact.READY, IpsecReady(version, patched))

    async def lost(self, reason: str) -> None:
        """Reports that charon cannot be reached, unless the last report said so."""
        self.ready_since = None
        if self._contact is not Contact.LOST:
            await self._enter(Contact.LOST, IpsecLost(reason))

    def forget(self) -> None:
        """Enters UNKNOWN: the configuration changed, and with it perhaps charon's socket."""
        self._contact = Contact.UNKNOWN
        self._known = trio.Event()

    async def known(self) -> None:
        """Waits for the first report under the present configuration."""
        await self._known.wait()

    async def _enter(self, contact: Contact, event: Event) -> None:
        known = self._known  # `forget` may be called during the report, and needs the next one
        self._contact = contact
        await self._put([event])
        known.set()

    async def _put(self, events: Sequence[Event]) -> None:
        """Puts events into the inbox; where its caller is cancelled meanwhile, the next report does it.

        A session may end at any moment, and what the table of SAs has taken over is told only once.
        """
        self._unsent += events
        async with self._sending:
            while self._unsent:
                batch = tuple(self._unsent)
                await self._inbox.put(batch)
                del self._unsent[: len(batch)]
