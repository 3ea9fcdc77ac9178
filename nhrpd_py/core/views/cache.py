"""The view of the cache: our own addresses, bindings, and addresses that are being resolved for the kernel."""

from collections.abc import Iterator

from nhrpd_py.core.address import Address, format_address
from nhrpd_py.core.instance.instance import Instance
from nhrpd_py.core.resolution.table import Resolution, Trigger
from nhrpd_py.core.rows import (
    CacheRow,
)
from nhrpd_py.core.station.binding import Binding
from nhrpd_py.core.station.station import Station
from nhrpd_py.core.views.common import resolution_state, seconds_left


def cache_rows(instance: Instance, now: float) -> Iterator[CacheRow]:
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
        problem=None,
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
        expires_in_s=seconds_left(binding.expires_at, now),
        age_s=round(now - binding.created_at, 3),
        mtu=binding.mtu or None,
        identity=station.circuits.identity(binding.nbma),
        problem=station.contests.problem(binding.protocol, now),
    )


def _pending_row(station: Station, resolution: Resolution, now: float) -> CacheRow:
    return CacheRow(
        interface=station.interface.name,
        afi=station.afi,
        type=resolution_state(resolution),
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
        expires_in_s=seconds_left(resolution.until, now),
        age_s=round(now - resolution.started_at, 3),
        mtu=None,
        identity=None,
        problem=None,
    )


def _denial(station: Station, binding: Binding) -> str | None:
    return station.circuits.address_denial(binding.nbma, binding.protocol)
