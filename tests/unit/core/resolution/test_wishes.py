"""Replies that name peers without an SA: what charon is asked for is limited, and never what nobody may have."""

from dataclasses import replace

import pytest

from nhrpd_py.core.config import Unlisted
from nhrpd_py.core.effects import Effect
from nhrpd_py.core.events import AddressRemoved
from nhrpd_py.core.notices import ResolutionFailed
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.iana import PacketType
from tests.support.engine import Node, of, the
from tests.support.ipsec import (
    POLICY,
    a_protected_spoke,
    a_rule,
    failed,
    installed,
    redirected,
    wishes,
)
from tests.support.messages import a_resolution_reply, a_resolution_request
from tests.support.resolution import FORWARDED
from tests.support.sites import GRE, HUB, UNDERLAY, a_route, an_address, host, nbma, tunnel

ROUTES = [
    a_route(each, GRE, HUB.tunnel) for each in ("10.255.255.0/24", "10.9.0.0/16", "172.16.0.0/16")
]
BOGUS = bytes((203, 0, 113, 0))


def bogus(number: int) -> bytes:
    """Returns an NBMA address where nobody is."""
    return (int.from_bytes(BOGUS) + number).to_bytes(4)


def answered(
    spoke: Node, target: bytes, to: bytes, *, last: int = 3, gateway: bytes = b""
) -> list[Effect]:
    """Gives a spoke a redirect about `target`, and the reply that its peer is at the NBMA address `to`."""
    request = redirected(spoke, 1.0, target)
    entry = ClientInformation(
        prefix_length=32, holding_time_s=60, nbma=to, protocol=gateway or tunnel(last)
    )
    return spoke.receive(a_resolution_reply(request, entries=(entry,)), HUB.nbma, now=1.0)


def lying(spoke: Node, count: int, lan: int = 4) -> list[str]:
    """Has the responder of a LAN name another bogus peer for each of its hosts; returns which SAs were wanted."""
    wanted: list[str] = []
    for number in range(1, 1 + count):
        gateway = bytes((10, 9, lan, number))
        effects = answered(spoke, host(lan, number), bogus(lan * 256 + number), gateway=gateway)
        wanted += wishes(effects)
    return wanted


def test_one_responder_makes_few_wishes_for_peers_that_nobody_has_reached() -> None:
    spoke = a_protected_spoke(routes=ROUTES)
    assert len(lying(spoke, 50)) == 8
    effects = answered(spoke, host(4, 99), bogus(99))
    reason = "too many peers of 172.16.4.0/24 wait for a security association already"
    assert the(of(effects, ResolutionFailed)).reason == reason
    assert ("172.16.4.99/32", None, "negative") in spoke.shortcuts(1.0)
    # Others have their shortcuts meanwhile.
    assert wishes(answered(spoke, host(3), nbma(3))) == ["want 192.168.100.3"]


def test_all_responders_together_are_limited_too() -> None:
    spoke = a_protected_spoke(routes=ROUTES)
    assert sum(len(lying(spoke, 8, lan=lan)) for lan in range(10, 20)) == 32
    reason = the(of(answered(spoke, host(3), nbma(3)), ResolutionFailed)).reason
    assert reason == "too many peers wait for a security association already"
    # The address is asked for again half a minute later.
    spoke.run(31.5)
    assert redirected(spoke, 31.5).type is PacketType.RESOLUTION_REQUEST


def test_replies_and_requests_have_one_limit_together() -> None:
    spoke = a_protected_spoke(routes=ROUTES, path_check_s=3)
    assert sum(len(lying(spoke, 8, lan=lan)) for lan in range(10, 14)) == 32
    told = a_resolution_request(20, host(2), extensions=FORWARDED)
    assert wishes(spoke.receive(told, HUB.nbma, now=1.0)) == []


def test_who_asks_in_many_names_leaves_room_for_what_we_ask_for_ourselves() -> None:
    spoke = a_protected_spoke(routes=ROUTES, path_check_s=3)
    wanted = []
    for number in range(64):
        name, nobody = bytes((10, 9, number // 8, number)), bogus(number)
        told = a_resolution_request(
            target=host(2), source_protocol=name, source_nbma=nobody, extensions=FORWARDED
        )
        wanted += wishes(spoke.receive(told, HUB.nbma, now=1.0))
    assert len(wanted) == 16
    assert wishes(answered(spoke, host(3), nbma(3))) == ["want 192.168.100.3"]


def test_wish_that_came_true_or_failed_makes_room() -> None:
    spoke = a_protected_spoke()
    for number in range(1, 9):
        answered(spoke, host(4, number), nbma(20 + number), last=20 + number)
    assert wishes(answered(spoke, host(4, 50), nbma(50), last=50)) == []
    spoke.give(installed(21), failed(22), now=1.0)
    assert wishes(answered(spoke, host(4, 51), nbma(51), last=51)) == ["want 192.168.100.51"]
    assert wishes(answered(spoke, host(4, 52), nbma(52), last=52)) == ["want 192.168.100.52"]
    assert wishes(answered(spoke, host(4, 53), nbma(53), last=53)) == []


def test_peer_with_an_sa_or_a_wish_is_never_one_too_many() -> None:
    spoke = a_protected_spoke(3, routes=ROUTES)
    lying(spoke, 8)
    effects = answered(spoke, host(4, 60), nbma(3))
    assert of(effects, ResolutionFailed) == []
    effects = answered(spoke, host(4, 61), bogus(4 * 256 + 1), gateway=bytes((10, 9, 4, 1)))
    assert of(effects, ResolutionFailed) == []


def test_stations_of_the_tunnels_network_do_not_count_together() -> None:
    spoke = a_protected_spoke(prefix_length=24)
    wanted = [wishes(answered(spoke, tunnel(n), nbma(n), last=n)) for n in range(10, 30)]
    assert all(wanted)


HUBS_RULE = a_rule("spoke1.example", ("10.255.255.1/32",), ("172.16.1.0/24",))
LISTED = replace(POLICY, rules=(*POLICY.rules, HUBS_RULE), unlisted=Unlisted.DENY)


@pytest.mark.parametrize(
    ("gateway", "target", "reason"),
    [
        (9, host(3), "nobody is authorized for 10.255.255.9"),
        (3, host(5), "nobody is authorized for 172.16.5.10"),
    ],
)
def test_answer_that_no_rule_could_allow_makes_no_wish(gateway, target, reason) -> None:
    spoke = a_protected_spoke(authorize=LISTED)
    effects = answered(spoke, target, bogus(1), last=gateway)
    assert wishes(effects) == []
    assert the(of(effects, ResolutionFailed)).reason == reason


def test_answer_that_some_rule_could_allow_makes_one() -> None:
    spoke = a_protected_spoke(authorize=LISTED)
    assert wishes(answered(spoke, host(3), nbma(3))) == ["want 192.168.100.3"]


def test_new_address_makes_no_wish_for_a_requester_that_never_had_an_sa() -> None:
    spoke = a_protected_spoke(3)
    asked = a_resolution_request(3, host(2))
    spoke.receive(asked, nbma(3), now=1.0)  # this one has
    for number in range(20, 30):
        told = a_resolution_request(number, host(2), extensions=FORWARDED)
        spoke.receive(told, HUB.nbma, now=1.0)
    assert len(spoke.cache(1.0)) == 12
    effects = spoke.give(
        an_address(UNDERLAY, nbma(22), 24), AddressRemoved(UNDERLAY, nbma(2), 24), now=2.0
    )
    assert {each for each in wishes(effects) if each.startswith("want")} == {
        "want 192.168.100.1 server",
        "want 192.168.100.3",
    }
