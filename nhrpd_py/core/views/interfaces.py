"""The view of the configured interfaces."""

from nhrpd_py.core.address import format_address
from nhrpd_py.core.instance.tunnels import Tunnel
from nhrpd_py.core.ipsec.circuits import Circuits
from nhrpd_py.core.rows import (
    InterfaceRow,
)


def interface_row(tunnel: Tunnel) -> InterfaceRow:
    interface, replication = tunnel.interface, tunnel.replication
    config = interface.config
    octets_in, octets_out = interface.circuits.octets()
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
        source_filter=_filtering(interface.circuits),
        wrong_sources=sum(interface.circuits.sources.wrong.values()),
        multicast=tuple(
            format_address(each) if isinstance(each, bytes) else each for each in config.multicast
        ),
        multicast_targets=len(replication.targets()) if interface.opened else 0,
        multicast_packets=replication.packets,
        multicast_copies=replication.copies,
        problem=interface.problem,
        losing=interface.losing,
        sa_bytes_in=octets_in,
        sa_bytes_out=octets_out,
    )


def _filtering(circuits: Circuits) -> str | None:
    if not circuits.protected:
        return None
    if not circuits.sources.active:
        return "off"
    return "drop" if circuits.sources.drops else "count"
