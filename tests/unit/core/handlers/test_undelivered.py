"""ICMP errors about our outer packets: hints that explain a silence and hasten a check, and take nothing down."""

from typing import Any

import pytest

from nhrpd_py.core.effects import DropRoute, Effect
from nhrpd_py.core.events import GreParameters, Obstacle, OuterProtocol, PacketUndelivered
from nhrpd_py.core.notices import DeliveryFailed, NhsDown, PathFailed
from nhrpd_py.core.queries import View
from nhrpd_py.packet.iana import PacketType
from nhrpd_py.packet.message import Message
from tests.support.engine import Node, a_hub, a_spoke, of, packets, sent, the
from tests.support.ipsec import a_protected_spoke
from tests.support.messages import a_registration_reply, a_resolution_reply
from tests.support.resolution import an_asking_spoke
from tests.support.sites import HUB, UNDERLAY, a_tunnel_link, nbma, tunnel

NO_KEY = (
    "192.168.100.1 has no tunnel for GRE key 42 that takes packets from 192.168.100.2, "
    "or its own packet filter rejects them"
)


def keyed(spoke: Node) -> Node:
    """Gives the tunnel of a spoke its key for sending, too."""
    spoke.give(a_tunnel_link(gre=GreParameters(key=42, output_key=42, ttl=64, link=UNDERLAY)))
    return spoke


def an_error(remote: int = 1, **fields: Any) -> PacketUndelivered:
    """The error of a machine that has no tunnel with the key of the packet that it got."""
    usual: dict[str, Any] = {
        "local": nbma(2),
        "remote": nbma(remote),
        "protocol": OuterProtocol.GRE,
        "key": 42,
        "obstacle": Obstacle.NO_PORT,
        "reporter": nbma(remote),
    }
    return PacketUndelivered(**{**usual, **fields})


def last_error(spoke: Node, view: View, now: float) -> object:
    rows = spoke.table(view, "nbma", "last_error", now=now)
    return next(error for nbma, error in rows if nbma == "192.168.100.1")


def counted(spoke: Node) -> list[tuple[object, ...]]:
    rows = spoke.table(View.TRAFFIC, "direction", "interface", "type", "packets")
    return [row[1:] for row in rows if row[0] == "undelivered"]


def silent_until_lost(spoke: Node, *, errors: bool = True) -> list[Effect]:
    """Lets requests go unanswered, each with an error or without, until the server counts as lost."""
    effects: list[Effect] = []
    while not of(effects, NhsDown):
        at = spoke.engine.next_deadline()
        assert at is not None
        assert at < 60.0
        effects = spoke.advance(at)
        if errors and sent(effects):
            spoke.give(an_error(), now=at + 0.01)
    return effects


def test_a_server_without_our_key_is_called_so() -> None:
    spoke = keyed(a_spoke(2, registered=False))
    notice = the(of(spoke.give(an_error(), now=0.1), DeliveryFailed))
    assert (notice.nbma, notice.reporter, notice.reason) == (nbma(1), nbma(1), NO_KEY)
    assert last_error(spoke, View.NHS, 0.2) == NO_KEY
    assert last_error(spoke, View.PEERS, 0.2) == NO_KEY
    assert counted(spoke) == [("gre1", "no-port", 1)]


def test_the_loss_of_a_server_has_the_reason_that_was_told() -> None:
    reason = the(of(silent_until_lost(keyed(a_spoke(2))), NhsDown)).reason
    assert reason == f"no answer to 3 registration requests: {NO_KEY}"
    reason = the(of(silent_until_lost(keyed(a_spoke(2)), errors=False), NhsDown)).reason
    assert reason == "no answer to 3 registration requests"


def test_a_forged_error_about_a_server_costs_one_request_and_no_more() -> None:
    spoke = keyed(a_spoke(2))
    request = the(sent(spoke.give(an_error(), now=5.0), PacketType.REGISTRATION_REQUEST))
    for number in range(100):  # a flood, while the request is under way
        assert sent(spoke.give(an_error(), now=5.0 + number / 1000)) == []
    assert last_error(spoke, View.NHS, 5.2) == NO_KEY  # it is shown …
    assert spoke.table(View.NHS, "state", now=5.2) == [("up",)]  # … and not believed
    spoke.receive(a_registration_reply(request), HUB.nbma, now=5.2)
    assert last_error(spoke, View.NHS, 5.3) is None  # the answer refutes it
    assert sent(spoke.give(an_error(), now=6.0)) == []  # asked a moment ago
    assert sent(spoke.give(an_error(), now=8.0), PacketType.REGISTRATION_REQUEST)


def test_it_is_shown_for_a_minute_and_told_once_in_that_time() -> None:
    spoke = keyed(a_spoke(2))
    prohibited = an_error(obstacle=Obstacle.PROHIBITED, reporter=nbma(9))
    said = "a packet filter at 192.168.100.9 prohibits GRE to 192.168.100.1"
    assert the(of(spoke.give(prohibited, now=1.0), DeliveryFailed)).reason == said
    assert of(spoke.give(prohibited, now=2.0), DeliveryFailed) == []
    assert last_error(spoke, View.PEERS, 61.0) == said
    assert last_error(spoke, View.PEERS, 63.0) is None
    assert of(spoke.give(prohibited, now=63.0), DeliveryFailed)
    assert counted(spoke) == [("gre1", "prohibited", 3)]


@pytest.mark.parametrize(
    "stranger",
    [
        {"remote": 77},  # no peer of ours
        {"local": nbma(3)},  # not our address
        {"key": 43},  # another tunnel of this machine
        {"key": None},
        {"protocol": OuterProtocol.ESP, "key": None},  # the tunnel is not protected
    ],
)
def test_errors_about_other_packets_say_nothing(stranger: dict[str, Any]) -> None:
    spoke = keyed(a_spoke(2))
    assert spoke.give(an_error(**stranger), now=5.0) == []
    assert counted(spoke) == []


def test_of_a_protected_tunnel_esp_counts_where_there_is_an_sa() -> None:
    spoke = a_protected_spoke()
    esp = an_error(protocol=OuterProtocol.ESP, key=None, obstacle=Obstacle.NO_PROTOCOL)
    notice = the(of(spoke.give(esp, now=5.0), DeliveryFailed))
    assert notice.reason == (
        "192.168.100.1 does not take ESP: the protocol is unreachable there (192.168.100.1 says so)"
    )
    no_sa = an_error(3, protocol=OuterProtocol.ESP, key=None)
    assert of(spoke.give(no_sa, now=6.0), DeliveryFailed) == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"obstacle": Obstacle.NO_ROUTE}, "192.168.100.9 knows no way to 192.168.100.1"),
        (
            {"obstacle": Obstacle.NO_ROUTE, "reporter": nbma(2)},
            "this machine does not reach 192.168.100.1: no answer to its ARP or neighbour requests, or no route",
        ),
        ({}, "a packet filter at 192.168.100.9 rejects GRE to 192.168.100.1"),
        (
            {"obstacle": Obstacle.PROHIBITED, "reporter": nbma(1)},
            "its own packet filter prohibits GRE to 192.168.100.1",
        ),
        (
            {"obstacle": Obstacle.TOO_BIG, "mtu": 1400},
            "outer packets of more than 1400 octets do not fit the way to 192.168.100.1 (192.168.100.9 says so)",
        ),
        (
            {"obstacle": Obstacle.TOO_BIG},
            "outer packets of full size do not fit the way to 192.168.100.1 (192.168.100.9 says so)",
        ),
        (
            {"obstacle": Obstacle.EXPIRED},
            "packets to 192.168.100.1 go round in circles, or too far: they expire at 192.168.100.9",
        ),
    ],
)
def test_what_is_said_of_each(fields: dict[str, Any], reason: str) -> None:
    spoke = keyed(a_spoke(2))
    error = an_error(**{"reporter": nbma(9), **fields})
    assert the(of(spoke.give(error, now=1.0), DeliveryFailed)).reason == reason


def test_that_large_packets_do_not_fit_is_not_refuted_by_a_small_one() -> None:
    spoke = keyed(a_spoke(2))
    request = the(sent(spoke.give(an_error(), now=5.0)))
    assert sent(spoke.give(an_error(obstacle=Obstacle.TOO_BIG), now=5.1)) == []
    spoke.receive(a_registration_reply(request), HUB.nbma, now=5.2)
    assert "do not fit" in str(last_error(spoke, View.NHS, 6.0))


def test_that_large_packets_do_not_fit_is_no_reason_for_a_silence() -> None:
    """What we ask is small; and what was forged once would be the reason for all time."""
    spoke = keyed(a_spoke(2))
    assert sent(spoke.give(an_error(obstacle=Obstacle.TOO_BIG, mtu=68), now=5.0)) == []
    effects: list[Effect] = []
    while not of(effects, NhsDown):
        effects = spoke.advance(at := spoke.engine.next_deadline() or 0.0)
        spoke.give(an_error(obstacle=Obstacle.TOO_BIG, mtu=68), now=at + 0.01)
    assert the(of(effects, NhsDown)).reason == "no answer to 3 registration requests"


def test_what_was_forged_once_about_a_lost_server_is_forgotten_with_the_next_request() -> None:
    spoke = keyed(a_spoke(2, registered=False))
    at = 0.1
    spoke.give(an_error(), now=at)
    assert last_error(spoke, View.NHS, at) == NO_KEY
    while at < 300.0:
        spoke.advance(at := spoke.engine.next_deadline() or 0.0)
    assert last_error(spoke, View.NHS, at) == "no answer to 3 registration requests"


def test_what_a_server_itself_said_counts_for_more() -> None:
    spoke = keyed(a_spoke(2, registered=False))
    request = the(sent(spoke.started, PacketType.REGISTRATION_REQUEST))
    spoke.receive(a_registration_reply(request, code=4), HUB.nbma, now=0.1)
    refusal = last_error(spoke, View.NHS, 0.1)
    assert "registration refused" in str(refusal)
    spoke.give(an_error(), now=0.2)
    assert last_error(spoke, View.NHS, 0.2) == refusal
    at = 0.2
    while at < 600.0:
        for each in sent(spoke.advance(at := spoke.engine.next_deadline() or 0.0)):
            if at < 300.0:  # silent from then on: that it refused us is no reason any more
                spoke.receive(a_registration_reply(each, code=4), HUB.nbma, now=at)
    assert last_error(spoke, View.NHS, at) == "no answer to 3 registration requests"


def test_errors_about_all_peers_do_not_flood_the_log() -> None:
    """Nor do they push out that other things were told already."""
    peers = range(2, 202)
    hub = a_hub(*peers)
    hub.give(a_tunnel_link(gre=GreParameters(key=42, output_key=42, ttl=64, link=UNDERLAY)))
    told: list[DeliveryFailed] = []
    obstacles = [each for each in Obstacle if each is not Obstacle.TOO_BIG]
    errors = [(peer, obstacle) for obstacle in obstacles for peer in peers]
    for number, (peer, obstacle) in enumerate(errors):
        forged = an_error(peer, local=nbma(1), obstacle=obstacle)
        told += of(hub.give(forged, now=1.0 + number / 100), DeliveryFailed)
    assert 50 <= len(told) <= 50 + 5
    reasons = hub.table(View.PROBLEMS, "kind", now=12.0)
    assert reasons.count(("undelivered",)) == 200  # all of it is there to be looked at


def probes(effects: list[Effect]) -> list[Message]:
    return [
        message
        for to, message in packets(effects)
        if to == nbma(3) and message.destination_protocol == tunnel(3)
    ]


def a_spoke_with_a_path() -> Node:
    spoke, request = an_asking_spoke(path_check_s=60)
    keyed(spoke)
    probe = the(probes(spoke.receive(a_resolution_reply(request), HUB.nbma)))
    spoke.receive(a_resolution_reply(probe), nbma(3), now=0.02)
    return spoke


def test_a_direct_path_is_checked_at_once_and_left_when_it_is_true() -> None:
    spoke = a_spoke_with_a_path()
    effects = spoke.give(an_error(3), now=10.0)
    assert len(probes(effects)) == 1
    assert of(effects, DropRoute) == []
    assert probes(spoke.give(an_error(3), now=10.1)) == []  # the check runs
    assert len(probes(spoke.advance(10.5))) == 1
    assert len(probes(spoke.advance(11.0))) == 1
    effects = spoke.advance(11.5)
    assert of(effects, DropRoute)
    assert the(of(effects, PathFailed)).reason == (
        "no answer on the direct path to 192.168.100.3: 192.168.100.3 has no tunnel for GRE key 42 that takes "
        "packets from 192.168.100.2, or its own packet filter rejects them"
    )


def test_a_forged_error_about_a_path_costs_a_probe_a_second_at_most() -> None:
    spoke = a_spoke_with_a_path()
    probe = the(probes(spoke.give(an_error(3), now=10.0)))
    spoke.receive(a_resolution_reply(probe), nbma(3), now=10.02)
    assert probes(spoke.give(an_error(3), now=10.5)) == []
    assert len(probes(spoke.give(an_error(3), now=11.0))) == 1
    assert spoke.table(View.SHORTCUTS, "state", now=11.0) == [("active",)]


def test_peer_whose_path_has_failed_is_named_by_its_tunnel_address() -> None:
    spoke, request = an_asking_spoke(path_check_s=3)
    keyed(spoke)
    spoke.receive(a_resolution_reply(request), HUB.nbma)
    spoke.run(2.0)
    assert "10.255.255.3" not in spoke.cache(2.0)
    notice = the(of(spoke.give(an_error(3), now=2.5), DeliveryFailed))
    assert (notice.protocol, notice.nbma) == (tunnel(3), nbma(3))
