"""How wide a shortcut becomes: what the reply says, cut to what is not known to be elsewhere."""

import pytest

from nhrpd_py.core.events import RouteRemoved
from tests.support import inspect
from tests.support.engine import a_spoke, sent, the
from tests.support.messages import (
    a_resolution_reply,
)
from tests.support.resolution import an_asking_spoke, redirect
from tests.support.sites import (
    GRE,
    HUB,
    LAN,
    a_map,
    a_route,
    an_address,
    ip,
    nbma,
)


@pytest.mark.parametrize("length", [0, 32, 255, 33, 7, 1])
def test_prefix_lengths_that_say_nothing_are_a_host(length) -> None:
    spoke, request = an_asking_spoke()
    spoke.receive(a_resolution_reply(request, prefix_length=length), HUB.nbma)
    assert spoke.shortcuts() == [("172.16.3.10/32", "10.255.255.3", "active")]


BEHIND_SUMMARY = ip("172.24.3.10")
SUMMARY = a_route("172.24.0.0/16", GRE, HUB.tunnel)
STATIONS = a_route("10.255.255.0/24", GRE, HUB.tunnel)


def test_shortcut_is_never_wider_than_our_own_route() -> None:
    spoke, request = an_asking_spoke(BEHIND_SUMMARY, routes=[STATIONS, SUMMARY])
    spoke.receive(a_resolution_reply(request, prefix_length=12), HUB.nbma)
    assert spoke.shortcuts() == [("172.24.0.0/16", "10.255.255.3", "active")]


def test_answer_for_an_address_whose_route_is_gone_is_as_wide_as_it_says() -> None:
    spoke, request = an_asking_spoke(BEHIND_SUMMARY, routes=[STATIONS, SUMMARY])
    spoke.give(RouteRemoved(SUMMARY))
    spoke.receive(a_resolution_reply(request, prefix_length=20), HUB.nbma)
    assert spoke.shortcuts() == [("172.24.0.0/20", "10.255.255.3", "active")]


@pytest.mark.parametrize(
    ("known", "prefix"),
    [
        ("", "172.24.0.0/17"),
        ("shortcut", "172.24.0.0/18"),  # 172.24.64.0/24 is behind spoke 4
        ("its own shortcut", "172.24.0.0/17"),
        ("route", "172.24.0.0/20"),
        ("own network", "172.24.0.0/19"),
        ("own address", "172.24.2.0/23"),
        ("binding", "172.24.3.0/25"),
    ],
)
def test_answer_is_cut_to_what_is_not_known_to_be_elsewhere(known, prefix) -> None:
    """The rightful egress of a /24 claims a /17 of the summary."""
    routes = [STATIONS, SUMMARY]
    if known == "route":
        routes.append(a_route("172.24.16.0/24", GRE, HUB.tunnel))
    if known == "own network":
        routes.append(a_route("172.24.32.0/24", LAN))
    maps = (a_map(ip("172.24.3.200"), nbma(4)),) if known == "binding" else ()
    spoke = a_spoke(2, routes=routes, maps=maps)
    if known == "own address":
        spoke.give(an_address(LAN, ip("172.24.1.1"), 32))
    if "shortcut" in known:
        request = the(sent(redirect(spoke, ip("172.24.64.9"))))
        behind = 4 if known == "shortcut" else 3
        spoke.receive(a_resolution_reply(request, behind, prefix_length=24), HUB.nbma)
    request = the(sent(redirect(spoke, BEHIND_SUMMARY)))
    spoke.receive(a_resolution_reply(request, 3, prefix_length=17), HUB.nbma)
    assert (prefix, "10.255.255.3", "active") in spoke.shortcuts()


def test_shortcut_around_the_target_does_not_cut_the_answer() -> None:
    """A network that moved to another peer: the answer about it replaces the former one."""
    spoke, request = an_asking_spoke(BEHIND_SUMMARY, routes=[STATIONS, SUMMARY])
    spoke.receive(a_resolution_reply(request, 4, prefix_length=24), HUB.nbma)
    request = the(sent(inspect.renew(spoke.engine, BEHIND_SUMMARY, 1.0)))
    spoke.receive(a_resolution_reply(request, 3, prefix_length=24), HUB.nbma, now=1.0)
    assert spoke.shortcuts(1.0) == [("172.24.3.0/24", "10.255.255.3", "active")]
