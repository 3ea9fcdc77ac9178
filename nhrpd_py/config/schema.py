"""The schema of the configuration file: one pydantic model for each table, with the file's keys.

Only `nhrpd_py.config.load` uses this. Each model checks its own values, and its `value()` returns
the frozen value of `core.config`; the loader checks what concerns several tables. Messages are
sentences without the path, which the loader puts in front.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from nhrpd_py.config.values import (
    absolute_path,
    between,
    connection_name,
    identity,
    interface_name,
    multicast_target,
    nbma_or_name,
    nhs_protocol,
    path_check,
    prefix,
    profile_section,
    route_protocol,
    secret,
    socket_path,
    station_address,
)
from nhrpd_py.core.address import Address, Prefix, parse_address, parse_prefix
from nhrpd_py.core.config import (
    DEFAULT_HOLDING_TIME_S,
    DEFAULT_LONGEST_HOLDING_TIME_S,
    DEFAULT_MULTICAST_RATE,
    MAX_HOLDING_TIME_S,
    MIN_HOLDING_TIME_S,
    MULTICAST_DYNAMIC,
    MULTICAST_NHS,
    AuthorizeConfig,
    AuthorizeRule,
    Config,
    DaemonConfig,
    InterfaceConfig,
    IpsecConfig,
    MapConfig,
    NflogConfig,
    NhsConfig,
    RoutesConfig,
    Secret,
    Unlisted,
    ViciConfig,
)
from nhrpd_py.paths import control_socket, state_directory

HoldingTime = Annotated[int, AfterValidator(between(MIN_HOLDING_TIME_S, MAX_HOLDING_TIME_S))]
PathCheck = Annotated[int | bool, AfterValidator(path_check)]
NflogGroup = Annotated[int, AfterValidator(between(1, 65535))]
PrefixText = Annotated[str, AfterValidator(prefix)]
ConnectionName = Annotated[str, AfterValidator(connection_name)]
Identity = Annotated[str, AfterValidator(identity)]
MulticastTarget = Annotated[str, AfterValidator(multicast_target)]
StationAddress = Annotated[str, AfterValidator(station_address)]


class Table(BaseModel):
    """Any table of the file: keys with `-`, no unknown keys, no conversions between types."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        alias_generator=lambda name: name.replace("_", "-"),
    )

    @classmethod
    def keys(cls) -> list[str]:
        """Returns the keys of the table as the file has them."""
        return [str(field.alias or name) for name, field in cls.model_fields.items()]


class NhsTable(Table):
    """`[[interface.NAME.nhs]]`, a next hop server."""

    protocol: Annotated[str, AfterValidator(nhs_protocol)]
    nbma: Annotated[str, AfterValidator(nbma_or_name)]
    priority: Annotated[int, AfterValidator(between(0, 255))] = 0
    cluster: Annotated[int, AfterValidator(between(0, 65535))] = 0

    def value(self) -> NhsConfig:
        return NhsConfig(
            protocol=None if self.protocol == "dynamic" else parse_address(self.protocol),
            nbma=self.nbma,
            priority=self.priority,
            cluster=self.cluster,
        )


class MapTable(Table):
    """`[[interface.NAME.map]]`, a static binding."""

    protocol: StationAddress
    nbma: StationAddress

    def value(self) -> MapConfig:
        return MapConfig(protocol=parse_address(self.protocol), nbma=parse_address(self.nbma))


class IpsecTable(Table):
    """`[interface.NAME.ipsec]`: what protects the tunnel, and how peers are authorized."""

    profile: ConnectionName
    fallback_profile: ConnectionName | None = None
    peer_identity: Identity | None = None
    authorize: Literal["rules", "certificate"] = "rules"
    unlisted: Literal["allow", "deny"] | None = None

    def value(self) -> IpsecConfig:
        return IpsecConfig(
            profile=self.profile,
            fallback_profile=self.fallback_profile,
            peer_identity=self.peer_identity,
        )


class AuthorizeTable(Table):
    """`[[interface.NAME.authorize]]`: what the peers of an identity may claim."""

    identity: Identity
    protocol: list[PrefixText] | None = None
    prefixes: list[PrefixText] | None = None

    def value(self) -> AuthorizeRule:
        return AuthorizeRule(
            identity=self.identity,
            protocol=_prefixes(self.protocol),
            prefixes=_prefixes(self.prefixes),
        )


def _multicast(texts: list[str]) -> tuple[str | Address, ...]:
    words = (MULTICAST_DYNAMIC, MULTICAST_NHS)
    return tuple(each if each in words else parse_address(each) for each in texts)


def _prefixes(texts: list[str] | None) -> tuple[Prefix, ...] | None:
    return None if texts is None else tuple(map(parse_prefix, texts))


class InterfaceTable(Table):
    """`[interface.NAME]`, a tunnel that speaks NHRP."""

    network_id: Annotated[int, AfterValidator(between(1, 0xFFFFFFFF))]
    holding_time: HoldingTime = DEFAULT_HOLDING_TIME_S
    max_holding_time: HoldingTime = DEFAULT_LONGEST_HOLDING_TIME_S
    overlay: list[PrefixText] = []
    authenticated_purge: bool = False
    path_check: PathCheck = 3
    tunnel_source: Annotated[str, AfterValidator(interface_name)] | None = None
    shortcut: bool = False
    redirect: bool = False
    unique: bool = False
    authentication: Annotated[str, AfterValidator(secret)] | None = Field(default=None, repr=False)
    nhs: list[NhsTable] = []
    map: list[MapTable] = []
    multicast: list[MulticastTarget] = []
    multicast_rate: Annotated[int, AfterValidator(between(1, 1_000_000))] = DEFAULT_MULTICAST_RATE
    ipsec: IpsecTable | None = None
    source_filter: bool | None = None
    authorize: list[AuthorizeTable] = []

    def value(self, name: str) -> InterfaceConfig:
        password = self.authentication
        return InterfaceConfig(
            name=name,
            network_id=self.network_id,
            holding_time_s=self.holding_time,
            max_holding_time_s=self.max_holding_time,
            overlay=tuple(map(parse_prefix, self.overlay)),
            authenticated_purge=self.authenticated_purge,
            path_check_s=int(self.path_check) or None,
            tunnel_source=self.tunnel_source,
            shortcut=self.shortcut,
            redirect=self.redirect,
            unique=self.unique,
            authentication=None if password is None else Secret(password.encode()),
            nhs=tuple(nhs.value() for nhs in self.nhs),
            maps=tuple(entry.value() for entry in self.map),
            ipsec=None if self.ipsec is None else self.ipsec.value(),
            multicast=_multicast(self.multicast),
            multicast_rate=self.multicast_rate,
            source_filter=self.source_filter,
            authorize=self._policy(),
        )

    def _policy(self) -> AuthorizeConfig:
        """Returns who may claim what: with rules, peers that no rule names are denied by default."""
        if self.ipsec is None:
            return AuthorizeConfig()
        unlisted = self.ipsec.unlisted or ("deny" if self.authorize else "allow")
        return AuthorizeConfig(
            rules=tuple(rule.value() for rule in self.authorize),
            unlisted=Unlisted(unlisted),
            certificate=self.ipsec.authorize == "certificate",
        )


class DaemonTable(Table):
    """`[daemon]`: the files of the daemon, and its log."""

    control_socket: Annotated[str, AfterValidator(socket_path)] = Field(
        default_factory=control_socket, validate_default=True
    )
    control_group: str | None = None
    state_directory: Annotated[str, AfterValidator(absolute_path)] = Field(
        default_factory=state_directory, validate_default=True
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class NflogTable(Table):
    """`[nflog]`: the groups that the firewall sends samples to."""

    redirect_group: NflogGroup = NflogConfig().redirect_group
    multicast_group: NflogGroup = NflogConfig().multicast_group


class RoutesTable(Table):
    """`[routes]`: how our routes are marked in the kernel."""

    protocol: Annotated[int, AfterValidator(route_protocol)] = RoutesConfig().protocol
    metric: Annotated[int, AfterValidator(between(1, 0xFFFFFFFF))] = RoutesConfig().metric


class ViciTable(Table):
    """`[vici]`: where charon is, and the file that its profiles are in."""

    socket: Annotated[str, AfterValidator(socket_path)] = ViciConfig().socket
    swanctl_config: Annotated[str, AfterValidator(absolute_path)] = ViciConfig().swanctl_config


Profile = Annotated[dict[str, Any], AfterValidator(profile_section)]


class FileTable(Table):
    """The whole file."""

    daemon: DaemonTable = Field(default_factory=DaemonTable)
    nflog: NflogTable = NflogTable()
    routes: RoutesTable = RoutesTable()
    vici: ViciTable = ViciTable()
    profile: dict[ConnectionName, Profile] = {}
    interface: dict[Annotated[str, AfterValidator(interface_name)], InterfaceTable] = {}

    def value(self) -> Config:
        return Config(
            daemon=DaemonConfig(**self.daemon.model_dump()),
            nflog=NflogConfig(**self.nflog.model_dump()),
            routes=RoutesConfig(**self.routes.model_dump()),
            vici=ViciConfig(**self.vici.model_dump()),
            profiles=self.profile,
            interfaces={name: table.value(name) for name, table in self.interface.items()},
        )


def table_at(location: tuple[Any, ...]) -> type[Table] | None:
    """Returns the model of the table at a path of the file, to suggest its keys."""
    match location:
        case ():
            return FileTable
        case ("daemon",):
            return DaemonTable
        case ("nflog",):
            return NflogTable
        case ("routes",):
            return RoutesTable
        case ("interface", _):
            return InterfaceTable
        case ("vici",):
            return ViciTable
        case ("interface", _, "ipsec"):
            return IpsecTable
        case ("interface", _, "authorize", int()):
            return AuthorizeTable
        case ("interface", _, "nhs", int()):
            return NhsTable
        case ("interface", _, "map", int()):
            return MapTable
        case _:
            return None
