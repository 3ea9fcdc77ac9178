"""Keeps wanted SAs up with a stock charon, and reports all SAs to the engine.

charon is only asked to initiate, without waiting (a waiting `initiate` takes one of charon's few
threads); the result comes with charon's events. `attempts` decides which SA is tried when,
`session` is the connection to charon, `admission` decides who may have an SA.

When charon is lost, its SAs may live on in the kernel. For the engine they stay up until they are
gone from the kernel or a new charon has replaced them: see `orphans`.
"""

import random
from contextlib import suppress

import trio

from nhrpd_py.core.config import Config
from nhrpd_py.core.effects import DropSa, EndSa, WantSa
from nhrpd_py.core.rows import SaRow
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.vici.admission import Admission
from nhrpd_py.runtime.vici.attempts.attempt import Attempt
from nhrpd_py.runtime.vici.attempts.scheduler import Attempts
from nhrpd_py.runtime.vici.attempts.wanted import WantedSas
from nhrpd_py.runtime.vici.counts import KernelCounts, report_counts
from nhrpd_py.runtime.vici.orphans import KernelPairs, Orphans
from nhrpd_py.runtime.vici.profiles.profiles import OpenSwanctl, ProfileRead, Profiles, swanctl_of
from nhrpd_py.runtime.vici.reports import Reports
from nhrpd_py.runtime.vici.sas.certificates import Certificates
from nhrpd_py.runtime.vici.sas.children import Pair
from nhrpd_py.runtime.vici.sas.table import AssociationTable
from nhrpd_py.runtime.vici.session import Session
from nhrpd_py.runtime.vici.snapshot import rows
from nhrpd_py.runtime.vici.wire.connection import Section, ViciConnection, ViciError
from nhrpd_py.runtime.vici.wire.requests import list_sas

FIRST_CONNECT_S = 0.1
LAST_CONNECT_S = 2.0
FIRST_REPORT_S = 3.0
"""How long the daemon's start waits for charon's SAs."""


class Supervisor:
    """Controls charon for the engine: its verbs (`want`, `drop`, `end`) return at once, events
    follow.

    It has a session except between two attempts to connect. The session's state is that of the
    connection to charon; the state of `Reports` is what was last reported to the engine.
    """

    def __init__(
        self,
        inbox: Inbox,
        config: Config,
        kernel_pairs: KernelPairs | None = None,
        kernel_counts: KernelCounts | None = None,
        *,
        rng: random.Random | None = None,
        open_swanctl: OpenSwanctl = swanctl_of,
    ) -> None:
        """`kernel_pairs` reads the kernel's ESP states, `kernel_counts` their counters; without the former orphans
        only end by time, without the latter nothing is reported of what goes through SAs."""
        under_way: dict[Pair, Attempt] = {}
        self.counters = {"attempts": 0, "failures": 0, "connects": 0}
        self._wanted = WantedSas(rng or random.Random())
        self._certificates = Certificates()
        self._profiles = Profiles(config, open_swanctl, self._profile_read)
        self._admission = Admission(self._wanted, self._profiles, under_way)
        self._table = AssociationTable(self._certificates.blocks, self._admission.denial)
        self._attempts = Attempts(
            inbox,
            self._wanted,
            self._table,
            self._profiles,
            under_way=under_way,
            counters=self.counters,
        )
        self._reports = Reports(inbox, self._attempts)
        self._orphans = Orphans(self._table, self._wanted, kernel_pairs, self._reports)
        self._inbox = inbox
        self._kernel_counts = kernel_counts
        self._nursery: trio.Nursery | None = None
        self._session: Session | None = None
        self._apply(config)

    def configure(self, config: Config) -> None:
        """Applies a changed configuration; all SAs are listed anew."""
        if config != self._config:
            self._profiles.configure(config)
            self._apply(config)
            self._reports.forget()
            self.restart()

    def _apply(self, config: Config) -> None:
        self._config = config
        self._certificates.configure(config)
        # A profile's child is known only when the profile was read: no name is removed before.
        self._table.add_names(self._profiles.names)

    def _profile_read(self, read: ProfileRead) -> None:
        profile, session = read.profile, self._session
        is_new = self._table.add_names({profile.child})
        if is_new and session is not None and session.is_ready:
            session.restart()  # the table has ignored SAs of that child so far
        if read.has_new_identity and session is not None:
            session.review(self._admission.servers_of(profile.name))
        if read.is_usable_again:
            self._wanted.clear_failures(profile.name, trio.current_time())
            self._attempts.wake()

    # Verbs.

    def want(self, effect: WantSa) -> None:
        """Keeps a CHILD_SA up between two addresses until `drop`; a repeated call attempts it at
        once."""
        pair = effect.local, effect.remote
        was_server = any(each.effect.server for each in self._wanted.of_pair(pair))
        self._wanted.request(effect, trio.current_time(), is_up=self._table.is_up(pair))
        if effect.server and not was_server and self._session is not None:
            # The SA may exist: initiated by the peer, or by us without the demand for a server.
            self._session.review([pair])
        self._attempts.wake()

    def drop(self, effect: DropSa) -> None:
        """Makes no more attempts for an SA; an attempt under way is not interrupted."""
        self._wanted.withdraw((effect.interface, effect.profile, effect.local, effect.remote))

    def end(self, effect: EndSa) -> None:
        """Ends all CHILD_SAs between two addresses, which carry nothing; a wanted one is attempted
        anew."""
        if self._nursery is not None:
            self._nursery.start_soon(self._end, (effect.local, effect.remote))

    async def _end(self, pair: Pair) -> None:
        reason = "ended: nothing came through it"
        if self._session is not None:
            await self._session.end_sas(pair, reason)
        buried = self._table.bury(lambda orphan: reason if orphan.pair == pair else None)
        await self._reports.sas(buried)

    # Sessions.

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs the sessions, until cancelled; no verb has an effect without it.

        Has started when charon's SAs were reported, or charon could not be reached: the kernel
        entries of an earlier run are checked against these SAs.
        """
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._orphans.run)
            nursery.start_soon(self._connect)
            if self._kernel_counts is not None:
                nursery.start_soon(report_counts, self._inbox, self._table, self._kernel_counts)
            with trio.move_on_after(FIRST_REPORT_S):
                await self.heard()
            task_status.started()

    async def heard(self) -> None:
        """Waits for the first report under the present configuration: charon's SAs, or that it is
        lost."""
        await self._reports.known()

    def restart(self) -> None:
        """Begins a new session without reporting a loss."""
        if self._session is not None:
            self._session.restart()

    async def _connect(self) -> None:
        """Runs one session after the other, with a pause when charon was lost."""
        wait_s = FIRST_CONNECT_S
        while True:
            session = self._session = self._new_session()
            loss = await session.run()
            if session.was_ready:
                wait_s = FIRST_CONNECT_S
            if loss is None:
                continue
            self._table.orphan_all()
            self._orphans.charon_lost()
            await self._reports.lost(loss)
            await trio.sleep(wait_s)
            wait_s = min(wait_s * 2, LAST_CONNECT_S)

    def _new_session(self) -> Session:
        return Session(
            self._config.vici.socket,
            wanted=self._wanted,
            table=self._table,
            certificates=self._certificates,
            profiles=self._profiles,
            admission=self._admission,
            attempts=self._attempts,
            reports=self._reports,
            counters=self.counters,
        )

    # Views.

    async def snapshot(self) -> list[SaRow]:
        """Returns charon's SAs of our profiles, and the wanted SAs that are not up, for `nhrpctl show sas`."""
        ikes: list[tuple[str, Section]] = []
        if self._session is not None and self._session.is_ready:
            # On its own connection, which ends if the client hangs up during the answer.
            with suppress(ViciError):
                connection = await ViciConnection.open(self._config.vici.socket)
                try:
                    ikes = await list_sas(connection)
                finally:
                    await connection.aclose()
        return rows(ikes, self._table, list(self._wanted), trio.current_time())
