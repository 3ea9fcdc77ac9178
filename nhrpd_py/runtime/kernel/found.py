"""The kernel's settings as the daemon found them, before it changed them, to be given back.

Of each tunnel: NOARP, the probes of its neighbour tables, `send_redirects`; and `send_redirects` of
`all`. What was found is in the state file before anything is changed, so that it is known after a
crash as well, when the kernel shows only what the daemon made of it. It holds for one netdev of one
boot: another one has settings of its own.
"""

import errno
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeGuard

from nhrpd_py.runtime.netlink import rtnl
from nhrpd_py.runtime.netlink.requests import Requests
from nhrpd_py.runtime.netlink.socket import NetlinkError

ALL = "all"
"""The key of what belongs to no link; no link can have this name, which is sysctl's."""
SETTINGS = Path("/proc/sys/net")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
PROBES = ("app_solicit", "ucast_solicit", "mcast_solicit")


class FoundSettings:
    """Notes settings before they are changed, and gives them back.

    `known` is what the state file has, and what it is to have: name of the link → its settings.
    """

    def __init__(
        self,
        known: dict[str, dict[str, Any]],
        save: Callable[[], Awaitable[None]],
        *,
        settings: Path = SETTINGS,
        boot_id: Path = BOOT_ID,
    ) -> None:
        self._known = known
        self._save = save
        self._settings = settings
        self._boot = _text(boot_id)
        self.counters: Counter[str] = Counter()
        for name in [name for name, each in known.items() if each.get("boot") != self._boot]:
            del known[name]

    async def note(self, name: str, ifindex: int, *, noarp: bool) -> None:
        """Notes the settings of a link, and those of all, unless they are known already: the
        kernel has ours then."""
        is_changed = self._renamed(name, ifindex)
        if self._known.get(name, {}).get("ifindex") != ifindex:
            is_changed = True
            self._known[name] = {
                "boot": self._boot,
                "ifindex": ifindex,
                "noarp": noarp,
                "send_redirects": self._number(f"ipv4/conf/{name}/send_redirects"),
                "probes": {
                    family: [self._number(f"{family}/neigh/{name}/{probe}") for probe in PROBES]
                    for family in FAMILIES
                },
            }
        if ALL not in self._known:
            is_changed = True
            found = self._number("ipv4/conf/all/send_redirects")
            self._known[ALL] = {"boot": self._boot, "send_redirects": found}
        if is_changed:
            await self._save()

    def name_of(self, ifindex: int) -> str | None:
        """Returns the name under which the settings of a link were noted; None where none were."""
        for name, each in self._known.items():
            if each.get("ifindex") == ifindex:
                return name
        return None

    def _renamed(self, name: str, ifindex: int) -> bool:
        """Takes over what was noted of a link under another name; returns whether there is anything."""
        other = self.name_of(ifindex)
        if other is None or other == name:
            return False
        taken, left = self._known.pop(other), self._known.pop(name, None)
        self._known[name] = taken
        if left is not None:  # two that changed their names
            self._known[other] = left
        return True

    async def give_back(self, requests: Requests, name: str) -> None:
        """Gives a link its settings back; with the last one, those of all."""
        settings = self._known.pop(name, None)
        if settings is not None:
            for kind, payload in _restoring(settings):
                await self._ask(requests, kind, payload)
        if self._known.keys() == {ALL}:
            self._give_back_all(self._known.pop(ALL))
        await self._save()

    async def give_all_back(self, requests: Requests) -> None:
        """Gives back everything that was noted."""
        for name in [each for each in self._known if each != ALL]:
            await self.give_back(requests, name)

    async def _ask(self, requests: Requests, kind: int, payload: bytes) -> None:
        try:
            await requests.ask(kind, 0, payload, "give a setting back")
        except NetlinkError as error:
            if error.errno != errno.ENODEV:  # the link is gone, and its settings with it
                self.counters["settings_kept"] += 1

    def _give_back_all(self, settings: dict[str, Any]) -> None:
        path = self._settings / "ipv4/conf/all/send_redirects"
        value = settings.get("send_redirects")
        try:
            if _is_count(value) and value and path.read_text().strip() == "0":
                path.write_text(f"{value}\n")
        except (OSError, ValueError):  # read-only, as under systemd: then it was not changed either
            self.counters["settings_kept"] += 1

    def _number(self, path: str) -> int | None:
        """Returns a setting; None where this kernel or link does not have it."""
        try:
            return int(_text(self._settings / path))
        except ValueError:
            return None


def _restoring(settings: dict[str, Any]) -> Iterator[tuple[int, bytes]]:
    """Yields the requests that restore the settings of a link; NOARP, which flushes its
    neighbours, comes last. What a damaged file has is left out."""
    ifindex = settings.get("ifindex")
    if not isinstance(ifindex, int):
        return
    probes = settings.get("probes")
    for family, number in FAMILIES.items():
        values = probes.get(family) if isinstance(probes, dict) else None
        if isinstance(values, list) and len(values) == len(PROBES) and all(map(_is_count, values)):
            yield rtnl.RTM_SETNEIGHTBL, rtnl.probes(number, ifindex, *values)
    redirects = settings.get("send_redirects")
    if _is_count(redirects):
        yield rtnl.RTM_SETLINK, rtnl.send_redirects(ifindex, redirects)
    if settings.get("noarp") is True:
        yield rtnl.RTM_SETLINK, rtnl.set_noarp(ifindex)


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= 0x7FFFFFFF  # noqa: PLR2004 (an int of the kernel)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
