"""Keeps wanted SAs up with a stock charon, and tells the engine of all SAs there are.

charon is only ever asked to begin (`initiate` with no timeout: one that waits keeps one of charon's
few threads); what becomes of it is learnt from its events. See `attempts` on who is tried when.

When charon goes, its SAs may live on in the kernel. They stay the engine's until the kernel has them
no more or a new charon has made new ones; see `orphans`.
"""

import random
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import trio

from nhrpd_py.core.address import format_address
from nhrpd_py.core.config import Config
from nhrpd_py.core.effects import DropSa, EndSa, WantSa
from nhrpd_py.core.events import Event, IpsecLost, IpsecReady, SaFailed, SaGone, SaInstalled
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.vici.attempts import attempt
from nhrpd_py.runtime.vici.attempts.log_tail import LogTail
from nhrpd_py.runtime.vici.attempts.scheduler import Attempts
from nhrpd_py.runtime.vici.attempts.wanted import Wishes
from nhrpd_py.runtime.vici.housekeeping import Housekeeping
from nhrpd_py.runtime.vici.orphans import KernelPairs, Orphans
from nhrpd_py.runtime.vici.profiles.identity import fits
from nhrpd_py.runtime.vici.profiles.profiles import Profiles
from nhrpd_py.runtime.vici.profiles.swanctl import SWANCTL, Templates
from nhrpd_py.runtime.vici.sas.certificates import Certificates, peers_of
from nhrpd_py.runtime.vici.sas.children import Child, Pair
from nhrpd_py.runtime.vici.sas.table import AssociationTable, children_of
from nhrpd_py.runtime.vici.snapshot import SaRow, rows
from nhrpd_py.runtime.vici.status import Status
from nhrpd_py.runtime.vici.wire.connection import (
    Commands,
    Connection,
    Section,
    ViciError,
    ViciLostError,
    sections,
    text,
)

FIRST_CONNECT_S = 0.1
LAST_CONNECT_S = 2.0
FIRST_WORD_S = 3.0
"""How long the start of the daemon waits for charon's SAs."""
EVENTS = ("child-updown", "child-rekey", "ike-updown", "ike-rekey", "ike-update")
PATCHED = "child-state-installing"


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
        self._swanctl = swanctl
        self._wishes = Wishes(rng or random.Random())
        self._heard = trio.Event()
        """charon told its SAs, or that it is away."""
        self._nursery: trio.Nursery | None = None
        self._session_scope: trio.CancelScope | None = None
        self._again = False
        self._online_since: float | None = None
        self._loss = ""
        self._told_loss = False
        self._connects = 0
        self._certificates = Certificates()
        self._demanded: dict[str, str | None] = {}
        self._table = AssociationTable(self._certificates.blocks, self._objection)
        self._attempts = Attempts(self, self._wishes, self._table)
        self._orphans = Orphans(
            self._table, self._wishes, kernel_pairs, lambda: self._online_since, self._tell
        )
        self._take(config)

    def _take(self, config: Config) -> None:
        self._config = config
        self.status = Status(config.vici.socket)
        self.commands = Commands(config.vici.socket)
        run_directory = Path(config.daemon.control_socket).parent
        self.profiles = Profiles(
            config,
            Templates(config.vici.swanctl_config, self._swanctl, directory=run_directory),
            self._demanded,
        )
        self.profiles.on_identity = self._demands
        self.profiles.on_child = self._heard_of
        self.profiles.on_mended = self._mended
        self.status.profiles = self.profiles.problems
        self.log = LogTail(config.vici.socket)
        self._certificates.wanted = any(
            each.ipsec is not None and each.authorize.certificate
            for each in config.interfaces.values()
        )
        # What a child is called is only known once its profile was read: none is forgotten before.
        self._table.names = frozenset(self._table.names) | self.profiles.names
        self._house = Housekeeping(self.commands, self._wishes, self._table)

    def configure(self, config: Config) -> None:
        """Takes a changed configuration; where it matters here, all SAs are listed anew."""
        if config == self._config:
            return
        stale = self.commands
        self._take(config)
        self._heard = trio.Event()
        self._told_loss = False
        if self._nursery is not None:
            self._nursery.start_soon(stale.aclose)
        self.restart()

    # Verbs.

    def want(self, effect: WantSa) -> None:
        """See `WantSa`."""
        pair = effect.local, effect.remote
        was_server = any(each.effect.server for each in self._wishes.of_pair(pair))
        self._wishes.want(effect, trio.current_time(), up=self._table.is_up(pair))
        if effect.server and not was_server and self._nursery is not None:
            # An SA that somebody else began may be there, or one that we began with just any peer.
            self._nursery.start_soon(self._review, pair)
        self._attempts.wake()

    def drop(self, effect: DropSa) -> None:
        """See `DropSa`. An attempt that is under way runs to its end."""
        self._wishes.drop((effect.interface, effect.profile, effect.local, effect.remote))

    @property
    def counters(self) -> dict[str, int]:
        return {**self._attempts.counters, "connects": self._connects}

    @property
    def patched(self) -> bool:
        """Whether this charon takes hosts with `initiate`."""
        return self.status.patched

    def end(self, effect: EndSa) -> None:
        """See `EndSa`."""
        if self._nursery is not None:
            self._nursery.start_soon(self._end, (effect.local, effect.remote))

    async def heard(self) -> None:
        """Waits until charon has told its SAs under the present configuration, or is known to be away."""
        await self._heard.wait()

    # Life with charon.

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Must run for anything to happen; never ends by itself.

        Has started once the SAs that there are were told, or charon was not to be reached: what an
        earlier run left in the kernel is judged by them.
        """
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._attempts.run)
            nursery.start_soon(self._orphans.run)
            nursery.start_soon(self._connect)
            with trio.move_on_after(FIRST_WORD_S):
                await self._heard.wait()
            task_status.started()

    async def _connect(self) -> None:
        wait_s = FIRST_CONNECT_S
        while True:
            if await self._one_session():
                wait_s = FIRST_CONNECT_S
            if not self._again:
                self._heard.set()
                await trio.sleep(wait_s)
                wait_s = min(wait_s * 2, LAST_CONNECT_S)
            self._again = False

    def restart(self) -> None:
        """Connects anew without any loss to tell of."""
        self._again = True
        if self._session_scope is not None:
            self._session_scope.cancel()

    def broke(self, reason: str) -> None:
        """charon does not answer: connects anew, and tells."""
        self._loss = reason
        if self._session_scope is not None:
            self._session_scope.cancel()

    async def report(self, events: Sequence[Event]) -> None:
        """Brings events to the engine."""
        await self._inbox.put(events)

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
        self._attempts.lose()
        if self._again:
            return ready
        self.status.problem = self._loss
        self._table.orphan_all()
        self._orphans.look()
        self._attempts.wake()
        if not self._told_loss:
            self._told_loss = True
            await self.report([IpsecLost(self._loss)])
        return ready

    async def _session(self) -> None:
        events = await Connection.open(self.status.socket)
        try:
            self._connects += 1
            status = self.status
            status.patched = await events.register(PATCHED)
            if status.patched:
                await events.unregister(PATCHED)
            status.alerts = await events.register("alert")
            for name in EVENTS:
                if not await events.register(name):
                    raise ViciLostError(f"charon knows no event {name}: too old")
            status.version = text((await self.commands.request("version")).get("version"))
            await self.profiles.usable()
            ikes = await self._list()
            ikes = await self._learn(ikes)
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
                    wish.failures, wish.up_at, wish.due = 0, None, self._online_since
            await self.report([IpsecReady(status.version, status.patched)])
            self._heard.set()
            self._attempts.wake()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.log.run)
                nursery.start_soon(self._house.run, self.profiles)
                while True:
                    await self._happened(*await events.next_event())
        finally:
            await events.aclose()
            with trio.CancelScope(shield=True):
                await self.commands.aclose()

    @property
    def is_online(self) -> bool:
        """Whether charon can be asked, as far as is known."""
        scope = self._session_scope
        return self._online_since is not None and scope is not None and not scope.cancel_called

    async def _list(self) -> list[Section]:
        """All IKE_SAs; `noblock` would leave those out that charon is busy with just now."""
        items = await self.commands.stream("list-sas", "list-sa")
        return [ike for item in items for _, ike in sections(item)]

    async def _happened(self, event: str, message: Section) -> None:
        self._attempts.happened(event, message)
        if event == "child-updown" and text(message.get("up")) == "yes":
            await self._certificates.learn(self.commands, peers_of(message))
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
                    if (watch := self._attempts.watch(pair)) is not None:
                        watch.came_up()
                case SaGone(local, remote):
                    if not self._table.is_up((local, remote)):
                        self._wishes.went_down((local, remote), now)
                case _:
                    pass
            passed.append(event)
        for child, reason in self._table.refused():
            local, remote = child.pair
            if self._nursery is not None:
                self._nursery.start_soon(self._terminate, child.ike_id)
            watch = None if child.answered else self._attempts.watch(child.pair)
            if watch is not None:
                watch.fail(reason)  # the attempt reports it, with its next time
            else:
                passed.append(SaFailed(local=local, remote=remote, reason=reason, retry_in_s=0.0))
        if passed:
            await self.report(passed)
            self._attempts.wake()

    def _objection(self, child: Child, comes: bool) -> str | None:
        """Why an SA may not be, though charon let it in; `comes` is said of one that was not there before.

        The kernel cannot tell two peers at one address apart (both behind one NAT): what is for the
        one would be encrypted for the other. The first keeps it while it lives. And the connection
        that answers spokes takes whoever has a good certificate, also where the profile demands one
        identity of a server; charon has compared the identity of a server with which we began.
        """
        if not child.answered:
            watch = self._attempts.watch(child.pair)
            return None if watch is None or watch.server else self._not_the_server(child)
        for other in self._table.children(child.pair) if comes else ():
            if other.identity != child.identity:
                where = format_address(child.remote)
                return (
                    f"{child.identity} comes from {where}, where {other.identity} is: two peers"
                    " behind one address cannot be told apart"
                )
        return self._not_the_server(child)

    def _not_the_server(self, child: Child) -> str | None:
        for wish in self._wishes.of_pair(child.pair):
            if wish.effect.server:
                demanded = self.profiles.server_identities(wish.effect.ipsec)
                if demanded and not any(fits(each, child.identity) for each in demanded):
                    return f"{child.identity} is not the server {', '.join(sorted(demanded))}"
        return None

    def _demands(self, profile: str) -> None:
        """A profile demands another identity of servers than was known."""
        for wish in self._wishes:
            names = wish.effect.ipsec.profile, wish.effect.ipsec.fallback_profile
            if wish.effect.server and profile in names and self._nursery is not None:
                self._nursery.start_soon(self._review, wish.pair)

    async def _review(self, pair: Pair) -> None:
        await self._tell(self._table.review(pair, self._not_the_server))

    async def _learn(self, ikes: list[Section]) -> list[Section]:
        """Learns the peers' certificates, and ends those IKE_SAs where that cannot be; gives the others."""
        await self._certificates.learn(self.commands, ikes)
        lacking = self._certificates.lacking(
            ike
            for ike in ikes
            if any(attempt.is_ours(child, self._table.names) for _, child in children_of(ike))
        )
        for ike_id in lacking:
            await attempt.terminate(self.commands, str(ike_id))
        return await self._list() if lacking else ikes

    async def _terminate(self, ike_id: int) -> None:
        with suppress(ViciError):
            await attempt.terminate(self.commands, str(ike_id))

    def _heard_of(self, child: str) -> None:
        """A profile's child goes by another name than the profile."""
        if child not in self._table.names:
            self._table.names = frozenset(self._table.names) | {child}
            if self._online_since is not None:
                self.restart()  # SAs of that child were not taken note of

    def _mended(self, profile: str) -> None:
        self._wishes.hurry(profile, trio.current_time())
        self._attempts.wake()

    # Ends.

    async def _end(self, pair: Pair) -> None:
        children = self._table.children(pair)
        reason = "ended: nothing came through it"
        try:
            for ike_id in {each.ike_id for each in children}:
                self._table.ending[ike_id] = reason
                await attempt.terminate(self.commands, str(ike_id))
            ids = {each.unique_id for each in children}
            if ids and self._online_since is not None:
                await self._tell(self._table.missing(await self._list(), ids))
        except ViciError:
            pass  # the session ends, and what is gone is told then
        await self._tell(self._table.bury(lambda each: reason if each.pair == pair else None))

    # Views.

    async def snapshot(self) -> list[SaRow]:
        """All SAs of ours, and the wishes that are not fulfilled, for `nhrpctl show sas`."""
        ikes: list[tuple[str, Section]] = []
        if self._online_since is not None:
            # By a connection of its own: who asked may go away amid the answer, which ends it.
            with suppress(ViciError):
                connection = await Connection.open(self.status.socket)
                try:
                    items = await connection.stream("list-sas", "list-sa", {"noblock": "yes"})
                    ikes = [each for item in items for each in sections(item)]
                finally:
                    await connection.aclose()
        return rows(ikes, self._table, list(self._wishes), trio.current_time())


def _leaf(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group
