"""Phase 2 over IPsec: traffic goes by way of the hub until the SA with the peer is there."""

from dataclasses import replace

from nhrpd_py.core.config import Config
from nhrpd_py.core.effects import Effect
from nhrpd_py.core.events import (
    ConfigChanged,
    NeighborSolicited,
)
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.iana import PacketType
from tests.support.engine import Node, sent, the
from tests.support.ipsec import (
    a_protected_spoke,
    failed,
    gone,
    installed,
    kernel,
    resolved,
    wishes,
)
from tests.support.messages import (
    a_registration_reply,
    a_resolution_reply,
    a_resolution_request,
)
from tests.support.resolution import FORWARDED
from tests.support.sites import (
    GRE,
    HUB,
    a_tunnel_link,
    an_nhs,
    host,
    nbma,
    tunnel,
)

RESOLUTION = PacketType.RESOLUTION_REQUEST

REQUEST = PacketType.REGISTRATION_REQUEST


def solicit(spoke: Node, now: float) -> list[Effect]:
    return list(spoke.give(NeighborSolicited(GRE, tunnel(3), b""), now=now))


def led_spoke() -> Node:
    """The kernel's traffic to spoke 3 goes by way of the hub, while the SA is being made."""
    spoke = a_protected_spoke()
    effects = spoke.give(NeighborSolicited(GRE, tunnel(3), b""), now=1.0)
    assert kernel(effects) == ["+ 10.255.255.3 at 192.168.100.1"]
    request = the(sent(effects, RESOLUTION))
    effects = spoke.receive(a_resolution_reply(request, prefix_length=32), HUB.nbma, now=1.0)
    assert kernel(effects) == []
    assert wishes(effects) == ["want 192.168.100.3"]
    return spoke


def test_interim_neighbour_leads_over_the_hub_until_the_sa_is_there() -> None:
    spoke = led_spoke()
    assert kernel(spoke.give(installed(3), now=2.0)) == [
        "+ 10.255.255.3 at 192.168.100.3",
        "+ 10.255.255.3/32",
    ]


def test_interim_neighbour_goes_with_the_circuit_to_the_hub() -> None:
    """It pointed to a hub without an SA, into the clear-text guard, until the kernel forgot it."""
    assert kernel(led_spoke().give(gone(1), now=2.0)) == [
        "- 10.255.255.1/32",
        "- 10.255.255.1",
        "- 10.255.255.3",
    ]
    spoke = a_protected_spoke()
    solicit(spoke, 1.0)
    assert "- 10.255.255.3" in kernel(spoke.give(gone(1), now=2.0))


def test_interim_neighbour_goes_over_to_the_other_hub() -> None:
    servers = (an_nhs(), an_nhs("192.168.100.9"))
    spoke = a_protected_spoke(nhs=servers)
    request = the(sent(spoke.give(installed(9), now=0.5), REQUEST))
    spoke.receive(a_registration_reply(request, server=tunnel(9)), nbma(9), now=0.5)
    request = the(sent(spoke.give(NeighborSolicited(GRE, tunnel(3), b""), now=1.0), RESOLUTION))
    spoke.receive(a_resolution_reply(request, prefix_length=32), HUB.nbma, now=1.0)
    assert "+ 10.255.255.3 at 192.168.100.9" in kernel(spoke.give(gone(1), now=2.0))


def test_interim_neighbour_goes_with_the_hub_that_is_no_longer_configured() -> None:
    spoke = led_spoke()
    config = replace(spoke.config.interfaces["gre1"], nhs=())
    effects = spoke.give(ConfigChanged(Config(interfaces={"gre1": config})), now=2.0)
    assert "- 10.255.255.3" in kernel(effects)


def test_solicitation_while_the_sa_is_being_made_leads_over_the_hub() -> None:
    spoke = a_protected_spoke()
    resolved(spoke)
    effects = spoke.give(NeighborSolicited(GRE, tunnel(3), b""), now=1.5)
    assert kernel(effects) == ["+ 10.255.255.3 at 192.168.100.1"]
    spoke.give(gone(1), now=2.0)
    assert kernel(spoke.give(NeighborSolicited(GRE, tunnel(3), b""), now=2.5)) == []


def test_interim_neighbour_goes_with_a_binding_whose_sa_failed() -> None:
    spoke = led_spoke()
    assert kernel(spoke.give(failed(3), now=2.0)) == ["- 10.255.255.3"]
    assert kernel(spoke.give(NeighborSolicited(GRE, tunnel(3), b""), now=3.0)) == [
        "+ 10.255.255.3 at 192.168.100.1"
    ]


def bound_spoke() -> Node:
    """A spoke that knows where spoke 3 is, from its request by way of the hub, and has no SA with it."""
    spoke = a_protected_spoke()
    asked = a_resolution_request(3, host(2), extensions=FORWARDED)
    entry = replace(asked.entries[0], holding_time_s=6000)
    spoke.receive(replace(asked, entries=(entry,)), HUB.nbma, now=1.0)
    assert spoke.cache()["10.255.255.3"] == ("cached", "192.168.100.3")
    return spoke


def test_interim_neighbour_goes_with_the_unanswered_request_also_where_a_binding_came() -> None:
    spoke = bound_spoke()
    spoke.run(1.0)
    assert kernel(solicit(spoke, 1.5)) == ["+ 10.255.255.3 at 192.168.100.1"]
    assert kernel(spoke.run(32.0)) == []
    assert kernel(spoke.run(93.0)) == ["- 10.255.255.3"]  # the negative result is forgotten
    assert "10.255.255.3" in spoke.cache(93.0)
    assert kernel(spoke.give(gone(1), now=93.5)) == ["- 10.255.255.1/32", "- 10.255.255.1"]


def test_peer_that_is_known_but_has_no_sa_is_asked_for_when_the_kernel_needs_it() -> None:
    spoke = bound_spoke()
    request = the(sent(solicit(spoke, 1.5), RESOLUTION))
    effects = spoke.receive(a_resolution_reply(request, prefix_length=32), HUB.nbma, now=1.6)
    assert wishes(effects) == ["want 192.168.100.3"]


def test_interim_neighbour_is_forgotten_with_the_netdev() -> None:
    spoke = led_spoke()
    spoke.give(a_tunnel_link(up=False), now=2.0)
    assert kernel(spoke.give(gone(1), now=2.5)) == []


def test_traffic_waits_over_the_hub_when_the_answer_moves_a_peer_to_where_no_sa_is() -> None:
    spoke = a_protected_spoke()
    effects = spoke.give(NeighborSolicited(GRE, tunnel(3), b""), now=1.0)
    request = the(sent(effects, RESOLUTION))
    spoke.give(installed(3), now=1.1)
    asked = a_resolution_request(3, host(2))
    assert "+ 10.255.255.3 at 192.168.100.3" in kernel(spoke.receive(asked, nbma(3), now=1.2))
    entry = ClientInformation(prefix_length=32, holding_time_s=60, nbma=nbma(9), protocol=tunnel(3))
    reply = a_resolution_reply(request, entries=(entry,))
    effects = spoke.receive(reply, HUB.nbma, now=1.3)
    assert kernel(effects)[-1] == "+ 10.255.255.3 at 192.168.100.1"
    assert wishes(effects) == ["want 192.168.100.9"]
