"""The address plan of all tests, and a site's configuration, links, addresses and routes.

Site N (1 to 254) has the tunnel address 10.255.255.N, the NBMA address 192.168.100.N and the LAN 172.16.N.0/24, as
in the packets that FRR was seen to send. Site 1 is the hub. A router has the same ifindexes at every site.
"""

from dataclasses import dataclass
from typing import TypedDict, Unpack

from nhrpd_py.core.address import Address, Prefix, format_address, parse_address, parse_prefix
from nhrpd_py.core.config import (
    AuthorizeConfig,
    Config,
    InterfaceConfig,
    IpsecConfig,
    MapConfig,
    NhsConfig,
    Secret,
)
from nhrpd_py.core.events import (
    AddressAdded,
    Event,
    GreParameters,
    LinkChanged,
    Route,
    RouteAdded,
)

UNDERLAY = 2
LAN = 3
GRE = 4

SECRET = Secret(b"secret")


@dataclass(frozen=True, slots=True)
class Site:
    """A router's tunnel address, its NBMA address, and the network behind it."""

    number: int
    tunnel: Address
    nbma: Address
    lan: Prefix

    @property
    def host(self) -> Address:
        """A host on the LAN behind the router: the tenth address."""
        return self.on_lan(10)

    @property
    def lan_address(self) -> Address:
        """The router's own address on its LAN: the first address."""
        return self.on_lan(1)

    def on_lan(self, last: int) -> Address:
        """Returns the address on the LAN that ends with `last`."""
        return (int.from_bytes(self.lan.address) + last).to_bytes(len(self.lan.address))


def a_site(number: int, *, ipv6_overlay: bool = False, ipv6_underlay: bool = False) -> Site:
    """Returns site N (1 to 254), of either family in both layers."""
    if ipv6_overlay:
        overlay, lan = f"fd00:ff::{number:x}", f"fd00:{number:x}::/64"
    else:
        overlay, lan = f"10.255.255.{number}", f"172.16.{number}.0/24"
    outer = f"2001:db8::{number:x}" if ipv6_underlay else f"192.168.100.{number}"
    return Site(number, parse_address(overlay), parse_address(outer), parse_prefix(lan))


HUB = a_site(1)
HUB_2 = a_site(2)
SPOKE_1 = a_site(11)
SPOKE_2 = a_site(12)
SPOKE_3 = a_site(13)


def ip(text: str) -> Address:
    """Returns the address of a text."""
    return parse_address(text)


def nbma(number: int) -> Address:
    """Returns the NBMA address of site N."""
    return bytes([192, 168, 100, number])


def tunnel(number: int) -> Address:
    """Returns the tunnel address of site N."""
    return bytes([10, 255, 255, number])


def host(number: int, last: int = 10) -> Address:
    """Returns a host on the LAN of site N."""
    return bytes([172, 16, number, last])


# Configurations.


class InterfaceSettings(TypedDict, total=False):
    """The settings of an interface that a test may give; `an_interface` has the others."""

    network_id: int
    holding_time_s: int
    max_holding_time_s: int
    overlay: tuple[Prefix, ...]
    authenticated_purge: bool
    path_check_s: int | None
    tunnel_source: str | None
    shortcut: bool
    redirect: bool
    unique: bool
    authentication: Secret | None
    nhs: tuple[NhsConfig, ...]
    maps: tuple[MapConfig, ...]
    ipsec: IpsecConfig | None
    authorize: AuthorizeConfig
    source_filter: bool | None
    multicast: tuple[str | Address, ...]
    multicast_rate: int


def an_interface(name: str = "gre1", **settings: Unpack[InterfaceSettings]) -> InterfaceConfig:
    """Returns an interface with network-id 1 and FRR's shortest holding time, 60 s; a hub's without servers."""
    settings = {"network_id": 1, "holding_time_s": 60, **settings}
    return InterfaceConfig(name=name, **settings)


def a_config(**settings: Unpack[InterfaceSettings]) -> Config:
    """Returns a configuration with one interface, gre1, that follows Traffic Indications."""
    settings = {"shortcut": True, **settings}
    return Config(interfaces={"gre1": an_interface(**settings)})


def an_nhs(
    server: Site | str = HUB,
    protocol: Address | None = None,
    priority: int = 0,
    cluster: int = 0,
) -> NhsConfig:
    """Returns an NHS by NBMA address or name; without `protocol` its overlay address is learnt."""
    outer = server if isinstance(server, str) else format_address(server.nbma)
    return NhsConfig(protocol=protocol, nbma=outer, priority=priority, cluster=cluster)


def a_map(protocol: Address, to: Address) -> MapConfig:
    """Returns a static binding of an overlay address to an NBMA address."""
    return MapConfig(protocol=protocol, nbma=to)


# Events of the kernel.


def a_link(ifindex: int = UNDERLAY, name: str = "eth0", *, up: bool = True) -> LinkChanged:
    """Returns a link that is no tunnel."""
    return LinkChanged(ifindex=ifindex, name=name, up=up, mtu=1500)


def a_tunnel_link(
    ifindex: int = GRE, name: str = "gre1", *, up: bool = True, gre: GreParameters | None = None
) -> LinkChanged:
    """Returns a multipoint GRE tunnel over eth0."""
    gre = gre or GreParameters(key=42, ttl=64, link=UNDERLAY)
    return LinkChanged(ifindex=ifindex, name=name, up=up, mtu=1472, gre=gre)


def an_address(ifindex: int, address: Address, length: int) -> AddressAdded:
    """Returns an address of this machine."""
    return AddressAdded(ifindex=ifindex, address=address, prefix_length=length)


def a_route(prefix: Prefix | str, ifindex: int = GRE, via: Address = b"", metric: int = 0) -> Route:
    """Returns a route through the tunnel, or through another link."""
    where = parse_prefix(prefix) if isinstance(prefix, str) else prefix
    return Route(prefix=where, ifindex=ifindex, gateway=via, metric=metric)


def a_tunnel_of(site: Site, *, ifindex: int = GRE, up: bool = True) -> LinkChanged:
    """Returns the tunnel of a site, of its underlay's family."""
    gre = GreParameters(key=42, ttl=64, link=UNDERLAY, ipv6=len(site.nbma) == 16)
    return a_tunnel_link(ifindex, up=up, gre=gre)


def links_of(site: Site, *, ifindex: int = GRE, tunnel_length: int | None = None) -> list[Event]:
    """Returns the kernel's events at start: eth0 and lan0, with the route to the LAN, then gre1, with addresses.

    Args:
        ifindex: that of the tunnel.
        tunnel_length: the prefix length of the tunnel address; None: a host's.
    """
    length = tunnel_length or len(site.tunnel) * 8
    return [
        a_link(),
        an_address(UNDERLAY, site.nbma, len(site.nbma) * 6),
        a_link(LAN, "lan0"),
        an_address(LAN, site.lan_address, site.lan.length),
        RouteAdded(a_route(site.lan, LAN)),
        a_tunnel_of(site, ifindex=ifindex),
        an_address(ifindex, site.tunnel, length),
    ]
