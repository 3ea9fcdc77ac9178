"""Single parts of the core, without an engine around them."""

import random

from nhrpd_py.core.address import Address, Afi
from nhrpd_py.core.base.jitter import Jitter
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.base.requests import Requests
from nhrpd_py.core.base.timers import TimerKind, TimerQueue
from nhrpd_py.core.config import InterfaceConfig
from nhrpd_py.core.effects import Effect
from nhrpd_py.core.ipsec.associations import Associations
from nhrpd_py.core.ipsec.circuits import Circuits
from nhrpd_py.core.kernel.tables import KernelTables
from nhrpd_py.core.station.cache import Cache
from nhrpd_py.core.station.interface import Interface
from nhrpd_py.core.station.paths import Paths
from tests.support.engine import Steady
from tests.support.sites import GRE, an_address, an_interface


class Bench:
    """An interface with its circuits; `a_cache` makes a cache for it. Timers can be read and never fire."""

    def __init__(
        self, config: InterfaceConfig | None = None, *, rng: random.Random | None = None
    ) -> None:
        config = config or an_interface()
        self.outbox = Outbox()
        self.timers = TimerQueue()
        self.associations = Associations()
        self.circuits = Circuits(
            config, self.associations, self.outbox, self.timers, Jitter(rng or Steady(0))
        )
        self.interface = Interface(config, self.circuits, self.outbox)

    def a_cache(self) -> Cache:
        """Returns an empty cache."""
        tables = KernelTables()
        return Cache(
            self.interface,
            Afi.IPV4,
            outbox=self.outbox,
            paths=Paths(Jitter(random.Random(0)), Requests(lambda: 1).release, enabled=False),
            tables=tables,
            timers=self.timers,
        )

    def open(self, tunnel: Address, length: int = 32) -> None:
        """Opens the interface, with a link and a tunnel address."""
        self.interface.ifindex = GRE
        self.interface.opened = True
        self.interface.readdress((an_address(GRE, tunnel, length),))

    def effects(self) -> list[Effect]:
        """Returns the effects since the last call."""
        effects = self.outbox.effects
        self.outbox.begin()
        return effects

    def next_deadline(self) -> float | None:
        """Returns when the next timer is due."""
        return self.timers.next_deadline()

    def timer_count(self) -> int:
        """Returns the number of armed timers."""
        return len(self.timers)

    def due(self, until: float) -> list[tuple[float, TimerKind]]:
        """Removes and returns the timers that are due until an instant, with their times."""
        found = []
        while (at := self.timers.next_deadline()) is not None and at <= until:
            key = self.timers.pop_due(at)
            assert key is not None
            found.append((at, key.kind))
        return found


def a_bare_interface(config: InterfaceConfig) -> Interface:
    """Returns an interface without a link."""
    return Bench(config).interface
