"""Purges of strangers: only who gave something takes it back."""

import pytest

from nhrpd_py.core.notices import ClaimRefused, PurgeReceived
from nhrpd_py.packet.extension import of_entries
from nhrpd_py.packet.iana import ExtensionType, PacketType
from tests.support.engine import a_hub, a_spoke, drops, of, sent, the
from tests.support.ipsec import (
    POLICY,
    a_policy,
    a_protected_hub,
    a_protected_spoke,
    a_rule,
    installed,
)
from tests.support.messages import (
    AUTHENTICATION,
    a_purge_request,
    a_record,
    a_registration_request,
    a_resolution_request,
)
from tests.support.resolution import a_shortcut_spoke, ask
from tests.support.sites import HUB, SECRET, a_route, nbma, tunnel


def test_a_strangers_purge_by_way_of_the_hub_leaves_the_shortcuts() -> None:
    """One packet, and all traffic of the victim went over the hub again."""
    spoke = a_shortcut_spoke()
    before = spoke.cache(), spoke.shortcuts()
    effects = spoke.receive(a_purge_request(9, "172.16.0.0/12", tunnel(2)), HUB.nbma, now=1.0)
    assert the(of(effects, PurgeReceived)).removed == 0
    assert drops(effects) == ["foreign-purge"]
    assert the(of(effects, ClaimRefused)).protocol == tunnel(9)
    effects = spoke.receive(a_purge_request(9, "0.0.0.0/1", tunnel(2)), HUB.nbma, now=2.0)
    assert drops(effects) == ["foreign-purge"]
    assert (spoke.cache(), spoke.shortcuts()) == before


def test_a_strangers_purge_leaves_them_also_where_a_rule_trusts_the_hub() -> None:
    rules = a_policy(a_rule("spoke1.example"), *POLICY.rules)
    spoke = a_protected_spoke(3, authorize=rules)
    ask(spoke, source_protocol=tunnel(3), source_nbma=nbma(3), target=tunnel(2))
    assert "10.255.255.3" in spoke.cache()
    spoke.receive(a_purge_request(9, "10.255.255.0/24", tunnel(2)), HUB.nbma, now=1.0)
    assert "10.255.255.3" in spoke.cache()
    # The hub itself may, by its rule.
    spoke.receive(a_purge_request(1, "10.255.255.3/32", tunnel(2)), HUB.nbma, now=2.0)
    assert "10.255.255.3" not in spoke.cache()


@pytest.mark.parametrize(("sender", "source"), [(3, nbma(3)), (3, HUB.nbma), (1, HUB.nbma)])
def test_the_peer_and_the_server_by_way_of_which_it_came_take_it_back(sender, source) -> None:
    spoke = a_shortcut_spoke()
    effects = spoke.receive(a_purge_request(sender, "172.16.3.0/24", tunnel(2)), source, now=1.0)
    assert the(of(effects, PurgeReceived)).removed == 1
    assert spoke.shortcuts(1.0) == []


def test_the_hub_does_not_hand_on_a_purge_that_is_not_its_senders() -> None:
    """A spoke believes its hub that a Purge is its peer's own."""
    hub = a_hub(2, 3, routes=[a_route("10.255.255.4/32", 4, tunnel(3))])
    for forged in (1, 3, 4):  # the hub's own address, a client's, and one that is behind a client
        purge = a_purge_request(forged, "172.16.3.0/24", tunnel(2))
        effects = hub.receive(purge, nbma(9))
        assert drops(effects) == ["forged-source"]
        assert sent(effects) == []
    honest = a_purge_request(3, "172.16.3.0/24", tunnel(2))
    assert len(sent(hub.receive(honest, nbma(3)), PacketType.PURGE_REQUEST)) == 1


@pytest.mark.parametrize("records", [False, True])
def test_the_hub_does_not_hand_on_a_request_in_anothers_name(records: bool) -> None:
    """With a transit record that the sender made up it would count as the hub's word at the other end."""
    hub = a_hub(2, 3)
    record = of_entries(ExtensionType.FORWARD_TRANSIT_NHS, (a_record(9),))
    request = a_resolution_request(2, extensions=(record,) if records else ())
    effects = hub.receive(request, nbma(9))
    assert drops(effects) == ["forged-source"]
    assert sent(effects, PacketType.RESOLUTION_REQUEST) == []
    assert len(sent(hub.receive(request, nbma(2)), PacketType.RESOLUTION_REQUEST)) == 1


def test_a_pass_phrase_alone_takes_no_registration_back() -> None:
    """All members of the cloud know it."""
    hub = a_hub(authentication=SECRET)
    hub.receive(a_registration_request(2, extensions=(AUTHENTICATION,)), nbma(2))
    purge = a_purge_request(2, "10.255.255.2/32", HUB.tunnel, extensions=(AUTHENTICATION,))
    assert drops(hub.receive(purge, nbma(9))) == ["foreign-purge"]
    assert list(hub.cache()) == ["10.255.255.2"]


@pytest.mark.parametrize(("identity", "is_gone"), [("spoke2.example", True), ("x.example", False)])
def test_a_client_that_moved_takes_its_registration_back_by_its_identity(identity, is_gone) -> None:
    hub = a_protected_hub(2)
    hub.give(installed(22, local=1, identity=identity))
    hub.receive(a_purge_request(2, "10.255.255.2/32", HUB.tunnel), nbma(22))
    assert (hub.cache() == {}) is is_gone


def test_a_servers_own_word_ends_only_what_came_by_way_of_it() -> None:
    spoke = a_spoke(2)
    spoke.receive(a_registration_request(9, destination_protocol=tunnel(2)), nbma(9))
    purge = a_purge_request(1, "10.255.255.9/32", tunnel(2))
    assert drops(spoke.receive(purge, HUB.nbma)) == ["foreign-purge"]
    assert "10.255.255.9" in spoke.cache()
