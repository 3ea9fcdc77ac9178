"""Protected routers, charon's events for them, and their requests for SAs."""

from typing import Any, Unpack

from nhrpd_py.core.address import Address, Prefix, format_address, parse_prefix
from nhrpd_py.core.config import AuthorizeConfig, AuthorizeRule, IpsecConfig, Unlisted
from nhrpd_py.core.effects import (
    DropNeighbor,
    DropRoute,
    DropSa,
    Effect,
    EndSa,
    SetNeighbor,
    SetRoute,
    WantSa,
)
from nhrpd_py.core.events import Association, IpsecReady, SaFailed, SaGone, SaInstalled
from nhrpd_py.packet.iana import PacketType
from nhrpd_py.packet.message import Message
from tests.support.engine import Node, NodeSettings, a_hub, a_spoke, sent, the
from tests.support.messages import (
    TARGET,
    a_registration_reply,
    a_registration_request,
    a_resolution_reply,
    a_traffic_indication,
)
from tests.support.sites import HUB, host, nbma

IPSEC = IpsecConfig(profile="dmvpn")
READY = IpsecReady("6.0.1", patched=False)


def an_association(
    remote: int,
    *,
    local: int = 2,
    id: int | None = None,  # noqa: A002 - the name of the field
    identity: str | None = None,
    blocks: tuple[str, ...] | None = None,
    mark: int = 0,
) -> Association:
    """Returns an SA between two sites, as charon reports it."""
    return Association(
        id=remote if id is None else id,
        local=nbma(local),
        remote=nbma(remote),
        identity=identity or f"spoke{remote}.example",
        address_blocks=None if blocks is None else tuple(map(parse_prefix, blocks)),
        mark=mark,
    )


def installed(
    remote: int,
    *,
    local: int = 2,
    id: int | None = None,  # noqa: A002
    identity: str | None = None,
    mark: int = 0,
) -> SaInstalled:
    """Returns the event of a new SA between two sites."""
    return SaInstalled(an_association(remote, local=local, id=id, identity=identity, mark=mark))


def gone(
    remote: int,
    *,
    local: int = 2,
    id: int | None = None,  # noqa: A002
    reason: str = "deleted",
) -> SaGone:
    """Returns the event of an SA that is gone."""
    return SaGone(nbma(local), nbma(remote), remote if id is None else id, reason)


def failed(remote: int, *, local: int = 2, reason: str = "no answer") -> SaFailed:
    """Returns the event of a failed attempt; the next one is in 2 s."""
    return SaFailed(local=nbma(local), remote=nbma(remote), reason=reason, retry_in_s=2.0)


def one_too_many(remote: int, *, local: int = 2) -> SaFailed:
    """Returns the event of a second peer behind an outer address, whose SA is being ended."""
    reason = "two peers behind one address cannot be told apart"
    return SaFailed(
        local=nbma(local), remote=nbma(remote), reason=reason, retry_in_s=0.0, was_up=True
    )


def a_rule(
    identity: str,
    protocol: tuple[str, ...] | None = None,
    prefixes: tuple[str, ...] | None = None,
) -> AuthorizeRule:
    """What an identity may have; None: what its certificate says, or anything."""

    def parsed(texts: tuple[str, ...] | None) -> tuple[Prefix, ...] | None:
        return None if texts is None else tuple(map(parse_prefix, texts))

    return AuthorizeRule(identity=identity, protocol=parsed(protocol), prefixes=parsed(prefixes))


def a_policy(
    *rules: AuthorizeRule, unlisted: Unlisted = Unlisted.ALLOW, certificate: bool = False
) -> AuthorizeConfig:
    """Returns a policy of rules, with the default for identities that no rule names."""
    return AuthorizeConfig(rules=rules, unlisted=unlisted, certificate=certificate)


POLICY = a_policy(
    a_rule("spoke3.example", ("10.255.255.3/32",), ("172.16.3.0/24",)),
    a_rule("spoke4.example", ("10.255.255.4/32",), ("172.16.4.0/24",)),
)
"""Spokes 3 and 4 may claim their own addresses and LANs."""


def a_protected_hub(*clients: int, **settings: Unpack[NodeSettings]) -> Node:
    """Returns the hub; its clients have SAs and are registered."""
    settings = {"ipsec": IPSEC, **settings}
    hub = a_hub(**settings)
    hub.give(READY)
    for number in clients:
        hub.give(installed(number, local=1))
        hub.receive(a_registration_request(number), nbma(number))
    return hub


def a_protected_spoke(
    *peers: int, registered: bool = True, **settings: Unpack[NodeSettings]
) -> Node:
    """Returns spoke 2, with SAs to the hub, where it is registered, and to some peers."""
    settings = {"ipsec": IPSEC, **settings}
    spoke = a_spoke(2, registered=False, **settings)
    spoke.give(READY)
    if registered:
        register(spoke)
    spoke.give(*(installed(each) for each in peers))
    return spoke


def register(spoke: Node, now: float = 0.0) -> list[Effect]:
    """Brings the SA with the hub up, and has the hub answer the registration."""
    effects = spoke.give(installed(1), now=now)
    request = the(sent(effects, PacketType.REGISTRATION_REQUEST))
    return effects + spoke.receive(a_registration_reply(request), HUB.nbma, now=now)


def redirected(spoke: Node, now: float, target: Address = TARGET) -> Message:
    """Gives the hub's Traffic Indication; returns the request that follows."""
    effects = spoke.receive(a_traffic_indication(1, host(2), target), HUB.nbma, now=now)
    return the(sent(effects, PacketType.RESOLUTION_REQUEST))


def kernel(effects: list[Effect]) -> list[str]:
    """Returns the effects for the kernel, in order, as text."""
    found = []
    for each in effects:
        match each:
            case SetNeighbor(_, address, to, _):
                found.append(f"+ {format_address(address)} at {format_address(to)}")
            case DropNeighbor(_, address):
                found.append(f"- {format_address(address)}")
            case SetRoute(prefix, _, gateway):
                found.append(f"+ {prefix}" + (f" via {format_address(gateway)}" if gateway else ""))
            case DropRoute(prefix):
                found.append(f"- {prefix}")
            case _:
                pass
    return found


def wishes(effects: list[Effect]) -> list[str]:
    """Returns the effects for charon, in order, as text."""
    found = []
    for each in effects:
        match each:
            case WantSa():
                parts = ["server"] if each.server else []
                parts += [f"after {each.delay_s:g}"] if each.delay_s else []
                found.append(" ".join([f"want {format_address(each.remote)}", *parts]))
            case DropSa():
                found.append(f"drop {format_address(each.remote)}")
            case EndSa():
                found.append(f"end {format_address(each.remote)}")
            case _:
                pass
    return found


def asks(spoke: Node, now: float) -> list[Message]:
    """Returns the spoke's requests after another redirect."""
    redirect = a_traffic_indication(1, host(2), host(3))
    return sent(spoke.receive(redirect, HUB.nbma, now=now), PacketType.RESOLUTION_REQUEST)


def resolved(spoke: Node, now: float = 1.0, **reply: Any) -> list[str]:
    """Gives a redirect and the reply by way of the hub; returns the effects for charon."""
    request = redirected(spoke, now)
    return wishes(spoke.receive(a_resolution_reply(request, **reply), HUB.nbma, now=now))
