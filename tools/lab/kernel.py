"""Reads a namespace's kernel tables with ip(8), and sets its packet filter."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.lab.namespace import Namespace

RTPROT_BOOT = 3
"""Protocol of routes that ip(8) adds, which it does not print."""


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A neighbour entry of the tunnel."""

    address: str
    nbma: str | None
    state: str
    """REACHABLE, PERMANENT, STALE, FAILED…"""
    protocol: int | None
    """NDA_PROTOCOL: the program that installed it."""


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the main table."""

    prefix: str
    """`default`, or address with length (none for host routes)."""
    via: str | None
    device: str | None
    protocol: int
    metric: int
    mtu: int | None
    kind: str


def read_neighbors(namespace: Namespace, device: str) -> dict[str, Neighbor]:
    """Returns the neighbour entries of a device by address, in every state."""
    rows = namespace.ip_json("-N", "neigh", "show", "nud", "all", "dev", device)
    return {
        row["dst"]: Neighbor(
            address=row["dst"],
            nbma=row.get("lladdr"),
            state=" ".join(row.get("state", [])),
            protocol=_number(row.get("protocol")),
        )
        for row in rows
    }


def read_routes(namespace: Namespace, *, ipv6: bool) -> dict[str, Route]:
    """Returns the main table by prefix; of several, the one with the lowest metric."""
    family = "-6" if ipv6 else "-4"
    found: dict[str, Route] = {}
    for row in namespace.ip_json(family, "-N", "route", "show", "table", "main"):
        route = Route(
            prefix=row["dst"],
            via=row.get("gateway"),
            device=row.get("dev"),
            protocol=_number(row.get("protocol")) or RTPROT_BOOT,
            metric=int(row.get("metric", 0)),
            mtu=_first_metric(row, "mtu"),
            kind=row.get("type", "unicast"),
        )
        known = found.get(route.prefix)
        if known is None or route.metric < known.metric:
            found[route.prefix] = route
    return found


def iptables(namespace: Namespace, rule: str, *, ipv6: bool = False) -> None:
    """Runs iptables, the legacy one if it exists: the guest's kernel supports no other."""
    name = "ip6tables" if ipv6 else "iptables"
    namespace.run(_variant(namespace, name), *rule.split())


def iptables_restore(namespace: Namespace, rules: Path) -> None:
    """Adds the rules of a file with iptables-restore, or ip6tables-restore by the file's name, as
    the comment in its head tells operators to."""
    name = "ip6tables" if rules.name.startswith("ip6") else "iptables"
    variant = "-legacy" if _variant(namespace, name).endswith("-legacy") else ""
    namespace.run(f"{name}{variant}-restore", "--noflush", rules)


def _variant(namespace: Namespace, name: str) -> str:
    legacy = shutil.which(f"{name}-legacy")
    if legacy is not None and shutil.which("nft") is None:
        return legacy
    works = "does" in namespace.run(
        "sh", "-c", f"{name}-legacy -nL >/dev/null 2>&1 && echo does", check=False
    )
    return f"{name}-legacy" if works else name


def _number(text: Any) -> int | None:
    return int(text) if text is not None and str(text).isdigit() else None


def _first_metric(row: dict[str, Any], name: str) -> int | None:
    for metrics in row.get("metrics", []):
        if name in metrics:
            return int(metrics[name])
    return None
