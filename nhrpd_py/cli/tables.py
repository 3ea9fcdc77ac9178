"""The tables of `nhrpctl`: which columns each view has, and what is explained below it.

Rows come as the JSON objects of the API. States and flags that appear are explained, others are not.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from nhrpd_py.cli.words import (
    CACHE_FLAGS,
    CACHE_TYPES,
    INTERFACE_ROLES,
    IPSEC_STATES,
    NHS_STATES,
    PATH_STATES,
    PROBLEM_KINDS,
    ROUTE_KINDS,
    SA_FLAGS,
    SA_STATES,
    SHORTCUT_STATES,
    Row,
)


class Column(NamedTuple):
    """A column of a table: its title, and the text of its cell in a row."""

    title: str
    text: Callable[[Row], str]
    right: bool = False
    """Aligned to the right."""
    optional: bool = False
    """Not shown where no row has it."""


class Table(NamedTuple):
    """How a view is shown."""

    columns: Sequence[Column]
    empty: str
    """What is printed where there are no rows."""
    legend: Callable[[Sequence[Row]], Iterable[str]]
    """Makes the lines below the table."""


def duration(seconds: float | None) -> str:
    """Writes a time for people: `45s`, `1m05s`, `2h03m`, `5d02h`; `-` for none."""
    if seconds is None:
        return "-"
    whole = max(0, round(seconds))
    if whole < 60:  # noqa: PLR2004 (of time everybody knows the numbers)
        return f"{whole}s"
    if whole < 3600:  # noqa: PLR2004
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:  # noqa: PLR2004
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def cell(value: object) -> str:
    """Writes any JSON value for a table."""
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(map(str, value)) or "-"
        case _:
            return str(value)


def plain(title: str, key: str, *, right: bool = False) -> Column:
    return Column(title, lambda row: cell(row[key]), right)


def timed(title: str, key: str) -> Column:
    return Column(title, lambda row: duration(row[key]), right=True)


def flags(row: Row) -> str:
    return "".join(flag for flag, (key, _) in CACHE_FLAGS.items() if row[key]) or "-"


def _protocol(row: Row) -> str:
    host = 32 if row["afi"] == "ipv4" else 128
    length = row["prefix_length"]
    return row["protocol"] if length in {host, 255} else f"{row['protocol']}/{length}"


def _nbma(row: Row) -> str:
    claimed = row["claimed_nbma"]
    nbma = cell(row["nbma"])
    return nbma if claimed in {None, row["nbma"]} else f"{nbma} (says {claimed})"


def _server(row: Row) -> str:
    name, nbma = row["name"], row["nbma"]
    return str(name) if nbma in {None, name} else f"{name} ({nbma})"


def _interface_state(row: Row) -> str:
    if row["problem"]:
        return "PROBLEM"
    if row["losing"]:
        return "LOSING"
    return "up" if row["up"] else "down"


def _roles(row: Row) -> str:
    return ", ".join(role for role in INTERFACE_ROLES if row[role]) or "-"


def _words(key: str, meanings: Mapping[str, str]) -> Callable[[Sequence[Row]], Iterable[str]]:
    """Makes a legend that explains the values of a column, as far as the table has them."""

    def legend(rows: Sequence[Row]) -> Iterable[str]:
        present = {row[key] for row in rows}
        found = [f"{word} = {text}" for word, text in meanings.items() if word in present]
        if found:
            yield f"{key}: " + "; ".join(found)

    return legend


def _cache_legend(rows: Sequence[Row]) -> Iterable[str]:
    yield from _words("type", CACHE_TYPES)(rows)
    shown = [
        f"{flag} = {text}"
        for flag, (key, text) in CACHE_FLAGS.items()
        if any(row[key] for row in rows)
    ]
    if shown:
        yield "flags: " + "; ".join(shown)
    yield from (f"{row['interface']}: {row['problem']}" for row in rows if row["problem"])


def _nhs_legend(rows: Sequence[Row]) -> Iterable[str]:
    yield from _words("state", NHS_STATES)(rows)
    errors = [
        f"{row['interface']}: {_server(row)}: last error: {row['last_error']}"
        for row in rows
        if row["last_error"]
    ]
    yield from dict.fromkeys(errors)  # both families of a tunnel often have the same


def _peers_legend(rows: Sequence[Row]) -> Iterable[str]:
    yield from _words("ipsec", IPSEC_STATES)(rows)
    yield from _words("path", PATH_STATES)(rows)
    errors = [
        f"{row['interface']}: {row['nbma']}: last error: {row['last_error']}"
        for row in rows
        if row["last_error"]
    ]
    errors += [
        f"{row['interface']}: {row['nbma']}: {row['wrong_sources']} packets from sources that are "
        "not its own"
        for row in rows
        if row["wrong_sources"]
    ]
    yield from dict.fromkeys(errors)


def _shortcut_legend(rows: Sequence[Row]) -> Iterable[str]:
    yield from _words("state", SHORTCUT_STATES)(rows)
    yield from _words("path", PATH_STATES)(rows)
    yield "used: traffic took it lately; an unused one goes when it expires, a used one is renewed"
    for row in rows:
        if row["reason"]:
            yield f"{row['interface']}: {row['prefix']}: {row['reason']}"


def _round_trip(row: Row) -> str:
    return "-" if row["rtt_s"] is None else f"{row['rtt_s'] * 1000:.1f} ms"


def _octets(row: Row) -> str:
    return "-" if row["bytes_in"] is None else f"{row['bytes_in']}/{row['bytes_out']}"


def _mean_round_trip(row: Row) -> str:
    return f"{row['rtt_sum_s'] / row['answered'] * 1000:.1f} ms" if row["answered"] else "-"


def _sa(row: Row) -> str:
    if row["child_id"] is None:
        return "-"
    return f"{cell(row['connection'])}[{cell(row['ike_id'])}]{{{row['child_id']}}}"


def _sa_flags(row: Row) -> str:
    return "".join(flag for flag, (wanted, _) in SA_FLAGS.items() if wanted(row)) or "-"


def _sa_legend(rows: Sequence[Row]) -> Iterable[str]:
    yield "sa: connection[IKE_SA]{CHILD_SA}, as swanctl --list-sas has them"
    yield from _words("state", SA_STATES)(rows)
    shown = [
        f"{flag} = {text}" for flag, (wanted, text) in SA_FLAGS.items() if any(map(wanted, rows))
    ]
    if shown:
        yield "flags: " + "; ".join(shown)
    yield from dict.fromkeys(
        f"{row['nbma']}: last error: {row['last_error']}" for row in rows if row["last_error"]
    )


def _interfaces_legend(rows: Sequence[Row]) -> Iterable[str]:
    shown = [
        f"{role} = {text}" for role, text in INTERFACE_ROLES.items() if any(r[role] for r in rows)
    ]
    if shown:
        yield "does: " + "; ".join(shown)
    for row in rows:
        if row["problem"]:
            yield f"{row['interface']}: PROBLEM: {row['problem']}"
        if row["losing"]:
            yield f"{row['interface']}: {row['losing']}"
        if row["multicast"]:
            yield (
                f"{row['interface']}: multicast to {', '.join(row['multicast'])} "
                f"({row['multicast_targets']} targets now): {row['multicast_packets']} packets, "
                f"{row['multicast_copies']} copies"
            )
        if row["wrong_sources"]:
            fate = "dropped" if row["source_filter"] == "drop" else "let through"
            yield (
                f"{row['interface']}: {row['wrong_sources']} packets from sources that are not "
                f"their peer's, {fate}"
            )


def _nothing(_rows: Sequence[Row]) -> Iterable[str]:
    return ()


INTERFACE = plain("interface", "interface")
EXPIRES = timed("expires in", "expires_in_s")
TABLES: Mapping[str, Table] = {
    "cache": Table(
        (
            INTERFACE,
            plain("type", "type"),
            Column("protocol", _protocol),
            Column("nbma", _nbma),
            Column("identity", lambda row: cell(row["identity"]), optional=True),
            Column("flags", flags),
            EXPIRES,
            timed("age", "age_s"),
        ),
        "no bindings: nobody registered here and nothing was resolved",
        _cache_legend,
    ),
    "nhs": Table(
        (
            INTERFACE,
            Column("server", _server),
            Column("protocol", lambda row: row["protocol"] or f"({cell(row['afi'])})"),
            plain("state", "state"),
            timed("up for", "registered_for_s"),
            timed("next try", "next_attempt_in_s"),
            Column(
                "answered",
                lambda row: f"{row['replies_received']}/{row['requests_sent']}",
                right=True,
            ),
        ),
        "no next hop servers: this is a hub, or an [[interface.NAME.nhs]] is missing",
        _nhs_legend,
    ),
    "shortcuts": Table(
        (
            INTERFACE,
            plain("prefix", "prefix"),
            plain("via", "via"),
            plain("nbma", "nbma"),
            Column("identity", lambda row: cell(row["identity"]), optional=True),
            plain("state", "state"),
            Column("path", lambda row: cell(row["path"]), optional=True),
            Column("rtt", _round_trip, right=True, optional=True),
            plain("used", "used"),
            EXPIRES,
        ),
        "no shortcuts: all traffic takes the routed path",
        _shortcut_legend,
    ),
    "interfaces": Table(
        (
            INTERFACE,
            Column("state", _interface_state),
            plain("addresses", "addresses"),
            plain("nbma", "nbma"),
            plain("underlay", "underlay"),
            plain("network", "network_id", right=True),
            plain("key", "key", right=True),
            plain("mtu", "mtu", right=True),
            timed("holding time", "holding_time_s"),
            Column("does", _roles),
        ),
        "no interfaces are configured",
        _interfaces_legend,
    ),
    "peers": Table(
        (
            INTERFACE,
            plain("nbma", "nbma"),
            plain("our nbma", "local_nbma"),
            plain("protocol", "protocol"),
            plain("ipsec", "ipsec"),
            Column("identity", lambda row: cell(row["identity"]), optional=True),
            Column("path", lambda row: cell(row["path"]), optional=True),
            Column("rtt", _round_trip, right=True, optional=True),
            Column("bytes in/out", _octets, right=True, optional=True),
            timed("up for", "up_for_s"),
        ),
        "no peers",
        _peers_legend,
    ),
    "sas": Table(
        (
            plain("nbma", "nbma"),
            plain("our nbma", "local_nbma"),
            plain("identity", "identity"),
            Column("sa", _sa),
            plain("state", "state"),
            Column("flags", _sa_flags),
            Column("spi in/out", lambda row: f"{cell(row['spi_in'])}/{cell(row['spi_out'])}"),
            Column(
                "packets in/out",
                lambda row: f"{row['packets_in']}/{row['packets_out']}",
                right=True,
            ),
            timed("age", "established_s"),
            timed("rekey in", "rekey_in_s"),
        ),
        "no security associations: no interface is protected, or charon has none",
        _sa_legend,
    ),
    "traffic": Table(
        (
            INTERFACE,
            plain("afi", "afi"),
            plain("direction", "direction"),
            plain("type or reason", "type"),
            plain("packets", "packets", right=True),
        ),
        "no packets yet",
        _nothing,
    ),
    "probes": Table(
        (
            INTERFACE,
            plain("family", "afi"),
            plain("sent", "sent", right=True),
            plain("answered", "answered", right=True),
            plain("proven", "proven", right=True),
            plain("failed", "failed", right=True),
            Column("mean rtt", _mean_round_trip, right=True),
        ),
        "no probes: path-check is off, or no interface is configured",
        lambda _: ["proven, failed: how often a direct path was found to carry, and not to"],
    ),
    "problems": Table(
        (
            INTERFACE,
            plain("kind", "kind"),
            plain("nbma", "nbma"),
            plain("of", "subject"),
            plain("reason", "reason"),
        ),
        "no problems are known here; nhrpctl check looks at the machine",
        _words("kind", PROBLEM_KINDS),
    ),
    "routes": Table(
        (
            INTERFACE,
            plain("prefix", "prefix"),
            plain("via", "via"),
            plain("kind", "kind"),
        ),
        "no routes: nothing was registered or resolved that needs one",
        _words("kind", ROUTE_KINDS),
    ),
    "config": Table(
        (plain("setting", "path"), plain("value", "value")), "nothing is configured", _nothing
    ),
}
