"""The clear-text guard: no GRE packet of a protected tunnel leaves or arrives unless IPsec covers it.

For each protected tunnel the kernel has a pair of XFRM policies that block `proto gre key K`, one a
direction, of so low a priority that the policies of every security association win. They are there
before the tunnel's first packet and stay when the daemon stops or dies; they go when the
configuration protects the tunnel no more.

In and out suffice. A packet of ours is checked by the `out` policies when it is routed, and by
those of `in` when it is delivered to us (fragments after they were put together); after
decapsulation it has an inner header that a selector of GRE does not fit. `fwd` is for packets in
transit. Those of somebody else's tunnel with the same key fall under `out` all the same, for the
kernel asks it about everything that it sends: a router of other people's GRE needs another key.

The kernel can be told to skip its policies altogether (`disable_xfrm`, `disable_policy`), also those
of IPsec itself: such a tunnel is not protected, whatever policies there are. Nobody tells when such
a setting is made, so they are looked at again and again. They belong to the link that a packet
leaves by; we know the one that the tunnel is bound to or has its address from.

A tunnel that ceases to be protected is refused: the engine closes it and takes its neighbours out
of the kernel, until it is mended.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

import trio

from nhrpd_py.core.notices import GuardFailed, GuardRemoved, GuardRestored, Notice
from nhrpd_py.runtime.guard.gre_block import (
    SETTINGS,
    Tunnel,
    bypasses,
    slot_of,
    touches,
)
from nhrpd_py.runtime.guard.policies import GuardError, GuardPolicies, refusal
from nhrpd_py.runtime.netlink.socket import (
    READS_PER_WAKE,
    MalformedError,
    NetlinkSocket,
    is_overrun,
    messages,
)
from nhrpd_py.runtime.netlink.xfrm import (
    Policy,
)
from nhrpd_py.runtime.netlink.xfrm_socket import Xfrm, open_policy_news, open_xfrm

AUDIT_S = 60.0
RETRY_S = 1.0
SETTINGS_S = 1.0
"""How often the settings are looked at that have the kernel skip all policies."""
STRIKES = 2
"""Failures in a row to put a policy back, after which the tunnel is refused."""


class Guard:
    """The policies of all protected tunnels. The verbs do not wait: it stands when they return.

    Counters: restored, failures, audits, swept, malformed, overruns.
    """

    def __init__(
        self,
        publish: Callable[[Notice], None],
        refuse: Callable[[int, str], None],
        mended: Callable[[int], None],
        *,
        open_requests: Callable[[], Xfrm] = open_xfrm,
        open_news: Callable[[], NetlinkSocket] = open_policy_news,
        settings: Path = SETTINGS,
    ) -> None:
        """`refuse` is told the ifindex of a tunnel that is protected no more, and why; `mended` when
        the reason is over."""
        self._publish = publish
        self._refuse = refuse
        self._mended = mended
        self._open_news = open_news
        self._settings = settings
        self._policies = GuardPolicies(open_requests)
        self._tunnels: dict[str, Tunnel] = {}
        self._configured: frozenset[str] = frozenset()
        self._sweeping = False
        self._problems: dict[str, str] = {}
        self._strikes: Counter[str] = Counter()
        self._refused: set[str] = set()
        self._is_deaf = False
        self.counters: Counter[str] = Counter()

    @property
    def problems(self) -> Mapping[str, str]:
        """Why tunnels that were protected are not, by interface."""
        return self._problems

    # Verbs.

    def configure(self, protected: Collection[str]) -> None:
        """Tells which interfaces the configuration protects, at the start and after a reload.

        The policies of all others go; those of an earlier run only when each of these interfaces
        has said its keys (`protect`), for nothing but the key tells whose they are. Raises
        GuardError.
        """
        self._configured = frozenset(protected)
        self._sweeping = True
        for name in self._tunnels.keys() - self._configured:
            self.unprotect(name)
        self._sweep()

    def protect(self, name: str, tunnel: Tunnel) -> None:
        """Has the policies of a tunnel stand; those that it had under another key go afterwards.

        May be called again at any time. Raises GuardError: then nothing may be sent. Where a setting
        is the reason, the policies stand all the same, and `mended` is told as soon as it is over.
        """
        for policy in tunnel.policies:
            self._policies.install(policy)
        before = self._tunnels.get(name)
        self._tunnels[name] = tunnel
        self._forgive(name)
        if before is not None:
            self._drop(name, before.policies)
        self._sweep()
        try:
            self._refuse_bypass(tunnel)
        except GuardError as error:
            self._problems[name] = str(error)
            self._strikes[name] = STRIKES
            self._refused.add(name)
            raise

    def unprotect(self, name: str) -> None:
        """Removes the policies of a tunnel, but those that another one shares. Raises
        GuardError.
        """
        tunnel = self._tunnels.pop(name, None)
        self._forgive(name)
        if tunnel is not None:
            self._drop(name, tunnel.policies)

    def close(self) -> None:
        """Forgets the sockets; the policies stay."""
        self._policies.close()

    # Reading.

    def policies(self) -> list[Policy]:
        """The guard's policies that stand in the kernel, of this run and others. Raises
        GuardError.
        """
        return self._policies.present()

    # Requests.

    def _refuse_bypass(self, tunnel: Tunnel) -> None:
        names = bypasses(tunnel, self._settings)
        if names:
            command = " ".join(f"{name}=0" for name in names)
            raise GuardError(f"the kernel skips all IPsec policies; mend it: sysctl -w {command}")

    def _wanted(self) -> dict[Policy, list[str]]:
        """All wanted policies, each with the interfaces that want it: tunnels may share a key."""
        wanted: dict[Policy, list[str]] = {}
        for name, tunnel in self._tunnels.items():
            for policy in tunnel.policies:
                wanted.setdefault(policy, []).append(name)
        return wanted

    def _drop(self, name: str, policies: Iterable[Policy]) -> None:
        wanted = self._wanted()
        for policy in policies:
            if policy not in wanted and self._policies.remove(policy):
                self._publish(GuardRemoved(interface=name, policy=str(policy)))

    def _sweep(self) -> None:
        """Removes what an earlier run left and nobody wants, as soon as that can be known."""
        if not self._sweeping or not self._configured <= self._tunnels.keys():
            return
        wanted = self._wanted()
        leftovers = [policy for policy in self.policies() if policy not in wanted]
        self._drop("", leftovers)
        self.counters["swept"] += len(leftovers)
        self._sweeping = False

    # Watching.

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Puts back at once what others remove or change, until cancelled.

        Where the kernel's news cannot be had, it compares once a second instead, and tries again.
        """
        try:
            news = self._listen()
            task_status.started()
            while news is None:
                self.audit()
                await trio.sleep(RETRY_S)
                news = self._listen()
            try:
                await self._follow(news)
            finally:
                news.close()
        finally:
            self.close()

    def _listen(self) -> NetlinkSocket | None:
        try:
            news = self._open_news()
        except OSError as error:
            if not self._is_deaf:
                self._publish(GuardFailed(interface="", reason=str(refusal(error))))
            self._is_deaf = True
            return None
        self._is_deaf = False
        return news

    async def _follow(self, news: NetlinkSocket) -> None:
        audit_at = trio.current_time()
        while True:
            with trio.move_on_at(min(audit_at, trio.current_time() + SETTINGS_S)):
                await news.wait()
            lost, changed = self._read(news)
            if changed is not None and self._put_back(changed):
                audit_at = trio.current_time() + RETRY_S
            if lost or trio.current_time() >= audit_at:
                audit_at = trio.current_time() + (AUDIT_S if self.audit() else RETRY_S)
            elif self._inspect():
                audit_at = trio.current_time() + RETRY_S
            await trio.lowlevel.checkpoint()

    def _read(self, news: NetlinkSocket) -> tuple[bool, dict[Policy, Policy] | None]:
        """Reads what waits: whether news were lost, and which wanted policies were replaced by
        what; None when no wanted policy was touched.
        """
        lost = touched = False
        changed: dict[Policy, Policy] = {}
        wanted = {slot_of(policy): policy for policy in self._wanted()}
        for _ in range(READS_PER_WAKE):
            try:
                datagram = news.read()
                if datagram is None:
                    break
                for item in messages(datagram):
                    touched |= touches(item, wanted, changed)
            except MalformedError:
                self.counters["malformed"] += 1
                lost = True
            except OSError as error:
                if not is_overrun(error):
                    raise
                self.counters["overruns"] += 1
                lost = True
        return lost, changed if touched else None

    def audit(self) -> bool:
        """Compares the kernel with what is wanted and mends it; tells whether all is well."""
        self.counters["audits"] += 1
        failures: dict[str, str] = {}
        try:
            self._sweep()  # where an earlier try failed
            standing = self._policies.standing() if self._tunnels else {}
        except GuardError as error:  # what stands was not seen, which does not say that it is gone
            for name in self._tunnels:
                self._note(name, str(error), failures)
        else:
            found = ((policy, standing.get(slot_of(policy))) for policy in self._wanted())
            failures = self._put_back({p: other for p, other in found if other not in (None, p)})
        failures |= self._inspect()
        for name in self._tunnels.keys() - failures:
            if name in self._refused:
                self._mended(self._tunnels[name].ifindex)
            self._forgive(name)
        return not failures

    def _inspect(self) -> dict[str, str]:
        """Looks for settings that switch the policies off; returns whose, and which."""
        failures: dict[str, str] = {}
        for name, tunnel in self._tunnels.items():
            try:
                self._refuse_bypass(tunnel)
            except GuardError as error:
                self._strikes[name] = STRIKES
                self._fail(name, str(error), failures)
        return failures

    def _put_back(self, changed: Mapping[Policy, Policy | None]) -> dict[str, str]:
        """Has every wanted policy stand; `changed` are those in whose slot is another.

        Returns the interfaces of those that do not stand, and why.
        """
        failures: dict[str, str] = {}
        for policy, names in self._wanted().items():
            found = changed.get(policy)
            try:
                if found is not None:
                    self._policies.replace(policy)
                elif not self._policies.add(policy):
                    continue
            except GuardError as error:
                for name in names:
                    self._fail(name, str(error), failures)
            else:
                self.counters["restored"] += 1
                text = "" if found is None else str(found)
                for name in names:
                    self._publish(GuardRestored(interface=name, policy=str(policy), found=text))
        return failures

    def _fail(self, name: str, reason: str, failures: dict[str, str]) -> None:
        """Notes a failure, and refuses a tunnel that has had its chance."""
        if name not in failures:
            self._strikes[name] += 1
        self._note(name, reason, failures)
        if self._strikes[name] >= STRIKES and name not in self._refused:
            self._refused.add(name)
            self._refuse(self._tunnels[name].ifindex, reason)

    def _note(self, name: str, reason: str, failures: dict[str, str]) -> None:
        """Keeps a failure, and tells it when it is news."""
        failures[name] = reason
        self.counters["failures"] += 1
        if self._problems.get(name) != reason:
            self._problems[name] = reason
            self._publish(GuardFailed(interface=name, reason=reason))

    def _forgive(self, name: str) -> None:
        """All is well with a tunnel."""
        self._problems.pop(name, None)
        self._strikes.pop(name, None)
        self._refused.discard(name)
