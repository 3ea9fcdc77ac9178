"""The shape of the configuration file: one pydantic model a table, keys as people write them.

Only `nhrpd_py.config.load` uses this. Each model checks its own values and turns itself into the
frozen value of `core.config`; what concerns several tables at once is checked by the loader.
Messages are sentences without the path, which the loader puts in front.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from nhrpd_py.core.address import (
    Address,
    Prefix,
    format_address,
    is_link_local,
    is_unicast,
    parse_address,
    parse_prefix,
)
from nhrpd_py.core.config import (
    DEFAULT_HOLDING_TIME_S,
    MAX_HOLDING_TIME_S,
    MIN_HOLDING_TIME_S,
    AuthorizeConfig,
    AuthorizeRule,
    Config,
    DaemonConfig,
    InterfaceConfig,
    IpsecConfig,
    MapConfig,
    NflogConfig,
    NhsConfig,
    ProfileValue,
    RoutesConfig,
    Secret,
    Unlisted,
    ViciConfig,
)
from nhrpd_py.paths import control_socket, state_directory

MAX_INTERFACE_NAME = 15
MAX_SOCKET_PATH = 107
"""sun_path less its closing zero."""
MAX_AUTHENTICATION = 8
MAX_HOST_NAME = 253
MAX_VICI_NAME = 64
LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
ROUTE_PROTOCOLS_OF_OTHERS = {
    1: "ICMP redirects",
    2: "the kernel",
    3: "the boot scripts",
    4: "static routes",
    42: "babeld",
    **dict.fromkeys(range(186, 200), "a routing daemon (BGP, IS-IS, OSPF, RIP…)"),
}


def between(low: int, high: int) -> Callable[[int], int]:
    """A check that a number lies within two bounds, both allowed."""

    def check(value: int) -> int:
        if not low <= value <= high:
            raise ValueError(f"must be {low}..{high}, not {value}")
        return value

    return check


def interface_name(value: str) -> str:
    """Accepts what the kernel accepts as the name of a netdev."""
    if not 1 <= len(value.encode()) <= MAX_INTERFACE_NAME:
        raise ValueError(f"an interface name has 1..{MAX_INTERFACE_NAME} octets, {value!r} has not")
    if value in {".", ".."} or any(c in "/:" or c.isspace() or not c.isprintable() for c in value):
        raise ValueError(f"{value!r} cannot name an interface")
    return value


def station_address(value: str) -> str:
    """Accepts an address that can belong to one station, and writes it in its canonical form."""
    return format_address(_station(value))


def nbma_or_name(value: str) -> str:
    """Accepts an address or what could be a host name."""
    last = value.rstrip(".").rpartition(".")[2]
    if ":" in value or last.isdigit():
        return station_address(value)
    name = value.removesuffix(".")
    if not name or len(name) > MAX_HOST_NAME or not all(map(LABEL.fullmatch, name.split("."))):
        raise ValueError(f"{value!r} is neither an address nor a host name")
    return value


def nhs_protocol(value: str) -> str:
    return value if value == "dynamic" else station_address(value)


def absolute_path(value: str) -> str:
    if not value.startswith("/") or "\0" in value:
        raise ValueError(f"must be an absolute path, not {value!r}")
    return value


def socket_path(value: str) -> str:
    length = len(absolute_path(value).encode())
    if length > MAX_SOCKET_PATH:
        raise ValueError(f"a socket's path has at most {MAX_SOCKET_PATH} octets, this one {length}")
    return value


def secret(value: str) -> str:
    """Accepts Cisco's clear text; its complaint must not repeat the secret."""
    size = len(value.encode())
    if not 1 <= size <= MAX_AUTHENTICATION:
        raise ValueError(f"must have 1..{MAX_AUTHENTICATION} octets, it has {size}")
    if not (value.isascii() and value.isprintable()):
        raise ValueError("must be printable ASCII")
    return value


def route_protocol(value: int) -> int:
    between(1, 255)(value)
    owner = ROUTE_PROTOCOLS_OF_OTHERS.get(value)
    if owner is not None:
        raise ValueError(f"{value} is the route protocol of {owner}; choose another")
    return value


def prefix(value: str) -> str:
    """Accepts a network, or an address for a network of one; complains where host bits are set."""
    try:
        network = parse_prefix(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a prefix such as 10.1.0.0/16") from None
    if "/" in value and parse_address(value.partition("/")[0]) != network.address:
        raise ValueError(f"{value!r} has host bits set; the network is {network}")
    return str(network)


def connection_name(value: str) -> str:
    """Accepts what VICI can carry as the name of a connection, and swanctl.conf as that of a section."""
    if not 1 <= len(value) <= MAX_VICI_NAME or not value.isascii() or not value.isprintable():
        raise ValueError(f"must have 1..{MAX_VICI_NAME} printable ASCII characters")
    if any(c.isspace() or c in '{}#=:,."' for c in value):
        raise ValueError(f"{value!r} cannot name a connection of swanctl.conf")
    return value


def identity(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("must be an IKE identity, such as spoke1.example.net or CN=spoke1")
    return value


def profile_section(section: object, path: str = "") -> dict[str, ProfileValue]:
    """Reads a connection in the words of swanctl.conf, for VICI: yes and no for true and false, text for
    numbers, lists as they are."""
    if not isinstance(section, dict):
        raise ValueError(f"{path} must be a table")  # noqa: TRY004 (pydantic takes ValueError)
    return {
        key: _profile_value(value, f"{path}.{key}".lstrip(".")) for key, value in section.items()
    }


def _profile_value(value: object, path: str) -> ProfileValue:
    match value:
        case bool():
            return "yes" if value else "no"
        case int() | str():
            return str(value)
        case list() if all(isinstance(each, str | int) for each in value):
            return tuple(str(_profile_value(each, path)) for each in value)
        case dict():
            return profile_section(value, path)
        case _:
            raise ValueError(f"{path} must be text, a number, true, false, a list or a table")


def _station(text: str) -> Address:
    try:
        address = parse_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an IPv4 or IPv6 address") from None
    if not is_unicast(address) or is_link_local(address):
        raise ValueError(f"{text!r} cannot be the address of one station of the network")
    return address


HoldingTime = Annotated[int, AfterValidator(between(MIN_HOLDING_TIME_S, MAX_HOLDING_TIME_S))]
NflogGroup = Annotated[int, AfterValidator(between(1, 65535))]
PrefixText = Annotated[str, AfterValidator(prefix)]
ConnectionName = Annotated[str, AfterValidator(connection_name)]
Identity = Annotated[str, AfterValidator(identity)]
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
        return [str(field.alias or name) for name, field in cls.model_fields.items()]


class NhsTable(Table):
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
    protocol: StationAddress
    nbma: StationAddress

    def value(self) -> MapConfig:
        return MapConfig(protocol=parse_address(self.protocol), nbma=parse_address(self.nbma))


class IpsecTable(Table):
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
    identity: Identity
    protocol: list[PrefixText] | None = None
    prefixes: list[PrefixText] | None = None

    def value(self) -> AuthorizeRule:
        return AuthorizeRule(
            identity=self.identity,
            protocol=_prefixes(self.protocol),
            prefixes=_prefixes(self.prefixes),
        )


def _prefixes(texts: list[str] | None) -> tuple[Prefix, ...] | None:
    return None if texts is None else tuple(map(parse_prefix, texts))


class InterfaceTable(Table):
    network_id: Annotated[int, AfterValidator(between(1, 0xFFFFFFFF))]
    holding_time: HoldingTime = DEFAULT_HOLDING_TIME_S
    tunnel_source: Annotated[str, AfterValidator(interface_name)] | None = None
    shortcut: bool = False
    redirect: bool = False
    unique: bool = False
    authentication: Annotated[str, AfterValidator(secret)] | None = Field(default=None, repr=False)
    nhs: list[NhsTable] = []
    map: list[MapTable] = []
    ipsec: IpsecTable | None = None
    authorize: list[AuthorizeTable] = []

    def value(self, name: str) -> InterfaceConfig:
        password = self.authentication
        return InterfaceConfig(
            name=name,
            network_id=self.network_id,
            holding_time_s=self.holding_time,
            tunnel_source=self.tunnel_source,
            shortcut=self.shortcut,
            redirect=self.redirect,
            unique=self.unique,
            authentication=None if password is None else Secret(password.encode()),
            nhs=tuple(nhs.value() for nhs in self.nhs),
            maps=tuple(entry.value() for entry in self.map),
            ipsec=None if self.ipsec is None else self.ipsec.value(),
            authorize=self._policy(),
        )

    def _policy(self) -> AuthorizeConfig:
        """Where somebody is named, nobody else is let in unless that is said."""
        if self.ipsec is None:
            return AuthorizeConfig()
        unlisted = self.ipsec.unlisted or ("deny" if self.authorize else "allow")
        return AuthorizeConfig(
            rules=tuple(rule.value() for rule in self.authorize),
            unlisted=Unlisted(unlisted),
            certificate=self.ipsec.authorize == "certificate",
        )


class DaemonTable(Table):
    control_socket: Annotated[str, AfterValidator(socket_path)] = Field(
        default_factory=control_socket, validate_default=True
    )
    control_group: str | None = None
    state_directory: Annotated[str, AfterValidator(absolute_path)] = Field(
        default_factory=state_directory, validate_default=True
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class NflogTable(Table):
    redirect_group: NflogGroup = NflogConfig().redirect_group


class RoutesTable(Table):
    protocol: Annotated[int, AfterValidator(route_protocol)] = RoutesConfig().protocol
    metric: Annotated[int, AfterValidator(between(1, 0xFFFFFFFF))] = RoutesConfig().metric


class ViciTable(Table):
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
    """The model of the table at a path of the file, to suggest its keys."""
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
