"""Bindings whose path or SA nobody tries any more: what is believed of them, and what brings them to life again."""

from nhrpd_py.core.notices import PathFailed
from nhrpd_py.packet.iana import CieCode
from tests.support.engine import a_hub, a_spoke, drops, of, packets, sent, the
from tests.support.ipsec import a_protected_spoke, gone, installed
from tests.support.messages import (
    a_registration_request,
    a_resolution_reply,
    a_resolution_request,
    nat_extension,
)
from tests.support.paths import REPLY, REQUEST, answer, probes
from tests.support.resolution import FORWARDED, ask, redirect
from tests.support.sites import GRE, HUB, a_map, a_route, host, ip, nbma, tunnel


def test_peer_that_moved_behind_a_nat_is_asked_for_anew() -> None:
    """No SA can be begun with it from here, unless somebody tells that it can."""
    spoke = a_protected_spoke(3, path_check_s=3)
    request = the(sent(redirect(spoke), REQUEST))
    probe = the(probes(spoke.receive(a_resolution_reply(request), HUB.nbma)))
    spoke.receive(answer(probe), nbma(3))
    assert spoke.shortcuts() == [("172.16.3.0/24", "10.255.255.3", "active")]
    moved = a_resolution_request(
        3,
        host(2),
        source_nbma=ip("10.9.9.9"),
        extensions=(*FORWARDED, nat_extension((tunnel(3), nbma(200)))),
    )
    spoke.receive(moved, HUB.nbma, now=1.0)
    assert spoke.shortcuts(1.0) == [("172.16.3.0/24", "10.255.255.3", "waiting")]
    effects = redirect(spoke, now=1.5)
    assert drops(effects) == []
    assert the(sent(effects, REQUEST)).destination_protocol == host(3)


def test_station_whose_path_failed_is_asked_for_after_the_hold_down() -> None:
    spoke = a_spoke(2, path_check_s=3)
    own = a_resolution_request(3, tunnel(2), extensions=())
    asked = a_resolution_request(3, host(2), extensions=FORWARDED)
    spoke.receive(own, nbma(3))  # it knows probes: whoever asks next is answered, and bound
    spoke.receive(asked, HUB.nbma)
    spoke.run(2.5)
    spoke.receive(asked, HUB.nbma, now=3.0)
    assert spoke.cache(3.0)["10.255.255.3"] == ("cached", "192.168.100.3")
    spoke.run(40.0)
    effects = redirect(spoke, tunnel(3), now=40.0)
    assert drops(effects) == []
    request = the(sent(effects, REQUEST))
    assert probes(spoke.receive(a_resolution_reply(request, prefix_length=32), HUB.nbma, now=40.1))


def test_replies_of_others_take_no_path_that_is_not_proven() -> None:
    hub = a_hub(
        2,
        path_check_s=3,
        shortcut=True,
        maps=(a_map(tunnel(9), nbma(9)),),
        routes=[a_route("10.255.255.4/32", GRE, tunnel(9))],
    )
    asked = a_resolution_request(4, host(1), extensions=FORWARDED)
    probe = the(probes(hub.receive(asked, nbma(9)), 4))
    passing = a_resolution_reply(a_resolution_request(4, host(2)), 2)
    assert [to for to, _ in packets(hub.receive(passing, nbma(2), now=0.1))] == [nbma(9)]
    hub.receive(answer(probe), nbma(4), now=0.2)
    assert [to for to, _ in packets(hub.receive(passing, nbma(2), now=0.3))] == [nbma(4)]


def test_request_of_a_client_that_registered_meanwhile_is_not_refused() -> None:
    hub = a_hub(path_check_s=3, shortcut=True)
    hub.receive(a_resolution_request(2, host(1)), nbma(2))
    hub.receive(a_registration_request(2), nbma(2), now=0.5)
    reply = the(sent(hub.run(2.0), REPLY))
    assert the(reply.entries).code == CieCode.SUCCESS


def test_client_whose_path_failed_before_it_registered_is_answered() -> None:
    hub = a_hub(path_check_s=3, shortcut=True)
    hub.receive(a_resolution_request(2, host(1)), nbma(2))
    hub.run(2.5)
    hub.receive(a_registration_request(2), nbma(2), now=3.0)
    reply = the(sent(hub.receive(a_resolution_request(2, host(1)), nbma(2), now=3.1), REPLY))
    assert the(reply.entries).code == CieCode.SUCCESS


def test_path_whose_sa_nobody_wants_is_tried_when_the_peer_makes_it() -> None:
    """Until then no failure of the path is told."""
    egress = a_protected_spoke(4, path_check_s=3)
    egress.receive(a_resolution_request(4, tunnel(2), extensions=()), nbma(4), now=0.5)
    egress.give(gone(4), now=1.0)
    asker = {"source_protocol": tunnel(4), "source_nbma": nbma(4)}
    assert [to for to, _ in packets(ask(egress, host(2), now=2.0, **asker))] == [HUB.nbma]
    assert of(egress.run(50.0), PathFailed) == []
    assert len(probes(egress.give(installed(4), now=51.0), 4)) == 1
