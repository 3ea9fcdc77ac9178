"""Reads a Resolution Reply: its prefix, the peer before it and the peer's NBMA address; and whether to believe it.

RFC 2332 §5.2.2; Cisco NAT extension.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from nhrpd_py.core.address import (
    Address,
    Prefix,
    format_address,
    host_prefix,
    is_unicast,
    parse_prefix,
    prefix_of,
)
from nhrpd_py.core.kernel.rib import stretch
from nhrpd_py.core.registration.claims import Claims
from nhrpd_py.core.registration.servers import Servers
from nhrpd_py.core.resolution.failure import BUSY_S, Failure, FailureKind
from nhrpd_py.core.station.location import MIN_EGRESS_LENGTH
from nhrpd_py.core.station.station import Station, entries_in
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.iana import CieCode, ExtensionType
from nhrpd_py.packet.message import Message

MAX_ANSWERS = 8
"""Entries of one reply that are looked at; a reply has room for hundreds."""

PRIVATE_NETWORKS = tuple(
    map(
        parse_prefix,
        (
            "10.0.0.0/8",
            "100.64.0.0/10",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "fc00::/7",
        ),
    )
)
"""Where a station behind NAT is (RFC 1918, 6598, 3927 and 4193)."""


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
            prefix = _prefix_of(station, message.destination_protocol, entry.prefix_length, gateway)
            answers.append(Answer(gateway, nbma, prefix, entry))
    return answers


def is_from_responder(station: Station, message: Message, nbma_source: Address) -> bool:
    """Returns whether a reply came straight from the station that it names as the peer, by its outer source address.

    That is the NBMA address that the peer claims, or behind NAT its post-NAT address of the NAT extension, or the
    address of the responder entry (§5.3.1). A peer that does not know of its NAT names no post-NAT address and claims
    one of a private network, which cannot be compared; it is bound to the outer address alone.
    """
    entry = message.entries[0]
    gateway = entry.protocol or message.destination_protocol
    translated = station.nat_address_in(message, gateway)
    responder = message.extension(ExtensionType.RESPONDER_ADDRESS)
    told = {each.nbma for each in entries_in(responder, message)} if responder else set()
    if nbma_source in {entry.nbma, translated, *told}:
        return True
    if not entry.nbma:
        return entry.code == CieCode.SUCCESS  # no address is claimed: the outer one is meant
    return not translated and any(each.covers(host_prefix(entry.nbma)) for each in PRIVATE_NETWORKS)


def failure_of(
    station: Station, claims: Claims, servers: Servers, answer: Answer
) -> Failure | None:
    """Returns why an answer is not believed, and for how long it is not asked for again; None when it is believed."""
    problem = _problem_with(station, claims, answer)
    if problem is not None:
        return Failure.denied(problem)
    if servers.is_silent(answer.gateway):
        return Failure(FailureKind.HELD_DOWN, "its server does not answer", BUSY_S)
    stray = claims.stray(answer.gateway)
    if stray is None:
        return None
    return Failure.stray(f"{format_address(answer.gateway)}, the reply's gateway: {stray}")


def _problem_with(station: Station, claims: Claims, answer: Answer) -> str | None:
    """Returns why an answer is denied; None when it is not.

    The identity of a peer without an SA is unknown: what it may claim is checked when its SA is up. What no rule allows
    to anybody is refused before an SA is wanted for it.
    """
    gateway, nbma = answer.gateway, answer.nbma
    if len(gateway) * 8 != station.host_length or not is_unicast(gateway):
        return "the reply names no usable overlay address"
    if station.tables.is_local(gateway):
        return "the reply leads back to us"
    if nbma in (station.interface.nbma, station.nat_nbma) or station.tables.is_local(nbma):
        return "the peer has our own NBMA address"
    if len(nbma) != len(station.interface.nbma) or not is_unicast(nbma):
        return "the reply names no usable NBMA address"
    refusal = claims.refusal(gateway, nbma) or claims.taken(gateway, nbma, unknown=True)
    if refusal is not None:
        return f"the reply's gateway is refused: {refusal}"
    if claims.captures(answer.prefix, nbma):
        return "the reply leads the tunnel into itself"
    covered = claims.covered(nbma)
    if covered is not None:
        return covered
    if not station.circuits.is_up(nbma):
        return station.circuits.policy.hopeless(gateway, answer.prefix)
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


def _prefix_of(station: Station, target: Address, length: int, gateway: Address) -> Prefix:
    """Returns the prefix of the shortcut: the reply's, cut to our own route, and to what is not known to be elsewhere.

    A responder whose network is a part of a summary that we have a route for may claim all of the summary.
    """
    if length < MIN_EGRESS_LENGTH or length >= station.host_length:
        return host_prefix(target)
    route = station.tables.ribs[station.afi].lookup(target)
    if route is not None and route.prefix.length > length:
        length = route.prefix.length
    prefix = prefix_of(target, length)
    elsewhere = (
        each for each in _elsewhere(station, prefix, target, gateway) if not each.contains(target)
    )
    return stretch(prefix, target, elsewhere)


def _elsewhere(
    station: Station, prefix: Prefix, target: Address, gateway: Address
) -> Iterator[Prefix]:
    """Yields what of a prefix is not behind a gateway: routes, our own and others' addresses, shortcuts."""
    for route in station.tables.ribs[station.afi].inside(prefix):
        yield route.prefix
    for own in station.tables.local_addresses():
        if prefix.contains(own):
            yield host_prefix(own)
    for bound in station.cache.around(target, apart_from=(gateway, target)):
        yield host_prefix(bound)
    for shortcut in station.shortcuts.touching(prefix):
        if shortcut.binding.protocol != gateway:
            yield shortcut.prefix
