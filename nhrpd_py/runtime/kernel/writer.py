"""Writes the wanted state to the kernel: changes in batches, refusals reported, failures tried
again.

A change is sent without asking for an acknowledgement, for only failures matter: the kernel reports
those with the request. Changes of one moment share a datagram.
"""

import errno
import math
from collections import Counter
from collections.abc import Mapping, Sequence

import trio

from nhrpd_py.core.config import RoutesConfig
from nhrpd_py.core.events import Event, KernelRefused
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.kernel.mirror import Mirror
from nhrpd_py.runtime.kernel.own import OwnEntries
from nhrpd_py.runtime.kernel.wanted import Wanted
from nhrpd_py.runtime.netlink import rtnl
from nhrpd_py.runtime.netlink.requests import Refusal, Requests
from nhrpd_py.runtime.netlink.socket import NetlinkError

PACK_SIZE = 32768
"""Octets of changes in one datagram: about 450 neighbours."""
CLEAR_RETRY_S = 1.0
BARRIER_RETRY_S = 0.05


class Writer:
    """Writes the dirty entries of all open interfaces to the kernel.

    Counters: writes, clears_failed, routes_occupied, and `refused_` with an errno name.
    """

    def __init__(
        self, wanted: Mapping[int, Wanted], mirror: Mirror, inbox: Inbox, routes: RoutesConfig
    ) -> None:
        """`wanted` is the store's table, by ifindex."""
        self._wanted = wanted
        self._mirror = mirror
        self._inbox = inbox
        self._protocol = routes.protocol
        self._metric = routes.metric
        self._to_clear: list[int] = []
        """Netdevs on which all our entries are to be deleted."""
        self._wake = trio.Event()
        self._idle = trio.Event()
        self._requests: Requests | None = None
        self.counters: Counter[str] = Counter()

    def wake(self) -> None:
        """Makes `run` write the dirty entries."""
        self._wake.set()

    def clear(self, ifindex: int) -> None:
        """Deletes all our entries of a netdev, as soon as that can be done."""
        self._to_clear.append(ifindex)
        self._wake.set()

    async def settle(self, deadline_s: float) -> bool:
        """Waits until the kernel has the state wanted now, at most `deadline_s`; returns whether it
        has."""
        with trio.move_on_after(deadline_s):
            while (
                self._to_clear
                or any(each.dirty for each in self._wanted.values())
                or self._wake.is_set()
            ):
                await self._idle.wait()
            while self._requests is not None:
                try:
                    await self._requests.barrier()
                except NetlinkError:  # its answer was among those that were lost
                    await trio.sleep(BARRIER_RETRY_S)
                else:
                    break
            return True
        return False

    async def run(self, requests: Requests, own: OwnEntries) -> None:
        """Writes whenever it is woken, and tries again after CLEAR_RETRY_S to clear what could not
        be cleared."""
        self._requests = requests
        while True:
            with trio.move_on_after(CLEAR_RETRY_S if self._to_clear else math.inf):
                await self._wake.wait()
            self._wake = trio.Event()
            await self._clear_all(own)
            for wanted in list(self._wanted.values()):
                while wanted.dirty:
                    self._refuse_occupied(wanted)
                    await self._post(requests, self._pack(wanted))
            if not self._wake.is_set():
                self._idle.set()
                self._idle = trio.Event()

    async def _clear_all(self, own: OwnEntries) -> None:
        for ifindex in list(self._to_clear):
            try:
                await own.clear(ifindex, self._wanted)
            except NetlinkError:
                self.counters["clears_failed"] += 1
            else:
                self._to_clear.remove(ifindex)

    def _pack(self, wanted: Wanted) -> bytes:
        data = wanted.pack_neighbors(PACK_SIZE, self._protocol)
        return data + wanted.pack_routes(PACK_SIZE - len(data), self._metric, self._protocol)

    async def _post(self, requests: Requests, data: bytes) -> None:
        if data:
            self.counters["writes"] += 1
            await requests.post(data)

    def _refuse_occupied(self, wanted: Wanted) -> None:
        """Refuses wanted routes that would replace another program's route: NLM_F_REPLACE replaces
        a route of any protocol."""
        refused: list[Event] = []
        for prefix in list(wanted.dirty_routes):
            others = self._mirror.routes_at(prefix, self._metric)
            if others and prefix in wanted.routes:
                del wanted.dirty_routes[prefix]
                error = f"protocol {others[0].protocol} has a route of metric {self._metric} there"
                refused.append(KernelRefused(wanted.ifindex, f"route {prefix}", error))
                self.counters["routes_occupied"] += 1
        self._inbox.offer(refused)

    def refused(self, refusals: Sequence[Refusal]) -> None:
        """Reports to the engine which changes the kernel refused."""
        events: list[Event] = []
        for refusal in refusals:
            named = rtnl.name_refusal(refusal.kind, refusal.payload, refusal.error)
            if named is not None:
                self.counters[f"refused_{errno.errorcode.get(refusal.error, refusal.error)}"] += 1
                events.append(KernelRefused(*named, refusal.text))
        self._inbox.offer(events)
