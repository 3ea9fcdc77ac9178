"""The tunnels of the configuration: an interface each, with its NHRP instances, one for each address family."""

from collections.abc import Iterable, Iterator

from nhrpd_py.core.address import Address, Afi, afi_of
from nhrpd_py.core.base.jitter import Jitter
from nhrpd_py.core.base.limits import Limits
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.base.requests import Requests
from nhrpd_py.core.base.timers import TimerQueue
from nhrpd_py.core.config import InterfaceConfig
from nhrpd_py.core.instance.instance import Instance
from nhrpd_py.core.instance.replication import Replication
from nhrpd_py.core.ipsec.associations import Associations
from nhrpd_py.core.ipsec.circuits import Circuits
from nhrpd_py.core.kernel.tables import KernelTables
from nhrpd_py.core.station.interface import Interface
from nhrpd_py.core.station.location import Locator
from nhrpd_py.core.station.station import Station


class Tunnel:
    """An interface of the configuration and its instances. Iterating gives the instances."""

    __slots__ = ("_instances", "interface", "replication")

    def __init__(
        self, interface: Interface, instances: dict[Afi, Instance], replication: Replication
    ) -> None:
        self.interface = interface
        self._instances = instances
        self.replication = replication

    def __iter__(self) -> Iterator[Instance]:
        return iter(self._instances.values())

    def __getitem__(self, afi: Afi) -> Instance:
        return self._instances[afi]

    def of(self, address: Address) -> Instance:
        """Returns the instance of an overlay address's family."""
        return self._instances[afi_of(address)]

    def get(self, afi: Afi | None) -> Instance | None:
        """Returns the instance of a family; None for a family that NHRP is not spoken for."""
        return self._instances.get(afi) if afi is not None else None


class Tunnels:
    """All tunnels of the configuration, in the order of their names, and those that are open by ifindex.

    It creates them, for it has what all stations of one engine share. `handlers.reload` adds and removes tunnels,
    `handlers.links` opens and closes them.
    """

    __slots__ = (
        "_associations",
        "_by_name",
        "_jitter",
        "_limits",
        "_locator",
        "_open",
        "_outbox",
        "_requests",
        "_tables",
        "_timers",
    )

    def __init__(
        self,
        *,
        associations: Associations,
        jitter: Jitter,
        limits: Limits,
        locator: Locator,
        outbox: Outbox,
        requests: Requests,
        tables: KernelTables,
        timers: TimerQueue,
    ) -> None:
        self._associations = associations
        self._jitter = jitter
        self._limits = limits
        self._locator = locator
        self._outbox = outbox
        self._requests = requests
        self._tables = tables
        self._timers = timers
        self._by_name: dict[str, Tunnel] = {}
        self._open: dict[int, Tunnel] = {}

    def __iter__(self) -> Iterator[Tunnel]:
        return iter(self._by_name.values())

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Tunnel:
        return self._by_name[name]

    def get(self, name: str) -> Tunnel | None:
        return self._by_name.get(name)

    def open_at(self, ifindex: int) -> Tunnel | None:
        """Returns the open tunnel of a netdev."""
        return self._open.get(ifindex)

    def opened(self) -> Iterable[Tunnel]:
        """Returns the open tunnels."""
        return self._open.values()

    def instances(self, name: str | None = None) -> list[Instance]:
        """Returns the instances of all tunnels, or of the one of that name."""
        return [
            each
            for tunnel in self._by_name.values()
            if name in (None, tunnel.interface.name)
            for each in tunnel
        ]

    def add(self, config: InterfaceConfig) -> None:
        """Creates a tunnel; `LinkHandler.follow` opens it."""
        circuits = Circuits(config, self._associations, self._outbox, self._timers, self._jitter)
        interface = Interface(config, circuits, self._outbox)
        instances = {afi: self._instance(interface, afi) for afi in Afi}
        caches = [each.station.cache for each in instances.values()]
        replication = Replication(interface, caches, self._associations)
        self._by_name[config.name] = Tunnel(interface, instances, replication)
        self._by_name = dict(sorted(self._by_name.items()))

    def remove(self, name: str) -> None:
        """Forgets a tunnel, which must be closed."""
        del self._by_name[name]

    def index(self) -> None:
        """Updates the index by ifindex, after a tunnel was opened or closed."""
        self._open = {each.interface.ifindex: each for each in self if each.interface.opened}
        self._locator.replace([each.station for tunnel in self._open.values() for each in tunnel])

    def _instance(self, interface: Interface, afi: Afi) -> Instance:
        station = Station(
            interface,
            afi,
            jitter=self._jitter,
            limits=self._limits,
            outbox=self._outbox,
            requests=self._requests,
            tables=self._tables,
            timers=self._timers,
        )
        return Instance(station, self._locator)
