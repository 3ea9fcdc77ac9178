"""An SA that the peer began settles: traffic waits until the peer can receive through it."""

from nhrpd_py.core.config import IpsecConfig
from nhrpd_py.core.effects import Effect, SetNeighbor, SetRoute
from nhrpd_py.core.events import Association, IpsecReady, SaInstalled
from nhrpd_py.packet.extension import of_entries
from nhrpd_py.packet.iana import ExtensionType, PacketType
from tests.support.engine import Node, a_spoke, of, sent, the
from tests.support.messages import (
    a_record,
    a_registration_reply,
    a_registration_request,
    a_resolution_request,
)
from tests.support.sites import GRE, HUB, host, nbma, tunnel

IPSEC = IpsecConfig(profile="dmvpn")


def a_protected_spoke() -> Node:
    """Spoke 2, registered through an SA that it began itself."""
    spoke = a_spoke(2, registered=False, ipsec=IPSEC)
    mine = Association(id=1, local=nbma(2), remote=HUB.nbma, identity="hub1")
    effects = spoke.give(IpsecReady("5.9.8", patched=False), SaInstalled(mine))
    request = the(sent(effects, PacketType.REGISTRATION_REQUEST))
    spoke.receive(a_registration_reply(request), HUB.nbma)
    return spoke


def an_answered_sa() -> SaInstalled:
    return SaInstalled(
        Association(id=2, local=nbma(2), remote=nbma(3), identity="spoke3", answered=True)
    )


def programmed(effects: list[Effect]) -> list[Effect]:
    return [*of(effects, SetNeighbor), *of(effects, SetRoute)]


def test_traffic_waits_until_the_peer_that_began_an_sa_can_receive_through_it() -> None:
    """Before it has our IKE_AUTH response it drops what we send: 4 of 150 pings were lost in the demonstration."""
    spoke = a_protected_spoke()
    relayed = (of_entries(ExtensionType.FORWARD_TRANSIT_NHS, (a_record(1),)),)
    spoke.receive(a_resolution_request(3, target=host(2), extensions=relayed), HUB.nbma)
    assert programmed(spoke.give(an_answered_sa(), now=1.0)) == []
    assert programmed(spoke.advance(1.4)) == []
    assert of(spoke.advance(1.5), SetNeighbor) == [SetNeighbor(GRE, tunnel(3), nbma(3))]


def test_a_packet_of_the_peer_tells_sooner_that_it_can_receive() -> None:
    spoke = a_protected_spoke()
    spoke.give(an_answered_sa(), now=1.0)
    effects = spoke.receive(a_registration_request(3), nbma(3), now=1.1)
    assert SetNeighbor(GRE, tunnel(3), nbma(3)) in programmed(effects)
    assert sent(effects, PacketType.REGISTRATION_REPLY)
