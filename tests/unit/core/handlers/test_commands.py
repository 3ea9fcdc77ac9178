"""What operators tell the engine to do."""

import pytest

from nhrpd_py.core.address import parse_prefix
from nhrpd_py.core.effects import AnswerCommand, DropNeighbor, DropRoute
from nhrpd_py.core.events import CommandGiven
from nhrpd_py.core.queries import Command, Flush, FlushWhat, Resolve
from nhrpd_py.packet.iana import PURGE_NO_REPLY, PacketType
from tests.support.engine import Node, a_hub, a_node, a_spoke, kinds, of, sent, the
from tests.support.messages import a_registration_reply, a_resolution_reply, a_traffic_indication
from tests.support.paths import a_proven_spoke, probes
from tests.support.resolution import redirect
from tests.support.sites import (
    GRE,
    HUB,
    UNDERLAY,
    a_map,
    a_route,
    an_interface,
    an_nhs,
    host,
    ip,
    nbma,
    tunnel,
)


def tell(node: Node, command: Command, now: float = 1.0) -> tuple[AnswerCommand, list]:
    effects = node.give(CommandGiven(1, command), now=now)
    return the(of(effects, AnswerCommand)), effects


def a_shortcut_spoke() -> Node:
    spoke = a_spoke(2)
    for number in (3, 4):
        request = the(sent(spoke.receive(a_traffic_indication(1, host(2), host(number)), HUB.nbma)))
        spoke.receive(a_resolution_reply(request, number), HUB.nbma)
    return spoke


def test_flush_of_shortcuts_takes_them_and_what_they_brought() -> None:
    spoke = a_shortcut_spoke()
    spoke.receive(a_traffic_indication(1, host(2), host(5)), HUB.nbma)  # one that is asked for
    answer, effects = tell(spoke, Flush(what=FlushWhat.SHORTCUTS))
    assert (answer.matched, answer.refused, answer.detail) == (5, None, "5 flushed")
    assert len(of(effects, DropRoute)) == 4
    assert spoke.shortcuts() == []
    assert set(spoke.cache()) == {"10.255.255.1"}


def test_flush_of_the_cache_makes_clients_and_us_register_anew() -> None:
    hub = a_hub(2, 3, maps=(a_map(tunnel(9), nbma(9)),))
    answer, effects = tell(hub, Flush(what=FlushWhat.CACHE))
    assert answer.matched == 2
    assert len(of(effects, DropNeighbor)) == 2
    hints = sent(effects, PacketType.PURGE_REQUEST)
    assert [(each.flags, each.destination_protocol) for each in hints] == [
        (PURGE_NO_REPLY, tunnel(2)),
        (PURGE_NO_REPLY, tunnel(3)),
    ]
    assert set(hub.cache()) == {"10.255.255.9"}
    spoke = a_shortcut_spoke()
    answer, effects = tell(spoke, Flush(what=FlushWhat.CACHE))
    assert answer.matched == 3
    assert kinds(effects) == [(HUB.nbma, PacketType.REGISTRATION_REQUEST)]
    assert set(spoke.cache()) == {"10.255.255.1"}  # until it does not answer


def test_flush_of_everything_is_both() -> None:
    answer, _ = tell(a_shortcut_spoke(), Flush(what=FlushWhat.ALL))
    assert answer.matched == 5


@pytest.mark.parametrize(
    ("selection", "left"),
    [
        ({"protocol": parse_prefix("172.16.3.0/24")}, ["172.16.4.0/24"]),
        ({"protocol": parse_prefix("172.16.3.10/32")}, ["172.16.4.0/24"]),
        ({"protocol": parse_prefix("172.16.0.0/16")}, []),
        ({"protocol": parse_prefix("fd00::/16")}, ["172.16.3.0/24", "172.16.4.0/24"]),
        ({"nbma": nbma(4)}, ["172.16.3.0/24"]),
        ({"interface": "gre1"}, []),
    ],
)
def test_flush_can_be_narrowed(selection, left) -> None:
    spoke = a_shortcut_spoke()
    tell(spoke, Flush(what=FlushWhat.SHORTCUTS, **selection))
    assert [row[0] for row in spoke.shortcuts()] == left


def test_flush_of_a_peer_ends_the_hold_down_of_what_was_resolved_to_it() -> None:
    """The peer was tried no sooner, for nobody asked for the addresses behind it."""
    spoke = a_proven_spoke()
    spoke.run(6.0)
    assert spoke.shortcuts(6.0) == [("172.16.3.10/32", None, "negative")]
    assert sent(redirect(spoke, now=6.5)) == []
    tell(spoke, Flush(what=FlushWhat.SHORTCUTS, nbma=nbma(3)), now=7.0)
    request = the(sent(redirect(spoke, now=7.0)))
    assert probes(spoke.receive(a_resolution_reply(request), HUB.nbma, now=7.1))


def test_narrowed_flush_leaves_the_rest_of_the_cache() -> None:
    hub = a_hub(2, 3)
    answer, _ = tell(hub, Flush(what=FlushWhat.CACHE, nbma=nbma(3)))
    assert answer.matched == 1
    assert set(hub.cache()) == {"10.255.255.2"}


def test_flush_lets_the_next_packet_be_redirected_at_once() -> None:
    hub = a_hub(2, 3)
    hub.see(host(2), host(3), now=1.0)
    tell(hub, Flush(what=FlushWhat.SHORTCUTS))
    assert sent(hub.see(host(2), host(3), now=1.1))


@pytest.mark.parametrize(
    "command",
    [Flush(what=FlushWhat.ALL, interface="gre9"), Resolve(address=HUB.tunnel, interface="gre9")],
)
def test_unknown_interface_is_refused(command) -> None:
    answer, _ = tell(a_hub(2), command)
    assert answer.refused == "no interface gre9 in the configuration"
    assert answer.matched == 0


# Resolve.


def test_resolve_asks_and_says_so() -> None:
    spoke = a_spoke(2)
    answer, effects = tell(spoke, Resolve(address=host(3)))
    assert (answer.matched, answer.detail) == (1, "asking for 172.16.3.10")
    assert kinds(effects) == [(HUB.nbma, PacketType.RESOLUTION_REQUEST)]


def test_resolve_of_what_is_known_says_what_is_known() -> None:
    spoke = a_shortcut_spoke()
    answer, effects = tell(spoke, Resolve(address=host(3, 99)))
    assert answer.detail == "172.16.3.0/24 via 10.255.255.3"
    assert sent(effects) == []
    assert tell(spoke, Resolve(address=tunnel(3)))[0].detail == "10.255.255.3 is at 192.168.100.3"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (tunnel(2), "this is an address of this machine"),
        (host(2, 77), "the route to it does not lead into the cloud"),
        (ip("fd00::9"), "no interface is ready to ask"),
        (ip("127.0.0.1"), "this is no address of one station"),
        (ip("224.0.0.5"), "this is no address of one station"),
    ],
)
def test_resolve_says_why_not(address, reason) -> None:
    assert tell(a_spoke(2), Resolve(address=address))[0].refused == reason


def test_resolve_without_a_server_says_so() -> None:
    spoke = a_spoke(2, registered=False)
    assert tell(spoke, Resolve(address=host(3)))[0].refused == "no next hop server to ask"


def test_resolve_of_what_was_refused_asks_again() -> None:
    spoke = a_spoke(2)
    request = the(sent(tell(spoke, Resolve(address=host(3)))[1]))
    refusal = a_resolution_reply(request, prefix_length=0)
    nak = type(refusal.entries[0])(code=12)
    spoke.receive(type(refusal)(**_with(refusal, entries=(nak,))), HUB.nbma, now=1.0)
    assert spoke.shortcuts() == [("172.16.3.10/32", None, "negative")]
    assert len(sent(tell(spoke, Resolve(address=host(3)), now=2.0)[1])) == 1
    # One that is on its way is not doubled.
    answer, effects = tell(spoke, Resolve(address=host(3)), now=2.5)
    assert answer.matched == 1
    assert sent(effects) == []


def _with(message, **changes):
    return {name: getattr(message, name) for name in message.__slots__} | changes


def test_resolve_may_name_its_interface() -> None:
    assert tell(a_spoke(2), Resolve(address=host(3), interface="gre1"))[0].matched == 1


def test_resolve_of_what_is_behind_another_route_says_so() -> None:
    spoke = a_spoke(2, routes=[a_route("0.0.0.0/0", UNDERLAY, nbma(254))])
    answer, _ = tell(spoke, Resolve(address=host(3)))
    assert answer.refused == "the route to it does not lead into the cloud"


def test_narrowed_flush_leaves_other_interfaces_and_other_requests() -> None:
    spoke = a_node(
        2,
        an_interface("gre1", shortcut=True, nhs=(an_nhs(),)),
        an_interface("gre2", network_id=2),
        routes=[a_route("172.16.0.0/16", GRE, HUB.tunnel)],
    )
    spoke.receive(a_registration_reply(the(sent(spoke.started))), HUB.nbma)
    for number in (3, 4):
        spoke.receive(a_traffic_indication(1, host(2), host(number)), HUB.nbma)
    answer, _ = tell(spoke, Flush(what=FlushWhat.ALL, interface="gre2"), now=0.5)
    assert answer.matched == 0
    three = parse_prefix("172.16.3.0/24")
    answer, _ = tell(spoke, Flush(what=FlushWhat.SHORTCUTS, protocol=three), now=0.5)
    assert answer.matched == 1
    assert spoke.shortcuts() == [("172.16.4.10/32", None, "incomplete")]
