"""Shortcuts of a protected interface: their routes come after the peer's SA, and go with its neighbour entry."""

from dataclasses import replace

from nhrpd_py.core.address import format_address
from nhrpd_py.core.config import IpsecConfig
from nhrpd_py.core.effects import (
    AnswerCommand,
    DropNeighbor,
    DropRoute,
    Effect,
    SetNeighbor,
    SetRoute,
)
from nhrpd_py.core.events import (
    AddressRemoved,
    Association,
    CommandGiven,
    IpsecReady,
    SaGone,
    SaInstalled,
)
from nhrpd_py.core.notices import ShortcutInstalled, ShortcutRemoved, ShortcutWaiting
from nhrpd_py.core.queries import Resolve, View
from nhrpd_py.packet.iana import PacketType
from nhrpd_py.packet.message import Message
from tests.support import inspect
from tests.support.engine import Node, a_spoke, of, sent, the
from tests.support.ipsec import failed
from tests.support.messages import (
    a_registration_reply,
    a_resolution_reply,
    a_resolution_request,
    a_traffic_indication,
    std_extensions,
)
from tests.support.sites import GRE, HUB, UNDERLAY, an_address, host, nbma, tunnel

REQUEST = PacketType.RESOLUTION_REQUEST


def an_sa(number: int, id_: int = 0) -> SaInstalled:
    """With the station of that number."""
    identity = f"CN=node{number % 30}"  # 33 is another uplink of 3
    return SaInstalled(
        Association(id=id_ or number, local=nbma(2), remote=nbma(number), identity=identity)
    )


def a_protected_spoke(*peers: int) -> tuple[Node, Message]:
    """A spoke with SAs to the hub and some peers, and its request after a redirect to the LAN of spoke 3 at 3 s."""
    spoke = a_spoke(2, registered=False, ipsec=IpsecConfig(profile="dmvpn"))
    sas = [an_sa(each) for each in (1, *peers)]
    effects = spoke.give(IpsecReady("6.0", patched=False), *sas, now=1.0) + spoke.advance(2.0)
    request = sent(effects, PacketType.REGISTRATION_REQUEST)[-1]
    spoke.receive(a_registration_reply(request), HUB.nbma, now=2.0)
    redirect = a_traffic_indication(1, host(2), host(3))
    return spoke, the(sent(spoke.receive(redirect, HUB.nbma, now=3.0), REQUEST))


def answer(spoke: Node, request: Message) -> list[Effect]:
    return spoke.receive(a_resolution_reply(request), HUB.nbma, now=3.1)


def in_order(effects: list[Effect]) -> list[str]:
    """What is asked of the kernel, and about what."""
    found = []
    for each in effects:
        if isinstance(each, SetNeighbor | DropNeighbor):
            found.append(f"{type(each).__name__} {format_address(each.address)}")
        elif isinstance(each, SetRoute | DropRoute):
            found.append(f"{type(each).__name__} {each.prefix}")
    return found


def told(effects: list[Effect]) -> list[str]:
    """What people hear of shortcuts."""
    return [
        f"{each.event} {each.prefix}"
        for each in effects
        if isinstance(each, ShortcutInstalled | ShortcutWaiting | ShortcutRemoved)
    ]


def test_route_of_a_shortcut_waits_for_the_sa() -> None:
    """It was there at once, and led into nothing for as long as IKE took."""
    spoke, asked = a_protected_spoke()
    effects = answer(spoke, asked)
    assert in_order(effects) == []
    assert spoke.shortcuts(4.0) == [("172.16.3.0/24", "10.255.255.3", "waiting")]
    assert told(effects) == ["shortcut.waiting 172.16.3.0/24"]
    assert "shortcut" not in {kind for (kind,) in spoke.table(View.ROUTES, "kind")}
    resolve = CommandGiven(1, Resolve(address=host(3)))
    assert the(of(spoke.give(resolve, now=4.0), AnswerCommand)).detail == (
        "172.16.3.0/24 via 10.255.255.3, as soon as there is a security association with 192.168.100.3"
    )
    # Another redirect meanwhile does not bring it.
    assert (
        of(spoke.receive(a_traffic_indication(1, host(2), host(3)), HUB.nbma, now=4.0), SetRoute)
        == []
    )
    effects = spoke.give(an_sa(3), now=5.0)
    assert in_order(effects) == [
        "SetNeighbor 10.255.255.3",
        "SetRoute 10.255.255.3/32",
        "SetRoute 172.16.3.0/24",
    ]
    assert spoke.shortcuts(5.0) == [("172.16.3.0/24", "10.255.255.3", "active")]
    assert told(effects) == ["shortcut.installed 172.16.3.0/24"]
    assert "shortcut" in {kind for (kind,) in spoke.table(View.ROUTES, "kind")}
    assert the(of(spoke.give(resolve, now=5.0), AnswerCommand)).detail == (
        "172.16.3.0/24 via 10.255.255.3"
    )


def test_shortcut_that_never_had_a_route_takes_none_back() -> None:
    spoke, asked = a_protected_spoke()
    answer(spoke, asked)
    table = inspect.shortcuts(spoke.engine)
    shortcut = the(table)
    effects = inspect.said(spoke.engine, lambda: table.remove(shortcut, "x"))
    assert of(effects, DropRoute) == []


def test_entry_that_is_as_good_takes_the_place_of_a_peer_that_is_held_down() -> None:
    spoke, asked = a_protected_spoke(4)
    answer(spoke, asked)
    spoke.give(failed(3), now=4.0)
    assert spoke.shortcuts(4.0) == [("172.16.3.10/32", None, "negative")]
    redirect = a_traffic_indication(1, host(2), host(3, 11))
    request = the(sent(spoke.receive(redirect, HUB.nbma, now=5.0), REQUEST))
    reply = a_resolution_reply(request)
    other = replace(reply.entries[0], nbma=nbma(4), protocol=tunnel(4))
    spoke.receive(replace(reply, entries=(*reply.entries, other)), HUB.nbma, now=5.1)
    assert ("172.16.3.0/24", "10.255.255.4", "active") in spoke.shortcuts(5.1)


def test_routes_of_shortcuts_go_before_the_neighbour_when_our_address_goes() -> None:
    """They stayed, and all their traffic was lost until the shortcut's end, also with the address back."""
    spoke, asked = a_protected_spoke(3)
    assert "SetRoute 172.16.3.0/24" in in_order(answer(spoke, asked))
    effects = spoke.give(AddressRemoved(UNDERLAY, nbma(2), 24), now=4.0)
    assert "shortcut.waiting 172.16.3.0/24" in told(effects)
    gone = in_order(effects)
    assert gone[-3:] == [
        "DropRoute 172.16.3.0/24",
        "DropRoute 10.255.255.3/32",
        "DropNeighbor 10.255.255.3",
    ]
    back = in_order(spoke.give(an_address(UNDERLAY, nbma(2), 24), an_sa(3, 33), now=5.0))
    assert back[-1] == "SetRoute 172.16.3.0/24"


def test_route_over_a_server_that_is_probed_goes_with_its_sa() -> None:
    """It stayed: the neighbour was gone, and what it led to was lost."""
    spoke, asked = a_protected_spoke()
    spoke.receive(a_resolution_reply(asked, HUB), HUB.nbma, now=3.1)
    binding = inspect.cache(spoke.engine).get(HUB.tunnel)
    assert binding is not None
    inspect.set_probing(binding)
    lost = in_order(spoke.give(SaGone(nbma(2), nbma(1), 1, "deleted"), now=4.0))
    assert lost.index("DropRoute 172.16.3.0/24") < lost.index("DropNeighbor 10.255.255.1")


def test_routes_of_shortcuts_go_when_their_peer_moves_to_where_no_sa_is() -> None:
    spoke, asked = a_protected_spoke(3, 33)
    answer(spoke, asked)
    request = a_resolution_request(
        3, host(2), source_nbma=nbma(44), extensions=std_extensions(), request_id=9
    )
    effects = spoke.receive(request, nbma(33), now=4.0)
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(3), nbma(33))]
    cache = inspect.cache(spoke.engine)
    binding = cache.get(tunnel(3))
    assert binding is not None
    effects = inspect.said(spoke.engine, lambda: cache.entries.withdraw(binding))
    assert in_order(effects) == [
        "DropRoute 172.16.3.0/24",
        "DropRoute 10.255.255.3/32",
        "DropNeighbor 10.255.255.3",
    ]
