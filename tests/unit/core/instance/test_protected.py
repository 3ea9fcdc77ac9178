"""What stations do when a circuit comes up, goes down, cannot be had, or is somebody else's."""

from typing import Any

from nhrpd_py.core.config import Unlisted
from nhrpd_py.core.events import (
    AddressRemoved,
    CommandGiven,
    NameResolved,
    ShutdownRequested,
)
from nhrpd_py.core.notices import ClaimRefused, NhsDown, ResolutionFailed
from nhrpd_py.core.queries import Flush, FlushWhat, Resolve, View
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import of_entries
from nhrpd_py.packet.iana import ExtensionType, PacketType
from tests.support.engine import Node, of, sent, the
from tests.support.ipsec import (
    POLICY,
    a_policy,
    a_protected_spoke,
    a_rule,
    asks,
    failed,
    gone,
    installed,
    kernel,
    redirected,
    register,
    resolved,
    wishes,
)
from tests.support.messages import (
    a_record,
    a_registration_reply,
    a_resolution_reply,
    a_resolution_request,
    std_extensions,
)
from tests.support.sites import (
    HUB,
    UNDERLAY,
    a_map,
    a_tunnel_link,
    an_address,
    an_nhs,
    host,
    nbma,
    tunnel,
)

REQUEST = PacketType.REGISTRATION_REQUEST

RESOLUTION = PacketType.RESOLUTION_REQUEST


# Servers.


def test_registration_waits_for_the_sa_and_is_sent_with_it() -> None:
    spoke = a_protected_spoke(registered=False)
    assert wishes(spoke.started) == ["want 192.168.100.1 server"]
    assert sent(spoke.started) == []
    assert spoke.run(100.0) == []
    assert "+ 10.255.255.1 at 192.168.100.1" in kernel(register(spoke, 100.0))
    assert spoke.table(View.NHS, "state") == [("up",)]


def test_hub_whose_sa_is_lost_is_lost_and_is_back_with_the_next() -> None:
    spoke = a_protected_spoke()
    effects = spoke.give(gone(1), now=5.0)
    assert the(of(effects, NhsDown)).reason == "the security association is gone: deleted"
    assert kernel(effects) == ["- 10.255.255.1/32", "- 10.255.255.1"]
    assert wishes(effects) == []  # it is wanted all the time
    assert sent(spoke.run(60.0)) == []
    assert "+ 10.255.255.1 at 192.168.100.1" in kernel(register(spoke, 60.0))


def test_a_new_sa_asks_for_one_registration_more_and_no_loop() -> None:
    spoke = a_protected_spoke()
    for number in range(5):
        effects = spoke.give(installed(1, id=50 + number), now=5.0)
        assert len(sent(effects, REQUEST)) == (number == 0)
        assert kernel(effects) == []
        assert wishes(effects) == []


def two_servers(**settings: Any) -> Node:
    servers = (an_nhs(), an_nhs("192.168.100.9", priority=1))
    return a_protected_spoke(registered=False, nhs=servers, **settings)


def test_sa_that_cannot_be_had_leads_to_the_second_server_and_back() -> None:
    spoke = two_servers()
    assert wishes(spoke.started) == ["want 192.168.100.1 server"]
    assert wishes(spoke.give(failed(1), now=1.0)) == ["want 192.168.100.9 server"]
    spoke.give(failed(1), now=3.0)
    request = the(sent(spoke.give(installed(9), now=4.0), REQUEST))
    spoke.receive(a_registration_reply(request, server=tunnel(9)), nbma(9), now=4.0)
    assert spoke.table(View.NHS, "state") == [("probe",), ("up",)]
    effects = register(spoke, 10.0)
    assert wishes(effects) == ["drop 192.168.100.9"]
    assert spoke.table(View.NHS, "state") == [("up",), ("standby",)]


def test_our_own_address_moves_and_no_server_stays_up_on_the_old_sa() -> None:
    """It stayed `up` without an SA for ever, and the second server was never tried."""
    spoke = two_servers()
    register(spoke, 0.0)
    effects = spoke.give(
        an_address(UNDERLAY, nbma(22), 24), AddressRemoved(UNDERLAY, nbma(2), 24), now=5.0
    )
    assert "want 192.168.100.1 server" in wishes(effects)
    assert kernel(effects) == ["- 10.255.255.1/32", "- 10.255.255.1"]
    assert spoke.table(View.NHS, "state")[0] != ("up",)
    assert "want 192.168.100.9 server" in wishes(spoke.give(failed(1, local=22), now=6.0))
    request = the(sent(spoke.give(installed(1, local=22), now=7.0), REQUEST))
    assert request.source_nbma == nbma(22)


def test_silent_hub_is_renewed_and_its_binding_waits_for_an_answer() -> None:
    """nhrpd is dead there, charon is not: the SA is made anew once, and never again for this silence."""
    spoke = a_protected_spoke()
    effects = []
    for at in range(1, 50):
        effects += spoke.advance(float(at))
    assert wishes(effects) == ["end 192.168.100.1"]
    assert kernel(effects) == []
    effects = spoke.give(
        an_address(UNDERLAY, nbma(22), 24), AddressRemoved(UNDERLAY, nbma(2), 24), now=50.0
    )
    assert kernel(effects) == ["- 10.255.255.1/32", "- 10.255.255.1"]


def test_name_of_the_hub_leads_elsewhere() -> None:
    spoke = a_protected_spoke(registered=False, nhs=(an_nhs("hub.example"),))
    effects = spoke.give(NameResolved("hub.example", (HUB.nbma,)), now=1.0)
    assert wishes(effects) == ["want 192.168.100.1 server"]
    register(spoke, 1.0)
    effects = spoke.give(NameResolved("hub.example", (nbma(9),)), now=2.0)
    assert wishes(effects) == ["want 192.168.100.9 server"]
    assert (
        kernel(effects) == []
    )  # the SA at the former address serves until the hub has answered at the new one
    request = the(sent(spoke.give(installed(9), now=3.0), REQUEST))
    effects = spoke.receive(a_registration_reply(request), nbma(9), now=3.1)
    assert kernel(effects) == ["+ 10.255.255.1 at 192.168.100.9", "+ 10.255.255.1/32"]
    assert wishes(effects) == ["drop 192.168.100.1"]


def test_somebody_else_than_the_hub_at_its_address_is_not_our_server() -> None:
    policy = a_policy(a_rule("hub.example", ("10.255.255.1/32",)), unlisted=Unlisted.DENY)
    spoke = a_protected_spoke(registered=False, authorize=policy)
    request = the(sent(spoke.give(installed(1, identity="evil.example"), now=1.0), REQUEST))
    effects = spoke.receive(a_registration_reply(request), HUB.nbma, now=1.0)
    assert kernel(effects) == []
    (row,) = spoke.table(View.NHS, "state", "last_error")
    assert row == (
        "registering",
        "this is not our server: evil.example is not authorized for 10.255.255.1",
    )


def test_server_whose_next_sa_proves_another_identity_is_lost() -> None:
    policy = a_policy(a_rule("hub.example", ("10.255.255.1/32",)), unlisted=Unlisted.DENY)
    spoke = a_protected_spoke(registered=False, authorize=policy)
    request = the(sent(spoke.give(installed(1, identity="hub.example"), now=1.0), REQUEST))
    spoke.receive(a_registration_reply(request), HUB.nbma, now=1.0)
    effects = spoke.give(installed(1, id=11, identity="evil.example"), now=2.0)
    assert kernel(effects) == ["- 10.255.255.1/32", "- 10.255.255.1"]
    assert the(of(effects, ClaimRefused)).protocol == HUB.tunnel
    assert spoke.table(View.NHS, "state") == [("registering",)]


# Shortcuts.


def test_a_peer_that_ike_cannot_reach_is_left_alone() -> None:
    spoke = a_protected_spoke()
    assert resolved(spoke) == ["want 192.168.100.3"]
    effects = spoke.give(failed(3), now=11.0)
    assert wishes(effects) == ["drop 192.168.100.3"]
    assert kernel(effects) == ["- 10.255.255.3"]
    assert spoke.shortcuts(11.0) == [("172.16.3.10/32", None, "negative")]
    assert asks(spoke, 20.0) == []
    spoke.run(41.5)
    assert resolved(spoke, 42.0) == ["want 192.168.100.3"]
    spoke.give(failed(3), now=50.0)
    spoke.run(109.0)
    assert asks(spoke, 109.0) == []
    spoke.run(111.0)
    assert resolved(spoke, 111.0) == ["want 192.168.100.3"]


def test_another_target_behind_a_peer_at_rest_stays_on_the_hub_too() -> None:
    spoke = a_protected_spoke()
    resolved(spoke)
    spoke.give(failed(3), now=11.0)
    request = redirected(spoke, 12.0, host(3, 77))
    effects = spoke.receive(a_resolution_reply(request), HUB.nbma, now=12.0)
    assert wishes(effects) == kernel(effects) == []
    assert the(of(effects, ResolutionFailed)).reason == "no answer"


def test_a_peer_at_rest_that_comes_by_itself_is_welcome() -> None:
    spoke = a_protected_spoke()
    resolved(spoke)
    spoke.give(failed(3), now=11.0)
    spoke.give(installed(3), now=12.0)
    request = redirected(spoke, 12.0, host(3, 77))
    effects = spoke.receive(a_resolution_reply(request), HUB.nbma, now=12.0)
    assert "+ 172.16.3.0/24 via 10.255.255.3" in kernel(effects)


def test_flush_and_resolve_give_a_peer_at_rest_a_fresh_start() -> None:
    """The rest went on unseen, and the next answer was refused with the old reason."""
    spoke = a_protected_spoke()
    resolved(spoke)
    spoke.give(failed(3), now=11.0)
    spoke.give(CommandGiven(1, Flush(what=FlushWhat.SHORTCUTS)), now=12.0)
    assert resolved(spoke, 12.0) == ["want 192.168.100.3"]
    spoke.give(failed(3), now=13.0)
    spoke.give(CommandGiven(1, Flush(what=FlushWhat.SHORTCUTS, nbma=nbma(3))), now=14.0)
    spoke.give(CommandGiven(1, Flush(what=FlushWhat.ALL)), now=14.0)
    assert resolved(spoke, 14.0) == ["want 192.168.100.3"]
    spoke.give(failed(3), now=15.0)
    request = the(sent(spoke.give(CommandGiven(2, Resolve(address=host(3))), now=16.0), RESOLUTION))
    effects = spoke.receive(a_resolution_reply(request), HUB.nbma, now=16.0)
    assert wishes(effects) == ["want 192.168.100.3"]


def test_of_two_that_ask_each_other_the_higher_address_waits_a_moment() -> None:
    def crossing(where: bytes) -> list[str]:
        spoke = a_protected_spoke()
        record = of_entries(ExtensionType.FORWARD_TRANSIT_NHS, [a_record(1)])
        extensions = (record, *std_extensions()[1:])
        asks_us = a_resolution_request(3, host(2), source_nbma=where, extensions=extensions)
        spoke.receive(asks_us, HUB.nbma, now=1.0)
        entry = ClientInformation(
            prefix_length=24, holding_time_s=60, nbma=where, protocol=tunnel(3)
        )
        reply = a_resolution_reply(redirected(spoke, 1.0), entries=(entry,))
        return wishes(spoke.receive(reply, HUB.nbma, now=1.0))

    assert crossing(nbma(3)) == ["want 192.168.100.3"]
    assert crossing(bytes([192, 168, 99, 3])) == ["want 192.168.99.3 after 0.5"]


def test_rekeying_of_a_shortcuts_sa_touches_nothing() -> None:
    spoke = a_protected_spoke(3, authorize=POLICY)
    resolved(spoke)
    assert spoke.give(installed(3, id=33), gone(3, id=3), now=2.0) == []


def test_lost_sa_of_a_shortcut_brings_traffic_back_to_the_hub() -> None:
    spoke = a_protected_spoke(3)
    resolved(spoke)
    effects = spoke.give(gone(3), now=5.0)
    assert kernel(effects) == ["- 172.16.3.0/24", "- 10.255.255.3/32", "- 10.255.255.3"]
    assert asks(spoke, 6.0)  # and is found again at once


def test_circuit_wanted_by_two_is_released_with_the_second() -> None:
    """The hub is an NHS and the gateway of a shortcut's cached binding at the same address."""
    spoke = a_protected_spoke(maps=(a_map(tunnel(8), HUB.nbma),))
    assert wishes(spoke.started) == ["want 192.168.100.1", "want 192.168.100.1 server"]
    effects = spoke.give(ShutdownRequested(), now=1.0)
    assert wishes(effects)[-1] == "drop 192.168.100.1"
    assert wishes(effects).count("drop 192.168.100.1") == 1


def test_peer_that_moves_to_where_an_sa_is_gets_its_routes_back() -> None:
    """Its neighbour was there again, but traffic stayed on the hub until the shortcut was renewed."""
    spoke = a_protected_spoke(33)
    resolved(spoke)
    moved = a_resolution_request(3, host(2), source_nbma=nbma(33), extensions=std_extensions())
    assert kernel(spoke.receive(moved, nbma(33), now=2.0)) == [
        "+ 10.255.255.3 at 192.168.100.33",
        "+ 10.255.255.3/32",
        "+ 172.16.3.0/24 via 10.255.255.3",
    ]


# Configured bindings.


def test_static_peer_has_its_neighbour_while_it_has_its_sa() -> None:
    spoke = a_protected_spoke(maps=(a_map(tunnel(3), nbma(3)),))
    assert "want 192.168.100.3" in wishes(spoke.started)
    assert "+ 10.255.255.3 at 192.168.100.3" not in kernel(spoke.started)
    assert kernel(spoke.give(installed(3), now=1.0)) == [
        "+ 10.255.255.3 at 192.168.100.3",
        "+ 10.255.255.3/32",
    ]
    resolved(spoke)
    effects = spoke.give(gone(3), now=2.0)
    assert kernel(effects) == ["- 172.16.3.0/24", "- 10.255.255.3/32", "- 10.255.255.3"]
    assert wishes(effects) == wishes(spoke.give(failed(3), now=3.0)) == []  # wanted all the time
    assert spoke.cache()["10.255.255.3"] == ("static", "192.168.100.3")


def test_a_configured_binding_waits_for_who_may_have_it() -> None:
    policy = a_policy(a_rule("spoke9.example", ("10.255.255.9/32",)), a_rule("spoke3.example"))
    spoke = a_protected_spoke(maps=(a_map(tunnel(3), nbma(3)),), authorize=policy)
    assert kernel(spoke.give(installed(3, identity="spoke9.example"), now=1.0)) == []
    assert spoke.cache()["10.255.255.3"] == ("static", "192.168.100.3")
    spoke.give(gone(3), now=2.0)
    assert kernel(spoke.give(installed(3, id=33), now=3.0)) == [
        "+ 10.255.255.3 at 192.168.100.3",
        "+ 10.255.255.3/32",
    ]


def test_wishes_end_when_the_tunnel_goes_down_and_come_again_with_it() -> None:
    spoke = a_protected_spoke(maps=(a_map(tunnel(3), nbma(3)),))
    effects = spoke.give(a_tunnel_link(up=False), now=1.0)
    assert sorted(wishes(effects)) == ["drop 192.168.100.1", "drop 192.168.100.3"]
    effects = spoke.give(a_tunnel_link(), now=2.0)
    assert sorted(wishes(effects)) == ["want 192.168.100.1 server", "want 192.168.100.3"]
