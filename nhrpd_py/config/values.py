"""Checks of single values of the configuration file.

Each function returns the value as the configuration has it, or raises ValueError with a sentence
about the error.
"""

import re
from collections.abc import Callable

from nhrpd_py.core.address import (
    Address,
    format_address,
    is_link_local,
    is_unicast,
    parse_address,
    parse_prefix,
)
from nhrpd_py.core.config import MULTICAST_DYNAMIC, MULTICAST_NHS, ProfileValue

MAX_INTERFACE_NAME = 15
MAX_SOCKET_PATH = 107
"""Octets of sun_path without its closing zero."""
MAX_AUTHENTICATION = 8
MAX_PATH_CHECK_S = 60
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
    """Makes a check that a number lies within two bounds, both allowed."""

    def check(value: int) -> int:
        if not low <= value <= high:
            raise ValueError(f"must be {low}..{high}, not {value}")
        return value

    return check


def path_check(value: int | bool) -> int | bool:
    """Accepts the seconds between two checks of a path, or false for none."""
    if value is True or not (value is False or 1 <= value <= MAX_PATH_CHECK_S):
        raise ValueError(f"must be 1..{MAX_PATH_CHECK_S} or false, not {str(value).lower()}")
    return value


def interface_name(value: str) -> str:
    """Accepts names of netdevs that the kernel accepts."""
    if not 1 <= len(value.encode()) <= MAX_INTERFACE_NAME:
        raise ValueError(f"an interface name has 1..{MAX_INTERFACE_NAME} octets, {value!r} has not")
    if value in {".", ".."} or any(c in "/:" or c.isspace() or not c.isprintable() for c in value):
        raise ValueError(f"{value!r} cannot name an interface")
    return value


def station_address(value: str) -> str:
    """Accepts an address that can belong to one station, and writes it in its canonical form."""
    return format_address(_station(value))


def nbma_or_name(value: str) -> str:
    """Accepts an address or a possible host name."""
    last = value.rstrip(".").rpartition(".")[2]
    if ":" in value or last.isdigit():
        return station_address(value)
    name = value.removesuffix(".")
    if not name or len(name) > MAX_HOST_NAME or not all(map(LABEL.fullmatch, name.split("."))):
        raise ValueError(f"{value!r} is neither an address nor a host name")
    return value


def nhs_protocol(value: str) -> str:
    """Accepts the tunnel address of a server, or `dynamic` where its reply is to tell it."""
    return value if value == "dynamic" else station_address(value)


def multicast_target(value: str) -> str:
    """Accepts `dynamic`, `nhs`, or the outer address of one station."""
    if value in {MULTICAST_DYNAMIC, MULTICAST_NHS}:
        return value
    try:
        return station_address(value)
    except ValueError as error:
        raise ValueError(
            f'{error}; a target is "{MULTICAST_DYNAMIC}", "{MULTICAST_NHS}" or an NBMA address'
        ) from None


def absolute_path(value: str) -> str:
    """Accepts a path that does not depend on where the daemon was started."""
    if not value.startswith("/") or "\0" in value:
        raise ValueError(f"must be an absolute path, not {value!r}")
    return value


def socket_path(value: str) -> str:
    """Accepts a path that the kernel takes as the address of a Unix socket."""
    length = len(absolute_path(value).encode())
    if length > MAX_SOCKET_PATH:
        raise ValueError(f"a socket's path has at most {MAX_SOCKET_PATH} octets, this one {length}")
    return value


def secret(value: str) -> str:
    """Accepts the clear text of Cisco's authentication; the error never repeats the secret."""
    size = len(value.encode())
    if not 1 <= size <= MAX_AUTHENTICATION:
        raise ValueError(f"must have 1..{MAX_AUTHENTICATION} octets, it has {size}")
    if not (value.isascii() and value.isprintable()):
        raise ValueError("must be printable ASCII")
    return value


def route_protocol(value: int) -> int:
    """Accepts a route protocol number that no other program is known to use."""
    between(1, 255)(value)
    owner = ROUTE_PROTOCOLS_OF_OTHERS.get(value)
    if owner is not None:
        raise ValueError(f"{value} is the route protocol of {owner}; choose another")
    return value


def prefix(value: str) -> str:
    """Accepts a network, or an address as a network of one host; refuses set host bits."""
    try:
        network = parse_prefix(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a prefix such as 10.1.0.0/16") from None
    if "/" in value and parse_address(value.partition("/")[0]) != network.address:
        raise ValueError(f"{value!r} has host bits set; the network is {network}")
    return str(network)


def connection_name(value: str) -> str:
    """Accepts names that VICI can carry for a connection, and swanctl.conf for a section."""
    if not 1 <= len(value) <= MAX_VICI_NAME or not value.isascii() or not value.isprintable():
        raise ValueError(f"must have 1..{MAX_VICI_NAME} printable ASCII characters")
    if any(c.isspace() or c in '{}#=:,."' for c in value):
        raise ValueError(f"{value!r} cannot name a connection of swanctl.conf")
    return value


def identity(value: str) -> str:
    """Accepts a possible IKE identity, or a pattern of identities."""
    if not value.strip() or not value.isprintable():
        raise ValueError("must be an IKE identity, such as spoke1.example.net or CN=spoke1")
    return value


def profile_section(section: object, path: str = "") -> dict[str, ProfileValue]:
    """Turns a connection with the keys of swanctl.conf into VICI's form.

    Booleans become `yes` and `no`, numbers become text, lists stay lists.
    """
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
