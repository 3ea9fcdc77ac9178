"""Reads, compares and deletes the kernel's entries that carry our protocol number."""

import functools
from collections import Counter
from collections.abc import Mapping

from nhrpd_py.core.address import Prefix
from nhrpd_py.core.events import Route
from nhrpd_py.runtime.kernel.wanted import Wanted
from nhrpd_py.runtime.netlink import neighbor, rtnl
from nhrpd_py.runtime.netlink.requests import Requests

CLEAR_BATCH = 400
"""Deletions in one datagram."""


class OwnEntries:
    """Reads and deletes the kernel's entries of our protocol number, and compares them with the
    wanted ones. All async methods raise NetlinkError."""

    def __init__(self, requests: Requests, protocol: int, metric: int, drift: Counter[str]) -> None:
        """`drift` counts, by kind, entries that differed from the wanted ones."""
        self._requests = requests
        self._protocol = protocol
        self._metric = metric
        self._drift = drift

    async def neighbors(self, ifindex: int) -> list[neighbor.Neighbor]:
        """Returns our neighbours of one netdev, those with an NBMA address."""
        read = functools.partial(neighbor.read_own_neighbor, self._protocol, ifindex)
        request = neighbor.dump_neighbors(ifindex)
        return await self._requests.dump(neighbor.RTM_GETNEIGH, request, "neighbours", read)

    async def routes(self) -> list[rtnl.RouteRead]:
        """Returns our routes of all netdevs."""
        read = functools.partial(rtnl.read_own_route, self._protocol)
        return await self._requests.dump(rtnl.RTM_GETROUTE, rtnl.DUMP_ROUTES, "routes", read)

    async def clear(self, ifindex: int, wanted: Mapping[int, Wanted]) -> None:
        """Deletes our neighbours and routes of a netdev, unless it was opened again meanwhile."""
        neighbors = await self.neighbors(ifindex)
        routes = await self.routes()
        if ifindex in wanted:
            return
        deletions = [neighbor.drop_neighbor(ifindex, entry.address) for entry in neighbors]
        deletions += [self._drop(each.route) for each in routes if each.route.ifindex == ifindex]
        for start in range(0, len(deletions), CLEAR_BATCH):
            await self._requests.post(b"".join(deletions[start : start + CLEAR_BATCH]))

    async def audit(self, wanted: Mapping[int, Wanted]) -> None:
        """Marks the wanted entries of ready interfaces that differ in the kernel, and deletes
        entries that are not wanted."""
        neighbors = {each.ifindex: set(each.neighbors) for each in wanted.values()}
        routes = {each.ifindex: set(each.routes) for each in wanted.values()}
        entries: dict[int, list[neighbor.Neighbor]] = {ifindex: [] for ifindex in neighbors}
        for entry in await self._requests.dump(
            neighbor.RTM_GETNEIGH, neighbor.dump_neighbors(), "neighbours", neighbor.read_neighbor
        ):
            if entry.ifindex in entries:
                entries[entry.ifindex].append(entry)
        own = await self.routes()
        for ifindex, expected in neighbors.items():
            each = wanted.get(ifindex)
            if each is None or not each.ready:
                continue
            self._drift["neighbors"] += each.audit_neighbors(
                entries[ifindex], expected, self._protocol
            )
            found = [each for each in own if each.route.ifindex == ifindex]
            await self._audit_routes(each, found, routes[ifindex])

    async def _audit_routes(
        self, wanted: Wanted, own: list[rtnl.RouteRead], expected: set[Prefix]
    ) -> None:
        before = len(wanted.dirty_routes)
        unwanted = wanted.audit_routes(own, expected, self._metric)
        self._drift["routes"] += len(wanted.dirty_routes) - before + len(unwanted)
        for route in unwanted:
            await self._requests.post(self._drop(route))

    def _drop(self, route: Route) -> bytes:
        return rtnl.drop_route(route.prefix, route.ifindex, route.metric, self._protocol)
