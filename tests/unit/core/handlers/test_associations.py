"""charon's word, as a whole engine takes it: who is told, what is believed, what waits."""

import pytest

from nhrpd_py.core.effects import CloseInterface, OpenInterface, ProtectedGre
from nhrpd_py.core.events import GreParameters, InterfaceMended, InterfaceRefused, IpsecLost
from nhrpd_py.core.handlers.links import REOPEN_S
from nhrpd_py.core.ipsec.circuits import HELD_S, MAX_HELD_EACH
from nhrpd_py.core.notices import (
    AssociationFailed,
    AssociationLost,
    AssociationReady,
    InterfaceLost,
    InterfaceReady,
    NbmaShared,
)
from nhrpd_py.core.queries import View
from nhrpd_py.packet.iana import PacketType
from nhrpd_py.packet.wire import DropReason
from tests.support import inspect
from tests.support.engine import a_hub, of, sent, the
from tests.support.ipsec import (
    READY,
    a_protected_hub,
    a_protected_spoke,
    failed,
    gone,
    installed,
    kernel,
    redirected,
    wishes,
)
from tests.support.messages import (
    a_purge_request,
    a_registration_request,
    a_traffic_indication,
    an_error_indication,
)
from tests.support.sites import GRE, HUB, UNDERLAY, a_link, a_tunnel_link, host, nbma, tunnel

REPLY = PacketType.REGISTRATION_REPLY
DROPPED = ("gre1", DropReason.NO_ASSOCIATION)


def test_a_packet_ahead_of_charons_word_is_answered_when_that_comes() -> None:
    hub = a_protected_hub()
    assert sent(hub.receive(a_registration_request(3), nbma(3), now=1.0)) == []
    assert the(sent(hub.give(installed(3, local=1), now=1.1))).type is REPLY
    assert inspect.drops(hub.engine) == {}


def test_packets_ahead_are_handled_in_order() -> None:
    hub = a_protected_hub()
    for number in range(3):
        hub.receive(a_registration_request(3, request_id=number + 1), nbma(3), now=1.0)
    answers = sent(hub.give(installed(3, local=1), now=1.1), REPLY)
    assert [each.request_id for each in answers] == [1, 2, 3]
    assert sent(hub.advance(10.0), REPLY) == []


@pytest.mark.parametrize(
    "packet",
    [
        a_registration_request(3),
        a_purge_request(3, "10.255.255.2/32", tunnel(1)),
        a_traffic_indication(3, host(1), host(2)),
        an_error_indication(3, 1, a_registration_request(1)),
    ],
)
def test_nothing_is_believed_that_no_sa_vouches_for(packet: object) -> None:
    hub = a_protected_hub(2)
    assert hub.receive(packet, nbma(3), now=1.0) == []  # type: ignore[arg-type]
    assert hub.cache() == {"10.255.255.2": ("dynamic", "192.168.100.2")}
    hub.advance(1.0 + HELD_S)
    assert inspect.drops(hub.engine) == {DROPPED: 1}
    assert sent(hub.give(installed(3, local=1), now=4.0)) == []  # too late


def test_a_flood_without_an_sa_is_bounded_and_counted() -> None:
    hub = a_protected_hub()
    for _ in range(10):
        hub.receive(a_registration_request(3), nbma(3), now=1.0)
    assert inspect.drops(hub.engine) == {DROPPED: 10 - MAX_HELD_EACH}


def test_an_sa_from_another_address_of_this_machine_is_none_for_the_tunnel() -> None:
    hub = a_protected_hub()
    assert hub.give(installed(3, local=9)) == []
    assert sent(hub.receive(a_registration_request(3), nbma(3), now=1.0)) == []
    assert hub.give(gone(3, local=9), failed(3, local=9), now=1.1) == []


def test_rekeying_touches_nothing() -> None:
    hub = a_protected_hub(2)
    assert hub.give(installed(2, local=1, id=22), gone(2, local=1, id=2), now=5.0) == []
    assert hub.give(installed(2, local=1, id=22), now=6.0) == []  # told again after a reconnect
    assert hub.cache() == {"10.255.255.2": ("dynamic", "192.168.100.2")}


def test_the_last_sa_takes_the_client_with_it() -> None:
    hub = a_protected_hub(2)
    effects = hub.give(gone(2, local=1, reason="deleted by the peer"), now=5.0)
    assert kernel(effects) == ["- 10.255.255.2/32", "- 10.255.255.2"]
    lost = the(of(effects, AssociationLost))
    assert (lost.nbma, lost.identity, lost.reason) == (
        nbma(2),
        "spoke2.example",
        "deleted by the peer",
    )
    assert hub.cache() == {}


def test_an_sa_that_flaps_leaves_nothing_behind() -> None:
    hub = a_protected_hub()
    timers = inspect.timer_count(hub.engine)
    for number in range(100):
        hub.give(installed(2, local=1, id=number))
        hub.receive(a_registration_request(2), nbma(2))
        assert list(hub.cache()) == ["10.255.255.2"]
        hub.give(gone(2, local=1, id=number))
    assert hub.cache() == {}
    hub.advance(61.0)  # its source counts as its own for a minute more
    assert inspect.timer_count(hub.engine) == timers


def test_two_identities_behind_one_address_are_an_alarm() -> None:
    hub = a_protected_hub()
    effects = hub.give(installed(2, local=1, identity="a.example"))
    assert [each.identity for each in of(effects, AssociationReady)] == ["a.example"]
    assert of(effects, NbmaShared) == []
    effects = hub.give(installed(2, local=1, id=22, identity="b.example"))
    assert the(of(effects, NbmaShared)).identities == "a.example, b.example"
    assert of(hub.give(installed(2, local=1, id=23, identity="b.example")), NbmaShared) == []


def test_failures_are_told_once_a_minute() -> None:
    spoke = a_protected_spoke(registered=False)
    notice = the(of(spoke.give(failed(1), now=1.0), AssociationFailed))
    assert (notice.nbma, notice.reason, notice.retry_in_s) == (HUB.nbma, "no answer", 2.0)
    assert of(spoke.give(failed(1), now=3.0), AssociationFailed) == []
    assert len(of(spoke.give(failed(1, reason="wrong CA"), now=4.0), AssociationFailed)) == 1
    assert len(of(spoke.give(failed(1), now=62.0), AssociationFailed)) == 1


def test_a_failure_next_to_an_sa_that_is_up_is_told_and_changes_nothing() -> None:
    """Somebody else may have begun it from there."""
    spoke = a_protected_spoke()
    effects = spoke.give(failed(1, reason="spoke9 is not the server hub1"), now=1.0)
    assert [type(each) for each in effects] == [AssociationFailed]
    assert spoke.table(View.PEERS, "ipsec", "last_error") == [("up", None)]


def test_a_server_that_is_not_ours_is_shown_with_its_reason() -> None:
    spoke = a_protected_spoke(registered=False)
    spoke.give(failed(1, reason="no proposal chosen"))
    assert spoke.table(View.NHS, "state", "last_error") == [("probe", "no proposal chosen")]


def test_charon_away_is_a_problem_of_the_interface_and_nothing_is_lost() -> None:
    spoke = a_protected_spoke()
    effects = spoke.give(IpsecLost("connection refused"), now=5.0)
    assert the(of(effects, InterfaceLost)).reason == "IPsec: connection refused"
    assert kernel(effects) == []
    redirected(spoke, 6.0)  # and it goes on
    effects = spoke.give(READY, now=7.0)
    assert len(of(effects, InterfaceReady)) == 1
    assert kernel(effects) == []


def test_what_is_not_protected_is_none_of_charons_business() -> None:
    hub = a_hub(2)
    assert hub.give(READY, installed(2, local=1), gone(2, local=1), failed(2, local=1)) == []
    assert hub.give(IpsecLost("gone")) == []
    assert hub.table(View.INTERFACES, "problem") == [(None,)]


def test_the_guard_stands_before_the_first_packet_and_follows_the_key() -> None:
    spoke = a_protected_spoke()
    opened = the(of(spoke.started, OpenInterface))
    assert opened.guard == ProtectedGre(42, None, ipv6=False, underlay="eth0")
    gre = GreParameters(key=7, ttl=64, link=UNDERLAY)
    effects = spoke.give(a_tunnel_link(gre=gre), now=5.0)
    names = [type(each).__name__ for each in effects]
    assert names.index("CloseInterface") < names.index("OpenInterface") < names.index("WantSa")
    assert the(of(effects, OpenInterface)).guard == ProtectedGre(
        7, None, ipv6=False, underlay="eth0"
    )
    assert wishes(effects) == ["drop 192.168.100.1", "want 192.168.100.1 server"]
    assert sent(effects, PacketType.REGISTRATION_REQUEST)  # over the SA that lives on


def test_a_tunnel_without_its_guard_has_nothing_in_the_kernel_until_it_stands_again() -> None:
    hub = a_protected_hub(2)
    effects = hub.give(InterfaceRefused(GRE, "no clear-text guard: EPERM", exposed=True), now=5.0)
    assert of(effects, CloseInterface) == [CloseInterface(GRE, withdrawn=True)]
    assert the(of(effects, InterfaceLost)).reason == "no clear-text guard: EPERM"
    assert hub.table(View.INTERFACES, "up", "problem") == [(False, "no clear-text guard: EPERM")]
    assert kernel(hub.receive(a_registration_request(3), nbma(3), now=6.0)) == []
    effects = hub.advance(5.0 + REOPEN_S)
    assert the(of(effects, OpenInterface)).guard is not None
    assert kernel(effects) == ["+ 10.255.255.2 at 192.168.100.2", "+ 10.255.255.2/32"]


def test_a_tunnel_whose_guard_is_mended_opens_at_once() -> None:
    hub = a_protected_hub(2)
    assert hub.give(InterfaceMended(GRE), InterfaceMended(99), now=4.0) == []
    hub.give(InterfaceRefused(GRE, "no clear-text guard: EPERM", exposed=True), now=5.0)
    effects = hub.give(InterfaceMended(GRE), now=6.0)
    assert of(effects, OpenInterface)
    assert of(hub.advance(5.0 + REOPEN_S), OpenInterface) == []


def test_the_guard_knows_the_link_that_has_the_tunnels_address() -> None:
    spoke = a_protected_spoke()
    gre = GreParameters(key=42, ttl=64, local=nbma(2))
    effects = spoke.give(a_tunnel_link(gre=gre), now=5.0)
    assert of(effects, OpenInterface) == []
    assert inspect.guard(spoke.engine) == ProtectedGre(42, None, ipv6=False, underlay="eth0")


def test_a_link_that_is_not_the_tunnels_changes_nothing() -> None:
    spoke = a_protected_spoke()

    assert spoke.give(a_link(9, "eth9"), now=5.0) == []
