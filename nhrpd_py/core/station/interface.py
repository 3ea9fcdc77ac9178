"""An mGRE netdev of the configuration, whether it exists or not: its state in the kernel, and whether it can work.

An `Interface` lives as long as the file names it, while links come and go. `problem` is the sentence that operators
see when it cannot work. Owned by its tunnel; `handlers.links` calls it on link and address events.
"""

from dataclasses import dataclass

from nhrpd_py.core.address import (
    Address,
    Afi,
    Prefix,
    afi_of,
    format_address,
    is_link_local,
    is_unicast,
    prefix_of,
)
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.config import InterfaceConfig
from nhrpd_py.core.effects import ProtectedGre
from nhrpd_py.core.events import AddressAdded, GreParameters
from nhrpd_py.core.ipsec.circuits import Circuits
from nhrpd_py.core.kernel.links import Link, Links
from nhrpd_py.core.station.link_locals import LinkLocalEntries
from nhrpd_py.core.station.losses import Losses
from nhrpd_py.core.station.undelivered import Undelivered

SMALLEST_MTU = {4: 576, 16: 1280}
"""By the size of an address: what every link has room for (RFC 791, RFC 8200 §5)."""
NO_SUCH_LINK = "no such netdev; waiting for it"


@dataclass(slots=True, eq=False)
class OpenRefusal:
    """The kernel refused to open the netdev, or its guard is gone. `handlers.links` has the transitions."""

    reason: str
    on_trial: bool = False
    """It was tried again; the refusal is forgotten once the netdev has been open for a while."""


class Interface:
    """The netdev of one configured tunnel. `ifindex` is 0 while there is no such link."""

    __slots__ = (
        "addresses",
        "advised",
        "announced",
        "broadcasts",
        "changes",
        "circuits",
        "config",
        "connected",
        "gre",
        "ifindex",
        "link_locals",
        "link_problem",
        "losses",
        "mtu",
        "nbma",
        "nbma_problem",
        "opened",
        "refusal",
        "undelivered",
        "underlay",
    )

    def __init__(self, config: InterfaceConfig, circuits: Circuits, outbox: Outbox) -> None:
        self.config = config
        self.circuits = circuits
        self.link_locals = LinkLocalEntries(outbox)
        self.ifindex = 0
        self.mtu = 0
        self.gre: GreParameters | None = None
        self.nbma: Address = b""
        """Our own NBMA address; empty when unknown."""
        self.underlay: str | None = None
        """The link that `nbma` was taken from."""
        self.addresses: tuple[AddressAdded, ...] = ()
        """The tunnel's usable addresses; the first of each family is the one that NHRP uses."""
        self.connected: tuple[Prefix, ...] = ()
        """The networks of these addresses, where these are not host prefixes."""
        self.broadcasts: frozenset[Address] = frozenset()
        """The broadcast addresses of these networks (OpenNHRP registers to one)."""
        self.opened = False
        """The kernel was asked to prepare it, and the link has been up since."""
        self.advised: tuple[tuple[str, str], ...] = ()
        """What operators were told about its settings last."""
        self.announced = False
        """The last notice about it said that it works."""
        self.refusal: OpenRefusal | None = None
        self.link_problem: str | None = NO_SUCH_LINK
        """Why packets can neither be received nor sent; None when they can."""
        self.nbma_problem: str | None = None
        self.changes = 0
        """Counts the changes of its bindings, by which others keep what they derive from those."""
        self.losses = Losses()
        self.undelivered = Undelivered()

    def configure(self, config: InterfaceConfig) -> None:
        """Takes a changed configuration; all parts read it from here."""
        self.config = config
        self.circuits.configure(config)

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def can_open(self) -> bool:
        """Whether packets can be received and sent; an address is not needed for that."""
        return self.link_problem is None

    @property
    def works(self) -> bool:
        return self.opened and self.problem is None

    @property
    def guard(self) -> ProtectedGre | None:
        """The GRE traffic that must never pass in clear; None where the tunnel is not protected, or does not exist."""
        if self.gre is None or not self.circuits.protected:
            return None
        gre = self.gre
        return ProtectedGre(gre.key, gre.output_key, gre.ipv6, self.underlay or "")

    @property
    def problem(self) -> str | None:
        """What keeps the interface from working, for people."""
        if self.link_problem or self.nbma_problem:
            return self.link_problem or self.nbma_problem
        if not self.addresses:
            return "the tunnel has no address"
        return self.circuits.charon_problem or self.circuits.sources.problem

    @property
    def losing(self) -> str | None:
        """What the kernel loses in the tunnel at present, and why, for people; it is looked at while it is open."""
        return self.losses.losing(protected=self.circuits.protected) if self.opened else None

    def follow(self, links: Links) -> None:
        """Updates everything from the present links."""
        link = links.named(self.name)
        if link is None:
            self.ifindex = self.mtu = 0
            self.readdress(())
            self.gre = None
            self.nbma = b""
            self.underlay = None
            self.refusal = None
            self.link_problem = NO_SUCH_LINK
            self.nbma_problem = None
            return
        if link.state.ifindex != self.ifindex:
            self.refusal = None
        self.ifindex = link.state.ifindex
        self.mtu = link.state.mtu
        self.gre = link.state.gre
        self.readdress(_usable_addresses(link))
        self.nbma, self.underlay, self.nbma_problem = self._find_nbma(links)
        self.link_problem = self._find_problem(link)

    def readdress(self, addresses: tuple[AddressAdded, ...]) -> None:
        """Takes the tunnel's addresses, and what follows from them."""
        if addresses == self.addresses:
            return
        self.addresses = addresses
        networks = (prefix_of(each.address, each.prefix_length) for each in addresses)
        self.connected = tuple(each for each in networks if not each.is_host)
        self.broadcasts = frozenset(filter(None, map(_broadcast, self.connected)))

    def address_texts(self) -> tuple[str, ...]:
        """The tunnel's addresses with their prefix lengths, for people."""
        return tuple(
            f"{format_address(each.address)}/{each.prefix_length}" for each in self.addresses
        )

    def own_address(self, afi: Afi) -> Address:
        """Returns the protocol address with which we register and answer; empty when there is none."""
        for each in self.addresses:
            if afi_of(each.address) is afi:
                return each.address
        return b""

    def route_mtu(self, peer: Address, told: int) -> int:
        """Returns the MTU of routes over a peer, which told its own: 0 unless that is smaller than the tunnel's.

        One that is smaller than the protocol allows is not believed.
        """
        return told if SMALLEST_MTU[len(peer)] <= told < self.mtu else 0

    def on_link(self, address: Address) -> bool:
        """Returns whether a connected prefix of the tunnel covers the address, so that it needs no host route."""
        for prefix in self.connected:  # noqa: SIM110 (asked for every registration)
            if prefix.contains(address):
                return True
        return False

    def on_link_length(self, address: Address) -> int:
        """Returns the length of the connected prefix of the tunnel that covers the address; -1 where none does."""
        lengths = (prefix.length for prefix in self.connected if prefix.contains(address))
        return max(lengths, default=-1)

    def _find_problem(self, link: Link) -> str | None:
        if link.state.gre is None:
            return "not a GRE netdev"
        if any(link.state.gre.remote):
            return "the tunnel has a remote address: it is not multipoint"
        if link.state.gre.defect:
            return link.state.gre.defect
        if link.state.vrf:
            return "the tunnel is in a VRF: only the main routing table is supported"
        if not link.state.up:
            return "the netdev is down"
        return self.refusal.reason if self.refusal and not self.refusal.on_trial else None

    def _find_nbma(self, links: Links) -> tuple[Address, str | None, str | None]:
        """Returns our NBMA address, the link that has it, and the reason where there is none.

        The tunnel's own local address is what the kernel sends with, so it comes first. Without one, the
        kernel picks a source by routing; the underlay's first address is our best guess of that.
        """
        gre = self.gre
        if gre is None:
            return b"", None, None
        bound = None if gre.foreign else links.by_ifindex.get(gre.link)
        source = self.config.tunnel_source or (bound.state.name if bound else None)
        if gre.link and bound is None and not gre.foreign:
            device = source or links.holder(gre.local) or "UNDERLAY"
            return (
                b"",
                source,
                (
                    f"the netdev that the tunnel is bound to (ifindex {gre.link}) is gone, and nothing leaves: "
                    f"ip tunnel change {self.name} dev {device}"
                ),
            )
        if any(gre.local):
            holder = links.holder(gre.local)
            strange = None
            if holder is None and not gre.foreign:
                strange = (
                    f"the tunnel's local address {format_address(gre.local)} is not an address of this machine: "
                    f"ip tunnel change {self.name} local ADDRESS"
                )
            return gre.local, source or holder, strange
        if source is None:
            return (
                b"",
                None,
                "no NBMA address: give the tunnel `dev` or `local`, or set tunnel-source",
            )
        underlay = links.named(source)
        if underlay is None:
            return b"", source, f"no NBMA address: there is no netdev {source}"
        family = Afi.IPV6 if gre.ipv6 else Afi.IPV4
        candidates = [
            each
            for each in underlay.addresses.values()
            if afi_of(each.address) is family
            and is_unicast(each.address)
            and not (gre.ipv6 and is_link_local(each.address))
        ]
        if not candidates:
            return b"", source, f"no NBMA address: {source} has no {family} address"
        return min(candidates, key=lambda each: each.secondary).address, source, None


def _usable_addresses(link: Link) -> tuple[AddressAdded, ...]:
    """Returns the addresses that NHRP can use: primary ones first, then by wider prefix, then the oldest."""
    usable = [
        each
        for each in link.addresses.values()
        if is_unicast(each.address) and not is_link_local(each.address)
    ]
    return tuple(sorted(usable, key=lambda each: (each.secondary, each.prefix_length)))


def _broadcast(network: Prefix) -> Address:
    """Returns the last address of a network; empty where it has no broadcast address (RFC 3021)."""
    host_bits = len(network.address) * 8 - network.length
    if host_bits == 1:
        return b""
    last = int.from_bytes(network.address) | (1 << host_bits) - 1
    return last.to_bytes(len(network.address))
