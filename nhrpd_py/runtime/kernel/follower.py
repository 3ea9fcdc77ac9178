"""Follows the kernel's notifications: reports differences to the engine, and losses of our own
entries to the kernel store.

Events that must not be lost (links, addresses, routes) are `put` into the inbox; while that waits
the socket fills, and when it overflows (ENOBUFS) everything is dumped and compared. Solicitations
are `offer`ed, for the kernel repeats them.
"""

import socket as stdlib_socket
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import trio

from nhrpd_py.core.address import Address
from nhrpd_py.core.events import Event, LinkChanged, NeighborSolicited, Route, RouteRemoved
from nhrpd_py.runtime.bpf import BpfInstruction
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.kernel.mirror import Mirror
from nhrpd_py.runtime.netlink import rtnl
from nhrpd_py.runtime.netlink.neighbor import (
    RTM_DELNEIGH,
    RTM_GETNEIGH,
    RTM_NEWNEIGH,
    read_neighbor,
)
from nhrpd_py.runtime.netlink.requests import Requests
from nhrpd_py.runtime.netlink.socket import (
    NLM_F_REPLACE,
    READS_PER_WAKE,
    MalformedError,
    Message,
    NetlinkError,
    NetlinkSocket,
    is_overrun,
    messages,
)

SUSPECT_DELAY_S = 0.5
"""Delay of the dump after a notification that makes the routes uncertain: they come in bursts."""
RETRY_S = 1.0

BPF_LOAD_BYTE, BPF_LOAD_HALF, BPF_LOAD_WORD = 0x30, 0x28, 0x20
BPF_JUMP_IF_EQUAL, BPF_RETURN = 0x15, 0x06
TYPE_OFFSET, PORT_OFFSET, ROUTE_PROTOCOL_OFFSET = 4, 12, 16 + 5
ACCEPT_ALL = 0xFFFFFFFF


def echo_filter(protocol: int, port: int) -> Sequence[BpfInstruction]:
    """Returns a classic BPF program that drops notifications of changes that we made ourselves.

    It drops every RTM_NEWNEIGH, which we do not need, and routes of our protocol when our request
    socket caused them; changes of our routes by others pass, for they are drift. (RTM_DELNEIGH
    never has the port of its cause.) BPF loads are big-endian, netlink is not.
    """
    half, word = stdlib_socket.htons, stdlib_socket.htonl
    return (
        (BPF_LOAD_HALF, 0, 0, TYPE_OFFSET),
        (BPF_JUMP_IF_EQUAL, 7, 0, half(RTM_NEWNEIGH)),  # -> drop
        (BPF_JUMP_IF_EQUAL, 1, 0, half(rtnl.RTM_NEWROUTE)),  # -> our protocol?
        (BPF_JUMP_IF_EQUAL, 0, 4, half(rtnl.RTM_DELROUTE)),  # else accept
        (BPF_LOAD_BYTE, 0, 0, ROUTE_PROTOCOL_OFFSET),
        (BPF_JUMP_IF_EQUAL, 0, 2, protocol),  # else accept
        (BPF_LOAD_WORD, 0, 0, PORT_OFFSET),
        (BPF_JUMP_IF_EQUAL, 1, 0, word(port)),  # by us -> drop
        (BPF_RETURN, 0, 0, ACCEPT_ALL),
        (BPF_RETURN, 0, 0, 0),
    )


class Watcher(Protocol):
    """The kernel store, to which the follower reports. No method may wait."""

    def link_seen(self, link: LinkChanged) -> None: ...
    def link_lost(self, ifindex: int) -> None: ...
    def neighbor_gone(self, ifindex: int, address: Address) -> None: ...
    def own_route_gone(self, route: Route) -> None: ...
    def route_freed(self, route: Route) -> None: ...
    def notifications_lost(self) -> None: ...


class KernelFollower:
    """Reads the multicast socket. Counters: overruns, malformed, resyncs, resyncs_failed,
    route_checks."""

    def __init__(
        self,
        notifications: NetlinkSocket,
        requests: Requests,
        mirror: Mirror,
        inbox: Inbox,
        *,
        watcher: Watcher,
        protocol: int,
    ) -> None:
        self._notifications = notifications
        self._requests = requests
        self._mirror = mirror
        self._inbox = inbox
        self._watcher = watcher
        self._protocol = protocol
        self._changes: list[Event] = []
        self._solicited: list[Event] = []
        self.counters: Counter[str] = Counter()

    async def run(self) -> None:
        """Follows the kernel until cancelled; raises EOFError when the socket ends."""
        check_at: float | None = None
        while True:
            with trio.CancelScope() if check_at is None else trio.move_on_at(check_at):
                await self._notifications.wait()
            lost = self._read()
            await self._deliver()
            if lost:
                self._watcher.notifications_lost()
                await self._retried(self.resync)
            if not self._mirror.suspect:
                check_at = None
            elif check_at is None:
                check_at = trio.current_time() + SUSPECT_DELAY_S
            elif trio.current_time() >= check_at:
                check_at = None
                await self._retried(self._check_routes)

    def _read(self) -> bool:
        """Reads the waiting notifications; returns whether some were lost."""
        lost = False
        for _ in range(READS_PER_WAKE):
            try:
                datagram = self._notifications.read()
                if datagram is None:
                    break
                for item in messages(datagram):
                    self._take(item)
            except MalformedError:
                self.counters["malformed"] += 1
                lost = True
            except OSError as error:
                if not is_overrun(error):
                    raise
                self.counters["overruns"] += 1
                lost = True
        return lost

    def _take(self, item: Message) -> None:
        kind, flags, _sequence, _port, payload = item
        mirror, changes = self._mirror, self._changes
        if kind in (RTM_GETNEIGH, RTM_DELNEIGH):
            entry = read_neighbor(payload)
            if entry is None:
                return
            if kind == RTM_DELNEIGH:
                self._watcher.neighbor_gone(entry.ifindex, entry.address)
            else:
                self._solicited.append(NeighborSolicited(entry.ifindex, entry.address, entry.nbma))
        elif kind in (rtnl.RTM_NEWROUTE, rtnl.RTM_DELROUTE):
            self._take_route(kind, flags, payload)
        elif kind in (rtnl.RTM_NEWNEXTHOP, rtnl.RTM_DELNEXTHOP):
            mirror.nexthop_changed(rtnl.nexthop_id(payload))
        elif kind == rtnl.RTM_NEWLINK:
            link = rtnl.read_link(payload)
            if link is not None:
                changes += mirror.link_changed(link)
                self._watcher.link_seen(link)
        elif kind == rtnl.RTM_DELLINK:
            ifindex = rtnl.link_index(payload)
            if ifindex is not None:
                changes += mirror.link_gone(ifindex)
                self._watcher.link_lost(ifindex)
        elif kind in (rtnl.RTM_NEWADDR, rtnl.RTM_DELADDR):
            address = rtnl.read_address(payload)
            if address is not None:
                changed = kind == rtnl.RTM_NEWADDR
                changes += (
                    mirror.address_added(address) if changed else mirror.address_removed(address)
                )

    def _take_route(self, kind: int, flags: int, payload: memoryview) -> None:
        read = rtnl.read_route(payload)
        if read is None:
            return
        if read.route.protocol == self._protocol:
            if kind == rtnl.RTM_DELROUTE:
                self._watcher.own_route_gone(read.route)
        elif kind == rtnl.RTM_NEWROUTE:
            replaces = bool(flags & NLM_F_REPLACE)
            self._changes += self._mirror.route_added(read, replaces=replaces)
            if replaces:  # perhaps one of ours
                self._watcher.own_route_gone(read.route)
        else:
            self._changes += self._mirror.route_removed(read)
            self._watcher.route_freed(read.route)

    async def _deliver(self) -> None:
        changes, self._changes = self._changes, []
        solicited, self._solicited = self._solicited, []
        self._inbox.offer(solicited)
        await self._inbox.put(changes)

    async def resync(self) -> None:
        """Dumps links, addresses and routes, and reports the differences from what was reported
        before. Raises NetlinkError."""
        self.counters["resyncs"] += 1
        dump = self._requests.dump
        links = await dump(rtnl.RTM_GETLINK, rtnl.DUMP_LINKS, "links", rtnl.read_link)
        changes = self._mirror.sync_links(links)
        for link in links:
            self._watcher.link_seen(link)
        await self._inbox.put(changes)
        addresses = await dump(
            rtnl.RTM_GETADDR, rtnl.DUMP_ADDRESSES, "addresses", rtnl.read_address
        )
        await self._inbox.put(self._mirror.sync_addresses(addresses))
        await self._check_routes()

    async def _check_routes(self) -> None:
        self.counters["route_checks"] += 1
        dump = self._requests.dump
        routes = await dump(rtnl.RTM_GETROUTE, rtnl.DUMP_ROUTES, "routes", rtnl.read_route)
        changes = self._mirror.sync_routes(routes)
        for event in changes:
            if isinstance(event, RouteRemoved):
                self._watcher.route_freed(event.route)
        await self._inbox.put(changes)

    async def _retried(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except NetlinkError:
                self.counters["resyncs_failed"] += 1
                await trio.sleep(RETRY_S)
            else:
                return
