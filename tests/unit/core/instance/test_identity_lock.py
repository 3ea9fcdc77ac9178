"""With IPsec an overlay address stays with the identity that has it, while its SA lives; without any rule."""

from typing import Any

import pytest

from nhrpd_py.core.address import Address
from nhrpd_py.core.config import IpsecConfig
from nhrpd_py.core.effects import SetNeighbor
from nhrpd_py.core.events import AddressRemoved, BindingFound
from nhrpd_py.core.notices import ClaimRefused, PolicyOpen, RegistrationRefused
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import of_entries
from nhrpd_py.packet.iana import CieCode, ExtensionType
from tests.support.engine import Node, a_hub, a_node, of, the, the_packet
from tests.support.ipsec import (
    IPSEC,
    POLICY,
    READY,
    a_policy,
    a_protected_hub,
    a_protected_spoke,
    a_rule,
    gone,
    installed,
    one_too_many,
    redirected,
)
from tests.support.messages import (
    a_record,
    a_registration_request,
    a_resolution_reply,
    a_resolution_request,
)
from tests.support.resolution import ask
from tests.support.sites import (
    GRE,
    HUB,
    a_tunnel_link,
    an_address,
    an_interface,
    host,
    ip,
    nbma,
    tunnel,
)


def registers(node: Node, source: Address, number: int = 2, now: float = 0.0) -> int:
    effects = node.receive(a_registration_request(number), source, now=now)
    return the(the_packet(effects)[1].entries).code


def test_another_identity_is_refused_until_the_sa_is_gone() -> None:
    hub = a_protected_hub(2)
    hub.give(installed(9, local=1))
    effects = hub.receive(a_registration_request(2), nbma(9))
    assert the(of(effects, RegistrationRefused)).reason == "spoke2.example has it, and an SA"
    assert hub.cache() == {"10.255.255.2": ("dynamic", "192.168.100.2")}
    assert registers(hub, nbma(2)) == CieCode.SUCCESS
    hub.give(gone(2, local=1))
    assert registers(hub, nbma(9)) == CieCode.SUCCESS


@pytest.mark.parametrize("remaining_s", [None, 30.0], ids=["kernel", "state file"])
def test_what_an_earlier_run_knew_is_nobody_elses_before_charon_has_told_of_all_sas(
    remaining_s: float | None,
) -> None:
    """Whose SA was told of first took it from whose SA came next, who then was locked out."""
    hub = a_hub(ipsec=IPSEC)
    hub.give(BindingFound(GRE, tunnel(2), nbma(2), remaining_s))
    assert hub.receive(a_registration_request(2), nbma(9)) == []  # its SA is not told of yet
    effects = hub.give(installed(9, local=1))
    assert "before charon has told" in the(of(effects, RegistrationRefused)).reason
    hub.give(installed(2, local=1), READY)
    assert registers(hub, nbma(9)) == CieCode.ADMINISTRATIVELY_PROHIBITED
    assert registers(hub, nbma(2)) == CieCode.SUCCESS


def test_what_an_earlier_run_knew_may_move_once_charon_has_told_of_all_sas() -> None:
    hub = a_hub(ipsec=IPSEC)
    hub.give(BindingFound(GRE, tunnel(2), nbma(2), 30.0), installed(9, local=1), READY)
    assert registers(hub, nbma(9)) == CieCode.SUCCESS


def test_the_same_identity_may_move() -> None:
    hub = a_protected_hub(2)
    hub.give(installed(22, local=1, identity="spoke2.example"))
    assert registers(hub, nbma(22)) == CieCode.SUCCESS
    assert hub.cache() == {"10.255.255.2": ("dynamic", "192.168.100.22")}


@pytest.mark.parametrize("ipsec", [IPSEC, None], ids=["protected", "plain"])
def test_an_address_is_not_taken_by_way_of_another_tunnel_of_the_cloud(
    ipsec: IpsecConfig | None,
) -> None:
    first = an_interface(redirect=True, ipsec=IPSEC)
    hub = a_node(1, first, an_interface("gre2", redirect=True, ipsec=ipsec))
    hub.give(a_tunnel_link(5, "gre2"), an_address(5, ip("10.255.254.1"), 32), READY)
    hub.give(installed(2, local=1), installed(9, local=1))
    assert registers(hub, nbma(2)) == CieCode.SUCCESS
    effects = hub.receive(a_registration_request(2), nbma(9), ifindex=5)
    assert the(of(effects, RegistrationRefused)).reason == "spoke2.example has it, and an SA"
    assert of(effects, SetNeighbor) == []
    # Who has it may have it on both, where that shows who it is.
    own = hub.receive(a_registration_request(2), nbma(2), ifindex=5)
    assert len(of(own, SetNeighbor)) == (1 if ipsec else 0)


def test_what_a_second_peer_registered_goes_with_its_sa() -> None:
    """Seen: it stayed for its holding time at the address of the first, who got its traffic."""
    hub = a_protected_hub(2, shortcut=True)
    hub.run(10.0)
    assert registers(hub, nbma(2), 3, now=10.0) == CieCode.SUCCESS  # charon has not told yet
    effects = hub.give(one_too_many(2, local=1), now=10.1)
    refused = the(of(effects, ClaimRefused))
    assert (refused.protocol, "is being ended" in refused.reason) == (tunnel(3), True)
    assert hub.cache(10.1) == {"10.255.255.2": ("dynamic", "192.168.100.2")}
    # Its next one came through the SA as well; the first may renew meanwhile.
    assert registers(hub, nbma(2), 3, now=10.2) == CieCode.ADMINISTRATIVELY_PROHIBITED
    assert registers(hub, nbma(2), now=10.2) == CieCode.SUCCESS
    asked = a_resolution_request(4, host(1), source_nbma=nbma(2))
    hub.receive(asked, nbma(2), now=10.3)
    assert list(hub.cache(10.3)) == ["10.255.255.2"]
    # What the first registers later is believed again: it has the SA.
    assert registers(hub, nbma(2), 3, now=13.0) == CieCode.SUCCESS


def test_the_second_peer_behind_one_outer_address_is_refused() -> None:
    hub = a_protected_hub(2)
    hub.give(installed(2, local=1, id=77, identity="thief.example"))
    assert registers(hub, nbma(2)) == CieCode.ADMINISTRATIVELY_PROHIBITED


def the_reply_moves(spoke: Node, number: int, now: float) -> Any:
    """A reply by way of the hub says that spoke 3 is at another outer address."""
    request = redirected(spoke, now)
    entry = ClientInformation(
        prefix_length=24, holding_time_s=60, nbma=nbma(number), protocol=tunnel(3)
    )
    return spoke.receive(a_resolution_reply(request, entries=(entry,)), HUB.nbma, now=now)


def a_spoke_that_knows_3() -> Node:
    spoke = a_protected_spoke(3)
    ask(spoke, target=tunnel(2), source_protocol=tunnel(3), source_nbma=nbma(3))
    assert spoke.cache()["10.255.255.3"] == ("cached", "192.168.100.3")
    return spoke


def test_a_reply_does_not_give_an_address_to_another_identity_that_has_an_sa() -> None:
    spoke = a_spoke_that_knows_3()
    spoke.give(installed(9))
    assert of(the_reply_moves(spoke, 9, 1.0), SetNeighbor) == []
    assert spoke.cache()["10.255.255.3"] == ("cached", "192.168.100.3")


def test_a_reply_about_an_unknown_peer_is_judged_when_its_sa_is_up() -> None:
    """It may be the same one that moved; whoever it is gets no traffic before that."""
    spoke = a_spoke_that_knows_3()
    assert SetNeighbor(4, tunnel(3), nbma(9)) not in the_reply_moves(spoke, 9, 1.0)
    effects = spoke.give(installed(9), now=2.0)
    assert the(of(effects, ClaimRefused)).reason == "spoke3.example has it, and an SA"
    assert of(effects, SetNeighbor) == []
    moved = a_spoke_that_knows_3()
    the_reply_moves(moved, 33, 1.0)
    effects = moved.give(installed(33, identity="spoke3.example"), now=2.0)
    assert [each.nbma for each in of(effects, SetNeighbor)] == [nbma(33)]


def test_who_comes_from_an_outer_address_ends_its_being_a_tunnel_address() -> None:
    """Registered while its owner was away, it kept the owner out: the tunnel would have led into itself."""
    hub = a_protected_hub(2)
    lie = a_registration_request(2, source_protocol=ip("10.9.9.9"), destination_protocol=HUB.tunnel)
    hub.receive(lie, nbma(2))
    assert "10.9.9.9" in hub.cache()
    own = installed(9, local=1).association
    moved = type(own)(id=9, local=own.local, remote=ip("10.9.9.9"), identity="spoke9.example")
    effects = hub.give(type(installed(9))(moved))
    assert "outer address of a peer" in the(of(effects, ClaimRefused)).reason
    assert (
        the_packet(hub.receive(a_registration_request(9), ip("10.9.9.9")))[1].entries[0].code == 0
    )


@pytest.mark.parametrize(
    ("authorize", "number", "counts"),
    [
        (POLICY, 4, True),
        (POLICY, 3, False),
        (a_policy(a_rule("*", ("10.255.255.9/32",))), 4, False),
    ],
)
def test_a_transit_record_counts_where_a_rule_gives_the_address(authorize, number, counts) -> None:
    """Spoke 4 hands on registrations, with the outer address that the client claims."""
    hub = a_protected_hub(authorize=authorize)
    hub.give(installed(4, local=1))
    record = of_entries(ExtensionType.FORWARD_TRANSIT_NHS, (a_record(4),))
    handed_on = a_registration_request(
        number,
        source_nbma=nbma(44),
        destination_protocol=HUB.tunnel,
        extensions=(record,),
        request_id=9,
    )
    hub.receive(handed_on, nbma(4))
    assert (list(hub.cache().values()) == [("dynamic", "192.168.100.44")]) is counts


def test_what_no_rule_is_about_is_allowed_but_not_vouched_for() -> None:
    """Without any rule a transit record counts from servers and mapped peers alone."""
    hub = a_protected_hub(4, authorize=a_policy(a_rule("other", ("10.0.0.0/8",))))
    record = of_entries(ExtensionType.FORWARD_TRANSIT_NHS, (a_record(4),))
    handed_on = a_registration_request(
        4, source_nbma=nbma(44), destination_protocol=HUB.tunnel, extensions=(record,)
    )
    refused = the(of(hub.receive(handed_on, nbma(4)), RegistrationRefused))
    assert "transit record" in refused.reason


def test_a_hub_without_rules_says_so_once() -> None:
    open_to_all = a_hub(ipsec=IPSEC)
    told = of(open_to_all.give(READY), PolicyOpen)
    assert [each.setting for each in told] == ["authorize"]
    assert of(open_to_all.give(READY), PolicyOpen) == []
    assert of(a_hub(ipsec=IPSEC, authorize=POLICY).give(READY), PolicyOpen) == []
    assert of(a_hub().started, PolicyOpen) == []


@pytest.mark.parametrize("length", [24, 32])
def test_a_public_tunnel_address_needs_overlay_and_the_line_is_told(length: int) -> None:
    hub = a_hub()
    hub.give(AddressRemoved(GRE, HUB.tunnel, 32))
    told = of(hub.give(an_address(GRE, ip("8.8.8.1"), length)), PolicyOpen)
    assert [each.setting for each in told] == (["overlay"] if length == 32 else [])
    assert all('overlay = ["8.8.8.0/24"]' in each.problem for each in told)


def test_what_an_earlier_run_knew_is_judged_by_the_rules_where_the_sa_is_there_first() -> None:
    """A tunnel that is made after charon has told of its SAs."""
    hub = a_protected_hub(authorize=POLICY)
    hub.give(installed(3, local=1))
    effects = hub.give(BindingFound(GRE, tunnel(4), nbma(3), 30.0))
    assert "of an earlier run" in the(of(effects, ClaimRefused)).reason
    assert of(effects, SetNeighbor) == []
    assert hub.cache() == {}
    hub.give(BindingFound(GRE, tunnel(3), nbma(3), 30.0))
    assert hub.cache() == {"10.255.255.3": ("dynamic", "192.168.100.3")}
