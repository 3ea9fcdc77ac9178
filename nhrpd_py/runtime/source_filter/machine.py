"""Which program of this machine has the packet filter, and what others do with marks there."""

import json
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, Protocol

import trio

from nhrpd_py.runtime.source_filter import iptables, marks, nft, programs
from nhrpd_py.runtime.source_filter.table import (
    Changes,
    FilterError,
    Reading,
    Sources,
    WantedTable,
)

ODD = (FilterError, ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What is raised where a program fails, or prints what it is not known to print."""


class Backend(Protocol):
    """A program that has a packet filter."""

    @property
    def named(self) -> bytes:
        """What all notifications of the kernel have in them that concern it."""

    @property
    def keeps_rules(self) -> bool:
        """Whether a change of sources leaves the rules as they are, which do not show them."""

    async def write(self, wanted: WantedTable) -> None: ...
    async def change(self, wanted: WantedTable, changes: Changes) -> None: ...
    async def remove(self, interface: str) -> None: ...
    async def read(self, interface: str, *, is_whole: bool) -> Reading | None: ...
    async def sources(self, interface: str) -> Sources: ...


async def backend_of_this_machine() -> Backend:
    """Returns the first program that works here: not every kernel has what every program needs. Raises
    FilterError."""
    reasons = []
    for backend in (nft.Nft(), iptables.Iptables(), iptables.Iptables("-legacy")):
        if programs.is_there(backend.program):
            try:
                await backend.probe()
            except FilterError as error:
                reasons.append(str(error))
            else:
                return backend
    raise FilterError("; ".join(reasons) or "neither nft nor iptables-restore is installed")


async def others_of_this_machine(links: Collection[str]) -> list[str]:
    """Returns the rules of others that use marks of what comes in by some links, as far as programs tell,
    and as far as what they tell is understood."""

    def of_rules(text: str) -> Iterable[str]:
        return marks.of_routing(json.loads(text or "[]"))

    def of_ruleset(text: str) -> Iterable[str]:
        return marks.of_nft(json.loads(text or "{}"), links)

    def of_saved(tool: str) -> Callable[[str], Iterable[str]]:
        return lambda text: marks.of_iptables(text, tool, links)

    found = await _found(of_rules, programs.run("ip", "-json", "rule"))
    # Terse: without the elements of sets, of which others may have a great many.
    found += await _found(of_ruleset, programs.run("nft", "-t", "-j", "list", "ruleset"))
    for tool in ("iptables-legacy", "iptables"):
        found += await _found(of_saved(tool), programs.run(f"{tool}-save"))
    return list(dict.fromkeys(found))


async def _found(uses: Callable[[str], Iterable[str]], output: Awaitable[Any]) -> list[str]:
    """Returns what is found in a program's output; beside the event loop, for it may be long."""
    try:
        text = await output
        return await trio.to_thread.run_sync(lambda: list(uses(text)))
    except ODD:
        return []
