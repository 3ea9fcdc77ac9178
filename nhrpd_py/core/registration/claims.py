"""What no peer is believed, whoever it is: the rule for overlay addresses that holds without any configured rule.

One rule for all places where an address is claimed: registrations, gateways of replies, requesters of requests, and the
state file. The operator's word (`map`) is exempt. What a peer's identity may claim by configuration is in
`ipsec.policy`. A binding makes a neighbour and a host route, so a wrong one draws traffic away from where it belongs:

- an address of this machine, or of a network that it is connected to other than the cloud's own tunnels;
- one at which packets are delivered outside: the NBMA address of a peer, of a server, or ours;
- one outside the cloud: what `overlay` does not name; without it, what the public Internet routes;
- on a spoke, one that is not routed into the cloud (`stray`);
- with IPsec, one that another identity has while its SA lives (`taken`).
"""

from nhrpd_py.core.address import (
    IPV4_SIZE,
    SIZE_OF_AFI,
    Address,
    Prefix,
    format_address,
    host_prefix,
    is_public,
    is_unicast,
)
from nhrpd_py.core.registration.servers import Servers
from nhrpd_py.core.station.binding import Binding, BindingType
from nhrpd_py.core.station.location import MIN_EGRESS_LENGTH, Locator
from nhrpd_py.core.station.recursion import captures, capturing, is_routed_into_cloud
from nhrpd_py.core.station.shortcuts import Shortcut, ShortcutTable
from nhrpd_py.core.station.station import Station
from nhrpd_py.packet.iana import ExtensionType, PacketType
from nhrpd_py.packet.message import Message

INTRUDED_S = 2.0
"""How long packets may still come through an SA that is being ended."""
MAX_INTRUDED = 256


def was_handed_on(message: Message) -> bool:
    """Returns whether a request names a transit NHS: then its outer source is not the station that made it."""
    record = message.extension(ExtensionType.FORWARD_TRANSIT_NHS)
    return record is not None and bool(record.value)


class Claims:
    """Judges what peers claim of one station's cloud. Owned by the instance. Every reason is for people."""

    __slots__ = ("_intruded", "_locator", "_servers", "_station")

    def __init__(self, station: Station, locator: Locator, servers: Servers) -> None:
        self._station = station
        self._locator = locator
        self._servers = servers
        self._intruded: dict[Address, float] = {}
        """NBMA addresses at which another peer's SA is being ended, and until when its packets may come."""

    # Overlay addresses.

    def objection(self, protocol: Address, nbma: Address, *, unknown: bool = False) -> str | None:
        """Returns why nobody, or not the peer at `nbma`, can have an overlay address now; None when it can.

        With `unknown`, a peer without an SA may claim what another identity has: who it is shows when its SA is up.
        """
        return (
            self.refusal(protocol, nbma)
            or self.covered(nbma)
            or self.stray(protocol)
            or self.taken(protocol, nbma, unknown=unknown)
        )

    def refusal(self, protocol: Address, nbma: Address) -> str | None:
        """Returns why no station of the cloud can have an overlay address, or be at this NBMA address."""
        station = self._station
        if len(protocol) * 8 != station.host_length or not is_unicast(protocol):
            return "it is no usable overlay address"
        if protocol in station.interface.broadcasts:
            return "it is the tunnel's broadcast address"
        outer = self.outer(protocol)
        if outer is not None:
            return outer
        if (
            protocol == nbma
            or is_routed_into_cloud(self._locator, station, nbma)
            or self._in_overlay(nbma)
        ):
            return "the outer address is in the cloud, and would lead the tunnel into itself"
        return self.outside(protocol)

    def nbma_refusal(self, nbma: Address) -> str | None:
        """Returns why no peer can be at an NBMA address, which a packet or a file may give as any number."""
        own = self._station.interface.nbma
        if (own and len(nbma) != len(own)) or not is_unicast(nbma):
            return "it is no usable outer address"
        if nbma in (own, self._station.nat_nbma) or self._station.tables.is_local(nbma):
            return "the outer address is our own"
        return None

    def intruded(self, nbma: Address, now: float) -> None:
        """Notes that an SA with another peer behind an NBMA address is being ended."""
        self._intruded = {each: until for each, until in self._intruded.items() if until > now}
        self._intruded[nbma] = now + INTRUDED_S
        if len(self._intruded) > MAX_INTRUDED:
            del self._intruded[next(iter(self._intruded))]

    def intrusion(self, nbma: Address, now: float) -> str | None:
        """Returns why nothing new is believed that comes from an NBMA address now: it may be another peer's."""
        if self._intruded.get(nbma, now) <= now:
            return None
        return (
            "another peer behind its outer address had a security association, which is being ended"
        )

    def server_refusal(self, protocol: Address) -> str | None:
        """Returns why a server of ours cannot have the overlay address that its reply tells.

        Servers are believed more than others: it may be public, on a network of this machine, and without a route.
        """
        if not is_unicast(protocol):
            return "it is no usable overlay address"
        if self._station.tables.is_local(protocol):
            return "it is an address of this machine"
        return self.outer(protocol)

    def covered(self, nbma: Address) -> str | None:
        """Returns why a peer at an NBMA address cannot be reached: a shortcut leads there."""
        return (
            None if self.covering(nbma) is None else "the peer's NBMA address is within a shortcut"
        )

    def covering(self, nbma: Address) -> tuple[ShortcutTable, Shortcut] | None:
        """Returns the shortcut of the cloud that takes packets for an NBMA address away from the underlay."""
        return capturing(self._locator, self._station, nbma)

    def uncover(self, nbma: Address, reason: str) -> None:
        """Removes the shortcut that takes packets for an NBMA address away from the underlay: they come first."""
        found = self.covering(nbma)
        if found is not None:
            shortcuts, shortcut = found
            shortcuts.remove(shortcut, reason)

    def captures(self, prefix: Prefix, nbma: Address) -> bool:
        """Returns whether a shortcut by way of the peer at `nbma` would lead the tunnel into itself."""
        in_use = (nbma, *(each.nbma for each in self._servers.registrations()))
        return captures(self._locator, self._station, prefix, in_use)

    def outer(self, address: Address) -> str | None:
        """Returns why an address is no overlay one: it is an NBMA address of a peer, of a server of ours, or our own.

        One of another cloud is not looked at, for clouds may be stacked.
        """
        station = self._station
        if (
            address in (station.interface.nbma, station.nat_nbma)
            or self._servers.has_nbma(address)
            or station.circuits.associations(address)
            or captures(self._locator, station, host_prefix(address))
        ):
            return "it is an outer address, and would lead the tunnel into itself"
        return None

    def stray(self, protocol: Address) -> str | None:
        """Returns why a spoke does not believe in an unknown address: no route but a default one leads there by the
        tunnels. Servers are known before there is a route; bound addresses have a route of ours, which may hide it."""
        station = self._station
        if not station.config.nhs or station.cache.get(protocol) is not None:
            return None
        if self._in_overlay(protocol) or station.interface.on_link(protocol):
            return None
        if self._servers.has_protocol(protocol) or self._routed_length(protocol) >= 0:
            return None
        return (
            "no route leads there by way of the cloud (a default route does not count), "
            "and overlay does not name it"
        )

    def taken(self, protocol: Address, nbma: Address, *, unknown: bool = False) -> str | None:
        """Returns which identity has an address, on any tunnel of the cloud, where another one claims it from `nbma`
        while its SA lives; or that this is not known yet."""
        station = self._station
        reason = self._taken_at(station, protocol, nbma, unknown=unknown)
        for each in self._locator.cloud(station) if reason is None else ():
            if each is not station:
                is_unknown = unknown and station.circuits.protected
                reason = reason or self._taken_at(each, protocol, nbma, unknown=is_unknown)
        return reason

    def _taken_at(
        self, home: Station, protocol: Address, nbma: Address, *, unknown: bool
    ) -> str | None:
        """Returns who has an address by the word of one station of the cloud; see `taken`."""
        binding = home.cache.get(protocol)
        if binding is None:
            return None
        is_untold = home.circuits.protected and home.circuits.unsure
        if is_untold and not binding.holder and nbma != binding.nbma:
            # An earlier run knew it; the SA of who has it may be told of next.
            return "who has it is not known before charon has told of all its SAs"
        if not binding.holder & home.circuits.identities(binding.held_at):
            return None
        here = self._station.circuits.identities(nbma)
        is_its_way = home is self._station and nbma == binding.held_at
        if here <= binding.holder and (here or unknown or is_its_way):
            return None
        return f"{', '.join(sorted(binding.holder))} has it, and an SA"

    def doubt(self, protocol: Address) -> str | None:
        """Returns what the routes of this machine say against an address that is believed all the same."""
        station = self._station
        if self._in_overlay(protocol) or station.interface.on_link(protocol):
            return None
        route = station.tables.ribs[station.afi].lookup(protocol)
        if (
            route is None
            or route.prefix.length < MIN_EGRESS_LENGTH
            or self._is_cloud(route.ifindex)
        ):
            return None
        how = "leads elsewhere" if route.ifindex else "drops what goes there"
        return f"a route for {route.prefix} {how}"

    def outside(self, protocol: Address) -> str | None:
        """Returns why an address is none of the cloud's."""
        station = self._station
        if station.tables.is_local(protocol):
            return "it is an address of this machine"
        overlay = [each for each in station.config.overlay if len(each.address) == len(protocol)]
        named = max((each.length for each in overlay if each.contains(protocol)), default=-1)
        if overlay and named < 0:
            return "it is outside overlay, the cloud's own addresses"
        connected = next(
            (
                network
                for network, links in station.tables.connected(protocol)
                if not any(map(self._is_cloud, links))
            ),
            None,
        )
        if connected is not None:
            own = max(named, station.interface.on_link_length(protocol))
            if connected.length > own and connected.length >= self._routed_length(protocol):
                return f"it is in {connected}, which this machine is connected to outside the cloud"
        is_ipv4 = len(protocol) == IPV4_SIZE
        if (
            is_ipv4
            and not overlay
            and is_public(protocol)
            and not station.interface.on_link(protocol)
        ):
            return f'it is public: if the cloud has it, set overlay, such as ["{format_address(protocol)}"]'
        return None

    def _in_overlay(self, address: Address) -> bool:
        return any(each.contains(address) for each in self._station.config.overlay)

    def _routed_length(self, protocol: Address) -> int:
        """Returns the length of the route by which an address is in the cloud; -1 where it is not, or by default."""
        for route in self._station.tables.ribs[self._station.afi].around(protocol):
            if route.prefix.length < MIN_EGRESS_LENGTH:
                return -1
            if route.ifindex:  # blackholes are for what has no better route
                return route.prefix.length if self._is_cloud(route.ifindex) else -1
        return -1

    def _is_cloud(self, ifindex: int) -> bool:
        """Returns whether a link is one of the cloud's tunnels."""
        station = self._station
        outgoing = self._locator.station(ifindex, station.afi)
        return outgoing is not None and self._locator.same_cloud(station, outgoing)

    # Senders.

    def may_hand_on(self, nbma_source: Address, protocol: Address) -> bool:
        """Returns whether the transit record of a packet about `protocol` counts: it came from a server of ours, from
        where a `map` leads, or from an identity that a rule allows this address."""
        station = self._station
        return (
            self._servers.is_server(nbma_source)
            or any(each.type is BindingType.STATIC for each in station.cache.of_nbma(nbma_source))
            or self._vouched(nbma_source, host_prefix(protocol))
        )

    def _vouched(self, nbma: Address, prefix: Prefix) -> bool:
        """Returns whether a rule says that the peer at an NBMA address may have a network, or an address."""
        circuits = self._station.circuits
        return circuits.protected and circuits.policy.vouches(circuits.associations(nbma), prefix)

    def forgery(self, message: Message, nbma_source: Address) -> str | None:
        """Returns why a request cannot be its source's: that is ours, or a station known to be elsewhere.

        Who takes something back (Purge) must be where the routed path to it begins; others may be unknown here.
        """
        station = self._station
        source = message.source_protocol
        if len(source) != SIZE_OF_AFI[station.afi]:
            return None
        if self._servers.is_server(nbma_source):
            return None
        if was_handed_on(message) and self.may_hand_on(nbma_source, source):
            return None
        if station.tables.is_local(source):
            return "its source address is ours"
        binding = self._locator.locate(station, source).binding
        if binding is None or nbma_source in (binding.nbma, binding.sender):
            return None
        if binding.protocol != source and message.type is not PacketType.PURGE_REQUEST:
            return None
        return f"its source address is at {format_address(binding.nbma)}"

    def may_take_back(
        self, binding: Binding, prefix: Prefix, message: Message, nbma_source: Address
    ) -> bool:
        """Returns whether a Purge may end what a peer said: its binding, or the shortcut of a prefix over it.

        The sender is that peer, seen by us or by our server; or a rule allows it the prefix; or it is the server by way
        of which that was said.
        """
        if nbma_source == binding.nbma:
            return True
        station = self._station
        is_peer = message.source_protocol == binding.protocol
        if is_peer and self._is_same_client(binding, message, nbma_source):
            return True
        if is_peer and self._servers.is_server(nbma_source):
            return True  # our server knows where the peer is now
        if nbma_source != binding.sender and not station.circuits.policy.restricts:
            return False
        speaker = station.cache.get(message.source_protocol)
        own_word = speaker is not None and speaker.nbma == nbma_source
        if own_word and self._vouched(nbma_source, prefix):
            return True
        if nbma_source != binding.sender or not self.may_hand_on(nbma_source, binding.protocol):
            return False
        return own_word or is_peer

    def _is_same_client(self, binding: Binding, message: Message, nbma_source: Address) -> bool:
        """Returns whether a client that moved takes back its own registration: it proves the identity that has it, or
        where the operator finds that enough, it knows the pass phrase."""
        station = self._station
        if was_handed_on(message):
            return False
        here = station.circuits.identities(nbma_source)
        if here and here <= binding.holder:
            return True
        config = station.config
        return config.authenticated_purge and config.authentication is not None
