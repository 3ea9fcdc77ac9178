"""Everything but packets that happens to a machine: links, addresses, routes, SAs, names, commands, reloads.

The kernel and charon are plausible: an address is removed that is there, an SA ends that was reported.
"""

import random
from collections.abc import Callable

from nhrpd_py.core.address import Address
from nhrpd_py.core.events import (
    AddressAdded,
    AddressRemoved,
    Association,
    BindingFound,
    CommandGiven,
    ConfigChanged,
    Event,
    GreParameters,
    InterfaceMended,
    InterfaceRefused,
    IpsecLost,
    IpsecReady,
    KernelRefused,
    LinkChanged,
    LinkGone,
    NameResolved,
    NeighborSolicited,
    RouteAdded,
    RouteRemoved,
    SaFailed,
    SaGone,
    SaInstalled,
    TrafficSeen,
)
from nhrpd_py.core.queries import Flush, FlushWhat, Resolve
from tests.fuzz.grammar import World
from tests.fuzz.roles import SECOND, Role
from tests.support.messages import a_data_packet
from tests.support.sites import GRE, LAN, UNDERLAY, a_link, a_route, an_address

IDENTITIES = tuple(f"spoke{number}.example" for number in range(1, 10))


class Happenings:
    """Draws events; remembers what the kernel and charon have."""

    def __init__(self, role: Role, world: World, rng: random.Random) -> None:
        self._role = role
        self._world = world
        self._rng = rng
        self._tunnels = (GRE, SECOND) if role.two_tunnels else (GRE,)
        self._names = {GRE: "gre1", SECOND: "gre2", UNDERLAY: "eth0", LAN: "lan0"}
        self._addresses: dict[int, dict[Address, int]] = {}
        self._sas: dict[int, Association] = {}
        self._next_sa = 1
        self._away = False
        self._reloads = role.reloads()
        protected = (
            (self._sa_installed, 6),
            (self._sa_gone, 4),
            (self._sa_failed, 3),
            (self._charon, 1),
        )
        kinds: list[tuple[Callable[[], list[Event]], int]] = [
            (self._traffic, 20 if role.is_hub else 3),
            (self._solicited, 8),
            (self._route, 6),
            (self._command, 3),
            (self._link, 2),
            (self._address, 3),
            (self._name, 1),
            (self._refusal, 1),
            (self._reload, 1),
            *(protected if role.is_protected else ()),
        ]
        self._kinds = [kind for kind, _ in kinds]
        self._weights = [weight for _, weight in kinds]

    def note(self, event: Event) -> None:
        """Keeps what an event says of the kernel's addresses."""
        match event:
            case AddressAdded():
                of_link = self._addresses.setdefault(event.ifindex, {})
                of_link[event.address] = event.prefix_length
            case AddressRemoved(ifindex, address, _):
                self._addresses[ifindex].pop(address)
            case LinkGone(ifindex):
                self._addresses.pop(ifindex, None)
            case _:
                pass

    def draw(self) -> list[Event]:
        """Returns what happens next: one event, or a few that belong together."""
        return self._rng.choices(self._kinds, self._weights)[0]()

    def start(self) -> list[Event]:
        """Returns what charon reports at start: SAs with some of the peers."""
        if not self._role.is_protected:
            return []
        return [self._sa(site.nbma, site.number) for site in self._world.others[:5]]

    def inherited(self, ifindex: int) -> list[Event]:
        """Returns the bindings of an earlier run that are found when a tunnel opens."""
        rng, world = self._rng, self._world
        if rng.random() < 0.5:
            return []
        found: list[Event] = []
        for _ in range(rng.randrange(5)):
            protocol, nbma = rng.choice(world.protocols), rng.choice(world.nbmas)
            left = rng.choice((0.0, 5.0, 60.0, 1e9))
            found.append(BindingFound(ifindex, protocol, nbma, left, rng.random() < 0.3))
        return found

    def own_nbma(self) -> Address:
        """Returns our NBMA address, mostly; it may be gone."""
        return self._world.own.nbma

    # The kernel.

    def _link(self) -> list[Event]:
        rng = self._rng
        ifindex = rng.choice((*self._tunnels, *self._tunnels, UNDERLAY, LAN))
        dice = rng.random()
        if ifindex in self._tunnels:
            if dice < 0.4:
                return [self._tunnel(ifindex, mtu=rng.choice((1472, 1400, 576, 68)))]
            if dice < 0.7:
                return [self._tunnel(ifindex, up=False), self._tunnel(ifindex)]
            addresses = self._addresses.get(ifindex, {}).items()
            again = [an_address(ifindex, address, length) for address, length in addresses]
            return [LinkGone(ifindex), self._tunnel(ifindex), *again]
        name = self._names[ifindex]
        return [a_link(ifindex, name, up=False), a_link(ifindex, name)]

    def _tunnel(self, ifindex: int, *, up: bool = True, mtu: int = 1472) -> LinkChanged:
        ipv6 = len(self._world.own.nbma) == 16
        gre = GreParameters(key=38 + ifindex, ttl=64, link=UNDERLAY, ipv6=ipv6)
        return LinkChanged(ifindex=ifindex, name=self._names[ifindex], up=up, mtu=mtu, gre=gre)

    def _address(self) -> list[Event]:
        """An address that comes stays for a while; our own ones that go come back at once."""
        rng, world = self._rng, self._world
        ifindex = rng.choice((*self._tunnels, UNDERLAY, LAN))
        present = self._addresses.get(ifindex, {})
        own = (world.own.nbma, world.own.tunnel, world.own.lan_address)
        if present and rng.random() < 0.6:
            address = rng.choice(list(present))
            length = present[address]
            gone: Event = AddressRemoved(ifindex, address, length)
            if address in own or len(present) == 1:
                return [gone, an_address(ifindex, address, length)]
            return [gone]
        pool = world.nbmas if ifindex == UNDERLAY else world.protocols
        address = rng.choice(pool)
        if address in present or len(present) > 3:
            return []
        bits = len(address) * 8
        return [an_address(ifindex, address, rng.choice((bits, bits, bits - 1, bits - 8)))]

    def _route(self) -> list[Event]:
        rng, world = self._rng, self._world
        prefix = rng.choice(world.prefixes)
        ifindex = rng.choice((*self._tunnels, *self._tunnels, LAN, UNDERLAY, 0))
        via = rng.choice((b"", rng.choice(world.others).tunnel)) if ifindex else b""
        route = a_route(prefix, ifindex, via, metric=rng.choice((0, 0, 20)))
        if prefix.length >= 8 and rng.random() < 0.4:
            return [RouteAdded(route)]
        return [RouteAdded(route), RouteRemoved(route)]

    def _solicited(self) -> list[Event]:
        rng, world = self._rng, self._world
        known = rng.choice((b"", b"", rng.choice(world.nbmas)))
        return [NeighborSolicited(rng.choice(self._tunnels), rng.choice(world.protocols), known)]

    def _traffic(self) -> list[Event]:
        rng, world = self._rng, self._world
        sample = a_data_packet(rng.choice(world.protocols), rng.choice(world.protocols))
        if rng.random() < 0.1:
            sample = sample[: rng.randrange(len(sample))]
        out = rng.choice((*self._tunnels, LAN, 0))
        return [TrafficSeen(rng.choice(self._tunnels), out, sample)]

    def _refusal(self) -> list[Event]:
        rng = self._rng
        ifindex = rng.choice(self._tunnels)
        match rng.randrange(3):
            case 0:
                return [KernelRefused(ifindex, "neighbour", "no room")]
            case 1:
                return [InterfaceRefused(ifindex, "no guard", exposed=rng.random() < 0.5)]
            case _:
                return [InterfaceRefused(ifindex, "busy"), InterfaceMended(ifindex)]

    # Names, people.

    def _name(self) -> list[Event]:
        rng, world = self._rng, self._world
        if rng.random() < 0.3:
            return [NameResolved("hub.example", (), "no answer")]
        count = rng.choice((1, 1, 2, 20))
        addresses = tuple(rng.choice(world.nbmas) for _ in range(count))
        return [NameResolved("hub.example", addresses)]

    def _command(self) -> list[Event]:
        rng, world = self._rng, self._world
        interface = rng.choice((None, "gre1", "gre7"))
        if rng.random() < 0.5:
            return [CommandGiven(1, Resolve(address=rng.choice(world.protocols)))]
        nbma = rng.choice((None, rng.choice(world.nbmas)))
        protocol = rng.choice((None, None, rng.choice(world.prefixes)))
        what = rng.choice(list(FlushWhat))
        return [
            CommandGiven(1, Flush(what=what, interface=interface, protocol=protocol, nbma=nbma))
        ]

    def _reload(self) -> list[Event]:
        return [ConfigChanged(self._rng.choice(self._reloads), token=1)]

    # charon.

    def _sa(self, remote: Address, number: int) -> SaInstalled:
        rng = self._rng
        identity = IDENTITIES[number - 1] if rng.random() < 0.9 else rng.choice(IDENTITIES)
        association = Association(
            id=self._next_sa,
            local=self.own_nbma(),
            remote=remote,
            identity=identity,
            answered=rng.random() < 0.3,
        )
        self._next_sa += 1
        self._sas[association.id] = association
        return SaInstalled(association)

    def _sa_installed(self) -> list[Event]:
        site = self._rng.choice(self._world.others)
        remote = self._rng.choice((site.nbma,) * 9 + self._world.nbmas[-3:])
        return [self._sa(remote, site.number)]

    def _sa_gone(self) -> list[Event]:
        if not self._sas:
            return []
        association = self._sas.pop(self._rng.choice(list(self._sas)))
        return [SaGone(association.local, association.remote, association.id, "deleted")]

    def _sa_failed(self) -> list[Event]:
        remote = self._rng.choice(self._world.nbmas)
        return [SaFailed(local=self.own_nbma(), remote=remote, reason="no answer", retry_in_s=2.0)]

    def _charon(self) -> list[Event]:
        """charon goes away for a while, or comes back and reports its SAs anew."""
        self._away = not self._away
        if self._away:
            return [IpsecLost("gone")]
        return [*map(SaInstalled, self._sas.values()), IpsecReady("6.0.1", patched=False)]
