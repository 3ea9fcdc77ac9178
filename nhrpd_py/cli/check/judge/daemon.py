"""Checks of the daemon itself, the clock, and the names of its servers. Pure."""

from collections.abc import Iterator

from nhrpd_py.cli.check.facts import DaemonFacts, Facts, Process
from nhrpd_py.cli.check.findings import Area, Finding, Unread
from nhrpd_py.cli.check.judge.tunnels import GRE_KINDS
from nhrpd_py.core.config_rows import config_rows

AREA = "daemon"
CAPABILITIES = {12: "CAP_NET_ADMIN", 13: "CAP_NET_RAW"}
"""linux/capability.h."""
OTHERS_MAY_WRITE = 0o002
IN_TURN = frozenset({"identity-in-turn", "address-in-turn"})
OF_PEERS = frozenset({"undelivered", "one-way", "path-failed"})
"""Kinds of problems that no other view has a finding for."""


def check(facts: Facts) -> Iterator[Finding]:
    """Yields all findings of the areas `daemon` and `names`."""
    area = Area(AREA, "nhrpd")
    daemon = facts.daemon
    if isinstance(daemon, Unread):
        if daemon.remedy is None:
            yield area.unread(daemon)
        else:
            yield area.problem(daemon.why, daemon.remedy)
    else:
        yield from _itself(facts, area, daemon)
        yield from _views(daemon, _journal(facts))
    yield from _clock(facts)
    for name, found in facts.names.items():
        yield _name(facts, name, found)


def _journal(facts: Facts) -> str:
    return f"journalctl -u {facts.unit} -n 50"


def _itself(facts: Facts, area: Area, daemon: DaemonFacts) -> Iterator[Finding]:
    version = daemon.status.get("version")
    if version != facts.version:
        yield area.warning(
            f"the running daemon is {version}, and nhrpctl {facts.version}",
            f"systemctl restart {facts.unit}",
        )
    else:
        yield area.ok(f"nhrpd {version} answers")
    for part, what in (daemon.status.get("problems") or {}).items():
        yield Area(AREA, part).problem(str(what), _journal(facts))
    in_force = {(row["path"], row["value"]) for row in daemon.views.get("config", ())}
    in_file = {(row.path, row.value) for row in config_rows(facts.config, None)}
    if in_force and in_force != in_file:
        changed = sorted({path for path, _value in in_force ^ in_file})
        yield area.warning(
            f"{facts.file} is not what it runs with (differs: {', '.join(changed[:3])})",
            f"systemctl reload {facts.unit}",
        )
    elif in_force:
        yield area.ok(f"it runs with {facts.file} as it is")
    if daemon.process is not None:
        yield from _process(facts, area, daemon.process)
    if daemon.socket_mode & OTHERS_MAY_WRITE:
        yield area.problem(
            "everybody may command it by its socket",
            f"chmod o-rwx {facts.socket}",
        )


def _process(facts: Facts, area: Area, process: Process) -> Iterator[Finding]:
    if process.elsewhere:
        yield area.problem(
            "it serves another network namespace than this, which the other checks look at",
            f"nsenter -t {process.pid} -n nhrpctl -s {facts.socket} check",
        )
    if process.capabilities is None:
        return
    lacking = [name for bit, name in CAPABILITIES.items() if not process.capabilities >> bit & 1]
    if lacking:
        yield area.problem(
            f"it runs as {process.user} without {', '.join(lacking)}",
            f"AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW in {facts.unit}.service, "
            f"then: systemctl daemon-reload && systemctl restart {facts.unit}",
        )
    else:
        yield area.ok(f"it runs as {process.user} with the capabilities that it needs")


def _views(daemon: DaemonFacts, journal: str) -> Iterator[Finding]:
    for row in daemon.views.get("interfaces", ()):
        area = Area(AREA, row["interface"])
        if row["problem"]:
            yield area.problem(str(row["problem"]), f"nhrpctl show interfaces; {journal}")
        elif row["up"]:
            yield area.ok("it serves NHRP")
        if row["losing"]:
            yield area.warning(str(row["losing"]), "nhrpctl show traffic; nhrpctl show interfaces")
    for row in daemon.views.get("nhs", ()):
        area = Area(AREA, f"NHS {row['nbma'] or row['name']}")
        where = f"{row['interface']}, {row['afi'] or '-'}"
        if row["state"] == "up":
            yield area.ok(f"registered ({where})")
        elif row["state"] == "standby":
            yield area.ok(f"on standby behind a better server ({where})")
        elif row["last_error"]:
            yield area.problem(f"{row['state']} ({where}): {row['last_error']}", "nhrpctl show nhs")
        elif row["state"] == "down":
            yield area.problem(f"it is down ({where})", f"ping -c 3 {row['nbma'] or row['name']}")
        else:
            yield area.warning(f"not registered yet ({where})", "nhrpctl show nhs")
    for row in daemon.views.get("peers", ()):
        if row["ipsec"] == "failed":
            yield Area(AREA, f"peer {row['nbma']}").warning(
                f"IPsec with it failed: {row['last_error'] or 'no reason given'}",
                "nhrpctl show peers; journalctl -u strongswan -n 50",
            )
    told = {(row["kind"], row["reason"]): row for row in daemon.views.get("problems", ())}
    for (kind, reason), row in told.items():
        area = Area(AREA, f"peer {row['nbma']}")
        if kind in IN_TURN:
            yield area.problem(reason, "nhrpctl show problems; nhrpctl show peers")
        elif kind in OF_PEERS:
            yield area.warning(reason, "nhrpctl show problems; nhrpctl show traffic")


def _clock(facts: Facts) -> Iterator[Finding]:
    if facts.charon is None or facts.clock_synchronised is None:
        return
    area = Area(AREA, "clock")
    if facts.clock_synchronised:
        yield area.ok("it is synchronised")
    else:
        yield area.warning(
            "nothing synchronises it: certificates are judged by it", "timedatectl set-ntp true"
        )


def _name(facts: Facts, name: str, found: object) -> Finding:
    area = Area("names", name)
    if isinstance(found, Unread):
        return area.problem(found.why, f"getent ahosts {name}   # DNS: /etc/resolv.conf")
    addresses = [str(each) for each in found] if isinstance(found, list | tuple) else []
    families = _outer_families(facts, name)
    usable = [each for each in addresses if (":" in each) in families]
    if not usable:
        family = "IPv6" if families == {True} else "IPv4"
        return area.problem(
            f"it has no {family} address, only {', '.join(addresses) or 'none'}",
            f"give it one in DNS, or write the hub's address as nbma in {facts.file}",
        )
    return area.ok(f"it is {', '.join(usable)}")


def _outer_families(facts: Facts, name: str) -> set[bool]:
    """Returns whether outer addresses are IPv6, of each interface that has a server of the name."""
    links = facts.kernel.links
    found = set()
    for config in facts.config.interfaces.values():
        if any(server.nbma == name for server in config.nhs):
            link = None if isinstance(links, Unread) else links.get(config.name)
            known = link is not None and link.kind in GRE_KINDS
            found.add(known and link is not None and link.kind == "ip6gre")
    return found or {False}
