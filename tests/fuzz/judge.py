"""What must hold of a machine, whatever it is told: checked after every event, and more of it from time to time."""

from collections.abc import Iterable, Iterator

from nhrpd_py.core.address import Address, Prefix, afi_of, is_unicast, prefix_of
from nhrpd_py.core.config import Config
from nhrpd_py.core.effects import (
    CloseInterface,
    DropNeighbor,
    DropRoute,
    DropSa,
    Effect,
    Halt,
    OpenInterface,
    SendMulticast,
    SendPacket,
    SetNeighbor,
    SetRoute,
    WantSa,
)
from nhrpd_py.core.events import (
    AddressAdded,
    AddressRemoved,
    ConfigChanged,
    Event,
    LinkGone,
    PacketReceived,
)
from nhrpd_py.core.queries import Query, View
from tests.fuzz.roles import Role
from tests.support import invariants, tables
from tests.support.fake_kernel import FakeKernel
from tests.support.sites import GRE, LAN, UNDERLAY
from tests.support.station import Station

EFFECTS = 96
EFFECTS_PER_ENTRY = 8
"""What one event may cause: so much, and so much more for each binding, shortcut and request that there is."""
SENT_PER_PACKET = 24


class Judge:
    """A machine's fake kernel and charon, and the rules."""

    def __init__(self, role: Role, station: Station, config: Config) -> None:
        self._role = role
        self._station = station
        self._kernels = {GRE: station.kernel}
        self._config = config
        self._addresses: dict[int, dict[Address, int]] = {}
        self.most_effects = 0
        self.most_sent = 0

    def kernel(self, ifindex: int) -> FakeKernel:
        """Returns the kernel's tables of one tunnel."""
        return self._kernels.setdefault(ifindex, FakeKernel())

    @property
    def size(self) -> int:
        """Returns how many entries the tunnels have."""
        return sum(len(each.neighbors) + len(each.routes) for each in self._kernels.values())

    def judge(self, event: Event | None, effects: list[Effect], now: float) -> None:
        """Applies the effects of an event and checks what is cheap."""
        if event is not None and not isinstance(event, PacketReceived):
            self._note(event)
        bound = EFFECTS + EFFECTS_PER_ENTRY * (self.size + self._asked)
        if effects:
            sent = sum(map(self._apply, effects))
            if isinstance(event, PacketReceived):
                self.most_effects = max(self.most_effects, len(effects))
                self.most_sent = max(self.most_sent, sent)
                assert sent <= SENT_PER_PACKET, f"{sent} packets for one"
        assert len(effects) <= bound, f"{len(effects)} effects"
        deadline = self._station.engine.next_deadline()
        assert deadline is None or deadline > now, f"a timer at {deadline}, now it is {now}"

    def judge_fully(self, now: float) -> None:
        """Checks everything: the tables, the kernel's entries, the SAs, and that the views can be read."""
        station = self._station
        invariants.check(station, now, fully=GRE in self.kernel(GRE).opened)
        for ifindex, kernel in self._kernels.items():
            if ifindex in kernel.opened:
                self._check_entries(ifindex, kernel)
        assert not tables.overfull(station.engine), tables.overfull(station.engine)
        for view in View:
            station.engine.view(Query(view=view), now)
        station.engine.saved_state(now)

    def judge_end(self, effects: list[Effect]) -> None:
        """Checks that a shutdown leaves nothing."""
        assert isinstance(effects[-1], Halt)
        for kernel in self._kernels.values():
            assert kernel.neighbors == {}, "neighbours after the end"
            assert kernel.routes == {}, "routes after the end"
        assert self._station.ike.wanted == {}, "wanted SAs after the end"
        assert self._station.engine.next_deadline() is None

    @property
    def _asked(self) -> int:
        return tables.load_of(self._station.engine)

    def _note(self, event: Event) -> None:
        self._station.ike.hear(event)
        match event:
            case AddressAdded():
                of_link = self._addresses.setdefault(event.ifindex, {})
                of_link[event.address] = event.prefix_length
            case AddressRemoved(ifindex, address, _):
                self._addresses[ifindex].pop(address)
            case LinkGone(ifindex):
                self._addresses.pop(ifindex, None)
            case ConfigChanged(config):
                self._config = config
            case _:
                pass

    def _apply(self, effect: Effect) -> bool:
        """Applies an effect; returns whether it sent a packet."""
        match effect:
            case SendPacket(ifindex):
                assert ifindex in self.kernel(ifindex).opened, "sent through a closed interface"
                if self._role.is_protected:
                    self._check_sent(effect)
                return True
            case SendMulticast(_, ifindex):
                assert ifindex in self.kernel(ifindex).opened, (
                    "multicast through a closed interface"
                )
                assert len(set(effect.targets)) == len(effect.targets), "two copies for one"
                known = {remote for _, remote in self._station.ike.known}
                if self._role.is_protected and effect.interface == "gre1":
                    assert known.issuperset(effect.targets), "multicast without an SA"
            case SetNeighbor(ifindex) | DropNeighbor(ifindex):
                self.kernel(ifindex).apply(effect)
            case OpenInterface(ifindex):
                self.kernel(ifindex).apply(effect)
            case SetRoute(_, ifindex) | DropRoute(_, ifindex):
                self.kernel(ifindex).apply(effect)
            case CloseInterface(ifindex):
                kernel = self.kernel(ifindex)
                kernel.apply(effect)
                kernel.flush()
            case WantSa() | DropSa() if effect.interface == "gre1":
                self._station.ike.carry_out(effect)
            case _:
                pass
        return False

    def _check_sent(self, effect: SendPacket) -> None:
        known = {remote for _, remote in self._station.ike.known}
        assert effect.nbma in known, "sent without an SA"

    # What may be in the kernel.

    def _check_entries(self, ifindex: int, kernel: FakeKernel) -> None:
        used = {nbma for nbma, _ in kernel.neighbors.values()}
        own = {each for of_link in self._addresses.values() for each in of_link}
        learnt = tables.learnt(self._station.engine, ifindex)
        for address, (nbma, _) in kernel.neighbors.items():
            name = f"the neighbour {address.hex()}"
            assert is_unicast(nbma), f"{name} is at a group's address"
            if address not in learnt:
                continue  # the kernel asks, or it is the operator's word
            kind, bound_to = learnt[address]
            by_server = kind == "nhs"
            assert by_server or nbma != bound_to or nbma not in own, f"{name} leads to ourselves"
            self._check_address(ifindex, name, address, own, used, by_server=by_server)
        for prefix, gateway in kernel.routes.items():
            if gateway:
                assert gateway in kernel.neighbors, f"{prefix} goes to nobody"
                assert prefix.length >= 8, f"{prefix} is too much"
            else:
                assert prefix.address in kernel.neighbors, f"{prefix} goes to nobody"
            inside = [each for each in used if prefix.contains(each)]
            known = (self._is_connected(each, beyond=prefix.length) for each in inside)
            assert all(known), f"{prefix} leads the tunnel into itself"

    def _check_address(
        self,
        tunnel: int,
        name: str,
        address: Address,
        own: set[Address],
        used: set[Address],
        *,
        by_server: bool,
    ) -> None:
        assert is_unicast(address), f"{name} is no station's"
        assert address not in own, f"{name} is our own"
        assert address not in used, f"{name} is an NBMA address"
        for network, ifindex in self._networks(address):
            if ifindex in (UNDERLAY, LAN) and not by_server and self._addresses.get(tunnel):
                assert self._in_cloud(address, network), f"{name} is in {network}, connected"

    def _in_cloud(self, address: Address, network: Prefix) -> bool:
        """Returns whether the tunnels have a network around an address that is as narrow, or `overlay` names one."""
        for around, ifindex in self._networks(address):
            if ifindex not in (UNDERLAY, LAN) and around.length >= network.length:
                return True
        overlay = (each for one in self._config.interfaces.values() for each in one.overlay)
        return any(
            each.length >= network.length and each.contains(address) for each in overlay
        ) or tables.is_routed_into_cloud(self._station.engine, address, network.length)

    def _is_connected(self, nbma: Address, beyond: int) -> bool:
        networks: Iterable[tuple[Prefix, int]] = self._networks(nbma)
        return any(
            each.length > beyond and ifindex in (UNDERLAY, LAN) for each, ifindex in networks
        )

    def _networks(self, address: Address) -> Iterator[tuple[Prefix, int]]:
        for ifindex, of_link in self._addresses.items():
            for own, length in of_link.items():
                network = prefix_of(own, length)
                same_family = afi_of(own) is afi_of(address)
                if same_family and not network.is_host and network.contains(address):
                    yield network, ifindex
