"""Golden dialogues of shortcuts: redirects, resolutions, their failures, purges."""

from dataclasses import replace

import pytest

from nhrpd_py.core.events import (
    CommandGiven,
    RouteRemoved,
)
from nhrpd_py.core.queries import Flush, FlushWhat
from nhrpd_py.packet import ClientInformation, Extension, Message, PacketType
from nhrpd_py.packet.extension import of_entries
from tests.support.clouds import add_spoke
from tests.support.messages import (
    a_traffic_indication,
    received,
)
from tests.support.sites import (
    HUB,
    LAN,
    SPOKE_1,
    SPOKE_2,
    a_config,
    a_route,
    an_nhs,
    nbma,
)
from tests.support.themes import (
    EMPTY_RECORDS,
    RENEWALS,
    Themes,
    a_cloud,
    a_hub,
    a_registration,
    a_request,
    talk,
)
from tests.support.transcript import Dialogue

theme = Themes(__file__)


@theme
def redirect_to_shortcut(dialogue: Dialogue) -> None:
    a_cloud(dialogue)
    dialogue.say("the first packet goes through the hub, which says that there is a better way")
    talk(dialogue)
    dialogue.run(1.0)
    dialogue.say("the next one goes straight")
    assert talk(dialogue) == ["spoke-1", "spoke-2"]
    dialogue.say("and so do packets the other way, after a redirect of their own")
    talk(dialogue, "spoke-2", "spoke-1")
    dialogue.run(1.0)
    assert talk(dialogue, "spoke-2", "spoke-1") == ["spoke-2", "spoke-1"]


@theme
def renewal_of_a_shortcut_in_use(dialogue: Dialogue) -> None:
    a_cloud(dialogue)
    dialogue.hidden |= RENEWALS
    talk(dialogue)
    dialogue.run(1.0)
    dialogue.lines.clear()
    dialogue.say("traffic goes on: the kernel probes the STALE entry, so the shortcut is renewed")
    for _ in range(70):
        assert dialogue.talk("spoke-1", "spoke-2") == ["spoke-1", "spoke-2"]
        dialogue.run(1.0)


@theme
def expiry_of_an_idle_shortcut(dialogue: Dialogue) -> None:
    a_cloud(dialogue)
    dialogue.hidden |= RENEWALS
    talk(dialogue)
    dialogue.run(1.0)
    dialogue.lines.clear()
    dialogue.say("no more traffic: nobody probes, nothing is renewed")
    dialogue.run(65.0)
    assert talk(dialogue) == ["spoke-1", "hub", "spoke-2"]


@theme
def lost_resolution_request(dialogue: Dialogue) -> None:
    a_cloud(dialogue)
    dialogue.hidden |= RENEWALS
    dialogue.losses.append(lambda _, __, message: message.type is PacketType.RESOLUTION_REQUEST)
    dialogue.say("no request arrives: the same id after 1, 2, 4 and 8 s; traffic stays on the hub")
    talk(dialogue)
    dialogue.run(40.0)
    assert talk(dialogue) == ["spoke-1", "hub", "spoke-2"]
    dialogue.say("a minute after it gave up, the next redirect makes it ask again")
    dialogue.losses.clear()
    dialogue.run(60.0)
    talk(dialogue)
    dialogue.run(1.0)
    assert talk(dialogue) == ["spoke-1", "spoke-2"]


@theme
def lost_resolution_reply(dialogue: Dialogue) -> None:
    a_cloud(dialogue)

    def straight(sender: str, to: str, message: Message) -> bool:
        return message.type is PacketType.RESOLUTION_REPLY and (sender, to) == (
            "spoke-2",
            "spoke-1",
        )

    dialogue.losses.append(straight)
    dialogue.say("the straight way is closed to replies: the second one goes through the hub")
    talk(dialogue)
    dialogue.run(3.0)


@theme
def negative_result(dialogue: Dialogue) -> None:
    a_cloud(dialogue)
    dialogue.hidden |= RENEWALS
    dialogue.say("the hub has no route to where spoke-1 is sent")
    target = bytes([172, 17, 0, 1])

    def redirect() -> None:
        indication = a_traffic_indication(HUB, SPOKE_1.host, target, hop_count=255)
        dialogue.give("spoke-1", received(indication, HUB.nbma))

    redirect()
    dialogue.run(3.0)
    dialogue.say("another redirect at once changes nothing; one after five seconds does")
    redirect()
    dialogue.run(3.0)
    redirect()
    dialogue.run(1.0)
    dialogue.say("the second refusal counts for three minutes")
    dialogue.run(60.0)
    redirect()
    dialogue.run(130.0)
    redirect()
    dialogue.run(1.0)


@theme
def phase_2_refusal(dialogue: Dialogue) -> None:
    """The peer wants no shortcuts: what goes to it stays on the hub, and nothing is lost."""
    routes = [a_route(each.lan, via=each.tunnel) for each in (SPOKE_1, SPOKE_2)]
    dialogue.add("hub", HUB, a_config(holding_time_s=600), routes=routes, tunnel_length=24)
    for name, site, other in (("spoke-1", SPOKE_1, SPOKE_2), ("spoke-2", SPOKE_2, SPOKE_1)):
        config = a_config(nhs=(an_nhs(),), shortcut=name == "spoke-1", holding_time_s=600)
        routes = [a_route(other.lan, via=other.tunnel)]
        dialogue.add(name, site, config, routes=routes, tunnel_length=24)
    dialogue.run(1.0)
    dialogue.lines.clear()
    dialogue.hidden |= RENEWALS
    dialogue.say(
        "the kernel of spoke-1 asks for spoke-2, which refuses; traffic goes on by the hub"
    )
    assert talk(dialogue) == ["spoke-1", "hub", "spoke-2"]
    dialogue.run(4.0)
    assert talk(dialogue) == ["spoke-1", "hub", "spoke-2"]
    dialogue.say("after five seconds the entry goes, and the next packet asks anew")
    dialogue.run(2.0)
    assert talk(dialogue) == ["spoke-1", "hub", "spoke-2"]
    dialogue.run(30.0)
    assert talk(dialogue) == ["spoke-1", "hub", "spoke-2"]
    dialogue.say("another refusal counts for three minutes")
    dialogue.run(151.0)
    assert talk(dialogue) == ["spoke-1", "hub", "spoke-2"]
    dialogue.run(1.0)


@theme
def purge_on_route_change(dialogue: Dialogue) -> None:
    a_cloud(dialogue)
    talk(dialogue)
    dialogue.run(1.0)
    dialogue.lines.clear()
    dialogue.say("the LAN of spoke-2 goes away: it takes its answer back, until that is confirmed")
    dialogue.losses.append(
        lambda _, __, message: message.type is PacketType.PURGE_REQUEST and dialogue.now < 2.5
    )
    dialogue.give("spoke-2", RouteRemoved(a_route(SPOKE_2.lan, ifindex=LAN)))
    dialogue.run(3.0)
    assert talk(dialogue) == ["spoke-1", "hub", "spoke-2"]


@theme
def hop_count_and_loops(dialogue: Dialogue) -> None:
    a_cloud(dialogue)
    dialogue.say("a request whose hops are used up is not handed on, and its sender is told")
    request = a_request(1001, hop_count=0)
    dialogue.give("hub", received(request, SPOKE_1.nbma))
    dialogue.run(1.0)
    dialogue.say("a request that has been here before goes round in circles")
    records = list(EMPTY_RECORDS)
    records[0] = of_entries(
        records[0].type, (ClientInformation(nbma=HUB.nbma, protocol=HUB.tunnel),)
    )
    request = a_request(1002, extensions=tuple(records))
    dialogue.give("hub", received(request, SPOKE_1.nbma))
    dialogue.run(1.0)


@theme
def unknown_compulsory_extension(dialogue: Dialogue) -> None:
    a_cloud(dialogue)
    stranger = Extension(0x0123, b"\xca\xfe")
    dialogue.say("a transit hub hands it on unread, and leaves no record of its own")
    request = a_request(1001, target=SPOKE_2.tunnel, extensions=(*EMPTY_RECORDS, stranger))
    dialogue.give("hub", received(request, SPOKE_1.nbma))
    dialogue.run(0.005)
    dialogue.say("whom it is for must refuse it")
    dialogue.run(1.0)
    dialogue.say("one that is not compulsory comes back as it went")
    mild = replace(stranger, compulsory=False)
    request = a_registration(request_id=1003, extensions=(*EMPTY_RECORDS, mild))
    dialogue.give("hub", received(request, SPOKE_1.nbma))
    dialogue.run(1.0)


@theme
def spoke_behind_nat(dialogue: Dialogue) -> None:
    a_hub(dialogue)
    add_spoke(dialogue, "spoke-2", SPOKE_2)
    dialogue.run(1.0)
    dialogue.lines.clear()
    dialogue.say("the hub sees another address than spoke-1 claims, uses it, and tells")
    add_spoke(
        dialogue,
        "spoke-1",
        replace(SPOKE_1, nbma=bytes([192, 168, 1, 2])),
        outside=nbma(200),
    )
    dialogue.run(1.0)
    dialogue.say("shortcuts to it and from it")
    talk(dialogue, "spoke-2", "spoke-1")
    dialogue.run(1.0)
    talk(dialogue)
    dialogue.run(1.0)
    assert talk(dialogue, "spoke-2", "spoke-1") == ["spoke-2", "spoke-1"]
    assert talk(dialogue) == ["spoke-1", "spoke-2"]


@theme
def flush(dialogue: Dialogue) -> None:
    a_cloud(dialogue)
    talk(dialogue)
    dialogue.run(1.0)
    dialogue.lines.clear()
    dialogue.say("an operator flushes the spoke's shortcuts")
    dialogue.give("spoke-1", CommandGiven(1, Flush(what=FlushWhat.SHORTCUTS)))
    dialogue.say("and the hub's cache: the spokes are asked to come again")
    dialogue.give("hub", CommandGiven(2, Flush(what=FlushWhat.CACHE)))
    dialogue.run(1.0)


@pytest.mark.parametrize("name", theme.names)
def test_transcript(name: str, pytestconfig: pytest.Config) -> None:
    theme.check(name, pytestconfig)


def test_no_transcript_is_left_over() -> None:
    assert theme.left_over() == set()
