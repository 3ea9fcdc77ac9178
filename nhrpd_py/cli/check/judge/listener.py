"""Checks of who listens to an NFLOG group. Pure."""

import itertools
from collections.abc import Iterator, Mapping

from nhrpd_py.cli.check.facts import DaemonFacts, Facts, Listener, Process
from nhrpd_py.cli.check.findings import Area, Finding, Unread


def check(facts: Facts, area: Area, group: int, key: str, what: str) -> Iterator[Finding]:
    """Yields what is to say about the listener of a group.

    `key` is its setting under [nflog]; `what` is what the daemon misses without it, in its own words.
    """
    listeners = facts.firewall.listeners
    daemon = facts.daemon
    if isinstance(listeners, Unread):
        yield area.unread(listeners)
        return
    found = listeners.get(group)
    ours = daemon.process if isinstance(daemon, DaemonFacts) else None
    if found is not None and _stranger(found.pid, found.command, ours):
        who = found.command or "another program"
        yield area.problem(
            f"{who} (process {found.pid or '?'}) has bound it: nhrpd gets nothing",
            f"{key} = {_free_group(facts, listeners)}   # under [nflog] in "
            f"{facts.file}, and in the rule; or stop the other: kill {found.pid}",
        )
    elif found is None and ours is not None and what not in _said(daemon):
        yield area.problem("nobody listens, not even nhrpd", f"systemctl restart {facts.unit}")
    elif found is not None:
        yield area.ok("nhrpd listens")


def _free_group(facts: Facts, listeners: Mapping[int, Listener]) -> int:
    """Returns the lowest group that nobody listens to, no rule sends to, and no setting names."""
    rules = facts.firewall.rules
    nflog = facts.config.nflog
    taken = {nflog.redirect_group, nflog.multicast_group, *listeners.keys()}
    if not isinstance(rules, Unread):
        taken |= {rule.group for rule in rules}
    return next(group for group in itertools.count(1) if group not in taken)


def _stranger(pid: int | None, command: str, ours: Process | None) -> bool:
    if pid is None:
        return False
    if ours is not None:
        return pid != ours.pid
    return "nhrpd" not in command


def _said(daemon: object) -> str:
    problems = daemon.status.get("problems") or {} if isinstance(daemon, DaemonFacts) else {}
    return " ".join(map(str, problems.values()))
