"""The configuration that the engine and the runtime obey: plain frozen values.

`nhrpd_py.config.load` makes one of these from a TOML file and reports every mistake in it; nothing here reads
anything. Field names are the file's keys with `-` as `_`, and durations carry their unit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from nhrpd_py import paths
from nhrpd_py.core.address import Address, Prefix

DEFAULT_HOLDING_TIME_S = 600
MAX_HOLDING_TIME_S = 65535
"""ar$holding time is 16 bits wide (RFC 2332 §5.2.0.1)."""
DEFAULT_LONGEST_HOLDING_TIME_S = 7200
"""What peers may ask for at most; the holding time that Cisco's routers ask for."""
MIN_HOLDING_TIME_S = 3
"""A third of it is the renewal interval; below one second a spoke would be a flood."""

MULTICAST_DYNAMIC = "dynamic"
"""Among the targets of multicast: the clients that registered with us."""
MULTICAST_NHS = "nhs"
"""Among the targets of multicast: the servers that accepted our registration."""
DEFAULT_MULTICAST_RATE = 1000


class ConfigError(Exception):
    """The configuration cannot be used. `problems` are complete lines for people."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Secret:
    """A pass phrase; its text is in no `repr` and so in no log line."""

    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NhsConfig:
    """A next hop server of ours. `protocol` None means `dynamic`: learnt from its reply."""

    protocol: Address | None
    nbma: str
    """An address or a host name; each address of the name is one NHS."""
    priority: int = 0
    """0–255; lower is preferred. A worse one is used only while no better one of its cluster is up."""
    cluster: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MapConfig:
    """A static binding of the configuration."""

    protocol: Address
    nbma: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class IpsecConfig:
    """What protects an interface: a connection of swanctl.conf, or one of ours ([profile.NAME])."""

    profile: str
    """The connection, and the name of its CHILD_SA, that is cloned for each peer."""
    fallback_profile: str | None = None
    """Tried in turn after an attempt with `profile` failed."""
    peer_identity: str | None = None
    """The IKE identity that peers other than servers must have (wildcards as in swanctl.conf). None: the profile's,
    or `%any` where the profile names one exact identity, which no other peer can have."""


class Unlisted(StrEnum):
    """What a peer whose identity no rule names may claim."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizeRule:
    """What peers of an identity may claim. All rules whose pattern matches add up."""

    identity: str
    """A pattern for the authenticated IKE identity: `*` and `?` stand for any text and one character."""
    protocol: tuple[Prefix, ...] | None = None
    """Tunnel addresses that it may register and answer with. None: any."""
    prefixes: tuple[Prefix, ...] | None = None
    """Networks that may lie behind it; its tunnel addresses are always among them. None: any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizeConfig:
    """Who may claim what on a protected interface."""

    rules: tuple[AuthorizeRule, ...] = ()
    unlisted: Unlisted = Unlisted.ALLOW
    certificate: bool = False
    """The address blocks (RFC 3779) of the peer's certificate are the policy, instead of rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceConfig:
    """One mGRE netdev that speaks NHRP."""

    name: str
    network_id: int
    """1–4294967295. Local meaning only: interfaces of one number are one cloud."""
    holding_time_s: int = DEFAULT_HOLDING_TIME_S
    max_holding_time_s: int = DEFAULT_LONGEST_HOLDING_TIME_S
    """A peer that asks for longer gets this; at least `holding_time_s`."""
    overlay: tuple[Prefix, ...] = ()
    """The cloud's own addresses: none other is believed to be a tunnel address, in a family that it names any of."""
    authenticated_purge: bool = False
    """A client that has another outer address now may take its registration back if it knows the pass phrase."""
    tunnel_source: str | None = None
    """The link to take our NBMA address from where the tunnel has no local address."""
    shortcut: bool = False
    """Follow Traffic Indications and answer Resolution Requests for what lies behind us."""
    redirect: bool = False
    """Send Traffic Indications for what we relay within the cloud."""
    path_check_s: int | None = None
    """1–60: paths between spokes are proven before traffic takes them, and checked this often while in use. None: they
    are believed."""
    unique: bool = False
    authentication: Secret | None = None
    """Cisco clear text, 1–8 octets."""
    nhs: tuple[NhsConfig, ...] = ()
    maps: tuple[MapConfig, ...] = ()
    ipsec: IpsecConfig | None = None
    """None: what protects the tunnel, if anything, is not our business."""
    multicast: tuple[str | Address, ...] = ()
    """Who gets a copy of the multicast that leaves by the tunnel: MULTICAST_DYNAMIC, MULTICAST_NHS, NBMA addresses."""
    multicast_rate: int = DEFAULT_MULTICAST_RATE
    """Multicast packets a second that are replicated; more are dropped."""
    source_filter: bool | None = None
    """What comes out of a peer's SA from an inner source that is not the peer's is dropped. None: it is only counted.
    False: nobody looks."""
    authorize: AuthorizeConfig = field(default_factory=AuthorizeConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonConfig:
    control_socket: str = paths.CONTROL_SOCKET
    control_group: str | None = None
    """The group that may talk to the socket besides its owner."""
    state_directory: str = paths.STATE_DIRECTORY
    log_level: str = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class NflogConfig:
    redirect_group: int = 1
    """The NFLOG group (1–65535) whose packets deserve a Traffic Indication."""
    multicast_group: int = 2
    """The NFLOG group whose packets are multicast to replicate. Nobody listens where no interface has `multicast`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutesConfig:
    protocol: int = 208
    """Route protocol number of what we install; also marks our neighbours (NDA_PROTOCOL)."""
    metric: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ViciConfig:
    """How to reach strongSwan's charon, and where its profiles are."""

    socket: str = "/run/charon.vici"
    swanctl_config: str = "/etc/swanctl/swanctl.conf"
    """The file that profiles are taken from, read by the `swanctl` command itself."""


ProfileValue: TypeAlias = "str | tuple[str, ...] | Mapping[str, ProfileValue]"
"""A value of a profile as VICI has it: text, a list, or a section."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    daemon: DaemonConfig = field(default_factory=DaemonConfig)
    nflog: NflogConfig = field(default_factory=NflogConfig)
    routes: RoutesConfig = field(default_factory=RoutesConfig)
    vici: ViciConfig = field(default_factory=ViciConfig)
    profiles: Mapping[str, Mapping[str, ProfileValue]] = field(default_factory=dict)
    """Connections of our own file ([profile.NAME]), with the keys of swanctl.conf; they beat its connections."""
    interfaces: Mapping[str, InterfaceConfig] = field(default_factory=dict)
