"""What happens to a registered client: other addresses, a tunnel that goes down, servers that forget it."""

import pytest

from nhrpd_py.core.address import Address, Afi
from nhrpd_py.core.base.timers import TimerKind
from nhrpd_py.core.events import (
    AddressRemoved,
)
from nhrpd_py.core.queries import View
from nhrpd_py.packet.iana import (
    PURGE_NO_REPLY,
    PacketType,
)
from nhrpd_py.packet.message import Message
from tests.support import inspect
from tests.support.engine import Node, a_spoke, drops, kinds, sent, the, the_packet
from tests.support.messages import (
    AUTHENTICATION,
    a_purge_request,
    a_registration_reply,
    a_registration_request,
    nat_extension,
)
from tests.support.registration import HUB2_NBMA, a_fresh_spoke, states, times
from tests.support.sites import (
    GRE,
    HUB,
    SECRET,
    UNDERLAY,
    a_map,
    a_tunnel_link,
    an_address,
    an_nhs,
    ip,
    nbma,
    tunnel,
)


def test_new_overlay_address_registers_at_once_and_takes_the_old_one_back() -> None:
    spoke = a_spoke(2)
    effects = spoke.give(an_address(GRE, ip("10.255.254.2"), 24), now=5.0)
    assert kinds(effects) == [
        (HUB.nbma, PacketType.PURGE_REQUEST),
        (HUB.nbma, PacketType.REGISTRATION_REQUEST),
    ]
    purge, request = sent(effects)
    assert the(purge.entries).protocol == tunnel(2)
    assert request.source_protocol == ip("10.255.254.2")


def test_new_nbma_address_registers_at_once() -> None:
    spoke = a_spoke(2)
    gone = spoke.give(AddressRemoved(UNDERLAY, nbma(2), 24), now=5.0)
    assert sent(gone) == []
    effects = spoke.give(an_address(UNDERLAY, nbma(22), 24), now=6.0)
    to, request = the_packet(effects)
    assert (to, request.source_nbma) == (HUB.nbma, nbma(22))


def a_spoke_that_moved() -> tuple[Node, Message]:
    """A spoke with a new NBMA address since 5.0, and its request from there."""
    spoke = a_spoke(2)
    moved = spoke.give(
        an_address(UNDERLAY, nbma(22), 24), AddressRemoved(UNDERLAY, nbma(2), 24), now=5.0
    )
    return spoke, the_packet(moved)[1]


def reply_seen_from(request: Message, outer: Address) -> Message:
    return a_registration_reply(request, nat_extension((tunnel(2), outer)))


def test_server_that_saw_our_former_nbma_address_is_told_again() -> None:
    """The kernel tells of an address that goes before it has stopped sending from there."""
    spoke, request = a_spoke_that_moved()
    assert request.source_nbma == nbma(22)
    spoke.receive(reply_seen_from(request, nbma(2)), HUB.nbma, now=5.01)
    assert spoke.table(View.CACHE, "nbma", "nat")[0] == ("192.168.100.22", False)
    again = the_packet(spoke.advance(5.26))[1]
    spoke.receive(a_registration_reply(again), HUB.nbma, now=5.27)
    assert times(spoke, 20.0) == []  # until the renewal


def test_nat_that_took_over_our_former_address_is_believed_in_the_end() -> None:
    spoke, request = a_spoke_that_moved()
    asked = [5.0]
    for _ in range(10):
        spoke.receive(reply_seen_from(request, nbma(2)), HUB.nbma, now=asked[-1] + 0.01)
        at = spoke.engine.next_deadline()
        assert at is not None
        if at > 30.0:
            break
        request = the_packet(spoke.advance(at))[1]
        asked.append(at)
    assert asked == pytest.approx([5.0, 5.26, 5.54, 6.1, 7.22, 9.46, 13.94, 15.0])
    assert spoke.table(View.CACHE, "nbma", "nat")[0] == ("192.168.100.2", True)


def test_nothing_is_asked_while_the_tunnel_is_down_and_at_once_when_it_is_back() -> None:
    spoke = a_spoke(2)
    spoke.give(a_tunnel_link(up=False), now=5.0)
    assert times(spoke, 59.0) == []
    effects = spoke.give(a_tunnel_link(), now=59.0)
    assert kinds(effects) == [(HUB.nbma, PacketType.REGISTRATION_REQUEST)]


def test_server_that_lost_us_is_registered_with_at_once() -> None:
    """A Purge of our own address by our server: it was restarted."""
    spoke = a_spoke(2)
    effects = spoke.receive(a_purge_request(1, "10.255.255.2/32", tunnel(2)), HUB.nbma, now=5.0)
    assert kinds(effects) == [
        (HUB.nbma, PacketType.REGISTRATION_REQUEST),
        (HUB.nbma, PacketType.PURGE_REPLY),
    ]


def test_flood_of_purges_does_not_keep_us_from_registering() -> None:
    spoke = a_spoke(2)
    purge = a_purge_request(1, "10.255.255.2/32", tunnel(2), flags=PURGE_NO_REPLY)
    effects = [each for _ in range(50) for each in spoke.receive(purge, HUB.nbma, now=5.0)]
    request = the(sent(effects))
    assert drops(spoke.receive(a_registration_reply(request), HUB.nbma, now=5.1)) == []
    assert len(sent(spoke.receive(purge, HUB.nbma, now=5.2))) == 1  # and a later one counts again


def test_server_that_is_not_wanted_is_not_kicked() -> None:
    spoke = a_fresh_spoke(nhs=(an_nhs(), an_nhs("192.168.100.11", priority=10)))
    effects = spoke.receive(a_purge_request(11, "10.255.255.2/32", tunnel(2)), HUB2_NBMA, now=0.5)
    assert kinds(effects) == [(HUB2_NBMA, PacketType.PURGE_REPLY)]


def test_server_under_probe_that_lost_us_is_asked_as_if_anew() -> None:
    spoke = a_fresh_spoke()
    times(spoke, 8.0)
    assert states(spoke) == ["probe"]
    spoke.receive(a_purge_request(1, "10.255.255.2/32", tunnel(2)), HUB.nbma, now=8.0)
    assert states(spoke) == ["registering"]
    assert spoke.engine.next_deadline() == 9.0


def test_signed_requests_have_the_signature_last() -> None:
    request = the_packet(a_fresh_spoke(authentication=SECRET).started)[1]
    assert request.extensions[-1] == AUTHENTICATION
    assert [each.type for each in request.extensions] == [4, 5, 3, 9, 7]


def test_configured_binding_of_a_server_is_not_overwritten() -> None:
    spoke = a_spoke(2, maps=(a_map(HUB.tunnel, nbma(77)),))
    assert spoke.cache() == {"10.255.255.1": ("static", "192.168.100.77")}
    assert states(spoke) == ["up"]


def test_server_that_is_our_client_too_becomes_a_server() -> None:
    spoke = a_fresh_spoke()
    spoke.receive(a_registration_request(1), HUB.nbma)
    assert spoke.cache() == {"10.255.255.1": ("dynamic", "192.168.100.1")}
    spoke.receive(a_registration_reply(the_packet(spoke.started)[1]), HUB.nbma)
    assert spoke.cache() == {"10.255.255.1": ("nhs", "192.168.100.1")}


def test_timer_of_a_registration_that_is_gone_is_harmless() -> None:
    spoke = a_spoke(2)
    for kind, subject in (
        (TimerKind.NHS_SEND, (Afi.IPV4, 0, nbma(99))),
        (TimerKind.NHS_RESOLVE, (Afi.IPV4, 99)),
    ):
        assert inspect.timer_due(spoke.engine, kind, subject, 1.0) == []
    assert states(spoke) == ["up"]
