"""The asking side of resolution (RFC 2332 §5.2.1, §5.2.2, §6.2)."""

import pytest

from nhrpd_py.core.address import host_prefix
from nhrpd_py.core.effects import (
    DropRoute,
    NeighborState,
    SetNeighbor,
    SetRoute,
)
from nhrpd_py.core.events import AddressRemoved, RouteAdded, RouteRemoved
from nhrpd_py.core.notices import (
    ResolutionFailed,
    TableFull,
)
from nhrpd_py.core.resolution import table as resolution_module
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.iana import PacketType
from tests.support import inspect
from tests.support.engine import a_spoke, drops, kinds, of, packets, sent, the
from tests.support.messages import (
    AUTHENTICATION,
    REQUEST_FLAGS,
    a_registration_reply,
    a_registration_request,
    a_resolution_reply,
    a_resolution_request,
    a_traffic_indication,
    nat_extension,
    std_extensions,
)
from tests.support.resolution import a_shortcut_spoke, an_asking_spoke, redirect, solicit
from tests.support.sites import (
    GRE,
    HUB,
    SECRET,
    UNDERLAY,
    a_route,
    an_address,
    an_nhs,
    host,
    ip,
    nbma,
    tunnel,
)

REQUEST = PacketType.RESOLUTION_REQUEST

STALE = NeighborState.STALE


def test_request_says_what_cisco_and_frr_want_to_hear() -> None:
    spoke, request = an_asking_spoke()
    assert request.flags == REQUEST_FLAGS
    assert request.hop_count == 255
    assert request.destination_protocol == host(3)
    assert (request.source_nbma, request.source_protocol) == (nbma(2), tunnel(2))
    assert request.entries == (ClientInformation(prefix_length=32, mtu=1472, holding_time_s=60),)
    assert request.extensions == std_extensions(nat_extension())
    assert spoke.shortcuts() == [("172.16.3.10/32", None, "incomplete")]


def test_signed_request_has_the_signature_last() -> None:
    spoke = a_spoke(2, registered=False, authentication=SECRET)
    reply = a_registration_reply(the(sent(spoke.started)), AUTHENTICATION)
    spoke.receive(reply, HUB.nbma)
    indication = a_traffic_indication(1, host(2), host(3), extensions=(AUTHENTICATION,))
    request = the(sent(spoke.receive(indication, HUB.nbma)))
    assert request.extensions[-1] == AUTHENTICATION


def test_many_redirects_make_one_request() -> None:
    spoke, _ = an_asking_spoke()
    for now in (0.0, 0.9):
        effects = redirect(spoke, now=now)
        assert sent(effects) == []
        assert drops(effects) == ["already-asked"]


def test_lost_request_is_sent_again_with_its_id_and_then_given_up_for_a_minute() -> None:
    spoke, first = an_asking_spoke()
    for at in (1.0, 3.0, 7.0, 15.0):
        assert the(sent(spoke.advance(at), REQUEST)) == first
    effects = spoke.advance(31.0)
    assert the(of(effects, ResolutionFailed)).reason == "no answer"
    assert sent(effects, REQUEST) == []
    assert spoke.shortcuts() == [("172.16.3.10/32", None, "negative")]
    # A negative result damps redirects, and ends.
    assert sent(redirect(spoke, now=90.9), REQUEST) == []
    spoke.advance(91.0)
    assert spoke.shortcuts() == []


# Whom to ask, and whether to ask at all.


@pytest.mark.parametrize(
    "target",
    [tunnel(2), host(2, 1), host(2, 77), ip("8.8.8.8"), ip("224.0.0.5"), ip("0.0.0.0")],
)
def test_nobody_is_asked_about_what_is_here_behind_us_or_nowhere(target) -> None:
    effects = redirect(a_spoke(2), target)
    assert sent(effects) == []
    assert drops(effects) == ["not-in-cloud"]


def test_redirect_without_shortcut_configured_is_not_followed() -> None:
    spoke = a_spoke(2, shortcut=False)
    effects = redirect(spoke)
    assert drops(effects) == ["not-allowed"]
    assert sent(effects) == []


def test_nobody_is_asked_while_no_server_is_up() -> None:
    spoke = a_spoke(2, registered=False)
    effects = redirect(spoke)
    assert sent(effects) == []
    assert drops(effects) == ["no-route"]
    assert spoke.shortcuts() == []


def test_routed_next_hop_is_asked_before_the_server() -> None:
    spoke = a_spoke(2)
    spoke.receive(a_registration_request(3), nbma(3))
    spoke.give(RouteAdded(a_route("172.16.4.0/24", GRE, tunnel(3))))
    assert kinds(redirect(spoke, host(4))) == [(nbma(3), REQUEST)]


def test_server_is_asked_about_the_next_hop_itself() -> None:
    spoke = a_spoke(2)
    spoke.receive(a_registration_request(3), nbma(3))
    assert kinds(inspect.renew(spoke.engine, tunnel(3), 0.0)) == [(HUB.nbma, REQUEST)]


def test_peer_is_asked_about_itself_where_there_is_no_server() -> None:
    hub = a_spoke(5, registered=False, nhs=())
    hub.receive(a_registration_request(3), nbma(3))
    assert kinds(inspect.renew(hub.engine, tunnel(3), 0.0)) == [(nbma(3), REQUEST)]


def test_best_server_is_asked() -> None:
    spoke = a_spoke(
        2, registered=False, nhs=(an_nhs(priority=5), an_nhs("192.168.100.11", cluster=1))
    )
    first, second = sent(spoke.started)
    spoke.receive(a_registration_reply(first), HUB.nbma)
    spoke.receive(a_registration_reply(second, server=tunnel(11)), nbma(11), now=1.0)
    assert [to for to, _ in kinds(redirect(spoke, host(3)))] == [HUB.nbma]  # the routed path
    assert [to for to, _ in kinds(solicit(spoke, tunnel(9)))] == [HUB.nbma]
    spoke.give(RouteRemoved(a_route("10.255.255.0/24", GRE, HUB.tunnel)))
    spoke.give(RouteAdded(a_route("10.255.255.0/24", GRE)))
    assert [to for to, _ in kinds(solicit(spoke, tunnel(8)))] == [nbma(11)]  # the better one


def test_retry_skips_a_beat_while_the_server_is_away() -> None:
    spoke, _ = an_asking_spoke()
    inspect.client(spoke.engine).stop()
    spoke.give(RouteRemoved(a_route("172.16.0.0/16", GRE, HUB.tunnel)))
    assert sent(spoke.advance(1.0)) == []
    assert spoke.shortcuts() == [("172.16.3.10/32", None, "incomplete")]


# Redirects while a shortcut is there.


@pytest.mark.parametrize(
    "lost", [AddressRemoved(UNDERLAY, nbma(2), 24), AddressRemoved(GRE, tunnel(2), 32)]
)
def test_retry_skips_a_beat_while_we_have_no_address_of_our_own(lost) -> None:
    """DHCP takes the address away while we ask; it took the daemon along."""
    spoke, request = an_asking_spoke()
    spoke.give(lost, now=0.5)
    assert sent(spoke.advance(1.0), REQUEST) == []
    back = an_address(lost.ifindex, lost.address, lost.prefix_length)
    spoke.give(back, now=2.0)
    again = the(sent(spoke.advance(3.0), REQUEST))
    assert (again.request_id, again.source_nbma) == (request.request_id, nbma(2))


def test_redirect_of_what_has_a_shortcut_asserts_its_route_anew() -> None:
    spoke = a_shortcut_spoke()
    effects = redirect(spoke, host(3, 99), now=1.0)
    assert sent(effects) == []
    assert [(str(each.prefix), each.gateway) for each in of(effects, SetRoute)] == [
        ("172.16.3.0/24", tunnel(3))
    ]


def test_host_shortcut_gives_way_to_a_binding_of_that_host() -> None:
    """There is one route for both: when the shortcut ended, it took the binding's along."""
    spoke, request = an_asking_spoke(tunnel(4))
    spoke.receive(a_resolution_reply(request, 3, prefix_length=32), HUB.nbma)
    assert spoke.shortcuts() == [("10.255.255.4/32", "10.255.255.3", "active")]
    effects = spoke.receive(a_registration_request(4), nbma(4), now=1.0)
    assert [each for each in effects if isinstance(each, SetNeighbor | SetRoute | DropRoute)] == [
        DropRoute(host_prefix(tunnel(4)), GRE),
        SetNeighbor(GRE, tunnel(4), nbma(4)),
        SetRoute(host_prefix(tunnel(4)), GRE),
    ]
    assert spoke.shortcuts() == []
    assert DropRoute(host_prefix(tunnel(4)), GRE) not in spoke.run(60.9)


def test_answer_about_a_host_that_has_a_binding_makes_no_shortcut() -> None:
    spoke, request = an_asking_spoke(tunnel(4))
    spoke.receive(a_registration_request(4), nbma(4))
    effects = spoke.receive(a_resolution_reply(request, 3, prefix_length=32), HUB.nbma)
    assert [each.prefix for each in of(effects, SetRoute)] == [host_prefix(tunnel(3))]
    assert spoke.shortcuts() == []


def test_flood_of_redirects_does_not_become_one_of_requests(monkeypatch) -> None:
    spoke = a_spoke(2)
    effects = [each for last in range(1, 254) for each in redirect(spoke, host(3, last))]
    effects += [each for last in range(1, 254) for each in redirect(spoke, host(4, last))]
    effects += redirect(spoke, host(3, 1))  # is asked for already
    assert len(sent(effects, REQUEST)) == 500
    assert drops(effects) == ["rate-limited"] * 6 + ["already-asked"]
    assert len(sent(redirect(spoke, host(5), now=0.1), REQUEST)) == 1


def test_redirect_by_the_peer_of_a_shortcut_is_followed() -> None:
    """A host of its LAN moved behind spoke 4; the wide shortcut hid that for as long as it was in use."""
    spoke = a_shortcut_spoke()
    redirected = spoke.receive(a_traffic_indication(3, host(2), host(3, 77)), nbma(3), now=1.0)
    request = the(sent(redirected))
    assert request.destination_protocol == host(3, 77)
    spoke.receive(a_resolution_reply(request, 4, prefix_length=32), HUB.nbma, now=1.1)
    assert sorted(spoke.shortcuts(2.0)) == [
        ("172.16.3.0/24", "10.255.255.3", "active"),
        ("172.16.3.77/32", "10.255.255.4", "active"),
    ]


# Bounds.


def test_full_table_makes_room_by_negative_results_first(monkeypatch) -> None:
    monkeypatch.setattr(resolution_module, "MAX_RESOLUTIONS", 2)
    spoke = a_spoke(2)
    for last, code in ((1, 5), (2, 12)):
        request = the(sent(redirect(spoke, host(3, last))))
        nak = a_resolution_reply(request, entries=(ClientInformation(code=code),))
        spoke.receive(nak, HUB.nbma)
    redirect(spoke, host(3, 3))
    # The one that would have ended first is gone.
    assert [row[0] for row in spoke.shortcuts()] == ["172.16.3.1/32", "172.16.3.3/32"]
    redirect(spoke, host(3, 4))
    effects = redirect(spoke, host(3, 5))
    assert the(of(effects, TableFull)).table == "resolutions"
    assert of(redirect(spoke, host(3, 6)), TableFull) == []
    # Then by the oldest that are still unanswered.
    assert [row[0] for row in spoke.shortcuts()] == ["172.16.3.5/32", "172.16.3.6/32"]


def test_requester_in_our_own_name_is_not_believed() -> None:
    """Our own request that comes back to us is from ourselves, by its outer source."""
    spoke = a_spoke(2)
    effects = spoke.receive(a_resolution_request(2, host(2)), nbma(2))
    assert drops(effects) == ["from-ourselves"]
    assert packets(effects) == []


def test_kernel_is_not_answered_about_what_is_routed_elsewhere() -> None:
    spoke = a_spoke(2, routes=[a_route("10.255.255.0/24", UNDERLAY, nbma(254))])
    assert solicit(spoke, tunnel(9)) == []


@pytest.mark.parametrize("target", [ip("224.0.0.5"), ip("255.255.255.255"), ip("127.0.0.1")])
def test_nobody_is_asked_about_groups_even_where_a_default_route_leads_into_the_cloud(
    target,
) -> None:
    spoke = a_spoke(2, routes=[a_route("0.0.0.0/0", GRE, HUB.tunnel)])
    assert sent(redirect(spoke, target)) == []
    assert len(sent(redirect(spoke, ip("8.8.8.8")))) == 1
