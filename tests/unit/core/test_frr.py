"""FRR's own packets, fed to our engine in both roles: what we answer, and what FRR will read in that.

The packets are those of `tests/unit/packet/vectors.py`. Where we answer in FRR's stead, the answer is compared octet
by octet with FRR's; it may differ in the hop count (ours is 255), in the MTU (FRR tells none), and so in the checksum.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from nhrpd_py.core.address import Address
from nhrpd_py.core.effects import DropNeighbor, SetNeighbor, SetRoute
from nhrpd_py.core.events import AddressAdded, RouteAdded
from nhrpd_py.core.notices import ErrorReceived, RegistrationAccepted, ShortcutInstalled
from nhrpd_py.core.queries import View
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import RECORDS, of_entries
from nhrpd_py.packet.iana import ErrorCode, ExtensionType, PacketType
from nhrpd_py.packet.message import Message, decode, encode
from tests.support.engine import (
    Node,
    a_hub,
    a_node,
    a_spoke,
    drops,
    kinds,
    of,
    packets,
    sent,
    the,
    the_packet,
)
from tests.support.messages import (
    AUTHENTICATION,
    a_registration_reply,
    a_resolution_request,
    an_error_indication,
)
from tests.support.sites import (
    GRE,
    HUB,
    LAN,
    SECRET,
    a_link,
    a_route,
    a_tunnel_link,
    an_address,
    an_interface,
    an_nhs,
    host,
    ip,
    nbma,
    tunnel,
)
from tests.unit.packet.vectors import OBSERVED

OUR_MTU = 1472
NAT_OUTSIDE = nbma(50)
NAT_INSIDE = ip("10.9.9.2")


def without_mtu(message: Message) -> Message:
    """The same message with 0 for the MTU of our tunnel, in its entries and in its records."""
    extensions = tuple(
        of_entries(each.type, _without_mtu(each.entries(4, message.protocol_size)))
        if each.type in RECORDS
        else each
        for each in message.extensions
    )
    return replace(message, entries=_without_mtu(message.entries), extensions=extensions)


def _without_mtu(entries: Iterable[ClientInformation]) -> tuple[ClientInformation, ...]:
    return tuple(replace(each, mtu=0) if each.mtu == OUR_MTU else each for each in entries)


def with_hop_count(data: bytes, hop_count: int) -> bytes:
    """The same packet with another hop count and a right checksum."""
    return encode(replace(decode(data), hop_count=hop_count))


REGISTRATIONS = [
    ("registration_request_unique_to_a_dynamic_nhs", "registration_reply", nbma(3), None),
    (
        "registration_request_behind_nat",
        "registration_reply_with_two_nat_entries",
        NAT_OUTSIDE,
        None,
    ),
    ("registration_request_with_password", "registration_reply_with_password", nbma(2), SECRET),
]


@pytest.mark.parametrize(("request_name", "reply_name", "source", "secret"), REGISTRATIONS)
def test_reply_to_frrs_registration_is_frrs_reply_octet_by_octet(
    request_name, reply_name, source, secret
) -> None:
    hub = a_hub(authentication=secret)
    to, reply = the_packet(hub.receive(OBSERVED[request_name], source))
    assert to == source
    assert encode(replace(without_mtu(reply), hop_count=64)) == OBSERVED[reply_name]


def test_client_of_frr_behind_nat_is_bound_to_its_outer_address() -> None:
    hub = a_hub()
    effects = hub.receive(OBSERVED["registration_request_behind_nat"], NAT_OUTSIDE)
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(4), NAT_OUTSIDE)]
    notice = the(of(effects, RegistrationAccepted))
    assert (notice.protocol, notice.nbma) == (tunnel(4), NAT_OUTSIDE)
    binding = the(row for row in hub.rows(View.CACHE) if row.type == "dynamic")  # type: ignore[union-attr]
    assert binding.nat  # type: ignore[union-attr]
    assert binding.claimed_nbma == "10.9.9.2"  # type: ignore[union-attr]


def test_ipv6_registration_of_frr_is_answered_with_our_ipv6_address_as_responder() -> None:
    hub = a_hub()
    hub.give(an_address(GRE, ip("fd00::1"), 128))
    to, reply = the_packet(hub.receive(OBSERVED["registration_request_ipv6"], nbma(2)))
    assert to == nbma(2)
    frr = decode(OBSERVED["registration_reply_ipv6_responder_ipv4"])
    # FRR names its IPv4 address as responder; everything else must be equal.
    responder = reply.extension(ExtensionType.RESPONDER_ADDRESS)
    assert responder is not None
    assert the(responder.entries(4, 16)).protocol == ip("fd00::1")
    ours = tuple(each for each in reply.extensions if each is not responder)
    theirs = tuple(each for each in frr.extensions if each.type != responder.type)
    assert replace(reply, hop_count=64, extensions=ours) == replace(frr, extensions=theirs)


def a_twin_of_frrs_spoke(number: int, request_id: int = 1, **settings: Any) -> Node:
    """One of our spokes where FRR's was, whose last request id is such that FRR's reply fits."""
    return a_spoke(number, registered=False, **{"first_request_id": request_id, **settings})


def test_registration_is_frrs_registration_octet_by_octet() -> None:
    spoke = a_twin_of_frrs_spoke(3, unique=True)
    request = the(sent(spoke.started, PacketType.REGISTRATION_REQUEST))
    # FRR sends hop count 1, which would not survive a hub on the way.
    assert request.hop_count == 255
    expected = OBSERVED["registration_request_unique_to_a_dynamic_nhs"]
    assert encode(replace(without_mtu(request), hop_count=1)) == expected


def test_signed_registration_is_frrs_registration_octet_by_octet() -> None:
    spoke = a_twin_of_frrs_spoke(2, authentication=SECRET)
    request = the(sent(spoke.started, PacketType.REGISTRATION_REQUEST))
    expected = OBSERVED["registration_request_with_password"]
    assert encode(replace(without_mtu(request), hop_count=1)) == expected


def test_ipv6_registration_is_frrs_registration_octet_by_octet() -> None:
    spoke = a_node(2, unique=True, nhs=(an_nhs(),), first_request_id=1)
    # The tunnel's IPv4 address comes with the node and takes the first id.
    request = the(sent(spoke.give(an_address(GRE, ip("fd00::2"), 128))))
    observed = decode(OBSERVED["registration_request_ipv6"])
    assert without_mtu(request) == replace(observed, hop_count=255, request_id=2)


@pytest.mark.parametrize(
    ("number", "reply_name", "secret"),
    [(3, "registration_reply", None), (2, "registration_reply_with_password", SECRET)],
)
def test_registration_reply_of_frr_makes_the_nhs_known(number, reply_name, secret) -> None:
    spoke = a_twin_of_frrs_spoke(number, authentication=secret)
    effects = spoke.receive(OBSERVED[reply_name], HUB.nbma)
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, HUB.tunnel, HUB.nbma)]
    assert spoke.cache() == {"10.255.255.1": ("nhs", "192.168.100.1")}


def test_second_nat_entry_of_frrs_reply_tells_us_our_outer_address() -> None:
    spoke = a_natted_spoke()
    effects = spoke.receive(OBSERVED["registration_reply_with_two_nat_entries"], HUB.nbma)
    assert not drops(effects)
    # It goes into our own requests from now on, as it does in FRR's.
    spoke.request_ids.next = 2
    effects = spoke.see_indication(ip("172.16.2.1"))
    request = the(sent(effects))
    ours = encode(replace(without_mtu(request), hop_count=64))
    observed = decode(OBSERVED["resolution_request_behind_nat"])
    # FRR asks with prefix length 255 when it registers unique, we with 32.
    expected = replace(observed, entries=(replace(observed.entries[0], prefix_length=32),))
    assert ours == encode(expected)


class NattedSpoke(Node):
    def see_indication(self, target: Address) -> list:
        indication = decode(OBSERVED["traffic_indication"])
        payload = bytearray(indication.payload)
        payload[12:20] = ip("172.16.4.1") + target
        changed = replace(indication, destination_protocol=ip("172.16.4.1"), payload=bytes(payload))
        return self.receive(changed, HUB.nbma)


def a_natted_spoke() -> NattedSpoke:
    return NattedSpoke(
        an_interface(shortcut=True, nhs=(an_nhs(),)),
        events=[
            a_link(),
            AddressAdded(ifindex=2, address=NAT_INSIDE, prefix_length=24),
            a_link(LAN, "lan0"),
            an_address(LAN, host(4, 1), 24),
            RouteAdded(a_route("172.16.4.0/24", LAN)),
            a_tunnel_link(),
            an_address(GRE, tunnel(4), 32),
            RouteAdded(a_route("10.255.255.0/24", GRE, HUB.tunnel)),
            RouteAdded(a_route("172.16.0.0/16", GRE, HUB.tunnel)),
        ],
    )


def test_ipv6_reply_of_frr_with_its_ipv4_responder_is_accepted() -> None:
    spoke = a_node(2, nhs=(an_nhs(),))
    request = the(sent(spoke.give(an_address(GRE, ip("fd00::2"), 128))))
    reply = replace(
        decode(OBSERVED["registration_reply_ipv6_responder_ipv4"]), request_id=request.request_id
    )
    spoke.receive(reply, HUB.nbma)
    assert spoke.cache()["fd00::1"] == ("nhs", "192.168.100.1")


def test_redirect_of_frr_makes_us_ask_the_hub_as_frr_would() -> None:
    spoke = a_spoke(2)
    to, request = the_packet(spoke.receive(OBSERVED["traffic_indication"], HUB.nbma))
    assert to == HUB.nbma
    observed = decode(OBSERVED["resolution_request"])
    expected = replace(observed, entries=(replace(observed.entries[0], prefix_length=32),))
    assert encode(replace(without_mtu(request), hop_count=64)) == encode(expected)


def test_signed_redirect_of_frr_is_accepted_with_the_pass_phrase_only() -> None:
    signed = OBSERVED["traffic_indication_with_password"]
    spoke = a_spoke(2, authentication=SECRET, registered=False)
    request = the(sent(spoke.started))
    spoke.receive(a_registration_reply(request, AUTHENTICATION), HUB.nbma)
    assert kinds(spoke.receive(signed, HUB.nbma)) == [(HUB.nbma, PacketType.RESOLUTION_REQUEST)]
    unsigned = OBSERVED["traffic_indication"]
    assert drops(spoke.receive(unsigned, HUB.nbma)) == ["authentication-failed"]


def test_resolution_request_of_frr_is_forwarded_as_frr_does() -> None:
    hub = a_hub(2, 4)
    to, request = the_packet(hub.receive(OBSERVED["resolution_request"], nbma(2)))
    assert to == nbma(4)
    assert encode(without_mtu(request)) == OBSERVED["resolution_request_forwarded"]


def test_resolution_request_of_frr_for_a_natted_spoke_reaches_its_outer_address() -> None:
    hub = a_hub(2)
    hub.receive(OBSERVED["registration_request_behind_nat"], NAT_OUTSIDE)
    to, request = the_packet(hub.receive(OBSERVED["resolution_request"], nbma(2)))
    assert to == NAT_OUTSIDE
    assert encode(without_mtu(request)) == OBSERVED["resolution_request_forwarded"]


def test_reply_of_a_natted_frr_is_forwarded_as_frr_does() -> None:
    hub = a_hub(2)
    hub.receive(OBSERVED["registration_request_behind_nat"], NAT_OUTSIDE)
    to, reply = the_packet(hub.receive(OBSERVED["resolution_reply_behind_nat"], NAT_OUTSIDE))
    assert to == nbma(2)
    assert encode(without_mtu(reply)) == OBSERVED["resolution_reply_forwarded"]


def test_forwarded_request_of_frr_is_answered_with_all_that_frr_reads() -> None:
    spoke = a_spoke(4)
    request = OBSERVED["resolution_request_forwarded"]
    to, reply = the_packet(spoke.receive(request, HUB.nbma))
    # Straight to the requester: its address is in the request, which did not come from it.
    assert to == nbma(2)
    observed = decode(OBSERVED["resolution_reply_behind_nat"])
    # FRR reads: id, code, prefix length, holding time, both addresses, NAT extension, MTU.
    entry = the(reply.entries)
    assert entry == replace(observed.entries[0], nbma=nbma(4), mtu=OUR_MTU)
    assert reply.flags & ~2 == observed.flags
    assert reply.request_id == observed.request_id
    assert reply.source_protocol == observed.source_protocol
    assert reply.destination_protocol == observed.destination_protocol
    assert [each.type for each in reply.extensions] == [each.type for each in observed.extensions]
    record = reply.extension(ExtensionType.FORWARD_TRANSIT_NHS)
    assert record == observed.extension(ExtensionType.FORWARD_TRANSIT_NHS)
    nat = reply.extension(ExtensionType.NAT_ADDRESS)
    assert nat is not None
    assert nat.value == b""


def test_natted_frr_is_answered_at_the_outer_address_that_it_names() -> None:
    spoke = a_spoke(2)
    request = OBSERVED["resolution_request_behind_nat"]
    forwarded = the_packet(forwarding_hub().receive(request, NAT_OUTSIDE))[1]
    effects = spoke.receive(forwarded, HUB.nbma)
    assert the_packet(effects)[0] == NAT_OUTSIDE
    assert spoke.cache()["10.255.255.4"] == ("cached", "192.168.100.50")


def forwarding_hub() -> Node:
    hub = a_hub(2)
    hub.receive(OBSERVED["registration_request_behind_nat"], NAT_OUTSIDE)
    return hub


def test_natted_frr_that_does_not_know_is_told_by_our_hub() -> None:
    request = decode(OBSERVED["resolution_request_behind_nat"])
    extensions = tuple(
        replace(each, value=b"") if each.type == ExtensionType.NAT_ADDRESS else each
        for each in request.extensions
    )
    effects = forwarding_hub().receive(replace(request, extensions=extensions), NAT_OUTSIDE)
    forwarded = the_packet(effects)[1]
    assert forwarded.extension(ExtensionType.NAT_ADDRESS) == request.extension(
        ExtensionType.NAT_ADDRESS
    )


def test_reply_of_a_natted_frr_becomes_a_shortcut_to_its_outer_address() -> None:
    spoke = a_spoke(2)
    spoke.receive(OBSERVED["traffic_indication"], HUB.nbma)
    effects = spoke.receive(OBSERVED["resolution_reply_forwarded"], HUB.nbma)
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(4), NAT_OUTSIDE)]
    routes = [(str(each.prefix), each.gateway) for each in of(effects, SetRoute)]
    assert routes == [("10.255.255.4/32", b""), ("172.16.4.0/24", tunnel(4))]
    assert the(of(effects, ShortcutInstalled)).nbma == NAT_OUTSIDE


def test_direct_reply_of_frr_is_taken_as_well() -> None:
    spoke = a_spoke(2)
    spoke.receive(OBSERVED["traffic_indication"], HUB.nbma)
    spoke.receive(OBSERVED["resolution_reply_behind_nat"], NAT_OUTSIDE)
    assert spoke.shortcuts() == [("172.16.4.0/24", "10.255.255.4", "active")]
    assert spoke.cache()["10.255.255.4"] == ("cached", "192.168.100.50")


def test_error_of_frr_about_nothing_of_ours_is_told_and_not_answered() -> None:
    spoke = a_spoke(20)
    effects = spoke.receive(OBSERVED["error_indication_hop_count"], HUB.nbma)
    assert packets(effects) == []
    assert the(of(effects, ErrorReceived)).error == "HOP_COUNT_EXCEEDED"


def test_authentication_error_of_frr_shows_up_at_the_registration() -> None:
    spoke = a_spoke(20, registered=False, first_request_id=9)
    effects = spoke.receive(OBSERVED["error_indication_authentication"], HUB.nbma)
    assert packets(effects) == []
    notice = the(of(effects, ErrorReceived))
    assert notice.error == (
        "error indication: AUTHENTICATION_FAILURE; the server has a pass phrase, and we have none"
    )


def test_unsigned_error_of_frr_is_heard_with_a_pass_phrase_too() -> None:
    spoke = a_spoke(20, registered=False, first_request_id=9, authentication=SECRET)
    effects = spoke.receive(OBSERVED["error_indication_authentication"], HUB.nbma)
    assert of(effects, ErrorReceived)


def test_exhausted_request_of_frr_gets_the_error_that_frr_would_send() -> None:
    hub = a_hub(2)
    request = encode(a_resolution_request(20, tunnel(2), hop_count=0))
    effects = hub.receive(request, nbma(20))
    to, error = the_packet(effects)
    assert to == nbma(20)
    assert error.error_code == ErrorCode.HOP_COUNT_EXCEEDED
    assert error.destination_protocol == tunnel(20)
    assert error.payload == request[:256]  # FRR looks its request id up in there
    assert error.extensions == ()
    assert drops(effects) == ["hop-count-exceeded"]


@pytest.mark.parametrize("code", [2, 3, 11, 15, 99])
def test_error_about_our_resolution_ends_it_whatever_its_number(code) -> None:
    spoke = a_spoke(2)
    request = the(sent(spoke.receive(OBSERVED["traffic_indication"], HUB.nbma)))
    spoke.receive(an_error_indication(1, code, request), HUB.nbma)
    assert spoke.shortcuts() == [("172.16.4.1/32", None, "negative")]


def test_registration_without_a_password_gets_the_error_that_frr_would_send() -> None:
    hub = a_hub(authentication=SECRET)
    request = OBSERVED["registration_request_unique_to_a_dynamic_nhs"]
    effects = hub.receive(request, nbma(3))
    to, error = the_packet(effects)
    assert (to, error.error_code) == (nbma(3), ErrorCode.AUTHENTICATION_FAILURE)
    assert not of(effects, SetNeighbor)


def test_frr_that_leaves_the_cloud_is_not_mourned_before_its_time() -> None:
    """FRR sends no purge: its binding lives to its end, and not a moment longer."""
    hub = a_hub()
    hub.receive(OBSERVED["registration_request_unique_to_a_dynamic_nhs"], nbma(3))
    assert not of(hub.advance(59.9), DropNeighbor)
    assert of(hub.advance(60.0), DropNeighbor) == [DropNeighbor(GRE, tunnel(3))]
