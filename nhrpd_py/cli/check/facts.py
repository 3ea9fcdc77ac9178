"""What the checks judge: the state of a machine as plain values, with no way to get at it.

A reader fills these in; what it could not read is an `Unread` that says why. Tests write them down.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from nhrpd_py.cli.check.findings import Unread
from nhrpd_py.cli.check.parse.firewall import Rule
from nhrpd_py.core.config import Config, DaemonConfig
from nhrpd_py.runtime.netlink.xfrm import Policy

Row: TypeAlias = Mapping[str, Any]
"""One object of `ip -json` or of the daemon's API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A netdev."""

    name: str
    up: bool
    mtu: int
    flags: frozenset[str] = frozenset()
    kind: str = ""
    """`gre`, `ip6gre`…; empty for one of hardware."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What its kind has: local, remote, link, ttl, ikey, okey."""
    addrgenmode: str = ""
    addresses: tuple[tuple[str, int, str], ...] = ()
    """Address, prefix length and scope each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """Links, routes and settings."""

    links: Mapping[str, Link] | Unread
    routes: Sequence[Row] | Unread = ()
    """`ip -json route show table all` of both families."""
    counted_neighbors: int = 0
    """Neighbour entries that gc_thresh3 limits."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """By the path below /proc/sys; absent where there is none."""
    modules: Mapping[str, bool] | Unread = field(default_factory=dict)
    """Module → whether it is loaded, built in or can be loaded."""
    release: str = ""
    protocols: Mapping[int, str] = field(default_factory=dict)
    """Names of route protocols that iproute2 knows."""
    udp_ports: frozenset[int] | Unread = frozenset()
    """Bound UDP ports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Firewall:
    """Rules that send packets to NFLOG groups, and who listens."""

    rules: Sequence[Rule] | Unread = ()
    tools: frozenset[str] = frozenset()
    """`iptables`, `iptables-legacy`, `nft`…: the commands that work here."""
    listeners: Mapping[int, "Listener"] | Unread = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listener:
    """The process that has bound an NFLOG group."""

    pid: int | None
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipsec:
    """The kernel's side of IPsec."""

    policies: Sequence[Policy] | Unread = ()
    statistics: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate or a CRL; times are seconds since 1970."""

    name: str
    """The file, or the subject."""
    not_before: float
    not_after: float | None
    """None: a CRL without a time for the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charon:
    """What strongSwan says, and what its configuration gives."""

    version: str | Unread
    patched: bool = False
    loaded: frozenset[str] = frozenset()
    """Names of the connections it has."""
    own_with_key: frozenset[bytes] = frozenset()
    """Certificates (DER) whose private key it has."""
    private_keys: int = 0
    authorities: Sequence[Certificate] = ()
    revocations: Sequence[Certificate] = ()
    template: Mapping[str, Mapping[str, Any]] | Unread = field(default_factory=dict)
    """The connections of swanctl.conf, as VICI has them."""
    template_problems: Sequence[str] = ()
    own: Mapping[str, Mapping[str, Any] | Unread] = field(default_factory=dict)
    """The connections of our own file, likewise."""
    files: Mapping[bytes, str] = field(default_factory=dict)
    """Certificates below swanctl's x509 directory (DER) → file."""
    closed_to_daemon: str | None = None
    """Who may use the socket, if the daemon's user may not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """The daemon's process."""

    pid: int
    user: str
    capabilities: int | None
    elsewhere: bool = False
    """It is in another network namespace than nhrpctl."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """What a running daemon says."""

    status: Row
    process: Process | None = None
    views: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    socket_mode: int = 0o660

    @property
    def counters(self) -> Mapping[str, Mapping[str, int]]:
        return self.status.get("counters") or {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """What FRR or BIRD says; None where it is not there."""

    frr_kernel: frozenset[str] | Unread | None = None
    """Prefixes that zebra has from the kernel."""
    frr_bgp: frozenset[str] | None = None
    """Prefixes in BGP's table; None: no bgpd."""
    asn: int = 0
    vtysh: str = "vtysh"
    bird_kernel: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything."""

    config: Config
    file: str
    now: float
    version: str
    kernel: Kernel
    firewall: Firewall = field(default_factory=Firewall)
    ipsec: Ipsec = field(default_factory=Ipsec)
    charon: Charon | None = None
    """None: nothing is protected by IPsec."""
    daemon: Daemon | Unread
    socket: str = DaemonConfig().control_socket
    """Where the daemon was asked."""
    unit: str = "nhrpd"
    """The systemd unit that runs it."""
    routing: Routing = field(default_factory=Routing)
    names: Mapping[str, Sequence[str] | Unread] = field(default_factory=dict)
    """Host names of the configuration → addresses."""
    clock_synchronised: bool | None = None

    def view(self, name: str) -> Sequence[Row]:
        """A view of the daemon, empty without one."""
        return self.daemon.views.get(name, ()) if isinstance(self.daemon, Daemon) else ()

    @property
    def running(self) -> bool:
        return isinstance(self.daemon, Daemon)
