"""What rules do: each function makes an action that puts words of a command where they belong.

Values are checked as the configuration file's are, so that nothing is written that `nhrpd --check`
refuses: what does not fit stays out, with the sentence that the check would say.
"""

import ipaddress
from collections.abc import Callable
from functools import cache
from typing import Any

from nhrpd_py.cli.importing.node import Binding, Server, Setting, Value
from nhrpd_py.cli.importing.rules import Action, Found, Place
from nhrpd_py.config.values import (
    between,
    connection_name,
    interface_name,
    nbma_or_name,
    nhs_protocol,
    secret,
    station_address,
)
from nhrpd_py.core.config import MAX_HOLDING_TIME_S, MIN_HOLDING_TIME_S

KEYS = between(0, 0xFFFFFFFF)
MTUS = between(68, 65535)


class UnfitError(Exception):
    """A value does not fit; the text is a sentence without its subject."""


def checked(check: Callable[[Any], Any], value: Any) -> Any:
    """Runs a check of the configuration file. Raises UnfitError."""
    try:
        return check(value)
    except ValueError as error:
        raise UnfitError(str(error)) from None


def whole(text: str) -> int:
    """Reads a number. Raises UnfitError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10):  # noqa: PLR2004 (32 bits)
        raise UnfitError(f"{text!r} is no number")
    return int(text)


def guarded(action: Action) -> Action:
    """Turns a value that does not fit into a line that is not carried over."""

    def do(place: Place, found: Found) -> None:
        try:
            action(place, found)
        except UnfitError as error:
            place.refuse(f"The value does not fit: {error}.")

    return do


def flag(key: str, *, value: bool = True) -> Action:
    return lambda place, _found: place.set(key, value)


def number(key: str, low: int, high: int, word: str = "NUMBER") -> Action:
    @guarded
    def do(place: Place, found: Found) -> None:
        place.set(key, checked(between(low, high), whole(found[word])))

    return do


def network_id(word: str = "NUMBER") -> Action:
    """NHRP is on where there is a network id. A second one for the other family must be the same."""

    @guarded
    def do(place: Place, found: Found) -> None:
        value = checked(between(1, 0xFFFFFFFF), whole(found[word]))
        known = place.tunnel.settings.get("network-id")
        if known is not None and known.value != value:
            place.refuse(
                f"An interface of nhrpd has one network-id for IPv4 and IPv6, and it is {known.value}."
            )
            return
        place.tunnel.speaks_nhrp = True
        if known is None:
            place.set("network-id", value)

    return do


def holding_time(word: str = "NUMBER") -> Action:
    return number("holding-time", MIN_HOLDING_TIME_S, MAX_HOLDING_TIME_S, word)


def authentication(word: str = "SECRET") -> Action:
    @guarded
    def do(place: Place, found: Found) -> None:
        phrase = unquoted(found[word])
        place.node.hidden.add(phrase)
        place.set("authentication", checked(secret, phrase), "the same on all nodes")

    return do


def tunnel_source(word: str = "NAME") -> Action:
    @guarded
    def do(place: Place, found: Found) -> None:
        place.set("tunnel-source", checked(interface_name, found[word]))

    return do


def protection(word: str = "PROFILE", fallback: str = "FALLBACK") -> Action:
    """The connection that protects the tunnel, by its own name in swanctl.conf."""

    @guarded
    def do(place: Place, found: Found) -> None:
        place.nhrp().profile = Setting(checked(connection_name, found[word]), place.where)
        if fallback in found:
            name = checked(connection_name, found[fallback])
            place.tunnel.fallback_profile = Setting(name, place.where)

    return do


def rank(ours: Server, found: Found) -> None:
    """Reads the priority and the cluster of a server. Raises UnfitError."""
    if "NUMBER" in found:
        ours.priority = checked(between(0, 255), whole(found["NUMBER"]))
    if "CLUSTER" in found:
        ours.cluster = checked(between(0, 65535), whole(found["CLUSTER"]))


def server(protocol: str = "PROTOCOL", nbma: str = "NBMA") -> Action:
    """A next hop server; a prefix length behind its tunnel address is left out."""

    @guarded
    def do(place: Place, found: Found) -> None:
        ours = Server(
            checked(nhs_protocol, found[protocol].partition("/")[0]),
            checked(nbma_or_name, found[nbma]),
            place.where,
        )
        rank(ours, found)
        add_server(place, ours)

    return do


def dynamic_server(nbma: str = "NBMA") -> Action:
    @guarded
    def do(place: Place, found: Found) -> None:
        add_server(place, Server("dynamic", checked(nbma_or_name, found[nbma]), place.where))

    return do


def add_server(place: Place, ours: Server) -> None:
    """Adds a server, unless it is there already or of another underlay."""
    tunnel = place.nhrp()
    key = ours.protocol, ours.nbma.lower()
    if key in tunnel.known:
        place.refuse(f"It is the same server as in {tunnel.known[key]}.")
    elif fits_underlay(place, ours.nbma):
        tunnel.known[key] = ours.where
        tunnel.servers.append(ours)


def fits_underlay(place: Place, nbma: str) -> bool:
    """Refuses an outer address of another family than the first one's: a tunnel has one underlay."""
    tunnel = place.tunnel
    here = family(nbma)
    if here is None:
        return True
    there, where = tunnel.underlay = tunnel.underlay or (here, place.where)
    if here != there:
        place.refuse(
            f"Its outer address is {here}, and that of {where} {there}: a tunnel has one underlay."
        )
    return here == there


@cache
def family(address: str) -> str | None:
    try:
        return f"IPv{ipaddress.ip_address(address).version}"
    except ValueError:
        return None  # a name


def binding(protocol: str = "PROTOCOL", nbma: str = "NBMA") -> Action:
    @guarded
    def do(place: Place, found: Found) -> None:
        add_binding(place, found[protocol], found[nbma])

    return do


def add_binding(place: Place, protocol: str, nbma: str) -> None:
    """Adds a `map`; one for a network or with a name is left for later. Raises UnfitError."""
    from nhrpd_py.cli.importing import later  # noqa: PLC0415

    address, _, length = protocol.partition("/")
    if length not in ("", "32", "128") and (why := later.reason("map-prefix")) is not None:
        place.refuse(why)
        return
    checked(nbma_or_name, nbma)
    if family(nbma) is None and (why := later.reason("map-name")) is not None:
        place.refuse(why)
        return
    plain = address if length in ("", "32", "128") else protocol
    ours = Binding(plain, nbma, place.where)
    if length in ("", "32", "128"):
        ours.protocol = checked(station_address, address)
    tunnel = place.nhrp()
    key = ours.protocol, ""
    if key in tunnel.known:
        place.refuse(f"The address is mapped in {tunnel.known[key]} already.")
    elif fits_underlay(place, nbma):
        tunnel.known[key] = ours.where
        tunnel.bindings.append(ours)


def appended(key: str, word: str) -> Action:
    """Adds a word to a list of the tunnel's table, once: both families may have the line."""

    def do(place: Place, found: Found) -> None:
        known = place.tunnel.settings.get(key)
        if known is not None and isinstance(known.value, list):
            known.value = list(dict.fromkeys([*map(str, known.value), found[word]]))
        else:
            place.set(key, [found[word]])

    return do


def entry(table: str, **words: str) -> Action:
    """Adds a table to an array below the tunnel's table; each key takes a word that is a number."""

    @guarded
    def do(place: Place, found: Found) -> None:
        row = {
            key.replace("_", "-"): Setting(whole(found[word]), place.where)
            for key, word in words.items()
        }
        place.nhrp().tables.setdefault(table, []).append(row)

    return do


def general(table: str, key: str, word: str = "NUMBER") -> Action:
    """Sets a number outside of interfaces."""

    @guarded
    def do(place: Place, found: Found) -> None:
        value: Value = checked(between(1, 65535), whole(found[word]))
        place.node.general[table, key] = Setting(value, place.where)

    return do


def address(word: str = "PREFIX") -> Action:
    """The tunnel's own address, with its prefix length."""

    @guarded
    def do(place: Place, found: Found) -> None:
        add_address(place, found[word])

    return do


def add_address(place: Place, text: str) -> None:
    """Adds an address of the netdev. Raises UnfitError."""
    try:
        place.tunnel.device.addresses.append(str(ipaddress.ip_interface(unquoted(text))))
    except ValueError:
        raise UnfitError(f"{text!r} is no address with a prefix length") from None


def device(field: str, check: Callable[[int], int], word: str = "NUMBER") -> Action:
    """A number of the netdev."""

    @guarded
    def do(place: Place, found: Found) -> None:
        setattr(place.tunnel.device, field, checked(check, whole(unquoted(found[word]))))

    return do


def text(key: str, word: str = "NAME") -> Action:
    """Sets a word."""
    return lambda place, found: place.set(key, found[word])


def general_text(table: str, key: str, word: str) -> Action:
    """Sets a word outside of interfaces."""

    def do(place: Place, found: Found) -> None:
        place.node.general[table, key] = Setting(found[word], place.where)

    return do


def routing_line(place: Place, _found: Found) -> None:
    """A line of a routing protocol goes to frr.conf as it is."""
    place.tunnel.routing.append(place.said.text)


def nothing(_place: Place, _found: Found) -> None:
    """The command needs no counterpart."""


def unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text
