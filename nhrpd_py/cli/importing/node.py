"""What was read of another system's configuration: the tunnels, IPsec and routing of one node.

The readers fill it, the writers turn it into files. Nothing of any one system is in it.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

Value: TypeAlias = bool | int | str | list[str] | list[int]
Section: TypeAlias = "dict[str, str | Section]"
"""A section of swanctl.conf."""


@dataclass(slots=True)
class Setting:
    """A value of nhrpd.toml, and the comment that stands behind it."""

    value: Value
    remark: str = ""


@dataclass(slots=True)
class Server:
    """A next hop server."""

    protocol: str
    nbma: str
    where: str
    priority: int | None = None
    cluster: int | None = None
    remark: str = ""


@dataclass(slots=True)
class Binding:
    """A static binding."""

    protocol: str
    nbma: str
    where: str
    serves: bool = False
    """It only tells where a server is, and is no `map` of ours."""


@dataclass(slots=True)
class Device:
    """How the tunnel's netdev is made."""

    known: bool = False
    """The configuration makes the netdev; else it exists, and stays as it is."""
    key: int | None = None
    ttl: int = 64
    local: str | None = None
    link: str | None = None
    link_remark: str = ""
    addresses: list[str] = field(default_factory=list)
    mtu: int | None = None
    mss: int | None = None
    mss6: int | None = None


@dataclass(slots=True)
class Tunnel:
    """A tunnel that speaks NHRP, or only is there until NHRP is found on it."""

    name: str
    netdev: str
    device: Device = field(default_factory=Device)
    settings: dict[str, Setting] = field(default_factory=dict)
    servers: list[Server] = field(default_factory=list)
    bindings: list[Binding] = field(default_factory=list)
    tables: dict[str, list[dict[str, Setting]]] = field(default_factory=dict)
    """Further arrays of tables below the interface, such as `cluster`."""
    underlay: tuple[str, str] | None = None
    """The family of its outer addresses, and where the first of them stands."""
    known: dict[tuple[str, str], str] = field(default_factory=dict)
    """Servers (both addresses) and bindings (the second empty) that there are → where they stand."""
    unplaced_servers: list[tuple[Server, "Said"]] = field(default_factory=list)
    """Servers without an outer address of their own: a binding has it."""
    profile: Setting | None = None
    fallback_profile: Setting | None = None
    routing: list[str] = field(default_factory=list)
    """Lines of routing protocols for the interface, as FRR has them."""
    speaks_nhrp: bool = False
    carries_ipv6: bool = False
    """NHRP for IPv6 is on."""
    multipoint: bool | None = None
    remote: str | None = None
    """The one other end of a tunnel that is not multipoint."""
    source_name: str | None = None
    """The source as another system names it: to be found among its links."""
    first: "Said | None" = None
    """The first line that concerns NHRP on it."""

    @property
    def is_hub(self) -> bool:
        return not self.servers

    def has(self, key: str) -> bool:
        setting = self.settings.get(key)
        return setting is not None and setting.value is True


@dataclass(frozen=True, slots=True)
class Said:
    """A line of an input."""

    file: str
    line: int
    text: str

    def where(self, *, with_file: bool) -> str:
        return f"{self.file} line {self.line}" if with_file else f"line {self.line}"


@dataclass(frozen=True, slots=True)
class Leftover:
    """A line that was not carried over, and why not: a sentence."""

    said: Said
    reason: str
    interface: str = ""
    """The interface that it is about: where that turns out to be no tunnel, the line does not matter."""


@dataclass(slots=True)
class Secret:
    """A pre-shared key, and the identities or addresses that share it (none: everybody)."""

    key: str
    owners: list[str]


@dataclass(slots=True)
class Connection:
    """A connection of swanctl.conf, as sections, with remarks for people above it."""

    name: str
    section: Section
    remarks: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Node:
    """All that was read."""

    system: str
    tunnels: dict[str, Tunnel] = field(default_factory=dict)
    general: dict[tuple[str, str], Setting] = field(default_factory=dict)
    """Settings outside of interfaces: (table, key)."""
    connections: dict[str, Connection] = field(default_factory=dict)
    secrets: list[Secret] = field(default_factory=list)
    parts: dict[tuple[str, str], dict[str, list[str]]] = field(default_factory=dict)
    """Words of IPsec that are put together at the end: (kind, name) → key → values."""
    routing: list[str] = field(default_factory=list)
    """Lines for FRR's zebra and its routing daemons."""
    announced: set[str] = field(default_factory=set)
    """Families (ipv4, ipv6) in which the routing lines announce the tunnel addresses that nhrpd puts into
    the kernel."""
    sampling: str | None = None
    """The rule that samples, where the input has one."""
    leftovers: list[Leftover] = field(default_factory=list)
    aside: list[Said] = field(default_factory=list)
    """Lines that are not about the tunnel."""
    notes: dict[str, None] = field(default_factory=dict)
    """What people should know, that no line of the input stands for."""
    hidden: set[str] = field(default_factory=set)
    """Pass phrases that were met: they appear in no comment."""

    def tunnel(self, name: str) -> Tunnel:
        if name not in self.tunnels:
            self.tunnels[name] = Tunnel(name, netdev_name(name))
        return self.tunnels[name]

    def note(self, sentence: str) -> None:
        self.notes[sentence] = None

    def part(self, kind: str, name: str) -> dict[str, list[str]]:
        return self.parts.setdefault((kind, name), {})

    @property
    def speakers(self) -> list[Tunnel]:
        return [tunnel for tunnel in self.tunnels.values() if tunnel.speaks_nhrp]


def netdev_name(name: str) -> str:
    """Returns the name that a netdev of Linux gets: in lower case, without what shells and files
    would stumble over."""
    name = name.replace(" ", "").lower()
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "-" for c in name)
    return plain.lstrip("-.")[:15] or "gre1"
