"""The kernel store over a scripted kernel; tests/lab/test_kernel.py has the real one."""

import contextlib
from pathlib import Path
from typing import Any

import trio
import trio.testing

from nhrpd_py.core.address import parse_address, parse_prefix
from nhrpd_py.core.config import RoutesConfig
from nhrpd_py.core.effects import (
    NeighborState,
    OpenInterface,
    SetNeighbor,
)
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.kernel.found import FoundSettings
from nhrpd_py.runtime.kernel.store import KernelStore
from nhrpd_py.runtime.netlink import neighbor, rtnl
from nhrpd_py.runtime.netlink.socket import HEADER, attribute, message
from tests.unit.runtime.netlink_peer import ScriptedKernel, a_pair

GRE, OURS, METRIC = 5, 208, 10
PEER, OTHER = parse_address("10.255.0.2"), parse_address("10.255.0.3")
NBMA, NBMA_2 = parse_address("192.0.2.2"), parse_address("192.0.2.3")
LAN = parse_prefix("192.168.2.0/24")


def body(request):
    return request[HEADER.size :]


def a_neighbor(address=PEER, nbma=NBMA, state=neighbor.NUD_PERMANENT, protocol=OURS):
    return body(neighbor.set_neighbor(GRE, address, nbma, state, protocol))


def a_route(prefix, ifindex=GRE, gateway=b"", metric=METRIC, protocol=OURS, mtu=0):
    return body(rtnl.set_route(prefix, ifindex, gateway, metric, protocol, mtu))


def a_link(*, up=True, ifindex=GRE, noarp=False):
    flags = (rtnl.IFF_UP if up else 0) | (rtnl.IFF_NOARP if noarp else 0)
    return rtnl.IFINFOMSG.pack(0, 778, ifindex, flags, 0) + attribute(3, b"gre1\0")


class World:
    def __init__(self):
        self.inbox = Inbox()
        self.requests, theirs = a_pair()
        self.notifications, self.speak = a_pair()
        self.peer = ScriptedKernel(theirs)
        self.peer.tables[rtnl.RTM_GETLINK].append(a_link())
        self.notices: list[Any] = []
        self.settings: dict[str, dict[str, Any]] = {}
        """What the state file has of settings."""
        self.saves: list[list[str]] = []
        routes = RoutesConfig(protocol=OURS, metric=METRIC)
        self.kernel = KernelStore(
            self.inbox,
            routes,
            self.notices.append,
            FoundSettings(self.settings, self._save, settings=Path("/nowhere")),
        )
        self.events = []
        self._sockets = (self.speak, theirs)

    async def _save(self):
        self.saves.append(sorted(self.settings))

    async def collect(self):
        while True:
            self.events += await self.inbox.take()

    def tell(self, kind, payload, flags=0):
        self.speak.send(message(kind, flags, payload))

    async def open(self):
        self.kernel.open_interface(OpenInterface(GRE, "gre1"))
        await trio.testing.wait_all_tasks_blocked()

    def set(self, address=PEER, nbma=NBMA, state=NeighborState.PERMANENT):
        self.kernel.set_neighbor(SetNeighbor(GRE, address, nbma, state))

    def changes(self):
        changes, self.peer.changes = self.peer.changes, []
        return sorted(changes)

    def close(self):
        for sock in self._sockets:
            sock.close()


@contextlib.asynccontextmanager
async def running(world):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.peer.run)
        nursery.start_soon(world.collect)
        await nursery.start(world.kernel.run_over, world.requests, world.notifications)
        yield world
        nursery.cancel_scope.cancel()
    world.close()
