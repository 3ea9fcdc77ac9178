"""Keeps the engine's wanted neighbours and routes in the kernel, and reports links, addresses and
routes.

The verbs note the wanted state and return; one task packs the changes into datagrams of many
messages. A second task follows the kernel's notifications (those of our own changes are filtered
out in the kernel). A third compares the kernel with the wanted state, every few minutes and
whenever notifications were lost: entries that are missing or different are written again and
counted as drift, entries with our protocol number that are not wanted are deleted. An entry that
another program deletes is restored in the same way; the engine is not involved.

Life of an interface: `open_interface` prepares the link, reports the neighbours of an earlier run
as `BindingFound`, applies the state that is wanted by then, and `ADOPTION_S` later deletes the
entries that the engine did not want.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import trio

from nhrpd_py.core.address import Address
from nhrpd_py.core.config import RoutesConfig
from nhrpd_py.core.effects import (
    CloseInterface,
    DropNeighbor,
    DropRoute,
    NeighborState,
    OpenInterface,
    SetNeighbor,
    SetRoute,
)
from nhrpd_py.core.events import (
    BindingFound,
    InterfaceRefused,
    LinkChanged,
    Route,
)
from nhrpd_py.core.notices import Notice, SettingLacking
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.kernel import prepare
from nhrpd_py.runtime.kernel.follower import KernelFollower, echo_filter
from nhrpd_py.runtime.kernel.found import FoundSettings
from nhrpd_py.runtime.kernel.losses import report_losses
from nhrpd_py.runtime.kernel.mirror import Mirror
from nhrpd_py.runtime.kernel.own import OwnEntries
from nhrpd_py.runtime.kernel.wanted import Wanted
from nhrpd_py.runtime.kernel.writer import Writer
from nhrpd_py.runtime.netlink import rtnl
from nhrpd_py.runtime.netlink.requests import Requests
from nhrpd_py.runtime.netlink.socket import (
    NETLINK_ROUTE,
    NetlinkError,
    NetlinkSocket,
    attach_filter,
    open_netlink,
)

PACK_SIZE = 32768
"""Octets of changes in one datagram: about 450 neighbours."""
MULTICAST_BUFFER = 8 << 20
REQUEST_BUFFER = 4 << 20
ADOPTION_S = 5.0
"""Time for the engine to want entries of an earlier run before they are deleted."""
AUDIT_S = 300.0
RESTORE_DELAY_S = 0.2
"""Delay before deleted neighbours are restored: a link that goes down flushes them before its own
notification arrives."""
FAILURE_PAUSE_S = 1.0
LEFTOVERS_S = 2.0
"""Longest time that deleting leftovers takes at the end."""
FOUND_BATCH = 64
SEND_REDIRECTS_ALL = Path("/proc/sys/net/ipv4/conf/all/send_redirects")


class KernelStore:
    """Keeps the engine's wanted entries in the kernel, and reports the kernel's state.

    The verbs are for the executor and never wait. `drift` counts, by kind, entries that had to be
    written again because the kernel differed from the wanted state.
    """

    def __init__(
        self,
        inbox: Inbox,
        routes: RoutesConfig,
        publish: Callable[[Notice], None],
        found: FoundSettings,
    ) -> None:
        """`found` keeps the settings that links had before they were prepared."""
        self._inbox = inbox
        self._publish = publish
        self._found = found
        self._settings_change = trio.Lock()
        self._is_giving_back = False
        self._protocol = routes.protocol
        self._metric = routes.metric
        self._wanted: dict[int, Wanted] = {}
        self._mirror = Mirror(routes.protocol)
        self._nursery: trio.Nursery | None = None
        self._to_open: list[Wanted] = []
        self._audit_asked = trio.Event()
        self._requests: Requests | None = None
        self._follower: KernelFollower | None = None
        self._counters: Counter[str] = Counter()
        self._problems: dict[str, str] = {}
        self.drift: Counter[str] = Counter()
        self._writer = Writer(self._wanted, self._mirror, inbox, routes)

    @property
    def problems(self) -> Mapping[str, str]:
        """Returns harmful settings of the machine that we cannot change, by name."""
        return self._problems

    @property
    def counters(self) -> Counter[str]:
        """Returns a snapshot of all counters."""
        parts = (self._writer, self._requests, self._follower, self._found)
        return sum((part.counters for part in parts if part is not None), self._counters.copy())

    # Verbs.

    def set_neighbor(self, effect: SetNeighbor) -> None:
        wanted = self._wanted.get(effect.ifindex)
        if wanted is None:
            self._counters["not_open"] += 1
            return
        address = effect.address
        wanted.neighbors[address] = effect.nbma
        if effect.state is NeighborState.PERMANENT:
            wanted.stale.discard(address)
        else:
            wanted.stale.add(address)
        wanted.dirty_neighbors[address] = None
        self._writer.wake()

    def drop_neighbor(self, effect: DropNeighbor) -> None:
        wanted = self._wanted.get(effect.ifindex)
        if wanted is None:
            return
        wanted.neighbors.pop(effect.address, None)
        wanted.stale.discard(effect.address)
        wanted.dirty_neighbors[effect.address] = None
        self._writer.wake()

    def set_route(self, effect: SetRoute) -> None:
        wanted = self._wanted.get(effect.ifindex)
        if wanted is None:
            self._counters["not_open"] += 1
            return
        wanted.routes[effect.prefix] = effect.gateway
        if effect.mtu:
            wanted.mtus[effect.prefix] = effect.mtu
        else:
            wanted.mtus.pop(effect.prefix, None)
        wanted.dirty_routes[effect.prefix] = None
        self._writer.wake()

    def drop_route(self, effect: DropRoute) -> None:
        wanted = self._wanted.get(effect.ifindex)
        if wanted is None:
            return
        wanted.routes.pop(effect.prefix, None)
        wanted.mtus.pop(effect.prefix, None)
        wanted.dirty_routes[effect.prefix] = None
        for other in self._wanted.values():  # it may have been in the place of theirs
            if effect.prefix in other.routes:
                other.dirty_routes[effect.prefix] = None
        self._writer.wake()

    def open_interface(self, effect: OpenInterface) -> None:
        """Begins to prepare an interface; its neighbours and routes may be set from now on. A
        failure is reported as `InterfaceRefused`."""
        wanted = self._wanted.setdefault(effect.ifindex, Wanted(effect.ifindex, effect.name))
        if wanted.opening:
            return
        wanted.opening = True
        wanted.prepared = wanted.ready = False
        if self._nursery is None:
            self._to_open.append(wanted)
        else:
            self._nursery.start_soon(self._open, wanted)

    def close_interface(self, effect: CloseInterface) -> None:
        """Forgets the wanted entries of an interface. The kernel keeps them unless they are
        withdrawn."""
        wanted = self._wanted.pop(effect.ifindex, None)
        if wanted is not None:
            wanted.forget()
        if effect.withdrawn:
            self._writer.clear(effect.ifindex)
        if effect.final and self._nursery is not None:
            self._nursery.start_soon(self._give_back, effect.ifindex)

    async def settle(self, deadline_s: float) -> bool:
        """Waits until the kernel has the state wanted now, at most `deadline_s`; returns whether it
        has."""
        return await self._writer.settle(deadline_s)

    async def give_back(self) -> None:
        """Deletes what an earlier run left and nobody wanted yet, and gives all links the settings
        back that they had before they were prepared; for the end, after `settle`."""
        self._is_giving_back = True
        for wanted in self._wanted.values():
            wanted.adopting = False
        try:
            await self._own.audit(self._wanted)
        except NetlinkError:
            self._counters["audits_failed"] += 1
        self._writer.wake()
        await self._writer.settle(LEFTOVERS_S)
        async with self._settings_change:
            await self._found.give_all_back(self._link)

    async def _give_back(self, ifindex: int) -> None:
        async with self._settings_change:
            name = self._found.name_of(ifindex)
            if name is not None:
                await self._found.give_back(self._link, name)

    # Tasks.

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Reports all links, addresses and routes, then that it started, and works until cancelled.

        Raises OSError when the sockets cannot be opened.
        """
        requests = open_netlink(NETLINK_ROUTE, receive_size=REQUEST_BUFFER)
        try:
            notifications = open_netlink(NETLINK_ROUTE, rtnl.GROUPS, MULTICAST_BUFFER)
            with suppress(OSError):  # Linux before 5.3 has no nexthop objects
                notifications.join(rtnl.RTNLGRP_NEXTHOP)
            try:
                attach_filter(notifications, echo_filter(self._protocol, requests.port))
            except OSError:  # the filter only saves work: echoes are recognised without it too
                self._counters["filter_refused"] += 1
            await self.run_over(requests, notifications, task_status)
        finally:
            requests.close()

    async def run_over(
        self,
        requests: NetlinkSocket,
        notifications: NetlinkSocket,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Does what `run` does over sockets that are given, and closes them."""
        self._requests = Requests(requests, self._writer.refused, self._ask_for_audit)
        self._follower = follower = KernelFollower(
            notifications,
            self._requests,
            self._mirror,
            self._inbox,
            watcher=self,
            protocol=self._protocol,
        )
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._requests.run)
                await follower.resync()
                nursery.start_soon(follower.run)
                nursery.start_soon(self._writer.run, self._requests, self._own)
                nursery.start_soon(self._audit_for_ever)
                counted = (self._requests, self._inbox, self._wanted, self._counters)
                nursery.start_soon(report_losses, *counted)
                self._nursery = nursery
                for wanted in self._to_open:
                    nursery.start_soon(self._open, wanted)
                self._to_open.clear()
                task_status.started()
        finally:
            self._nursery = None
            notifications.close()
            requests.close()

    @property
    def _link(self) -> Requests:
        """The request socket; only the tasks below `run` use it."""
        if self._requests is None:
            raise RuntimeError("the kernel store does not run")
        return self._requests

    @property
    def _own(self) -> OwnEntries:
        return OwnEntries(self._link, self._protocol, self._metric, self.drift)

    # Opening.

    async def _open(self, wanted: Wanted) -> None:
        ifindex = wanted.ifindex
        try:
            await self._prepare(wanted)
            found = await self._own.neighbors(ifindex)
        except NetlinkError as error:
            wanted.opening = False
            if self._wanted.get(ifindex) is wanted:
                await self._inbox.put([InterfaceRefused(ifindex, error.strerror or str(error))])
            return
        wanted.opening = False
        if self._wanted.get(ifindex) is not wanted:
            return
        wanted.adopting = wanted.prepared = True
        wanted.ready = self._mirror.is_up(ifindex)
        wanted.mark_all()
        self._writer.wake()
        bindings = [BindingFound(ifindex, entry.address, entry.nbma) for entry in found]
        for start in range(0, len(bindings), FOUND_BATCH):
            await self._inbox.put(bindings[start : start + FOUND_BATCH])
        await trio.sleep(ADOPTION_S)
        wanted.adopting = False
        if self._wanted.get(ifindex) is wanted:
            self._ask_for_audit()

    async def _prepare(self, wanted: Wanted) -> None:
        ifindex = wanted.ifindex
        link = self._mirror.links.get(ifindex)
        async with self._settings_change:
            await self._found.note(wanted.name, ifindex, noarp=link is not None and link.noarp)
            self._counters.update(await prepare.prepare(self._link, ifindex))
            self._stop_redirects(wanted.name)

    def _stop_redirects(self, name: str) -> None:
        if self._is_giving_back:
            return
        problem = prepare.stop_redirects_of_all(SEND_REDIRECTS_ALL)
        if problem is None:
            self._problems.pop("send_redirects", None)
        elif self._problems.get("send_redirects") != problem:
            self._problems["send_redirects"] = problem
            self._publish(SettingLacking(interface=name, problem=problem))

    # Reports of the follower.

    def link_seen(self, link: LinkChanged) -> None:
        wanted = self._wanted.get(link.ifindex)
        if wanted is None or not wanted.prepared or self._is_giving_back:
            return
        if link.noarp and link.up:
            self.drift["noarp"] += 1
            self.open_interface(OpenInterface(link.ifindex, link.name))
        elif link.up and not wanted.ready:
            wanted.ready = True
            wanted.mark_all()  # going down flushed everything
            self._writer.wake()
        elif not link.up:
            wanted.ready = False

    def link_lost(self, ifindex: int) -> None:
        wanted = self._wanted.get(ifindex)
        if wanted is not None:
            wanted.ready = False

    def neighbor_gone(self, ifindex: int, address: Address) -> None:
        wanted = self._wanted.get(ifindex)
        if wanted is None:
            return
        if address in wanted.deleting:
            wanted.deleting.discard(address)
        elif wanted.ready and address in wanted.neighbors:
            self._ask_for_audit()

    def own_route_gone(self, route: Route) -> None:
        if any(wanted.ready and route.prefix in wanted.routes for wanted in self._wanted.values()):
            self._ask_for_audit()

    def route_freed(self, route: Route) -> None:
        if route.metric != self._metric:
            return
        for wanted in self._wanted.values():
            if route.prefix in wanted.routes:
                wanted.dirty_routes[route.prefix] = None
                self._writer.wake()

    def notifications_lost(self) -> None:
        self._ask_for_audit()

    # Comparing.

    def _ask_for_audit(self) -> None:
        self._audit_asked.set()

    async def _audit_for_ever(self) -> None:
        while True:
            with trio.move_on_after(AUDIT_S):
                await self._audit_asked.wait()
                await trio.sleep(RESTORE_DELAY_S)
            self._audit_asked = trio.Event()
            try:
                await self._own.audit(self._wanted)
            except NetlinkError:
                self._counters["audits_failed"] += 1
                self._ask_for_audit()
                await trio.sleep(FAILURE_PAUSE_S)
                continue
            self._counters["audits"] += 1
            for any_of_them in list(self._wanted.values())[:1]:
                self._stop_redirects(any_of_them.name)
            self._writer.wake()
