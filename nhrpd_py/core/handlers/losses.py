"""Signs of lost packets: ICMP errors that quote our outer packets, the kernel's counters of tunnels and of SAs."""

from collections.abc import Iterator

from nhrpd_py.core.address import Address
from nhrpd_py.core.base.limits import IntervalLimiter, TokenBucket
from nhrpd_py.core.base.outbox import REMINDER_INTERVAL_S, Outbox
from nhrpd_py.core.events import Obstacle, OuterProtocol, PacketUndelivered, SaCount, TunnelCounted
from nhrpd_py.core.instance.instance import Instance
from nhrpd_py.core.instance.tunnels import Tunnels
from nhrpd_py.core.ipsec.associations import Associations
from nhrpd_py.core.notices import AssociationSilent, DeliveryFailed, TunnelLosing, TunnelMended
from nhrpd_py.core.station.interface import Interface
from nhrpd_py.core.station.losses import meaning

MAX_TOLD = 1024
TOLD_PER_S, TOLD_AT_ONCE = 0.5, 50.0
"""Notices about ICMP errors of all peers together: whoever knows the peers' addresses can forge one for each."""


class LossHandler:
    """Tells what is lost, and has the paths checked that are concerned. Called by the engine."""

    __slots__ = ("_associations", "_outbox", "_reminders", "_told", "_tunnels")

    def __init__(self, tunnels: Tunnels, associations: Associations, outbox: Outbox) -> None:
        self._tunnels = tunnels
        self._associations = associations
        self._outbox = outbox
        self._reminders = IntervalLimiter(interval_s=REMINDER_INTERVAL_S, limit=MAX_TOLD)
        self._told = TokenBucket(rate=TOLD_PER_S, burst=TOLD_AT_ONCE, now=0.0)

    def undelivered(self, event: PacketUndelivered, now: float) -> None:
        """Handles an ICMP error about a packet to a peer; about others it says nothing to us."""
        for tunnel in list(self._tunnels.opened()):
            interface = tunnel.interface
            if not _may_be_of(interface, event):
                continue
            concerned = [each for each in tunnel if _knows(each, event.remote)]
            if not concerned:
                continue
            reason = interface.undelivered.note(event, now)
            key = interface.name, event.remote, event.obstacle
            if self._reminders.allows(key, now) and self._told.take(now):
                self._outbox.emit(
                    DeliveryFailed(
                        interface=interface.name,
                        protocol=_protocol(concerned, event.remote),
                        nbma=event.remote,
                        reporter=event.reporter,
                        reason=reason,
                    )
                )
            if event.obstacle is Obstacle.TOO_BIG:
                continue  # what we ask is small, and an answer would tell nothing
            for instance in concerned:
                instance.client.undelivered(event.remote, reason, now)
                instance.prober.undelivered(event.remote, now)

    def counted(self, event: TunnelCounted, now: float) -> None:
        """Takes the kernel's counters of a tunnel."""
        tunnel = self._tunnels.open_at(event.ifindex)
        if tunnel is None:
            return
        interface = tunnel.interface
        for counter, packets in interface.losses.update(event.ifindex, event.lost, now):
            if not packets:
                self._outbox.emit(TunnelMended(interface=interface.name, counter=counter.word))
                continue
            self._outbox.emit(
                TunnelLosing(
                    interface=interface.name,
                    counter=counter.word,
                    packets=packets,
                    reason=meaning(counter, protected=interface.circuits.protected),
                )
            )

    def sas_counted(self, counts: tuple[SaCount, ...], now: float) -> None:
        """Takes the counters of SAs, and has the peers checked from which nothing comes."""
        traffic = self._associations.traffic
        for count in counts:
            pair = count.local, count.remote
            if pair not in self._associations:
                continue
            traffic.update(count)
            reason = traffic.one_way(pair)
            if reason is not None:
                self._nothing_comes(count, reason, now)

    def _nothing_comes(self, count: SaCount, reason: str, now: float) -> None:
        for tunnel in list(self._tunnels.opened()):
            circuits = tunnel.interface.circuits
            if not circuits.protected or circuits.local != count.local:
                continue
            for instance in tunnel:
                instance.client.undelivered(count.remote, reason, now)
                instance.prober.undelivered(count.remote, now)
            if any(each.one_way(count.remote) for each in tunnel):
                self._outbox.remind(
                    (circuits.name, count.remote, "silent"),
                    AssociationSilent(
                        interface=circuits.name,
                        nbma=count.remote,
                        identity=circuits.identity(count.remote) or "",
                        reason=reason,
                    ),
                    now,
                )


def _may_be_of(interface: Interface, event: PacketUndelivered) -> bool:
    """Returns whether a packet that an error quotes can be one of a tunnel: by its source, and by its key or SA."""
    if interface.nbma != event.local or interface.gre is None:
        return False
    if event.protocol is OuterProtocol.GRE:
        return interface.gre.output_key == event.key
    return interface.circuits.protected and bool(interface.circuits.associations(event.remote))


def _knows(instance: Instance, nbma: Address) -> bool:
    """Returns whether an NBMA address is that of a peer."""
    station = instance.station
    return (
        instance.client.servers.is_server(nbma)
        or bool(station.cache.of_nbma(nbma))
        or station.paths.get(nbma) is not None
    )


def _protocol(instances: list[Instance], nbma: Address) -> Address:
    """Returns a tunnel address of a peer, where one is known."""
    return next((found for each in instances for found in _protocols(each, nbma) if found), b"")


def _protocols(instance: Instance, nbma: Address) -> Iterator[Address]:
    station = instance.station
    for binding in station.cache.of_nbma(nbma):
        yield binding.protocol
    path = station.paths.get(nbma)
    if path is not None:
        yield path.protocol
    for registration in instance.client.servers.at(nbma):
        yield registration.protocol or registration.server.config.protocol or b""
