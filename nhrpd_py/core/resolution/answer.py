"""Reads a Resolution Reply: its prefix, the peer before it and the peer's NBMA address; and whether to believe it.

RFC 2332 §5.2.2; Cisco NAT extension.
"""

from dataclasses import dataclass

from nhrpd_py.core.address import Address, Prefix, host_prefix, is_unicast, prefix_of
from nhrpd_py.core.registration.servers import Servers
from nhrpd_py.core.station.location import MIN_EGRESS_LENGTH, Locator
from nhrpd_py.core.station.recursion import captures, capturing, recurses
from nhrpd_py.core.station.station import Station
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.iana import CieCode, ExtensionType
from nhrpd_py.packet.message import Message

MAX_ANSWERS = 8
"""Entries of one reply that are looked at; a reply has room for hundreds."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`prefix` lies behind the peer `gateway`, which is at `nbma`."""

    gateway: Address
    nbma: Address
    prefix: Prefix
    entry: ClientInformation


def read_answers(
    station: Station, servers: Servers, message: Message, nbma_source: Address
) -> list[Answer]:
    """Reads the entries of a positive reply that are as good as the first, which is the best (§5.2.2)."""
    preference = message.entries[0].preference
    answers = []
    for entry in message.entries[:MAX_ANSWERS]:
        if entry.code == CieCode.SUCCESS and entry.preference == preference:
            gateway = entry.protocol or message.destination_protocol
            nbma = _nbma_of(station, servers, message, entry, nbma_source)
            prefix = _prefix_of(station, message.destination_protocol, entry.prefix_length)
            answers.append(Answer(gateway, nbma, prefix, entry))
    return answers


def problem_with(
    station: Station, locator: Locator, servers: Servers, answer: Answer
) -> str | None:
    """Returns why an answer is not believed; None when it is.

    The identity of a peer without an SA is unknown: what it may claim is checked when its SA is up.
    """
    gateway, nbma = answer.gateway, answer.nbma
    if len(gateway) * 8 != station.host_length or not is_unicast(gateway):
        return "the reply names no usable overlay address"
    if station.tables.is_local(gateway):
        return "the reply leads back to us"
    if nbma in (station.interface.nbma, station.nat_nbma):
        return "the peer has our own NBMA address"
    if len(nbma) != len(station.interface.nbma) or not is_unicast(nbma):
        return "the reply names no usable NBMA address"
    in_use = (nbma, *(each.nbma for each in servers.registrations()))
    if recurses(locator, station, gateway, nbma) or captures(
        locator, station, answer.prefix, in_use
    ):
        return "the reply leads the tunnel into itself"
    if capturing(locator, station, nbma) is not None:
        return "the peer's NBMA address is within a shortcut"
    denial = station.circuits.address_denial(nbma, gateway)
    if denial is None and answer.prefix != host_prefix(gateway):
        denial = station.circuits.prefix_denial(nbma, answer.prefix)
    return denial


def _nbma_of(
    station: Station,
    servers: Servers,
    message: Message,
    entry: ClientInformation,
    nbma_source: Address,
) -> Address:
    """Returns the peer's NBMA address: the one that we see, else its post-NAT address, else the one it claims."""
    record = message.extension(ExtensionType.REVERSE_TRANSIT_NHS)
    is_direct = record is not None and not record.value
    if is_direct and not servers.is_server(nbma_source):
        return nbma_source
    translated = station.nat_address_in(message, entry.protocol or message.destination_protocol)
    if translated:
        return translated
    claimed = entry.nbma or nbma_source
    if claimed != nbma_source and not servers.is_server(nbma_source):
        return nbma_source
    return claimed


def _prefix_of(station: Station, target: Address, length: int) -> Prefix:
    """Returns the prefix of the shortcut: the reply's, but never more than our own route covers."""
    if length < MIN_EGRESS_LENGTH or length >= station.host_length:
        return host_prefix(target)
    route = station.tables.ribs[station.afi].lookup(target)
    if route is not None and route.prefix.length > length:
        length = route.prefix.length
    return prefix_of(target, length)
