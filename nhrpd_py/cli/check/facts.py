"""What the checks judge: the state of a machine as plain values.

`read` fills them in, `parse` makes some of them out of text, and `judge` looks at nothing else.
What could not be read is an `Unread` that says why. Tests write the values down.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from nhrpd_py.cli.check.findings import Unread
from nhrpd_py.core.config import Config
from nhrpd_py.runtime.netlink.xfrm import Policy

Row: TypeAlias = Mapping[str, Any]
"""One object of `ip -json` or of the daemon's API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A netdev, as `ip -details link` and `ip address` show it."""

    name: str
    up: bool
    mtu: int
    index: int = 0
    flags: frozenset[str] = frozenset()
    kind: str = ""
    """`gre`, `ip6gre`, `bridge`…; empty for hardware and loopback."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """The parameters of its kind; of a tunnel local, remote, link, ttl, ikey, okey."""
    master: str = ""
    """The bridge, bond or VRF that it is part of."""
    addrgenmode: str = ""
    addresses: tuple[tuple[str, int, str], ...] = ()
    """Each is an address, its prefix length and its scope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFacts:
    """What the kernel has: links, routes, settings, modules, ports."""

    links: Mapping[str, Link] | Unread
    routes: Sequence[Row] | Unread = ()
    """`ip -json route show table all` of both families."""
    counted_neighbors: int = 0
    """How many of the neighbour entries gc_thresh3 limits."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """Settings by their path below /proc/sys; those that the kernel lacks are absent."""
    modules: Mapping[str, bool] | Unread = field(default_factory=dict)
    """Whether a module is loaded, built in or can be loaded, by its name."""
    release: str = ""
    protocols: Mapping[int, str] = field(default_factory=dict)
    """The names that iproute2 has for route protocols."""
    udp_ports: frozenset[int] | Unread = frozenset()
    """The UDP ports that somebody has bound."""
    ways: Mapping[tuple[str, str], Row] = field(default_factory=dict)
    """The kernel's route to a peer's outer address from one of ours, by both (`ip route get`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingRule:
    """A firewall rule that sends forwarded packets to an NFLOG group.

    `inputs` and `outputs` are interface names, in which `*` stands for any text; None is any
    interface.
    """

    tool: str
    """The command that lists the rule: `iptables-legacy`, `nft`…"""
    family: str
    """`ip`, `ip6` or `inet`."""
    group: int
    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None
    packets: int | None = None
    """None: it has no counter."""
    range_only: bool = False
    """It has --nflog-range, which never had an effect, and no --nflog-size."""
    size: int | None = None
    """The octets of a packet that it gives; None: all."""
    limited: bool = False
    """It asks for a rate, so that it does not see all."""

    def samples(self, interface: str) -> bool:
        """Tells whether the rule sees packets that go from an interface back into it."""
        return all(
            patterns is None or any(fnmatchcase(interface, pattern) for pattern in patterns)
            for patterns in (self.inputs, self.outputs)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What a firewall rule asks of a packet, as far as the checks understand it; None is any.

    In names of interfaces `*` stands for any text, and a `!` in front for all others.
    """

    families: frozenset[str] | None = None
    """`ip` and `ip6`"""
    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None
    protocols: frozenset[str] | None = None
    """Names as in /etc/protocols, in small letters; numbers where they have no name here."""
    ports: tuple[tuple[int, int], ...] | None = None
    """Ranges of destination ports."""
    destinations: tuple[str, ...] | None = None
    """Prefixes of destination addresses; a `!` in front of all of them for any other."""
    states: frozenset[str] | None = None
    """States of connections: new, established, related, invalid…"""
    more: bool = False
    """It asks something else as well."""


class Verdict(StrEnum):
    """What a firewall rule does with a packet."""

    ACCEPT = "accept"
    DROP = "drop"
    RETURN = "return"
    JUMP = "jump"
    GOTO = "goto"
    NONE = ""
    """The next rule follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterRule:
    """A rule of the packet filter."""

    text: str
    """How the tool writes it, or where it stands."""
    conditions: Conditions = Conditions()
    verdict: Verdict = Verdict.NONE
    target: str = ""
    """The chain that follows."""
    sample: SamplingRule | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseChain:
    """A chain that the kernel begins with, and the chains that its rules may lead to."""

    tool: str
    family: str
    table: str
    name: str
    hook: str
    """prerouting | input | forward | output | postrouting"""
    drops: bool = False
    """Its policy drops what no rule decides."""
    chains: Mapping[str, Sequence[FilterRule]]

    @property
    def rules(self) -> Sequence[FilterRule]:
        return self.chains.get(self.name, ())


@dataclass(frozen=True, slots=True)
class Listener:
    """The process that has bound an NFLOG group."""

    pid: int | None
    """None: its process cannot be seen."""
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FirewallFacts:
    """The rules that send packets to NFLOG groups, who listens to the groups, and all base chains."""

    rules: Sequence[SamplingRule] | Unread = ()
    chains: Sequence[BaseChain] = ()
    tools: frozenset[str] = frozenset()
    """The commands that work here: `iptables`, `iptables-legacy`, `nft`…"""
    listeners: Mapping[int, Listener] | Unread = field(default_factory=dict)
    saved: Mapping[str, str] = field(default_factory=dict)
    """What `iptables-save` prints, by the command without `-save`."""
    ruleset: Mapping[str, Any] = field(default_factory=dict)
    """What `nft -j list ruleset` prints."""
    routing_rules: Sequence[Row] = ()
    """`ip -json rule`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IpsecFacts:
    """What the kernel has of IPsec: its policies and its counters."""

    policies: Sequence[Policy] | Unread = ()
    statistics: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate or a CRL: whose it is, and when it is valid, in seconds since 1970."""

    name: str
    """The common name of a certificate's subject, or of a CRL's issuer."""
    not_before: float
    not_after: float | None
    """When a certificate expires, or the next CRL is due; None: a CRL does not say."""
    der: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CharonFacts:
    """What charon says over VICI, and what swanctl makes of its files."""

    version: str | Unread
    patched: bool = False
    loaded: frozenset[str] = frozenset()
    """Names of the connections that charon has."""
    own_with_key: frozenset[bytes] = frozenset()
    """Certificates (DER) whose private key charon has."""
    private_keys: int = 0
    authorities: Sequence[Certificate] = ()
    revocations: Sequence[Certificate] = ()
    template: Mapping[str, Mapping[str, Any]] | Unread = field(default_factory=dict)
    """The connections of swanctl.conf, as VICI has them."""
    template_problems: Sequence[str] = ()
    own: Mapping[str, Mapping[str, Any] | Unread] = field(default_factory=dict)
    """The connections of nhrpd's own file ([profile.NAME]), likewise."""
    files: Mapping[bytes, str] = field(default_factory=dict)
    """The file of each certificate (DER) below swanctl's directory x509."""
    closed_to_daemon: str | None = None
    """Who may use the VICI socket, where the daemon's user may not; else None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """The daemon's process, found by its socket."""

    pid: int
    user: str
    capabilities: int | None
    elsewhere: bool = False
    """Whether it is in another network namespace than nhrpctl."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonFacts:
    """What a running daemon says over its socket."""

    status: Row
    process: Process | None = None
    views: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    socket_mode: int = 0o660

    @property
    def counters(self) -> Mapping[str, Mapping[str, int]]:
        return self.status.get("counters") or {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingFacts:
    """What FRR or BIRD has of the kernel's routes; None where it is not there."""

    frr_kernel: frozenset[str] | Unread | None = None
    """Prefixes that zebra has from the kernel."""
    frr_bgp: frozenset[str] | None = None
    """Prefixes in BGP's table; None: no bgpd."""
    asn: int = 0
    vtysh: str = "vtysh"
    bird_kernel: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that the checks judge."""

    config: Config
    file: str
    now: float
    version: str
    kernel: KernelFacts
    firewall: FirewallFacts = field(default_factory=FirewallFacts)
    ipsec: IpsecFacts = field(default_factory=IpsecFacts)
    charon: CharonFacts | None = None
    """None: nothing is protected by IPsec."""
    daemon: DaemonFacts | Unread
    socket: str
    """The socket at which the daemon was asked."""
    unit: str = "nhrpd"
    """The systemd unit that runs the daemon."""
    routing: RoutingFacts = field(default_factory=RoutingFacts)
    names: Mapping[str, Sequence[str] | Unread] = field(default_factory=dict)
    """The addresses of each host name of the configuration."""
    clock_synchronised: bool | None = None

    def view(self, name: str) -> Sequence[Row]:
        """Returns the rows of a view; none where no daemon runs."""
        return self.daemon.views.get(name, ()) if isinstance(self.daemon, DaemonFacts) else ()

    @property
    def running(self) -> bool:
        return isinstance(self.daemon, DaemonFacts)
