"""The bindings of our next hop servers: to which NBMA address of a server traffic goes.

A server's binding has no holding time of its own: it lives as long as our registration. Where we are registered with
several NBMA addresses of a server, traffic stays on one of them as long as it works, and does not change over with each
renewal.
"""

from nhrpd_py.core.address import Address
from nhrpd_py.core.registration.servers import Registration, Servers
from nhrpd_py.core.station.binding import Binding, BindingType
from nhrpd_py.core.station.station import Station


class ServerWays:
    """Keeps the bindings of type `nhs`. Owned by the exchange."""

    __slots__ = ("_servers", "_station")

    def __init__(self, station: Station, servers: Servers) -> None:
        self._station = station
        self._servers = servers

    def bind(self, registration: Registration, protocol: Address, mtu: int, now: float) -> None:
        """Binds the overlay address `protocol` of a server that accepted our registration."""
        if registration.protocol not in (b"", protocol):
            self.unbind(registration, "the server has another overlay address now", now)
        registration.protocol = protocol
        other = self._servers.other_way(registration)
        way = other if other is not None and self._binding(other) is not None else registration
        self._station.cache.update(
            protocol,
            BindingType.NHS,
            way.nbma,
            now,
            holding_time_s=self._station.config.holding_time_s,
            mtu=mtu,
        )

    def unbind(self, registration: Registration, reason: str, now: float) -> None:
        """Moves a server's binding to another NBMA address after a registration ended, or removes it."""
        if self.hand_over(registration, now):
            return
        binding = self._binding(registration)
        if binding is not None:
            self._station.cache.remove(binding, reason)

    def hand_over(self, registration: Registration, now: float) -> bool:
        """Moves a server's binding to another NBMA address with a registration; returns whether there is one."""
        other = self._servers.other_way(registration)
        if other is None:
            return False
        binding = self._binding(registration)
        if binding is not None:
            self._station.cache.update(
                binding.protocol,
                BindingType.NHS,
                other.nbma,
                now,
                holding_time_s=binding.holding_time_s,
                mtu=binding.mtu,
            )
        return True

    def leave(self, registration: Registration, reason: str) -> None:
        """Withdraws the shortcuts over a server that has fallen silent: another one may still relay for it.

        Its binding stays, for nothing could take its place.
        """
        if self._binding(registration) is not None:
            shortcuts = self._station.shortcuts
            for shortcut in shortcuts.of_peer(registration.protocol):
                shortcuts.remove(shortcut, reason)

    def _binding(self, registration: Registration) -> Binding | None:
        """Returns the binding of a server, if it leads to this registration's NBMA address."""
        binding = self._station.cache.get(registration.protocol)
        if binding is None or binding.type is not BindingType.NHS:
            return None
        return binding if binding.nbma == registration.nbma else None
