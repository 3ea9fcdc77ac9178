"""Which wish is tried next, and what becomes of each try.

At most eight are under way, each has ten seconds, and whoever has waited longest is next.
"""

from collections.abc import Sequence
from typing import Protocol

import trio

from nhrpd_py.core.events import Event, SaFailed
from nhrpd_py.runtime.vici.attempts import attempt
from nhrpd_py.runtime.vici.attempts.log_tail import LogTail
from nhrpd_py.runtime.vici.attempts.wanted import Wish, Wishes
from nhrpd_py.runtime.vici.profiles.profiles import Profiles
from nhrpd_py.runtime.vici.sas.children import Pair
from nhrpd_py.runtime.vici.sas.table import AssociationTable
from nhrpd_py.runtime.vici.wire.connection import Commands, Section, ViciError, ViciLostError

IN_FLIGHT = 8
"""A responder with more than 30 half-open IKE_SAs demands cookies, which costs seconds."""


class Session(Protocol):
    """What is to be known of the connection to charon; all of it may be another one the next time."""

    @property
    def commands(self) -> Commands: ...
    @property
    def profiles(self) -> Profiles: ...
    @property
    def log(self) -> LogTail: ...
    @property
    def patched(self) -> bool: ...
    @property
    def is_online(self) -> bool:
        """Whether charon can be asked, as far as is known."""

    def restart(self) -> None:
        """Connects anew: an event must have been lost."""

    def broke(self, reason: str) -> None:
        """charon does not answer: connects anew, and tells."""

    async def report(self, events: Sequence[Event]) -> None: ...


class Attempts:
    """See the module. `wake` whenever a wish is new, or charon is there."""

    def __init__(self, session: Session, wishes: Wishes, table: AssociationTable) -> None:
        self._session = session
        self._wishes = wishes
        self._table = table
        self._watches: dict[Pair, attempt.Watch] = {}
        self._turn = trio.Lock()
        self._wake = trio.Event()
        self.counters = {"attempts": 0, "failures": 0}

    def wake(self) -> None:
        self._wake.set()

    def watch(self, pair: Pair) -> attempt.Watch | None:
        """That over an attempt which is under way."""
        return self._watches.get(pair)

    def happened(self, event: str, message: Section) -> None:
        """Takes in an event of charon's."""
        for watch in list(self._watches.values()):
            watch.happened(event, message)

    def lose(self) -> None:
        """Nothing more is heard of what is under way."""
        for watch in list(self._watches.values()):
            watch.lose()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                self._wake = trio.Event()
                deadline = float("inf")
                while self._session.is_online and len(self._watches) < IN_FLIGHT:
                    now = trio.current_time()
                    wish, next_due = self._wishes.next_due(now)
                    if wish is None:
                        deadline = next_due if next_due is not None else deadline
                        break
                    wish.due = None
                    if self._table.is_up(wish.pair):
                        self._wishes.came_up(wish.pair, now)
                    elif wish.pair in self._watches:
                        wish.due = now + 1.0  # another profile's attempt with the same peer
                    else:
                        wish.trying = True
                        watch = self._watches[wish.pair] = attempt.Watch(wish.pair)
                        nursery.start_soon(self._try, wish, watch)
                with trio.move_on_at(deadline):
                    await self._wake.wait()

    async def _try(self, wish: Wish, watch: attempt.Watch) -> None:
        wish.attempts += 1
        self.counters["attempts"] += 1
        try:
            reason = await self._attempt(wish, watch)
        finally:
            del self._watches[wish.pair]
            wish.trying = False
            self._wake.set()
        now = trio.current_time()
        if self._table.is_up(wish.pair):
            self._wishes.came_up(wish.pair, now)
            return
        if reason is None or not self._session.is_online:
            if not watch.up:  # else it came and went, which `Wishes.went_down` has seen to
                wish.due = now  # nothing can be said of the peer
            return
        self.counters["failures"] += 1
        retry_s = self._wishes.failed(wish, reason, now)
        if wish not in self._wishes.of_pair(wish.pair):
            return  # nobody wants it any more
        local, remote = wish.pair
        await self._session.report(
            [SaFailed(local=local, remote=remote, reason=reason, retry_in_s=retry_s)]
        )

    async def _attempt(self, wish: Wish, watch: attempt.Watch) -> str | None:
        """Returns why there is no SA, or None."""
        session = self._session
        remote = wish.effect.remote
        try:
            profile = await session.profiles.get(wish.profile)
            log = session.log
            async with log.following(remote):
                watch.server = wish.effect.server
                await attempt.initiate(
                    session.commands, self._turn, wish, profile, patched=session.patched
                )
                in_time = await attempt.wait_for(watch)
                if watch.up or watch.lost:
                    return None
                await trio.sleep(attempt.LATE_WORDS_S)
                said = log.failures.reason(remote)
            alive = await attempt.clean_up(session.commands, wish.pair, self._table.names)
        except ViciLostError as error:
            if session.is_online:
                session.broke(str(error))
            return None  # nothing was learnt of the peer
        except ViciError as error:
            return str(error)
        if alive and not self._table.is_up(wish.pair):
            session.restart()
            return None
        if said is None and in_time:
            return watch.failure
        return said or f"no SA within {attempt.DEADLINE_S:g} s"
