"""Golden dialogues over IPsec: charon's words are the author's, what the stations make of them is the record."""

from dataclasses import replace

import pytest

from nhrpd_py.core.address import host_prefix
from nhrpd_py.core.config import AuthorizeConfig, AuthorizeRule, NhsConfig
from nhrpd_py.core.events import (
    AddressAdded,
    AddressRemoved,
    Association,
    SaFailed,
    SaGone,
    SaInstalled,
)
from tests.support.clouds import add_hub, add_spoke
from tests.support.ipsec import IPSEC, READY
from tests.support.messages import received
from tests.support.sites import (
    HUB,
    HUB_2,
    SPOKE_1,
    SPOKE_2,
    SPOKE_3,
    UNDERLAY,
    Site,
    an_nhs,
)
from tests.support.themes import RENEWALS, Themes, a_registration, talk
from tests.support.transcript import Dialogue

theme = Themes(__file__)
SITES = {"hub": HUB, "hub-2": HUB_2, "spoke-1": SPOKE_1, "spoke-2": SPOKE_2}
POLICY = AuthorizeConfig(
    rules=tuple(
        AuthorizeRule(identity=name, protocol=(host_prefix(site.tunnel),), prefixes=(site.lan,))
        for name, site in SITES.items()
        if name.startswith("spoke")
    )
)


def a_hub(dialogue: Dialogue, name: str = "hub", site: Site = HUB) -> None:
    add_hub(dialogue, SPOKE_1, SPOKE_2, name=name, site=site, ipsec=IPSEC, authorize=POLICY)
    dialogue.give(name, READY)


def a_spoke(dialogue: Dialogue, name: str, site: Site, *more: NhsConfig) -> None:
    servers = (an_nhs(), *more)
    add_spoke(dialogue, name, site, nhs=servers, ipsec=IPSEC, authorize=POLICY)
    dialogue.give(name, READY)


def sa(dialogue: Dialogue, one: str, other: str, identifier: int = 1) -> None:
    """charon tells both ends of a new SA."""
    for name, peer in ((one, other), (other, one)):
        association = Association(
            id=identifier, local=SITES[name].nbma, remote=SITES[peer].nbma, identity=peer
        )
        dialogue.give(name, SaInstalled(association))


def cut(dialogue: Dialogue, one: str, other: str, identifier: int = 1) -> None:
    for name, peer in ((one, other), (other, one)):
        dialogue.give(name, SaGone(SITES[name].nbma, SITES[peer].nbma, identifier, "deleted"))


def fail(dialogue: Dialogue, name: str, peer: str, reason: str = "no answer") -> None:
    dialogue.give(
        name,
        SaFailed(local=SITES[name].nbma, remote=SITES[peer].nbma, reason=reason, retry_in_s=2.0),
    )


def a_cloud(dialogue: Dialogue) -> None:
    a_hub(dialogue)
    for name, site in (("spoke-1", SPOKE_1), ("spoke-2", SPOKE_2)):
        a_spoke(dialogue, name, site)
        sa(dialogue, name, "hub")
    dialogue.run(1.0)
    dialogue.lines.clear()


@theme
def registration_over_ipsec(dialogue: Dialogue) -> None:
    a_hub(dialogue)
    dialogue.say("a spoke starts, and registers when it has its SA")
    a_spoke(dialogue, "spoke-1", SPOKE_1)
    dialogue.run(2.0)
    sa(dialogue, "spoke-1", "hub")
    dialogue.run(1.0)
    dialogue.say("the SA is rekeyed: the spoke registers once more, and the kernel hears nothing")
    sa(dialogue, "spoke-1", "hub", 2)
    cut(dialogue, "spoke-1", "hub", 1)
    dialogue.run(1.0)
    dialogue.say("it is lost, and comes back")
    cut(dialogue, "spoke-1", "hub", 2)
    dialogue.run(3.0)
    sa(dialogue, "spoke-1", "hub", 3)
    dialogue.run(1.0)


@theme
def second_server_while_the_first_has_no_sa(dialogue: Dialogue) -> None:
    a_hub(dialogue)
    a_hub(dialogue, "hub-2", HUB_2)
    a_spoke(dialogue, "spoke-1", SPOKE_1, an_nhs(HUB_2, priority=1))
    fail(dialogue, "spoke-1", "hub")
    sa(dialogue, "spoke-1", "hub-2")
    dialogue.run(1.0)
    dialogue.say("the first hub can be reached again")
    sa(dialogue, "spoke-1", "hub")
    dialogue.run(1.0)


@theme
def shortcut_over_ipsec(dialogue: Dialogue) -> None:
    a_cloud(dialogue)
    dialogue.say("the route waits for the SA; traffic stays on the hub")
    talk(dialogue)
    dialogue.run(0.5)
    talk(dialogue)
    sa(dialogue, "spoke-1", "spoke-2", 7)
    talk(dialogue)
    dialogue.say("the SA is lost: traffic is back on the hub at once")
    cut(dialogue, "spoke-1", "spoke-2", 7)
    talk(dialogue)


@theme
def peer_that_ike_cannot_reach(dialogue: Dialogue) -> None:
    a_cloud(dialogue)
    dialogue.hidden |= RENEWALS
    for _ in range(3):
        dialogue.say("a packet goes by way of the hub, and the other spoke is asked for an SA")
        talk(dialogue)
        dialogue.run(1.0)
        fail(dialogue, "spoke-1", "spoke-2")
        dialogue.say("meanwhile nothing more is tried")
        talk(dialogue)
        dialogue.run(124.0)
    assert talk(dialogue) == ["spoke-1", "hub", "spoke-2"]


@theme
def claims_refused(dialogue: Dialogue) -> None:
    a_cloud(dialogue)
    dialogue.say("spoke-1 registers the address of spoke-2")
    thief = replace(SPOKE_1, tunnel=SPOKE_2.tunnel)
    theft = a_registration(thief)
    dialogue.give("hub", received(theft, SPOKE_1.nbma))
    dialogue.run(1.0)


@theme
def restart_with_charon_up(dialogue: Dialogue) -> None:
    a_cloud(dialogue)
    dialogue.kill("hub")
    dialogue.say("a new daemon: the kernel's entries stay while charon has not told yet")
    dialogue.boot("hub")
    dialogue.run(1.0)
    dialogue.say("charon tells: spoke-1 has its SA, that with spoke-2 went meanwhile")
    association = Association(id=1, local=HUB.nbma, remote=SPOKE_1.nbma, identity="spoke-1")
    dialogue.give("hub", SaInstalled(association))
    dialogue.give("hub", READY)
    dialogue.run(1.0)


@theme
def underlay_address_changed_with_ipsec(dialogue: Dialogue) -> None:
    a_cloud(dialogue)
    dialogue.give("spoke-1", AddressAdded(ifindex=UNDERLAY, address=SPOKE_3.nbma, prefix_length=24))
    dialogue.give("spoke-1", AddressRemoved(UNDERLAY, SPOKE_1.nbma, 24))
    dialogue.run(1.0)


@pytest.mark.parametrize("name", theme.names)
def test_transcript(name: str, pytestconfig: pytest.Config) -> None:
    theme.check(name, pytestconfig)


def test_no_transcript_is_left_over() -> None:
    assert theme.left_over() == set()
