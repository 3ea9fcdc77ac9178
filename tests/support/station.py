"""One machine of a network: its engine, its fake kernel, and its fake charon."""

from collections import Counter
from dataclasses import dataclass, field

from nhrpd_py.core.address import Address, Afi, afi_of
from nhrpd_py.core.config import Config
from nhrpd_py.core.engine import Engine
from nhrpd_py.packet.iana import PacketType
from tests.support import inspect
from tests.support.fake_kernel import FakeKernel
from tests.support.ike import Ike
from tests.support.sites import GRE, Site


@dataclass(slots=True, eq=False)
class Station:
    """One machine: its engine, its kernel and its charon."""

    name: str
    site: Site
    config: Config
    engine: Engine
    outside: Address
    """The NBMA address that others see: behind NAT not its own."""
    tunnel_length: int
    kernel: FakeKernel = field(default_factory=FakeKernel)
    ike: Ike = field(default_factory=Ike)
    ifindex: int = GRE
    alive: bool = False
    boots: int = 0
    wake_at: float | None = None
    """The earliest time at which the engine is called for its timers."""
    sent: Counter[PacketType] = field(default_factory=Counter)
    afi: Afi = field(init=False)
    """The address family of the overlay."""
    is_client: bool = field(init=False)

    def __post_init__(self) -> None:
        self.afi = afi_of(self.site.tunnel)
        self.is_client = any(each.nhs for each in self.config.interfaces.values())

    @property
    def servers_up(self) -> list[Address]:
        """Returns the NBMA addresses of the next hop servers with which the engine is registered."""
        return inspect.servers_up(self.engine, self.afi)

    def nbma_of(self, protocol: Address) -> Address | None:
        """Returns the engine's NBMA address for an overlay address."""
        return inspect.nbma_of(self.engine, protocol, self.afi)
