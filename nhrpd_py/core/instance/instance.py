"""NHRP for one interface and address family: one station and the state machines that share it.

Created with the interface's configuration and kept while its links come and go.
"""

from nhrpd_py.core.address import Address
from nhrpd_py.core.config import InterfaceConfig, MapConfig
from nhrpd_py.core.events import BindingFound
from nhrpd_py.core.instance.adoption import Adoption
from nhrpd_py.core.instance.dependents import Dependents
from nhrpd_py.core.purge.receiver import PurgeReceiver
from nhrpd_py.core.purge.sender import PurgeSender
from nhrpd_py.core.registration.claims import Claims
from nhrpd_py.core.registration.client import NhsClient
from nhrpd_py.core.registration.server import RegistrationServer
from nhrpd_py.core.registration.servers import Servers
from nhrpd_py.core.resolution.failure import Failure
from nhrpd_py.core.resolution.prober import Prober
from nhrpd_py.core.resolution.requester import Requester
from nhrpd_py.core.resolution.responder import Responder
from nhrpd_py.core.resolution.wishes import Wishes
from nhrpd_py.core.station.binding import BindingType
from nhrpd_py.core.station.location import Locator
from nhrpd_py.core.station.shortcuts import ShortcutTable
from nhrpd_py.core.station.station import Station


class Instance:
    """One interface and family. Called by the engine and the handlers."""

    __slots__ = (
        "adoption",
        "claims",
        "client",
        "dependents",
        "prober",
        "purges",
        "purging",
        "requester",
        "responder",
        "server",
        "station",
    )

    def __init__(self, station: Station, locator: Locator) -> None:
        self.station = station
        servers = Servers()
        claims = self.claims = Claims(station, locator, servers)
        self.client = NhsClient(station, servers, claims)
        self.purges = PurgeSender(station, servers)
        self.prober = Prober(station, self)
        wishes = Wishes(station)
        self.responder = Responder(station, locator, self.purges, claims, self.prober, wishes)
        self.requester = Requester(station, locator, servers, claims, self.prober, wishes)
        self.adoption = Adoption(station, self.purges, claims, servers)
        self.dependents = Dependents(
            station, self.client, self.requester, self.adoption, claims, self.prober
        )
        self.server = RegistrationServer(station, claims)
        self.purging = PurgeReceiver(station, self.client, claims)

    def path_proven(self, nbma: Address, now: float) -> None:
        """See `PathListener`: what waited for the path is answered, and goes into the kernel."""
        self.responder.path_proven(nbma, now)
        self.dependents.path_proven(nbma, now)

    def path_failed(
        self, nbma: Address, failure: Failure, now: float, protocol: Address | None = None
    ) -> None:
        """See `PathListener`: who asked is refused, and what led over the path leaves the kernel."""
        self.responder.path_failed(nbma, now, protocol)
        self.dependents.path_failed(nbma, failure, now, protocol)

    def is_waited_for(self, nbma: Address) -> bool:
        """See `PathListener`: somebody's answer waits."""
        return self.responder.has_waiting(nbma)

    def path_given_up(self, nbma: Address, now: float) -> None:
        """See `PathListener`: who asked is refused."""
        self.responder.path_failed(nbma, now)

    def one_way(self, nbma: Address) -> str | None:
        """Returns why a peer that does not answer is silent, as far as the counters of its SAs tell.

        Traffic may well go in one direction alone: it counts where nothing ever came, or where a check fails.
        """
        circuits = self.station.circuits
        reason, traffic = circuits.one_way(nbma), circuits.traffic(nbma)
        if reason is None or traffic is None:
            return None
        is_silent = (
            traffic.never_heard
            or self.station.paths.has_failed(nbma)
            or self.client.servers.owes_an_answer(nbma)
        )
        return reason if is_silent else None

    @property
    def shortcuts(self) -> ShortcutTable:
        return self.station.shortcuts

    def follow(self, now: float, *, moved_from: Address | None, is_back: bool = False) -> None:
        """Starts or stops registering, or registers anew, as the interface's state requires.

        `moved_from` is the former NBMA address where another one is ours now; empty where we had none. `is_back`: no
        packet left by the netdev until now, so that servers look lost that are not.
        """
        station = self.station
        if moved_from is not None:
            station.moved(moved_from, now)
            self._forget_paths()
        address = station.interface.own_address(station.afi)
        moved = address != station.address
        if moved and station.address and address:
            self.client.deregister()  # the old address, while we still know it
        station.address = address
        if moved and address:
            own = station.cache.get(address)
            if own is not None:
                self.station.cache.remove(own, "it is our own address now")
        if not station.ready:
            self._forget_paths()  # no probe could be sent, and no answer would reach us
            if self.client.active:
                self.client.stop()
        elif not self.client.active or moved or moved_from is not None or is_back:
            was_idle = not self.client.active
            self.client.start(now)
            if moved_from is not None:
                self.responder.withdraw_all(now, moved=True)
            if moved_from is not None or was_idle:
                self.prober.try_all(now)

    def _forget_paths(self) -> None:
        """Forgets what was shown of paths, and the requests that wait for them; those come again."""
        self.prober.forget_all()
        self.responder.forget_waiting()

    def name_resolved(
        self, name: str, addresses: tuple[Address, ...], error: str | None, now: float
    ) -> None:
        """Takes the answer of DNS about a server's name; what a new address of a server rules out is dropped."""
        if self.client.name_resolved(name, addresses, error, now):
            self.dependents.review_claims(now)
            for binding in self.adoption.servers_known(now):
                self.prober.want(binding.nbma, binding.protocol, now)

    def opened(self, now: float) -> None:
        """Installs the configured bindings and those that outlived the netdev's absence: it is open now."""
        for each in self._maps(self.station.config):
            self._map(each, now)
        self.station.cache.install_all()  # no shortcuts: they did not outlive `closed`

    def configure(self, before: InterfaceConfig, now: float) -> None:
        """Applies the differences between `before` and `station.config`, which is in force now."""
        config = self.station.config
        if before.shortcut and not config.shortcut:
            self._end_shortcuts(now)
        if before.maps != config.maps:
            self._remap(before, now)
        if before.nhs != config.nhs:
            self.client.configure(now)
        if before.path_check_s != config.path_check_s:
            self.prober.configure(now)
        if before.path_check_s is not None and config.path_check_s is None:
            for resolution in list(self.requester.resolutions.values()):
                if (
                    resolution.held_down
                ):  # because of its path, perhaps: that is believed from now on
                    self.requester.forget(resolution)
        if (before.holding_time_s, before.path_check_s) != (
            config.holding_time_s,
            config.path_check_s,
        ):
            self.client.renew_sooner(now)
        if (before.overlay, before.nhs) != (config.overlay, config.nhs):
            self.dependents.review_claims(now)
        ruled = (before.authorize, before.maps) != (config.authorize, config.maps)
        if ruled and self.station.circuits.protected:  # a new map may lead to a peer that has an SA
            self.dependents.reauthorize(now)

    def _end_shortcuts(self, now: float) -> None:
        """Takes all direct paths to other spokes back, also those to their tunnel addresses alone."""
        self.responder.withdraw_all(now)
        self.requester.forget_all()
        reason = "shortcuts are switched off"
        for shortcut in list(self.shortcuts):
            self.shortcuts.remove(shortcut, reason)
        for binding in list(self.station.cache):
            if binding.type is BindingType.CACHED:
                self.station.cache.remove(binding, reason)

    def _remap(self, before: InterfaceConfig, now: float) -> None:
        station = self.station
        old, new = self._maps(before), self._maps(station.config)
        kept = {each.protocol for each in new}
        for each in old:
            binding = station.cache.get(each.protocol)
            if binding is None or each.protocol in kept:
                continue
            self.station.cache.remove(binding, "it is no longer configured")
            for registration in list(self.client.servers.registrations()):
                if registration.protocol == each.protocol:
                    # Its binding comes from the reply from now on.
                    self.client.register_now(now, registration.nbma)
        if station.interface.opened:  # else `opened` does it
            for each in new:
                if each not in old:
                    self._map(each, now)

    def _maps(self, config: InterfaceConfig) -> list[MapConfig]:
        length = self.station.host_length
        return [each for each in config.maps if len(each.protocol) * 8 == length]

    def _map(self, each: MapConfig, now: float) -> None:
        self.station.cache.update(each.protocol, BindingType.STATIC, each.nbma, now, sender=b"")
        self.station.circuits.need(each.nbma, each.protocol)

    def closed(self, reason: str) -> None:
        """Handles a netdev that is down or gone: registered bindings stay for their holding time, shortcuts end."""
        self.client.stop()
        self.requester.forget_all()
        self._forget_paths()
        self.purges.finish_all()
        for shortcut in list(self.shortcuts):
            self.shortcuts.remove(shortcut, reason)
        for binding in list(self.station.cache):
            if binding.type is BindingType.CACHED:
                self.station.cache.remove(binding, reason)
        self.station.cache.entries.detach()

    def adopt(self, event: BindingFound, now: float) -> None:
        """Takes over a binding of an earlier run."""
        binding = self.adoption.adopt(event, now)
        if binding is None:
            return
        self.dependents.await_circuit(binding)
        if binding.type is BindingType.CACHED and binding.installed:
            self.prober.want(binding.nbma, binding.protocol, now)

    def shut_down(self, now: float) -> None:
        """Takes back our registrations and answers, and withdraws everything from the kernel."""
        self.responder.withdraw_all(now, final=True)
        self.client.deregister()
        self.client.stop()
        self.requester.forget_all()
        self.purges.finish_all()
        for binding in list(self.station.cache):
            self.station.cache.remove(binding, "shutting down")
