"""The server's side of registration (RFC 2332 §5.2.3, §5.2.4)."""

from dataclasses import replace

import pytest

from nhrpd_py.core.effects import DropNeighbor, SetNeighbor, SetRoute
from nhrpd_py.core.notices import RegistrationAccepted, RegistrationRefused, TableFull
from nhrpd_py.core.queries import View
from nhrpd_py.core.station import cache as cache_module
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import of_entries
from nhrpd_py.packet.iana import (
    NAT,
    REGISTRATION_UNIQUE,
    CieCode,
    ExtensionType,
    PacketType,
)
from tests.support.engine import Node, a_hub, a_spoke, kinds, of, packets, sent, the, the_packet
from tests.support.messages import (
    a_record,
    a_registration_reply,
    a_registration_request,
    a_resolution_request,
    std_extensions,
)
from tests.support.sites import (
    GRE,
    HUB,
    a_map,
    a_route,
    an_address,
    host,
    ip,
    nbma,
    tunnel,
)

UNIQUE = NAT | REGISTRATION_UNIQUE


def codes(effects) -> list[int]:
    return [entry.code for entry in the_packet(effects)[1].entries]


def an_entry(protocol: bytes = b"", prefix_length: int = 32, **fields) -> ClientInformation:
    defaults = {"holding_time_s": 60}
    return ClientInformation(protocol=protocol, prefix_length=prefix_length, **(defaults | fields))


def test_registration_makes_a_neighbour_a_host_route_and_a_notice() -> None:
    effects = a_hub().receive(a_registration_request(2), nbma(2))
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(2), nbma(2))]
    assert [str(each.prefix) for each in of(effects, SetRoute)] == ["10.255.255.2/32"]
    assert of(effects, RegistrationAccepted) == [
        RegistrationAccepted(interface="gre1", protocol=tunnel(2), nbma=nbma(2), holding_time_s=60)
    ]


def test_requester_whose_path_is_not_proven_yet_is_reached_as_soon_as_it_registers() -> None:
    hub = a_hub(path_check_s=3, shortcut=True)
    effects = hub.receive(a_resolution_request(2, host(1)), nbma(2))
    assert of(effects, SetNeighbor) == []
    assert "10.255.255.2" in hub.cache()
    effects = hub.receive(a_registration_request(2), nbma(2), now=0.5)
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(2), nbma(2))]
    assert [str(each.prefix) for each in of(effects, SetRoute)] == ["10.255.255.2/32"]


def test_reply_is_the_request_with_codes_and_our_address() -> None:
    request = a_registration_request(2, flags=UNIQUE | 0x4000, request_id=77)
    to, reply = the_packet(a_hub().receive(request, nbma(2)))
    assert to == nbma(2)
    assert reply.type is PacketType.REGISTRATION_REPLY
    assert reply.hop_count == 255
    assert reply.flags == UNIQUE
    assert reply.request_id == 77
    assert (reply.source_nbma, reply.source_protocol) == (nbma(2), tunnel(2))
    assert reply.destination_protocol == HUB.tunnel
    assert reply.entries == request.entries


def test_connected_prefix_of_the_tunnel_makes_host_routes_needless() -> None:
    hub = a_hub(prefix_length=24)
    effects = hub.receive(a_registration_request(2), nbma(2))
    assert of(effects, SetNeighbor)
    assert of(effects, SetRoute) == []


def test_refresh_is_answered_without_a_word_to_kernel_or_operator() -> None:
    hub = a_hub(2)
    effects = hub.receive(a_registration_request(2), nbma(2), now=20.0)
    assert kinds(effects) == [(nbma(2), PacketType.REGISTRATION_REPLY)]
    assert len(effects) == 1


def test_refreshed_binding_lives_on_and_ends_a_holding_time_after_the_last_refresh() -> None:
    hub = a_hub(2)
    hub.receive(a_registration_request(2), nbma(2), now=20.0)
    assert not of(hub.advance(79.9), DropNeighbor)
    assert of(hub.advance(80.0), DropNeighbor) == [DropNeighbor(GRE, tunnel(2))]


def test_shortened_holding_time_counts_at_once() -> None:
    hub = a_hub(2)
    hub.receive(a_registration_request(2, entries=(an_entry(holding_time_s=5),)), nbma(2), now=1.0)
    assert of(hub.advance(6.0), DropNeighbor) == [DropNeighbor(GRE, tunnel(2))]


def test_no_holding_time_means_ours() -> None:
    hub = a_hub()
    hub.receive(a_registration_request(2, entries=(an_entry(holding_time_s=0),)), nbma(2))
    assert hub.table(View.CACHE, "type", "expires_in_s")[1:] == [("dynamic", 60.0)]


def test_client_that_comes_from_elsewhere_moves_and_the_notice_says_from_where() -> None:
    hub = a_hub(2)
    effects = hub.receive(a_registration_request(2), nbma(20), now=1.0)
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(2), nbma(20))]
    assert the(of(effects, RegistrationAccepted)).previous_nbma == nbma(2)


@pytest.mark.parametrize("length", [0, 32, 255])
@pytest.mark.parametrize("flags", [NAT, UNIQUE])
def test_all_three_spellings_of_a_host_are_taken(length, flags) -> None:
    request = a_registration_request(2, flags=flags, entries=(an_entry(prefix_length=length),))
    assert codes(a_hub().receive(request, nbma(2))) == [CieCode.SUCCESS]


def test_network_is_refused() -> None:
    hub = a_hub()
    effects = hub.receive(a_registration_request(2, entries=(an_entry(prefix_length=24),)), nbma(2))
    assert codes(effects) == [CieCode.ADMINISTRATIVELY_PROHIBITED]
    assert hub.cache() == {}


def test_refusal_has_no_holding_time_and_is_told_once_a_minute() -> None:
    hub = a_hub()
    request = a_registration_request(2, entries=(an_entry(prefix_length=24),))
    effects = hub.receive(request, nbma(2), now=0.0)
    assert the(the_packet(effects)[1].entries).holding_time_s == 0
    notice = the(of(effects, RegistrationRefused))
    assert notice.reason == "a client registers its own address, not a network"
    assert of(hub.receive(request, nbma(2), now=59.0), RegistrationRefused) == []
    assert of(hub.receive(request, nbma(2), now=60.0), RegistrationRefused) != []


@pytest.mark.parametrize(
    "protocol", [HUB.tunnel, host(1, 1), HUB.nbma, ip("224.0.0.5"), ip("0.0.0.0"), ip("127.0.0.1")]
)
def test_addresses_of_ours_and_of_nobody_are_refused(protocol) -> None:
    effects = a_hub().receive(a_registration_request(2, entries=(an_entry(protocol),)), nbma(2))
    assert codes(effects) == [CieCode.ADMINISTRATIVELY_PROHIBITED]
    assert not of(effects, SetNeighbor)


def test_each_entry_is_judged_by_itself() -> None:
    hub = a_hub()
    entries = (
        an_entry(),
        an_entry(tunnel(22), mtu=1400),
        an_entry(HUB.tunnel),
        an_entry(tunnel(23), 24),
    )
    effects = hub.receive(a_registration_request(2, entries=entries), nbma(2))
    assert codes(effects) == [0, 0, 4, 4]
    assert hub.cache() == {
        "10.255.255.2": ("dynamic", "192.168.100.2"),
        "10.255.255.22": ("dynamic", "192.168.100.2"),
    }
    assert (None,) in hub.table(View.CACHE, "mtu")
    assert (1400,) in hub.table(View.CACHE, "mtu")


def test_unique_address_is_registered_alone() -> None:
    """§5.2.3: two entries with the unique bit made two unique addresses of one NBMA address."""
    hub = a_hub()
    entries = (an_entry(prefix_length=255), an_entry(tunnel(22), 255))
    request = a_registration_request(2, flags=REGISTRATION_UNIQUE, entries=entries)
    assert codes(hub.receive(request, nbma(2))) == [4, 4]
    assert hub.cache() == {}


def test_entry_that_comes_with_a_code_is_answered_with_ours() -> None:
    effects = a_hub().receive(a_registration_request(2, entries=(an_entry(code=9),)), nbma(2))
    assert codes(effects) == [CieCode.SUCCESS]


def test_first_unique_registration_keeps_the_address() -> None:
    hub = a_hub()
    hub.receive(a_registration_request(2, flags=UNIQUE), nbma(2))
    for flags in (NAT, UNIQUE):
        effects = hub.receive(a_registration_request(2, flags=flags), nbma(20), now=1.0)
        assert codes(effects) == [CieCode.UNIQUE_ADDRESS_REGISTERED]
        assert the_packet(effects)[0] == nbma(20)
    assert hub.cache() == {"10.255.255.2": ("dynamic", "192.168.100.2")}


def test_unique_address_is_free_again_after_its_holding_time() -> None:
    hub = a_hub()
    hub.receive(a_registration_request(2, flags=UNIQUE), nbma(2))
    effects = hub.receive(a_registration_request(2, flags=UNIQUE), nbma(20), now=60.0)
    assert codes(effects) == [CieCode.SUCCESS]


def test_unique_client_may_refresh_and_cease_to_be_unique() -> None:
    hub = a_hub()
    hub.receive(a_registration_request(2, flags=UNIQUE), nbma(2))
    assert codes(hub.receive(a_registration_request(2, flags=NAT), nbma(2), now=1.0)) == [0]
    assert codes(hub.receive(a_registration_request(2, flags=UNIQUE), nbma(20), now=2.0)) == [0]


def test_configured_binding_is_not_overwritten() -> None:
    hub = a_hub(maps=(a_map(tunnel(9), nbma(9)),))
    effects = hub.receive(a_registration_request(9), nbma(20))
    assert codes(effects) == [CieCode.ADMINISTRATIVELY_PROHIBITED]
    assert hub.cache() == {"10.255.255.9": ("static", "192.168.100.9")}


def test_client_that_registers_just_what_is_configured_is_welcome() -> None:
    hub = a_hub(maps=(a_map(tunnel(9), nbma(9)),))
    assert codes(hub.receive(a_registration_request(9), nbma(9))) == [CieCode.SUCCESS]
    assert hub.cache() == {"10.255.255.9": ("static", "192.168.100.9")}


def test_server_of_ours_that_registers_with_us_stays_our_server() -> None:
    spoke = a_spoke(2)
    assert codes(spoke.receive(a_registration_request(1), HUB.nbma)) == [CieCode.SUCCESS]
    assert spoke.cache() == {"10.255.255.1": ("nhs", "192.168.100.1")}


def test_nobody_else_takes_the_address_of_our_server() -> None:
    spoke = a_spoke(2)
    assert codes(spoke.receive(a_registration_request(1), nbma(9))) == [4]


def test_full_table_is_told_to_the_client_and_to_the_operator(monkeypatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_BINDINGS", 2)
    hub = a_hub(2, 3)
    effects = hub.receive(a_registration_request(4), nbma(4))
    assert codes(effects) == [CieCode.INSUFFICIENT_RESOURCES]
    assert of(effects, TableFull) == [TableFull(interface="gre1", table="cache", limit=2)]
    # Who is in may stay.
    assert codes(hub.receive(a_registration_request(2), nbma(2), now=1.0)) == [CieCode.SUCCESS]
    # Told again after a minute only.
    assert of(hub.receive(a_registration_request(4), nbma(4), now=59.0), TableFull) == []


def test_one_client_cannot_fill_the_table(monkeypatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_BINDINGS_PER_SENDER", 2)
    hub = a_hub()
    entries = tuple(an_entry(tunnel(number)) for number in (20, 21, 22))
    effects = hub.receive(a_registration_request(2, entries=entries), nbma(2))
    assert codes(effects) == [0, 0, CieCode.INSUFFICIENT_RESOURCES]
    assert the(of(effects, TableFull)).table == "bindings of one sender"
    assert codes(hub.receive(a_registration_request(3), nbma(3))) == [0]


def test_registration_behind_a_transit_nhs_is_bound_to_what_it_claims() -> None:
    request = a_registration_request(
        2, extensions=(of_entries(ExtensionType.FORWARD_TRANSIT_NHS, (a_record(5),)),)
    )
    hub = a_hub(maps=(a_map(tunnel(5), nbma(5)),))
    effects = hub.receive(request, nbma(5))
    assert the_packet(effects)[0] == nbma(2)
    assert hub.cache()["10.255.255.2"] == ("dynamic", "192.168.100.2")


@pytest.mark.parametrize("claimed", [ip("0.0.0.0"), ip("224.0.0.1"), HUB.nbma])
def test_claim_behind_a_transit_nhs_must_be_an_address_of_somebody_else(claimed) -> None:
    request = a_registration_request(
        2,
        source_nbma=claimed,
        extensions=(of_entries(ExtensionType.FORWARD_TRANSIT_NHS, (a_record(5),)),),
    )
    hub = a_hub(maps=(a_map(tunnel(5), nbma(5)),))
    to, reply = the_packet(hub.receive(request, nbma(5)))
    assert "10.255.255.2" not in hub.cache()
    assert (to, the(reply.entries).code) == (nbma(5), CieCode.ADMINISTRATIVELY_PROHIBITED)


@pytest.mark.parametrize(("number", "protocol"), [(3, nbma(3)), (3, nbma(2)), (10, tunnel(10))])
def test_registration_that_leads_the_tunnel_into_itself_is_refused(number, protocol) -> None:
    """Its host route would draw in the GRE packets to whoever has that NBMA address."""
    hub = a_hub(2)
    hub.receive(
        a_registration_request(7), tunnel(10)
    )  # an odd NBMA address, but nobody's overlay one
    request = a_registration_request(
        number, source_protocol=protocol, destination_protocol=protocol
    )
    effects = hub.receive(request, nbma(number))
    assert codes(effects) == [CieCode.ADMINISTRATIVELY_PROHIBITED]
    assert of(effects, SetNeighbor) == []


def test_client_at_the_overlay_address_of_another_is_refused() -> None:
    hub = a_hub(2)
    assert codes(hub.receive(a_registration_request(3), tunnel(2))) == [
        CieCode.ADMINISTRATIVELY_PROHIBITED
    ]


def test_client_without_records_is_believed_to_be_direct() -> None:
    hub = a_hub()
    to, reply = the_packet(hub.receive(a_registration_request(2, extensions=()), nbma(50)))
    assert to == nbma(50)
    assert reply.extensions == ()
    assert hub.cache() == {"10.255.255.2": ("dynamic", "192.168.100.50")}


def test_registration_for_another_server_is_handed_on() -> None:
    hub = a_hub(3)
    request = a_registration_request(2, destination_protocol=tunnel(3), hop_count=5)
    effects = hub.receive(request, nbma(2))
    assert kinds(effects) == [(nbma(3), PacketType.REGISTRATION_REQUEST)]
    assert hub.cache() == {"10.255.255.3": ("dynamic", "192.168.100.3")}


@pytest.mark.parametrize("destination", [HUB.tunnel, tunnel(2), ip("10.255.255.255")])
def test_registration_is_ours_when_it_names_us_itself_or_the_broadcast_address(
    destination,
) -> None:
    hub = a_hub(prefix_length=24)
    effects = hub.receive(a_registration_request(2, destination_protocol=destination), nbma(2))
    assert the_packet(effects)[1].destination_protocol == HUB.tunnel


def test_registration_of_ipv6_clients_is_a_matter_of_its_own() -> None:
    hub = a_hub_of_both()
    request = replace(
        a_registration_request(2),
        protocol_type=0x86DD,
        source_protocol=ip("fd00::2"),
        destination_protocol=ip("fd00::1"),
        entries=(ClientInformation(prefix_length=128, holding_time_s=60),),
        extensions=std_extensions(),
    )
    effects = hub.receive(request, nbma(2))
    assert codes(effects) == [0]
    assert [str(each.prefix) for each in of(effects, SetRoute)] == ["fd00::2/128"]
    # 32 bits are a host in IPv4 only.
    entry = ClientInformation(prefix_length=32, holding_time_s=60)
    assert codes(hub.receive(replace(request, entries=(entry,)), nbma(2))) == [4]


def a_hub_of_both() -> Node:
    hub = a_hub()
    hub.give(an_address(GRE, ip("fd00::1"), 128))
    return hub


def test_unroutable_registration_gets_an_error_and_no_reply() -> None:
    hub = a_hub(routes=[a_route("10.255.254.0/24", 0)])
    effects = hub.receive(
        a_registration_request(2, destination_protocol=ip("10.255.254.1"), hop_count=9), nbma(2)
    )
    assert [message.error_code for _, message in packets(effects)] == [6]


def test_refusal_of_frr_style_reply_is_understood_by_our_client() -> None:
    spoke = a_spoke(2, registered=False)
    request = the(sent(spoke.started))
    spoke.receive(a_registration_reply(request, code=4), HUB.nbma)
    assert spoke.table(View.NHS, "state", "last_error") == [
        ("refused", "registration refused: ADMINISTRATIVELY_PROHIBITED")
    ]
