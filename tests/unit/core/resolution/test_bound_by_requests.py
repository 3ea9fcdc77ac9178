"""For how long stations may bind us by our requests: one that proves nothing itself sends straight to us meanwhile."""

import pytest

from nhrpd_py.core.queries import View
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.message import Message
from tests.support.engine import Node, a_spoke, sent, the
from tests.support.messages import a_resolution_reply, a_resolution_request
from tests.support.paths import REQUEST, an_answered_spoke, answer, probes
from tests.support.resolution import an_asking_spoke, ask, redirect
from tests.support.sites import GRE, HUB, a_route, host, nbma, tunnel


def told_s(request: Message) -> int:
    """For how long the requester may be bound."""
    return the(request.entries).holding_time_s


@pytest.mark.parametrize(("path_check_s", "seconds"), [(3, 60), (None, 600)])
def test_station_that_never_probed_us_may_bind_us_for_a_minute(
    path_check_s: int | None, seconds: int
) -> None:
    _, request = an_asking_spoke(path_check_s=path_check_s, holding_time_s=600)
    assert told_s(request) == seconds


def test_shorter_holding_time_counts() -> None:
    _, request = an_asking_spoke(path_check_s=3, holding_time_s=30)
    assert told_s(request) == 30


def test_station_that_probes_us_may_bind_us_for_our_holding_time() -> None:
    spoke, probe = an_answered_spoke(holding_time_s=600)
    assert told_s(probe) == 60
    spoke.receive(answer(probe), nbma(3), now=0.1)
    spoke.receive(a_resolution_request(3, tunnel(2), extensions=()), nbma(3), now=0.2)
    assert told_s(the(probes(spoke.run(3.1)))) == 600


def a_failed_spoke() -> Node:
    """A spoke that leads the LAN of spoke 3 by way of that, as in phase 2, and whose path to it did not carry."""
    routes = [
        a_route("10.255.255.0/24", GRE, HUB.tunnel),
        a_route("172.16.3.0/24", GRE, tunnel(3)),
        a_route("172.16.4.0/24", GRE, HUB.tunnel),
    ]
    spoke, _ = an_answered_spoke(holding_time_s=600, routes=routes)
    spoke.run(2.0)
    assert spoke.table(View.PEERS, "nbma", "path", now=2.0)[-1] == ("192.168.100.3", "failed")
    return spoke


@pytest.mark.parametrize(
    ("target", "seconds"),
    [(tunnel(3), 2), (host(3, 77), 2), (host(4), 60)],
    ids=["the station", "its LAN", "elsewhere"],
)
def test_station_that_we_do_not_reach_binds_us_no_longer_than_it_takes(
    target: bytes, seconds: int
) -> None:
    """Each of our requests put its traffic for us on the dead path again, for the whole holding time."""
    spoke = a_failed_spoke()
    request = the(sent(redirect(spoke, target, now=3.0), REQUEST))
    assert told_s(request) == seconds


def test_probes_of_a_path_that_failed_before_say_the_same() -> None:
    spoke = a_failed_spoke()
    request = the(sent(redirect(spoke, now=33.0), REQUEST))
    probe = the(probes(spoke.receive(a_resolution_reply(request), HUB.nbma, now=33.1)))
    assert told_s(probe) == 2
    spoke.receive(answer(probe), nbma(3), now=33.2)
    assert told_s(probes(spoke.run(36.3))[-1]) == 60


def test_request_does_not_shorten_what_its_sender_said_before() -> None:
    egress = a_spoke(3)
    ask(egress, now=1.0)
    brief = ClientInformation(prefix_length=32, holding_time_s=2)
    ask(egress, host(3, 11), now=2.0, entries=(brief,))
    egress.run(60.0)
    assert "10.255.255.2" in egress.cache(60.0)
    egress.run(61.0)
    assert "10.255.255.2" not in egress.cache(61.0)
