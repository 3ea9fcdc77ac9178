"""The clear-text guard: no GRE packet of a protected tunnel leaves or arrives unless IPsec covers it.

For each protected tunnel the kernel has a pair of XFRM policies that block `proto gre key K`, one a
direction, of so low a priority that the policies of every security association win. They are there
before the tunnel's first packet and stay when the daemon stops or dies; they go when the
configuration protects the tunnel no more.

No other directions are needed. A packet of ours is checked by the `out` policies when it is routed,
and by those of `in` when it is delivered to us (fragments after they were put together); after
decapsulation it has an inner header that a selector of GRE does not fit. `fwd` is for packets in
transit. GRE packets in transit with the same key are blocked too, for the kernel checks `out` for
all packets that it sends: on a router that relays other GRE tunnels, ours needs another key.

The kernel can be told to skip its policies altogether (`disable_xfrm`, `disable_policy`), also those
of IPsec itself: such a tunnel is not protected, whatever policies there are. The
kernel sends no notification when such a setting changes, so they are read every second. They belong
to the link by which a packet leaves; we know the link to which the tunnel is bound or from which it
has its address.

Another program's policy can win over those of IPsec and let clear text pass (`passes`). Of these the
kernel does notify.

When a tunnel is no longer protected, the engine closes it and takes its neighbours out of the
kernel, until it is protected again; `tunnel` has the states.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

import trio

from nhrpd_py.core.address import Address
from nhrpd_py.core.effects import ProtectedGre
from nhrpd_py.core.notices import GuardFailed, GuardRemoved, GuardRestored, Notice
from nhrpd_py.runtime.guard.gre_block import (
    SETTINGS,
    block_policies,
    bypasses,
    slot_of,
    touches,
)
from nhrpd_py.runtime.guard.passes import Passes, describe
from nhrpd_py.runtime.guard.policies import GuardError, GuardPolicies, by_slot, refusal
from nhrpd_py.runtime.guard.tunnel import GuardedTunnel, Listeners
from nhrpd_py.runtime.netlink.socket import (
    READS_PER_WAKE,
    MalformedError,
    NetlinkSocket,
    is_overrun,
    messages,
)
from nhrpd_py.runtime.netlink.xfrm import Policy
from nhrpd_py.runtime.netlink.xfrm_socket import Xfrm, open_policy_notifications, open_xfrm

AUDIT_S = 60.0
RETRY_S = 1.0
SETTINGS_S = 1.0
"""Interval of reading the settings that make the kernel skip all policies."""


class Guard:
    """Keeps the policies of all protected tunnels in the kernel.

    The verbs do not wait: when they return, the kernel has the change. Counters: restored,
    failures, audits, swept, malformed, overruns.
    """

    def __init__(
        self,
        publish: Callable[[Notice], None],
        refused: Callable[[int, str], None],
        mended: Callable[[int], None],
        *,
        open_requests: Callable[[], Xfrm] = open_xfrm,
        open_notifications: Callable[[], NetlinkSocket] = open_policy_notifications,
        settings: Path = SETTINGS,
    ) -> None:
        """`refused` is called with the ifindex of a tunnel that is no longer protected, and why;
        `mended` when it is protected again."""
        self._publish = publish
        self._listeners = Listeners(publish, refused, mended)
        self._open_notifications = open_notifications
        self._settings = settings
        self._policies = GuardPolicies(open_requests)
        self._passes = Passes()
        self._tunnels: dict[str, GuardedTunnel] = {}
        self._configured: frozenset[str] = frozenset()
        self._sweeping = False
        self._without_notifications = False
        self.counters: Counter[str] = Counter()

    @property
    def problems(self) -> Mapping[str, str]:
        """Returns why tunnels that should be protected are not, by interface."""
        return {
            name: tunnel.problem
            for name, tunnel in self._tunnels.items()
            if tunnel.problem is not None
        }

    # Verbs.

    def configure(self, protected: Collection[str]) -> None:
        """Takes the names of the interfaces that the configuration protects, at the start and after
        a reload.

        The policies of all other interfaces are removed. Those of an earlier run are removed only
        after `protect` was called for each of these interfaces, since a policy has only its key to
        tell its tunnel by. Raises GuardError.
        """
        self._configured = frozenset(protected)
        self._sweeping = True
        for name in self._tunnels.keys() - self._configured:
            self.unprotect(name)
        self._sweep()

    def protect(self, name: str, ifindex: int, gre: ProtectedGre) -> None:
        """Installs the policies of a tunnel, then removes those that it had under another key.

        May be called again at any time. Raises GuardError when the tunnel is not protected: nothing
        may be sent then. Where a kernel setting is the reason, or a policy of another program, the
        policies are installed all the same, and `mended` is called as soon as that is gone.
        """
        for policy in block_policies(gre):
            self._policies.install(policy)
        before = self._tunnels.get(name)
        tunnel = self._tunnels[name] = GuardedTunnel(name, ifindex, gre, self._listeners)
        if before is not None:
            tunnel.takes_over(before)
            self._drop(name, block_policies(before.gre))
        self._sweep()
        self._passes.sync(self._policies.read())
        self._look_at_settings([tunnel])
        problem = self._bypass_of(tunnel)
        if problem is not None:
            tunnel.closed_by_caller(problem)
            raise GuardError(problem)

    def unprotect(self, name: str) -> None:
        """Removes the policies of a tunnel except those that another tunnel shares. Raises
        GuardError."""
        tunnel = self._tunnels.pop(name, None)
        if tunnel is not None:
            self._drop(name, block_policies(tunnel.gre))

    def uses(self, name: str, local: Address, remote: Address) -> None:
        """Notes that packets of a tunnel will go between two NBMA addresses; `refused` is called
        when they could go in clear text."""
        tunnel = self._tunnels.get(name)
        if tunnel is not None:
            tunnel.pairs.add((local, remote))
            self._inspect([tunnel])

    def leaves(self, name: str, local: Address, remote: Address) -> None:
        """Notes that no packets of a tunnel go between two NBMA addresses any more."""
        tunnel = self._tunnels.get(name)
        if tunnel is not None:
            tunnel.leaves((local, remote))

    def close(self) -> None:
        """Closes the request socket, which the next verb opens anew; the policies stay."""
        self._policies.close()

    def policies(self) -> list[Policy]:
        """Returns the guard's policies in the kernel, of this run and of others. Raises GuardError."""
        return self._policies.present()

    # Requests.

    def _bypass_of(self, tunnel: GuardedTunnel) -> str | None:
        """Returns what keeps a tunnel's policies from having an effect, with the remedy."""
        if tunnel.switches_on:
            command = " ".join(f"{name}=0" for name in tunnel.switches_on)
            return f"the kernel skips all IPsec policies; mend it: sysctl -w {command}"
        others = {
            local
            for other in self._tunnels.values()
            for local, _remote in other.pairs
            if other is not tunnel
        }
        hole = self._passes.hole(
            tunnel.gre,
            tunnel.pairs,
            foreign=others - {local for local, _remote in tunnel.pairs},
            besides={slot_of(policy) for policy in self._wanted()},
        )
        if hole is None:
            return None
        tunnel.pairs.add(hole[0])  # else it is forgotten with its SA, and the tunnel opened again
        return describe(*hole)

    def _look_at_settings(self, tunnels: Iterable[GuardedTunnel]) -> None:
        """Reads the settings that could make the kernel skip all policies. Nothing tells when they change."""
        for tunnel in tunnels:
            tunnel.switches_on = bypasses(tunnel.gre, self._settings)

    def _wanted(self) -> dict[Policy, list[GuardedTunnel]]:
        """Returns all wanted policies with their tunnels; several tunnels may share a key."""
        wanted: dict[Policy, list[GuardedTunnel]] = {}
        for tunnel in self._tunnels.values():
            for policy in block_policies(tunnel.gre):
                wanted.setdefault(policy, []).append(tunnel)
        return wanted

    def _drop(self, name: str, policies: Iterable[Policy]) -> None:
        wanted = self._wanted()
        for policy in policies:
            if policy not in wanted and self._policies.remove(policy):
                self._publish(GuardRemoved(interface=name, policy=str(policy)))

    def _sweep(self) -> None:
        """Removes the policies of an earlier run that no tunnel needs, once all tunnels are known."""
        if not self._sweeping or not self._configured <= self._tunnels.keys():
            return
        wanted = self._wanted()
        leftovers = [policy for policy in self.policies() if policy not in wanted]
        self._drop("", leftovers)
        self.counters["swept"] += len(leftovers)
        self._sweeping = False

    # Watching.

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Restores policies at once that other programs remove or change, until cancelled.

        Without the kernel's notifications it compares every RETRY_S instead, and tries to get them
        again.
        """
        try:
            notifications = self._listen()
            task_status.started()
            while notifications is None:
                self.audit()
                await trio.sleep(RETRY_S)
                notifications = self._listen()
            try:
                await self._follow(notifications)
            finally:
                notifications.close()
        finally:
            self.close()

    def _listen(self) -> NetlinkSocket | None:
        try:
            notifications = self._open_notifications()
        except OSError as error:
            if not self._without_notifications:
                self._publish(GuardFailed(interface="", reason=str(refusal(error))))
            self._without_notifications = True
            return None
        self._without_notifications = False
        return notifications

    async def _follow(self, notifications: NetlinkSocket) -> None:
        audit_at = settings_at = trio.current_time()
        while True:
            with trio.move_on_at(min(audit_at, settings_at)):
                await notifications.wait()
            lost, changed = self._read(notifications)
            if (
                trio.current_time() >= settings_at
            ):  # not with each policy of each SA that comes or goes
                self._look_at_settings(self._tunnels.values())
                settings_at = trio.current_time() + SETTINGS_S
            if changed is not None and self._put_back(changed):
                audit_at = trio.current_time() + RETRY_S
            if lost or trio.current_time() >= audit_at:
                audit_at = trio.current_time() + (AUDIT_S if self.audit() else RETRY_S)
            elif self._inspect(self._tunnels.values()) or self.problems:
                audit_at = min(audit_at, trio.current_time() + RETRY_S)
            await trio.lowlevel.checkpoint()

    def _read(self, notifications: NetlinkSocket) -> tuple[bool, dict[Policy, Policy] | None]:
        """Reads the waiting notifications. Returns whether some were lost, and the replaced wanted
        policies with their replacements (None when no wanted policy was touched)."""
        lost = touched = False
        changed: dict[Policy, Policy] = {}
        wanted = {slot_of(policy): policy for policy in self._wanted()}
        for _ in range(READS_PER_WAKE):
            try:
                datagram = notifications.read()
                if datagram is None:
                    break
                for item in messages(datagram):
                    touched |= touches(item, wanted, changed)
                    self._passes.follow(item)
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
        """Restores the wanted policies that the kernel lacks; returns whether all tunnels are
        protected."""
        self.counters["audits"] += 1
        failed: set[GuardedTunnel] = set()
        try:
            self._sweep()  # where an earlier try failed
            policies = self._policies.read() if self._tunnels else []
        except GuardError as error:
            for tunnel in self._tunnels.values():
                failed.add(tunnel)
                self.counters["failures"] += 1
                tunnel.unread(str(error))
        else:
            self._passes.sync(policies)
            standing = by_slot(policies)
            found = ((policy, standing.get(slot_of(policy))) for policy in self._wanted())
            failed = self._put_back({p: other for p, other in found if other not in (None, p)})
        self._look_at_settings(self._tunnels.values())
        failed |= self._inspect(self._tunnels.values())
        for tunnel in self._tunnels.values():
            if tunnel not in failed:
                tunnel.stands()
        return not failed

    def _inspect(self, tunnels: Iterable[GuardedTunnel]) -> set[GuardedTunnel]:
        """Looks for what keeps the policies of tunnels from having an effect; returns the tunnels
        that are unprotected."""
        failed: set[GuardedTunnel] = set()
        for tunnel in tunnels:
            problem = self._bypass_of(tunnel)
            if problem is not None:
                failed.add(tunnel)
                self.counters["failures"] += 1
                tunnel.bypassed(problem)
        return failed

    def _put_back(self, changed: Mapping[Policy, Policy | None]) -> set[GuardedTunnel]:
        """Restores the wanted policies that are missing; `changed` has those that were
        replaced.

        Returns the tunnels whose policies could not be restored.
        """
        failures: dict[GuardedTunnel, str] = {}
        for policy, tunnels in self._wanted().items():
            found = changed.get(policy)
            try:
                if found is not None:
                    self._policies.replace(policy)
                elif not self._policies.add(policy):
                    continue
            except GuardError as error:
                self.counters["failures"] += len(tunnels)
                failures.update(dict.fromkeys(tunnels, str(error)))
            else:
                self.counters["restored"] += 1
                text = "" if found is None else str(found)
                for tunnel in tunnels:
                    self._publish(
                        GuardRestored(interface=tunnel.name, policy=str(policy), found=text)
                    )
        for tunnel, problem in failures.items():
            tunnel.not_put_back(problem)
        return set(failures)
