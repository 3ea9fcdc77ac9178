"""What tests build with: stations, configurations, messages. Every default is in the signature, none is hidden.

A `Site` is a station and what lies behind it: tunnel address 10.255.255.N/32, NBMA address 192.0.2.N and the LAN
172.16.N.0/24, where N is 1 for the hub and 11, 12, 13 for the spokes. Interfaces have the same ifindex everywhere.
"""

import random
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from nhrpd_py.core.address import (
    AFN_OF_SIZE,
    PROTOCOL_OF_AFI,
    Address,
    Prefix,
    afi_of,
    format_address,
    parse_address,
    parse_prefix,
)
from nhrpd_py.core.config import (
    AuthorizeConfig,
    Config,
    InterfaceConfig,
    IpsecConfig,
    MapConfig,
    NhsConfig,
    Secret,
)
from nhrpd_py.core.effects import Effect, SendPacket
from nhrpd_py.core.engine import Engine
from nhrpd_py.core.events import (
    AddressAdded,
    Event,
    GreParameters,
    LinkChanged,
    PacketReceived,
    Route,
    RouteAdded,
)
from nhrpd_py.packet import (
    ClientInformation,
    Extension,
    ExtensionType,
    Message,
    PacketType,
    decode,
    encode,
)
from nhrpd_py.packet.extension import cisco_authentication
from nhrpd_py.packet.iana import (
    NAT,
    REGISTRATION_UNIQUE,
    RESOLUTION_AUTHORITATIVE,
    RESOLUTION_DESTINATION_STABLE,
    RESOLUTION_ROUTER,
    RESOLUTION_SOURCE_STABLE,
)

ETH = 2
LAN = 3
GRE = 4

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Site:
    """A station: its tunnel address, its NBMA address, and the network behind it."""

    number: int
    tunnel: Address
    nbma: Address
    lan: Prefix

    @property
    def host(self) -> Address:
        """A host on the LAN behind the station: the tenth one."""
        return (int.from_bytes(self.lan.address) + 10).to_bytes(len(self.lan.address))

    @property
    def lan_address(self) -> Address:
        """The station's own address on its LAN: the first one."""
        return (int.from_bytes(self.lan.address) + 1).to_bytes(len(self.lan.address))


def a_site(number: int, *, ipv6_overlay: bool = False, ipv6_underlay: bool = False) -> Site:
    """Site N, of either family in both layers. N is 1–254."""
    if ipv6_overlay:
        tunnel, lan = f"fd00:ff::{number:x}", f"fd00:{number:x}::/64"
    else:
        tunnel, lan = f"10.255.255.{number}", f"172.16.{number}.0/24"
    nbma = f"2001:db8::{number:x}" if ipv6_underlay else f"192.0.2.{number}"
    return Site(number, parse_address(tunnel), parse_address(nbma), parse_prefix(lan))


HUB = a_site(1)
HUB_2 = a_site(2)
SPOKE_1 = a_site(11)
SPOKE_2 = a_site(12)
SPOKE_3 = a_site(13)


def an_nhs(
    site: Site | str = HUB,
    *,
    protocol: Address | None = None,
    priority: int = 0,
    cluster: int = 0,
) -> NhsConfig:
    """An NHS by NBMA address or name, its overlay address to be learnt."""
    nbma = site if isinstance(site, str) else format_address(site.nbma)
    return NhsConfig(protocol=protocol, nbma=nbma, priority=priority, cluster=cluster)


def a_config(
    *,
    nhs: tuple[NhsConfig, ...] = (),
    maps: tuple[MapConfig, ...] = (),
    holding_time_s: int = 600,
    shortcut: bool = True,
    redirect: bool = False,
    unique: bool = False,
    secret: bytes | None = None,
    tunnel_source: str | None = None,
    profile: str | None = None,
    authorize: AuthorizeConfig = AuthorizeConfig(),  # noqa: B008 - frozen
) -> Config:
    """One interface gre1 with network-id 1. Without `nhs` it is a hub's."""
    interface = InterfaceConfig(
        name="gre1",
        network_id=1,
        holding_time_s=holding_time_s,
        tunnel_source=tunnel_source,
        shortcut=shortcut,
        redirect=redirect,
        unique=unique,
        authentication=None if secret is None else Secret(secret),
        nhs=nhs,
        maps=maps,
        ipsec=None if profile is None else IpsecConfig(profile=profile),
        authorize=authorize,
    )
    return Config(interfaces={"gre1": interface})


def a_gre_link(
    *, ifindex: int = GRE, up: bool = True, local: Address = b"", ipv6: bool = False
) -> LinkChanged:
    """The tunnel gre1, multipoint, bound to eth0."""
    gre = GreParameters(local=local, key=42, ttl=64, ipv6=ipv6, link=ETH)
    return LinkChanged(ifindex=ifindex, name="gre1", up=up, mtu=1476, gre=gre)


def links_of(
    site: Site, *, gre_ifindex: int = GRE, tunnel_length: int | None = None
) -> list[Event]:
    """What the kernel tells at start: eth0 and lan0 with their addresses, then gre1 with its (a host's, by default)."""
    bits = len(site.tunnel) * 8
    return [
        LinkChanged(ifindex=ETH, name="eth0", up=True, mtu=1500),
        AddressAdded(ifindex=ETH, address=site.nbma, prefix_length=len(site.nbma) * 6),
        LinkChanged(ifindex=LAN, name="lan0", up=True, mtu=1500),
        AddressAdded(ifindex=LAN, address=site.lan_address, prefix_length=site.lan.length),
        a_gre_link(ifindex=gre_ifindex, ipv6=len(site.nbma) == 16),
        AddressAdded(ifindex=gre_ifindex, address=site.tunnel, prefix_length=tunnel_length or bits),
        RouteAdded(Route(prefix=site.lan, ifindex=LAN)),
    ]


def a_route(
    prefix: Prefix | str, *, via: Address = b"", ifindex: int = GRE, metric: int = 0
) -> Route:
    """A route through the tunnel, or through another link."""
    where = parse_prefix(prefix) if isinstance(prefix, str) else prefix
    return Route(prefix=where, ifindex=ifindex, gateway=via, metric=metric)


def an_engine(
    site: Site,
    config: Config,
    *,
    routes: Iterable[Route] = (),
    now: float = 0.0,
    seed: int = 0,
) -> tuple[Engine, list[Effect]]:
    """An engine whose links are up and whose routes are known, and all that it asked for meanwhile."""
    engine = Engine(config, rng=random.Random(seed), now=now)
    events = [*links_of(site), *(RouteAdded(route) for route in routes)]
    return engine, [effect for event in events for effect in engine.handle(event, now)]


def a_registration_request(
    client: Site = SPOKE_1,
    *,
    to: Address | None = None,
    request_id: int = 1,
    holding_time_s: int = 600,
    prefix_length: int | None = None,
    unique: bool = False,
    entries: tuple[ClientInformation, ...] | None = None,
    extensions: tuple[Extension, ...] | None = None,
    secret: bytes | None = None,
    hop_count: int = 255,
) -> Message:
    """A client registers itself; `to` None: anonymously, to its own address."""
    bits = len(client.tunnel) * 8 if prefix_length is None else prefix_length
    return _message(
        PacketType.REGISTRATION_REQUEST,
        client,
        client.tunnel if to is None else to,
        flags=NAT | (REGISTRATION_UNIQUE if unique else 0),
        request_id=request_id,
        entries=(ClientInformation(prefix_length=bits, holding_time_s=holding_time_s),)
        if entries is None
        else entries,
        extensions=_records(extensions, secret),
        hop_count=hop_count,
    )


def a_registration_reply(
    client: Site = SPOKE_1,
    server: Site = HUB,
    *,
    request_id: int = 1,
    code: int = 0,
    holding_time_s: int = 600,
    extensions: tuple[Extension, ...] | None = None,
    secret: bytes | None = None,
) -> Message:
    """The server's answer, in which it names itself as the destination."""
    bits = len(client.tunnel) * 8
    return _message(
        PacketType.REGISTRATION_REPLY,
        client,
        server.tunnel,
        flags=NAT,
        request_id=request_id,
        entries=(ClientInformation(code=code, prefix_length=bits, holding_time_s=holding_time_s),),
        extensions=_records(extensions, secret),
    )


def a_resolution_request(
    requester: Site = SPOKE_1,
    target: Address = SPOKE_2.host,
    *,
    request_id: int = 1,
    holding_time_s: int = 600,
    flags: int = RESOLUTION_ROUTER | RESOLUTION_AUTHORITATIVE | RESOLUTION_SOURCE_STABLE | NAT,
    extensions: tuple[Extension, ...] | None = None,
    secret: bytes | None = None,
    hop_count: int = 255,
) -> Message:
    """A requester asks what lies at `target`."""
    bits = len(requester.tunnel) * 8
    return _message(
        PacketType.RESOLUTION_REQUEST,
        requester,
        target,
        flags=flags,
        request_id=request_id,
        entries=(ClientInformation(prefix_length=bits, holding_time_s=holding_time_s),),
        extensions=_records(extensions, secret),
        hop_count=hop_count,
    )


def a_resolution_reply(
    requester: Site = SPOKE_1,
    responder: Site = SPOKE_2,
    target: Address = SPOKE_2.host,
    *,
    request_id: int = 1,
    code: int = 0,
    prefix_length: int = 24,
    holding_time_s: int = 600,
    extensions: tuple[Extension, ...] | None = None,
    secret: bytes | None = None,
) -> Message:
    """The responder says what lies behind it; with a `code`, that it does not."""
    entry = ClientInformation(
        prefix_length=prefix_length,
        holding_time_s=holding_time_s,
        nbma=responder.nbma,
        protocol=responder.tunnel,
    )
    return _message(
        PacketType.RESOLUTION_REPLY,
        requester,
        target,
        flags=RESOLUTION_ROUTER
        | RESOLUTION_AUTHORITATIVE
        | RESOLUTION_DESTINATION_STABLE
        | RESOLUTION_SOURCE_STABLE
        | NAT,
        request_id=request_id,
        entries=(ClientInformation(code=code) if code else entry,),
        extensions=_records(extensions, secret),
    )


def a_purge_request(
    sender: Site = SPOKE_2,
    to: Address = SPOKE_1.tunnel,
    prefix: Prefix = SPOKE_2.lan,
    *,
    request_id: int = 1,
    flags: int = 0,
    extensions: tuple[Extension, ...] = (),
) -> Message:
    """The sender takes a prefix back."""
    return _message(
        PacketType.PURGE_REQUEST,
        sender,
        to,
        flags=flags,
        request_id=request_id,
        entries=(ClientInformation(prefix_length=prefix.length, protocol=prefix.address),),
        extensions=extensions,
    )


def a_traffic_indication(
    source: Address = SPOKE_1.host, destination: Address = SPOKE_2.host, *, sender: Site = HUB
) -> Message:
    """The sender saw a packet from `source` to `destination` turn round."""
    return _message(
        PacketType.TRAFFIC_INDICATION,
        sender,
        source,
        payload=a_data_packet(source, destination),
    )


def an_error_indication(
    offender: Message, code: int, *, sender: Site = HUB, offset: int = 0
) -> Message:
    """The sender complains about a message of somebody."""
    return _message(
        PacketType.ERROR_INDICATION,
        sender,
        offender.source_protocol,
        error_code=code,
        error_offset=offset,
        payload=encode(offender),
    )


def a_data_packet(source: Address, destination: Address, *, payload: bytes = b"x" * 64) -> bytes:
    """An IP packet of the addresses' family; the checksum is nobody's business here."""
    if len(source) == 16:
        return struct.pack(">IHBB", 6 << 28, len(payload), 17, 63) + source + destination + payload
    size = 20 + len(payload)
    header = struct.pack(">BBHHHBBH", 0x45, 0, size, 0, 0, 63, 17, 0)
    return header + source + destination + payload


def received(message: Message, nbma_source: Address, *, ifindex: int = GRE) -> PacketReceived:
    """The event of a message that came out of the tunnel."""
    return PacketReceived(ifindex, nbma_source, encode(message))


def sent(effects: Iterable[Effect]) -> list[tuple[Address, Message]]:
    """The messages among effects, each with its outer destination."""
    return [
        (effect.nbma, decode(effect.data)) for effect in effects if isinstance(effect, SendPacket)
    ]


def of_kind(effects: Iterable[Effect], kind: type[T]) -> list[T]:
    """The effects of one class."""
    return [effect for effect in effects if isinstance(effect, kind)]


def empty_records() -> tuple[Extension, ...]:
    """The extensions that requests carry to be filled in on the way, and an empty NAT address."""
    return (
        Extension(ExtensionType.FORWARD_TRANSIT_NHS),
        Extension(ExtensionType.REVERSE_TRANSIT_NHS),
        Extension(ExtensionType.RESPONDER_ADDRESS),
        Extension(ExtensionType.NAT_ADDRESS, compulsory=False),
    )


def _records(
    extensions: tuple[Extension, ...] | None, secret: bytes | None
) -> tuple[Extension, ...]:
    plain = empty_records() if extensions is None else extensions
    return plain if secret is None else (*plain, cisco_authentication(secret))


def _message(kind: PacketType, source: Site, destination: Address, **fields: object) -> Message:
    return Message(
        type=kind,
        afn=AFN_OF_SIZE[len(source.nbma)],
        protocol_type=PROTOCOL_OF_AFI[afi_of(source.tunnel)],
        source_nbma=source.nbma,
        source_protocol=source.tunnel,
        destination_protocol=destination,
        **fields,  # type: ignore[arg-type]
    )
