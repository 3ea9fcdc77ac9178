"""Purge Requests of peers: removes what they take back, and replies unless they want no reply.

All bindings and shortcuts within the prefix go that the sender may take back. A wider shortcut over the sender goes
too, for a part of it is true no more: its traffic falls back to the hub, and is redirected anew. A Purge of our own
address by one of our next hop servers means that it lost our registration. RFC 2332 §5.2.5, §5.2.6.
"""

from dataclasses import dataclass

from nhrpd_py.core.address import SIZE_OF_AFI, Address, Prefix, host_prefix, prefix_of
from nhrpd_py.core.base.prefixmap import PrefixMap
from nhrpd_py.core.notices import PurgeReceived
from nhrpd_py.core.registration.client import NhsClient
from nhrpd_py.core.station.binding import Binding, BindingType
from nhrpd_py.core.station.shortcuts import Shortcut
from nhrpd_py.core.station.station import Station
from nhrpd_py.packet.iana import PURGE_NO_REPLY, PacketType
from nhrpd_py.packet.message import Message


@dataclass(slots=True, eq=False)
class Demand:
    """An entry of a Purge Request that was received."""

    prefix: Prefix
    nbma: Address
    """The only NBMA address meant, when the sender names one."""
    removed: int = 0


class PurgeReceiver:
    """Handles the Purge Requests for one station. Owned by its instance."""

    __slots__ = ("_client", "_station")

    def __init__(self, station: Station, client: NhsClient) -> None:
        self._station = station
        self._client = client

    def request_received(self, message: Message, nbma_source: Address, now: float) -> None:
        """Handles a Purge Request for us, and replies unless the sender wants no reply."""
        demands = self._demands(message, nbma_source, now)
        if demands:
            self._meet(demands, message.source_protocol, nbma_source)
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

    def _meet(self, demands: list[Demand], sender: Address, nbma_source: Address) -> None:
        """Removes what is taken back; looks at each shortcut and binding once, for a packet can have thousands."""
        station = self._station
        wanted: PrefixMap[dict[Address, Demand]] = PrefixMap(SIZE_OF_AFI[station.afi])
        for demand in demands:
            of_prefix = wanted.get(demand.prefix)
            if of_prefix is None:
                of_prefix = wanted[demand.prefix] = {}
            of_prefix[demand.nbma] = demand
        for shortcut in self._touched_shortcuts(demands):
            met = _find(wanted, shortcut.prefix, shortcut.binding.nbma)
            if met is not None:
                self._station.shortcuts.remove(shortcut, "purged by its owner")
                met.removed += 1
        for binding in self._touched_bindings(demands):
            if binding.type is not BindingType.CACHED and not (
                binding.type is BindingType.DYNAMIC
                and self._is_client(binding, sender, nbma_source)
            ):
                continue
            met = _find(wanted, host_prefix(binding.protocol), binding.nbma)
            if met is not None:
                self._station.cache.remove(binding, "purged by its owner")
                met.removed += 1
        for demand in demands:
            for shortcut in station.shortcuts.around(demand.prefix):
                peer = shortcut.binding
                is_own = sender == peer.protocol or nbma_source == peer.nbma
                if is_own and demand.nbma in (b"", peer.nbma):
                    station.shortcuts.remove(shortcut, "a part of it was purged by its owner")
                    demand.removed += 1
        for demand in demands:
            station.outbox.emit(
                PurgeReceived(
                    interface=station.interface.name,
                    protocol=demand.prefix.address,
                    nbma=nbma_source,
                    prefix=demand.prefix,
                    removed=demand.removed,
                )
            )

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

    def _is_client(self, binding: Binding, sender: Address, nbma_source: Address) -> bool:
        """Returns whether the sender of a Purge is the client of a registration, which alone may take it back.

        A client whose NBMA address has changed is only believed where it has to know our pass phrase: with a unique
        address it has no other way to register again.
        """
        if binding.nbma == nbma_source:
            return True
        return self._station.config.authentication is not None and binding.protocol == sender

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
