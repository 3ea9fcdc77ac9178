"""The source filter as chains of iptables, for machines without nft.

In the table `mangle` of both families, ahead of other rules in PREROUTING, packets of a tunnel go
through its chain, which has one rule a mark; each mark has a chain with its sources. The sources of
dropped packets are not told, only their peers.
"""

import os
import re
import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nhrpd_py.core.address import IPV4_SIZE, IPV6_SIZE, Address, Prefix, parse_prefix
from nhrpd_py.runtime.source_filter.programs import run
from nhrpd_py.runtime.source_filter.table import Changes, FilterError, Reading, WantedTable

NAME_LIMIT = 28
COMMON = 0
"""The number of the chain with the sources that every peer may use."""
RUN = "/run"
IPV6_SETTINGS = Path("/proc/sys/net/ipv6")
WAIT_S = 5
"""How long another program may hold the lock of iptables."""
ALWAYS = {
    IPV4_SIZE: ("0.0.0.0/32", "169.254.0.0/16"),
    IPV6_SIZE: ("::/128", "fe80::/10"),
}
_PLAIN = frozenset(string.ascii_letters + string.digits + "_.")
_UNSAYABLE = frozenset("\"'\\!")
_CLEAR = "-j MARK --set-xmark 0x0/0xffffffff"
_RULE = re.compile(r"\[(\d+):\d+\] (-A (\S+) (.*))")
_SOURCE = re.compile(r"-s (\S+) " + re.escape(_CLEAR))


def chain_name(interface: str, mark: int | None = None) -> str:
    """Returns the name of a tunnel's chain, or of that of a mark. Raises FilterError."""
    if interface.endswith("+") or not _UNSAYABLE.isdisjoint(interface):
        raise FilterError(f"the name of {interface} cannot be told to iptables")
    plain = "".join(each if each in _PLAIN else f"-{ord(each):x}" for each in interface)
    name = f"nh-{plain}" if mark is None else f"nh-{plain}:{mark:x}"
    if len(name) > NAME_LIMIT:
        raise FilterError(f"the name of {interface} is too long for iptables")
    return name


@dataclass(slots=True)
class _Found:
    """What one family's table has of a tunnel."""

    jumps: bool = False
    rules: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    """Chain → its rules, with how many packets each met."""
    lines: list[str] = field(default_factory=list)


class Iptables:
    """Writes and reads the chains with `iptables-restore` and `iptables-save`, or with those of another variant."""

    named = b"mangle"
    keeps_rules = False

    def __init__(self, variant: str = "") -> None:
        self._variant = variant
        self.program = f"iptables{variant}-restore"

    async def probe(self) -> None:
        """Finds out whether the kernel has such chains. Raises FilterError."""
        for _size, command in self._families():
            await _restore(command, [":nh- - [0:0]", "-X nh-"])

    async def write(self, wanted: WantedTable) -> None:
        """Makes all chains of a tunnel anew, in one step a family. Raises FilterError."""
        await self._write(wanted, None)

    async def change(self, wanted: WantedTable, changes: Changes) -> None:
        """Makes the chains of the marks anew that have changed. Raises FilterError."""
        await self._write(wanted, {*changes.added, *changes.removed, *changes.known})

    async def _write(self, wanted: WantedTable, marks: set[int] | None) -> None:
        sources = wanted.whole()
        for size, command in self._families():
            found = await _look(command, wanted.name)
            lines = _chains(wanted, size, sources, found, marks)
            await _restore(command, lines)

    async def remove(self, interface: str) -> None:
        """Removes the chains of a tunnel, if they are there. Raises FilterError."""
        name = chain_name(interface)
        for _size, command in self._families():
            found = await _look(command, interface)
            lines = [f"-D PREROUTING {_jump(interface)}"] if found.jumps else []
            chains = sorted(found.rules, key=lambda each: (each != name, each))
            lines += [f"-F {chain}" for chain in chains]
            lines += [f"-X {chain}" for chain in chains]
            if lines:
                await _restore(command, lines)

    async def read(self, interface: str, *, is_whole: bool) -> Reading | None:
        """Reads the rules of a tunnel, always all; None where they, or a part of them, are not there."""
        rules: list[str] = []
        wrong: dict[tuple[int, Address], int] = {}
        for _size, command in self._families():
            found = await _look(command, interface)
            if not found.jumps or chain_name(interface) not in found.rules:
                return None
            rules += found.lines
            for mark, of_mark in _by_mark(interface, found).items():
                if mark != COMMON and of_mark:
                    wrong[mark, b""] = wrong.get((mark, b""), 0) + of_mark[-1][0]
        return Reading("\n".join(rules), wrong, sum(wrong.values()))

    async def sources(self, interface: str) -> dict[int, list[Prefix]]:
        """Returns what the chains of an earlier run allow; nothing where there are none."""
        sources: dict[int, list[Prefix]] = {}
        for size, command in self._families():
            for mark, rules in _by_mark(interface, await _look(command, interface)).items():
                if mark == COMMON:
                    continue
                of_mark = sources.setdefault(mark, [])
                for _packets, rule in rules:
                    source = _SOURCE.fullmatch(rule)
                    if source is not None:
                        of_mark.append(parse_prefix(source[1]))
                    elif rule == _CLEAR:
                        of_mark.append(Prefix(bytes(size), 0))
        return sources

    def _families(self) -> Iterator[tuple[int, str]]:
        """Yields each family, by the size of its addresses, with its command."""
        yield IPV4_SIZE, f"iptables{self._variant}"
        if IPV6_SETTINGS.exists():
            yield IPV6_SIZE, f"ip6tables{self._variant}"


def _environment() -> Mapping[str, str]:
    """Returns where the lock of iptables is, where the usual place is closed to us, as it is in the unit."""
    directory = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if not directory or os.access(RUN, os.W_OK):
        return {}
    return {"XTABLES_LOCKFILE": f"{directory}/xtables.lock"}


async def _look(command: str, interface: str) -> _Found:
    name = chain_name(interface)
    text = await run(f"{command}-save", "-c", "-t", "mangle", environment=_environment())
    found = _Found()
    for line in text.splitlines():
        if line.startswith(":"):
            chain = line[1:].split(" ", 1)[0]
            if chain == name or chain.startswith(f"{name}:"):
                found.rules[chain] = []
            continue
        rule = _RULE.fullmatch(line)
        if rule is None:
            continue
        if rule[3] in found.rules:
            found.rules[rule[3]].append((int(rule[1]), rule[4]))
            found.lines.append(rule[2])
        elif rule[2] == f"-A PREROUTING {_jump(interface)}":
            found.jumps = True
    return found


def _by_mark(interface: str, found: _Found) -> dict[int, list[tuple[int, str]]]:
    head = re.escape(f"{chain_name(interface)}:")
    named = ((re.fullmatch(head + "([0-9a-f]+)", each), each) for each in found.rules)
    return {int(name[1], 16): found.rules[chain] for name, chain in named if name is not None}


async def _restore(command: str, lines: Iterable[str]) -> None:
    text = "".join(f"{line}\n" for line in ("*mangle", *lines, "COMMIT"))
    words = ("--noflush", "-w", str(WAIT_S))
    await run(f"{command}-restore", *words, stdin=text, environment=_environment())


def _jump(interface: str) -> str:
    return f"-i {interface} -j {chain_name(interface)}"


def _chains(
    wanted: WantedTable,
    size: int,
    sources: Mapping[int, Iterable[Prefix]],
    found: _Found,
    marks: set[int] | None,
) -> Iterator[str]:
    """Yields the lines that make the chains of some marks anew, and the chain that leads to them;
    None: of all."""
    name = chain_name(wanted.name)
    changed = {*sources, COMMON} if marks is None else {*marks, COMMON} & {*sources, COMMON}
    old = [chain for mark, chain in _old(wanted.name, found) if mark not in {*sources, COMMON}]
    yield f":{name} - [0:0]"
    for mark in sorted(changed):
        yield f":{chain_name(wanted.name, mark)} - [0:0]"
    for mark in sources:
        if mark != COMMON:
            yield f"-A {name} -m mark --mark {mark:#x} -g {chain_name(wanted.name, mark)}"
    for mark in sorted(changed):
        chain = chain_name(wanted.name, mark)
        ours = [each for each in sources.get(mark, ()) if len(each.address) == size]
        always = ALWAYS[size] if mark == COMMON else ()
        for source in (*map(str, ours), *always):
            match = "" if source.endswith("/0") else f"-s {source} "
            yield f"-A {chain} {match}{_CLEAR}"
        if mark != COMMON:
            yield f"-A {chain} -j {chain_name(wanted.name, COMMON)}"
            yield f"-A {chain} -m mark --mark 0x0 -j RETURN"
            yield f"-A {chain} " + ("-j DROP" if wanted.drop else f"-m mark ! --mark 0x0 {_CLEAR}")
    for chain in old:
        yield f"-F {chain}"
    for chain in old:
        yield f"-X {chain}"
    if not found.jumps:
        yield f"-I PREROUTING 1 {_jump(wanted.name)}"


def _old(interface: str, found: _Found) -> Iterator[tuple[int, str]]:
    for mark in _by_mark(interface, found):
        yield mark, chain_name(interface, mark)
