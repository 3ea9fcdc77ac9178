"""The source filter as a table of nftables, one a tunnel, named after it.

Sets of mark and source hold who may send from where; they are searched in one step, however many there
are. The table looks at packets before the routing, and before the tables of others: its priority is
just ahead of `raw`. What passes has no mark behind it.
"""

import re
import string
from collections.abc import Iterator

from nhrpd_py.core.address import IPV4_SIZE, Address, Prefix, parse_address, parse_prefix
from nhrpd_py.core.effects import AllowSources
from nhrpd_py.runtime.source_filter.programs import call, run
from nhrpd_py.runtime.source_filter.table import Changes, FilterError, Reading, WantedTable

PROGRAM = "nft"
PRIORITY = -310
IN_A_LINE = 100
"""Elements that one command names."""
IN_A_STEP = 32768
"""Characters of the commands that are carried out in one step: the kernel takes what nft makes of that for sure."""
MEMORY = 1024
"""Wrong sources that are told apart at a time, of each family."""
MARKS = 65535
"""Marks whose packets are counted apart at a time."""
_PLAIN = frozenset(string.ascii_letters + string.digits + "_.-")
_COUNTED = re.compile(r"(0x[0-9a-f]+|\d+) \. ([0-9a-f.:]+)[^,}]*?counter packets (\d+)")
_ELEMENT = re.compile(r"(0x[0-9a-f]+|\d+)(?: \. ([0-9a-f.:/]+))?")
_SET = re.compile(r"set (known|any4|any6|v4|v6) \{[^{}]*elements = \{([^{}]*)\}")
_TOTAL = re.compile(r"packets \d+ bytes \d+")
_PACKETS = re.compile(r"packets (\d+)")


def table_name(interface: str) -> str:
    """Returns the name of a tunnel's table; characters that nft does not take become their number."""
    return "nhrpd-" + "".join(each if each in _PLAIN else f"/{ord(each):x}" for each in interface)


class Nft:
    """Writes and reads the tables with `nft`."""

    program = PROGRAM
    named = b"nhrpd-"
    keeps_rules = True

    def __init__(self) -> None:
        self._totals: dict[str, int] = {}
        """Packets with wrong sources when they were told apart last, by interface."""

    async def probe(self) -> None:
        """Finds out whether the kernel has such tables, without making one. Raises FilterError."""
        sample = WantedTable("probe")
        sample.allow(AllowSources("probe", 1, (Prefix(b"\xa9\xfe\0\0", 16),)))
        await run(PROGRAM, "-c", "-f", "-", stdin="".join(_whole(sample)))

    async def write(self, wanted: WantedTable) -> None:
        """Makes the whole table anew, in one step while it is of usual size. Raises FilterError."""
        self._totals.pop(wanted.name, None)
        await _run_all(_whole(wanted))

    async def change(self, wanted: WantedTable, changes: Changes) -> None:
        """Changes the elements of a table. Raises FilterError."""
        await _run_all(_changes(table_name(wanted.name), changes))

    async def remove(self, interface: str) -> None:
        """Removes a table if it is there. Raises FilterError."""
        self._totals.pop(interface, None)
        table = f"table inet {table_name(interface)}"
        await run(PROGRAM, "-f", "-", stdin=f"{table}\ndelete {table}\n")

    async def read(self, interface: str, *, is_whole: bool) -> Reading | None:
        """Reads the counters of a table, and its rules; None where it, or a part of it, is not there.

        Of the counters alone nft asks the kernel for one small set. For a rule it gets all elements of the table.
        """
        rules = await _list("chain", interface, "prerouting") if is_whole else ""
        by_mark = await _list("set", interface, "wrong")
        if rules is None or by_mark is None:
            return None
        total = sum(map(int, _PACKETS.findall(by_mark)))
        wrong: dict[tuple[int, Address], int] = {}
        if total and total != self._totals.get(interface):
            for name in ("wrong4", "wrong6"):
                text = await _list("set", interface, name)
                if text is None:
                    return None
                for mark, source, packets in _COUNTED.findall(text):
                    wrong[int(mark, 0), parse_address(source)] = int(packets)
        self._totals[interface] = total
        return Reading(_TOTAL.sub("", rules) if is_whole else None, wrong, total)

    async def sources(self, interface: str) -> dict[int, list[Prefix]]:
        """Returns what a table allows; nothing where there is none, nor of marks that are not known."""
        text = await _list("table", interface)
        found: dict[int, list[Prefix]] = {}
        known: set[int] = set()
        for place, elements in _SET.findall(text or ""):
            for mark, prefix in _ELEMENT.findall(elements):
                of_mark = found.setdefault(int(mark, 0), [])
                if place == "known":
                    known.add(int(mark, 0))
                if place.startswith("any"):
                    of_mark.append(parse_prefix("0.0.0.0/0" if place == "any4" else "::/0"))
                elif prefix:
                    of_mark.append(parse_prefix(prefix))
        return {mark: prefixes for mark, prefixes in found.items() if mark in known}


async def _list(kind: str, interface: str, *name: str) -> str | None:
    """Returns a table, or a part of it, as nft prints it; None where it is not there."""
    words = ("-n", "list", kind, "inet", table_name(interface), *name)
    status, output, complaint = await call([PROGRAM, *words], "", {})
    if not status:
        return output
    if "No such file" in complaint:
        return None
    raise FilterError(f"{PROGRAM}: {' '.join(complaint.split())}")


async def _run_all(commands: Iterator[str]) -> None:
    """Runs commands, as many in one step as the kernel takes for sure."""
    for some in _batches(commands):
        await run(PROGRAM, "-f", "-", stdin="".join(some))


def _batches(commands: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for command in commands:
        if batch and size + len(command) > IN_A_STEP:
            yield batch
            batch, size = [], 0
        batch.append(command)
        size += len(command)
    if batch:
        yield batch


def _whole(wanted: WantedTable) -> Iterator[str]:
    name = table_name(wanted.name)
    if '"' in wanted.name:
        raise FilterError(f"the name of {wanted.name} cannot be told to nft")
    verdict = "drop" if wanted.drop else "meta mark set 0 accept"
    tunnel = "".join(f"\\{each}" if each in "\\*" else each for each in wanted.name)
    rules = _TABLE.replace("TABLE", name).replace("TUNNEL", tunnel).replace("VERDICT", verdict)
    yield f"table inet {name}\ndelete table inet {name}\n{rules}"
    sources = wanted.whole()
    yield from _changes(
        name,
        Changes(
            added={mark: dict.fromkeys(each) for mark, each in sources.items() if each},
            known=dict.fromkeys(mark for mark in sources if mark),
        ),
    )


_TABLE = f"""\
table inet TABLE {{
    set known {{ type mark; }}
    set any4 {{ type mark; }}
    set any6 {{ type mark; }}
    set v4 {{ type mark . ipv4_addr; flags interval; }}
    set v6 {{ type mark . ipv6_addr; flags interval; }}
    set awaited4 {{ type ipv4_addr; flags interval; }}
    set awaited6 {{ type ipv6_addr; flags interval; }}
    set wrong {{ type mark; size {MARKS}; flags dynamic,timeout; timeout 5m; }}
    set wrong4 {{ type mark . ipv4_addr; size {MEMORY}; flags dynamic,timeout; timeout 5m; }}
    set wrong6 {{ type mark . ipv6_addr; size {MEMORY}; flags dynamic,timeout; timeout 5m; }}
    chain prerouting {{
        type filter hook prerouting priority {PRIORITY}; policy accept;
        iifname != "TUNNEL" accept
        meta mark != @known accept
        meta mark . ip saddr @v4 meta mark set 0 accept
        meta mark . ip6 saddr @v6 meta mark set 0 accept
        meta nfproto ipv4 meta mark @any4 meta mark set 0 accept
        meta nfproto ipv6 meta mark @any6 meta mark set 0 accept
        ip saddr {{ 0.0.0.0, 169.254.0.0/16 }} meta mark set 0 accept
        ip6 saddr {{ ::, fe80::/10 }} meta mark set 0 accept
        ip saddr @awaited4 meta mark set 0 accept
        ip6 saddr @awaited6 meta mark set 0 accept
        update @wrong {{ meta mark counter }}
        update @wrong4 {{ meta mark . ip saddr counter }}
        update @wrong6 {{ meta mark . ip6 saddr counter }}
        counter VERDICT
    }}
}}
"""


def _changes(name: str, changes: Changes) -> Iterator[str]:
    """Yields the commands that change elements.

    Of each mark what goes stands first, for elements may not overlap. A new mark is made known last: until then its
    packets pass.
    """
    for mark in changes.forgotten:
        yield _command("delete", name, "known", [str(mark)])
    for mark in dict.fromkeys([*changes.removed, *changes.added]):
        for verb, by_mark in (("delete", changes.removed), ("add", changes.added)):
            elements: dict[str, list[str]] = {}
            for prefix in by_mark.get(mark, ()):
                place, text = _element(mark, prefix)
                elements.setdefault(place, []).append(text)
            for place, texts in elements.items():
                for at in range(0, len(texts), IN_A_LINE):
                    yield _command(verb, name, place, texts[at : at + IN_A_LINE])
    known = [str(mark) for mark in changes.known if mark]
    for at in range(0, len(known), IN_A_LINE):
        yield _command("add", name, "known", known[at : at + IN_A_LINE])


def _command(verb: str, name: str, place: str, elements: list[str]) -> str:
    return f"{verb} element inet {name} {place} {{ {', '.join(elements)} }}\n"


def _element(mark: int, prefix: Prefix) -> tuple[str, str]:
    """Returns the set that a source is in, and how it stands there."""
    version = 4 if len(prefix.address) == IPV4_SIZE else 6
    if not mark:
        return f"awaited{version}", str(prefix)
    if not prefix.length:
        return f"any{version}", str(mark)
    return f"v{version}", f"{mark} . {prefix}"
