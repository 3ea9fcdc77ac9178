"""SAs that we want because a reply or a request names a peer with whom there is none yet: few at a time.

A reply may name any address, and a request come from any; whether somebody answers there shows only when charon has
tried, for ten seconds. A responder that lies must not have charon try hundreds. Who the responder is, it tells itself;
certain is only what we asked about, for that is where the routed path leads. So the network around the target counts.
"""

from nhrpd_py.core.address import IPV4_SIZE, Address, Prefix, host_prefix, prefix_of
from nhrpd_py.core.station.station import Station

MAX_WISHES = 32
"""As many as charon gets through in 40 s when nobody answers."""
MAX_UNASKED_WISHES = 16
"""For peers that asked us: anybody can ask in as many names as it likes, and what we asked for must have room too."""
MAX_WISHES_PER_NETWORK = 8
SITE_LENGTH_IPV4 = 24
SITE_LENGTH_IPV6 = 64
"""The prefix length of a network that usually belongs to one site."""


class Wishes:
    """The wanted SAs of one station with peers that others named, until they are up or given up."""

    __slots__ = ("_networks", "_station")

    def __init__(self, station: Station) -> None:
        self._station = station
        self._networks: dict[Address, tuple[Prefix, bool]] = {}
        """By NBMA address of the peer: the network that was asked about, and whether the peer asked us."""

    def admit(self, target: Address, nbma: Address, *, unasked: bool = False) -> str | None:
        """Notes that an SA with a peer is about to be wanted; returns why it may not be, else None.

        With `unasked`, the peer asked us; `target` is what it calls itself.
        """
        circuits = self._station.circuits
        if not circuits.protected or circuits.is_up(nbma) or circuits.is_needed(nbma):
            return None
        self._networks = {
            remote: wish
            for remote, wish in self._networks.items()
            if circuits.is_needed(remote) and not circuits.is_up(remote)
        }
        network = self._network_of(target)
        of_network = sum(each == network for each, _ in self._networks.values())
        others = sum(was_unasked for _, was_unasked in self._networks.values())
        is_full = len(self._networks) >= MAX_WISHES or (unasked and others >= MAX_UNASKED_WISHES)
        if is_full or of_network >= MAX_WISHES_PER_NETWORK:
            where = f" of {network}" if of_network >= MAX_WISHES_PER_NETWORK else ""
            return f"too many peers{where} wait for a security association already"
        self._networks[nbma] = network, unasked
        return None

    def _network_of(self, target: Address) -> Prefix:
        if self._station.interface.on_link(target):
            return host_prefix(
                target
            )  # of the tunnel's own network each address is another station
        is_ipv4 = len(target) == IPV4_SIZE
        return prefix_of(target, SITE_LENGTH_IPV4 if is_ipv4 else SITE_LENGTH_IPV6)
