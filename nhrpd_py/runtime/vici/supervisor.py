"""Keeps wanted SAs up with a stock charon, and tells the engine of all SAs there are.

charon is only ever asked to begin (`initiate` with no timeout: one that waits keeps one of charon's
few threads); what becomes of it is learnt from its events. At most eight attempts are under way, each
has ten seconds, and whoever has waited longest is next.

When charon goes, its SAs may live on in the kernel. They stay the engine's until the kernel has them
no more or a new charon has made new ones; see `associations` on orphans.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import trio

from nhrpd_py.core.config import Config
from nhrpd_py.core.effects import DropSa, EndSa, WantSa
from nhrpd_py.core.events import Event, IpsecLost, IpsecReady, SaFailed, SaGone, SaInstalled
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.vici import attempt
from nhrpd_py.runtime.vici.associations import AssociationTable, Child, Pair
from nhrpd_py.runtime.vici.certificates import Certificates, peers_of
from nhrpd_py.runtime.vici.connection import (
    Commands,
    Connection,
    Section,
    ViciError,
    ViciLostError,
    sections,
    text,
)
from nhrpd_py.runtime.vici.housekeeping import Housekeeping
from nhrpd_py.runtime.vici.log_tail import LogTail
from nhrpd_py.runtime.vici.profiles import Profiles
from nhrpd_py.runtime.vici.snapshot import SaRow, rows
from nhrpd_py.runtime.vici.status import Status
from nhrpd_py.runtime.vici.tap import SWANCTL, Templates
from nhrpd_py.runtime.vici.wish import Wish, Wishes

IN_FLIGHT = 8
"""A responder with more than 30 half-open IKE_SAs demands cookies, which costs seconds."""
FIRST_CONNECT_S = 0.1
LAST_CONNECT_S = 2.0
FIRST_WORD_S = 3.0
"""How long the start of the daemon waits for charon's SAs."""
FIRST_LOOK_S = 0.2
"""After charon went: one that is stopped takes its SAs out of the kernel within milliseconds."""
LOOK_S = 2.0
ORPHAN_GRACE_S = 30.0
EVENTS = ("child-updown", "child-rekey", "ike-updown", "ike-rekey", "ike-update")
PATCHED = "child-state-installing"

KernelPairs = Callable[[], Awaitable[set[Pair]]]
"""The (source, destination) of all ESP states of the kernel."""


class Supervisor:
    """See the module. Its verbs (`want`, `drop`, `end`) return at once."""

    def __init__(
        self,
        inbox: Inbox,
        config: Config,
        kernel_pairs: KernelPairs | None = None,
        *,
        rng: random.Random | None = None,
        swanctl: str = SWANCTL,
    ) -> None:
        self._inbox = inbox
        self._kernel_pairs = kernel_pairs
        self._swanctl = swanctl
        self._wishes = Wishes(rng or random.Random())
        self._watches: dict[Pair, attempt.Watch] = {}
        self._turn = trio.Lock()
        self._wake = trio.Event()
        self._heard = trio.Event()
        """charon told its SAs, or that it is away."""
        self._nursery: trio.Nursery | None = None
        self._session_scope: trio.CancelScope | None = None
        self._again = False
        self._online_since: float | None = None
        self._loss = ""
        self._told_loss = False
        self.counters = {"attempts": 0, "failures": 0, "connects": 0}
        self._certificates = Certificates()
        self._table = AssociationTable(self._certificates.blocks)
        self._take(config)

    def _take(self, config: Config) -> None:
        self._config = config
        self.status = Status(config.vici.socket)
        self._commands = Commands(config.vici.socket)
        run_directory = Path(config.daemon.control_socket).parent
        self._profiles = Profiles(
            config, Templates(config.vici.swanctl_config, self._swanctl, directory=run_directory)
        )
        self._profiles.on_child = self._heard_of
        self._profiles.on_mended = self._mended
        self.status.profiles = self._profiles.problems
        self._log = LogTail(config.vici.socket)
        self._certificates.wanted = any(
            each.ipsec is not None and each.authorize.certificate
            for each in config.interfaces.values()
        )
        # What a child is called is only known once its profile was read: none is forgotten before.
        self._table.names = frozenset(self._table.names) | self._profiles.names
        self._house = Housekeeping(self._commands, self._wishes, self._table)

    def configure(self, config: Config) -> None:
        """Takes a changed configuration; where it matters here, all SAs are listed anew."""
        if config == self._config:
            return
        stale = self._commands
        self._take(config)
        if self._nursery is not None:
            self._nursery.start_soon(stale.aclose)
        self._restart()

    # Verbs.

    def want(self, effect: WantSa) -> None:
        """See `WantSa`."""
        up = self._table.is_up((effect.local, effect.remote))
        self._wishes.want(effect, trio.current_time(), up=up)
        self._wake.set()

    def drop(self, effect: DropSa) -> None:
        """See `DropSa`. An attempt that is under way runs to its end."""
        self._wishes.drop((effect.interface, effect.profile, effect.local, effect.remote))

    def end(self, effect: EndSa) -> None:
        """See `EndSa`."""
        if self._nursery is not None:
            self._nursery.start_soon(self._end, (effect.local, effect.remote))

    @property
    def certificates_available(self) -> bool | None:
        """Whether address blocks of certificates can be had; None before charon was reached."""
        return self._certificates.available

    # Life with charon.

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Must run for anything to happen; never ends by itself.

        Has started once the SAs that there are were told, or charon was not to be reached: what an
        earlier run left in the kernel is judged by them.
        """
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._schedule)
            nursery.start_soon(self._watch_orphans)
            nursery.start_soon(self._connect)
            with trio.move_on_after(FIRST_WORD_S):
                await self._heard.wait()
            task_status.started()

    async def _connect(self) -> None:
        wait_s = FIRST_CONNECT_S
        while True:
            if await self._one_session():
                wait_s = FIRST_CONNECT_S
            self._heard.set()
            if not self._again:
                await trio.sleep(wait_s)
                wait_s = min(wait_s * 2, LAST_CONNECT_S)
            self._again = False

    def _restart(self) -> None:
        """Connects anew without any loss to tell of."""
        self._again = True
        if self._session_scope is not None:
            self._session_scope.cancel()

    async def _one_session(self) -> bool:
        """One connection to charon to its end; tells whether it came to be ready."""
        self._loss = ""
        with trio.CancelScope() as self._session_scope:
            try:
                await self._session()
            except* ViciError as group:
                self._loss = str(_leaf(group))
        ready = self._online_since is not None
        self._online_since = None
        self.status.connected = False
        self._session_scope = None
        for watch in list(self._watches.values()):
            watch.lose()
        if self._again:
            return ready
        self.status.problem = self._loss
        self._table.orphan_all()
        self._wake.set()
        if not self._told_loss:
            self._told_loss = True
            await self._inbox.put([IpsecLost(self._loss)])
        return ready

    async def _session(self) -> None:
        events = await Connection.open(self.status.socket)
        try:
            self.counters["connects"] += 1
            status = self.status
            status.patched = await events.register(PATCHED)
            if status.patched:
                await events.unregister(PATCHED)
            status.alerts = await events.register("alert")
            for name in EVENTS:
                if not await events.register(name):
                    raise ViciLostError(f"charon knows no event {name}: too old")
            status.version = text((await self._commands.request("version")).get("version"))
            await self._profiles.usable()
            ikes = await self._list()
            await self._certificates.learn(self._commands, ikes)
            told = self._table.listed(ikes)
            self._online_since = trio.current_time()
            self._told_loss = False
            status.connected, status.problem = True, None
            await self._tell(told)
            for wish in self._wishes:
                if self._table.is_up(wish.pair):
                    self._wishes.came_up(wish.pair, self._online_since)
                elif not wish.trying:
                    # No back-off of earlier days: this charon may know better.
                    wish.up_at, wish.due = None, self._online_since
            await self._inbox.put([IpsecReady(status.version, status.patched)])
            self._heard.set()
            self._wake.set()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._log.run)
                nursery.start_soon(self._house.run, self._profiles.usable)
                while True:
                    await self._happened(*await events.next_event())
        finally:
            await events.aclose()
            with trio.CancelScope(shield=True):
                await self._commands.aclose()

    def _is_online(self) -> bool:
        """Whether charon can be asked, as far as is known."""
        scope = self._session_scope
        return self._online_since is not None and scope is not None and not scope.cancel_called

    async def _list(self) -> list[Section]:
        """All IKE_SAs; `noblock` would leave those out that charon is busy with just now."""
        items = await self._commands.stream("list-sas", "list-sa")
        return [ike for item in items for _, ike in sections(item)]

    async def _happened(self, event: str, message: Section) -> None:
        for watch in list(self._watches.values()):
            watch.happened(event, message)
        if event == "child-updown" and text(message.get("up")) == "yes":
            await self._certificates.learn(self._commands, peers_of(message))
        await self._tell(self._table.happened(event, message))

    async def _tell(self, told: Sequence[Event]) -> None:
        """Reports, and lets wishes and attempts know."""
        now = trio.current_time()
        passed: list[Event] = []
        for event in told:
            match event:
                case SaInstalled(association):
                    pair = association.local, association.remote
                    self._wishes.came_up(pair, now)
                    if (watch := self._watches.get(pair)) is not None:
                        watch.came_up()
                case SaGone(local, remote):
                    if not self._table.is_up((local, remote)):
                        self._wishes.went_down((local, remote), now)
                case SaFailed():
                    watch = self._watches.get((event.local, event.remote))
                    if watch is not None:  # the attempt reports it, with its next time
                        watch.fail(event.reason)
                        continue
                case _:
                    pass
            passed.append(event)
        if passed:
            await self._inbox.put(passed)
            self._wake.set()

    def _heard_of(self, child: str) -> None:
        """A profile's child goes by another name than the profile."""
        if child not in self._table.names:
            self._table.names = frozenset(self._table.names) | {child}
            if self._online_since is not None:
                self._restart()  # SAs of that child were not taken note of

    def _mended(self, profile: str) -> None:
        self._wishes.hurry(profile, trio.current_time())
        self._wake.set()

    # Attempts.

    async def _schedule(self) -> None:
        while True:
            self._wake = trio.Event()
            deadline = float("inf")
            while self._is_online() and len(self._watches) < IN_FLIGHT:
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
                elif self._nursery is not None:
                    wish.trying = True
                    watch = self._watches[wish.pair] = attempt.Watch(wish.pair)
                    self._nursery.start_soon(self._try, wish, watch)
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
        if reason is None or self._online_since is None:
            wish.due = now  # nothing can be said of the peer
            return
        self.counters["failures"] += 1
        retry_s = self._wishes.failed(wish, reason, now)
        if wish not in self._wishes.of_pair(wish.pair):
            return  # nobody wants it any more
        local, remote = wish.pair
        await self._inbox.put(
            [SaFailed(local=local, remote=remote, reason=reason, retry_in_s=retry_s)]
        )

    async def _attempt(self, wish: Wish, watch: attempt.Watch) -> str | None:
        """Returns why there is no SA, or None."""
        remote = wish.effect.remote
        try:
            profile = await self._profiles.get(wish.profile)
            async with self._log.following(remote):
                await attempt.initiate(
                    self._commands, self._turn, wish, profile, patched=self.status.patched
                )
                in_time = await attempt.wait_for(watch)
                if watch.up or watch.lost:
                    return None
                await trio.sleep(attempt.LATE_WORDS_S)
                said = self._log.failures.reason(remote)
            alive = await attempt.clean_up(self._commands, wish.pair, self._table.names)
        except ViciLostError as error:
            if self._session_scope is not None and self._is_online():
                self._loss = str(error)  # it does not answer; connect anew
                self._session_scope.cancel()
            return None  # nothing was learnt of the peer
        except ViciError as error:
            return str(error)
        if alive and not self._table.is_up(wish.pair):
            self._restart()  # an event must have been lost
            return None
        if said is None and in_time:
            return watch.failure
        return said or f"no SA within {attempt.DEADLINE_S:g} s"

    async def _end(self, pair: Pair) -> None:
        children = self._table.children(pair)
        reason = "ended: nothing came through it"
        try:
            for ike_id in {each.ike_id for each in children}:
                self._table.ending[ike_id] = reason
                await attempt.terminate(self._commands, str(ike_id))
            ids = {each.unique_id for each in children}
            if ids and self._online_since is not None:
                await self._tell(self._table.missing(await self._list(), ids))
        except ViciError:
            pass  # the session ends, and what is gone is told then
        await self._tell(self._table.bury(lambda each: reason if each.pair == pair else None))

    # Without charon.

    async def _watch_orphans(self) -> None:
        while True:
            wait_s = FIRST_LOOK_S if self._online_since is None else LOOK_S
            await trio.sleep(wait_s)
            if self._table.orphans():
                kernel = await self._kernel()
                await self._tell(self._table.bury(partial(self._dead, kernel)))

    async def _kernel(self) -> set[Pair] | None:
        if self._kernel_pairs is None:
            return None
        try:
            return await self._kernel_pairs()
        except (OSError, ValueError):
            return None

    def _dead(self, kernel: set[Pair] | None, orphan: Child) -> str | None:
        if kernel is not None and orphan.pair not in kernel:
            return "the kernel has it no more"
        online = self._online_since
        if online is None or trio.current_time() - online < ORPHAN_GRACE_S:
            return None
        wished = self._wishes.of_pair(orphan.pair)
        if not wished or self._table.is_up(orphan.pair) or any(each.failures for each in wished):
            return "charon was restarted and has it no more"
        return None

    # Views.

    async def snapshot(self) -> list[SaRow]:
        """All SAs of ours, and the wishes that are not fulfilled, for `nhrpctl show sas`."""
        ikes: list[tuple[str, Section]] = []
        if self._online_since is not None:
            try:
                items = await self._commands.stream("list-sas", "list-sa", {"noblock": "yes"})
                ikes = [each for item in items for each in sections(item)]
            except ViciError:
                ikes = []
        return rows(ikes, self._table, list(self._wishes), trio.current_time())


def _leaf(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group
