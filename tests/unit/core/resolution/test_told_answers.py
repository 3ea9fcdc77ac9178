"""What was told is remembered: requesters hear of it when it is true no more."""

from nhrpd_py.core.effects import DropNeighbor, SendPacket
from nhrpd_py.core.events import AddressRemoved, RouteAdded, RouteRemoved, ShutdownRequested
from nhrpd_py.core.resolution import responder as responder_module
from nhrpd_py.core.station.location import Locator
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.iana import (
    PURGE_NO_REPLY,
    PacketType,
)
from tests.support.engine import (
    a_spoke,
    kinds,
    packets,
    sent,
    the,
)
from tests.support.messages import (
    a_registration_request,
)
from tests.support.resolution import ask
from tests.support.sites import (
    GRE,
    HUB,
    LAN,
    UNDERLAY,
    a_route,
    an_address,
    host,
    nbma,
    tunnel,
)


def purges(effects: list) -> list[tuple[bytes, bytes, str]]:
    found = []
    for to, message in packets(effects):
        if message.type is PacketType.PURGE_REQUEST:
            entry = the(message.entries)
            found.append((to, message.destination_protocol, f"{entry.prefix_length}"))
    return found


def test_requester_is_told_when_the_route_behind_the_answer_is_gone() -> None:
    spoke = a_spoke(3)
    ask(spoke)
    effects = spoke.give(RouteRemoved(a_route("172.16.3.0/24", LAN)), now=5.0)
    assert purges(effects) == [(nbma(2), tunnel(2), "24")]


def test_requester_of_many_addresses_is_told_once_of_their_prefix() -> None:
    """Thousands of addresses of a LAN that comes and goes were thousands of Purges of one prefix."""
    spoke = a_spoke(3)
    for number in range(100):
        ask(spoke, host(3, 10 + number))
    ask(spoke, source_protocol=tunnel(4), source_nbma=nbma(4))
    gone = RouteRemoved(a_route("172.16.3.0/24", LAN))
    assert purges(spoke.give(gone, now=5.0)) == [
        (nbma(2), tunnel(2), "24"),
        (nbma(4), tunnel(4), "24"),
    ]
    spoke.give(RouteAdded(a_route("172.16.3.0/24", LAN)), now=6.0)
    assert purges(spoke.give(gone, now=7.0)) == []
    spoke.give(RouteAdded(a_route("172.16.3.0/24", LAN)), now=8.0)
    for number in range(100):
        ask(spoke, host(3, 10 + number), now=9.0)
    effects = spoke.give(ShutdownRequested(), now=10.0)
    assert [length for to, _, length in purges(effects) if to == nbma(2)] == ["24", "32"]


def test_requester_is_told_when_a_part_of_the_answer_leads_elsewhere() -> None:
    spoke = a_spoke(3)
    ask(spoke)
    effects = spoke.give(RouteAdded(a_route("172.16.3.128/25", GRE, HUB.tunnel)), now=5.0)
    assert purges(effects) == [(nbma(2), tunnel(2), "24")]


def test_requester_is_not_told_of_changes_that_leave_the_answer_true() -> None:
    spoke = a_spoke(3)
    ask(spoke)
    assert sent(spoke.give(RouteAdded(a_route("172.16.3.128/25", LAN)), now=5.0)) == []
    assert sent(spoke.give(RouteAdded(a_route("172.16.9.0/24", LAN)), now=5.0)) == []


def test_answer_that_was_made_narrower_is_taken_back_only_when_it_is_true_no_more() -> None:
    spoke = a_spoke(3)
    ask(spoke, entries=(ClientInformation(prefix_length=28, holding_time_s=60),))
    assert sent(spoke.give(RouteAdded(a_route("172.16.3.128/25", GRE, HUB.tunnel)), now=5.0)) == []
    effects = spoke.give(RouteRemoved(a_route("172.16.3.0/24", LAN)), now=6.0)
    assert purges(effects) == [(nbma(2), tunnel(2), "28")]


def test_requester_is_told_once_and_not_after_the_holding_time() -> None:
    spoke = a_spoke(3)
    ask(spoke)
    gone, back = (
        RouteRemoved(a_route("172.16.3.0/24", LAN)),
        RouteAdded(a_route("172.16.3.0/24", LAN)),
    )
    assert purges(spoke.give(gone, now=5.0))
    spoke.give(back, now=6.0)
    assert purges(spoke.give(gone, now=6.5)) == []
    spoke.give(back, now=7.0)
    ask(spoke, now=10.0, request_id=9)
    spoke.run(70.0)
    assert purges(spoke.give(gone, now=70.0)) == []


def test_answers_that_a_route_does_not_touch_are_not_looked_at(monkeypatch) -> None:
    """Thousands of answers times thousands of routes of a BGP session took minutes."""
    spoke = a_spoke(3)
    for number in range(100):
        ask(spoke, host(3, 10 + number))
    looks = []
    monkeypatch.setattr(Locator, "locate", lambda *given: looks.append(given))
    for number in range(100):
        spoke.give(RouteAdded(a_route(f"172.20.{number}.0/24", GRE, HUB.tunnel)))
    assert looks == []


def test_requesters_are_told_when_our_nbma_address_moves() -> None:
    spoke = a_spoke(3)
    ask(spoke)
    assert sent(spoke.give(AddressRemoved(UNDERLAY, nbma(3), 24), now=5.0)) == []
    effects = spoke.give(an_address(UNDERLAY, nbma(33), 24), now=6.0)
    assert kinds(effects) == [
        (HUB.nbma, PacketType.REGISTRATION_REQUEST),
        (nbma(2), PacketType.PURGE_REQUEST),  # the LAN
        (nbma(2), PacketType.PURGE_REQUEST),  # our tunnel address: its binding came with the answer
    ]
    assert sent(effects, PacketType.PURGE_REQUEST)[0].source_nbma == nbma(33)


def test_shutdown_takes_all_answers_back_without_waiting_for_replies() -> None:
    spoke = a_spoke(3)
    ask(spoke)
    ask(spoke, tunnel(3), source_protocol=tunnel(4), source_nbma=nbma(4))
    effects = spoke.give(ShutdownRequested(), now=5.0)
    assert purges(effects)[:3] == [
        (nbma(2), tunnel(2), "24"),
        (nbma(2), tunnel(2), "32"),
        (nbma(4), tunnel(4), "32"),
    ]
    flags = {message.flags for message in sent(effects, PacketType.PURGE_REQUEST)}
    assert flags == {PURGE_NO_REPLY}
    kept = [type(each) for each in effects if isinstance(each, SendPacket | DropNeighbor)]
    assert kept.index(DropNeighbor) == kept.count(SendPacket)  # words first, then deeds


def test_shutdown_does_not_take_back_what_ended_by_itself() -> None:
    spoke = a_spoke(3, nhs=(), registered=False)
    spoke.receive(a_registration_request(1), HUB.nbma)
    ask(spoke)
    assert purges(spoke.give(ShutdownRequested(), now=60.0)) == []


def test_oldest_answer_is_forgotten_when_there_are_too_many(monkeypatch) -> None:
    monkeypatch.setattr(responder_module, "MAX_ANSWERS", 2)
    spoke = a_spoke(3)
    for number in (4, 5, 6):
        ask(spoke, source_protocol=tunnel(number), source_nbma=nbma(number))
    effects = spoke.give(RouteRemoved(a_route("172.16.3.0/24", LAN)), now=5.0)
    assert [to for to, _, _ in purges(effects)] == [nbma(5), nbma(6)]
