"""Shortcuts while charon is away: after a while their peers may have given the SAs up, and nobody here would know."""

from nhrpd_py.core.events import IpsecLost
from nhrpd_py.core.notices import ResolutionFailed, ShortcutRemoved
from tests.support.engine import a_spoke, of, the
from tests.support.ipsec import READY, a_protected_spoke, installed, kernel, resolved
from tests.support.registration import states

REASON = "charon has been away for 20 s, and the peer may have given its SA up"


def test_direct_ways_to_spokes_are_given_up_and_those_to_servers_are_not() -> None:
    spoke = a_protected_spoke(3)
    resolved(spoke)
    spoke.give(IpsecLost("nobody listens"), now=10.0)
    assert of(spoke.run(29.9), ShortcutRemoved) == []
    effects = spoke.advance(30.0)
    assert the(of(effects, ShortcutRemoved)).reason == REASON
    assert the(of(effects, ResolutionFailed)).reason == REASON
    assert kernel(effects) == [
        "- 172.16.3.0/24",
        "- 10.255.255.3/32",
        "- 10.255.255.3",
    ]
    assert states(spoke, 30.0) == ["up"]
    assert set(spoke.cache(30.0)) == {"10.255.255.1"}


def test_no_new_one_is_made_until_charon_is_back() -> None:
    spoke = a_protected_spoke(3)
    spoke.give(IpsecLost("nobody listens"), now=10.0)
    spoke.give(IpsecLost("still nobody"), now=25.0)  # the time counts from the first
    spoke.run(31.0)
    resolved(spoke, 31.0)
    assert [row[2] for row in spoke.shortcuts(31.0)] == ["negative"]
    spoke.give(installed(3, id=33), READY, now=40.0)
    spoke.run(62.0)
    resolved(spoke, 62.0)
    assert [row[2] for row in spoke.shortcuts(62.0)] == ["active"]


def test_a_charon_that_is_back_soon_costs_no_shortcut() -> None:
    spoke = a_protected_spoke(3)
    resolved(spoke)
    spoke.give(IpsecLost("nobody listens"), now=10.0)
    spoke.give(READY, now=25.0)
    assert of(spoke.run(40.0), ShortcutRemoved) == []
    assert [row[2] for row in spoke.shortcuts(40.0)] == ["active"]


def test_a_tunnel_in_clear_does_not_care() -> None:
    spoke = a_spoke(2)
    resolved(spoke)
    spoke.give(IpsecLost("nobody listens"), now=10.0)
    assert of(spoke.run(40.0), ShortcutRemoved) == []
    assert [row[2] for row in spoke.shortcuts(40.0)] == ["active"]
