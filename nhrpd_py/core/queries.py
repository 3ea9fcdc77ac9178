"""Operators' queries, which are answered at once and change nothing, and commands to the engine."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from nhrpd_py.core.address import Address, Prefix


class View(StrEnum):
    """The views of `nhrpctl show`; each is a list of rows (see `views`)."""

    CACHE = "cache"
    NHS = "nhs"
    SHORTCUTS = "shortcuts"
    INTERFACES = "interfaces"
    PEERS = "peers"
    TRAFFIC = "traffic"
    PROBES = "probes"
    PROBLEMS = "problems"
    ROUTES = "routes"
    CONFIG = "config"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    view: View
    interface: str | None = None


class FlushWhat(StrEnum):
    CACHE = "cache"
    """Bindings that were learnt (dynamic and cached), with the shortcuts over them; we register anew with our NHSs."""
    SHORTCUTS = "shortcuts"
    """Shortcuts, active, waiting, incomplete and negative, and the cached bindings they brought."""
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flush:
    what: FlushWhat
    interface: str | None = None
    protocol: Prefix | None = None
    nbma: Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolve:
    """Ask for the NBMA address behind an overlay address now, as if traffic had been redirected."""

    address: Address
    interface: str | None = None


Command: TypeAlias = Flush | Resolve
