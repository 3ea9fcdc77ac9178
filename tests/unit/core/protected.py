"""Protected stations, and charon's words to them."""

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
from tests.unit.core.stations import (
    HUB_NBMA,
    Node,
    a_hub,
    a_registration,
    a_registration_reply,
    a_spoke,
    an_indication,
    host,
    nbma,
    sent,
    the,
)

IPSEC = IpsecConfig(profile="dmvpn")
READY = IpsecReady("6.0.1", patched=False)


def an_association(
    remote: int,
    *,
    local: int = 2,
    id: int | None = None,  # noqa: A002 - the name of the field
    identity: str | None = None,
    blocks: tuple[str, ...] | None = None,
) -> Association:
    """Between two of the numbered stations."""
    return Association(
        id=remote if id is None else id,
        local=nbma(local),
        remote=nbma(remote),
        identity=identity or f"spoke{remote}.example",
        address_blocks=None if blocks is None else tuple(map(parse_prefix, blocks)),
    )


def installed(
    remote: int,
    *,
    local: int = 2,
    id: int | None = None,  # noqa: A002
    identity: str | None = None,
) -> SaInstalled:
    return SaInstalled(an_association(remote, local=local, id=id, identity=identity))


def gone(remote: int, *, local: int = 2, id: int | None = None, reason: str = "deleted") -> SaGone:  # noqa: A002
    return SaGone(nbma(local), nbma(remote), remote if id is None else id, reason)


def failed(remote: int, *, local: int = 2, reason: str = "no answer") -> SaFailed:
    return SaFailed(local=nbma(local), remote=nbma(remote), reason=reason, retry_in_s=2.0)


def a_rule(
    identity: str,
    protocol: tuple[str, ...] | None = None,
    prefixes: tuple[str, ...] | None = None,
) -> AuthorizeRule:
    def parsed(texts: tuple[str, ...] | None) -> tuple[Prefix, ...] | None:
        return None if texts is None else tuple(map(parse_prefix, texts))

    return AuthorizeRule(identity=identity, protocol=parsed(protocol), prefixes=parsed(prefixes))


def a_policy(
    *rules: AuthorizeRule, unlisted: Unlisted = Unlisted.ALLOW, certificate: bool = False
) -> AuthorizeConfig:
    return AuthorizeConfig(rules=rules, unlisted=unlisted, certificate=certificate)


def a_protected_hub(*clients: int, **settings: object) -> Node:
    """The hub; clients have their SA and are registered."""
    hub = a_hub(ipsec=IPSEC, **settings)
    hub.give(READY)
    for number in clients:
        hub.give(installed(number, local=1))
        hub.receive(a_registration(number), nbma(number))
    return hub


def a_protected_spoke(*peers: int, registered: bool = True, **settings: object) -> Node:
    """Spoke 2; with SAs to the hub, where it is registered, and to some peers."""
    spoke = a_spoke(2, registered=False, ipsec=IPSEC, **settings)
    spoke.give(READY)
    if registered:
        register(spoke)
    spoke.give(*(installed(each) for each in peers))
    return spoke


def register(spoke: Node, now: float = 0.0) -> list[Effect]:
    """The SA with the hub comes up, and the hub answers."""
    effects = spoke.give(installed(1), now=now)
    request = the(sent(effects, PacketType.REGISTRATION_REQUEST))
    return effects + spoke.receive(a_registration_reply(request), HUB_NBMA, now=now)


def redirected(spoke: Node, now: float, target: Address = host(3)) -> Message:  # noqa: B008
    """The hub sends an indication; the request that follows."""
    effects = spoke.receive(an_indication(1, host(2), target), HUB_NBMA, now=now)
    return the(sent(effects, PacketType.RESOLUTION_REQUEST))


def kernel(effects: list[Effect]) -> list[str]:
    """What is asked of the kernel, in order."""
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
    """What is asked of charon, in order."""
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
