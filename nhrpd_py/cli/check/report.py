"""Runs all checks, and prints what they found."""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from nhrpd_py.cli.check.facts import Facts
from nhrpd_py.cli.check.findings import Finding, State
from nhrpd_py.cli.check.judge import (
    daemon,
    firewall,
    guard,
    ipsec,
    kernel,
    multicast,
    redirect,
    routing,
    sources,
)

CHECKS = (
    *(daemon.check, kernel.check, firewall.check, redirect.check, multicast.check),
    *(guard.check, ipsec.check, sources.check, routing.check),
)
MARKS = {State.PROBLEM: "PROBLEM", State.WARNING: "warning", State.UNKNOWN: "unknown"}
STYLES = {State.PROBLEM: "\033[1;31m", State.WARNING: "\033[33m", State.UNKNOWN: "\033[36m"}
PLAIN = "\033[0m"
LEGEND = {
    State.PROBLEM: "PROBLEM = does not work",
    State.WARNING: "warning = works, but will hurt",
    State.UNKNOWN: "unknown = could not be looked at",
}


def findings(facts: Facts) -> Iterator[Finding]:
    """Runs the checks and yields what they find, each sentence once."""
    said: dict[Finding, None] = {}
    for check in CHECKS:
        said |= dict.fromkeys(check(facts))
    yield from said


def failed(found: Sequence[Finding]) -> bool:
    return any(finding.state is State.PROBLEM for finding in found)


def as_json(found: Sequence[Finding]) -> str:
    return json.dumps({"check": [finding.row() for finding in found]})


def as_text(found: Sequence[Finding], *, everything: bool, colour: bool) -> Iterator[str]:
    """Writes lines for people: each finding, and its remedy below it."""
    shown = [each for each in found if everything or each.state is not State.OK]
    wide = max((len(_place(each)) for each in shown), default=0)
    for each in shown:
        mark = MARKS.get(each.state, "ok").ljust(max(map(len, MARKS.values())))
        if colour and each.state in STYLES:
            mark = f"{STYLES[each.state]}{mark}{PLAIN}"
        yield f"{mark}  {_place(each).ljust(wide)}  {each.finding}"
        if each.remedy is not None:
            yield f"{' ' * (wide + 11)}→ {each.remedy}"
    if shown:
        yield ""
    counts = Counter(each.state for each in found)
    legend = [text for state, text in LEGEND.items() if counts[state]]
    if legend:
        yield f"{'; '.join(legend)}; → what mends it"
    passed = counts[State.OK]
    yield f"{passed} check{'' if passed == 1 else 's'} passed"


def _place(finding: Finding) -> str:
    return f"{finding.area} {finding.subject}"


def write(found: Sequence[Finding], *, everything: bool) -> None:
    lines = as_text(found, everything=everything, colour=sys.stdout.isatty())
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
