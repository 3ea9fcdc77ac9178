"""A changed configuration, applied to what runs: what did not change does not notice.

An interface that the file no longer names takes back all that it told others and the kernel; a new one starts as at
the daemon's start; one that changed keeps what its new settings allow. `interface.config` is the one place where all
read the settings; only what was derived from them is brought in line here. Owned by the engine, which looks at the
links afterwards.
"""

from collections.abc import Mapping
from typing import Protocol, TypeVar

from nhrpd_py.core.address import SIZE_OF_AFI, Afi, Prefix
from nhrpd_py.core.config import InterfaceConfig
from nhrpd_py.core.context import Context
from nhrpd_py.core.instance.instance import Instance
from nhrpd_py.core.ipsec.associations import Associations
from nhrpd_py.core.ipsec.circuits import Circuits
from nhrpd_py.core.station.interface import Interface
from nhrpd_py.core.station.location import Routing

T = TypeVar("T")
Configs = Mapping[str, InterfaceConfig]


class Close(Protocol):
    def __call__(self, interface: Interface, ifindex: int, *, withdrawn: bool = False) -> None:
        """Closes an open interface."""


class Reload:
    """See the module. `interfaces` and `instances` are the engine's own, by name."""

    __slots__ = ("_associations", "_close", "_context", "_instances", "_interfaces", "_routing")

    def __init__(
        self,
        context: Context,
        routing: Routing,
        associations: Associations,
        interfaces: dict[str, Interface],
        instances: dict[str, dict[Afi, Instance]],
        *,
        close: Close,
    ) -> None:
        self._context = context
        self._routing = routing
        self._associations = associations
        self._interfaces = interfaces
        self._instances = instances
        self._close = close

    def add(self, config: InterfaceConfig) -> None:
        """Makes an interface; it opens when its link is looked at."""
        interface = Interface(config, Circuits(self._context, config, self._associations))
        self._interfaces[config.name] = interface
        self._instances[config.name] = {
            afi: Instance(self._context, interface, afi, self._routing) for afi in Afi
        }

    def apply(self, before: Configs, after: Configs, now: float) -> None:
        """Goes from one set of interfaces to another."""
        for name in sorted(before.keys() - after.keys()):
            self._remove(name, now)
        for name in sorted(before.keys() & after.keys()):
            if before[name] != after[name]:
                self._change(name, after[name], now)
        for name in sorted(after.keys() - before.keys()):
            self.add(after[name])
        if before.keys() != after.keys():
            _sort(self._interfaces)  # views are in the order of names, as after a start
            _sort(self._instances)
        networks = {name: each.network_id for name, each in before.items()}
        if networks != {name: each.network_id for name, each in after.items()}:
            self._clouds_changed(now)

    def _remove(self, name: str, now: float) -> None:
        interface = self._interfaces[name]
        for instance in self._instances[name].values():
            instance.shut_down(now)
        if interface.opened:
            self._close(interface, interface.ifindex, withdrawn=True)
        interface.circuits.release_all()
        self._context.timers.stop_all(name)
        del self._interfaces[name]
        del self._instances[name]

    def _change(self, name: str, config: InterfaceConfig, now: float) -> None:
        interface = self._interfaces[name]
        before = interface.config
        if interface.opened and (before.ipsec is None) != (config.ipsec is None):
            self._close(interface, interface.ifindex)  # opens again, with the guard or without
        interface.configure(config)
        for instance in self._instances[name].values():
            instance.configure(before, now)

    def _clouds_changed(self, now: float) -> None:
        """What is one cloud with what decides where targets are: answers that are no longer true are taken back."""
        self._context.redirects.forget()
        for instances in self._instances.values():
            for afi, instance in instances.items():
                instance.egress.routes_moved(Prefix(bytes(SIZE_OF_AFI[afi]), 0), now)


def _sort(table: dict[str, T]) -> None:
    rows = sorted(table.items())
    table.clear()
    table.update(rows)
