"""NHRP for one interface and address family: the machines that share a station, wired to each other.

Created with the interface's configuration and kept through everything that happens to its link.
"""

from nhrpd_py.core.address import Address
from nhrpd_py.core.base.timers import TimerKey, TimerKind
from nhrpd_py.core.config import InterfaceConfig, MapConfig
from nhrpd_py.core.effects import DropNeighbor
from nhrpd_py.core.events import BindingFound
from nhrpd_py.core.instance.protected import Dependents
from nhrpd_py.core.notices import BindingAdopted
from nhrpd_py.core.purge.receiver import PurgeReceiver
from nhrpd_py.core.purge.sender import PurgeSender
from nhrpd_py.core.registration.client import NhsClient
from nhrpd_py.core.registration.server import RegistrationServer
from nhrpd_py.core.resolution.requester import Requester
from nhrpd_py.core.resolution.responder import Responder
from nhrpd_py.core.station.binding import Binding, BindingType
from nhrpd_py.core.station.location import Locator
from nhrpd_py.core.station.shortcuts import ShortcutTable
from nhrpd_py.core.station.station import Station

ADOPTED_PER_S = 100
"""How many adopted clients are asked to register again in one second."""


class Instance:
    """One interface and family. Called by the engine and the handlers."""

    __slots__ = (
        "_adopted",
        "client",
        "dependents",
        "purges",
        "purging",
        "requester",
        "responder",
        "server",
        "shortcuts",
        "station",
    )

    def __init__(self, station: Station, locator: Locator) -> None:
        self.station = station
        self.shortcuts = ShortcutTable(self.station)
        self.client = NhsClient(self.station, self.shortcuts)
        self.purges = PurgeSender(self.station)
        self.responder = Responder(self.station, locator, self.purges)
        self.requester = Requester(self.station, locator, self.client, self.shortcuts)
        self._adopted = 0
        self.dependents = Dependents(
            self.station, self.client, self.requester, self.shortcuts, self.ask_again
        )
        self.server = RegistrationServer(self.station)
        self.purging = PurgeReceiver(self.station, self.client, self.shortcuts)

    def follow(self, now: float, *, nbma_moved: bool) -> None:
        """Takes over what the interface has become: starts, stops, or registers anew where it must."""
        station = self.station
        address = station.interface.own_address(station.afi)
        moved = address != station.address
        if moved and station.address and address:
            self.client.deregister()  # the old address, while we still know it
        station.address = address
        if moved and address:
            own = station.cache.get(address)
            if own is not None:
                self.shortcuts.forget_binding(own, "it is our own address now")
        if not station.ready:
            if self.client.active:
                self.client.stop()
        elif not self.client.active or moved or nbma_moved:
            station.nat_nbma = b"" if nbma_moved else station.nat_nbma
            self.client.start(now)
            if nbma_moved:
                self.responder.withdraw_all(now, final=False)

    def opened(self, now: float) -> None:
        """The netdev is ready for us: configured bindings, and what survived its absence."""
        for each in self._maps(self.station.config):
            self._map(each, now)
        self.station.cache.reassert()  # no shortcuts: they did not outlive `closed`

    def configure(self, before: InterfaceConfig, now: float) -> None:
        """Brings what is in line with `station.config`, which was `before`; touches nothing that stays the same."""
        config = self.station.config
        if before.shortcut and not config.shortcut:
            self._end_shortcuts(now)
        if before.maps != config.maps:
            self._remap(before, now)
        if before.nhs != config.nhs:
            self.client.configure(now)
        if before.holding_time_s != config.holding_time_s:
            self.client.renew_sooner(now)
        if before.authorize != config.authorize and self.station.circuits.protected:
            self.dependents.reauthorize(now)

    def _end_shortcuts(self, now: float) -> None:
        self.requester.forget_all()
        for shortcut in list(self.shortcuts):
            self.shortcuts.remove(shortcut, "shortcuts are switched off")
        self.responder.withdraw_all(now, final=False)

    def _remap(self, before: InterfaceConfig, now: float) -> None:
        station = self.station
        old, new = self._maps(before), self._maps(station.config)
        kept = {each.protocol for each in new}
        for each in old:
            binding = station.cache.get(each.protocol)
            if binding is None or each.protocol in kept:
                continue
            self.shortcuts.forget_binding(binding, "it is no longer configured")
            for registration in list(self.client.registrations()):
                if registration.protocol == each.protocol:
                    self.client.register_now(
                        now, registration.nbma
                    )  # its binding comes from the reply now
        if station.interface.opened:  # else `opened` does it
            for each in new:
                if each not in old:
                    self._map(each, now)

    def _maps(self, config: InterfaceConfig) -> list[MapConfig]:
        length = self.station.host_length
        return [each for each in config.maps if len(each.protocol) * 8 == length]

    def _map(self, each: MapConfig, now: float) -> None:
        self.station.cache.update(each.protocol, BindingType.STATIC, each.nbma, now)
        self.station.circuits.want(each.nbma, each.protocol)

    def closed(self, reason: str) -> None:
        """The netdev is down or gone. What peers registered keeps until its time is over; shortcuts do not."""
        self.client.stop()
        self.requester.forget_all()
        self.purges.finish_all()
        for shortcut in list(self.shortcuts):
            self.shortcuts.remove(shortcut, reason)
        for binding in list(self.station.cache):
            if binding.type is BindingType.CACHED:
                self.shortcuts.forget_binding(binding, reason)
        self.station.cache.detach()

    def adopt(self, event: BindingFound, now: float) -> Binding | None:
        """Takes over a binding of an earlier run; None where there is no use for it.

        One from the state file is as good as then. Of one that only the kernel remembers neither age nor type is
        known: it gets a holding time of ours, and its client is asked to register. Where the two differ the kernel
        is right: it was written when the client moved, the file once a minute.
        """
        station = self.station
        binding = station.cache.get(event.protocol)
        if binding is not None:
            outdated = binding.recalled and event.remaining_s is None
            if not outdated or binding.nbma == event.nbma:
                self._inherit(binding, event)
                return binding
        if station.tables.is_local(event.protocol):
            return None
        if event.remaining_s is not None and event.remaining_s <= 0:
            return None
        holding_time_s = station.config.holding_time_s
        binding = station.cache.update(
            event.protocol,
            BindingType.DYNAMIC,
            event.nbma,
            now,
            claimed_nbma=event.claimed_nbma,
            holding_time_s=holding_time_s,
            lifetime_s=event.remaining_s,
            unique=event.unique,
        )
        if binding is None:
            return None
        station.outbox.emit(
            BindingAdopted(
                interface=station.interface.name, protocol=event.protocol, nbma=event.nbma
            )
        )
        binding.recalled = event.remaining_s is not None
        if not binding.recalled:
            binding.adopted = True
            self.ask_again(binding, now)
        self._inherit(binding, event)
        self.dependents.await_circuit(binding)
        return binding

    def _inherit(self, binding: Binding, event: BindingFound) -> None:
        """What the kernel has of an earlier run stays there until charon tells whether its SA lives."""
        if event.remaining_s is None and binding.nbma == event.nbma and not binding.programmed:
            binding.inherited = True
            self.station.cache.reassert_one(binding)
        if not binding.programmed:
            self.station.outbox.emit(DropNeighbor(event.ifindex, event.protocol))

    def ask_again(self, binding: Binding, now: float) -> None:
        """Has an adopted client asked to register, a moment from now, and not all at once."""
        key = TimerKey(TimerKind.ADOPTED, self.station.interface.name, binding.protocol)
        self.station.timers.set(key, now + 0.2 + self._adopted / ADOPTED_PER_S)
        self._adopted += 1

    def adopted_due(self, protocol: Address) -> None:
        """An adopted client had time to come by itself: asks it."""
        self._adopted = max(0, self._adopted - 1)
        binding = self.station.cache.get(protocol)
        if binding is not None and binding.adopted and self.station.circuits.is_up(binding.nbma):
            self.purges.ask_to_register(binding)

    def binding_expiry_due(self, protocol: Address, now: float) -> None:
        binding = self.station.cache.get(protocol)
        if binding is not None and not self.station.cache.rearm_expiry(binding, now):
            self.shortcuts.forget_binding(binding, "expired")

    def shut_down(self, now: float) -> None:
        """Tells others what is no longer true, and withdraws everything from the kernel."""
        self.responder.withdraw_all(now, final=True)
        self.client.deregister()
        self.client.stop()
        self.requester.forget_all()
        self.purges.finish_all()
        for binding in list(self.station.cache):
            self.shortcuts.forget_binding(binding, "shutting down")
