"""The kernel as the engine's desired-state store: wanted neighbours and routes in, links, addresses
and routes out.

The verbs write down what is wanted and return; one task packs what changed into datagrams of many
messages. A second task follows the kernel's notifications (our own echoes are filtered out in the
kernel), and a third compares the kernel with the wants, every few minutes and whenever
notifications were lost: what is missing or different is written again and counted as drift, what
carries our protocol number and is not wanted is deleted. An entry that somebody else deletes is put
back the same way; the engine is not bothered with it.

Life of an interface: `open_interface` prepares the link, hands over the neighbours of an earlier
run as `BindingFound`, applies what is wanted by then, and `ADOPTION_S` later deletes what nobody
wanted.
"""

import errno
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
    Event,
    InterfaceRefused,
    KernelRefused,
    LinkChanged,
    Route,
)
from nhrpd_py.core.notices import Notice, SettingLacking
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.kernel import prepare
from nhrpd_py.runtime.kernel.follower import Follower, echo_filter
from nhrpd_py.runtime.kernel.mirror import Mirror
from nhrpd_py.runtime.kernel.own import OwnEntries
from nhrpd_py.runtime.kernel.wanted import Wanted
from nhrpd_py.runtime.netlink import rtnl
from nhrpd_py.runtime.netlink.requests import Refusal, Requests
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
"""What the engine has to want entries of an earlier run before they are swept."""
AUDIT_S = 300.0
RESTORE_DELAY_S = 0.2
"""A link that goes down flushes its neighbours before it says so; wait for the news before putting
them back.
"""
FAILURE_PAUSE_S = 1.0
FOUND_BATCH = 64
SEND_REDIRECTS_ALL = Path("/proc/sys/net/ipv4/conf/all/send_redirects")


class Kernel:
    """Verbs for the executor (plain functions that never wait) and the tasks behind them.

    `drift` counts by kind what had to be written again because the kernel differed from the wants.
    """

    def __init__(
        self, inbox: Inbox, routes: RoutesConfig, publish: Callable[[Notice], None]
    ) -> None:
        self._inbox = inbox
        self._publish = publish
        self._protocol = routes.protocol
        self._metric = routes.metric
        self._wanted: dict[int, Wanted] = {}
        self._mirror = Mirror(routes.protocol)
        self._nursery: trio.Nursery | None = None
        self._to_open: list[Wanted] = []
        self._to_clear: list[int] = []
        """Where nothing of ours must stay."""
        self._wake = trio.Event()
        self._idle = trio.Event()
        self._audit_asked = trio.Event()
        self._requests: Requests | None = None
        self._follower: Follower | None = None
        self._counters: Counter[str] = Counter()
        self._problems: dict[str, str] = {}
        self.drift: Counter[str] = Counter()

    @property
    def problems(self) -> Mapping[str, str]:
        """Settings of the machine that spoil something and are not ours to change, by name."""
        return self._problems

    @property
    def counters(self) -> Counter[str]:
        """A snapshot of all counters."""
        parts = (part.counters for part in (self._requests, self._follower) if part is not None)
        return sum(parts, self._counters.copy())

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
        self._wake.set()

    def drop_neighbor(self, effect: DropNeighbor) -> None:
        wanted = self._wanted.get(effect.ifindex)
        if wanted is None:
            return
        wanted.neighbors.pop(effect.address, None)
        wanted.stale.discard(effect.address)
        wanted.dirty_neighbors[effect.address] = None
        self._wake.set()

    def set_route(self, effect: SetRoute) -> None:
        wanted = self._wanted.get(effect.ifindex)
        if wanted is None:
            self._counters["not_open"] += 1
            return
        wanted.routes[effect.prefix] = effect.gateway
        wanted.dirty_routes[effect.prefix] = None
        self._wake.set()

    def drop_route(self, effect: DropRoute) -> None:
        wanted = self._wanted.get(effect.ifindex)
        if wanted is None:
            return
        wanted.routes.pop(effect.prefix, None)
        wanted.dirty_routes[effect.prefix] = None
        for other in self._wanted.values():  # it may have stood where theirs belongs
            if effect.prefix in other.routes:
                other.dirty_routes[effect.prefix] = None
        self._wake.set()

    def open_interface(self, effect: OpenInterface) -> None:
        """Begins to prepare an interface; wants may follow at once. A failure comes as
        `InterfaceRefused`.
        """
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
        """Forgets what is wanted of an interface; the kernel keeps what it has, but at a
        withdrawal.
        """
        wanted = self._wanted.pop(effect.ifindex, None)
        if wanted is not None:
            wanted.forget()
        if effect.withdrawn:
            self._to_clear.append(effect.ifindex)
            self._wake.set()

    async def settle(self, deadline_s: float) -> bool:
        """Waits until all that is wanted now is in the kernel, at most so long; tells whether it
        is.
        """
        with trio.move_on_after(deadline_s):
            while (
                self._to_clear
                or any(each.dirty for each in self._wanted.values())
                or self._wake.is_set()
            ):
                await self._idle.wait()
            if self._requests is not None:
                await self._requests.barrier()
            return True
        return False

    # Tasks.

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tells all links, addresses and routes, reports its start, and works until cancelled.

        Raises OSError when the sockets cannot be had.
        """
        requests = open_netlink(NETLINK_ROUTE, receive_size=REQUEST_BUFFER)
        try:
            news = open_netlink(NETLINK_ROUTE, rtnl.GROUPS, MULTICAST_BUFFER)
            with suppress(OSError):  # Linux before 5.3 has no nexthop objects
                news.join(rtnl.RTNLGRP_NEXTHOP)
            try:
                attach_filter(news, echo_filter(self._protocol, requests.port))
            except OSError:  # only spares work: echoes are recognised without it too
                self._counters["filter_refused"] += 1
            await self.run_over(requests, news, task_status)
        finally:
            requests.close()

    async def run_over(
        self,
        requests: NetlinkSocket,
        news: NetlinkSocket,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """`run` over sockets that are given, which it closes."""
        self._requests = Requests(requests, self._refused, self._audit_asked.set)
        self._follower = follower = Follower(
            news, self._requests, self._mirror, self._inbox, watcher=self, protocol=self._protocol
        )
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._requests.run)
                await follower.resync()
                nursery.start_soon(follower.run)
                nursery.start_soon(self._write)
                nursery.start_soon(self._audit_for_ever)
                self._nursery = nursery
                for wanted in self._to_open:
                    nursery.start_soon(self._open, wanted)
                self._to_open.clear()
                task_status.started()
        finally:
            self._nursery = None
            news.close()
            requests.close()

    async def _write(self) -> None:
        """Writes what is dirty whenever a verb wakes it, and what failed after a while."""
        while True:
            with trio.move_on_after(FAILURE_PAUSE_S if self._to_clear else math.inf):
                await self._wake.wait()
            self._wake = trio.Event()
            for ifindex in list(self._to_clear):
                try:
                    await self._own.clear(ifindex, self._wanted)
                except NetlinkError:
                    self._counters["clears_failed"] += 1
                else:
                    self._to_clear.remove(ifindex)
            for wanted in list(self._wanted.values()):
                while wanted.dirty:
                    await self._write_some(wanted)
            if not self._wake.is_set():
                self._idle.set()
                self._idle = trio.Event()

    async def _write_some(self, wanted: Wanted) -> None:
        self._refuse_occupied(wanted)
        await self._post(self._pack(wanted))

    def _pack(self, wanted: Wanted) -> bytes:
        data = wanted.pack_neighbors(PACK_SIZE, self._protocol)
        return data + wanted.pack_routes(PACK_SIZE - len(data), self._metric, self._protocol)

    async def _post(self, data: bytes) -> None:
        if data:
            self._counters["writes"] += 1
            await self._link.post(data)

    def _refuse_occupied(self, wanted: Wanted) -> None:
        """Leaves alone what would replace a route of somebody else: NLM_F_REPLACE asks nobody."""
        refused: list[Event] = []
        for prefix in list(wanted.dirty_routes):
            others = self._mirror.routes_at(prefix, self._metric)
            if others and prefix in wanted.routes:
                del wanted.dirty_routes[prefix]
                error = f"protocol {others[0].protocol} has a route of metric {self._metric} there"
                refused.append(KernelRefused(wanted.ifindex, f"route {prefix}", error))
                self._counters["routes_occupied"] += 1
        self._inbox.offer(refused)

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
            self._counters.update(await prepare.prepare(self._link, ifindex))
            self._stop_redirects(wanted.name)
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
        self._wake.set()
        bindings = [BindingFound(ifindex, entry.address, entry.nbma) for entry in found]
        for start in range(0, len(bindings), FOUND_BATCH):
            await self._inbox.put(bindings[start : start + FOUND_BATCH])
        await trio.sleep(ADOPTION_S)
        wanted.adopting = False
        if self._wanted.get(ifindex) is wanted:
            self._audit_asked.set()

    def _stop_redirects(self, name: str) -> None:
        problem = prepare.stop_redirects_of_all(SEND_REDIRECTS_ALL)
        if problem is None:
            self._problems.pop("send_redirects", None)
        elif self._problems.get("send_redirects") != problem:
            self._problems["send_redirects"] = problem
            self._publish(SettingLacking(interface=name, problem=problem))

    # What the follower and the request socket tell.

    def link_seen(self, link: LinkChanged) -> None:
        wanted = self._wanted.get(link.ifindex)
        if wanted is None or not wanted.prepared:
            return
        if link.noarp and link.up:
            self.drift["noarp"] += 1
            self.open_interface(OpenInterface(link.ifindex, link.name))
        elif link.up and not wanted.ready:
            wanted.ready = True
            wanted.mark_all()  # going down flushed everything
            self._wake.set()
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
            self._audit_asked.set()

    def own_route_gone(self, route: Route) -> None:
        if any(wanted.ready and route.prefix in wanted.routes for wanted in self._wanted.values()):
            self._audit_asked.set()

    def route_freed(self, route: Route) -> None:
        if route.metric != self._metric:
            return
        for wanted in self._wanted.values():
            if route.prefix in wanted.routes:
                wanted.dirty_routes[route.prefix] = None
                self._wake.set()

    def news_lost(self) -> None:
        self._audit_asked.set()

    def _refused(self, refusals: Sequence[Refusal]) -> None:
        events: list[Event] = []
        for refusal in refusals:
            named = rtnl.name_refusal(refusal.kind, refusal.payload, refusal.error)
            if named is not None:
                self._counters[f"refused_{errno.errorcode.get(refusal.error, refusal.error)}"] += 1
                events.append(KernelRefused(*named, refusal.text))
        self._inbox.offer(events)

    # Comparing.

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
                self._audit_asked.set()
                await trio.sleep(FAILURE_PAUSE_S)
                continue
            self._counters["audits"] += 1
            for any_of_them in list(self._wanted.values())[:1]:
                self._stop_redirects(any_of_them.name)
            self._wake.set()
