"""Golden dialogues of registrations, and of what happens to those who are registered."""

from dataclasses import replace

import pytest

from nhrpd_py.core.config import Secret
from nhrpd_py.core.events import (
    AddressAdded,
    AddressRemoved,
    ShutdownRequested,
)
from tests.support.clouds import add_spoke
from tests.support.messages import (
    a_registration_reply,
    received,
)
from tests.support.sites import (
    GRE,
    HUB,
    HUB_2,
    SECRET,
    SPOKE_1,
    SPOKE_2,
    SPOKE_3,
    UNDERLAY,
    a_config,
    a_route,
    an_nhs,
    nbma,
)
from tests.support.themes import Themes, a_cloud, a_hub, a_registration, talk
from tests.support.transcript import Dialogue

theme = Themes(__file__)


@theme
def registration(dialogue: Dialogue) -> None:
    dialogue.say("the hub starts")
    a_hub(dialogue)
    dialogue.say("a spoke starts, registers anonymously and learns the hub's overlay address")
    add_spoke(dialogue, "spoke-1", SPOKE_1)
    dialogue.run(1.0)
    dialogue.say("it stops: it takes back its registration")
    dialogue.give("spoke-1", ShutdownRequested())
    dialogue.run(1.0)


@theme
def renewal(dialogue: Dialogue) -> None:
    a_cloud(dialogue)
    dialogue.say("a third of the holding time later, with some jitter, and again")
    dialogue.run(40.0)


@theme
def lost_registration_requests(dialogue: Dialogue) -> None:
    a_hub(dialogue)
    dialogue.lines.clear()
    dialogue.losses.append(lambda _, to, message: to == "hub" and message.is_request)
    dialogue.say("nothing reaches the hub: the same request id, after 1, 2, 4 … 64 s less jitter")
    add_spoke(dialogue, "spoke-1", SPOKE_1)
    dialogue.run(200.0)
    dialogue.say("the way is free again")
    dialogue.losses.clear()
    dialogue.run(64.0)


@theme
def refused_registration(dialogue: Dialogue) -> None:
    a_hub(dialogue)
    add_spoke(dialogue, "spoke-1", SPOKE_1, unique=True)
    dialogue.run(1.0)
    dialogue.lines.clear()
    dialogue.say("somebody else registers the unique address of spoke-1")
    add_spoke(dialogue, "impostor", replace(SPOKE_2, tunnel=SPOKE_1.tunnel))
    dialogue.run(4.0)


@theme
def unique_address_taken_back(dialogue: Dialogue) -> None:
    a_hub(dialogue, authentication=SECRET, authenticated_purge=True)
    add_spoke(dialogue, "spoke-1", SPOKE_1, unique=True, authentication=SECRET)
    dialogue.run(1.0)
    dialogue.lines.clear()
    dialogue.say("spoke-1 has another NBMA address; the hub holds the old one for unique")
    spoke = dialogue.stations["spoke-1"]
    spoke.outside = SPOKE_3.nbma
    dialogue.give("spoke-1", AddressRemoved(UNDERLAY, SPOKE_1.nbma, 24))
    dialogue.give("spoke-1", AddressAdded(ifindex=UNDERLAY, address=SPOKE_3.nbma, prefix_length=24))
    dialogue.run(3.0)
    assert spoke.servers_up == [HUB.nbma]
    assert dialogue.stations["hub"].nbma_of(SPOKE_1.tunnel) == SPOKE_3.nbma


@theme
def fail_over_and_back(dialogue: Dialogue) -> None:
    for name, site in (("hub", HUB), ("hub-2", HUB_2)):
        routes = [a_route(SPOKE_1.lan, via=SPOKE_1.tunnel)]
        dialogue.add(name, site, a_config(redirect=True, holding_time_s=60), routes=routes)
    dialogue.lines.clear()
    dialogue.say("a spoke with two servers of one cluster registers with the better one only")
    config = a_config(nhs=(an_nhs(HUB, priority=1), an_nhs(HUB_2, priority=2)), holding_time_s=60)
    dialogue.add("spoke-1", SPOKE_1, config)
    dialogue.run(1.0)
    dialogue.say("the better one dies: after three lost requests the other one is asked")
    dialogue.kill("hub")
    dialogue.run(60.0)
    assert dialogue.stations["spoke-1"].servers_up == [HUB_2.nbma]
    dialogue.say("it is back, and so are we; the other one is told")
    dialogue.reboot("hub")
    dialogue.run(64.0)
    assert dialogue.stations["spoke-1"].servers_up == [HUB.nbma]


@theme
def own_tunnel_address_changed(dialogue: Dialogue) -> None:
    a_cloud(dialogue)
    dialogue.say("the tunnel of spoke-1 gets another address and loses the old one")
    new = bytes([10, 255, 255, 99])
    station = dialogue.stations["spoke-1"]
    old = station.site.tunnel
    dialogue.give("spoke-1", AddressAdded(ifindex=GRE, address=new, prefix_length=32))
    station.site = replace(SPOKE_1, tunnel=new)
    dialogue.give("spoke-1", AddressRemoved(GRE, old, 32))
    dialogue.run(1.0)


@theme
def underlay_address_changed(dialogue: Dialogue) -> None:
    a_cloud(dialogue)
    talk(dialogue, "spoke-2", "spoke-1")
    dialogue.run(1.0)
    dialogue.lines.clear()
    dialogue.say("spoke-1 gets another NBMA address: the hub and who asked for it are told")
    new = nbma(99)
    station = dialogue.stations["spoke-1"]
    dialogue.give("spoke-1", AddressAdded(ifindex=UNDERLAY, address=new, prefix_length=24))
    station.site, station.outside = replace(SPOKE_1, nbma=new), new
    dialogue.give("spoke-1", AddressRemoved(UNDERLAY, SPOKE_1.nbma, 24))
    dialogue.run(1.0)
    talk(dialogue, "spoke-2", "spoke-1")
    dialogue.run(1.0)
    assert talk(dialogue, "spoke-2", "spoke-1") == ["spoke-2", "spoke-1"]


@theme
def adoption_after_a_crash(dialogue: Dialogue) -> None:
    a_cloud(dialogue)
    dialogue.say("the hub's daemon dies; the kernel forwards all the same")
    dialogue.kill("hub")
    assert talk(dialogue) == ["spoke-1", "hub", "spoke-2"]
    dialogue.say(
        "it is started again: it adopts what the kernel has, and asks the spokes to register"
    )
    dialogue.boot("hub")
    dialogue.run(1.0)


@theme
def restarted_hub_without_memory(dialogue: Dialogue) -> None:
    a_cloud(dialogue)
    dialogue.say("the hub reboots: spokes come back with their renewals")
    dialogue.kill("hub")
    dialogue.reboot("hub")
    dialogue.run(21.0)
    assert talk(dialogue)[-1] == "spoke-2"


@theme
def authentication(dialogue: Dialogue) -> None:
    dialogue.say("the same secret on both sides")
    a_hub(dialogue, authentication=Secret(b"cisco123"))
    dialogue.lines[1:] = []
    add_spoke(dialogue, "spoke-1", SPOKE_1, authentication=Secret(b"cisco123"))
    dialogue.run(1.0)
    dialogue.say("another secret: the hub refuses, and the spoke says why it is not registered")
    add_spoke(dialogue, "spoke-2", SPOKE_2, authentication=Secret(b"wrong"))
    dialogue.run(4.0)
    dialogue.say("no secret at all")
    dialogue.give("hub", received(a_registration(SPOKE_2), SPOKE_2.nbma))
    dialogue.run(0.5)
    dialogue.say("a reply without the secret is not believed")
    reply = a_registration_reply(a_registration(request_id=1002))
    dialogue.give("spoke-1", received(reply, HUB.nbma))
    dialogue.run(0.5)


@pytest.mark.parametrize("name", theme.names)
def test_transcript(name: str, pytestconfig: pytest.Config) -> None:
    theme.check(name, pytestconfig)


def test_no_transcript_is_left_over() -> None:
    assert theme.left_over() == set()
