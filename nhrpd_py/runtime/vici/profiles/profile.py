"""Makes the connections for charon from a profile: one for each peer with which we initiate, and
one that answers all peers.

A profile is a connection of swanctl.conf, or of our own file with the same keys. charon accepts
many mistakes silently (it reads a bad address as a host name, an empty list as "any"), so the
profile is checked first.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nhrpd_py.core.address import Address, format_address
from nhrpd_py.core.config import ProfileValue
from nhrpd_py.runtime.vici.profiles.identity import ANY, ANYBODY, is_exact
from nhrpd_py.runtime.vici.profiles.swanctl import SwanctlConf
from nhrpd_py.runtime.vici.wire.connection import Section, ViciError, sections, text

PEER_CONNECTION = "nhrp-"
"""Prefix of the name of the connection for one peer; the peer's address follows."""
RESPONDER_CONNECTION = "nhrp-peers-"
"""Prefix of the name of the connection that answers all peers; the profile's name follows."""
FILE_LIMIT = 60000
"""Octets of a certificate; a value in VICI has 65535 at most."""
NAME_LIMIT = 255
LISTS = frozenset(
    (
        *("local_addrs", "remote_addrs", "local_ts", "remote_ts", "vips", "pools"),
        *("proposals", "esp_proposals", "ah_proposals", "groups", "cert_policy"),
    )
)
MARKS = {"mark_in": "%unique", "set_mark_in": "%same"}
"""What gives the packets of each SA a mark of its own, which rekeying keeps."""
FILES = {"certs": "x509", "cacerts": "x509ca", "pubkeys": "pubkey"}
ANY_ADDRESS = frozenset((ANY, "%any4", "0.0.0.0", "0.0.0.0/0"))  # noqa: S104 (no bind)
PINNED = ("certs", "pubkeys")
GRE_SELECTORS = ("[gre", "[47")


class ProfileError(ViciError):
    """A profile cannot be used; the text is a sentence with the reason."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A connection of a file, which is cloned for peers."""

    name: str
    message: Mapping[str, Any]
    child: str
    own: bool
    """It is of our own file: only we load it into charon."""
    warnings: tuple[str, ...] = field(default=())
    marks: bool = False
    """Its clones give what comes out of each SA a mark, by which the source filter knows the peer."""

    @property
    def lacks_marks(self) -> bool:
        """Whether SAs of the connection itself would have no mark although they should."""
        return self.marks and not any(key in self.message["children"][self.child] for key in MARKS)

    @property
    def identity(self) -> str | None:
        """The remote identity that the first round demands, wildcards included; None where any will do."""
        for _, section in remotes(self.message):
            identity = _plain(section.get("id"))
            return None if identity in ANYBODY else identity
        return None

    @property
    def exact_identity(self) -> str | None:
        """The first remote identity that only one peer can have, or None."""
        for _, section in remotes(self.message):
            identity = _plain(section.get("id"))
            if is_exact(identity):
                return identity
        return None

    @property
    def is_for_any_address(self) -> bool:
        """Whether charon takes this connection wherever a peer calls from."""
        found = self.message.get("remote_addrs")
        return not found or not ANY_ADDRESS.isdisjoint(map(_plain, found))

    @property
    def demanded(self) -> str | None:
        """The remote identity that a server must have, wildcards included; None where any will do."""
        return self.exact_identity or self.identity


def find_profile(
    name: str, swanctl: SwanctlConf, path: str, own: Mapping[str, Mapping[str, ProfileValue]]
) -> Profile:
    """Finds a profile in our own file, else in the swanctl.conf at `path`. Raises ProfileError."""
    if name in own:
        directory = Path(path).parent
        message = _own_section(own[name], f"profile.{name}", directory)
        return _checked(name, message, f"profile.{name}", own=True)
    found = swanctl.connections.get(name)
    if found is None:
        if swanctl.problem is not None and not swanctl.connections:
            raise ProfileError(f"profile {name}: {swanctl.problem}")
        others = ", ".join(sorted(swanctl.connections)[:20]) or "none"
        reason = f"profile {name}: no such connection in {path} (it has: {others})"
        if swanctl.problem is not None:  # the problem may be of another connection, or of this one
            reason += f"; swanctl says of it: {swanctl.problem}"
        raise ProfileError(reason)
    return _checked(name, found, f"connection {name} of {path}", own=False)


def _checked(name: str, message: Section, where: str, *, own: bool) -> Profile:
    children = dict(sections(message.get("children") or {}))
    if name in children:
        child = name
    elif len(children) == 1:
        (child,) = children
    else:
        has = ", ".join(children) or "none"
        raise ProfileError(f"{where}: needs a child named {name}, or one alone (it has: {has})")
    if _plain(message.get("version"), "0") not in {"0", "1", "2"}:
        raise ProfileError(f"{where}: version must be 1 or 2")
    mode = _plain(children[child].get("mode"), "tunnel").lower()
    if mode != "transport":
        raise ProfileError(f"{where}: child {child} needs mode = transport, not {mode}")
    warnings = []
    for key in ("local_ts", "remote_ts"):
        selectors = [_plain(each) for each in children[child].get(key, ())]
        if not any(mark in each for each in selectors for mark in GRE_SELECTORS):
            warnings.append(
                f"{where}: child {child} has no {key} = dynamic[gre], so that more than the tunnel"
                " is encrypted"
            )
    if not dict(remotes(message)):
        warnings.append(f"{where}: has no remote section: any peer is taken unauthenticated")
    return Profile(name, message, child, own, tuple(warnings))


def _own_section(section: Mapping[str, ProfileValue], where: str, directory: Path) -> Section:
    """Returns a section of our own file as VICI carries it. Raises ProfileError."""
    result: dict[str, Any] = {}
    for key, value in section.items():
        place = f"{where}.{key}"
        if isinstance(value, Mapping):
            result[key] = _own_section(value, place, directory)
        elif key in FILES:
            result[key] = [
                _read(directory / FILES[key] / name, place) for name in _items(value, place)
            ]
        elif key in LISTS:
            result[key] = _items(value, place)
        elif isinstance(value, str):
            result[key] = value
        else:
            raise ProfileError(f"{place} takes one value, not a list")
    return result


def _items(value: ProfileValue, where: str) -> list[str]:
    words = value.split(",") if isinstance(value, str) else list(value)
    items = [word.strip() for word in words if word.strip()]
    if not items:
        raise ProfileError(f"{where} is empty")
    return items


def _read(path: Path, where: str) -> bytes:
    try:
        with path.open("rb") as file:
            octets = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise ProfileError(f"{where}: {path}: {error.strerror or error}") from error
    if not 0 < len(octets) <= FILE_LIMIT:
        raise ProfileError(f"{where}: {path} is no certificate")
    return octets


def peer_connection(
    profile: Profile, local: Address, remote: Address, *, server: bool, peer_identity: str | None
) -> tuple[str, Section]:
    """Returns the name and the message of the connection for one peer.

    `server` keeps the identity that the profile demands; else `peer_identity` takes its place. Raises
    ProfileError for addresses that no peer can have.
    """
    here, there = (_address_text(each) for each in (local, remote))
    message = _clone(profile, server=server, peer_identity=peer_identity)
    message["local_addrs"] = [here]
    message["remote_addrs"] = [there]
    return connection_name(remote), message


def without_marks(message: Section) -> Section | None:
    """Returns a connection as a charon takes it that knows no `set_mark_in`; None where it has no mark of ours."""
    children = {
        child: {key: value for key, value in section.items() if MARKS.get(key) != value}
        for child, section in sections(message["children"])
    }
    plain = {**message, "children": children}
    return None if plain == message else plain


def connection_name(remote: Address) -> str:
    return f"{PEER_CONNECTION}{format_address(remote)}"


def _address_text(address: Address) -> str:
    """Returns an address as text. An empty one or 0.0.0.0 is refused: charon would read it as "any"."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError as error:
        raise ProfileError(f"{address.hex() or 'nothing'} is no address") from error
    if parsed.is_unspecified or parsed.is_multicast:
        raise ProfileError(f"{parsed} is not the address of a peer")
    return str(parsed)


def responder_connection(profile: Profile, peer_identity: str | None) -> tuple[str, Section] | None:
    """Returns the connection that answers peers whom the profile would refuse; None where it answers all.

    A profile that demands one identity (the hub's) or has its address in `remote_addrs` refuses every
    other peer that initiates an SA. A profile of our own file always needs one, for only we load it
    into charon.
    """
    fits = identity_fits(profile, server=False, peer_identity=peer_identity)
    # Without an identity the profile accepts all these peers, and others.
    if not profile.own and profile.is_for_any_address and (fits or profile.identity is None):
        return None
    message = _clone(profile, server=False, peer_identity=peer_identity)
    message["remote_addrs"] = [ANY]
    if profile.own and "local_addrs" not in message:
        message["local_addrs"] = [ANY]
    return f"{RESPONDER_CONNECTION}{profile.name}"[:NAME_LIMIT], message


def _clone(profile: Profile, *, server: bool, peer_identity: str | None) -> dict[str, Any]:
    child = {
        key: value
        for key, value in profile.message["children"][profile.child].items()
        if key != "reqid"  # one number for all peers would join their policies
    }
    if profile.lacks_marks:
        child |= MARKS
    child |= {"start_action": "none", "close_action": "none", "dpd_action": "none"}
    message = {key: value for key, value in profile.message.items() if key != "children"}
    message["children"] = {profile.child: child}
    message["keyingtries"] = "1"  # the supervisor makes the next attempt, not charon
    if not server:
        _set_identity(message, peer_identity)
    return message


def _set_identity(message: dict[str, Any], peer_identity: str | None) -> None:
    rounds = remotes(message) or [("remote", {})]
    for number, (key, section) in enumerate(rounds):
        if is_exact(_plain(section.get("id"))) or not number:
            # The pinned certificate is that of the one peer whose identity is replaced.
            others = {name: section[name] for name in section if name not in PINNED}
            if not number and peer_identity is not None:
                message[key] = {**others, "id": peer_identity}
            elif is_exact(_plain(section.get("id"))):
                message[key] = {**others, "id": ANY}


def remotes(message: Section) -> list[tuple[str, Section]]:
    """Returns the peer's authentication rounds with their names, in order."""
    return [(key, value) for key, value in sections(message) if key.startswith("remote")]


def identity_fits(profile: Profile, *, server: bool, peer_identity: str | None) -> bool:
    """Returns whether the profile itself demands the same identity of a peer as its clone would."""
    if server or peer_identity == profile.identity is not None:
        return True
    return peer_identity is None and profile.exact_identity is None


def _plain(value: object, otherwise: str = "") -> str:
    return value if isinstance(value, str) else text(value, otherwise)
