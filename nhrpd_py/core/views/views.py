"""Snapshots of the engine's state as rows for people and programs. Reads everything, changes nothing."""

from collections.abc import Iterator

from nhrpd_py.core.address import Address, Afi, format_address, host_prefix
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.config import Config
from nhrpd_py.core.config_rows import config_rows
from nhrpd_py.core.instance.instance import Instance
from nhrpd_py.core.instance.tunnels import Tunnels
from nhrpd_py.core.ipsec.circuits import Circuits, CircuitState
from nhrpd_py.core.queries import Query, View
from nhrpd_py.core.registration.servers import NhsState, Registration, Server
from nhrpd_py.core.resolution.requester import Resolution, ResolutionState, Trigger
from nhrpd_py.core.rows import (
    CacheRow,
    InterfaceRow,
    NhsRow,
    PeerRow,
    RouteRow,
    Row,
    ShortcutRow,
    TrafficRow,
)
from nhrpd_py.core.station.binding import NEVER, Binding
from nhrpd_py.core.station.interface import Interface
from nhrpd_py.core.station.station import Station
from nhrpd_py.packet.iana import PacketType


class Views:
    """Makes the rows of every view. `config` is replaced when the file is read again."""

    __slots__ = ("_outbox", "_tunnels", "config")

    def __init__(self, config: Config, tunnels: Tunnels, outbox: Outbox) -> None:
        self.config = config
        self._tunnels = tunnels
        self._outbox = outbox

    def rows(self, query: Query, now: float) -> list[Row]:
        if query.view is View.CONFIG:
            return list(config_rows(self.config, query.interface))
        if query.view is View.INTERFACES:
            return [
                _interface_row(tunnel.interface)
                for tunnel in self._tunnels
                if query.interface in (None, tunnel.interface.name)
            ]
        rows: list[Row] = []
        for instance in self._tunnels.instances(query.interface):
            rows.extend(self._instance_rows(instance, query.view, now))
        if query.view is View.TRAFFIC:
            rows.extend(self._drop_rows(query.interface))
        return rows

    def _instance_rows(self, instance: Instance, view: View, now: float) -> Iterator[Row]:
        match view:
            case View.CACHE:
                return _cache_rows(instance, now)
            case View.NHS:
                return _nhs_rows(instance, now)
            case View.SHORTCUTS:
                return _shortcut_rows(instance, now)
            case View.PEERS:
                return _peer_rows(instance, now)
            case View.TRAFFIC:
                return _traffic_rows(instance.station)
            case View.ROUTES:
                return _route_rows(instance)
            case View.INTERFACES | View.CONFIG:
                return iter(())

    def _drop_rows(self, interface: str | None) -> Iterator[TrafficRow]:
        for (name, reason), packets in sorted(
            self._outbox.drops.items(), key=lambda item: (item[0][0] or "", item[0][1])
        ):
            if interface in (None, name):
                yield TrafficRow(
                    interface=name, afi=None, direction="dropped", type=reason, packets=packets
                )


def _interface_row(interface: Interface) -> InterfaceRow:
    config = interface.config
    return InterfaceRow(
        interface=interface.name,
        ifindex=interface.ifindex or None,
        up=interface.opened,
        nbma=format_address(interface.nbma) or None,
        underlay=interface.underlay,
        key=interface.gre.key if interface.gre else None,
        mtu=interface.mtu or None,
        network_id=config.network_id,
        addresses=interface.address_texts(),
        redirect=config.redirect,
        shortcut=config.shortcut,
        holding_time_s=config.holding_time_s,
        problem=interface.problem,
    )


def _cache_rows(instance: Instance, now: float) -> Iterator[CacheRow]:
    station = instance.station
    for each in station.interface.addresses:
        if len(each.address) * 8 == station.host_length:
            yield _local_row(station, each.address)
    for binding in station.cache:
        yield _binding_row(station, binding, now)
    for resolution in instance.requester.resolutions.values():
        if station.cache.get(resolution.target) is None and (
            resolution.trigger is Trigger.KERNEL
            or station.cache.entries.server_of(resolution.target)
        ):
            yield _pending_row(station, resolution, now)


def _local_row(station: Station, address: Address) -> CacheRow:
    nbma = station.nat_nbma or station.interface.nbma
    return CacheRow(
        interface=station.interface.name,
        afi=station.afi,
        type="local",
        protocol=format_address(address),
        prefix_length=station.host_length,
        nbma=format_address(nbma) or None,
        claimed_nbma=format_address(station.interface.nbma) or None,
        nat=bool(station.nat_nbma),
        unique=station.config.unique,
        used=False,
        up=station.ready,
        authorized=True,
        holding_time_s=None,
        expires_in_s=None,
        age_s=0.0,
        mtu=None,
        identity=None,
    )


def _binding_row(station: Station, binding: Binding, now: float) -> CacheRow:
    return CacheRow(
        interface=station.interface.name,
        afi=station.afi,
        type=binding.type.name.lower(),
        protocol=format_address(binding.protocol),
        prefix_length=station.host_length,
        nbma=format_address(binding.nbma),
        claimed_nbma=format_address(binding.claimed_nbma),
        nat=binding.nat,
        unique=binding.unique,
        used=binding.used,
        up=binding.installed,
        authorized=_denial(station, binding) is None,
        holding_time_s=binding.holding_time_s or None,
        expires_in_s=_left(binding.expires_at, now),
        age_s=round(now - binding.created_at, 3),
        mtu=binding.mtu or None,
        identity=station.circuits.identity(binding.nbma),
    )


def _pending_row(station: Station, resolution: Resolution, now: float) -> CacheRow:
    return CacheRow(
        interface=station.interface.name,
        afi=station.afi,
        type=_resolution_state(resolution),
        protocol=format_address(resolution.target),
        prefix_length=station.host_length,
        nbma=format_address(station.cache.entries.server_of(resolution.target)) or None,
        claimed_nbma=None,
        nat=False,
        unique=False,
        used=True,
        up=False,
        authorized=False,
        holding_time_s=None,
        expires_in_s=_left(resolution.until, now),
        age_s=round(now - resolution.started_at, 3),
        mtu=None,
        identity=None,
    )


def _nhs_rows(instance: Instance, now: float) -> Iterator[NhsRow]:
    station = instance.station
    for server in instance.client.servers:
        if not _speaks_for(station, server):
            continue
        if not server.registrations:
            yield _unresolved_row(station, server)
        for each in server.registrations.values():
            is_up = each.state is NhsState.UP
            yield NhsRow(
                interface=station.interface.name,
                afi=station.afi,
                name=server.config.nbma,
                nbma=format_address(each.nbma),
                protocol=format_address(each.protocol or server.config.protocol or b"") or None,
                priority=server.config.priority,
                cluster=server.config.cluster,
                state=each.state,
                registered_for_s=round(now - each.up_since, 3) if is_up else None,
                next_attempt_in_s=None if each.next_at is None else _left(each.next_at, now),
                last_error=each.last_error or _waiting(station, each),
                requests_sent=each.requests_sent,
                replies_received=each.replies_received,
            )


def _speaks_for(station: Station, server: Server) -> bool:
    """Tells whether a server is worth a row in this family: one that the tunnel has, or could have."""
    if station.address:
        return True
    if station.interface.addresses:
        return False
    return server.config.protocol is not None or station.afi is Afi.IPV4


def _unresolved_row(station: Station, server: Server) -> NhsRow:
    return NhsRow(
        interface=station.interface.name,
        afi=station.afi,
        name=server.config.nbma,
        nbma=None,
        protocol=format_address(server.config.protocol or b"") or None,
        priority=server.config.priority,
        cluster=server.config.cluster,
        state=NhsState.DOWN,
        registered_for_s=None,
        next_attempt_in_s=None,
        last_error=server.name_error or station.interface.problem,
        requests_sent=0,
        replies_received=0,
    )


def _shortcut_rows(instance: Instance, now: float) -> Iterator[ShortcutRow]:
    station = instance.station
    for shortcut in instance.shortcuts:
        yield ShortcutRow(
            interface=station.interface.name,
            afi=station.afi,
            prefix=str(shortcut.prefix),
            via=format_address(shortcut.binding.protocol),
            nbma=format_address(shortcut.binding.nbma),
            state="active" if shortcut.binding.installed else "incomplete",
            used=shortcut.binding.used,
            expires_in_s=_left(shortcut.expires_at, now),
            holding_time_s=shortcut.holding_time_s,
            identity=station.circuits.identity(shortcut.binding.nbma),
        )
    for resolution in instance.requester.resolutions.values():
        if resolution.trigger in (Trigger.REDIRECT, Trigger.OPERATOR):
            yield ShortcutRow(
                interface=station.interface.name,
                afi=station.afi,
                prefix=str(host_prefix(resolution.target)),
                via=None,
                nbma=None,
                state=_resolution_state(resolution),
                used=False,
                expires_in_s=_left(resolution.until, now),
                holding_time_s=None,
                identity=None,
            )


def _peer_rows(instance: Instance, now: float) -> Iterator[PeerRow]:
    """One row for each NBMA address that we exchange packets with, or want to."""
    station = instance.station
    circuits = station.circuits
    errors = {each.nbma: each.last_error for each in instance.client.servers.registrations()}
    for nbma in dict.fromkeys([*errors, *station.cache.nbma_addresses()]):
        bindings = station.cache.of_nbma(nbma)
        since = circuits.up_since(nbma)
        if not circuits.protected:
            since = min((each.created_at for each in bindings), default=None)
        yield PeerRow(
            interface=station.interface.name,
            nbma=format_address(nbma),
            local_nbma=format_address(station.interface.nbma) or None,
            protocol=tuple(format_address(each.protocol) for each in bindings),
            ipsec=_ipsec_state(circuits, nbma),
            identity=circuits.identity(nbma),
            up_for_s=None if since is None else round(now - since, 3),
            last_error=circuits.problem(nbma) or errors.get(nbma),
        )


def _denial(station: Station, binding: Binding) -> str | None:
    return station.circuits.address_denial(binding.nbma, binding.protocol)


def _waiting(station: Station, registration: Registration) -> str | None:
    """Why a server that nothing is wrong with is not asked yet."""
    if registration.is_idle or station.circuits.is_up(registration.nbma):
        return None
    return station.circuits.problem(registration.nbma) or "waiting for the security association"


def _ipsec_state(circuits: Circuits, nbma: Address) -> str:
    """none | wanted | up | failed, as `show peers` has it."""
    if not circuits.protected:
        return "none"
    match circuits.state(nbma):
        case CircuitState.ANSWERED | CircuitState.UP:
            return "up"
        case CircuitState.FAILED:
            return "failed"
        case CircuitState.IDLE | CircuitState.WANTED:
            return "wanted"


def _resolution_state(resolution: Resolution) -> str:
    return "negative" if resolution.state is ResolutionState.NEGATIVE else "incomplete"


def _traffic_rows(station: Station) -> Iterator[TrafficRow]:
    counters = station.counters
    for direction, counts in (
        ("sent", counters.sent),
        ("received", counters.received),
        ("forwarded", counters.forwarded),
    ):
        for kind in PacketType:
            if counts[kind]:
                yield TrafficRow(
                    interface=station.interface.name,
                    afi=station.afi,
                    direction=direction,
                    type=kind.name.lower().replace("_", "-"),
                    packets=counts[kind],
                )


def _route_rows(instance: Instance) -> Iterator[RouteRow]:
    station = instance.station
    name = station.interface.name
    for binding in station.cache:
        if binding.routed:
            yield RouteRow(
                interface=name,
                afi=station.afi,
                prefix=str(host_prefix(binding.protocol)),
                via=None,
                kind="host",
            )
    for shortcut in instance.shortcuts:
        yield RouteRow(
            interface=name,
            afi=station.afi,
            prefix=str(shortcut.prefix),
            via=format_address(shortcut.binding.protocol),
            kind="shortcut",
        )


def _left(at: float, now: float) -> float | None:
    return None if at == NEVER else round(max(0.0, at - now), 3)
