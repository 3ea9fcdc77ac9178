"""Applies a changed configuration to the running tunnels; what did not change is not disturbed.

A tunnel that the file no longer names withdraws its registrations, its answers and its kernel entries; a new tunnel
starts as at the daemon's start; a changed one keeps what its new settings allow. All parts read the settings from
`interface.config`; only state derived from them is updated here. The links are looked at afterwards.
"""

from collections.abc import Mapping

from nhrpd_py.core.address import SIZE_OF_AFI, Afi, Prefix
from nhrpd_py.core.base.limits import Limits
from nhrpd_py.core.base.timers import TimerQueue
from nhrpd_py.core.config import InterfaceConfig
from nhrpd_py.core.handlers.links import LinkHandler
from nhrpd_py.core.handlers.sources import SourceHandler
from nhrpd_py.core.instance.tunnels import Tunnels

Configs = Mapping[str, InterfaceConfig]


class ReloadHandler:
    """Replaces one configuration of the tunnels by another. Called by the engine."""

    __slots__ = ("_limits", "_links", "_sources", "_timers", "_tunnels")

    def __init__(
        self,
        tunnels: Tunnels,
        links: LinkHandler,
        sources: SourceHandler,
        timers: TimerQueue,
        limits: Limits,
    ) -> None:
        self._tunnels = tunnels
        self._links = links
        self._sources = sources
        self._timers = timers
        self._limits = limits

    def apply(self, before: Configs, after: Configs, now: float) -> None:
        """Applies the configuration `after`; `before` was in force until now."""
        for name in sorted(before.keys() - after.keys()):
            self._remove(name, now)
        for name in sorted(before.keys() & after.keys()):
            if before[name] != after[name]:
                self._change(name, after[name], now)
        for name in sorted(after.keys() - before.keys()):
            self._tunnels.add(after[name])
        networks = {name: each.network_id for name, each in before.items()}
        if networks != {name: each.network_id for name, each in after.items()}:
            self._clouds_changed(now)

    def _remove(self, name: str, now: float) -> None:
        tunnel = self._tunnels[name]
        interface = tunnel.interface
        for instance in tunnel:
            instance.shut_down(now)
        if interface.opened:
            self._links.close(tunnel, interface.ifindex, withdrawn=True, final=True)
        elif interface.ifindex:  # it may have been open before, and is still as it was made then
            self._links.give_up(interface)
        interface.circuits.release_all()
        interface.circuits.sources.closed()
        self._timers.stop_all(name)
        self._tunnels.remove(name)

    def _change(self, name: str, config: InterfaceConfig, now: float) -> None:
        tunnel = self._tunnels[name]
        interface = tunnel.interface
        before = interface.config
        if interface.opened and (before.ipsec is None) != (config.ipsec is None):
            self._links.close(tunnel, interface.ifindex)  # opens again, with the guard or without
        was_active = interface.circuits.sources.active
        interface.configure(config)
        new_rules = before.authorize != config.authorize
        self._sources.configured(tunnel, was_active=was_active, new_rules=new_rules)
        for instance in tunnel:
            instance.configure(before, now)
        tunnel.replication.configure(before)

    def _clouds_changed(self, now: float) -> None:
        """Takes back the answers that are no longer true: which interfaces are one cloud decides where targets are."""
        self._limits.redirects.forget()
        for tunnel in self._tunnels:
            for afi in Afi:
                tunnel[afi].responder.routes_moved(Prefix(bytes(SIZE_OF_AFI[afi]), 0), now)
