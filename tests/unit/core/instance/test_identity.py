"""What an SA vouches for: claims of anything else are refused."""

from dataclasses import replace

import pytest

from nhrpd_py.core.effects import DropNeighbor
from nhrpd_py.core.events import ConfigChanged
from nhrpd_py.core.notices import ClaimRefused, RegistrationRefused, ResolutionFailed
from nhrpd_py.core.queries import View
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import of_entries
from nhrpd_py.packet.iana import CieCode, ExtensionType
from tests.support.engine import of, sent, the
from tests.support.ipsec import (
    POLICY,
    a_policy,
    a_protected_hub,
    a_protected_spoke,
    a_rule,
    asks,
    installed,
    kernel,
    redirected,
    resolved,
    wishes,
)
from tests.support.messages import (
    a_record,
    a_registration_request,
    a_resolution_reply,
    a_resolution_request,
    std_extensions,
)
from tests.support.sites import (
    GRE,
    HUB,
    a_map,
    host,
    nbma,
    tunnel,
)


def test_registration_of_anothers_address_is_refused() -> None:
    hub = a_protected_hub(authorize=POLICY)
    hub.give(installed(3, local=1))
    theft = a_registration_request(3, source_protocol=tunnel(4), destination_protocol=tunnel(4))
    effects = hub.receive(theft, nbma(3), now=1.0)
    assert the(sent(effects)).entries[0].code == CieCode.ADMINISTRATIVELY_PROHIBITED
    assert the(of(effects, RegistrationRefused)).reason == (
        "spoke3.example is not authorized for 10.255.255.4"
    )
    assert hub.cache() == {}


def test_registration_of_another_in_an_entry_is_refused() -> None:
    hub = a_protected_hub(authorize=POLICY)
    hub.give(installed(3, local=1))
    entries = (
        ClientInformation(prefix_length=32, holding_time_s=60, protocol=tunnel(3)),
        ClientInformation(prefix_length=32, holding_time_s=60, protocol=tunnel(4)),
    )
    reply = the(sent(hub.receive(a_registration_request(3, entries=entries), nbma(3), now=1.0)))
    assert [each.code for each in reply.entries] == [0, 4]


@pytest.mark.parametrize("passed", [(), (7,)])
def test_resolution_in_the_name_of_another_is_refused(passed: tuple[int, ...]) -> None:
    """Also where the record tells of an NHS on the way: anybody can write that."""
    hub = a_protected_hub(authorize=POLICY)
    hub.give(installed(3, local=1))
    record = of_entries(ExtensionType.FORWARD_TRANSIT_NHS, [a_record(each) for each in passed])
    extensions = (record, *std_extensions()[1:])
    request = a_resolution_request(3, host(1), source_protocol=tunnel(4), extensions=extensions)
    effects = hub.receive(request, nbma(3), now=1.0)
    assert the(sent(effects)).entries[0].code == CieCode.ADMINISTRATIVELY_PROHIBITED
    assert the(of(effects, ClaimRefused)).protocol == tunnel(4)
    assert hub.cache() == {}


def test_gateway_that_its_sa_does_not_vouch_for_is_refused_when_that_is_up() -> None:
    spoke = a_protected_spoke(authorize=POLICY)
    resolved(spoke)
    effects = spoke.give(installed(3, identity="spoke4.example"), now=2.0)
    assert kernel(effects) == ["- 10.255.255.3"]
    assert wishes(effects) == ["drop 192.168.100.3"]
    assert the(of(effects, ClaimRefused)).protocol == tunnel(3)
    assert asks(spoke, 100.0) == []


def test_network_that_its_sa_does_not_vouch_for_is_refused_when_that_is_up() -> None:
    spoke = a_protected_spoke(authorize=POLICY)
    request = redirected(spoke, 1.0, host(4))
    spoke.receive(a_resolution_reply(request), HUB.nbma, now=1.0)
    effects = spoke.give(installed(3), now=2.0)
    assert kernel(effects) == ["+ 10.255.255.3 at 192.168.100.3", "+ 10.255.255.3/32"]
    assert str(the(of(effects, ClaimRefused)).prefix) == "172.16.4.0/24"


def test_single_host_of_anothers_network_is_refused_too() -> None:
    """Only networks were looked at where the SA was up already: any host could be drawn in one by one."""
    spoke = a_protected_spoke(3, authorize=POLICY)
    request = redirected(spoke, 1.0, host(4))
    effects = spoke.receive(a_resolution_reply(request, prefix_length=32), HUB.nbma, now=1.0)
    assert kernel(effects) == []
    assert the(of(effects, ResolutionFailed)).reason == (
        "spoke3.example is not authorized for 172.16.4.10"
    )


def test_resolution_of_the_gateway_itself_needs_its_address_only() -> None:
    policy = a_policy(a_rule("spoke3.example", None, ("172.16.3.0/24",)))
    spoke = a_protected_spoke(3, authorize=policy)
    request = redirected(spoke, 1.0, tunnel(3))
    effects = spoke.receive(a_resolution_reply(request, prefix_length=32), HUB.nbma, now=1.0)
    assert "+ 10.255.255.3 at 192.168.100.3" in kernel(effects)


def test_client_whose_next_sa_is_another_peers_is_forgotten() -> None:
    hub = a_protected_hub(3, authorize=POLICY)
    effects = hub.give(installed(3, local=1, id=44, identity="spoke4.example"), now=2.0)
    assert kernel(effects) == ["- 10.255.255.3/32", "- 10.255.255.3"]


def test_a_new_map_gives_a_peer_that_is_up_no_address_that_it_may_not_have() -> None:
    hub = a_protected_hub(3, authorize=POLICY)
    wrong = replace(hub.config.interfaces["gre1"], maps=(a_map(tunnel(7), nbma(3)),))
    effects = hub.give(ConfigChanged(replace(hub.config, interfaces={"gre1": wrong})), now=1.0)
    assert "not authorized for 10.255.255.7" in the(of(effects, ClaimRefused)).reason
    assert DropNeighbor(GRE, tunnel(7)) in effects
    rows = hub.table(View.CACHE, "protocol", "up", "authorized", now=1.0)
    assert ("10.255.255.7", False, False) in rows
    right = replace(wrong, maps=(a_map(tunnel(3), nbma(3)),))
    effects = hub.give(ConfigChanged(replace(hub.config, interfaces={"gre1": right})), now=2.0)
    assert of(effects, ClaimRefused) == []
