"""What one peer causes takes nothing from another: each table and limit that peers fill is shared fairly."""

from nhrpd_py.core.events import RouteRemoved
from nhrpd_py.core.purge import sender as purge_module
from nhrpd_py.core.resolution import responder as responder_module
from nhrpd_py.core.resolution import table as resolution_module
from nhrpd_py.packet.iana import RESOLUTION_UNIQUE, PacketType
from tests.support.engine import Node, a_hub, a_spoke, drops, packets, sent
from tests.support.messages import (
    REQUEST_FLAGS,
    a_registration_request,
    a_resolution_request,
    a_traffic_indication,
)
from tests.support.resolution import ask, redirect, solicit
from tests.support.sites import HUB, LAN, a_route, host, ip, nbma, tunnel

REQUEST, PURGE = PacketType.RESOLUTION_REQUEST, PacketType.PURGE_REQUEST
HOSTILE = 4


UNIQUE = REQUEST_FLAGS | RESOLUTION_UNIQUE
"""Each answer is for one host, and taken back by a Purge of its own."""


def indicate(spoke: Node, count: int, now: float = 0.0) -> None:
    """Gives a spoke Traffic Indications of a hostile peer about many addresses."""
    for number in range(count):
        target = bytes((172, 16, 100 + number // 250, 1 + number % 250))
        told = a_traffic_indication(HOSTILE, host(2), target)
        spoke.receive(told, nbma(HOSTILE), now=now)


def test_indications_of_a_peer_do_not_end_the_requests_that_others_caused(monkeypatch) -> None:
    monkeypatch.setattr(resolution_module, "MAX_RESOLUTIONS", 8)
    spoke = a_spoke(2, prefix_length=24)
    redirect(spoke)
    solicit(spoke, tunnel(7))
    indicate(spoke, 50)
    again = {each.destination_protocol for each in sent(spoke.advance(1.0), REQUEST)}
    assert {host(3), tunnel(7)} <= again


def test_table_full_of_a_peers_indications_has_room_for_others(monkeypatch) -> None:
    monkeypatch.setattr(resolution_module, "MAX_RESOLUTIONS", 8)
    spoke = a_spoke(2, prefix_length=24)
    indicate(spoke, 50)
    for last in (1, 2, 3):
        assert len(sent(redirect(spoke, host(3, last)), REQUEST)) == 1
        assert len(sent(solicit(spoke, tunnel(6 + last)), REQUEST)) == 1


def test_indications_that_a_hub_hands_on_are_not_counted_as_its_own(monkeypatch) -> None:
    monkeypatch.setattr(resolution_module, "MAX_RESOLUTIONS", 4)
    spoke = a_spoke(2)
    redirect(spoke)
    for last in range(1, 20):
        spoke.receive(a_traffic_indication(HOSTILE, host(2), host(5, last)), HUB.nbma)
    assert "172.16.3.10/32" in [row[0] for row in spoke.shortcuts()]


def test_peer_that_indicates_too_much_does_not_use_up_the_limit_of_others() -> None:
    spoke = a_spoke(2)
    indicate(spoke, 501)
    over = a_traffic_indication(HOSTILE, host(2), host(99))
    assert drops(spoke.receive(over, nbma(HOSTILE))) == ["rate-limited"]
    assert len(sent(redirect(spoke), REQUEST)) == 1


def test_errors_for_one_peer_do_not_use_up_those_for_others() -> None:
    hub = a_hub()
    bad = bytes(40)
    request = a_registration_request(3, destination_protocol=ip("203.0.113.9"))
    for _ in range(30):
        hub.receive(
            a_registration_request(HOSTILE, destination_protocol=ip("203.0.113.9")), nbma(4)
        )
    assert sent(hub.receive(bad, nbma(4))) == []
    assert [each.type for each in sent(hub.receive(request, nbma(3)))] == [
        PacketType.ERROR_INDICATION
    ]


def test_all_errors_together_are_limited_too() -> None:
    hub = a_hub()
    count = 0
    for number in range(2, 102):
        bad = a_registration_request(number, destination_protocol=ip("203.0.113.9"))
        count += sum(len(sent(hub.receive(bad, nbma(number)))) for _ in range(20))
    assert count == 200


def test_answers_that_a_peer_asked_for_are_not_forgotten_for_those_of_another(monkeypatch) -> None:
    monkeypatch.setattr(responder_module, "MAX_ANSWERS", 4)
    spoke = a_spoke(3)
    ask(spoke, source_protocol=tunnel(5), source_nbma=nbma(5))
    for last in range(20, 60):
        ask(spoke, host(3, last), flags=UNIQUE, source_protocol=tunnel(4), source_nbma=nbma(4))
    effects = spoke.give(RouteRemoved(a_route("172.16.3.0/24", LAN)), now=5.0)
    told = [to for to, message in packets(effects) if message.type is PURGE]
    assert sorted(told) == [nbma(4)] * 3 + [nbma(5)]


def test_answers_of_others_are_not_forgotten_for_one_that_asks_as_many_stations(
    monkeypatch,
) -> None:
    monkeypatch.setattr(responder_module, "MAX_ANSWERS", 4)
    spoke = a_spoke(3)
    ask(spoke, source_protocol=tunnel(5), source_nbma=nbma(5))
    for number in range(20, 60):
        spoke.receive(a_resolution_request(source_protocol=tunnel(number)), nbma(4))
    effects = spoke.give(RouteRemoved(a_route("172.16.3.0/24", LAN)), now=5.0)
    told = [to for to, message in packets(effects) if message.type is PURGE]
    assert sorted(told) == [nbma(4)] * 3 + [nbma(5)]


def test_purge_for_one_peer_is_repeated_however_many_go_to_another(monkeypatch) -> None:
    monkeypatch.setattr(purge_module, "MAX_PURGES", 4)
    spoke = a_spoke(3)
    spoke.receive(a_resolution_request(5, host(3)), nbma(5))
    for last in range(20, 60):
        spoke.receive(a_resolution_request(4, host(3, last), flags=UNIQUE), nbma(4))
    effects = spoke.give(RouteRemoved(a_route("172.16.3.0/24", LAN)), now=5.0)
    assert len(sent(effects, PURGE)) == 41
    again = [to for to, message in packets(spoke.advance(6.0)) if message.type is PURGE]
    assert sorted(again) == [nbma(4)] * 3 + [nbma(5)]
