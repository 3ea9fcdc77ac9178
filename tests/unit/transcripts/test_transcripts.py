"""Golden dialogues: what stations say, one theme a file, to be read by people.

Each function plays one theme; its record must be the text file of its name. After a change that is meant,
`pytest --rewrite-transcripts` writes them anew, and the diff is what a reviewer reads.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nhrpd_py.core.address import Address
from nhrpd_py.core.config import Secret
from nhrpd_py.core.events import (
    AddressAdded,
    AddressRemoved,
    CommandGiven,
    RouteRemoved,
    ShutdownRequested,
)
from nhrpd_py.core.queries import Flush, FlushWhat
from nhrpd_py.packet import ClientInformation, Extension, Message, PacketType
from nhrpd_py.packet.extension import of_entries
from tests.support.messages import (
    a_registration_reply,
    a_registration_request,
    a_resolution_request,
    a_traffic_indication,
    nat_extension,
    received,
    std_extensions,
)
from tests.support.sites import (
    GRE,
    HUB,
    HUB_2,
    LAN,
    SECRET,
    SPOKE_1,
    SPOKE_2,
    SPOKE_3,
    UNDERLAY,
    Site,
    a_config,
    a_route,
    an_nhs,
    nbma,
)
from tests.support.transcript import Dialogue, binding_at

OVERLAY = "172.16.0.0/12"
TUNNELS = "10.255.255.0/24"
RENEWALS = {PacketType.REGISTRATION_REQUEST, PacketType.REGISTRATION_REPLY}

EMPTY_RECORDS = std_extensions(nat_extension())
OWN_ENTRY = ClientInformation(prefix_length=32, holding_time_s=600)

Theme = Callable[[Dialogue], None]
THEMES: list[Theme] = []


def theme(play: Theme) -> Theme:
    THEMES.append(play)
    return play


def a_hub(dialogue: Dialogue, *, holding_time_s: int = 60, secret: Secret | None = None) -> None:
    routes = [a_route(each.lan, via=each.tunnel) for each in (SPOKE_1, SPOKE_2)]
    config = a_config(redirect=True, holding_time_s=holding_time_s, authentication=secret)
    dialogue.add("hub", HUB, config, routes=routes)


def a_spoke(
    dialogue: Dialogue,
    name: str,
    site: Site,
    *,
    holding_time_s: int = 60,
    unique: bool = False,
    secret: Secret | None = None,
    outside: Address = b"",
) -> None:
    routes = [a_route(each, via=HUB.tunnel) for each in (OVERLAY, TUNNELS)]
    config = a_config(
        nhs=(an_nhs(),), holding_time_s=holding_time_s, unique=unique, authentication=secret
    )
    dialogue.add(name, site, config, routes=routes, outside=outside)


def a_cloud(dialogue: Dialogue, *, holding_time_s: int = 60) -> None:
    """A hub and two spokes, registered; how that went is not of the theme."""
    a_hub(dialogue, holding_time_s=holding_time_s)
    a_spoke(dialogue, "spoke-1", SPOKE_1, holding_time_s=holding_time_s)
    a_spoke(dialogue, "spoke-2", SPOKE_2, holding_time_s=holding_time_s)
    dialogue.run(1.0)
    dialogue.lines.clear()


def talk(dialogue: Dialogue, one: str = "spoke-1", other: str = "spoke-2") -> list[str]:
    """A data packet, whose path is of the record."""
    begin = len(dialogue.lines)
    path = dialogue.talk(one, other)
    dialogue.lines.insert(begin, f"{dialogue.now:9.3f} data     {' > '.join(path)}")
    return path


def a_registration(client: Site = SPOKE_1, **fields: Any) -> Message:
    """A Registration Request as our own stations send it."""
    own = {"hop_count": 255, "entries": (OWN_ENTRY,), "extensions": EMPTY_RECORDS}
    return a_registration_request(client, **{**own, **fields})


def a_request(request_id: int, target: Address = SPOKE_2.host, **fields: Any) -> Message:
    """A Resolution Request as our own stations send it."""
    own = {"hop_count": 255, "entries": (OWN_ENTRY,)}
    return a_resolution_request(SPOKE_1, target, request_id=request_id, **{**own, **fields})


@theme
def registration(dialogue: Dialogue) -> None:
    dialogue.say("the hub starts")
    a_hub(dialogue)
    dialogue.say("a spoke starts, registers anonymously and learns the hub's overlay address")
    a_spoke(dialogue, "spoke-1", SPOKE_1)
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
    a_spoke(dialogue, "spoke-1", SPOKE_1)
    dialogue.run(200.0)
    dialogue.say("the way is free again")
    dialogue.losses.clear()
    dialogue.run(64.0)


@theme
def refused_registration(dialogue: Dialogue) -> None:
    a_hub(dialogue)
    a_spoke(dialogue, "spoke-1", SPOKE_1, unique=True)
    dialogue.run(1.0)
    dialogue.lines.clear()
    dialogue.say("somebody else registers the unique address of spoke-1")
    a_spoke(dialogue, "impostor", replace(SPOKE_2, tunnel=SPOKE_1.tunnel))
    dialogue.run(4.0)


@theme
def unique_address_taken_back(dialogue: Dialogue) -> None:
    a_hub(dialogue, secret=SECRET)
    a_spoke(dialogue, "spoke-1", SPOKE_1, unique=True, secret=SECRET)
    dialogue.run(1.0)
    dialogue.lines.clear()
    dialogue.say("spoke-1 has another NBMA address; the hub holds the old one for unique")
    spoke = dialogue.stations["spoke-1"]
    spoke.outside = SPOKE_3.nbma
    dialogue.give("spoke-1", AddressRemoved(UNDERLAY, SPOKE_1.nbma, 24))
    dialogue.give("spoke-1", AddressAdded(ifindex=UNDERLAY, address=SPOKE_3.nbma, prefix_length=24))
    dialogue.run(3.0)
    assert spoke.servers_up == [HUB.nbma]
    assert binding_at(dialogue.stations["hub"], SPOKE_1.tunnel) == SPOKE_3.nbma


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
    dialogue.give(
        "spoke-1",
        received(a_traffic_indication(HUB, SPOKE_1.host, target, hop_count=255), HUB.nbma),
    )
    dialogue.run(1.0)
    dialogue.say("another redirect within three minutes changes nothing; one after them does")
    dialogue.run(60.0)
    dialogue.give(
        "spoke-1",
        received(a_traffic_indication(HUB, SPOKE_1.host, target, hop_count=255), HUB.nbma),
    )
    dialogue.run(130.0)
    dialogue.give(
        "spoke-1",
        received(a_traffic_indication(HUB, SPOKE_1.host, target, hop_count=255), HUB.nbma),
    )
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
    dialogue.run(30.0)
    assert talk(dialogue) == ["spoke-1", "hub", "spoke-2"]
    dialogue.say("after three minutes the entry goes, and the next packet asks anew")
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
def authentication(dialogue: Dialogue) -> None:
    dialogue.say("the same secret on both sides")
    a_hub(dialogue, secret=Secret(b"cisco123"))
    dialogue.lines[1:] = []
    a_spoke(dialogue, "spoke-1", SPOKE_1, secret=Secret(b"cisco123"))
    dialogue.run(1.0)
    dialogue.say("another secret: the hub refuses, and the spoke says why it is not registered")
    a_spoke(dialogue, "spoke-2", SPOKE_2, secret=Secret(b"wrong"))
    dialogue.run(4.0)
    dialogue.say("no secret at all")
    dialogue.give("hub", received(a_registration(SPOKE_2), SPOKE_2.nbma))
    dialogue.run(0.5)
    dialogue.say("a reply without the secret is not believed")
    reply = a_registration_reply(a_registration(request_id=1002))
    dialogue.give("spoke-1", received(reply, HUB.nbma))
    dialogue.run(0.5)


@theme
def spoke_behind_nat(dialogue: Dialogue) -> None:
    a_hub(dialogue)
    a_spoke(dialogue, "spoke-2", SPOKE_2)
    dialogue.run(1.0)
    dialogue.lines.clear()
    dialogue.say("the hub sees another address than spoke-1 claims, uses it, and tells")
    a_spoke(
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


@pytest.mark.parametrize("play", THEMES, ids=lambda play: play.__name__)
def test_transcript(play: Theme, request: pytest.FixtureRequest) -> None:
    dialogue = Dialogue()
    play(dialogue)
    path = Path(__file__).with_name(f"{play.__name__}.txt")
    if request.config.getoption("--rewrite-transcripts"):
        path.write_text(dialogue.text)
    assert path.read_text() == dialogue.text


def test_no_transcript_is_left_over() -> None:
    names = {path.stem for path in Path(__file__).parent.glob("*.txt")}
    assert names <= {play.__name__ for play in THEMES}
