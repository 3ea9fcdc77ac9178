"""One machine of a network: its engine, the kernel that obeys it, and its charon."""

from collections import Counter
from dataclasses import dataclass, field

from nhrpd_py.core.address import Address, Afi, afi_of
from nhrpd_py.core.config import Config
from nhrpd_py.core.engine import Engine
from nhrpd_py.packet.iana import PacketType
from tests.support import inspect
from tests.support.fake_charon import Ike
from tests.support.fake_kernel import FakeKernel
from tests.support.sites import GRE, Site


@dataclass(slots=True, eq=False)
class Station:
    """One machine: its engine, the kernel that obeys it, and its charon."""

    name: str
    site: Site
    config: Config
    engine: Engine
    outside: Address
    """The NBMA address that others see: another one than its own behind NAT."""
    tunnel_length: int
    kernel: FakeKernel = field(default_factory=FakeKernel)
    ike: Ike = field(default_factory=Ike)
    ifindex: int = GRE
    alive: bool = False
    boots: int = 0
    wake_at: float | None = None
    """The earliest time at which it will be woken for its timers."""
    sent: Counter[PacketType] = field(default_factory=Counter)
    afi: Afi = field(init=False)
    """The family of the overlay."""
    is_client: bool = field(init=False)

    def __post_init__(self) -> None:
        self.afi = afi_of(self.site.tunnel)
        self.is_client = any(each.nhs for each in self.config.interfaces.values())

    @property
    def servers_up(self) -> list[Address]:
        """The NBMA addresses of the next hop servers that it is registered with."""
        return inspect.servers_up(self.engine, self.afi)

    def nbma_of(self, protocol: Address) -> Address | None:
        """The NBMA address that its engine has for an overlay address."""
        return inspect.nbma_of(self.engine, protocol, self.afi)
