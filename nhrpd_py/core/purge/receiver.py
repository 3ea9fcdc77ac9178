"""Purge Requests of peers: removes what they take back, and replies unless they want no reply.

All bindings and shortcuts within the prefix go that the sender may take back. A wider shortcut over the sender goes
too, for a part of it is true no more: its traffic falls back to the hub, and is redirected anew. A Purge of our own
address by one of our next hop servers means that it lost our registration. RFC 2332 §5.2.5, §5.2.6.
"""

from dataclasses import dataclass

from nhrpd_py.core.address import SIZE_OF_AFI, Address, Prefix, host_prefix, prefix_of
from nhrpd_py.core.base.prefixmap import PrefixMap
from nhrpd_py.core.notices import ClaimRefused, PurgeReceived
from nhrpd_py.core.registration.claims import Claims
from nhrpd_py.core.registration.client import NhsClient
from nhrpd_py.core.station.binding import Binding, BindingType
from nhrpd_py.core.station.shortcuts import Shortcut
from nhrpd_py.core.station.station import Station
from nhrpd_py.packet.iana import PURGE_NO_REPLY, PacketType
from nhrpd_py.packet.message import Message
from nhrpd_py.packet.wire import DropReason

MAX_TOLD = 16
"""Of a Purge that may be about more bindings it is not found out which of others' it is about."""


@dataclass(slots=True, eq=False)
class Demand:
    """An entry of a Purge Request that was received."""

    prefix: Prefix
    nbma: Address
    """The only NBMA address meant, when the sender names one."""
    removed: int = 0
    foreign: int = 0
    """What is within the prefix, but not the sender's to take back."""


class PurgeReceiver:
    """Handles the Purge Requests for one station. Owned by its instance."""

    __slots__ = ("_claims", "_client", "_station")

    def __init__(self, station: Station, client: NhsClient, claims: Claims) -> None:
        self._station = station
        self._claims = claims
        self._client = client

    def request_received(self, message: Message, nbma_source: Address, now: float) -> None:
        """Handles a Purge Request for us, and replies unless the sender wants no reply."""
        demands = self._demands(message, nbma_source, now)
        if demands:
            self._meet(demands, message, nbma_source, now)
        if not message.flags & PURGE_NO_REPLY:
            self._reply(message, nbma_source, now)

    def _demands(self, message: Message, nbma_source: Address, now: float) -> list[Demand]:
        """Returns what the entries take back. For an entry of our own address we register again instead."""
        station = self._station
        demands: dict[tuple[Prefix, Address], Demand] = {}
        for entry in message.entries:
            if not entry.protocol:
                continue
            length = entry.prefix_length
            if length == 0 or length > station.host_length:
                length = station.host_length
            prefix = prefix_of(entry.protocol, length)
            if prefix == host_prefix(station.address):
                self._client.register_now(now, nbma_source)
            else:
                demands.setdefault((prefix, entry.nbma), Demand(prefix, entry.nbma))
        return list(demands.values())

    def _meet(
        self, demands: list[Demand], message: Message, nbma_source: Address, now: float
    ) -> None:
        """Removes what is taken back; looks at each shortcut and binding once, for a packet can have thousands."""
        station, claims = self._station, self._claims
        wanted: PrefixMap[dict[Address, Demand]] = PrefixMap(SIZE_OF_AFI[station.afi])
        for demand in demands:
            of_prefix = wanted.get(demand.prefix)
            if of_prefix is None:
                of_prefix = wanted[demand.prefix] = {}
            of_prefix[demand.nbma] = demand
        for shortcut in self._touched_shortcuts(demands):
            met = _find(wanted, shortcut.prefix, shortcut.binding.nbma)
            if met is None:
                continue
            if not claims.may_take_back(shortcut.binding, shortcut.prefix, message, nbma_source):
                met.foreign += 1
            else:
                self._station.shortcuts.remove(shortcut, "purged by its owner")
                met.removed += 1
        touched = self._touched_bindings(demands)
        by_rule = station.circuits.policy.restricts
        for binding in touched:
            if binding.type not in (BindingType.CACHED, BindingType.DYNAMIC):
                continue
            if (
                len(touched) > MAX_TOLD
                and nbma_source not in (binding.nbma, binding.sender)
                and message.source_protocol != binding.protocol
                and not by_rule
            ):
                continue  # soon, for there may be all bindings to look at
            prefix = host_prefix(binding.protocol)
            is_own = claims.may_take_back(binding, prefix, message, nbma_source)
            if not is_own and len(touched) > MAX_TOLD:
                continue
            met = _find(wanted, prefix, binding.nbma)
            if met is None:
                continue
            if not is_own:
                met.foreign += 1
            else:
                self._station.cache.remove(binding, "purged by its owner")
                met.removed += 1
        self._meet_parts(demands, message, nbma_source)
        if any(each.foreign for each in demands):
            station.drop(DropReason.FOREIGN_PURGE, nbma_source)
        for demand in demands:
            if demand.foreign:
                self._refuse(demand, message, nbma_source, now)
            station.outbox.emit(
                PurgeReceived(
                    interface=station.interface.name,
                    protocol=demand.prefix.address,
                    nbma=nbma_source,
                    prefix=demand.prefix,
                    removed=demand.removed,
                )
            )

    def _meet_parts(self, demands: list[Demand], message: Message, nbma_source: Address) -> None:
        """Removes the shortcuts of which a part is taken back; a part of what others gave is no demand on them."""
        shortcuts = self._station.shortcuts
        for demand in demands:
            for shortcut in shortcuts.around(demand.prefix):
                peer = shortcut.binding
                if demand.nbma in (b"", peer.nbma) and self._claims.may_take_back(
                    peer, demand.prefix, message, nbma_source
                ):
                    shortcuts.remove(shortcut, "a part of it was purged by its owner")
                    demand.removed += 1

    def _touched_shortcuts(self, demands: list[Demand]) -> list[Shortcut]:
        if not all(each.prefix.is_host for each in demands):
            return list(self._station.shortcuts)
        found = (self._station.shortcuts.longest(each.prefix.address) for each in demands)
        return list({each.prefix: each for each in found if each is not None}.values())

    def _touched_bindings(self, demands: list[Demand]) -> list[Binding]:
        cache = self._station.cache
        if not all(each.prefix.is_host for each in demands):
            return list(cache)
        found = (cache.get(each.prefix.address) for each in demands)
        return list({each.protocol: each for each in found if each is not None}.values())

    def _refuse(self, demand: Demand, message: Message, nbma_source: Address, now: float) -> None:
        """Tells of a Purge for what others gave, or that they gave by another way."""
        name = self._station.interface.name
        self._station.outbox.remind(
            (name, nbma_source, demand.prefix),
            ClaimRefused(
                interface=name,
                protocol=message.source_protocol,
                nbma=nbma_source,
                prefix=demand.prefix,
                reason="a Purge for what others gave us",
            ),
            now,
        )

    def _reply(self, message: Message, nbma_source: Address, now: float) -> None:
        """Sends the request back to its sender as a reply (§5.2.6).

        One that is too long to be confirmed was obeyed all the same: what is not true any more must go.
        """
        reply = self._station.reply(
            PacketType.PURGE_REPLY,
            message,
            message.destination_protocol,
            flags=message.flags,
            entries=message.entries,
        )
        if self._station.fits(reply):
            self._station.send(nbma_source, reply)
        else:
            self._station.refuse_size(message, nbma_source, now)


def _find(wanted: PrefixMap[dict[Address, Demand]], prefix: Prefix, nbma: Address) -> Demand | None:
    """Returns the demand that covers a prefix at an NBMA address."""
    for of_prefix in wanted.matches(prefix.address):
        demand = of_prefix.get(b"") or of_prefix.get(nbma)
        if demand is not None and demand.prefix.length <= prefix.length:
            return demand
    return None
